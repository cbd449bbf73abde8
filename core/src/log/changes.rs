//! What protocols do to the log.

use super::gaps::Gaps;
use super::{Log, Rejected};
use crate::entry::{Entry, EntryKind, Proposal};
use crate::membership::Membership;
use crate::snapshot::SnapshotMeta;
use crate::types::{Ballot, Digest, Index, LogId, LogTime};
use crate::write::Run;

impl Log {
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
    pub(super) fn check_stretch(
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

    pub(super) fn advance_committed(&mut self, index: Index) {
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

    /// Cuts off what stands behind `keep`, whose digest is `digest`.
    pub(super) fn cut_after(&mut self, keep: LogId, digest: Digest) {
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
