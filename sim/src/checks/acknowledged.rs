//! Acknowledged writes are present: what a client was told is done has taken effect, as the answer
//! says, in the one order that all replicas share (Ongaro 2014, sections 3.5 and 6.3; Liskov and
//! Cowling 2012, section 4.1). That it stays is the rest of the checks' business.

use super::state_machine_safety::StateMachineSafety;
use super::{Property, Verdict};
use crate::machine::{Done, OpId};

const PROPERTY: Property =
    Property { name: "acknowledged writes are present", stated_in: "Ongaro 2014, section 6.3" };

/// Compares answers with effects.
pub(super) struct Acknowledged;

impl Acknowledged {
    /// A client was answered `done` to its request `op`.
    pub(super) fn acknowledged(&self, op: OpId, done: &Done, all: &StateMachineSafety) -> Verdict {
        let effect = all.effect(done.count);
        PROPERTY.require(effect.is_some_and(|effect| effect.op == op), || {
            format!("{op:?} was answered {done:?}; that effect is {effect:?}")
        })
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::{Index, LogTime};

    use super::*;
    use crate::machine::Change;

    #[test]
    fn an_answer_without_its_effect_is_found() {
        let mut all = StateMachineSafety::new(1);
        let (index, time) = (Index(1), LogTime(0));
        all.changed(0, &Change { count: 1, index, time, seed: 0, op: OpId(7), key: 0 }).unwrap();
        let done = |count| Done { count, previous: OpId(0) };
        Acknowledged.acknowledged(OpId(7), &done(1), &all).unwrap();
        assert!(Acknowledged.acknowledged(OpId(8), &done(1), &all).is_err());
        assert!(Acknowledged.acknowledged(OpId(8), &done(2), &all).is_err());
    }
}
