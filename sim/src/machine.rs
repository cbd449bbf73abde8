//! The state machine that the simulated cluster replicates: registers, and a witness of what was
//! done to them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use quorate_core::{At, Index, LogTime, StateMachine};
use serde::{Deserialize, Serialize};

/// Names one request of a client, in all its attempts. Unique within a run; 0 is nobody's.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub(crate) struct OpId(pub(crate) u64);

/// Names a register.
pub(crate) type Key = u64;

/// Writes the name of the request into a register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Put {
    pub(crate) op: OpId,
    pub(crate) key: Key,
    /// After which the register is empty again.
    pub(crate) expires_after: Option<Duration>,
    /// Makes commands as large as a run wants them.
    pub(crate) padding: Bytes,
}

/// What a [`Put`] is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Which of all effects this was, from 1.
    pub(crate) count: u64,
    /// What was in the register before; 0 for nothing.
    pub(crate) previous: OpId,
}

/// A question about a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Look {
    pub(crate) key: Key,
}

/// What a [`Look`] is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// How many effects the answer takes into account.
    pub(crate) count: u64,
    /// What is in the register; 0 for nothing.
    pub(crate) value: OpId,
    /// Where the state stands.
    pub(crate) index: Index,
    /// Stands for all effects and their order.
    pub(crate) history: u64,
    /// True if some register is yet to expire.
    pub(crate) expiring: bool,
}

/// One change of the state, as it happened on one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Which of all effects this is, from 1.
    pub(crate) count: u64,
    pub(crate) index: Index,
    pub(crate) time: LogTime,
    pub(crate) seed: u64,
    /// Who wrote; 0 for an expiry.
    pub(crate) op: OpId,
    pub(crate) key: Key,
}

/// What a machine did since somebody last looked. No part of the replicated state: copies and
/// snapshots begin without.
#[derive(Debug, Default)]
struct Witness(RefCell<Vec<Change>>);

impl Clone for Witness {
    fn clone(&self) -> Witness {
        Witness::default()
    }
}

/// The machine.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Registers {
    count: u64,
    history: u64,
    values: BTreeMap<Key, (OpId, Option<LogTime>)>,
    expiries: BTreeSet<(LogTime, Key)>,
    ballast: Bytes,
    #[serde(skip)]
    witness: Witness,
}

impl Registers {
    /// Empty registers, whose snapshots are nevertheless this large.
    pub(crate) fn with_ballast(bytes: u64) -> Registers {
        Registers { ballast: vec![0xa5; bytes as usize].into(), ..Registers::default() }
    }

    /// What this machine did since the last call.
    pub(crate) fn take_changes(&self) -> Vec<Change> {
        self.witness.0.take()
    }

    fn change(&mut self, at: &At, op: OpId, key: Key) {
        self.count += 1;
        let Registers { count, history, .. } = *self;
        for number in [at.index.0, at.time.0, at.seed, op.0, key] {
            self.history =
                (self.history.rotate_left(23) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        debug_assert_ne!(history, self.history);
        let change = Change { count, index: at.index, time: at.time, seed: at.seed, op, key };
        self.witness.0.borrow_mut().push(change);
    }

    fn forget(&mut self, key: Key) -> OpId {
        let Some((op, expiry)) = self.values.remove(&key) else { return OpId::default() };
        if let Some(time) = expiry {
            self.expiries.remove(&(time, key));
        }
        op
    }
}

impl StateMachine for Registers {
    type Command = Put;
    type Response = Done;
    type Query = Look;
    type Answer = Seen;

    fn apply(&mut self, at: &At, put: Put) -> Done {
        self.expire(at);
        let previous = self.forget(put.key);
        let expiry = put.expires_after.map(|duration| at.time.plus(duration));
        self.values.insert(put.key, (put.op, expiry));
        self.expiries.extend(expiry.map(|time| (time, put.key)));
        self.change(at, put.op, put.key);
        Done { count: self.count, previous }
    }

    fn query(&self, at: &At, look: Look) -> Seen {
        let value = self.values.get(&look.key).map_or(OpId::default(), |(op, _)| *op);
        let Registers { count, history, .. } = *self;
        let expiring = !self.expiries.is_empty();
        Seen { count, value, index: at.index, history, expiring }
    }

    fn deadline(&self) -> Option<LogTime> {
        self.expiries.first().map(|(time, _)| *time)
    }

    fn expire(&mut self, at: &At) {
        while let Some((_, key)) = self.expiries.first().copied().filter(|(t, _)| *t <= at.time) {
            self.forget(key);
            self.change(at, OpId::default(), key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(index: u64, time: u64) -> At {
        At { index: Index(index), time: LogTime(time), seed: index }
    }

    fn put(op: u64, expires_after_us: Option<u64>) -> Put {
        let expires_after = expires_after_us.map(Duration::from_micros);
        Put { op: OpId(op), key: 1, expires_after, padding: Bytes::new() }
    }

    #[test]
    fn a_register_holds_its_last_write_until_it_expires() {
        let mut machine = Registers::default();
        assert_eq!(machine.apply(&at(1, 10), put(7, None)), Done { count: 1, previous: OpId(0) });
        let second = machine.apply(&at(2, 20), put(8, Some(5)));
        assert_eq!(second, Done { count: 2, previous: OpId(7) });
        assert_eq!(machine.deadline(), Some(LogTime(25)));
        machine.expire(&at(3, 24));
        assert_eq!(machine.query(&at(3, 24), Look { key: 1 }).value, OpId(8));
        machine.expire(&at(4, 25));
        let seen = machine.query(&at(4, 25), Look { key: 1 });
        assert_eq!((seen.value, seen.count, seen.expiring), (OpId(0), 3, false));
        let done: Vec<u64> = machine.take_changes().iter().map(|change| change.op.0).collect();
        assert_eq!(done, [7, 8, 0]);
    }
}
