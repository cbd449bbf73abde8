//! A replica, and what is recorded of it.

use std::ops::Deref;

use bytes::Bytes;

use crate::event::{Effect, Event, Fatal};
use crate::protocol::Protocol;
use crate::recording::{Call, RecordedCall, RecordedStart, Recorder};
use crate::replica::{Replica, ReplicaConfig};
use crate::types::{Now, RequestId};
use crate::write::Recovered;

/// Takes what is recorded of a replica.
pub trait Tape {
    /// What encodes it.
    fn recorder(&mut self) -> &mut Recorder;

    /// The end of the start, and of each batch: what was recorded is to be [taken](Recorder::take).
    /// False if that, and all that follows, is not recorded.
    fn hand_over(&mut self) -> bool;
}

/// A replica that is recorded, if there is a tape. Everything that changes it goes through here; whoever
/// only has the [`Replica`] to which this dereferences cannot change it, so that nothing is missed.
#[derive(Debug)]
pub struct Recorded<P: Protocol, T> {
    replica: Replica<P>,
    tape: Option<T>,
}

/// A tape in memory.
#[derive(Debug, Default)]
pub struct MemTape {
    recorder: Recorder,
    pub(crate) taken: Vec<Bytes>,
}

impl<P: Protocol, T: Tape> Recorded<P, T> {
    /// See [`Replica::recover`].
    ///
    /// # Errors
    /// See there. The tape has them, too.
    pub fn recover(
        config: ReplicaConfig,
        recovered: Recovered,
        now: Now,
        out: &mut Vec<Effect<P::Message>>,
        mut tape: Option<T>,
    ) -> Result<Recorded<P, T>, Fatal> {
        let before = out.len();
        if let Some(tape) = &mut tape {
            tape.recorder().start(&config, &recovered, now);
        }
        let started = Replica::recover(config, recovered, now, out);
        if let Some(tape) = &mut tape {
            tape.recorder().started(started.as_ref().map(|_| &out[before..]));
        }
        tape.take_if(|tape| !tape.hand_over());
        Ok(Recorded { replica: started?, tape })
    }

    /// See [`Replica::step`].
    pub fn step(&mut self, now: Now, event: Event<P::Message>, out: &mut Vec<Effect<P::Message>>) {
        let before = out.len();
        if let Some(tape) = &mut self.tape {
            tape.recorder().call(&Call::Step(now, &event));
        }
        self.replica.step(now, event, out);
        self.after(&out[before..]);
    }

    /// See [`Replica::flush`].
    pub fn flush(&mut self, now: Now, out: &mut Vec<Effect<P::Message>>) {
        let before = out.len();
        if let Some(tape) = &mut self.tape {
            tape.recorder().call::<P::Message>(&Call::Flush(now));
        }
        self.replica.flush(now, out);
        self.after(&out[before..]);
        self.tape.take_if(|tape| !tape.hand_over());
    }

    /// See [`Replica::name_request`].
    pub fn name_request(&mut self) -> RequestId {
        let name = self.replica.name_request();
        if let Some(tape) = &mut self.tape {
            tape.recorder().call::<P::Message>(&Call::NameRequest(name));
        }
        self.after(&[]);
        name
    }

    /// The replica and its tape.
    #[must_use]
    pub fn into_parts(self) -> (Replica<P>, Option<T>) {
        (self.replica, self.tape)
    }

    fn after(&mut self, effects: &[Effect<P::Message>]) {
        if let Some(tape) = &mut self.tape {
            tape.recorder().effects(effects);
        }
    }
}

impl<P: Protocol, T> Deref for Recorded<P, T> {
    type Target = Replica<P>;

    fn deref(&self) -> &Replica<P> {
        &self.replica
    }
}

impl Tape for MemTape {
    fn recorder(&mut self) -> &mut Recorder {
        &mut self.recorder
    }

    fn hand_over(&mut self) -> bool {
        self.taken.push(self.recorder.take());
        true
    }
}

impl MemTape {
    /// The start, and all calls since, those of a batch that was not flushed included.
    ///
    /// # Panics
    /// If it holds no start, or is of another protocol.
    #[must_use]
    pub fn decode<P: Protocol>(mut self) -> (RecordedStart, Vec<RecordedCall<P::Message>>) {
        self.hand_over();
        let (start, batches) = self.taken.split_first().expect("something was taken");
        let decode = |batch: &Bytes| RecordedCall::decode_all(batch).expect("calls were recorded");
        let calls = batches.iter().flat_map(decode).collect();
        (RecordedStart::decode(start).expect("a start was recorded"), calls)
    }
}
