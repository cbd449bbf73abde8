//! What of the log is kept in memory after a restart.

use std::collections::VecDeque;

use quorate_core::{Entry, EntryKind, Index, Membership};

/// The last entries, and the memberships found anywhere in the log.
#[derive(Debug)]
pub(crate) struct Tail {
    limit_bytes: usize,
    bytes: usize,
    /// Contiguous.
    pub(crate) entries: VecDeque<Entry>,
    pub(crate) memberships: Vec<(Index, Membership)>,
}

impl Tail {
    pub(crate) fn new(limit_bytes: usize) -> Tail {
        Tail { limit_bytes, bytes: 0, entries: VecDeque::new(), memberships: Vec::new() }
    }

    /// Cuts off everything behind `index`.
    pub(crate) fn cut_after(&mut self, index: Index) {
        while self.entries.back().is_some_and(|entry| entry.index() > index) {
            if let Some(entry) = self.entries.pop_back() {
                self.bytes -= entry.size_bytes();
            }
        }
        self.memberships.retain(|(since, _)| *since <= index);
    }

    /// Cuts off everything behind `index`; what follows next does not follow what is here.
    pub(crate) fn break_after(&mut self, index: Index) {
        self.cut_after(index);
        self.entries.clear();
        self.bytes = 0;
    }

    /// The next entry is damaged; it is skipped.
    pub(crate) fn break_at(&mut self, index: Index) {
        // What is damaged where a repair should stand is behind what is not.
        while self.entries.front().is_some_and(|entry| entry.index() <= index) {
            if let Some(entry) = self.entries.pop_front() {
                self.bytes -= entry.size_bytes();
            }
        }
    }

    /// Drops everything: the log starts anew.
    pub(crate) fn clear(&mut self) {
        *self = Tail::new(self.limit_bytes);
    }

    /// Adds the next entry. False if it is a membership that cannot be decoded.
    pub(crate) fn push(&mut self, entry: Entry) -> bool {
        if !self.learn_membership(&entry) {
            return false;
        }
        // Behind a cut which went below the first entry kept, the rest starts over.
        debug_assert!(self.entries.back().is_none_or(|last| last.index().next() == entry.index()));
        self.bytes += entry.size_bytes();
        self.entries.push_back(entry);
        while self.bytes > self.limit_bytes && self.entries.len() > 1 {
            if let Some(entry) = self.entries.pop_front() {
                self.bytes -= entry.size_bytes();
            }
        }
        true
    }

    /// Puts an entry in its place. False if it is a membership that cannot be decoded.
    pub(crate) fn repair(&mut self, entry: Entry) -> bool {
        let is_taken = self.learn_membership(&entry);
        let front = self.entries.front().map(Entry::index);
        let place = front.and_then(|front| entry.index().0.checked_sub(front.0));
        let place = place.and_then(|place| usize::try_from(place).ok());
        if let Some(kept) = place.and_then(|place| self.entries.get_mut(place)) {
            self.bytes = self.bytes - kept.size_bytes() + entry.size_bytes();
            *kept = entry;
        }
        is_taken
    }

    fn learn_membership(&mut self, entry: &Entry) -> bool {
        if entry.kind != EntryKind::Membership {
            return true;
        }
        let Ok(membership) = postcard::from_bytes(&entry.payload) else { return false };
        self.memberships.retain(|(since, _)| *since != entry.index());
        let at = self.memberships.partition_point(|(since, _)| *since < entry.index());
        self.memberships.insert(at, (entry.index(), membership));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::fixture::entry;

    fn indexes(tail: &Tail) -> Vec<u64> {
        let bytes: usize = tail.entries.iter().map(Entry::size_bytes).sum();
        assert_eq!(tail.bytes, bytes);
        tail.entries.iter().map(|entry| entry.index().0).collect()
    }

    #[test]
    fn the_last_entries_are_kept_that_take_no_more_than_is_allowed() {
        let mut tail = Tail::new(3 * entry(1, 100).size_bytes());
        for index in 1..=5 {
            assert!(tail.push(entry(index, 100)));
        }
        assert_eq!(indexes(&tail), [3, 4, 5]);
        assert!(tail.push(entry(6, 101)));
        assert_eq!(indexes(&tail), [5, 6]);
        // The last one is kept, however large it is.
        assert!(tail.push(entry(7, 10_000)));
        assert_eq!(indexes(&tail), [7]);
        assert!(tail.push(entry(8, 0)));
        assert_eq!(indexes(&tail), [8]);
    }

    #[test]
    fn what_was_cut_off_or_repaired_makes_room_for_what_follows() {
        let mut tail = Tail::new(4 * entry(1, 100).size_bytes());
        (1..=4).for_each(|index| assert!(tail.push(entry(index, 100))));
        tail.cut_after(Index(2));
        assert_eq!(indexes(&tail), [1, 2]);
        (3..=4).for_each(|index| assert!(tail.push(entry(index, 100))));
        assert_eq!(indexes(&tail), [1, 2, 3, 4]);
        assert!(tail.repair(entry(2, 40)));
        assert!(tail.repair(entry(9, 40)));
        assert_eq!(indexes(&tail), [1, 2, 3, 4]);
        assert_eq!(tail.entries[1], entry(2, 40));
        tail.break_at(Index(2));
        assert_eq!(indexes(&tail), [3, 4]);
        tail.break_after(Index(3));
        assert_eq!(indexes(&tail), [0; 0]);
        assert!(tail.push(entry(8, 1)));
        tail.clear();
        assert_eq!(indexes(&tail), [0; 0]);
    }
}
