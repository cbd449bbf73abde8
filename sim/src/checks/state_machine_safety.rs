//! State Machine Safety: if a server has applied a log entry at a given index to its state
//! machine, no other server will ever apply a different log entry for the same index (Ongaro 2014,
//! figure 3.2; section 3.6.3). Here of effects: all replicas do the same things in the same order,
//! at the same index, log time and seed, whatever sessions suppress and snapshots skip.

use super::{Property, Verdict, Violation};
use crate::machine::Change;

const PROPERTY: Property = Property {
    name: "state machine safety",
    stated_in: "Ongaro 2014, figure 3.2 and section 3.6.3",
};

/// All effects in their order, as the first replica to have them said.
pub(super) struct StateMachineSafety {
    changes: Vec<Change>,
    /// How many effects each replica's machine has had.
    counts: Vec<u64>,
}

impl StateMachineSafety {
    pub(super) fn new(nodes: usize) -> StateMachineSafety {
        StateMachineSafety { changes: Vec::new(), counts: vec![0; nodes] }
    }

    /// How many effects there have been.
    pub(super) fn effects(&self) -> u64 {
        self.changes.len() as u64
    }

    /// Effect number `count`, from 1.
    pub(super) fn effect(&self, count: u64) -> Option<&Change> {
        self.changes.get(usize::try_from(count.checked_sub(1)?).ok()?)
    }

    /// A process begins with an empty machine.
    pub(super) fn forget(&mut self, node: usize) {
        self.counts[node] = 0;
    }

    /// A machine was replaced by one which has had `count` effects.
    pub(super) fn restored(&mut self, node: usize, count: u64) -> Verdict {
        let before = std::mem::replace(&mut self.counts[node], count);
        PROPERTY.require(before <= count && count <= self.effects(), || {
            let known = self.effects();
            format!("replica {} went from {before} effects to {count} of {known}", node + 1)
        })
    }

    /// A machine has had an effect. True if it is the first to have it.
    pub(super) fn changed(&mut self, node: usize, change: &Change) -> Result<bool, Violation> {
        self.counts[node] += 1;
        let count = self.counts[node];
        PROPERTY.require(change.count == count, || {
            format!("effect {} of replica {} should be its {count}th", change.count, node + 1)
        })?;
        match self.effect(count) {
            None => {
                self.changes.push(*change);
                Ok(true)
            }
            Some(known) => PROPERTY
                .require(known == change, || {
                    format!("replica {} did {change:?}; another did {known:?}", node + 1)
                })
                .map(|()| false),
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::{Index, LogTime};

    use super::*;
    use crate::machine::OpId;

    fn change(count: u64, op: u64) -> Change {
        let (index, time) = (Index(count), LogTime(0));
        Change { count, index, time, seed: 0, op: OpId(op), key: 0 }
    }

    #[test]
    fn replicas_that_do_different_things_are_found() {
        let mut check = StateMachineSafety::new(2);
        assert_eq!(check.changed(0, &change(1, 7)), Ok(true));
        assert_eq!(check.changed(1, &change(1, 7)), Ok(false));
        assert_eq!(check.changed(0, &change(2, 8)), Ok(true));
        assert!(check.changed(1, &change(2, 9)).is_err());
    }

    #[test]
    fn a_replica_that_skips_something_is_found() {
        let mut check = StateMachineSafety::new(2);
        check.changed(0, &change(1, 7)).unwrap();
        check.changed(0, &change(2, 8)).unwrap();
        assert!(check.changed(1, &change(2, 8)).is_err());
    }

    #[test]
    fn a_snapshot_brings_no_more_and_no_less_than_was_done() {
        let mut check = StateMachineSafety::new(2);
        check.changed(0, &change(1, 7)).unwrap();
        check.restored(1, 1).unwrap();
        assert!(check.restored(1, 2).is_err());
        check.forget(1);
        check.changed(1, &change(1, 7)).unwrap();
        assert!(check.restored(1, 0).is_err());
    }
}
