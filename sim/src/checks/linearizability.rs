//! Linearizability (Herlihy and Wing 1990, section 2.2; Ongaro 2014, section 6.4) of what clients saw: that
//! alone, whatever order the log gives to it.
//!
//! It is checked once a run has come to rest, by the checker that users have too.

use std::collections::BTreeMap;

use quorate_linearizability::models::{KeyValue, RegisterInput, RegisterOutput};
use quorate_linearizability::{Budget, Call, CheckError, Checker, ClientId, History, Minimum};

use super::{Property, Violation};
use crate::machine::{Done, Key, OpId, Put, Seen};

const PROPERTY: Property = Property {
    name: "linearizability",
    stated_in: "Herlihy and Wing 1990, section 2.2; Ongaro 2014, section 6.4",
};

/// What is asked of one register, and what it answers.
type Input = (Key, RegisterInput<Option<OpId>>);
type Output = RegisterOutput<Option<OpId>>;

/// The history of all clients.
#[derive(Default)]
pub(super) struct Linearizability {
    history: History<Input, Output>,
    /// Writes that were asked for, and whether they have their answer.
    writes: BTreeMap<OpId, Option<Call>>,
    /// Attempts to read that have none yet.
    reads: BTreeMap<(OpId, u64), Call>,
}

impl Linearizability {
    /// A node was asked to write.
    pub(super) fn asked_to_write(&mut self, client: usize, put: &Put) {
        let Put { op, key, expires_after, .. } = put;
        if self.writes.contains_key(op) {
            return;
        }
        let client = ClientId(client as u64);
        let call = self.history.call(client, (*key, RegisterInput::Swap(Some(*op))));
        self.writes.insert(*op, Some(call));
        if expires_after.is_some() {
            // Nobody is told when, or whether, it expires.
            let expiry = RegisterInput::CompareAndSet { expected: Some(*op), new: None };
            self.history.call(client, (*key, expiry));
        }
    }

    /// A node was asked to read.
    pub(super) fn asked_to_read(&mut self, client: usize, op: OpId, attempt: u64, key: Key) {
        let call = self.history.call(ClientId(client as u64), (key, RegisterInput::Read));
        self.reads.insert((op, attempt), call);
    }

    /// A write was answered, perhaps again.
    pub(super) fn wrote(&mut self, op: OpId, done: &Done) {
        if let Some(call) = self.writes.get_mut(&op).and_then(Option::take) {
            self.history.returned(call, RegisterOutput::Value(held(done.previous)));
        }
    }

    /// An attempt to read was answered.
    pub(super) fn read(&mut self, op: OpId, attempt: u64, seen: &Seen) {
        if let Some(call) = self.reads.remove(&(op, attempt)) {
            self.history.returned(call, RegisterOutput::Value(held(seen.value)));
        }
    }

    /// Nothing more will happen. False if the history is too tangled to be judged by itself: with
    /// many requests of unknown outcome on one key the search is exponential. What the log says of
    /// the order has been checked on the way in any case.
    pub(super) fn concluded(&self) -> Result<bool, Violation> {
        // Thin runs are not counted as runs; that is for the campaign to see to.
        let budget = Budget { steps: 3_000_000, ..Budget::default() };
        let checker = Checker::new(KeyValue::default(), Minimum::NONE).budget(budget);
        match checker.check(&self.history) {
            Ok(_) => Ok(true),
            Err(CheckError::Undecided { .. }) => Ok(false),
            Err(other) => Err(PROPERTY.violation(other.to_string())),
        }
    }
}

/// What a register holds, if anything.
fn held(op: OpId) -> Option<OpId> {
    Some(op).filter(|op| *op != OpId::default())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use quorate_core::Index;

    use super::super::Verdict;
    use super::*;

    fn put(op: u64, expires_after: Option<Duration>) -> Put {
        Put { op: OpId(op), key: 1, expires_after, padding: Bytes::new() }
    }

    fn seen(value: u64) -> Seen {
        let value = OpId(value);
        Seen { count: 0, value, index: Index(0), history: 0, expiring: false }
    }

    /// Two writes, one after the other; the first is answered again in the end.
    fn two_writes(expires_after: Option<Duration>) -> Linearizability {
        let mut check = Linearizability::default();
        check.asked_to_write(1, &put(7, None));
        let first = Done { count: 1, previous: OpId(0) };
        check.wrote(OpId(7), &first);
        check.asked_to_write(2, &put(8, expires_after));
        check.asked_to_write(2, &put(8, expires_after));
        check.wrote(OpId(8), &Done { count: 2, previous: OpId(7) });
        check.wrote(OpId(7), &first);
        check
    }

    fn read(check: &mut Linearizability, value: u64) -> Verdict {
        check.asked_to_read(3, OpId(9), 1, 1);
        check.read(OpId(9), 1, &seen(value));
        let is_judged = check.concluded()?;
        assert!(is_judged);
        Ok(())
    }

    #[test]
    fn a_stale_read_is_found_and_shown() {
        let mut check = two_writes(None);
        assert!(check.concluded().unwrap());
        read(&mut check, 8).unwrap();
        let violation = read(&mut check, 7).unwrap_err();
        assert!(violation.details.contains("client 3: (1, Read)"), "{violation}");
    }

    #[test]
    fn what_expires_may_be_gone_from_then_on_and_does_not_come_back() {
        let mut check = two_writes(Some(Duration::from_millis(1)));
        read(&mut check, 8).unwrap();
        read(&mut check, 0).unwrap();
        assert!(read(&mut check, 8).is_err());
        assert!(read(&mut two_writes(None), 0).is_err());
    }
}
