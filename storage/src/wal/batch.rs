//! Several writes as one.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use quorate_core::{
    Ballot, Digest, Entry, FoundingRecord, Index, LogId, NodeId, Run, Write, WriteSeq,
};

use super::Head;
use crate::frame::{EntryHeader, RunHeader, RunKind};
use crate::index::Shape;

/// What a few writes do together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) last: WriteSeq,
    /// The state after them. Position, sequence and digest are still those before.
    pub(super) head: Head,
    /// True if there is anything for a group to say.
    pub(super) changes: bool,
    pub(super) promise: bool,
    pub(super) founding: Option<FoundingRecord>,
    pub(super) mute: bool,
    pub(super) peers: Option<BTreeMap<NodeId, quorate_core::Disk>>,
    pub(super) runs: Vec<RunHeader>,
    pub(super) payloads: Vec<Bytes>,
}

/// How many of the writes fit into one group of about this size; at least one if there is any.
pub(super) fn count_within(queue: &VecDeque<(WriteSeq, Write)>, cap_bytes: usize) -> usize {
    let mut taken = 0;
    let fits = |(_, write): &&(WriteSeq, Write)| {
        let first = taken == 0;
        let entries = write.runs.iter().flat_map(|run| &run.entries);
        let entries = entries.chain(write.repairs.iter().flatten());
        let bytes: usize = entries.map(Entry::size_bytes).sum();
        taken += bytes + (write.runs.len() + write.repairs.len()) * Entry::OVERHEAD + 1;
        first || taken <= cap_bytes
    };
    queue.iter().take_while(fits).count()
}

impl Batch {
    /// Puts the first writes of the queue together.
    ///
    /// # Panics
    /// If a write does not fit on the log as it stands: its author is broken.
    pub(super) fn take(
        head: &Head,
        shape: &Shape,
        mute: bool,
        queue: &VecDeque<(WriteSeq, Write)>,
        count: usize,
    ) -> Batch {
        let mut batch = Batch {
            last: WriteSeq(0),
            head: Head { is_attest: false, ..head.clone() },
            changes: false,
            promise: false,
            founding: None,
            mute,
            peers: None,
            runs: Vec::new(),
            payloads: Vec::new(),
        };
        let mut shape = shape.clone();
        for (seq, write) in queue.iter().take(count) {
            batch.add(*seq, write, &mut shape);
        }
        batch
    }

    fn add(&mut self, seq: WriteSeq, write: &Write, shape: &mut Shape) {
        self.last = seq;
        self.promise |= write.promise;
        // What is lost is forgotten once a group stands behind it, and not before.
        self.changes |= self.mute != write.mute;
        self.mute = write.mute;
        if write.peers.is_some() {
            self.peers.clone_from(&write.peers);
        }
        if write.founding.is_some() {
            self.founding.clone_from(&write.founding);
        }
        let same_pledge = self.head.pledge == Some(write.pledge);
        let same_snapshot = self.head.snapshot == write.snapshot;
        self.changes |= !same_pledge || !same_snapshot;
        self.head.pledge = Some(write.pledge);
        let mut started_anew = false;
        for run in &write.runs {
            started_anew |= self.add_run(run, write, shape);
        }
        write.repairs.iter().for_each(|entries| self.add_repair(entries, shape));
        if !same_snapshot {
            let before = std::mem::replace(&mut self.head.snapshot, write.snapshot.clone());
            let newest = self.head.snapshot.as_ref().map(|newest| newest.last);
            // One which takes the place of another of the same state is not newer than that.
            if before.as_ref().map(|before| before.last) != newest {
                self.head.older =
                    before.filter(|it| newest.is_some_and(|to| it.last.index < to.index));
            }
            // Behind a log that started anew, nothing leads from the older snapshot to it.
            self.head.older.take_if(|_| started_anew);
        }
        if let Some(snapshot) = &self.head.snapshot {
            let covered = snapshot.last.index;
            assert!(covered <= shape.last.index, "the snapshot covers more than the log holds");
        }
    }

    fn add_run(&mut self, run: &Run, write: &Write, shape: &mut Shape) -> bool {
        let starts_anew = !shape.holds(run.previous);
        let snapshot = write.snapshot.as_ref();
        assert!(
            !starts_anew || snapshot.is_some_and(|snapshot| snapshot.last == run.previous),
            "a run behind {} which neither the log nor the snapshot holds",
            run.previous
        );
        let sequence = self.head.sequence + 1;
        if starts_anew {
            self.head.cuts.add(sequence, Index::ZERO);
        } else if run.previous.index < shape.last.index {
            self.head.cuts.add(sequence, run.previous.index);
        }
        let kind = if starts_anew { RunKind::StartsAnew } else { RunKind::Append };
        let Run { previous, previous_digest, .. } = *run;
        self.push(kind, previous, previous_digest, &run.entries, shape);
        self.head.last = shape.last;
        self.head.last_digest = run.entries.last().map_or(previous_digest, Entry::digest);
        starts_anew
    }

    fn add_repair(&mut self, entries: &[Entry], shape: &mut Shape) {
        let Some((first, last)) = entries.first().zip(entries.last()) else { return };
        assert!(last.index() <= shape.last.index, "a repair of {}, which is not held", last.id);
        if last.index() == shape.last.index {
            assert_eq!(last.digest(), self.head.last_digest, "the log ends with another entry");
        }
        // What was compacted in the meantime is in nobody's way.
        if last.index() > shape.base.index {
            let previous = LogId::new(first.index().previous(), Ballot::default());
            self.push(RunKind::Repair, previous, first.parent, entries, shape);
        }
    }

    fn push(
        &mut self,
        kind: RunKind,
        previous: LogId,
        previous_digest: Digest,
        entries: &[Entry],
        shape: &mut Shape,
    ) {
        let mut before = previous.index;
        for entry in entries {
            assert_eq!(entry.index(), before.next(), "the entries of a run are contiguous");
            before = entry.index();
        }
        let entry_headers = entries.iter().map(EntryHeader::of).collect();
        let header = RunHeader { kind, previous, previous_digest, entries: entry_headers };
        shape.apply(&header);
        self.runs.push(header);
        self.payloads.extend(entries.iter().map(|entry| entry.payload.clone()));
        self.changes = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::fixture::{Author, entry};

    fn write(lens: &[usize], repaired: &[usize]) -> Write {
        let entries = |lens: &[usize]| -> Vec<Entry> {
            (1..).zip(lens).map(|(index, len)| entry(index, *len)).collect()
        };
        let run = |lens: &[usize]| Run {
            previous: LogId::ZERO,
            previous_digest: Digest::ZERO,
            entries: entries(lens),
        };
        let runs = lens.chunks(2).map(run).collect();
        let repairs = repaired.chunks(2).map(entries).collect();
        Write { repairs, ..Author::new().write(runs) }
    }

    fn count(writes: &[Write], cap_bytes: usize) -> usize {
        count_within(&(1..).map(WriteSeq).zip(writes.iter().cloned()).collect(), cap_bytes)
    }

    #[test]
    fn as_many_writes_are_taken_as_fit() {
        // What an entry takes, and a stretch of entries, beyond the payloads.
        let over = Entry::OVERHEAD;
        let writes = [
            (write(&[10, 20, 30], &[]), 60 + 3 * over + 2 * over + 1),
            (write(&[5], &[7, 8, 9]), 29 + 4 * over + 3 * over + 1),
            (write(&[], &[]), 1),
            (write(&[], &[100]), 100 + over + over + 1),
        ];
        let mut total = 0;
        let all = writes.clone().map(|(write, _)| write);
        for (number, (_, bytes)) in writes.iter().enumerate() {
            total += bytes;
            assert_eq!(count(&all, total), number + 1);
            assert_eq!(count(&all, total - 1), number.max(1));
        }
        assert_eq!(count(&[], 100), 0);
    }
}
