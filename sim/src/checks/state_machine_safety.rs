//! State Machine Safety: if a server has applied a log entry at a given index to its state
//! machine, no other server will ever apply a different log entry for the same index (Ongaro 2014,
//! figure 3.2; section 3.6.3). Here of effects: all replicas do the same things in the same order,
//! at the same index, log time and seed, whatever sessions suppress and snapshots skip. That they answer
//! the same is for [`answers`](super::answers).

use bytes::Bytes;
use quorate_core::Index;

use super::{Property, Verdict, Violation};
use crate::clients::OpId;
use crate::witness::Change;

const PROPERTY: Property = Property {
    name: "state machine safety",
    stated_in: "Ongaro 2014, figure 3.2 and section 3.6.3",
};

/// A change of the replicated state, wherever it happens.
#[derive(Clone, Debug)]
pub(super) struct Effect {
    pub(super) change: Change,
    /// The request behind it; 0 if something expired.
    pub(super) op: OpId,
    /// The command, encoded; empty if something expired.
    pub(super) body: Bytes,
}

/// All effects in their order, as the first replica to have them said.
pub(super) struct StateMachineSafety {
    effects: Vec<Effect>,
    /// How many effects each replica's machine has had.
    counts: Vec<usize>,
}

impl StateMachineSafety {
    pub(super) fn new(nodes: usize) -> StateMachineSafety {
        StateMachineSafety { effects: Vec::new(), counts: vec![0; nodes] }
    }

    /// All that have happened.
    pub(super) fn effects(&self) -> &[Effect] {
        &self.effects
    }

    /// Those that a replica's machine has had.
    pub(super) fn effects_of(&self, node: usize) -> &[Effect] {
        &self.effects[..self.counts[node]]
    }

    /// How many effects a state takes into account that stands at this index.
    pub(super) fn count_at(&self, index: Index) -> u64 {
        self.effects.partition_point(|effect| effect.change.index <= index) as u64
    }

    /// A process begins with an empty machine.
    pub(super) fn forget(&mut self, node: usize) {
        self.counts[node] = 0;
    }

    /// A machine was replaced by one which stands at `index`.
    pub(super) fn restored(&mut self, node: usize, index: Index) -> Verdict {
        let count = self.count_at(index) as usize;
        let before = std::mem::replace(&mut self.counts[node], count);
        PROPERTY.require(before <= count, || {
            format!("replica {} went from {before} effects to {count} at {index:?}", node + 1)
        })
    }

    /// A machine has had an effect. True if it is the first to have it; `behind` says what is
    /// behind it then.
    pub(super) fn changed(
        &mut self,
        node: usize,
        change: &Change,
        behind: impl FnOnce() -> Result<(OpId, Bytes), Violation>,
    ) -> Result<bool, Violation> {
        self.counts[node] += 1;
        let count = self.counts[node];
        let Some(known) = self.effects.get(count - 1) else {
            let (op, body) = behind()?;
            self.effects.push(Effect { change: change.clone(), op, body });
            return Ok(true);
        };
        let place = |change: &Change| {
            let Change { index, time, seed, response } = change;
            (*index, *time, *seed, response.is_some())
        };
        PROPERTY.require(place(&known.change) == place(change), || {
            let (node, known) = (node + 1, &known.change);
            format!("effect {count} of replica {node} is {change:?}; of another it was {known:?}")
        })?;
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::effect;
    use super::*;

    fn changed(check: &mut StateMachineSafety, node: usize, index: u64) -> Result<bool, Violation> {
        let Effect { change, op, body } = effect(index, index + 5);
        check.changed(node, &change, || Ok((op, body)))
    }

    #[test]
    fn replicas_that_do_different_things_are_found() {
        let mut check = StateMachineSafety::new(2);
        assert_eq!(changed(&mut check, 0, 1), Ok(true));
        assert_eq!(changed(&mut check, 1, 1), Ok(false));
        assert_eq!(changed(&mut check, 0, 2), Ok(true));
        let Effect { change, .. } = effect(2, 7);
        let expiry = Change { response: None, ..change };
        assert!(check.changed(1, &expiry, || Ok((OpId(0), Bytes::new()))).is_err());
    }

    #[test]
    fn a_replica_that_skips_something_is_found() {
        let mut check = StateMachineSafety::new(2);
        changed(&mut check, 0, 1).unwrap();
        changed(&mut check, 0, 2).unwrap();
        assert!(changed(&mut check, 1, 2).is_err());
    }

    #[test]
    fn a_replica_that_does_something_twice_is_found() {
        let mut check = StateMachineSafety::new(2);
        changed(&mut check, 0, 1).unwrap();
        changed(&mut check, 0, 2).unwrap();
        changed(&mut check, 1, 1).unwrap();
        assert!(changed(&mut check, 1, 1).is_err());
    }

    #[test]
    fn a_snapshot_does_not_take_a_machine_back() {
        let mut check = StateMachineSafety::new(2);
        changed(&mut check, 0, 1).unwrap();
        check.restored(1, Index(1)).unwrap();
        assert_eq!(check.effects_of(1).len(), 1);
        changed(&mut check, 0, 3).unwrap();
        assert_eq!((check.count_at(Index(2)), check.count_at(Index(3))), (1, 2));
        check.forget(1);
        changed(&mut check, 1, 1).unwrap();
        assert!(check.restored(1, Index(0)).is_err());
    }
}
