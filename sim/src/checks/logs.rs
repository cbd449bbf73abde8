//! What every replica's log looks like, in memory and on its disk: the ground that the checks of
//! the log stand on.

use std::collections::{BTreeMap, VecDeque};

use quorate_core::{
    Ballot, Digest, EntryKind, FoundingRecord, Index, LogId, Membership, NodeId, PledgeBytes,
    Recovered, Run, SnapshotId, Write, WriteSeq,
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

    /// True if this entry is in it, or may be in what precedes it.
    pub(super) fn may_hold(&self, id: LogId) -> bool {
        id.index < self.base || self.at(id.index).is_some_and(|(ballot, _)| ballot == id.ballot)
    }

    /// The name of its last entry.
    pub(super) fn last_id(&self) -> LogId {
        let last = self.last();
        self.at(last).map_or(LogId::ZERO, |(ballot, _)| LogId::new(last, ballot))
    }

    /// The name of its last entry of a ballot before this one.
    pub(super) fn last_before(&self, ballot: Ballot) -> LogId {
        let earlier = self.ids.iter().rposition(|(b, _)| *b < ballot);
        earlier.map_or(LogId::ZERO, |at| LogId::new(Index(self.base.0 + at as u64), self.ids[at].0))
    }

    /// The part of it that ends with this entry, if it holds that.
    fn ending_with(&self, last: LogId, digest: Digest) -> Option<Mirror> {
        (self.at(last.index)? == (last.ballot, digest)).then(|| {
            let kept = (last.index.0 - self.base.0 + 1) as usize;
            Mirror { base: self.base, ids: self.ids[..kept].to_vec() }
        })
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
    /// The log may point to these, which a start could not read. They may be written anew, in the same
    /// bytes, before anything else is.
    pub(super) unread_snapshots: Vec<SnapshotId>,
    pub(super) founding: FoundingRecord,
    pub(super) mute: bool,
    /// The latest start of each other replica's process that it knows of.
    pub(super) peers: BTreeMap<NodeId, quorate_core::Disk>,
    /// What it held before it lost something that the replica had vouched for, until the replica
    /// has all of it again.
    pub(super) lost: Option<Box<Mirror>>,
    /// The replica knows of the loss.
    pub(super) is_loss_known: bool,
}

/// A [`Write`] without payloads.
#[derive(Clone, Debug)]
struct WriteIds {
    seq: WriteSeq,
    runs: Vec<RunIds>,
    pledge: PledgeBytes,
    snapshot: Option<SnapshotId>,
    founding: Option<FoundingRecord>,
    mute: bool,
    peers: Option<BTreeMap<NodeId, quorate_core::Disk>>,
}

impl Disk {
    fn apply(&mut self, write: &WriteIds) {
        // What it falls mute over may be what this very write cuts off.
        self.set_mute(write.mute);
        write.runs.iter().for_each(|run| self.log.apply(run));
        self.pledge = Some(write.pledge);
        self.sworn.take_if(|(seq, _)| *seq <= write.seq);
        self.snapshot = write.snapshot;
        if self.snapshot.is_some() {
            self.unread_snapshots.clear();
        }
        if let Some(founding) = &write.founding {
            self.founding = founding.clone();
        }
        if let Some(peers) = &write.peers {
            self.peers = peers.clone();
        }
    }

    /// It says so of the replica.
    pub(super) fn set_mute(&mut self, mute: bool) {
        if mute && !self.mute {
            self.lose(self.log.clone());
            self.is_loss_known = true;
        }
        self.mute = mute;
    }

    /// What others may count on: what it held before a loss, or what it holds.
    pub(super) fn counted(&self) -> &Mirror {
        self.lost.as_deref().unwrap_or(&self.log)
    }

    /// True if it has lost something that the replica has not made good.
    pub(super) fn has_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// True if it has lost something, and the replica does not know.
    pub(super) fn is_unaware(&self) -> bool {
        self.lost.is_some() && !self.is_loss_known
    }

    /// Where its log begins and ends, and what stands beside that.
    pub(super) fn in_words(&self) -> String {
        let Disk { log, pledge, snapshot, .. } = self;
        format!(
            "a log of {:?} to {:?}, snapshot {snapshot:?}, pledge {:?}",
            log.base(),
            log.at(log.last()).map(|(ballot, _)| LogId::new(log.last(), ballot)),
            pledge.map(|bytes| bytes[..24].to_vec())
        )
    }

    fn lose(&mut self, log: Mirror) {
        let before = std::mem::replace(&mut self.log, log);
        self.lost.get_or_insert_with(|| Box::new(before));
    }
}

/// What a disk held when its machine was off, and what may be on it beside that.
#[derive(Clone)]
pub(super) struct Image {
    disk: Disk,
    unsynced: VecDeque<WriteIds>,
}

/// All replicas' logs. Replicas are named by their position.
#[derive(Clone)]
pub(super) struct Logs {
    /// As each replica holds it, saved or not.
    pub(super) held: Vec<Mirror>,
    /// As each disk holds it, whatever the replica was told.
    pub(super) disks: Vec<Disk>,
    /// Writes that were asked for and have not reached the disk.
    unsynced: Vec<VecDeque<WriteIds>>,
    /// What was ever written of the members, by the digests of the entries.
    lists: BTreeMap<Digest, Membership>,
}

impl Logs {
    pub(super) fn new(nodes: usize) -> Logs {
        Logs {
            held: vec![Mirror::default(); nodes],
            disks: vec![Disk::default(); nodes],
            unsynced: vec![VecDeque::new(); nodes],
            lists: BTreeMap::new(),
        }
    }

    /// As each disk holds it. Where faults took something, as it was before, until the replica
    /// counts again: what a disk loses is not the protocol's fault, what it never had is.
    pub(super) fn on_disk(&self) -> impl ExactSizeIterator<Item = &Mirror> {
        self.disks.iter().map(Disk::counted)
    }

    pub(super) fn write(&mut self, node: usize, seq: WriteSeq, write: &Write) {
        let ids = WriteIds {
            seq,
            runs: write.runs.iter().map(RunIds::of).collect(),
            pledge: write.pledge,
            snapshot: write.snapshot.as_ref().map(|meta| meta.id()),
            founding: write.founding.clone(),
            mute: write.mute,
            peers: write.peers.clone(),
        };
        ids.runs.iter().for_each(|run| self.held[node].apply(run));
        for entry in write.runs.iter().flat_map(|run| &run.entries) {
            if entry.kind == EntryKind::Membership
                && let Ok(list) = postcard::from_bytes(&entry.payload)
            {
                self.lists.insert(entry.digest(), list);
            }
        }
        self.unsynced[node].push_back(ids);
    }

    /// The lists of members in this log, as far as that is known entry by entry.
    pub(super) fn lists_in(&self, log: &Mirror) -> impl Iterator<Item = (Index, &Membership)> {
        let indexes = (log.base.0..).map(Index);
        let lists = indexes.zip(&log.ids).map(|(at, (_, digest))| (at, self.lists.get(digest)));
        lists.filter_map(|(at, list)| Some((at, list?)))
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

    pub(super) fn has_unsaved(&self, node: usize) -> bool {
        !self.unsynced[node].is_empty()
    }

    /// True if this is what the disk was told of other replicas, by what is on it or by a write that has
    /// not reached it.
    pub(super) fn may_know_of_peers(
        &self,
        node: usize,
        peers: &BTreeMap<NodeId, quorate_core::Disk>,
    ) -> bool {
        let mut unsynced = self.unsynced[node].iter().filter_map(|write| write.peers.as_ref());
        self.disks[node].peers == *peers || unsynced.any(|told| told == peers)
    }

    /// True if the disk was told that the replica is mute, or that it is not, by what is on it or by a
    /// write that has not reached it.
    pub(super) fn may_say_of_muteness(&self, node: usize, mute: bool) -> bool {
        let mut unsynced = self.unsynced[node].iter().map(|write| write.mute);
        self.disks[node].mute == mute || unsynced.any(|told| told == mute)
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

    /// The process has died, and its disk is damaged: this is what was found of it. True if the
    /// end of the log is there, which ends one of the writes that were on their way, or all that
    /// was synced; or if the replica knows that it is not.
    pub(super) fn settle_damaged(&mut self, node: usize, found: &Recovered) -> bool {
        let last = found.log.last;
        let digest = found.log.last_digest;
        let is_end = |disk: &Disk| {
            disk.log.ending_with(last, digest).as_ref() == Some(&disk.log)
                || disk.log.last_id() == LogId::ZERO && last == LogId::ZERO
        };
        let mut pointed_to: Vec<SnapshotId> = self.disks[node].snapshot.into_iter().collect();
        pointed_to.extend(self.unsynced[node].iter().filter_map(|write| write.snapshot));
        if !found.mute {
            if !self.settle(node, is_end) {
                return false;
            }
        } else {
            let known = {
                let mut all = self.held.iter().chain(self.on_disk());
                all.find_map(|log| log.ending_with(last, digest))
            };
            let log = known.unwrap_or_else(|| Mirror::at_base(last, digest));
            self.disks[node].lose(log);
            self.disks[node].is_loss_known = true;
            self.unsynced[node].clear();
            self.held[node] = self.disks[node].log.clone();
        }
        let disk = &mut self.disks[node];
        disk.pledge = found.pledge;
        disk.snapshot = found.snapshot.as_ref().map(|meta| meta.id());
        pointed_to.retain(|snapshot| Some(*snapshot) != disk.snapshot);
        disk.unread_snapshots.extend(pointed_to);
        disk.founding = found.founding.clone();
        disk.mute = found.mute;
        disk.peers = found.peers.clone();
        true
    }

    /// The disk of a replica was replaced by an empty one.
    pub(super) fn wiped(&mut self, node: usize) {
        let disk = &mut self.disks[node];
        disk.lose(Mirror::default());
        let lost = disk.lost.take();
        *disk = Disk { lost, is_loss_known: true, ..Disk::default() };
        self.unsynced[node].clear();
        self.held[node] = Mirror::default();
    }

    /// The disk of a replica was put back to what it was when it held this.
    pub(super) fn put_back(&mut self, node: usize, image: &Image) {
        let disk = &mut self.disks[node];
        disk.lose(image.disk.log.clone());
        let lost = disk.lost.take();
        *disk = Disk { lost, is_loss_known: false, ..image.disk.clone() };
        self.unsynced[node] = image.unsynced.clone();
        self.held[node] = disk.log.clone();
    }

    /// What is on the disk of a replica, whose process has died, as far as is known.
    pub(super) fn image(&self, node: usize) -> Image {
        Image { disk: self.disks[node].clone(), unsynced: self.unsynced[node].clone() }
    }

    /// The replica says that it has again whatever it had lost.
    pub(super) fn regained(&mut self, node: usize) {
        self.disks[node].lost = None;
    }

    /// True if all others' disks know of a later start of this replica's process on the same disk
    /// than number `start`.
    pub(super) fn know_a_later_start(&self, node: usize, image: quorate_core::Disk) -> bool {
        let id = NodeId(node as u64 + 1);
        let knows = |disk: &Disk| {
            let known = disk.peers.get(&id).filter(|known| known.incarnation == image.incarnation);
            known.is_some_and(|known| known.start.count > image.start.count)
        };
        let mut others = self.disks.iter().enumerate().filter(|(other, _)| *other != node);
        others.all(|(_, disk)| knows(disk))
    }
}
