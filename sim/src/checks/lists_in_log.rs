//! The lists of members that a start finds are those of the log that it finds: a server uses the latest in
//! its log, whether that is committed or not, and none that was cut off (Ongaro 2014, section 4.1).

use std::collections::BTreeMap;

use quorate_core::{Index, Membership, Recovered};

use super::logs::Logs;
use super::{Property, Verdict};

const PROPERTY: Property = Property {
    name: "the lists of members are those of the log",
    stated_in: "Ongaro 2014, section 4.1",
};

/// `node` has found this on its disk; it is settled which log that is. What stands in a gap is not known,
/// and of what precedes the log as it is known here it is not known what stood there.
pub(super) fn are_found(node: usize, found: &Recovered, logs: &Logs) -> Verdict {
    let log = &logs.disks[node].log;
    let first = log.base().max(found.log.base.index.next());
    let is_lost =
        |index: Index| found.log.gaps.iter().any(|gap| gap.first <= index && index <= gap.last);
    let is_known = |index: &Index| *index >= first && !is_lost(*index);
    let told = found.log.memberships.iter().map(|(index, list)| (*index, list));
    let told: BTreeMap<Index, &Membership> = told.filter(|(index, _)| is_known(index)).collect();
    let written = logs.lists_in(log).filter(|(index, _)| is_known(index));
    let written: BTreeMap<Index, &Membership> = written.collect();
    PROPERTY.require(told == written, || {
        format!("replica {} found {told:?}; in its log stand {written:?}", node + 1)
    })
}

#[cfg(test)]
mod tests {
    use quorate_core::{
        Ballot, Digest, Entry, EntryKind, Gap, Incarnation, LogId, LogTime, NodeId, Proposal, Run,
        WriteSeq,
    };

    use super::super::testing::{found, write};
    use super::*;

    fn list(incarnation: u64) -> Membership {
        Membership::new([(NodeId(1), Incarnation(incarnation))])
    }

    fn listing(index: u64, parent: Digest, list: &Membership) -> Entry {
        let payload = postcard::to_allocvec(list).unwrap().into();
        let proposal = Proposal::new(EntryKind::Membership, LogTime(0), payload);
        Entry::new(LogId::new(Index(index), Ballot(1)), parent, proposal)
    }

    /// A disk with two lists, the second of which takes the place of one that was cut off.
    fn two_lists() -> (Logs, Recovered) {
        let mut logs = Logs::new(1);
        let first = listing(1, Digest::ZERO, &list(1));
        let [cut_off, second] = [7, 8].map(|number| listing(2, first.digest(), &list(number)));
        let previous = |entry: &Entry| (entry.id, entry.digest());
        let runs = [
            ((LogId::ZERO, Digest::ZERO), vec![first.clone(), cut_off]),
            (previous(&first), vec![second.clone()]),
        ];
        for (seq, ((previous, previous_digest), entries)) in (1..).map(WriteSeq).zip(runs) {
            logs.write(0, seq, &write(vec![Run { previous, previous_digest, entries }]));
            logs.synced(0, seq);
        }
        let mut found = found(0);
        found.log.last = second.id;
        found.log.last_digest = second.digest();
        found.log.memberships = vec![(Index(1), list(1)), (Index(2), list(8))];
        (logs, found)
    }

    #[test]
    fn a_list_that_was_cut_off_and_one_that_is_not_told_are_found() {
        let (logs, found) = two_lists();
        are_found(0, &found, &logs).unwrap();
        for told in [vec![(Index(1), list(1)), (Index(2), list(7))], vec![(Index(1), list(1))]] {
            let mut wrong = found.clone();
            wrong.log.memberships = told;
            assert_eq!(are_found(0, &wrong, &logs).unwrap_err().property, PROPERTY.name);
        }
    }

    #[test]
    fn a_list_that_is_lost_or_compacted_is_not_asked_for() {
        let (logs, mut found) = two_lists();
        found.log.memberships.remove(0);
        are_found(0, &found, &logs).unwrap_err();
        let (first, last) = (Index(1), Index(1));
        let (digest, before) = (Digest::ZERO, Digest::ZERO);
        let mut damaged = found.clone();
        damaged.log.gaps = vec![Gap { first, last, digest, before, ids_known: true }];
        are_found(0, &damaged, &logs).unwrap();
        found.log.base = LogId::new(Index(1), Ballot(1));
        are_found(0, &found, &logs).unwrap();
    }
}
