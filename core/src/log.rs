//! The one log: what a replica holds, how much of it is durable, committed and applied.
//!
//! ```text
//!   compacted │ base │ cold: on disk only │ cached: in memory … last
//!             └──────┴── ≤ applied ≤ committed ──┴─ uncommitted ──┘
//!                              durable: anywhere between base and last
//! ```
//!
//! Where the disk is damaged, the log has gaps: it knows what stands there, and cannot show it.

mod changes;
mod damage;
mod durability;
mod error;
mod gaps;
mod housekeeping;

use std::collections::VecDeque;

use crate::entry::Entry;
use crate::membership::Membership;
use crate::snapshot::{SnapshotId, SnapshotMeta};
use crate::types::{Ballot, Digest, Incarnation, Index, LogId, LogTime, NodeId};
use crate::write::{Gap, RecoveredLog};
use durability::Durability;
pub use error::Rejected;
use gaps::Gaps;

/// The log of one replica, whichever protocol orders it.
///
/// It holds positions and handles of payloads; the bytes of old entries are on disk only and
/// come back through [`Effects::read_entries`](crate::Effects::read_entries). Protocols change it
/// through [`append`](Log::append), [`splice`](Log::splice), [`commit`](Log::commit) and
/// [`rebase`](Log::rebase), where its invariants are kept for all of them:
///
/// - nothing at or below `committed` is changed or cut off;
/// - indexes are contiguous, ballots and timestamps never decrease, and every entry names the
///   digest of the one before it;
/// - applied ≤ committed ≤ last;
/// - `durable` counts only writes that are complete and were not cut off since.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Log {
    base: LogId,
    base_digest: Digest,
    snapshot: Option<SnapshotMeta>,
    /// The snapshot of this replica which was last found to be damaged.
    unreadable: Option<SnapshotId>,
    /// The memberships in force from the given indexes on, ascending; never empty.
    memberships: Vec<(Index, Membership)>,
    /// The first index of each stretch of entries with the same ballot, ascending.
    ballots: Vec<(Index, Ballot)>,
    /// The last entries, contiguous up to `last`.
    cache: VecDeque<Entry>,
    cache_bytes: usize,
    last: LogId,
    last_digest: Digest,
    last_time: LogTime,
    committed: Index,
    applied: Index,
    uncommitted_bytes: usize,
    /// For each step of `committed` that is not wholly applied: where it led, and the bytes it
    /// covered.
    unapplied: VecDeque<(Index, usize)>,
    unapplied_bytes: usize,
    durability: Durability,
    gaps: Gaps,
    has_room: bool,
    is_mute: bool,
    /// Whose log this is, and on which disk; only tests of a protocol on its own leave that open.
    owner: Option<(NodeId, Incarnation)>,
    was_torn: bool,
}

impl Log {
    /// The empty log of a cluster which these members founded.
    #[must_use]
    pub fn founded_by(members: Membership) -> Log {
        Log::recover(members, None, RecoveredLog::default())
    }

    /// The log as found on disk, beside the newest snapshot. What the snapshot covers is known
    /// to be committed; of the rest the protocol finds out.
    ///
    /// # Panics
    /// If the storage broke its word: gaps, or a log which ends before the snapshot.
    #[must_use]
    pub fn recover(
        founders: Membership,
        snapshot: Option<SnapshotMeta>,
        found: RecoveredLog,
    ) -> Log {
        // Where a log begins, its founders are known, be it found on disk or lost.
        let digest_of = |id, found| if id == LogId::ZERO { founders.digest() } else { found };
        let base_digest = digest_of(found.base, found.base_digest);
        let last_digest = digest_of(found.last, found.last_digest);
        let members = snapshot.as_ref().map_or(founders, |meta| meta.membership.clone());
        let covered = snapshot.as_ref().map_or(found.base, |meta| meta.last);
        assert!(found.base.index <= covered.index, "the log starts behind the snapshot");
        assert!(covered.index <= found.last.index, "the log ends before the snapshot");
        let mut memberships = vec![(found.base.index, members)];
        memberships.extend(found.memberships);
        let snapshot_time = snapshot.as_ref().map_or(LogTime(0), |meta| meta.time);
        let known_time = snapshot_time.max(found.last_time);
        let last_time = found.tail.last().map_or(known_time, |entry| entry.time);
        let uncommitted = found.tail.iter().filter(|entry| entry.index() > covered.index);
        Log {
            base: found.base,
            base_digest,
            snapshot,
            unreadable: None,
            memberships,
            ballots: found.ballots,
            uncommitted_bytes: uncommitted.map(Entry::size_bytes).sum(),
            cache_bytes: found.tail.iter().map(Entry::size_bytes).sum(),
            cache: found.tail.into(),
            last: found.last,
            last_digest,
            last_time,
            committed: covered.index,
            applied: covered.index,
            unapplied: VecDeque::new(),
            unapplied_bytes: 0,
            durability: Durability::all_durable_through(found.last.index),
            gaps: Gaps::new(found.gaps),
            has_room: true,
            is_mute: false,
            owner: None,
            was_torn: found.is_torn,
        }
    }

    /// What stands before the first entry of the log: `LogId::ZERO`, or the last entry that was
    /// compacted away.
    #[must_use]
    pub fn base(&self) -> LogId {
        self.base
    }

    /// The last entry, or the base of an empty log.
    #[must_use]
    pub fn last(&self) -> LogId {
        self.last
    }

    /// The digest of the last entry, and so of the whole log.
    #[must_use]
    pub fn last_digest(&self) -> Digest {
        self.last_digest
    }

    /// The timestamp of the last entry, or a later one. The next one's must not be earlier.
    #[must_use]
    pub fn last_time(&self) -> LogTime {
        self.last_time
    }

    /// The last index known to be committed.
    #[must_use]
    pub fn committed(&self) -> Index {
        self.committed
    }

    /// The last index that the state machine has executed.
    #[must_use]
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// The last index up to which this log, as it stands, is on this disk. A replica may
    /// acknowledge no more than this.
    #[must_use]
    pub fn durable(&self) -> Index {
        let durable = self.durability.durable();
        self.gaps.first().map_or(durable, |first| durable.min(first.previous()))
    }

    /// True if everything that the log holds can be read from this disk or from memory. A
    /// replica whose log has gaps votes as if it had none, acknowledges nothing behind the first
    /// of them, and does not stand for leader.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.gaps.is_empty()
    }

    /// What is damaged on this disk and has to come from peers.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        self.gaps.missing()
    }

    /// How many stretches of entries that came from peers are not on this disk yet.
    #[must_use]
    pub fn unsaved_repairs(&self) -> usize {
        self.gaps.unsaved()
    }

    /// True if the entry at `index` is in a gap, or on its way from a peer to this disk.
    #[must_use]
    pub fn is_missing(&self, index: Index) -> bool {
        self.gaps.contain(index)
    }

    /// The newest snapshot of this replica.
    #[must_use]
    pub fn snapshot(&self) -> Option<&SnapshotMeta> {
        self.snapshot.as_ref()
    }

    /// True if this snapshot was found to be damaged on this disk: whoever is offered it cannot
    /// have it from here. Another one is on its way.
    #[must_use]
    pub fn is_unreadable(&self, snapshot: &SnapshotMeta) -> bool {
        self.unreadable == Some(snapshot.id())
    }

    /// The members according to the log as held, committed or not.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        let newest = self.memberships.last();
        &newest.expect("a log always has a membership").1
    }

    /// The members as of `index`.
    #[must_use]
    pub fn membership_at(&self, index: Index) -> &Membership {
        let newer = self.memberships.partition_point(|(since, _)| *since <= index);
        &self.memberships[newer.saturating_sub(1)].1
    }

    /// The ballot of the entry at `index`, the base's included. `None` if the log does not
    /// reach so far, in either direction, or if the name of what is missing there is lost.
    #[must_use]
    pub fn ballot_at(&self, index: Index) -> Option<Ballot> {
        if index == self.last.index {
            return Some(self.last.ballot);
        }
        if self.gaps.missing_at(index).is_some_and(|gap| !gap.ids_known) {
            return None;
        }
        if index == self.base.index {
            return Some(self.base.ballot);
        }
        let is_held = (self.base.index..=self.last.index).contains(&index);
        is_held.then(|| self.stretch_at(index)).flatten()
    }

    /// The ballot of the stretch in which `index` lies.
    fn stretch_at(&self, index: Index) -> Option<Ballot> {
        let newer = self.ballots.partition_point(|(first, _)| *first <= index);
        Some(self.ballots.get(newer.checked_sub(1)?)?.1)
    }

    /// The name of the entry at `index`; see [`ballot_at`](Log::ballot_at).
    #[must_use]
    pub fn id_at(&self, index: Index) -> Option<LogId> {
        self.ballot_at(index).map(|ballot| LogId::new(index, ballot))
    }

    /// The first index whose entry has this ballot or a later one; one past the end if none.
    #[must_use]
    pub fn first_with_ballot_from(&self, ballot: Ballot) -> Index {
        let older = self.ballots.partition_point(|(_, b)| *b < ballot);
        self.ballots.get(older).map_or(self.last.index.next(), |(first, _)| *first)
    }

    /// The last entry of this log which may be in a log that ends with `end`: not behind it, and,
    /// since ballots never decrease along a log, not of a later ballot. `None` if that is
    /// compacted, or if its name is lost.
    #[must_use]
    pub fn last_common_with(&self, end: LogId) -> Option<LogId> {
        let not_later = self.first_with_ballot_from(end.ballot.next()).previous();
        let index = not_later.min(end.index).min(self.last.index);
        self.id_at(index).filter(|id| id.ballot <= end.ballot)
    }

    /// True if the log holds `id`, or held it before compaction: what was compacted was
    /// committed, and a committed entry is the same everywhere.
    #[must_use]
    pub fn holds(&self, id: LogId) -> bool {
        id.index < self.base.index || self.ballot_at(id.index) == Some(id.ballot)
    }

    /// True of a snapshot that no correct replica has: of no members, of what no log reaches (one
    /// entry in each nanosecond would take 146 years), or of something else than is committed here.
    #[must_use]
    pub fn rules_out(&self, snapshot: &SnapshotMeta) -> bool {
        let last = snapshot.last;
        let is_another = self.id_at(last.index).is_some_and(|held| held != last);
        let contradicts = last.index <= self.committed && is_another;
        contradicts || last.index >= Index::MAX || snapshot.membership.is_empty()
    }

    /// True if what this replica says may count. Without, it neither votes nor acknowledges, and
    /// stands for nothing: it may have sworn or acknowledged what its disk does not know of. It
    /// takes what the leader sends, and says how far it got in a way which vouches for nothing
    /// (see [`Protocol::vouches`](crate::Protocol::vouches)). Nor does it count if the members list
    /// another disk in its place, be that committed or not: beside that one's word, it would count
    /// twice. (To others it does not count then in any case. While something is missing, that may be
    /// the entry which lists this disk; and whoever lacks something does not lead.)
    #[must_use]
    pub fn may_vouch(&self) -> bool {
        let is_another = |(me, disk): (NodeId, Incarnation)| {
            self.membership().incarnation(me).is_some_and(|listed| listed != disk)
        };
        let is_replaced = self.is_whole() && self.owner.is_some_and(is_another);
        !self.is_mute && !is_replaced
    }

    /// True if the disk had kept the end of this log only in part when the process started, and it
    /// was cut off: see [`RecoveredLog::is_torn`].
    #[must_use]
    pub fn was_torn(&self) -> bool {
        self.was_torn
    }

    /// True if an entry that is not known to be committed cannot be read from this disk. Maybe
    /// nobody else has it, and then nobody gives it back: a replica which leads would never commit
    /// again. Another one, whose log is whole, can find out.
    #[must_use]
    pub fn lacks_uncommitted(&self) -> bool {
        self.gaps.last().is_some_and(|last| last > self.committed)
    }

    /// Bytes of entries that are not known to be committed.
    #[must_use]
    pub fn uncommitted_bytes(&self) -> usize {
        self.uncommitted_bytes
    }

    /// Bytes of entries that are committed, but not wholly known to be applied.
    #[must_use]
    pub fn unapplied_bytes(&self) -> usize {
        self.unapplied_bytes
    }

    /// Entries from `from` on, from memory: as many as fit into `max_bytes`, at least one if
    /// there is any. `None` if the first of them is on disk only, or compacted away (then
    /// `from <= base().index`).
    #[must_use]
    pub fn entries(&self, from: Index, max_bytes: usize) -> Option<Vec<Entry>> {
        let mut taken = 0;
        let fits = |entry: &&Entry| {
            let first = taken == 0;
            taken += entry.size_bytes();
            first || taken <= max_bytes
        };
        let start = self.cache_position(from)?;
        Some(self.cache.range(start..).take_while(fits).cloned().collect())
    }

    /// The first entry that is in memory; the index behind the last if none is.
    #[must_use]
    pub fn first_in_memory(&self) -> Index {
        Index(self.last.index.0 + 1 - self.cache.len() as u64)
    }

    /// The position of `index` in the cache, or the cache's end for the index behind the last.
    fn cache_position(&self, index: Index) -> Option<usize> {
        let first = self.first_in_memory();
        let position = usize::try_from(index.0.checked_sub(first.0)?).ok()?;
        Some(position.min(self.cache.len()))
    }

    /// The digest of the entry at `index` if it can be told from memory.
    fn digest_at(&self, index: Index) -> Option<Digest> {
        if index == self.last.index {
            return Some(self.last_digest);
        }
        if index == self.base.index {
            return Some(self.base_digest);
        }
        // Of one that has left memory, the next one tells.
        let next = || self.cached(index.next()).map(|next| next.parent);
        self.cached(index).map(Entry::digest).or_else(next)
    }

    /// The timestamp of an entry, if it is at hand. That of the last one need not be.
    fn time_at(&self, index: Index) -> Option<LogTime> {
        let snapshot = self.snapshot.as_ref().filter(|snapshot| snapshot.last.index == index);
        self.cached(index).map(|entry| entry.time).or(snapshot.map(|snapshot| snapshot.time))
    }

    fn cached(&self, index: Index) -> Option<&Entry> {
        self.cache.get(self.cache_position(index)?)
    }
}

#[cfg(test)]
mod tests;
