//! What can go wrong with a data directory, and what to do about it.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use quorate_core::{Index, NodeId};

use crate::disk;
use crate::snapshot::SnapshotError;

/// Why the storage stops, or does not start. In none of these cases was anything on disk changed
/// or given up, except that [`WriteFailed`](StorageError::WriteFailed) leaves the write that
/// failed in an unknown state.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// Another process has the directory.
    #[error("the data directory is in use by another process: stop that one first")]
    Locked,
    /// The directory may not be written to.
    #[error(
        "the data directory cannot be written ({error}): run as the user who owns it, on a \
         file system that is not mounted read-only"
    )]
    NotWritable {
        /// What the operating system says.
        error: Arc<io::Error>,
    },
    /// The directory belongs to another node.
    #[error(
        "the data directory belongs to node {found}, this is node {expected}: \
         start it with its own directory"
    )]
    OtherNode {
        /// The owner.
        found: NodeId,
        /// Who opened it.
        expected: NodeId,
    },
    /// The directory belongs to another cluster.
    #[error(
        "the data directory belongs to cluster {found:?}, this node is configured for cluster \
         {expected:?}: start it with its own directory"
    )]
    OtherCluster {
        /// The owner.
        found: String,
        /// Who opened it.
        expected: String,
    },
    /// The directory was written under another protocol.
    #[error(
        "the data directory was written under protocol {found:?}, this node is configured for \
         {expected:?}: use the protocol it was created with"
    )]
    OtherProtocol {
        /// What wrote it.
        found: String,
        /// What opened it.
        expected: String,
    },
    /// The directory was written by a newer version of this software.
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
    /// Something that is no regular file has a name which the storage needs.
    #[error(
        "{file} in the data directory is a directory, a symbolic link or the like: move it away"
    )]
    NameTaken {
        /// The name.
        file: String,
    },
    /// Every copy of the meta file is damaged or missing, although the directory holds data.
    #[error(
        "the file \"meta\" is {what}, so what this node has promised is lost: it must not take \
         part again under its old incarnation. Put the file back if it was moved just now, never an \
         older copy. Otherwise empty the directory and start again under the same id: the other \
         nodes put it back"
    )]
    MetaLost {
        /// Missing, or damaged.
        what: &'static str,
    },
    /// The log and the meta file contradict each other about what was sworn.
    #[error(
        "{file} and \"meta\" name different pledges for the group with sequence {sequence}: \
         one of them is from another time. Empty the directory and start again under the same id: \
         the other nodes put it back"
    )]
    PledgeContradicted {
        /// The segment.
        file: String,
        /// The sequence of the group.
        sequence: u64,
    },
    /// Acknowledged data is damaged or missing. It is never cut off: it comes from peers, unless
    /// what is left does not go together.
    #[error(
        "{file} is damaged at offset {offset} ({damage}); entries affected: {}. \
         What the other nodes do not repair is gone: if it does not start, empty the directory and \
         start again under the same id",
        shown(.indexes)
    )]
    Damaged {
        /// The file.
        file: String,
        /// Where in the file, in bytes.
        offset: u64,
        /// The entries that cannot be read; empty if none or if their names are lost too.
        indexes: Range<Index>,
        /// What is wrong with it.
        damage: Damage,
    },
    /// The end of the log is damaged or missing, and the cluster has at most one other member: no
    /// majority that could put this disk in its place again. It is not known what stood there, so nothing
    /// is written over it.
    #[error(
        "{file} is damaged at offset {offset}, where the log ends or should go on: what stood there \
         may have been acknowledged, and without this node the cluster has no majority that could say \
         so. Nothing was changed. Check the disk; if it cannot be read again, restore a backup of every \
         node, and accept what was written since it was made as lost"
    )]
    EndLostAlone {
        /// The file.
        file: String,
        /// Where in the file, in bytes.
        offset: u64,
    },
    /// A part of a file cannot be read.
    #[error(
        "{file} cannot be read at offset {offset} ({error}): nothing was changed; \
         check the disk"
    )]
    Unreadable {
        /// The file.
        file: String,
        /// Where in the file, in bytes.
        offset: u64,
        /// What the operating system says.
        error: Arc<io::Error>,
    },
    /// A segment which the meta file names is not there.
    #[error(
        "{file} is missing: acknowledged entries may have been in it. Put it back, or empty the \
         directory and start again under the same id"
    )]
    MissingSegment {
        /// The segment.
        file: String,
    },
    /// A file has the name of a segment, but is another one.
    #[error("{file} is not what its name says: it is {found}. Move it away or put the right one")]
    ForeignSegment {
        /// The file.
        file: String,
        /// What it is.
        found: String,
    },
    /// Entries are lost on this disk, with their names. They come from peers.
    #[error("entries {first} to {last} are lost on this disk: they have to come from peers")]
    Lost {
        /// The first of them.
        first: Index,
        /// The last of them.
        last: Index,
    },
    /// A snapshot cannot be read or removed.
    #[error(transparent)]
    Snapshots(SnapshotError),
    /// These entries were compacted away: a snapshot covers them.
    #[error("entry {from} is older than the log, which begins behind {base}")]
    Compacted {
        /// The first entry that was asked for.
        from: Index,
        /// What stands before the log's first entry.
        base: Index,
    },
    /// There is no room for more. Make room: it is tried again by itself.
    #[error("no room on the disk ({error}): make room, it is tried again")]
    NoRoom {
        /// What the operating system says.
        error: Arc<io::Error>,
    },
    /// A write or sync failed. What it was about is in an unknown state, and so is what the
    /// operating system has in its caches: restart the process, which reads from the medium.
    #[error("cannot {operation} {file} ({error}): check the disk, then restart")]
    WriteFailed {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        file: String,
        /// What the operating system says.
        error: Arc<io::Error>,
    },
    /// The log would not be able to read back what it has written.
    #[error("segment_bytes and group_bytes must be at most {max_bytes}")]
    OptionsTooLarge {
        /// The limit.
        max_bytes: u64,
    },
    /// The founding record does not fit into the meta file: the cluster has too many members.
    #[error("a founding record of {bytes} bytes does not fit: use fewer members")]
    FoundingTooLarge {
        /// Its size.
        bytes: usize,
    },
}

/// What is wrong with a part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// Something was written there and acknowledged, and is no longer there.
    #[error("a group that was acknowledged is missing")]
    GroupMissing,
    /// A group's header does not match its checksum.
    #[error("a group's header is damaged")]
    Header,
    /// A payload does not match its digest.
    #[error("a payload is damaged")]
    Payload,
    /// A group is intact, and is not the one that belongs there.
    #[error("a group from another place or another time")]
    Misplaced,
    /// A group is intact, and contradicts what stands before it.
    #[error("a group that does not follow the one before it")]
    Contradiction,
    /// The segment's own header is damaged.
    #[error("the segment's header is damaged")]
    SegmentHeader,
    /// The file is shorter than it was made.
    #[error("the file is too short")]
    TooShort,
}

impl StorageError {
    /// True if the medium does not give back what is there.
    pub(crate) fn is_damaged_medium(&self) -> bool {
        matches!(self, StorageError::Unreadable { error, .. } if disk::is_damage(error))
    }

    /// True if something that was written is not there any more. Other errors say nothing about
    /// what is on the medium.
    pub(crate) fn is_damage(&self) -> bool {
        let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        match self {
            StorageError::Damaged { .. } => true,
            StorageError::Unreadable { error, .. } => disk::is_damage(error) || is_gone(error),
            _ => false,
        }
    }

    pub(crate) fn unreadable(file: &str, offset: u64, error: io::Error) -> StorageError {
        StorageError::Unreadable { file: file.to_owned(), offset, error: Arc::new(error) }
    }

    pub(crate) fn write_failed(
        operation: &'static str,
        file: &str,
        error: io::Error,
    ) -> StorageError {
        StorageError::WriteFailed { operation, file: file.to_owned(), error: Arc::new(error) }
    }
}

/// True if an operation failed because the disk is full. Nothing is wrong with the disk then.
pub(crate) fn is_out_of_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn shown(indexes: &Range<Index>) -> String {
    if indexes.is_empty() {
        "unknown".to_owned()
    } else {
        format!("{} to {}", indexes.start, indexes.end.previous())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_names_the_entries_as_far_as_they_are_known() {
        let shown = |indexes| {
            let (file, damage) = ("wal".to_owned(), Damage::Payload);
            StorageError::Damaged { file, offset: 4096, indexes, damage }.to_string()
        };
        let named = shown(Index(7)..Index(10));
        assert!(named.contains("wal is damaged at offset 4096") && named.contains("7 to 9"));
        assert!(shown(Index(7)..Index(7)).contains("unknown"));
    }

    #[test]
    fn a_file_that_is_gone_is_damage_and_one_that_may_not_be_read_is_none() {
        let unreadable = |kind: io::ErrorKind| StorageError::unreadable("wal", 0, kind.into());
        assert!(unreadable(io::ErrorKind::NotFound).is_damage());
        assert!(!unreadable(io::ErrorKind::PermissionDenied).is_damage());
        assert!(!StorageError::Locked.is_damage());
    }
}
