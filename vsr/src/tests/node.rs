//! One node: a protocol, its log and its disk, joined as a replica would join them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use quorate_core::{
    Digest, Effects, Entry, Incarnation, Index, Input, Log, LogId, LogTime, Membership, NodeId,
    Now, Protocol, ProtocolEffect, ReadId, Role, Run, Settings, SnapshotMeta, Timer, WriteSeq,
};

use super::disk::Disk;
use crate::{Message, Pledge, Vsr};

/// Messages, and to whom they go.
type Outbox = Vec<(NodeId, Message)>;

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) me: NodeId,
    pub(super) up: bool,
    pub(super) vsr: Vsr,
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
    repairs: bool,
    then: Outbox,
}

impl Node {
    pub(super) fn new(me: NodeId, founders: &Membership, settings: &Settings) -> Node {
        let mut log = Log::founded_by(founders.clone());
        let mut out = Effects::default();
        let vsr = Vsr::recover(me, settings, None, &mut log, &mut out);
        let mut node = Node {
            me,
            up: true,
            vsr,
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
        let pledge = self.disk.pledge;
        self.vsr = Vsr::recover(self.me, settings, pledge, &mut self.log, &mut out);
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

    /// Damage was found: nothing that waits for a write is said of the log.
    pub(super) fn withdraw(&mut self) {
        for write in &mut self.writes {
            write.then.retain(|(_, message)| !Vsr::vouches(message));
        }
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
            self.vsr.step(at, input, &mut self.log, &mut out);
        }
        self.vsr.flush(at, &mut self.log, &mut out);
        let (mut send, mut then) = self.absorb(now, &mut out);
        assert!(
            send.iter().all(|(to, _)| *to != self.me),
            "what is said to oneself waits: {send:?}"
        );
        let pledge = self.vsr.pledge();
        // Nothing is said under an unsaved pledge.
        if self.disk.pledge != Some(pledge) {
            then.append(&mut send);
        }
        let snapshot = self.log.snapshot().cloned();
        let unsaved = self.log.has_unsaved() || self.begun != Some(pledge);
        if unsaved || !then.is_empty() || snapshot != self.disk.snapshot {
            let seq = self.next_seq;
            self.next_seq = seq.next();
            self.begun = Some(pledge);
            let runs = self.log.begin_write(seq);
            let repairs = !self.log.begin_repairs(seq).is_empty();
            self.writes.push_back(Write { seq, runs, pledge, snapshot, repairs, then });
        }
        send
    }

    fn absorb(&mut self, now: Duration, out: &mut Effects<Message>) -> (Outbox, Outbox) {
        let (mut send, mut then) = (Vec::new(), Vec::new());
        for effect in out.drain() {
            match effect {
                ProtocolEffect::Send { to, message } => send.push((to, message)),
                ProtocolEffect::AfterSave { to, message } => then.push((to, message)),
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
        (send, then)
    }

    /// True if the shell was asked for something that it has not done.
    pub(super) fn is_owed_something(&self) -> bool {
        self.up && (self.fetching.is_some() || !self.wanted.is_empty())
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
        self.disk.damaged.take_if(|_| write.repairs && self.log.is_whole());
        let (mine, mut others): (Vec<_>, Vec<_>) =
            write.then.into_iter().partition(|(to, _)| *to == self.me);
        let own = mine.into_iter().map(|(from, message)| Input::Message {
            from,
            incarnation: Incarnation(from.0),
            message,
        });
        let sent = self.batch(now, own.chain([Input::Saved]));
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

    /// Keeps nothing in memory that is on disk.
    pub(super) fn forget_cache(&mut self) {
        self.log.set_applied(self.log.committed());
        self.log.trim_cache(0);
    }

    fn digest_at(&self, index: Index) -> Digest {
        let in_memory = self.log.entries(index, 1).and_then(|found| found.first().cloned());
        let entry = in_memory.or_else(|| self.disk.entry(index).cloned());
        entry.map(|entry| entry.digest()).unwrap()
    }

    pub(super) fn leads(&self) -> bool {
        self.up && self.vsr.standing().role == Role::Leader
    }

    pub(super) fn last(&self) -> LogId {
        self.log.last()
    }

    /// The views of all entries behind the base.
    pub(super) fn views(&self) -> Vec<u64> {
        let indexes = self.log.base().index.0 + 1..=self.log.last().index.0;
        indexes.map(|index| self.log.ballot_at(Index(index)).unwrap().0).collect()
    }
}
