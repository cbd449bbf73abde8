//! The content of a snapshot.
//!
//! ```text
//! ┌─────────┬────────────┬──────────────────────────────┬───────────────────┐
//! │ version │ length     │ bookkeeping                  │ state             │
//! │ u8 = 1  │ u64, LE    │ `length` bytes, postcard     │ to the end        │
//! └─────────┴────────────┴──────────────────────────────┴───────────────────┘
//! ```
//!
//! There are no checksums here: the storage checksums the content as a whole and in chunks, on
//! disk and on the way.

use std::io::{self, BufWriter, Read, Write};

use postcard::ser_flavors::Size;
use serde::{Deserialize, Serialize};

use super::decode;
use crate::machine::StateMachine;
use crate::membership::Membership;
use crate::session::Sessions;
use crate::snapshot::SnapshotMeta;
use crate::types::{Digest, LogId, LogTime};

/// What the framework keeps beside the user's state. Fields may only be added with another
/// format version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bookkeeping {
    /// The last entry applied, with its digest and, as of it, log time and so on.
    pub last: LogId,
    pub digest: Digest,
    pub time: LogTime,
    pub membership: Membership,
    pub sessions: Sessions,
}

/// The replicated state as of one entry, while the original goes on changing. Can be sent to the
/// thread that writes it.
pub struct SnapshotView<S: StateMachine> {
    books: Bookkeeping,
    state: S::View,
}

/// Why a state cannot be restored from a snapshot. The replica has to stop; nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The content could not be read.
    #[error("the snapshot cannot be read from disk ({0}): repair the disk, then restart")]
    Read(io::Error),
    /// The content is of another format.
    #[error(
        "the snapshot's content has format version {found}, this program reads {supported}: run \
         the version that wrote it, or a later one"
    )]
    Version {
        /// The version in the snapshot.
        found: u8,
        /// The version which can be read.
        supported: u8,
    },
    /// The content ends too early.
    #[error(
        "the snapshot's content ends before its {size_bytes} bytes are complete: if \
         only this node says so, empty its directory and start again under the same id; if others \
         do, run the program that wrote it"
    )]
    Truncated {
        /// The length announced.
        size_bytes: u64,
    },
    /// The content goes on where it should end.
    #[error(
        "the snapshot's content goes on behind the end of the state machine's state: it is \
         damaged, or the state machine is not the one that wrote it"
    )]
    Trailing,
    /// The framework's own part makes no sense.
    #[error(
        "the framework's part of the snapshot is malformed: if only this node says so, empty its \
         directory and start again under the same id; if others do, run the program that wrote it"
    )]
    Malformed,
    /// The content is that of another snapshot.
    #[error(
        "the snapshot's content is not of entry {expected} as announced: its {field} differs: \
         if only this node says so, empty its directory and start again under the same id; if \
         others do, run the program that wrote it"
    )]
    Differs {
        /// The last entry that it should cover.
        expected: LogId,
        /// What differs.
        field: &'static str,
    },
    /// The user's state machine could not read its part.
    #[error(
        "the state machine cannot read its part of the snapshot ({0}): run the version that wrote \
         it, or one that still reads it"
    )]
    State(io::Error),
}

/// The format version that this file writes and reads.
const VERSION: u8 = 1;

impl<S: StateMachine> SnapshotView<S> {
    pub(super) fn new(books: Bookkeeping, state: S::View) -> SnapshotView<S> {
        SnapshotView { books, state }
    }

    /// The last entry whose effects the view contains.
    #[must_use]
    pub fn last(&self) -> LogId {
        self.books.last
    }

    /// The digest of that entry.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.books.digest
    }

    /// Log time as of that entry.
    #[must_use]
    pub fn time(&self) -> LogTime {
        self.books.time
    }

    /// The members as of that entry.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        &self.books.membership
    }

    /// Writes the content, buffered, and flushes `out`. To write the same view again gives the
    /// same bytes, if the state machine keeps to that.
    ///
    /// # Errors
    /// Those of `out`, as it reported them, and those of the state machine. What was written is
    /// then not a snapshot.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut out = Remembering { out, error: None };
        let written = self.write_buffered(&mut BufWriter::new(&mut out));
        match (written, out.error) {
            (_, Some(error)) => Err(error),
            (written, None) => written,
        }
    }

    fn write_buffered(&self, out: &mut dyn Write) -> io::Result<()> {
        let length = postcard::serialize_with_flavor(&self.books, Size::default())
            .map_err(io::Error::other)?;
        out.write_all(&[VERSION])?;
        out.write_all(&(length as u64).to_le_bytes())?;
        postcard::to_io(&self.books, &mut *out).map_err(io::Error::other)?;
        S::write(&self.state, out)?;
        out.flush()
    }
}

impl<S: StateMachine> std::fmt::Debug for SnapshotView<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotView").field("last", &self.last()).finish_non_exhaustive()
    }
}

/// Reads the content of the snapshot that `meta` describes, to its last byte.
pub(super) fn read<S: StateMachine>(
    meta: &SnapshotMeta,
    input: &mut dyn Read,
) -> Result<(Bookkeeping, S), RestoreError> {
    let mut input = Announced { input, left: meta.size_bytes, trouble: None };
    let result = read_parts::<S>(meta, &mut input);
    // What a reader makes of an input that failed or ended too early says less than the failure.
    match input.trouble {
        Some(Trouble::Failed(error)) => Err(RestoreError::Read(error)),
        Some(Trouble::EndedEarly) => Err(RestoreError::Truncated { size_bytes: meta.size_bytes }),
        None => result,
    }
}

fn read_parts<S: StateMachine>(
    meta: &SnapshotMeta,
    input: &mut Announced<'_>,
) -> Result<(Bookkeeping, S), RestoreError> {
    let truncated = |_| RestoreError::Truncated { size_bytes: meta.size_bytes };
    let mut version = [0; 1];
    input.read_exact(&mut version).map_err(truncated)?;
    if version != [VERSION] {
        return Err(RestoreError::Version { found: version[0], supported: VERSION });
    }
    let mut length = [0; 8];
    input.read_exact(&mut length).map_err(truncated)?;
    let books = read_bookkeeping(u64::from_le_bytes(length), input)?;
    check(&books, meta)?;
    let machine = S::restore(input).map_err(RestoreError::State)?;
    input.expect_end()?;
    Ok((books, machine))
}

fn read_bookkeeping(length: u64, input: &mut Announced<'_>) -> Result<Bookkeeping, RestoreError> {
    if length > input.left {
        return Err(RestoreError::Malformed);
    }
    // Grows with what is really there, whatever the length claims.
    let mut bytes = Vec::new();
    input.take(length).read_to_end(&mut bytes).map_err(RestoreError::Read)?;
    let books: Bookkeeping = decode(&bytes).ok_or(RestoreError::Malformed)?;
    let used_later = books.sessions.last_use() > books.last.index;
    if used_later { Err(RestoreError::Malformed) } else { Ok(books) }
}

fn check(books: &Bookkeeping, meta: &SnapshotMeta) -> Result<(), RestoreError> {
    let differs = [
        (books.last != meta.last, "last entry"),
        (books.digest != meta.digest, "entry digest"),
        (books.time != meta.time, "log time"),
        (books.membership != meta.membership, "membership"),
    ];
    match differs.iter().find(|(differs, _)| *differs) {
        Some((_, field)) => Err(RestoreError::Differs { expected: meta.last, field }),
        None => Ok(()),
    }
}

/// Keeps the error of the writer beneath: serde formats replace it by one that says less, and
/// "no space left" must stay recognisable.
struct Remembering<'a> {
    out: &'a mut dyn Write,
    error: Option<io::Error>,
}

impl Remembering<'_> {
    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            let kind = error.kind();
            if kind != io::ErrorKind::Interrupted {
                self.error.get_or_insert(error);
            }
            kind.into()
        })
    }
}

impl Write for Remembering<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // What failed once is not gone on with: a buffer may try again when it is dropped.
        if let Some(error) = &self.error {
            return Err(error.kind().into());
        }
        let result = self.out.write(bytes);
        self.note(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.out.flush();
        self.note(result)
    }
}

/// Gives exactly as many bytes as were announced, and notes what came in the way.
struct Announced<'a> {
    input: &'a mut dyn Read,
    left: u64,
    trouble: Option<Trouble>,
}

enum Trouble {
    Failed(io::Error),
    EndedEarly,
}

impl Announced<'_> {
    /// Checks that everything which was announced has been read, and that there is no more.
    fn expect_end(&mut self) -> Result<(), RestoreError> {
        let mut probe = [0; 1];
        let unread = self.left > 0;
        let end =
            if unread { self.read_exact(&mut probe) } else { self.input.read_exact(&mut probe) };
        match end {
            Ok(()) => Err(RestoreError::Trailing),
            Err(error) if !unread && error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            Err(error) => Err(RestoreError::Read(error)),
        }
    }
}

impl Read for Announced<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let read = self.input.read(&mut buffer[..most]);
        match &read {
            Ok(0) => self.trouble = Some(Trouble::EndedEarly),
            Ok(read) => self.left -= *read as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let kind = error.kind();
                self.trouble = read.err().map(Trouble::Failed);
                return Err(kind.into());
            }
        }
        read
    }
}
