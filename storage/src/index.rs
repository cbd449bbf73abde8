//! Where the entries of the log are on disk.

use std::collections::BTreeMap;

use quorate_core::{Ballot, Digest, Index, LogId};

use crate::frame::{EntryHeader, RunHeader, RunKind};

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
        if id.index < self.base.index || id.index > self.last.index {
            return false;
        }
        let newer = self.ballots.partition_point(|(first, _)| *first <= id.index);
        newer > 0 && self.ballots[newer - 1].1 == id.ballot
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
        self.ballots.retain(|(first, _)| *first <= run.previous.index);
        self.last = run.last();
        run.indexed().for_each(|(index, entry)| self.push_ballot(index, entry.ballot));
    }

    /// Replaces the ballots of the entries that a run repairs.
    fn learn(&mut self, run: &RunHeader) {
        let (first, end) = (run.first().max(self.base.index.next()), run.end());
        let before = self.ballots.partition_point(|(start, _)| *start < first);
        let behind = self.ballots.partition_point(|(start, _)| *start <= end);
        let next = behind.checked_sub(1).map(|at| (end, self.ballots[at].1));
        let rest = self.ballots.split_off(behind);
        self.ballots.truncate(before);
        for (index, entry) in run.indexed().filter(|(index, _)| *index >= first) {
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
        let newer = self.ballots.partition_point(|(first, _)| *first <= base.index.next());
        if newer > 0 && base.index < self.last.index {
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
    pub(crate) sequence: u64,
    /// Which of the group's runs.
    pub(crate) run: u32,
}

/// Where the group of a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupAt {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) sequence: u64,
}

/// The log as it is on disk: an extent for each run, whatever it holds of small entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogIndex {
    pub(crate) shape: Shape,
    pub(crate) base_digest: Digest,
    pub(crate) last_digest: Digest,
    extents: BTreeMap<Index, Extent>,
}

impl LogIndex {
    /// Carries out run number `number` of a group. The caller has checked that it fits.
    pub(crate) fn apply(&mut self, run: &RunHeader, number: u32, at: GroupAt) {
        if run.kind == RunKind::StartsAnew || run.previous.index == self.shape.base.index {
            self.base_digest = run.previous_digest;
        }
        self.shape.apply(run);
        match run.kind {
            RunKind::Append => self.cut_from(run.first()),
            RunKind::StartsAnew => self.extents.clear(),
            RunKind::Repair => self.clear(run.first(), run.end()),
        }
        if run.end() > self.shape.last.index {
            let digest =
                |parent, (index, entry): (Index, &EntryHeader)| entry.digest(index, parent);
            self.last_digest = run.indexed().fold(run.previous_digest, digest);
        }
        if !run.entries.is_empty() {
            let GroupAt { segment, offset, sequence } = at;
            let extent = Extent { end: run.end(), segment, offset, sequence, run: number };
            self.extents.insert(run.first(), extent);
        }
    }

    /// Takes the entries from `first` to before `end` out of their extents.
    fn clear(&mut self, first: Index, end: Index) {
        let mut behind = self.extents.split_off(&first);
        if let Some(mut last) = self.extents.last_entry() {
            let extent = *last.get();
            last.get_mut().end = extent.end.min(first);
            if extent.end > end {
                self.extents.insert(end, extent);
            }
        }
        let kept = behind.split_off(&end);
        if let Some((_, extent)) = behind.pop_last()
            && extent.end > end
        {
            self.extents.insert(end, extent);
        }
        self.extents.extend(kept);
    }

    fn cut_from(&mut self, index: Index) {
        self.extents.split_off(&index);
        if let Some(mut last) = self.extents.last_entry() {
            let extent = last.get_mut();
            extent.end = extent.end.min(index);
        }
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
    }

    /// True if no run was carried out, or none that left a trace.
    pub(crate) fn is_empty(&self) -> bool {
        self.extents.is_empty()
            && self.shape.last == self.shape.base
            && self.shape.base.index == Index::ZERO
    }

    /// Makes an empty log one that begins behind `base`.
    pub(crate) fn stand_on(&mut self, base: LogId, digest: Digest) {
        assert!(self.is_empty(), "a log that holds entries says itself where it begins");
        self.shape = Shape { base, last: base, ballots: Vec::new() };
        self.base_digest = digest;
        self.last_digest = digest;
    }
}

#[cfg(test)]
mod tests;
