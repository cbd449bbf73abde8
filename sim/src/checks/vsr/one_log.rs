//! One log for each view: replicas whose logs reach into the same view hold the same entry at the
//! same op (Liskov and Cowling 2012, section 4.1: the primary of the view assigns op-numbers, and
//! a view begins with one log, section 4.2).

use std::collections::BTreeMap;

use quorate_core::{Ballot, Digest, Index, Log, LogId};
use quorate_vsr::Vsr;

use crate::checks::Verdict;
use crate::checks::one_log::PROPERTY;
use crate::oracle::Oracle;

/// What stands at each op of a log that reaches into a view.
#[derive(Clone, Default, Hash)]
pub(super) struct OneLog {
    ops: BTreeMap<(Ballot, Index), (Digest, usize)>,
    /// Where each replica's log ended when it was last looked at.
    ends: Vec<LogId>,
}

impl OneLog {
    pub(super) fn new(replicas: usize) -> OneLog {
        OneLog { ops: BTreeMap::new(), ends: vec![LogId::ZERO; replicas] }
    }

    fn holds(&mut self, node: usize, view: Ballot, op: Index, digest: Digest) -> Verdict {
        let (known, other) = *self.ops.entry((view, op)).or_insert((digest, node));
        PROPERTY.require(known == digest, || {
            let (a, b) = (other + 1, node + 1);
            format!("in {view:?}, {op:?} is {known} on replica {a} and {digest} on replica {b}")
        })
    }
}

impl Oracle<Vsr> for OneLog {
    fn stepped(&mut self, node: usize, _: &Vsr, log: &Log) -> Verdict {
        let last = log.last();
        let before = std::mem::replace(&mut self.ends[node], last);
        if last == before {
            return Ok(());
        }
        let grew = last.ballot == before.ballot && last > before && log.holds(before);
        let known = if grew { log.committed().max(before.index) } else { log.committed() };
        // What is committed is the same everywhere; after a start, not all of the rest is in memory.
        let first = known.next().max(log.first_in_memory());
        let entries = log.entries(first, usize::MAX).unwrap_or_default();
        entries
            .iter()
            .try_for_each(|entry| self.holds(node, last.ballot, entry.index(), entry.digest()))
    }

    fn crashed(&mut self, node: usize) {
        self.ends[node] = LogId::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_entries_at_one_op_of_a_view_are_found() {
        let mut check = OneLog::new(2);
        let digest = |byte| Digest([byte; 16]);
        check.holds(0, Ballot(3), Index(7), digest(1)).unwrap();
        check.holds(1, Ballot(3), Index(7), digest(1)).unwrap();
        check.holds(1, Ballot(2), Index(7), digest(2)).unwrap();
        assert!(check.holds(1, Ballot(3), Index(7), digest(2)).is_err());
    }
}
