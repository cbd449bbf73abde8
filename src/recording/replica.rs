//! The replica as the loop has it: recorded, if that is wanted.

use std::ops::Deref;

use quorate_core::{
    Call, Effect, Event, Fatal, Now, Protocol, Recovered, Replica, ReplicaConfig, RequestId,
};

use super::Tape;

/// A replica. Everything that changes it goes through here, and on the tape if there is one; whoever
/// only has the [`Replica`] to which this dereferences cannot change it, so that nothing is missed.
pub(crate) struct RecordedReplica<P: Protocol> {
    replica: Replica<P>,
    tape: Option<Tape>,
}

impl<P: Protocol> RecordedReplica<P> {
    /// See [`Replica::recover`].
    pub(crate) fn recover(
        config: ReplicaConfig,
        recovered: Recovered,
        now: Now,
        out: &mut Vec<Effect<P::Message>>,
        mut tape: Option<Tape>,
    ) -> Result<RecordedReplica<P>, Fatal> {
        if let Some(tape) = &mut tape {
            tape.recorder().start(&config, &recovered, now);
        }
        let replica = Replica::recover(config, recovered, now, out)?;
        let mut recorded = RecordedReplica { replica, tape };
        recorded.after(out);
        recorded.hand_over();
        Ok(recorded)
    }

    /// See [`Replica::step`].
    pub(crate) fn step(
        &mut self,
        now: Now,
        event: Event<P::Message>,
        out: &mut Vec<Effect<P::Message>>,
    ) {
        let before = out.len();
        if let Some(tape) = &mut self.tape {
            tape.recorder().call(&Call::Step(now, &event));
        }
        self.replica.step(now, event, out);
        self.after(&out[before..]);
    }

    /// See [`Replica::flush`].
    pub(crate) fn flush(&mut self, now: Now, out: &mut Vec<Effect<P::Message>>) {
        let before = out.len();
        if let Some(tape) = &mut self.tape {
            tape.recorder().call::<P::Message>(&Call::Flush(now));
        }
        self.replica.flush(now, out);
        self.after(&out[before..]);
        self.hand_over();
    }

    /// See [`Replica::name_request`].
    pub(crate) fn name_request(&mut self) -> RequestId {
        let name = self.replica.name_request();
        if let Some(tape) = &mut self.tape {
            tape.recorder().call::<P::Message>(&Call::NameRequest(name));
        }
        self.after(&[]);
        name
    }

    fn after(&mut self, effects: &[Effect<P::Message>]) {
        if let Some(tape) = &mut self.tape {
            tape.recorder().effects(effects);
        }
    }

    fn hand_over(&mut self) {
        self.tape.take_if(|tape| !tape.hand_over());
    }
}

impl<P: Protocol> Deref for RecordedReplica<P> {
    type Target = Replica<P>;

    fn deref(&self) -> &Replica<P> {
        &self.replica
    }
}
