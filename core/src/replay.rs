//! A recorded replica does once more what it did, and is compared with what it did then.
//!
//! A replica has no clock and no chance of its own: what comes of a recording is, byte for byte, what
//! came of it in production, unless the program is another one, or memory was damaged, or there is a
//! bug by which the replica depends on something else.

use std::fmt::{self, Write};

use crate::event::{Effect, Event, Fatal};
use crate::protocol::Protocol;
use crate::recording::{Call, Digester, RecordedCall, RecordedStart};
use crate::replica::Replica;
use crate::types::{Digest, RequestId};

/// A replica that is told what a recorded one was told.
///
/// Where the recorded one panicked, this one does so, too.
#[derive(Debug)]
pub struct Replay<P: Protocol> {
    replica: Replica<P>,
    /// Of the batch. The replica adds to them, as it did when it was recorded.
    effects: Vec<Effect<P::Message>>,
    /// Where those of the last call begin.
    last: usize,
    batch_is_over: bool,
    calls: u64,
    replayed: Replayed,
    digester: Digester,
}

/// What a start came to that comes to the same as when it was recorded.
#[derive(Debug)]
pub enum Started<P: Protocol> {
    /// The replica runs.
    Up(Box<Replay<P>>),
    /// It does not start, for the same reason as when it was recorded: there is nothing more to replay.
    Refused(Fatal),
}

/// How much was replayed, and came to the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Batches that were flushed.
    pub batches: u64,
    /// Events.
    pub events: u64,
    /// Effects, those of the start included.
    pub effects: u64,
}

/// The first place in a recording at which a replica does not do what the recorded one did.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("batch {batch}, call {call}, {during}: {difference}")]
pub struct Divergence {
    /// In which batch, from 1; 0 is the start.
    pub batch: u64,
    /// Which of all calls, from 1; 0 is the start.
    pub call: u64,
    /// The beginning of the call, for people to read.
    pub during: String,
    /// In what they differ.
    pub difference: Difference,
}

/// In what a replica differs from the recorded one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// It starts and the recorded one did not, or the other way round, or they give different reasons.
    #[error("recorded was that {}; what came out is that {}", start_as(.recorded), start_as(.came_out))]
    Start {
        /// Why the recorded one did not start; `None` if it did.
        recorded: Option<Fatal>,
        /// Why this one does not; `None` if it does.
        came_out: Option<Fatal>,
    },
    /// The recorded one did not come to the end of this: it panicked.
    #[error("recorded was a call that did not end, as by a panic; it ended")]
    Ended,
    /// Another name was given to a request.
    #[error("recorded was the name {recorded:?}; given was {given:?}")]
    Name {
        /// What the recorded one gave.
        recorded: RequestId,
        /// What this one gave.
        given: RequestId,
    },
    /// Another effect, one that the other one had not, or one that is missing.
    #[error("effect {place}: recorded was {}; what came out is {came_out}", recorded_as(.recorded))]
    Effect {
        /// Which one of the call, from 1.
        place: usize,
        /// The digest of the recorded one, if there was one.
        recorded: Option<Digest>,
        /// What came out.
        came_out: CameOut,
    },
}

/// What came out where a recorded effect was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CameOut {
    /// Nothing more.
    Nothing,
    /// This effect.
    Effect {
        /// Its digest.
        digest: Digest,
        /// The beginning of the effect, for people to read.
        effect: String,
    },
}

/// Of an event or an effect, which may be megabytes, no more than a person reads.
pub(crate) fn excerpt(what: &impl fmt::Debug) -> String {
    const CHARS: usize = 500;
    struct Excerpt(String, usize);
    impl fmt::Write for Excerpt {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let cut = text.char_indices().nth(self.1).map(|(at, _)| at);
            self.0.push_str(&text[..cut.unwrap_or(text.len())]);
            if cut.is_some() {
                self.0.push('…');
                return Err(fmt::Error);
            }
            self.1 -= text.chars().count();
            Ok(())
        }
    }
    let mut excerpt = Excerpt(String::new(), CHARS);
    // An error says that this is enough.
    let _ = write!(excerpt, "{what:?}");
    excerpt.0
}

fn start_as(refused: &Option<Fatal>) -> String {
    let why = |fatal| format!("the replica does not start ({fatal})");
    refused.as_ref().map_or_else(|| "the replica starts".to_owned(), why)
}

fn recorded_as(digest: &Option<Digest>) -> String {
    digest.map_or("nothing more".to_owned(), |digest| format!("{digest:?}"))
}

impl fmt::Display for CameOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CameOut::Nothing => f.write_str("nothing more"),
            CameOut::Effect { digest, effect } => write!(f, "{digest:?}, {effect}"),
        }
    }
}

impl<P: Protocol> Replay<P> {
    /// Starts the replica as the recorded one started.
    ///
    /// # Errors
    /// If something else comes of it.
    pub fn start(start: &RecordedStart) -> Result<Started<P>, Divergence> {
        let RecordedStart { config, recovered, now, outcome: recorded } = start;
        let diverged = |difference| Divergence {
            batch: 0,
            call: 0,
            during: "the start".to_owned(),
            difference,
        };
        let mut effects = Vec::new();
        let started = Replica::recover(config.clone(), recovered.clone(), *now, &mut effects);
        let recorded = recorded.as_ref().ok_or_else(|| diverged(Difference::Ended))?;
        let (replica, recorded) = match (started, recorded) {
            (Ok(replica), Ok(recorded)) => (replica, recorded),
            (Err(fatal), Err(recorded)) if fatal == *recorded => {
                return Ok(Started::Refused(fatal));
            }
            (started, recorded) => {
                let (recorded, came_out) = (recorded.as_ref().err().cloned(), started.err());
                return Err(diverged(Difference::Start { recorded, came_out }));
            }
        };
        let mut replay = Replay {
            replica,
            effects,
            last: 0,
            batch_is_over: true,
            calls: 0,
            replayed: Replayed::default(),
            digester: Digester::default(),
        };
        replay.compare(Some(recorded)).map_err(diverged)?;
        Ok(Started::Up(Box::new(replay)))
    }

    /// Makes a recorded call.
    ///
    /// # Errors
    /// If something else comes of it than was recorded. The replica is of no further use then, but
    /// to be looked at.
    pub fn call(&mut self, recorded: &RecordedCall<P::Message>) -> Result<(), Divergence> {
        let batch = self.replayed.batches + 1;
        self.calls += 1;
        if std::mem::take(&mut self.batch_is_over) {
            self.effects.clear();
        }
        self.last = self.effects.len();
        let made = self.make(&recorded.call);
        made.and_then(|()| self.compare(recorded.effects.as_deref())).map_err(|difference| {
            let (call, during) = (self.calls, excerpt(&recorded.call));
            Divergence { batch, call, during, difference }
        })
    }

    /// What came of the last call, or of the start.
    #[must_use]
    pub fn effects(&self) -> &[Effect<P::Message>] {
        &self.effects[self.last..]
    }

    /// The replica as it stands after the last call.
    #[must_use]
    pub fn replica(&self) -> &Replica<P> {
        &self.replica
    }

    /// How much was replayed so far.
    #[must_use]
    pub fn replayed(&self) -> Replayed {
        self.replayed
    }

    fn make(&mut self, call: &Call<Event<P::Message>>) -> Result<(), Difference> {
        match call {
            Call::Step(now, event) => {
                self.replica.step(*now, event.clone(), &mut self.effects);
                self.replayed.events += 1;
            }
            Call::NameRequest(recorded) => {
                let (recorded, given) = (*recorded, self.replica.name_request());
                if recorded != given {
                    return Err(Difference::Name { recorded, given });
                }
            }
            Call::Flush(now) => {
                self.replica.flush(*now, &mut self.effects);
                self.replayed.batches += 1;
                self.batch_is_over = true;
            }
        }
        Ok(())
    }

    fn compare(&mut self, recorded: Option<&[Digest]>) -> Result<(), Difference> {
        let recorded = recorded.ok_or(Difference::Ended)?;
        let came_out = &self.effects[self.last..];
        for place in 0..recorded.len().max(came_out.len()) {
            let expected = recorded.get(place).copied();
            let digest = came_out.get(place).map(|effect| self.digester.digest(effect));
            if expected != digest {
                let came_out = match (came_out.get(place), digest) {
                    (Some(effect), Some(digest)) => {
                        CameOut::Effect { digest, effect: excerpt(effect) }
                    }
                    _ => CameOut::Nothing,
                };
                return Err(Difference::Effect { place: place + 1, recorded: expected, came_out });
            }
            self.replayed.effects += 1;
        }
        Ok(())
    }
}
