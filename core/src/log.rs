//! The one log: what a replica holds, how much of it is durable, committed and applied.
//!
//! ```text
//!   compacted │ base │ cold: on disk only │ cached: in memory … last
//!             └──────┴── ≤ applied ≤ committed ──┴─ uncommitted ──┘
//!                              durable: anywhere between base and last
//! ```
//!
//! Where the disk is damaged, the log has gaps: it knows what stands there, and cannot show it.

mod durability;
mod error;
mod gaps;

use std::collections::VecDeque;

use crate::entry::{Entry, EntryKind, Proposal};
use crate::membership::Membership;
use crate::snapshot::{SnapshotId, SnapshotMeta};
use crate::types::{Ballot, Digest, Index, LogId, LogTime, WriteSeq};
use crate::write::{Gap, RecoveredLog, Run};
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
}

impl Log {
    /// The empty log of a cluster which these members founded.
    #[must_use]
    pub fn founded_by(members: Membership) -> Log {
        let digest = members.digest();
        let empty =
            RecoveredLog { base_digest: digest, last_digest: digest, ..RecoveredLog::default() };
        Log::recover(members, None, empty)
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
        let is_lost = found.base == LogId::ZERO && found.base_digest == Digest::ZERO;
        let base_digest = if is_lost { founders.digest() } else { found.base_digest };
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
            last_digest: found.last_digest,
            last_time,
            committed: covered.index,
            applied: covered.index,
            unapplied: VecDeque::new(),
            unapplied_bytes: 0,
            durability: Durability::all_durable_through(found.last.index),
            gaps: Gaps::new(found.gaps),
            has_room: true,
            is_mute: false,
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
        if index < self.base.index || index > self.last.index {
            return None;
        }
        self.stretch_at(index)
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

    /// True if what this replica says may count. Without, it neither votes nor acknowledges, and
    /// stands for nothing: it may have sworn or acknowledged what its disk does not know of. It
    /// takes what the leader sends, and says how far it got in a way which vouches for nothing
    /// (see [`Protocol::vouches`](crate::Protocol::vouches)).
    #[must_use]
    pub fn may_vouch(&self) -> bool {
        !self.is_mute
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

    /// The position of `index` in the cache, or the cache's end for the index behind the last.
    fn cache_position(&self, index: Index) -> Option<usize> {
        let first = self.last.index.0 + 1 - self.cache.len() as u64;
        let position = usize::try_from(index.0.checked_sub(first)?).ok()?;
        Some(position.min(self.cache.len()))
    }

    /// A leader's: adds one entry in its own ballot.
    ///
    /// # Panics
    /// If `ballot` is older than the last entry's, or the timestamp earlier: a broken leader.
    pub fn append(&mut self, ballot: Ballot, proposal: Proposal) -> LogId {
        assert!(ballot >= self.last.ballot, "ballots never decrease along the log");
        assert!(proposal.time >= self.last_time, "log time never goes back");
        let membership = (proposal.kind == EntryKind::Membership).then(|| {
            postcard::from_bytes(&proposal.payload).expect("a leader proposes what it encoded")
        });
        let id = LogId::new(self.last.index.next(), ballot);
        self.push(Entry::new(id, self.last_digest, proposal), membership);
        id
    }

    /// The entry with which a leader opens its ballot: nothing, or, in a log which holds nothing
    /// yet, the membership that founded the cluster.
    #[must_use]
    pub fn opening(&self) -> Proposal {
        if self.last == LogId::ZERO {
            let founders = postcard::to_allocvec(self.membership()).expect("plain data encodes");
            Proposal::new(EntryKind::Membership, self.last_time, founders.into())
        } else {
            Proposal::new(EntryKind::Noop, self.last_time, bytes::Bytes::new())
        }
    }

    /// A follower's: makes the log hold `entries` behind `previous`. What it holds already stays
    /// untouched, with everything behind it; only from a real conflict on is the old tail cut
    /// off. Returns the last index which is now known to agree with the sender's log.
    ///
    /// # Errors
    /// If the log does not hold `previous`, if the entries are not a well-formed stretch of a
    /// log, if they contradict what is committed here, if the disk has no room for them, or if
    /// the log has a gap behind `previous`. The log is then unchanged.
    pub fn splice(&mut self, previous: LogId, entries: Vec<Entry>) -> Result<Index, Rejected> {
        if self.gaps.last().is_some_and(|last| previous.index < last) {
            return Err(Rejected::Gap);
        }
        if !self.holds(previous) {
            return Err(Rejected::PreviousMissing);
        }
        let memberships = self.check_stretch(previous, &entries)?;
        let agreed = Index(previous.index.0 + entries.len() as u64);
        let is_known = |entry: &Entry| self.holds(entry.id);
        let known = entries.iter().take_while(|entry| is_known(entry)).count();
        let mut fresh = entries.into_iter().zip(memberships).skip(known).peekable();
        if let Some((first, _)) = fresh.peek() {
            if first.index() <= self.committed {
                return Err(Rejected::ContradictsCommitted(first.id));
            }
            if !self.has_room {
                return Err(Rejected::NoRoom);
            }
            let before = first.index().previous();
            if self.digest_at(before).is_some_and(|digest| digest != first.parent) {
                return Err(Rejected::ParentDiffers(first.id));
            }
            if self.time_at(before).is_some_and(|time| time > first.time) {
                return Err(Rejected::OutOfOrder(first.id));
            }
            if first.index() <= self.last.index {
                let keep = first.index().previous();
                let keep = self.id_at(keep).expect("what precedes a conflict is held");
                self.cut_after(keep, first.parent);
            }
        }
        for (entry, membership) in fresh {
            self.push(entry, membership);
        }
        Ok(agreed)
    }

    /// Checks that entries which came from outside follow one another; gives the memberships
    /// which they contain.
    fn check_stretch(
        &self,
        previous: LogId,
        entries: &[Entry],
    ) -> Result<Vec<Option<Membership>>, Rejected> {
        let mut memberships = Vec::with_capacity(entries.len());
        let mut before = previous;
        let mut parent = None;
        let mut time = LogTime(0);
        for entry in entries {
            let follows = entry.index() == before.index.next() && entry.ballot() >= before.ballot;
            if !follows || entry.time < time {
                return Err(Rejected::OutOfOrder(entry.id));
            }
            if parent.is_some_and(|digest| digest != entry.parent) {
                return Err(Rejected::ParentDiffers(entry.id));
            }
            if !entry.payload_is_intact() {
                return Err(Rejected::PayloadDamaged(entry.id));
            }
            memberships.push(match entry.kind {
                EntryKind::Membership => {
                    let members: Membership = postcard::from_bytes(&entry.payload)
                        .map_err(|_| Rejected::Undecodable(entry.id))?;
                    if members.is_empty() {
                        return Err(Rejected::Undecodable(entry.id));
                    }
                    Some(members)
                }
                EntryKind::Noop | EntryKind::Command | EntryKind::Register | EntryKind::Time => {
                    None
                }
            });
            before = entry.id;
            time = entry.time;
            parent = Some(entry.digest());
        }
        Ok(memberships)
    }

    /// Everything up to and including `index` is committed. Going back is not possible: a lower
    /// index than before changes nothing.
    ///
    /// As long as something is missing of which it is not known that it is committed, nothing
    /// changes either. A leader that does not hold it may have it cut off; and what cannot be shown
    /// cannot be applied.
    ///
    /// # Panics
    /// If the log does not reach `index`: the protocol must cap what it was told at what it has
    /// verified.
    pub fn commit(&mut self, index: Index) {
        assert!(index <= self.last.index, "commit {index} is beyond the log's end {:?}", self.last);
        if self.gaps.missing().last().is_none_or(|gap| gap.last <= self.committed) {
            self.advance_committed(index);
        }
    }

    fn advance_committed(&mut self, index: Index) {
        let mut bytes = 0;
        while self.committed < index {
            self.committed = self.committed.next();
            bytes += self.cached(self.committed).map_or(0, Entry::size_bytes);
        }
        self.uncommitted_bytes -= bytes;
        if bytes > 0 {
            self.unapplied.push_back((index, bytes));
            self.unapplied_bytes += bytes;
        }
    }

    /// Starts the log anew behind a snapshot that is on this disk, complete and verified, and
    /// which covers more than is committed here.
    ///
    /// # Panics
    /// If it covers less, or if the log holds the snapshot's last entry: then committing up to
    /// it is all there is to do.
    pub fn rebase(&mut self, snapshot: SnapshotMeta) {
        assert!(snapshot.last.index > self.committed, "a snapshot of what is committed already");
        assert!(!self.holds(snapshot.last), "a snapshot of what the log holds already");
        let run =
            Run { previous: snapshot.last, previous_digest: snapshot.digest, entries: Vec::new() };
        self.durability.restart(run, self.committed);
        self.gaps = Gaps::default();
        self.base = snapshot.last;
        self.base_digest = snapshot.digest;
        self.memberships = vec![(snapshot.last.index, snapshot.membership.clone())];
        self.ballots.clear();
        self.cache.clear();
        self.cache_bytes = 0;
        self.uncommitted_bytes = 0;
        self.unapplied.clear();
        self.unapplied_bytes = 0;
        self.last = snapshot.last;
        self.last_digest = snapshot.digest;
        self.last_time = snapshot.time;
        self.committed = snapshot.last.index;
        self.snapshot = Some(snapshot);
    }

    /// The digest of the entry at `index` if it can be told from memory.
    fn digest_at(&self, index: Index) -> Option<Digest> {
        if index == self.last.index {
            return Some(self.last_digest);
        }
        if index == self.base.index {
            return Some(self.base_digest);
        }
        self.cached(index).map(Entry::digest)
    }

    /// The timestamp of an entry, if it is at hand. That of the last one need not be.
    fn time_at(&self, index: Index) -> Option<LogTime> {
        let snapshot = self.snapshot.as_ref().filter(|snapshot| snapshot.last.index == index);
        self.cached(index).map(|entry| entry.time).or(snapshot.map(|snapshot| snapshot.time))
    }

    fn cached(&self, index: Index) -> Option<&Entry> {
        self.cache.get(self.cache_position(index)?)
    }

    /// Cuts off what stands behind `keep`, whose digest is `digest`.
    fn cut_after(&mut self, keep: LogId, digest: Digest) {
        assert!(keep.index >= self.committed, "what is committed is never cut off");
        while self.cache.back().is_some_and(|entry| entry.index() > keep.index) {
            let entry = self.cache.pop_back().expect("there is a last one");
            self.cache_bytes -= entry.size_bytes();
            self.uncommitted_bytes -= entry.size_bytes();
        }
        self.ballots.retain(|(first, _)| *first <= keep.index);
        self.memberships.retain(|(since, _)| *since <= keep.index);
        self.last = keep;
        self.last_digest = digest;
        // The timestamp of an entry that is on disk only is not at hand. What is known of the log
        // as it was is no earlier, and stands for it: whoever leads next must not go back.
        self.last_time = self.cache.back().map_or(self.last_time, |entry| entry.time);
        self.durability.cut_after(keep, digest);
        self.gaps.cut_after(keep.index);
    }

    fn push(&mut self, entry: Entry, membership: Option<Membership>) {
        if self.ballots.last().is_none_or(|(_, ballot)| *ballot < entry.ballot()) {
            self.ballots.push((entry.index(), entry.ballot()));
        }
        if let Some(membership) = membership {
            self.memberships.push((entry.index(), membership));
        }
        self.durability.append(self.last, self.last_digest, &entry);
        self.last = entry.id;
        self.last_digest = entry.digest();
        self.last_time = entry.time;
        self.cache_bytes += entry.size_bytes();
        self.uncommitted_bytes += entry.size_bytes();
        self.cache.push_back(entry);
    }
}

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

/// Damage, and what makes it good.
impl Log {
    /// A part of the log was found to be damaged on this disk. What is in memory still is written
    /// anew from there.
    pub fn note_damage(&mut self, mut gap: Gap) {
        // What is not committed may have been cut off since it was read; it is in memory.
        if gap.last <= self.base.index || gap.first > self.committed {
            return;
        }
        // Part of it may have been compacted since.
        if gap.first <= self.base.index {
            gap.first = self.base.index.next();
            gap.before = self.base_digest;
        }
        if gap.last > self.committed {
            let Some(behind) = self.cache_position(self.committed.next()) else { return };
            let Some(behind) = self.cache.get(behind) else { return };
            gap.last = self.committed;
            gap.digest = behind.parent;
        }
        let (first, last) = (gap.first, gap.last);
        // A search on disk may not find the names; this log has them in memory, unless they were
        // lost before it was read.
        let is_nameless = |old: &Gap| !old.ids_known && old.first <= last && first <= old.last;
        gap.ids_known = !self.gaps.missing().iter().any(is_nameless);
        self.gaps.add(gap);
        let is_added = self.gaps.missing_at(first).is_some_and(|gap| gap.last == last);
        if is_added {
            let is_damaged = |entry: &&Entry| (first..=last).contains(&entry.index());
            self.gaps.fill(self.cache.iter().filter(is_damaged).cloned().collect());
        }
    }

    /// Fills in entries from a peer which end a gap: the last of them is the one which the gap
    /// names, each is the parent of the next. Entries that are not missing any more are ignored.
    ///
    /// # Errors
    /// If they are not what is missing. [`Rejected::Diverged`] if they are, and what the log holds
    /// below the gap is not what preceded them.
    pub fn repair(&mut self, mut entries: Vec<Entry>) -> Result<(), Rejected> {
        let Some(end) = entries.last() else { return Ok(()) };
        let Some(gap) = self.gaps.missing_at(end.index()).filter(|gap| gap.last == end.index())
        else {
            return Ok(());
        };
        if end.digest() != gap.digest {
            return Err(Rejected::NotMissing(end.id));
        }
        let gap = gap.clone();
        entries.retain(|entry| entry.index() >= gap.first);
        let Some(first) = entries.first() else { return Ok(()) };
        let previous = LogId::new(first.index().previous(), Ballot::default());
        let memberships = self.check_stretch(previous, &entries)?;
        // Of what precedes the first entry of all, a disk that lost it knows nothing.
        let is_start = gap.before == Digest::ZERO && gap.first.previous() == Index::ZERO;
        if first.index() == gap.first && first.parent != gap.before && !is_start {
            return Err(Rejected::Diverged(first.id));
        }
        for (entry, membership) in entries.iter().zip(memberships) {
            if let Some(membership) = membership {
                self.learn_membership(entry.index(), membership);
            }
        }
        self.learn_ballots(&entries);
        // What stands behind them may be given up.
        self.last_time =
            entries.last().map_or(self.last_time, |last| self.last_time.max(last.time));
        self.gaps.fill(entries);
        Ok(())
    }

    /// Puts a snapshot that is on this disk, complete and verified, in the place of everything
    /// up to its last entry, if any of that is missing, and keeps what stands behind. False if
    /// nothing is missing, or if the log goes another way than the snapshot.
    pub fn adopt(&mut self, snapshot: &SnapshotMeta) -> bool {
        let last = snapshot.last;
        let helps = self.gaps.first().is_some_and(|first| first <= last.index);
        let is_within = self.base.index < last.index && last.index <= self.last.index;
        // Ballots never decrease along a log: one of a later ballot than its end is another one's.
        if !helps || !is_within || last.ballot > self.last.ballot {
            return false;
        }
        // The pointer never goes back: what stands between the two snapshots may be compacted.
        if let Some(own) = self.snapshot.clone().filter(|own| own.last.index >= last.index) {
            self.compact(&own);
            return true;
        }
        let agrees = match self.gaps.missing_at(last.index) {
            Some(gap) if gap.last == last.index => gap.digest == snapshot.digest,
            Some(_) => true,
            None => self.holds(last),
        };
        if !agrees {
            return false;
        }
        self.advance_committed(last.index);
        // Of what stands behind, not even a timestamp may be known, and it may be given up.
        self.last_time = self.last_time.max(snapshot.time);
        self.snapshot = Some(snapshot.clone());
        self.compact(snapshot);
        true
    }

    /// Cuts off a gap, which this log has and the leader's has not, and everything behind it. True
    /// if entries went with it whose names are lost: this replica may have acknowledged those.
    ///
    /// # Panics
    /// If what is missing is known to be committed.
    pub fn give_up(&mut self, gap: &Gap) -> bool {
        let keep = gap.first.previous();
        let keep = self.id_at(keep).expect("what precedes a gap is held");
        // Of what precedes the first entry of all, a disk that lost it knows nothing; this log does.
        let digest = if keep == self.base { self.base_digest } else { gap.before };
        self.cut_after(keep, digest);
        !(gap.ids_known && gap.first == gap.last)
    }

    fn learn_membership(&mut self, index: Index, membership: Membership) {
        let place = self.memberships.partition_point(|(since, _)| *since < index);
        if self.memberships.get(place).is_none_or(|(since, _)| *since != index) {
            self.memberships.insert(place, (index, membership));
        }
    }

    /// Replaces what was guessed of the ballots of these entries.
    fn learn_ballots(&mut self, entries: &[Entry]) {
        let Some((first, last)) = entries.first().zip(entries.last()) else { return };
        let behind = last.index().next();
        let next = (behind <= self.last.index).then(|| self.stretch_at(behind)).flatten();
        self.ballots.retain(|(start, _)| *start < first.index() || *start > behind);
        let place = self.ballots.partition_point(|(start, _)| *start < first.index());
        let mut current = place.checked_sub(1).map(|before| self.ballots[before].1);
        let named = entries.iter().map(|entry| (entry.index(), Some(entry.ballot())));
        let mut learned = Vec::new();
        for (index, ballot) in named.chain([(behind, next)]) {
            if let Some(ballot) = ballot
                && current != Some(ballot)
            {
                learned.push((index, ballot));
                current = Some(ballot);
            }
        }
        self.ballots.splice(place..place, learned);
    }
}

#[cfg(test)]
mod tests;
