//! How much of the log is on disk, while writes are on their way and tails are cut off.

use std::collections::VecDeque;

use crate::entry::Entry;
use crate::types::{Digest, Index, LogId, WriteSeq};
use crate::write::Run;

/// Tracks durability by write sequence. A position can be written, cut off and written again
/// while the first write is still on its way, so a completion says nothing about positions by
/// itself: what a write covered and what of it was cut off since is remembered here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Durability {
    durable: Index,
    /// Writes on their way: the last index which each of them makes durable, as the log stands.
    /// Ascending in both.
    writing: VecDeque<(WriteSeq, Index)>,
    /// What changed since the last write began.
    unsaved: Vec<Run>,
    /// Since then the log has come to rest on a snapshot in the place of what cannot be read.
    rests_anew: bool,
}

impl Durability {
    pub(super) fn all_durable_through(index: Index) -> Durability {
        Durability { durable: index, ..Durability::default() }
    }

    pub(super) fn durable(&self) -> Index {
        self.durable
    }

    pub(super) fn has_unsaved(&self) -> bool {
        !self.unsaved.is_empty() || self.rests_anew
    }

    /// `entry` was added behind `last`.
    pub(super) fn append(&mut self, last: LogId, last_digest: Digest, entry: &Entry) {
        if self.unsaved.is_empty() {
            let run = Run { previous: last, previous_digest: last_digest, entries: Vec::new() };
            self.unsaved.push(run);
        }
        let run = self.unsaved.last_mut().expect("just made sure of it");
        run.entries.push(entry.clone());
    }

    /// Everything behind `keep` was cut off.
    pub(super) fn cut_after(&mut self, keep: LogId, digest: Digest) {
        self.durable = self.durable.min(keep.index);
        for (_, through) in &mut self.writing {
            *through = (*through).min(keep.index);
        }
        while let Some(run) = self.unsaved.last_mut() {
            if run.previous.index <= keep.index {
                let kept = keep.index.0 - run.previous.index.0;
                run.entries.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
                // Such a run may be empty by now; it still cuts off what older writes left.
                return;
            }
            self.unsaved.pop();
        }
        self.unsaved.push(Run { previous: keep, previous_digest: digest, entries: Vec::new() });
    }

    /// The log starts anew with `run`, whose `previous` is not durable before it is saved. What
    /// is committed stays on disk until then.
    pub(super) fn restart(&mut self, run: Run, committed: Index) {
        self.durable = self.durable.min(committed);
        for (_, through) in &mut self.writing {
            *through = (*through).min(committed);
        }
        self.unsaved = vec![run];
    }

    /// A snapshot is in the place of what cannot be read, the first of it behind `keep`. Until the
    /// disk points to it, which the next write is for, a restart may find that as it was.
    pub(super) fn rest_anew(&mut self, keep: Index) {
        self.durable = self.durable.min(keep);
        for (_, through) in &mut self.writing {
            *through = (*through).min(keep);
        }
        self.rests_anew = true;
    }

    pub(super) fn begin_write(&mut self, seq: WriteSeq, last: Index) -> Vec<Run> {
        if self.has_unsaved() {
            self.writing.push_back((seq, last));
        }
        self.rests_anew = false;
        std::mem::take(&mut self.unsaved)
    }

    pub(super) fn saved(&mut self, seq: WriteSeq) {
        while let Some((next, through)) = self.writing.front().copied() {
            if next > seq {
                break;
            }
            self.durable = self.durable.max(through);
            self.writing.pop_front();
        }
    }
}
