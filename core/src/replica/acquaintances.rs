//! What this replica knows of the others' disks, so that an old image of one is noticed.
//!
//! It is noticed if a process was started on the disk after the image was taken, and a member that
//! is asked to count its word, or to lend it the own one, had heard from that process. For the start
//! that a member knows must be among those which the disk has seen before. Both sides see to that:
//!
//! - Whoever hears from a later start than the known one takes it at once if the known one is the
//!   one before, which every message names. Otherwise the node is asked, and until it has answered
//!   nothing that it says from its later start is taken.
//! - Every message names the start of its receiver that the sender knows. An image which was not
//!   started when that was does not have it, however often it is started: it stops instead of
//!   answering, and before it counts what others report to it.

use std::collections::BTreeMap;

use crate::types::{NodeId, Start};
use crate::write::Disk;

/// The disks of the other members, as last heard from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Acquaintances {
    disks: BTreeMap<NodeId, Disk>,
    are_news: bool,
}

impl From<BTreeMap<NodeId, Disk>> for Acquaintances {
    fn from(disks: BTreeMap<NodeId, Disk>) -> Acquaintances {
        Acquaintances { disks, are_news: false }
    }
}

impl Acquaintances {
    /// `node` speaks from this start of this disk, which is the one that the members list. False if
    /// another start of it is known which is not known to be before that one.
    pub(super) fn meet(&mut self, node: NodeId, disk: Disk, previous_nonce: u64) -> bool {
        if let Some(known) = self.start_of(node, disk) {
            let is_next = disk.start.count.checked_sub(known.count) == Some(1);
            if known == disk.start {
                return true;
            }
            if !is_next || known.nonce != previous_nonce {
                return false;
            }
        }
        self.remember(node, disk);
        true
    }

    /// `node`, which speaks from this start of this disk, says that `earlier` was before it.
    pub(super) fn hear_of(&mut self, node: NodeId, disk: Disk, earlier: Start) {
        // What was said of another start than the known one says nothing of that.
        if self.start_of(node, disk) == Some(earlier) && earlier.count < disk.start.count {
            self.remember(node, disk);
        }
    }

    /// The disk of `node`, as last heard of.
    pub(super) fn disk_of(&self, node: NodeId) -> Option<Disk> {
        self.disks.get(&node).copied()
    }

    fn start_of(&self, node: NodeId, disk: Disk) -> Option<Start> {
        let known = self.disks.get(&node).filter(|known| known.incarnation == disk.incarnation);
        known.map(|known| known.start)
    }

    fn remember(&mut self, node: NodeId, disk: Disk) {
        self.disks.insert(node, disk);
        self.are_news = true;
    }

    /// True if something is to be written.
    pub(super) fn are_news(&self) -> bool {
        self.are_news
    }

    /// What is to be written, if anything is.
    pub(super) fn take_news(&mut self) -> Option<BTreeMap<NodeId, Disk>> {
        std::mem::take(&mut self.are_news).then(|| self.disks.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Incarnation;

    const NODE: NodeId = NodeId(2);

    fn disk(count: u64, nonce: u64) -> Disk {
        Disk { incarnation: Incarnation(7), start: Start { count, nonce } }
    }

    /// Knows the third start of a disk, the nonce of which is 1.
    fn acquainted() -> Acquaintances {
        let mut known = Acquaintances::default();
        assert!(known.meet(NODE, disk(3, 1), 0));
        assert_eq!(known.take_news().map(|disks| disks.len()), Some(1));
        known
    }

    #[test]
    fn an_earlier_start_and_another_one_of_the_same_count_are_noticed() {
        let mut known = acquainted();
        assert!(known.meet(NODE, disk(3, 1), 0));
        assert!(!known.meet(NODE, disk(2, 9), 1));
        assert!(!known.meet(NODE, disk(3, 2), 1));
        assert!(!known.are_news());
        let replaced = Disk { incarnation: Incarnation(8), ..disk(1, 1) };
        assert!(known.meet(NODE, replaced, 0));
        assert!(known.are_news());
    }

    #[test]
    fn the_following_start_is_taken_at_once_and_only_if_it_follows() {
        let mut known = acquainted();
        assert!(!known.meet(NODE, disk(4, 5), 9));
        assert!(!known.are_news());
        assert!(known.meet(NODE, disk(4, 2), 1));
        assert_eq!(known.take_news(), Some(BTreeMap::from([(NODE, disk(4, 2))])));
    }

    #[test]
    fn of_two_starts_of_the_same_count_neither_is_before_the_other() {
        let mut known = acquainted();
        known.hear_of(NODE, disk(3, 2), disk(3, 1).start);
        assert!(!known.meet(NODE, disk(3, 2), 0));
    }

    #[test]
    fn what_was_written_down_is_known_and_no_news() {
        let known = Acquaintances::from(BTreeMap::from([(NODE, disk(3, 1))]));
        assert_eq!((known.disk_of(NODE), known.are_news()), (Some(disk(3, 1)), false));
    }

    #[test]
    fn a_start_further_on_is_taken_once_it_says_that_it_comes_after_the_known_one() {
        let mut known = acquainted();
        let (later, first) = (disk(6, 4), disk(3, 1).start);
        assert!(!known.meet(NODE, later, 8));
        known.hear_of(NODE, later, disk(2, 9).start);
        assert!(!known.meet(NODE, later, 8), "that was said of another start");
        known.hear_of(NODE, later, first);
        assert!(known.meet(NODE, later, 8));
        // The answer of an earlier process arrives when a later one is known.
        known.hear_of(NODE, disk(5, 8), first);
        assert_eq!(known.take_news(), Some(BTreeMap::from([(NODE, later)])));
    }

    #[test]
    fn a_start_that_claims_the_highest_count_is_taken_for_what_it_says() {
        let mut known = Acquaintances::default();
        let (node, incarnation) = (NodeId(2), Incarnation(7));
        let disk = |count| Disk { incarnation, start: Start { count, nonce: 1 } };
        assert!(known.meet(node, disk(u64::MAX), 0));
        assert!(!known.meet(node, disk(3), 1));
        assert!(known.meet(node, disk(u64::MAX), 1));
    }
}
