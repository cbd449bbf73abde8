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
        let same = |kept: &&mut Entry| kept.index() == entry.index();
        if let Some(kept) = self.entries.iter_mut().find(same) {
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
