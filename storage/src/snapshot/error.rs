//! What can go wrong with a snapshot, and what to do about it.

use std::io;
use std::sync::Arc;

use quorate_core::SnapshotId;

use crate::error::is_out_of_room;

/// Why a snapshot could not be written, received or read. Other snapshots, and the log, are
/// untouched by all of these.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// There is no room. What was written of the snapshot is removed again: make room, and take
    /// or fetch it anew.
    #[error("no room for a snapshot ({error}): make room, then it is taken again")]
    NoRoom {
        /// What the operating system says.
        error: Arc<io::Error>,
    },
    /// A write, a sync or a change of a name failed. What was written of the snapshot does not
    /// count. After a failed sync of the directory nothing can be stored until a restart.
    #[error(
        "cannot {operation} {file} ({error}): the snapshot does not count; check the disk, and restart \
         if the next one fails as well"
    )]
    WriteFailed {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        file: String,
        /// What the operating system says.
        error: Arc<io::Error>,
    },
    /// A part of a file, or the directory, cannot be read. Use another snapshot or fetch it.
    #[error("{file} cannot be read at offset {offset} ({error}): check the disk")]
    Unreadable {
        /// The file.
        file: String,
        /// Where in the file, in bytes.
        offset: u64,
        /// What the operating system says.
        error: Arc<io::Error>,
    },
    /// The snapshot is not here, or no longer. Use another one or fetch it.
    #[error("the snapshot of {} with content {} is not here", .snapshot.last, .snapshot.content)]
    Missing {
        /// Which one.
        snapshot: SnapshotId,
    },
    /// The snapshot is here and its bytes are not those that were written. Use another one or
    /// fetch it: fetching replaces the damaged file.
    #[error("{file} is damaged at offset {offset} ({damage}): use another snapshot, or fetch it")]
    Damaged {
        /// The file.
        file: String,
        /// Where in the file, in bytes.
        offset: u64,
        /// What is wrong with it.
        damage: SnapshotDamage,
    },
    /// The snapshot was written by a newer version of this software.
    #[error(
        "{file} has format version {found}, this program knows versions up to {supported}: \
         use the newer program that wrote it"
    )]
    NewerFormat {
        /// The file.
        file: String,
        /// Its version.
        found: u16,
        /// The newest version this program can read.
        supported: u16,
    },
    /// Something that is no regular file has a name which the snapshot needs.
    #[error(
        "{file} in the data directory is a directory, a symbolic link or the like: move it away"
    )]
    NameTaken {
        /// The name.
        file: String,
    },
    /// The snapshot exceeds a limit of the format. Whoever announced it is wrong, or the state
    /// has to become smaller.
    #[error(
        "the {what} of a snapshot has {bytes} bytes, the limit is {max_bytes}: make it smaller"
    )]
    TooLarge {
        /// Its content, or its description.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The limit.
        max_bytes: u64,
    },
}

/// What is wrong with a snapshot's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotDamage {
    /// The file ends too early or goes on too long, or its end was overwritten.
    #[error("its end is not that of a snapshot")]
    Footer,
    /// The checksums of the chunks, or the description, are not those that were written.
    #[error("its manifest is damaged")]
    Manifest,
    /// The file holds another snapshot than its name says.
    #[error("it is another snapshot than its name says")]
    Misnamed,
    /// A chunk does not match its checksum.
    #[error("a chunk is damaged")]
    Chunk,
    /// The chunks match their checksums, and are not the content that the snapshot is named for.
    #[error("the content as a whole does not match its digest")]
    Content,
}

impl SnapshotError {
    pub(super) fn write_failed(
        operation: &'static str,
        file: &str,
        error: io::Error,
    ) -> SnapshotError {
        let error = Arc::new(error);
        if is_out_of_room(&error) {
            SnapshotError::NoRoom { error }
        } else {
            SnapshotError::WriteFailed { operation, file: file.to_owned(), error }
        }
    }

    pub(super) fn unreadable(file: &str, offset: u64, error: io::Error) -> SnapshotError {
        SnapshotError::Unreadable { file: file.to_owned(), offset, error: Arc::new(error) }
    }

    pub(super) fn damaged(file: &str, offset: u64, damage: SnapshotDamage) -> SnapshotError {
        SnapshotError::Damaged { file: file.to_owned(), offset, damage }
    }

    fn io_kind(&self) -> io::ErrorKind {
        match self {
            SnapshotError::NoRoom { error }
            | SnapshotError::WriteFailed { error, .. }
            | SnapshotError::Unreadable { error, .. } => error.kind(),
            SnapshotError::Missing { .. } => io::ErrorKind::NotFound,
            SnapshotError::Damaged { .. } => io::ErrorKind::InvalidData,
            SnapshotError::NewerFormat { .. } => io::ErrorKind::Unsupported,
            SnapshotError::NameTaken { .. } => io::ErrorKind::AlreadyExists,
            SnapshotError::TooLarge { .. } => io::ErrorKind::FileTooLarge,
        }
    }
}

/// For use behind [`io::Read`] and [`io::Write`]: of the matching kind, with the error inside.
/// Damage is `InvalidData`, a removed snapshot is `NotFound`.
impl From<SnapshotError> for io::Error {
    fn from(error: SnapshotError) -> io::Error {
        io::Error::new(error.io_kind(), error)
    }
}
