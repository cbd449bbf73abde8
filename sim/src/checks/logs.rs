//! What every replica's log looks like, in memory and on its disk: the ground that the checks of
//! the log stand on.

use std::collections::VecDeque;

use quorate_core::{
    Ballot, Digest, FoundingRecord, Index, LogId, PledgeBytes, Run, SnapshotId, Write, WriteSeq,
};

/// A log reduced to the names and digests of its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mirror {
    base: Index,
    /// Of the base itself, and of each entry behind it.
    ids: Vec<(Ballot, Digest)>,
}

impl Mirror {
    /// The log whose first entry would follow `base`.
    #[must_use]
    pub fn at_base(base: LogId, digest: Digest) -> Mirror {
        Mirror { base: base.index, ids: vec![(base.ballot, digest)] }
    }

    /// The last index before its first entry.
    #[must_use]
    pub fn base(&self) -> Index {
        self.base
    }

    /// Its last index.
    #[must_use]
    pub fn last(&self) -> Index {
        Index((self.base.0 + self.ids.len() as u64).saturating_sub(1))
    }

    /// The name and digest of the entry at `index`, the base's included.
    #[must_use]
    pub fn at(&self, index: Index) -> Option<(Ballot, Digest)> {
        let position = usize::try_from(index.0.checked_sub(self.base.0)?).ok()?;
        self.ids.get(position).copied()
    }

    /// Changes it as `run` says.
    pub fn change(&mut self, run: &Run) {
        self.apply(&RunIds::of(run));
    }

    fn apply(&mut self, run: &RunIds) {
        if self.at(run.previous.index) == Some((run.previous.ballot, run.previous_digest)) {
            let kept = run.previous.index.0 - self.base.0 + 1;
            self.ids.truncate(kept as usize);
        } else {
            *self = Mirror::at_base(run.previous, run.previous_digest);
        }
        self.ids.extend_from_slice(&run.ids);
    }
}

/// A [`Run`] without payloads.
#[derive(Clone, Debug)]
struct RunIds {
    previous: LogId,
    previous_digest: Digest,
    ids: Vec<(Ballot, Digest)>,
}

impl RunIds {
    fn of(run: &Run) -> RunIds {
        RunIds {
            previous: run.previous,
            previous_digest: run.previous_digest,
            ids: run.entries.iter().map(|entry| (entry.ballot(), entry.digest())).collect(),
        }
    }
}

/// What one disk holds, as far as a replica is concerned.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub(super) log: Mirror,
    pub(super) pledge: Option<PledgeBytes>,
    /// The pledge of a write that has not reached the disk itself.
    pub(super) sworn: Option<(WriteSeq, PledgeBytes)>,
    pub(super) snapshot: Option<SnapshotId>,
    pub(super) founding: FoundingRecord,
}

/// A [`Write`] without payloads.
#[derive(Clone, Debug)]
struct WriteIds {
    seq: WriteSeq,
    runs: Vec<RunIds>,
    pledge: PledgeBytes,
    snapshot: Option<SnapshotId>,
    founding: Option<FoundingRecord>,
}

impl Disk {
    fn apply(&mut self, write: &WriteIds) {
        write.runs.iter().for_each(|run| self.log.apply(run));
        self.pledge = Some(write.pledge);
        self.sworn.take_if(|(seq, _)| *seq <= write.seq);
        self.snapshot = write.snapshot;
        if let Some(founding) = &write.founding {
            self.founding = founding.clone();
        }
    }
}

/// All replicas' logs. Replicas are named by their position.
pub(super) struct Logs {
    /// As each replica holds it, saved or not.
    pub(super) held: Vec<Mirror>,
    /// As each disk holds it, whatever the replica was told.
    pub(super) disks: Vec<Disk>,
    /// Writes that were asked for and have not reached the disk.
    unsynced: Vec<VecDeque<WriteIds>>,
}

impl Logs {
    pub(super) fn new(nodes: usize) -> Logs {
        Logs {
            held: vec![Mirror::default(); nodes],
            disks: vec![Disk::default(); nodes],
            unsynced: vec![VecDeque::new(); nodes],
        }
    }

    /// As each disk holds it.
    pub(super) fn on_disk(&self) -> impl ExactSizeIterator<Item = &Mirror> {
        self.disks.iter().map(|disk| &disk.log)
    }

    pub(super) fn write(&mut self, node: usize, seq: WriteSeq, write: &Write) {
        let ids = WriteIds {
            seq,
            runs: write.runs.iter().map(RunIds::of).collect(),
            pledge: write.pledge,
            snapshot: write.snapshot.as_ref().map(|meta| meta.id()),
            founding: write.founding.clone(),
        };
        ids.runs.iter().for_each(|run| self.held[node].apply(run));
        self.unsynced[node].push_back(ids);
    }

    pub(super) fn synced(&mut self, node: usize, seq: WriteSeq) {
        while let Some(write) = self.unsynced[node].pop_front_if(|write| write.seq <= seq) {
            self.disks[node].apply(&write);
        }
    }

    pub(super) fn sworn(&mut self, node: usize, seq: WriteSeq) {
        let pledge = self.unsynced_pledges(node).find(|(unsynced, _)| *unsynced == seq);
        self.disks[node].sworn = pledge;
    }

    /// The pledges of writes which have not reached the disk, in order.
    pub(super) fn unsynced_pledges(
        &self,
        node: usize,
    ) -> impl Iterator<Item = (WriteSeq, PledgeBytes)> + '_ {
        self.unsynced[node].iter().map(|write| (write.seq, write.pledge))
    }

    /// The process has died: of the writes which had not reached the disk, as many are there as
    /// it takes to be what was found. False if no number of them is.
    pub(super) fn settle(&mut self, node: usize, is_found: impl Fn(&Disk) -> bool) -> bool {
        let mut unsynced = std::mem::take(&mut self.unsynced[node]).into_iter();
        let disk = &mut self.disks[node];
        while !is_found(disk) {
            match unsynced.next() {
                Some(write) => disk.apply(&write),
                None => return false,
            }
        }
        self.held[node] = disk.log.clone();
        true
    }
}
