//! Linearizability in the order of the log (Herlihy and Wing 1990, section 2.2; Ongaro 2014, sections
//! 6.3 and 6.4).
//!
//! The log gives all effects one order, which must agree with real time, that is: whatever is asked
//! for after an answer was given takes into account what that answer did; and each answer must be the
//! one which this order gives. That says more than [`linearizability`](super::linearizability) does, which
//! knows nothing but the clients' histories, and says it at once.
//!
//! Local reads promise less: what they see was there at some time, and the same process never goes
//! back.

use std::collections::BTreeMap;

use super::{Property, Verdict};
use crate::machine::{Change, Done, Key, OpId, Seen};

const PROPERTY: Property = Property {
    name: "linearizability in the order of the log",
    stated_in: "Herlihy and Wing 1990, section 2.2; Ongaro 2014, sections 6.3 and 6.4",
};
const LOCAL: Property =
    Property { name: "local reads see what was there", stated_in: "quorate, Read::Local" };

/// Every register's history, and how much of it the clients have seen.
#[derive(Default)]
pub(super) struct EffectOrder {
    /// For each register, what it holds from which effect on.
    values: BTreeMap<Key, Vec<(u64, OpId)>>,
    effects: u64,
    witnessed: u64,
    /// For each process, what it has seen locally.
    seen_locally: BTreeMap<usize, u64>,
}

impl EffectOrder {
    /// An effect which no machine has had before.
    pub(super) fn changed(&mut self, change: &Change) {
        self.effects = change.count;
        self.values.entry(change.key).or_default().push((change.count, change.op));
    }

    /// The latest effect which some answer has taken into account.
    pub(super) fn witnessed(&self) -> u64 {
        self.witnessed
    }

    /// A write was answered; `since` had been witnessed when it was asked for.
    pub(super) fn wrote(&mut self, op: OpId, key: Key, done: &Done, since: u64) -> Verdict {
        PROPERTY.require(done.count > since, || {
            format!("{op:?} was asked for after effect {since} was seen, and is {done:?}")
        })?;
        let previous = self.value(key, done.count - 1);
        PROPERTY.require(done.previous == previous, || {
            format!("{op:?} was answered {done:?}; before it was {previous:?}")
        })?;
        self.witnessed = self.witnessed.max(done.count);
        Ok(())
    }

    /// A read was answered; `since` had been witnessed when it was asked for.
    pub(super) fn read(&mut self, op: OpId, key: Key, seen: &Seen, since: u64) -> Verdict {
        PROPERTY.require(seen.count >= since, || {
            format!("read {op:?} was asked for after effect {since} was seen, and sees {seen:?}")
        })?;
        PROPERTY.require(seen.count <= self.effects, || {
            format!("read {op:?} sees {seen:?}, of which only {} happened", self.effects)
        })?;
        let value = self.value(key, seen.count);
        PROPERTY.require(seen.value == value, || {
            format!("read {op:?} of {key} sees {seen:?}; there was {value:?}")
        })?;
        self.witnessed = self.witnessed.max(seen.count);
        Ok(())
    }

    /// A process looked at its own state.
    pub(super) fn looked(&mut self, node: usize, key: Key, seen: &Seen) -> Verdict {
        let before = self.seen_locally.insert(node, seen.count).unwrap_or_default();
        LOCAL.require(seen.count >= before && seen.count <= self.effects, || {
            let (node, effects) = (node + 1, self.effects);
            format!("replica {node} sees {seen:?} after {before} of {effects} effects")
        })?;
        let value = self.value(key, seen.count);
        LOCAL.require(seen.value == value, || {
            format!("replica {} sees {seen:?} in {key}; there was {value:?}", node + 1)
        })
    }

    /// A process has died; the next one may begin earlier.
    pub(super) fn crashed(&mut self, node: usize) {
        self.seen_locally.remove(&node);
    }

    /// What was in a register when `count` effects had happened.
    fn value(&self, key: Key, count: u64) -> OpId {
        let Some(history) = self.values.get(&key) else { return OpId::default() };
        let later = history.partition_point(|(since, _)| *since <= count);
        later.checked_sub(1).map_or(OpId::default(), |position| history[position].1)
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::{Index, LogTime};

    use super::*;

    /// Request 7 wrote register 1, then request 8 did.
    fn after_two_writes() -> EffectOrder {
        let mut check = EffectOrder::default();
        for (count, op) in [(1, 7), (2, 8)] {
            let (index, time) = (Index(count), LogTime(0));
            check.changed(&Change { count, index, time, seed: 0, op: OpId(op), key: 1 });
        }
        check
    }

    fn seen(count: u64, value: u64) -> Seen {
        let (value, index) = (OpId(value), Index(count));
        Seen { count, value, index, history: 0, expiring: false }
    }

    #[test]
    fn a_stale_read_is_found() {
        let mut check = after_two_writes();
        check.wrote(OpId(8), 1, &Done { count: 2, previous: OpId(7) }, 0).unwrap();
        assert_eq!(check.witnessed(), 2);
        check.read(OpId(9), 1, &seen(1, 7), 0).unwrap();
        assert!(check.read(OpId(9), 1, &seen(1, 7), 2).is_err());
        check.read(OpId(9), 1, &seen(2, 8), 2).unwrap();
    }

    #[test]
    fn reads_that_go_back_in_real_time_are_found() {
        let mut check = after_two_writes();
        check.read(OpId(9), 1, &seen(2, 8), 0).unwrap();
        let since = check.witnessed();
        assert!(check.read(OpId(10), 1, &seen(1, 7), since).is_err());
    }

    #[test]
    fn a_value_that_was_not_there_is_found() {
        let mut check = after_two_writes();
        assert!(check.read(OpId(9), 1, &seen(2, 7), 0).is_err());
        assert!(check.read(OpId(9), 2, &seen(2, 7), 0).is_err());
        assert!(check.read(OpId(9), 1, &seen(3, 8), 0).is_err());
    }

    #[test]
    fn local_reads_that_go_back_or_see_what_was_never_there_are_found() {
        let mut check = after_two_writes();
        check.looked(0, 1, &seen(1, 7)).unwrap();
        check.looked(1, 1, &seen(2, 8)).unwrap();
        check.looked(0, 1, &seen(2, 8)).unwrap();
        assert!(check.looked(0, 1, &seen(1, 7)).is_err(), "back");
        check.crashed(0);
        check.looked(0, 1, &seen(1, 7)).unwrap();
        assert!(check.looked(0, 1, &seen(2, 7)).is_err(), "another value");
        assert!(check.looked(0, 1, &seen(3, 8)).is_err(), "the future");
    }

    #[test]
    fn a_write_ordered_before_what_was_seen_earlier_is_found() {
        let mut check = after_two_writes();
        assert!(check.wrote(OpId(7), 1, &Done { count: 1, previous: OpId(0) }, 1).is_err());
        assert!(check.wrote(OpId(8), 1, &Done { count: 2, previous: OpId(0) }, 0).is_err());
    }
}
