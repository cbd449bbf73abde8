//! What the log does not hold any more, and what makes that good.

use super::{Log, Rejected};
use crate::entry::Entry;
use crate::membership::Membership;
use crate::snapshot::SnapshotMeta;
use crate::types::{Ballot, Digest, Index, LogId};
use crate::write::Gap;

impl Log {
    /// A part of the log was found to be damaged on this disk. What is in memory still is written
    /// anew from there.
    pub fn note_damage(&mut self, mut gap: Gap) {
        // What is not committed may have been cut off since it was read. Then what stands there now
        // is in memory, as is all that was appended since the start and is not committed.
        let on_disk_only = Index(self.last.index.0 - self.cache.len() as u64);
        let known = self.committed.max(on_disk_only);
        // Part of it may have been compacted since.
        if gap.first <= self.base.index {
            gap.first = self.base.index.next();
            gap.before = self.base_digest;
        }
        if gap.last > known {
            let Some(behind) = self.cached(known.next()) else { return };
            gap.last = known;
            gap.digest = behind.parent;
        }
        if gap.first > gap.last {
            return;
        }
        // A search on disk may not find the names; this log has them in memory, unless they are
        // missing already.
        gap.ids_known = true;
        for added in self.gaps.add(gap) {
            let in_memory = self.cache.iter().filter(|entry| added.contains(&entry.index()));
            self.gaps.fill(in_memory.cloned().collect());
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
    /// nothing is missing, or if the log goes another way than the snapshot. What was missing
    /// counts as durable once the next write is saved, with which the disk points to the snapshot.
    pub fn adopt(&mut self, snapshot: &SnapshotMeta) -> bool {
        let last = snapshot.last;
        let Some(missing) = self.gaps.first().filter(|first| *first <= last.index) else {
            return false;
        };
        // Ballots never decrease along a log: one of a later ballot than its end is another one's.
        if last.ballot > self.last.ballot {
            return false;
        }
        // The pointer never goes back: what stands between the two snapshots may be compacted.
        if let Some(own) = self.snapshot.clone().filter(|own| own.last.index >= last.index) {
            self.durability.rest_anew(missing.previous());
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
        self.durability.rest_anew(missing.previous());
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
