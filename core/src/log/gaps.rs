//! What the log holds by name only, until peers have given it back.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use crate::entry::Entry;
use crate::types::{Digest, Index, WriteSeq};
use crate::write::Gap;

/// The gaps of a log, and what is being filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Gaps {
    /// What is to be fetched. Ascending, without overlaps.
    missing: Vec<Gap>,
    /// What was fetched and is not on disk yet: with the write that carries it, once it has one.
    filling: VecDeque<(Option<WriteSeq>, Vec<Entry>)>,
}

impl Gaps {
    pub(super) fn new(missing: Vec<Gap>) -> Gaps {
        Gaps { missing, filling: VecDeque::new() }
    }

    pub(super) fn missing(&self) -> &[Gap] {
        &self.missing
    }

    pub(super) fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.filling.is_empty()
    }

    /// The first index that cannot be read from this disk.
    pub(super) fn first(&self) -> Option<Index> {
        let missing = self.missing.first().map(|gap| gap.first);
        let filling = self.filling.iter().filter_map(|(_, entries)| Some(entries.first()?.index()));
        missing.into_iter().chain(filling).min()
    }

    /// The last index that cannot be read from this disk.
    pub(super) fn last(&self) -> Option<Index> {
        let missing = self.missing.last().map(|gap| gap.last);
        let filling = self.filling.iter().filter_map(|(_, entries)| Some(entries.last()?.index()));
        missing.into_iter().chain(filling).max()
    }

    /// True if `index` cannot be read from this disk.
    pub(super) fn contain(&self, index: Index) -> bool {
        self.missing_at(index).is_some()
            || self.filling.iter().any(|(_, entries)| {
                let ends = entries.first().zip(entries.last());
                ends.is_some_and(|(first, last)| first.index() <= index && index <= last.index())
            })
    }

    pub(super) fn missing_at(&self, index: Index) -> Option<&Gap> {
        self.missing.iter().find(|gap| gap.first <= index && index <= gap.last)
    }

    /// Adds what was found to be missing, but for what is missing already, or on its way back. Gives
    /// the stretches that were added.
    pub(super) fn add(&mut self, gap: Gap) -> Vec<RangeInclusive<Index>> {
        let missing = self.missing.iter().map(|gap| (gap.first, gap.before, gap.last, gap.digest));
        let filling = self.filling.iter().filter_map(|(_, entries)| {
            let (first, last) = (entries.first()?, entries.last()?);
            Some((first.index(), first.parent, last.index(), last.digest()))
        });
        let mut fresh = vec![gap];
        for (first, before, last, digest) in missing.chain(filling) {
            let parts = fresh.into_iter().flat_map(|gap| {
                let ahead = Gap { last: gap.last.min(first.previous()), ..gap.clone() };
                let behind = Gap { first: gap.first.max(last.next()), ..gap.clone() };
                let ahead = if gap.last < first { ahead } else { Gap { digest: before, ..ahead } };
                let behind =
                    if gap.first > last { behind } else { Gap { before: digest, ..behind } };
                [ahead, behind]
            });
            fresh = parts.filter(|gap| gap.first <= gap.last).collect();
        }
        let added = fresh.iter().map(|gap| gap.first..=gap.last).collect();
        self.missing.append(&mut fresh);
        self.missing.sort_by_key(|gap| gap.first);
        added
    }

    /// Takes entries that end a gap. `parent` is the digest of what precedes them.
    pub(super) fn fill(&mut self, entries: Vec<Entry>) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        let (start, parent, end) = (first.index(), first.parent, last.index());
        let gap = self.missing.iter_mut().find(|gap| gap.last == end);
        let gap = gap.expect("only what is missing is filled in");
        assert!(gap.first <= start, "only what is missing is filled in");
        gap.last = start.previous();
        gap.digest = parent;
        self.missing.retain(|gap| gap.first <= gap.last);
        self.filling.push_back((None, entries));
    }

    /// How many stretches were filled in and are not on disk.
    pub(super) fn unsaved(&self) -> usize {
        self.filling.len()
    }

    pub(super) fn has_unsaved(&self) -> bool {
        self.filling.back().is_some_and(|(seq, _)| seq.is_none())
    }

    /// Hands out what was filled in since the last write began.
    pub(super) fn begin_write(&mut self, seq: WriteSeq) -> Vec<Vec<Entry>> {
        let fresh = self.filling.iter_mut().filter(|(carried, _)| carried.is_none());
        fresh
            .map(|(carried, entries)| {
                *carried = Some(seq);
                entries.clone()
            })
            .collect()
    }

    pub(super) fn saved(&mut self, seq: WriteSeq) {
        self.filling.retain(|(carried, _)| carried.is_none_or(|carried| carried > seq));
    }

    /// Everything up to and including `index` is of no interest any more; its digest is given.
    pub(super) fn forget_through(&mut self, index: Index, digest: Digest) {
        self.missing.retain(|gap| gap.last > index);
        if let Some(gap) = self.missing.first_mut().filter(|gap| gap.first <= index) {
            gap.first = index.next();
            gap.before = digest;
        }
        self.filling.retain(|(_, entries)| entries.last().is_some_and(|last| last.index() > index));
    }

    /// Everything behind `index` was cut off.
    pub(super) fn cut_after(&mut self, index: Index) {
        assert!(
            self.missing.iter().all(|gap| gap.last <= index || gap.first > index),
            "a log is not cut off within what is missing"
        );
        self.missing.retain(|gap| gap.last <= index);
        for (_, entries) in &mut self.filling {
            entries.retain(|entry| entry.index() <= index);
        }
        self.filling.retain(|(_, entries)| !entries.is_empty());
    }
}
