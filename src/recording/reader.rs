//! Reads recordings, and replays them.

use std::io;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use quorate_core::{
    Divergence, Effect, Protocol, RecordedCall, RecordedStart, Replay, Replayed, Started,
};

use super::ending::Ending;
use super::format::{About, FORMAT_VERSION, Kind, Last, Record};
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
    package: Option<String>,
    start: RecordedStart,
    ending: Option<Ending>,
    protocol: PhantomData<fn() -> P>,
}

/// What happens in a replay, for whoever looks on.
#[derive(Debug)]
#[non_exhaustive]
pub enum Moment<'a, M> {
    /// The replica is about to start.
    Start(&'a RecordedStart),
    /// It is about to be called.
    Call {
        /// In which batch, from 1.
        batch: u64,
        /// As it was recorded.
        call: &'a RecordedCall<M>,
    },
    /// All that has come of that, whether it is the same or not.
    Effects(&'a [Effect<M>]),
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
    /// It has no start: there is nothing to replay.
    #[error("there is nothing to replay, not even a start: {ending}")]
    NoStart {
        /// How it ends.
        ending: Ending,
    },
    /// Its bytes are not those that were written. What stands before them is whole.
    #[error("the recording is damaged in the record at byte {offset}; what precedes it is whole")]
    Damaged {
        /// Where the record begins.
        offset: u64,
    },
    /// Its bytes are whole, and mean nothing to this program.
    #[error(
        "the record at byte {offset} is whole, but not understood: replay it with the program that \
         wrote it{}", named(.package)
    )]
    Unreadable {
        /// Where the record begins.
        offset: u64,
        /// The version of quorate that wrote it, if that is understood.
        package: Option<String>,
    },
}

fn named(package: &Option<String>) -> String {
    package.as_ref().map_or_else(String::new, |package| format!(", quorate {package}"))
}

/// Why a recording was not replayed to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// It cannot be read any further.
    #[error(
        "{} events in {} batches came to the same, and no more is known",
        .replayed.events,
        .replayed.batches
    )]
    Recording {
        /// How much came to the same before.
        replayed: Replayed,
        /// Why it cannot be read.
        source: RecordingError,
    },
    /// The replica does something else than the recorded one did.
    #[error(transparent)]
    Diverged(#[from] Divergence),
    /// The replica panicked.
    #[error(
        "the replica panics in batch {batch}, over {during}{}",
        if *.recorded { ", as it did when it was recorded" } else { "" }
    )]
    Panicked {
        /// In which batch, from 1; 0 is the start.
        batch: u64,
        /// Over what, for people to read.
        during: String,
        /// Whether the recorded one did so, too.
        recorded: bool,
    },
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
            Next::Record(_) | Next::Unknown => None,
            Next::Nothing { .. } => return Err(RecordingError::NotARecording),
        };
        let about = about.ok_or(RecordingError::Unreadable { offset, package: None })?;
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
            Next::Record(Record { kind: Kind::End, body }) => match decoded::<Last>(&body) {
                Some(last) => return Err(RecordingError::NoStart { ending: last.into() }),
                None => None,
            },
            Next::Nothing { torn_bytes } => {
                return Err(RecordingError::NoStart { ending: Ending::Cut { torn_bytes } });
            }
            Next::Record(_) | Next::Unknown => None,
        };
        let package = Some(package);
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
    /// # Errors
    /// If the recording cannot be read, or the replica does something else, or panics, be it as the
    /// recorded one did.
    pub fn replay<P: Protocol>(self) -> Result<(Replayed, Ending), ReplayError> {
        self.replay_watched::<P>(|_| ())
    }

    /// The same, and shows what happens.
    ///
    /// # Errors
    /// As with [`replay`](Recording::replay).
    pub fn replay_watched<P: Protocol>(
        self,
        mut watch: impl FnMut(Moment<'_, P::Message>),
    ) -> Result<(Replayed, Ending), ReplayError> {
        let unreadable = |replayed| move |source| ReplayError::Recording { replayed, source };
        let mut batches = self.batches::<P>().map_err(unreadable(Replayed::default()))?;
        let start = batches.start();
        watch(Moment::Start(start));
        let started = catch_unwind(|| Replay::<P>::start(start));
        let started = started.map_err(|_| ReplayError::Panicked {
            batch: 0,
            during: "the start".to_owned(),
            recorded: start.outcome.is_none(),
        })?;
        let mut replay = match started? {
            Started::Up(replay) => replay,
            Started::Refused(why) => return Ok((Replayed::default(), Ending::NotStarted(why))),
        };
        watch(Moment::Effects(replay.effects()));
        while let Some(calls) = batches.next_batch().map_err(unreadable(replay.replayed()))? {
            for call in &calls {
                let batch = replay.replayed().batches + 1;
                watch(Moment::Call { batch, call });
                let same = catch_unwind(AssertUnwindSafe(|| replay.call(call)));
                let recorded = call.effects.is_none();
                let panicked =
                    |_| ReplayError::Panicked { batch, during: call.excerpt(), recorded };
                let same = same.map_err(panicked)?;
                watch(Moment::Effects(replay.effects()));
                same?;
            }
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
                self.ending = Some(decoded::<Last>(&body).ok_or_else(unreadable)?.into());
            }
            Next::Record(Record { kind: Kind::Batch, body }) => {
                return RecordedCall::decode_all(&body).ok_or_else(unreadable).map(Some);
            }
            Next::Record(_) | Next::Unknown => return Err(unreadable()),
        }
        Ok(None)
    }

    /// How the recording ends, once its last batch was read.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        self.ending.clone()
    }
}
