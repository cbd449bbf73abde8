//! What the replica around a protocol does with the log.

use super::Log;
use crate::entry::Entry;
use crate::snapshot::{SnapshotId, SnapshotMeta};
use crate::types::{Incarnation, Index, NodeId, WriteSeq};
use crate::write::Run;

/// What the replica around a protocol does with the log. A protocol never calls these; they are
/// public for tests of a protocol on its own.
impl Log {
    /// True if something was appended or cut off since the last write began.
    #[must_use]
    pub fn has_unsaved(&self) -> bool {
        self.durability.has_unsaved() || self.gaps.has_unsaved()
    }

    /// Hands out what changed since the last write began, as the contents of write `seq`.
    /// Sequences ascend.
    pub fn begin_write(&mut self, seq: WriteSeq) -> Vec<Run> {
        self.durability.begin_write(seq, self.last.index)
    }

    /// Hands out what was filled into gaps since the last write began, as part of write `seq`.
    pub fn begin_repairs(&mut self, seq: WriteSeq) -> Vec<Vec<Entry>> {
        self.gaps.begin_write(seq)
    }

    /// Write `seq`, and with it every earlier one, is on disk.
    pub fn saved(&mut self, seq: WriteSeq) {
        self.durability.saved(seq);
        self.gaps.saved(seq);
    }

    /// Whether the disk has room for entries of others; without, [`splice`](Log::splice) takes
    /// none.
    pub fn set_room(&mut self, room: bool) {
        self.has_room = room;
    }

    /// Whose log this is, and on which disk; see [`may_vouch`](Log::may_vouch).
    pub fn set_owner(&mut self, me: NodeId, disk: Incarnation) {
        self.owner = Some((me, disk));
    }

    /// Whether nothing that this replica says may count; see [`may_vouch`](Log::may_vouch).
    pub fn set_mute(&mut self, is_mute: bool) {
        self.is_mute = is_mute;
    }

    /// The state machine has executed everything up to `index`.
    ///
    /// # Panics
    /// If that is less than before, or more than is committed.
    pub fn set_applied(&mut self, index: Index) {
        assert!(self.applied <= index, "what was applied stays applied");
        assert!(index <= self.committed, "only what is committed is applied");
        self.applied = index;
        while let Some((_, bytes)) = self.unapplied.pop_front_if(|(through, _)| *through <= index) {
            self.unapplied_bytes -= bytes;
        }
    }

    /// A snapshot of this replica's own is on disk: a newer one than before, or one of the same
    /// state in the place of one that is [unreadable](Log::is_unreadable), maybe in the same bytes.
    ///
    /// # Panics
    /// If it is neither, or covers what was not applied.
    pub fn set_snapshot(&mut self, snapshot: SnapshotMeta) {
        assert!(snapshot.last.index <= self.applied, "a snapshot of what was not applied");
        if let Some(old) = &self.snapshot {
            let is_replaced = old.last == snapshot.last && self.is_unreadable(old);
            assert!(is_replaced || old.last.index < snapshot.last.index, "snapshots move forward");
        }
        self.unreadable.take_if(|unreadable| *unreadable == snapshot.id());
        self.snapshot = Some(snapshot);
    }

    /// A snapshot of this replica cannot be read from this disk any more; see
    /// [`is_unreadable`](Log::is_unreadable).
    pub fn set_unreadable(&mut self, snapshot: SnapshotId) {
        self.unreadable = Some(snapshot);
    }

    /// Forgets what stands before `snapshot`, itself not necessarily the newest.
    ///
    /// # Panics
    /// If it is newer than [`snapshot`](Log::snapshot).
    pub fn compact(&mut self, snapshot: &SnapshotMeta) {
        let newest = self.snapshot.as_ref().expect("only what a snapshot covers is compacted");
        assert!(snapshot.last.index <= newest.last.index);
        if snapshot.last.index <= self.base.index {
            return;
        }
        let to = snapshot.last.index;
        // Also where that is a guess: of what is missing, and of what stands behind.
        let first_ballot = self.stretch_at(to.next()).filter(|_| to < self.last.index);
        self.memberships = {
            let mut kept = vec![(to, snapshot.membership.clone())];
            kept.extend(self.memberships.drain(..).filter(|(since, _)| *since > to));
            kept
        };
        self.ballots.retain(|(first, _)| *first > to.next());
        if let Some(ballot) = first_ballot {
            self.ballots.insert(0, (to.next(), ballot));
        }
        self.base = snapshot.last;
        self.base_digest = snapshot.digest;
        self.gaps.forget_through(to, snapshot.digest);
        self.drop_cached_while(|entry, _| entry.index() <= to);
    }

    /// Keeps at most about `limit_bytes` of entries in memory that can be read from disk as well
    /// and will not be cut off. A state machine which is slower than the log gets them from there.
    pub fn trim_cache(&mut self, limit_bytes: usize) {
        let done = self.durability.durable().min(self.committed);
        self.drop_cached_while(|entry, bytes| bytes > limit_bytes && entry.index() <= done);
    }

    fn drop_cached_while(&mut self, mut condition: impl FnMut(&Entry, usize) -> bool) {
        while self.cache.front().is_some_and(|entry| condition(entry, self.cache_bytes)) {
            let entry = self.cache.pop_front().expect("there is a first one");
            self.cache_bytes -= entry.size_bytes();
        }
    }
}
