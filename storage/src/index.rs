//! Where the entries of the log are on disk.

mod gaps;

use std::collections::BTreeMap;

use quorate_core::{Ballot, Digest, Gap, Index, LogId};

use crate::frame::{EntryHeader, RunHeader, RunKind};
pub(crate) use gaps::Gaps;

/// Which entries the log holds: their names, without their places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// What stands before the first entry.
    pub(crate) base: LogId,
    pub(crate) last: LogId,
    /// The first index of each stretch of entries with the same ballot.
    pub(crate) ballots: Vec<(Index, Ballot)>,
}

impl Shape {
    /// True if this entry is in the log, or is its base.
    pub(crate) fn holds(&self, id: LogId) -> bool {
        if id.index == self.base.index {
            return id == self.base;
        }
        let newer = self.ballots.partition_point(|(first, _)| *first <= id.index);
        let stretch = newer.checked_sub(1).map(|at| self.ballots[at].1);
        id.index <= self.last.index && stretch == Some(id.ballot)
    }

    /// Does to the names what the run does to the log.
    pub(crate) fn apply(&mut self, run: &RunHeader) {
        match run.kind {
            RunKind::Append => {}
            RunKind::StartsAnew => {
                *self = Shape { base: run.previous, last: run.previous, ballots: Vec::new() };
            }
            RunKind::Repair => return self.learn(run),
        }
        self.cut_after(run.previous);
        self.last = run.last();
        run.indexed().for_each(|(index, entry)| self.push_ballot(index, entry.ballot));
    }

    fn cut_after(&mut self, last: LogId) {
        self.ballots.retain(|(first, _)| *first <= last.index);
        self.last = last;
    }

    /// Replaces the ballots of the entries that a run repairs.
    fn learn(&mut self, run: &RunHeader) {
        let first = run.first().max(self.base.index.next());
        let end = run.end().min(self.last.index.next());
        let before = self.ballots.partition_point(|(start, _)| *start < first);
        let behind = self.ballots.partition_point(|(start, _)| *start <= end);
        let next = behind.checked_sub(1).map(|at| (end, self.ballots[at].1));
        let rest = self.ballots.split_off(behind);
        self.ballots.truncate(before);
        for (index, entry) in run.indexed().filter(|(index, _)| (first..end).contains(index)) {
            self.push_ballot(index, entry.ballot);
        }
        let next = next.filter(|_| end <= self.last.index);
        next.into_iter().chain(rest).for_each(|(index, ballot)| self.push_ballot(index, ballot));
    }

    fn push_ballot(&mut self, index: Index, ballot: Ballot) {
        if self.ballots.last().is_none_or(|(_, last)| *last != ballot) {
            self.ballots.push((index, ballot));
        }
    }

    /// Forgets everything up to `base`, which the log holds.
    fn compact(&mut self, base: LogId) {
        if base.index < self.last.index {
            let newer = self.ballots.partition_point(|(first, _)| *first <= base.index.next());
            self.ballots.drain(..newer - 1);
            self.ballots[0].0 = base.index.next();
        } else {
            self.ballots.clear();
        }
        self.base = base;
    }
}

/// A stretch of entries within one run of one group. Its first index is the key under which it is
/// kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// One past its last entry.
    pub(crate) end: Index,
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    /// The group's length on disk, in bytes.
    pub(crate) len: u64,
    /// The digest of the group's header: whatever else may stand there is another group.
    pub(crate) group: Digest,
    /// Which of the group's runs.
    pub(crate) run: u32,
}

/// Where the group of a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupAt {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    /// Its length on disk, in bytes.
    pub(crate) len: u64,
    /// The digest of its header.
    pub(crate) digest: Digest,
}

/// The log as it is on disk: an extent for each run, whatever it holds of small entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogIndex {
    pub(crate) shape: Shape,
    pub(crate) base_digest: Digest,
    pub(crate) last_digest: Digest,
    extents: BTreeMap<Index, Extent>,
    /// What is damaged. Where the names are known, there is an extent that has them.
    pub(crate) gaps: Gaps,
}

impl LogIndex {
    /// Carries out run number `number` of a group. The caller has checked that it fits.
    pub(crate) fn apply(&mut self, run: &RunHeader, number: u32, at: GroupAt) {
        let (mut first, mut end) = (run.first(), run.end());
        match run.kind {
            RunKind::Append => self.cut_after(run.previous, run.previous_digest),
            RunKind::StartsAnew => *self = LogIndex::standing_on(run.previous, run.previous_digest),
            RunKind::Repair => {
                // What it repairs may be cut off or compacted, if groups were lost in between.
                first = first.max(self.shape.base.index.next());
                end = end.min(self.shape.last.index.next());
            }
        }
        self.shape.apply(run);
        let digest = |parent, (index, entry): (Index, &EntryHeader)| entry.digest(index, parent);
        let chain = |upto: Index| {
            let entries = run.indexed().take_while(|(index, _)| *index < upto);
            entries.fold(run.previous_digest, digest)
        };
        if run.kind == RunKind::Repair {
            if first >= end {
                return;
            }
            self.clear(first, end);
            self.gaps.fill(first, end, chain(first), chain(end));
        } else {
            self.last_digest = chain(end);
        }
        if first < end {
            let GroupAt { segment, offset, len, digest } = at;
            let extent = Extent { end, segment, offset, len, group: digest, run: number };
            self.extents.insert(first, extent);
        }
    }

    /// Takes the entries from `first` to before `end` out of their extents.
    fn clear(&mut self, first: Index, end: Index) {
        let mut rest = None;
        if let Some((_, before)) = self.extents.range_mut(..first).next_back() {
            rest = Some(*before);
            before.end = before.end.min(first);
        }
        while let Some((start, extent)) = self.extents.range(first..end).next() {
            rest = Some(*extent);
            let start = *start;
            self.extents.remove(&start);
        }
        // What is left of the last of them begins behind the stretch.
        if let Some(extent) = rest.filter(|extent| extent.end > end) {
            self.extents.insert(end, extent);
        }
    }

    /// Cuts off everything behind `last`.
    pub(crate) fn cut_after(&mut self, last: LogId, digest: Digest) {
        if last.index == self.shape.base.index {
            self.base_digest = digest;
        }
        self.extents.split_off(&last.index.next());
        if let Some(mut highest) = self.extents.last_entry() {
            let extent = highest.get_mut();
            extent.end = extent.end.min(last.index.next());
        }
        self.gaps.cut_after(last.index, digest);
        self.shape.cut_after(last);
        self.last_digest = digest;
    }

    /// What stands behind `keep` up to `last` is lost, with its names. Behind it the log ends.
    /// The digests of both are given.
    pub(crate) fn lose(&mut self, keep: Index, before: Digest, last: LogId, digest: Digest) {
        assert!(keep < last.index, "something is lost");
        let first = keep.next();
        self.cut_after(LogId::new(keep, Ballot::default()), before);
        self.shape.push_ballot(first, last.ballot);
        (self.shape.last, self.last_digest) = (last, digest);
        self.gaps.add(Gap { first, last: last.index, digest, before, ids_known: false });
    }

    /// The payload of an entry is damaged; its digest and its parent's are known.
    pub(crate) fn lose_payload(&mut self, index: Index, digest: Digest, before: Digest) {
        self.gaps.add(Gap { first: index, last: index, digest, before, ids_known: true });
    }

    /// True if the log holds this entry, as far as it knows.
    pub(crate) fn may_hold(&self, id: LogId) -> bool {
        let is_unknown = self.gaps.at(id.index).is_some_and(|gap| !gap.ids_known);
        self.shape.holds(id) || is_unknown
    }

    /// The extent that holds an entry; `None` if the log does not.
    pub(crate) fn find(&self, index: Index) -> Option<Extent> {
        let (_, extent) = self.extents.range(..=index).next_back()?;
        (index < extent.end).then_some(*extent)
    }

    /// The first index of the extent that holds an entry.
    pub(crate) fn start_of(&self, index: Index) -> Option<Index> {
        self.find(index)?;
        self.extents.range(..=index).next_back().map(|(start, _)| *start)
    }

    /// The lowest segment which holds any entry behind `index`.
    pub(crate) fn first_segment_behind(&self, index: Index) -> Option<u64> {
        let behind = self.extents.values().rev().take_while(|extent| extent.end > index.next());
        behind.map(|extent| extent.segment).min()
    }

    /// Makes `base`, whose digest is given, what stands before the first entry.
    pub(crate) fn forget_through(&mut self, base: LogId, digest: Digest) {
        if base.index <= self.shape.base.index {
            return;
        }
        self.shape.compact(base);
        self.base_digest = digest;
        self.extents.retain(|_, extent| extent.end > base.index.next());
        self.gaps.forget_through(base.index, digest);
    }

    /// An empty log that begins behind `base`.
    pub(crate) fn standing_on(base: LogId, digest: Digest) -> LogIndex {
        let shape = Shape { base, last: base, ballots: Vec::new() };
        LogIndex { shape, base_digest: digest, last_digest: digest, ..LogIndex::default() }
    }

    /// The log begins behind `base` and lacks everything up to where it began before.
    pub(crate) fn reach_down(&mut self, base: LogId, digest: Digest) {
        assert!(base.index < self.shape.base.index, "there is something further down");
        let (first, last) = (base.index.next(), self.shape.base);
        let gap = Gap {
            first,
            last: last.index,
            digest: self.base_digest,
            before: digest,
            ids_known: false,
        };
        self.gaps.add(gap);
        let above = std::mem::take(&mut self.shape.ballots);
        self.shape.push_ballot(first, last.ballot);
        above.into_iter().for_each(|(index, ballot)| self.shape.push_ballot(index, ballot));
        (self.shape.base, self.base_digest) = (base, digest);
    }
}

#[cfg(test)]
mod tests;
