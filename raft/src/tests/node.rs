//! One node: a protocol, its log and its disk, joined as a replica would join them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use quorate_core::{
    Digest, Effects, Entry, Incarnation, Index, Input, Log, LogId, LogTime, Membership, NodeId,
    Now, Protocol, ProtocolEffect, ReadId, Role, Run, Settings, SnapshotMeta, Timer, WriteSeq,
};

use super::disk::Disk;
use crate::{Message, Pledge, Raft};

/// Messages, and to whom they go.
type Outbox = Vec<(NodeId, Message)>;

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) me: NodeId,
    pub(super) up: bool,
    pub(super) raft: Raft,
    pub(super) log: Log,
    pub(super) disk: Disk,
    writes: VecDeque<Write>,
    next_seq: WriteSeq,
    begun: Option<Pledge>,
    /// When each timer runs out.
    pub(super) timers: BTreeMap<Timer, Duration>,
    /// Where in its range the next timer is set, in thousandths.
    pub(super) draw: u32,
    pub(super) ready: BTreeMap<ReadId, Index>,
    pub(super) lost: BTreeSet<ReadId>,
    pub(super) wanted: BTreeMap<NodeId, (Index, usize)>,
    pub(super) fetching: Option<(NodeId, SnapshotMeta)>,
}

#[derive(Clone, Debug)]
struct Write {
    seq: WriteSeq,
    runs: Vec<Run>,
    pledge: Pledge,
    snapshot: Option<SnapshotMeta>,
    /// What waits for the pledge alone, and what waits for all of it.
    once_sworn: Outbox,
    once_saved: Outbox,
}

impl Node {
    pub(super) fn new(me: NodeId, founders: &Membership, settings: &Settings) -> Node {
        let mut log = Log::founded_by(founders.clone());
        let mut out = Effects::default();
        let raft = Raft::recover(me, settings, None, &mut log, &mut out);
        let mut node = Node {
            me,
            up: true,
            raft,
            log,
            disk: Disk::founded_by(founders),
            writes: VecDeque::new(),
            next_seq: WriteSeq(1),
            begun: None,
            timers: BTreeMap::new(),
            draw: 500,
            ready: BTreeMap::new(),
            lost: BTreeSet::new(),
            wanted: BTreeMap::new(),
            fetching: None,
        };
        node.absorb(Duration::ZERO, &mut out);
        node
    }

    /// The process starts again with what is on disk, the last `tail` entries in memory.
    pub(super) fn restart(
        &mut self,
        now: Duration,
        founders: &Membership,
        settings: &Settings,
        tail: usize,
    ) {
        self.up = true;
        self.log = self.disk.recover(founders, tail);
        let mut out = Effects::default();
        let pledge = self.disk.pledge();
        self.raft = Raft::recover(self.me, settings, pledge, &mut self.log, &mut out);
        self.begun = pledge;
        self.absorb(now, &mut out);
    }

    /// The process dies; `saved` of the writes on their way make it to the disk.
    pub(super) fn crash(&mut self, saved: usize) {
        for write in self.writes.drain(..).take(saved) {
            self.disk.save(&write.runs, write.pledge, write.snapshot);
        }
        self.up = false;
        self.timers.clear();
        self.wanted.clear();
        self.fetching = None;
    }

    /// A batch of inputs. Gives the messages that leave at once.
    pub(super) fn batch(
        &mut self,
        now: Duration,
        inputs: impl IntoIterator<Item = Input<Message>>,
    ) -> Outbox {
        assert!(self.up);
        // How long anything takes is none of the wall clock's business, which goes back all the time.
        let at = Now { monotonic: now, wall: Duration::from_secs(1 << 30).saturating_sub(now) };
        let mut out = Effects::default();
        for input in inputs {
            self.raft.step(at, input, &mut self.log, &mut out);
        }
        self.raft.flush(at, &mut self.log, &mut out);
        let (mut send, once_saved) = self.absorb(now, &mut out);
        let pledge = self.raft.pledge();
        let mut once_sworn = Vec::new();
        // Nothing is said under an unsaved pledge.
        if self.disk.pledge() != Some(pledge) {
            once_sworn.append(&mut send);
        }
        let snapshot = self.log.snapshot().cloned();
        let unsaved = self.log.has_unsaved() || self.begun != Some(pledge);
        let waits = !once_sworn.is_empty() || !once_saved.is_empty();
        if unsaved || waits || snapshot != self.disk.snapshot {
            let seq = self.next_seq;
            self.next_seq = seq.next();
            self.begun = Some(pledge);
            let runs = self.log.begin_write(seq);
            let write = Write { seq, runs, pledge, snapshot, once_sworn, once_saved };
            self.writes.push_back(write);
        }
        send
    }

    fn absorb(&mut self, now: Duration, out: &mut Effects<Message>) -> (Outbox, Outbox) {
        let (mut send, mut once_saved) = (Vec::new(), Vec::new());
        for effect in out.drain() {
            match effect {
                ProtocolEffect::Send { to, message } => send.push((to, message)),
                ProtocolEffect::AfterSave { to, message } => once_saved.push((to, message)),
                ProtocolEffect::SetTimer(timer, range) => {
                    assert!(!range.is_empty());
                    let spread = (range.end - range.start) * self.draw / 1000;
                    self.timers.insert(timer, now + range.start + spread);
                }
                ProtocolEffect::ReadEntries { to, from, max_bytes } => {
                    self.wanted.insert(to, (from, max_bytes));
                }
                ProtocolEffect::ReadReady(read, index) => {
                    assert!(!self.lost.contains(&read) && !self.ready.contains_key(&read));
                    self.ready.insert(read, index);
                }
                ProtocolEffect::ReadLost(read) => {
                    assert!(!self.ready.contains_key(&read) && self.lost.insert(read));
                }
                ProtocolEffect::FetchSnapshot { from, snapshot } => {
                    self.fetching = Some((from, snapshot));
                }
            }
        }
        (send, once_saved)
    }

    pub(super) fn has_writes(&self) -> bool {
        !self.writes.is_empty()
    }

    pub(super) fn writes(&self) -> usize {
        self.writes.len()
    }

    /// Entries of the write which was begun last.
    pub(super) fn entries_being_written(&self) -> impl Iterator<Item = &Entry> {
        self.writes.back().into_iter().flat_map(|write| write.runs.iter().flat_map(|r| &r.entries))
    }

    /// The oldest write completes. Gives the messages that leave with it.
    pub(super) fn save(&mut self, now: Duration) -> Outbox {
        let Some(write) = self.writes.pop_front() else { return Vec::new() };
        self.disk.save(&write.runs, write.pledge, write.snapshot);
        self.log.saved(write.seq);
        let mut waited = write.once_sworn;
        waited.extend(write.once_saved);
        waited.extend(self.take_sworn());
        self.say(now, waited, Some(Input::Saved))
    }

    /// There is no room for what is on its way to the disk, except for the last pledge.
    pub(super) fn swear(&mut self, now: Duration) -> Outbox {
        let Some(write) = self.writes.back() else { return Vec::new() };
        self.disk.swear(write.pledge);
        let waited = self.take_sworn();
        self.say(now, waited, None)
    }

    fn take_sworn(&mut self) -> Outbox {
        let pledge = self.disk.pledge();
        let sworn = self.writes.iter_mut().filter(|write| Some(write.pledge) == pledge);
        sworn.flat_map(|write| std::mem::take(&mut write.once_sworn)).collect()
    }

    /// These messages have waited long enough. Gives those that leave.
    fn say(&mut self, now: Duration, waited: Outbox, then: Option<Input<Message>>) -> Outbox {
        let me = self.me;
        let (mine, mut others): (Vec<_>, Vec<_>) =
            waited.into_iter().partition(|(to, _)| *to == me);
        let own = mine.into_iter().map(|(from, message)| Input::Message {
            from,
            incarnation: Incarnation(0),
            message,
        });
        let sent = self.batch(now, own.chain(then));
        others.extend(sent);
        others
    }

    /// Applies what is committed, and takes a snapshot of it.
    pub(super) fn snapshot(&mut self) -> SnapshotMeta {
        let last = self.log.id_at(self.log.committed()).unwrap();
        self.log.set_applied(last.index);
        let meta = SnapshotMeta {
            last,
            digest: self.digest_at(last.index),
            membership: self.log.membership_at(last.index).clone(),
            time: LogTime(0),
            size_bytes: 1,
            content: Digest::of(&last.index.0.to_le_bytes()),
        };
        self.log.set_snapshot(meta.clone());
        meta
    }

    /// Forgets what the newest snapshot covers. It must be on disk.
    pub(super) fn compact(&mut self) {
        let meta = self.log.snapshot().unwrap().clone();
        assert_eq!(self.disk.snapshot.as_ref(), Some(&meta));
        self.log.compact(&meta);
        self.disk.compact(&meta);
    }

    fn digest_at(&self, index: Index) -> Digest {
        let in_memory = self.log.entries(index, 1).and_then(|found| found.first().cloned());
        let entry = in_memory.or_else(|| self.disk.entry(index).cloned());
        entry.map(|entry| entry.digest()).unwrap()
    }

    pub(super) fn leads(&self) -> bool {
        self.up && self.raft.standing().role == Role::Leader
    }

    pub(super) fn last(&self) -> LogId {
        self.log.last()
    }

    /// The terms of all entries behind the base.
    pub(super) fn terms(&self) -> Vec<u64> {
        let indexes = self.log.base().index.0 + 1..=self.log.last().index.0;
        indexes.map(|index| self.log.ballot_at(Index(index)).unwrap().0).collect()
    }
}
