//! Reads recordings, and replays them.

use std::io;
use std::marker::PhantomData;
use std::path::Path;

use quorate_core::{Divergence, Protocol, RecordedCall, RecordedStart, Replay, Replayed};

use super::ending::Ending;
use super::format::{About, FORMAT_VERSION, Kind, Record};
use super::records::{Next, Records};
use crate::requests::decoded;

/// A recording of a node: see [`Builder::record_to`](crate::Builder::record_to).
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use quorate::{Raft, Recording};
///
/// let (replayed, ending) = Recording::open("node-1.rec")?.replay::<Raft>()?;
/// println!("{} events came to the same; {ending}", replayed.events);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Recording {
    records: Records,
    about: About,
}

/// The batches of a recording, one after the other, each with the calls that its replica got.
#[derive(Debug)]
pub struct Batches<P> {
    records: Records,
    package: String,
    start: RecordedStart,
    ending: Option<Ending>,
    protocol: PhantomData<fn() -> P>,
}

/// Why a recording cannot be read, or not to its end. That the end of a file is missing is no error:
/// see [`Ending::Cut`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The file cannot be opened or read.
    #[error("the recording cannot be read")]
    Io(#[from] io::Error),
    /// It is something else, or ends before it says who wrote it.
    #[error("the file is not a recording")]
    NotARecording,
    /// It was written in another format.
    #[error(
        "the recording is of format version {found}, this program reads {FORMAT_VERSION}: replay it \
         with the program that wrote it"
    )]
    Version {
        /// In which.
        found: u32,
    },
    /// It is of another protocol than was asked for.
    #[error("the recording is of a replica under {recorded}, not under {asked}")]
    Protocol {
        /// What was recorded.
        recorded: String,
        /// What was asked for.
        asked: &'static str,
    },
    /// It ends before the replica had started.
    #[error("the recording ends before its replica had started: there is nothing to replay")]
    NoStart,
    /// Its bytes are not those that were written. What stands before them is whole.
    #[error("the recording is damaged in the record at byte {offset}; what precedes it is whole")]
    Damaged {
        /// Where the record begins.
        offset: u64,
    },
    /// Its bytes are whole, and mean nothing to this program.
    #[error(
        "the record at byte {offset} is whole, but not understood: replay it with the program that \
         wrote it, quorate {package}"
    )]
    Unreadable {
        /// Where the record begins.
        offset: u64,
        /// The version of quorate that wrote it.
        package: String,
    },
}

/// Why a recording was not replayed to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// It cannot be read any further.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// The replica does something else than the recorded one did.
    #[error(transparent)]
    Diverged(#[from] Divergence),
}

impl Recording {
    /// Opens a recording.
    ///
    /// # Errors
    /// If it cannot be read, is something else, or of another format.
    pub fn open(path: impl AsRef<Path>) -> Result<Recording, RecordingError> {
        let mut records = Records::open(path.as_ref())?;
        let offset = records.offset();
        let about = match records.next()? {
            Next::Record(Record { kind: Kind::About, body }) => decoded(&body),
            Next::Record(_) | Next::Nothing { .. } => return Err(RecordingError::NotARecording),
        };
        let about = about.ok_or(RecordingError::Damaged { offset })?;
        Ok(Recording { records, about })
    }

    /// The [name](Protocol::NAME) of the replica's protocol.
    #[must_use]
    pub fn protocol(&self) -> &str {
        &self.about.protocol
    }

    /// The version of quorate that wrote it.
    #[must_use]
    pub fn package(&self) -> &str {
        &self.about.package
    }

    /// What was recorded of a replica under this protocol.
    ///
    /// # Errors
    /// If it is of another protocol, or its first records cannot be read.
    pub fn batches<P: Protocol>(self) -> Result<Batches<P>, RecordingError> {
        let Recording { mut records, about: About { protocol: recorded, package } } = self;
        if recorded != P::NAME {
            return Err(RecordingError::Protocol { recorded, asked: P::NAME });
        }
        let offset = records.offset();
        let start = match records.next()? {
            Next::Record(Record { kind: Kind::Start, body }) => RecordedStart::decode(&body),
            Next::Record(_) | Next::Nothing { .. } => return Err(RecordingError::NoStart),
        };
        match start {
            None => Err(RecordingError::Unreadable { offset, package }),
            Some(start) => {
                let protocol = PhantomData;
                Ok(Batches { records, package, start, ending: None, protocol })
            }
        }
    }

    /// Tells a replica under this protocol what the recorded one was told, and compares what comes of
    /// it. How much was replayed, and how the recording ends.
    ///
    /// # Panics
    /// Where the recorded one did, or another bug is found.
    ///
    /// # Errors
    /// If the recording cannot be read, or the replica does something else.
    pub fn replay<P: Protocol>(self) -> Result<(Replayed, Ending), ReplayError> {
        let mut batches = self.batches::<P>()?;
        let mut replay = Replay::<P>::start(batches.start())?;
        while let Some(calls) = batches.next_batch()? {
            calls.iter().try_for_each(|call| replay.call(call))?;
        }
        let ending = batches.ending().expect("it was read to its end");
        Ok((replay.replayed(), ending))
    }
}

impl<P: Protocol> Batches<P> {
    /// With what the replica started.
    #[must_use]
    pub fn start(&self) -> &RecordedStart {
        &self.start
    }

    /// The calls of the next batch, whose last one is a flush, unless the replica panicked before;
    /// `None` at the end.
    ///
    /// # Errors
    /// If the next record is damaged, or means nothing to this program. Nothing more can be read then.
    pub fn next_batch(&mut self) -> Result<Option<Vec<RecordedCall<P::Message>>>, RecordingError> {
        if self.ending.is_some() {
            return Ok(None);
        }
        let offset = self.records.offset();
        let unreadable = || RecordingError::Unreadable { offset, package: self.package.clone() };
        match self.records.next()? {
            Next::Nothing { torn_bytes } => self.ending = Some(Ending::Cut { torn_bytes }),
            Next::Record(Record { kind: Kind::End, body }) => {
                self.ending = Some(decoded(&body).ok_or_else(unreadable)?);
            }
            Next::Record(Record { kind: Kind::Batch, body }) => {
                return RecordedCall::decode_all(&body).ok_or_else(unreadable).map(Some);
            }
            Next::Record(_) => return Err(unreadable()),
        }
        Ok(None)
    }

    /// How the recording ends, once its last batch was read.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }
}
