//! What the log holds by name only.

use std::collections::BTreeMap;

use quorate_core::{Digest, Gap, Index};

/// The gaps of a log: without overlaps, those that touch and are alike taken together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gaps(BTreeMap<Index, Gap>);

impl Gaps {
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Gap> {
        self.0.values()
    }

    /// The gap in which an entry stands.
    pub(crate) fn at(&self, index: Index) -> Option<&Gap> {
        let (_, gap) = self.0.range(..=index).next_back()?;
        (index <= gap.last).then_some(gap)
    }

    /// Adds a gap.
    pub(super) fn add(&mut self, mut gap: Gap) {
        self.fill(gap.first, gap.last.next(), gap.before, gap.digest);
        let is_alike = |other: &&Gap| other.ids_known == gap.ids_known;
        if let Some(below) = self.at(gap.first.previous()).filter(is_alike).cloned() {
            (gap.first, gap.before) = (below.first, below.before);
        }
        if let Some(above) = self.at(gap.last.next()).filter(is_alike).cloned() {
            (gap.last, gap.digest) = (above.last, above.digest);
            self.0.remove(&above.first);
        }
        self.0.insert(gap.first, gap);
    }

    /// Everything behind `index` was cut off; its digest is given.
    pub(super) fn cut_after(&mut self, index: Index, digest: Digest) {
        self.0.split_off(&index.next());
        if let Some(mut last) = self.0.last_entry()
            && last.get().last >= index
        {
            let gap = last.get_mut();
            (gap.last, gap.digest) = (index, digest);
        }
    }

    /// What stands from `first` to before `end` is no longer missing. `parent` is the digest of
    /// what precedes it, `digest` that of its last entry.
    pub(super) fn fill(&mut self, first: Index, end: Index, parent: Digest, digest: Digest) {
        let mut rest = self.0.split_off(&first);
        let split = self.at(first).cloned();
        if let Some(gap) = &split
            && let Some(below) = self.0.get_mut(&gap.first)
        {
            (below.last, below.digest) = (first.previous(), parent);
        }
        let kept = rest.split_off(&end);
        let hit = rest.into_values().next_back().or(split);
        if let Some(gap) = hit.filter(|gap| gap.last >= end) {
            self.0.insert(end, Gap { first: end, before: digest, ..gap });
        }
        self.0.extend(kept);
    }

    /// Everything up to `index` is of no interest any more; its digest is given.
    pub(super) fn forget_through(&mut self, index: Index, digest: Digest) {
        let end = index.next();
        let straddling = self.at(end).cloned();
        let kept = self.0.split_off(&end);
        self.0 = kept;
        if let Some(gap) = straddling.filter(|gap| gap.first < end) {
            self.0.insert(end, Gap { first: end, before: digest, ..gap });
        }
    }
}
