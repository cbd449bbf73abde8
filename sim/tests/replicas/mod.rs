//! A few whole replicas on disks that never fail, driven step by step: for scenarios about what a
//! replica does around its protocol, under every protocol.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use quorate_core::{
    Applied, Command, Digest, Disk, Effect, Entry, EntryKind, Envelope, Event, FetchNext,
    FoundingRecord, Identity, Incarnation, Index, Lineage, LogTime, Membership, NodeId, Now,
    Origin, Protocol, Reader, Recovered, RecoveredLog, Replica, ReplicaConfig, RequestId, Settings,
    SnapshotId, SnapshotMeta, Timer, Write, WriteSeq,
};

pub struct Node<P: Protocol> {
    pub replica: Option<Replica<P>>,
    incarnation: Incarnation,
    lineage: Lineage,
    timers: BTreeMap<Timer, Duration>,
    pub entries: Vec<Entry>,
    pub last_write: Option<Write>,
    pub founding: FoundingRecord,
    /// The applier does not answer.
    pub hangs: bool,
    /// Entries that are on disk only are never read.
    pub reads_hang: bool,
    /// Snapshots that cannot be read any more.
    pub rotten: BTreeSet<SnapshotId>,
    /// How many more attempts to build a snapshot fail.
    pub failing_builds: u32,
    /// The same state is written in other bytes for each of these.
    pub encoding: u64,
    peers: BTreeMap<NodeId, Disk>,
    /// What was answered.
    pub done: BTreeSet<RequestId>,
    pub ready: BTreeSet<RequestId>,
    pub stopped: Option<quorate_core::Fatal>,
    events: VecDeque<Event<P::Message>>,
}

/// Lets a message pass, or not.
pub type Filter<P> = Box<dyn FnMut(&Envelope<<P as Protocol>::Message>) -> bool>;

pub struct Replicas<P: Protocol> {
    pub nodes: BTreeMap<NodeId, Node<P>>,
    pub now: Duration,
    /// How many starts of processes there were.
    starts: u64,
    pub settings: Settings,
    pub filter: Filter<P>,
    wire: VecDeque<Envelope<P::Message>>,
}

pub fn n(id: u64) -> NodeId {
    NodeId(id)
}

impl<P: Protocol> Replicas<P> {
    pub fn founded(count: u64) -> Replicas<P> {
        Replicas::with(count, Settings::default())
    }

    pub fn with(count: u64, settings: Settings) -> Replicas<P> {
        let mut cluster = Replicas {
            nodes: BTreeMap::new(),
            now: Duration::from_secs(1),
            starts: 0,
            settings,
            filter: Box::new(|_| true),
            wire: VecDeque::new(),
        };
        for id in 1..=count {
            cluster.nodes.insert(n(id), Node::empty(Incarnation(100 + id)));
        }
        for id in 1..=count {
            cluster.start(n(id));
        }
        cluster
    }

    fn config(&self, me: NodeId) -> ReplicaConfig {
        let members = self.nodes.keys().copied().collect();
        ReplicaConfig { me, members, bootstrap: true, settings: self.settings.clone() }
    }

    fn at(&self) -> Now {
        Now { monotonic: self.now, wall: self.now }
    }

    /// Starts a process on what the node's disk holds.
    pub fn start(&mut self, id: NodeId) {
        let recovered = self.nodes[&id].recovered(id);
        self.start_with(id, recovered);
    }

    pub fn start_with(&mut self, id: NodeId, mut recovered: Recovered) {
        let (config, at) = (self.config(id), self.at());
        let node = self.nodes.get_mut(&id).unwrap();
        self.starts += 1;
        recovered.lineage.begin(self.starts);
        node.lineage = recovered.lineage.clone();
        let mut out = Vec::new();
        let replica = Replica::recover(config, recovered, at, &mut out).unwrap();
        node.replica = Some(replica);
        self.carry_out(id, out);
    }

    pub fn stop(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        node.replica = None;
        node.timers.clear();
        node.events.clear();
    }

    /// Puts the disk of a node, which is down, back to what it was.
    pub fn put_back(&mut self, id: NodeId, image: &Recovered) {
        let node = self.nodes.get_mut(&id).unwrap();
        node.lineage = image.lineage.clone();
        node.entries = image.log.tail.clone();
        node.founding = image.founding.clone();
        node.peers = image.peers.clone();
        let last_write = node.last_write.as_mut().unwrap();
        (last_write.pledge, last_write.mute) = (image.pledge.unwrap(), image.mute);
    }

    /// Puts an empty disk in the place of that of a node, which is down. Gives the old one.
    pub fn wipe(&mut self, id: NodeId, incarnation: u64) -> Node<P> {
        let disk = Node::empty(Incarnation(incarnation));
        self.nodes.insert(id, disk).expect("a member")
    }

    fn carry_out(&mut self, id: NodeId, effects: Vec<Effect<P::Message>>) {
        let now = self.now;
        for effect in effects {
            let node = self.nodes.get_mut(&id).unwrap();
            match effect {
                Effect::Persist { seq, write } => node.save(seq, write),
                Effect::Send(envelope) => self.wire.push_back(envelope),
                Effect::SetTimer(timer, range) => {
                    // Spread by name, so that no two nodes act in step.
                    let spread = (range.end - range.start) / 8 * (id.0 % 8) as u32;
                    node.timers.insert(timer, now + range.start + spread);
                }
                Effect::Apply { .. } if node.hangs => {}
                Effect::Apply { generation, entries } => {
                    let through = entries.last().unwrap().index();
                    let mine = entries.iter().filter(|entry| entry.kind == EntryKind::Command);
                    let requests: Vec<RequestId> = mine
                        .map(|entry| Command::decode(&entry.payload).unwrap().origin)
                        .filter(|origin| origin.node == id)
                        .map(|origin| origin.request)
                        .collect();
                    node.done.extend(&requests);
                    let applied = Applied { generation, through, requests, deadline: None };
                    node.events.push_back(Event::Applied(applied));
                }
                Effect::ReadEntries { .. } if node.reads_hang => {}
                Effect::ReadEntries { reader, from, .. } => {
                    let on_disk = node.entries.iter().skip_while(|entry| entry.index() < from);
                    let first = on_disk.clone().next().map(Entry::index);
                    assert!(first.is_none_or(|first| first == from), "{from} is known to be lost");
                    let ahead = on_disk.zip(from.0..).take(16);
                    let readable = ahead.take_while(|(entry, index)| entry.index().0 == *index);
                    let entries: Vec<Entry> = readable.map(|(entry, _)| entry.clone()).collect();
                    node.events.push_back(Event::EntriesRead { reader, from, entries });
                }
                Effect::Scrub { .. } => {
                    let next = Index(u64::MAX);
                    node.events.push_back(Event::Scrubbed { next, gaps: Vec::new() });
                }
                Effect::ReadReady { request } => drop(node.ready.insert(request)),
                Effect::Stop(fatal) => {
                    node.stopped = Some(fatal);
                    node.replica = None;
                    return;
                }
                Effect::TakeSnapshot => {
                    let fails = node.failing_builds > 0;
                    node.failing_builds = node.failing_builds.saturating_sub(1);
                    let snapshot = (!fails).then(|| node.snapshot());
                    if let Some(snapshot) = &snapshot {
                        node.rotten.remove(&snapshot.id());
                    }
                    node.events.push_back(Event::SnapshotBuilt(snapshot));
                }
                Effect::BeginFetch { snapshot } => {
                    let (snapshot, next) = (snapshot.id(), FetchNext::Chunk(0));
                    node.events.push_back(Event::FetchProgress { snapshot, next });
                }
                Effect::ReadChunk { to, snapshot, chunk } => {
                    let is_rotten = node.rotten.contains(&snapshot);
                    let bytes = (!is_rotten).then(|| Bytes::from_static(b"s"));
                    node.events.push_back(Event::ChunkRead { to, snapshot, chunk, bytes });
                }
                Effect::WriteChunk { snapshot, .. } => {
                    let next = FetchNext::Complete;
                    node.events.push_back(Event::FetchProgress { snapshot, next });
                }
                Effect::Restore { generation, .. } => {
                    node.events.push_back(Event::Restored { generation, deadline: None });
                }
                Effect::Failed { .. } => {}
            }
        }
    }

    fn step(&mut self, id: NodeId, event: Event<P::Message>) {
        let at = self.at();
        let Some(replica) = &mut self.nodes.get_mut(&id).unwrap().replica else { return };
        let mut out = Vec::new();
        replica.step(at, event, &mut out);
        replica.flush(at, &mut out);
        self.carry_out(id, out);
    }

    /// Everything that is on its way arrives.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
            let mut idle = true;
            for id in ids {
                while let Some(event) = self.nodes.get_mut(&id).unwrap().events.pop_front() {
                    idle = false;
                    self.step(id, event);
                }
            }
            if let Some(envelope) = self.wire.pop_front() {
                idle = false;
                if (self.filter)(&envelope) {
                    self.step(envelope.to, Event::Message(envelope));
                }
            }
            if idle {
                return;
            }
        }
        panic!("it never ends");
    }

    /// The shell of a node has something to say.
    pub fn tell(&mut self, id: NodeId, event: Event<P::Message>) {
        self.step(id, event);
        self.settle();
    }

    /// A message arrives.
    pub fn deliver(&mut self, envelope: Envelope<P::Message>) {
        self.step(envelope.to, Event::Message(envelope));
        self.settle();
    }

    /// Time passes, one timer after the other.
    pub fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        self.settle();
        loop {
            let due = self.nodes.iter().flat_map(|(id, node)| {
                node.timers.iter().map(move |(timer, at)| (*at, *id, *timer))
            });
            let Some((at, id, timer)) = due.min().filter(|(at, ..)| *at <= until) else { break };
            self.now = self.now.max(at);
            self.nodes.get_mut(&id).unwrap().timers.remove(&timer);
            self.step(id, Event::Timeout(timer));
            self.settle();
        }
        self.now = until;
    }

    pub fn leader(&self) -> Option<NodeId> {
        let leads = |node: &Node<P>| node.replica.as_ref().is_some_and(|r| r.status().serving);
        let leaders = self.nodes.iter().filter(|(_, node)| leads(node));
        leaders.max_by_key(|(_, node)| node.replica().status().ballot).map(|(id, _)| *id)
    }

    /// Asks a node to have something put into the log.
    pub fn propose(&mut self, id: NodeId) -> RequestId {
        let replica = self.nodes.get_mut(&id).unwrap().replica.as_mut().unwrap();
        let request = replica.name_request();
        let origin = Origin { node: id, request };
        let payload = Command { origin, session: None, body: Bytes::from_static(b"x") }.encode();
        self.step(id, Event::Propose { request, kind: EntryKind::Command, payload });
        request
    }

    /// Proposes at a node; true if that is applied there within some seconds.
    pub fn commits(&mut self, id: NodeId) -> bool {
        let request = self.propose(id);
        for _ in 0..50 {
            self.pass(Duration::from_millis(100));
            if self.nodes[&id].done.contains(&request) {
                return true;
            }
        }
        false
    }
}

impl<P: Protocol> Node<P> {
    fn empty(incarnation: Incarnation) -> Node<P> {
        Node {
            replica: None,
            incarnation,
            lineage: Lineage::default(),
            timers: BTreeMap::new(),
            entries: Vec::new(),
            last_write: None,
            founding: FoundingRecord::default(),
            hangs: false,
            reads_hang: false,
            rotten: BTreeSet::new(),
            failing_builds: 0,
            encoding: 0,
            peers: BTreeMap::new(),
            done: BTreeSet::new(),
            ready: BTreeSet::new(),
            stopped: None,
            events: VecDeque::new(),
        }
    }

    pub fn replica(&self) -> &Replica<P> {
        self.replica.as_ref().unwrap()
    }

    /// A snapshot of what is applied.
    fn snapshot(&self) -> SnapshotMeta {
        let status = self.replica().status();
        let last = self.entries.iter().find(|entry| entry.index() == status.applied).unwrap();
        SnapshotMeta {
            last: last.id,
            digest: last.digest(),
            membership: status.membership,
            time: LogTime(0),
            size_bytes: 1,
            content: Digest::of(
                &[last.index().0.to_le_bytes(), self.encoding.to_le_bytes()].concat(),
            ),
        }
    }

    fn save(&mut self, seq: WriteSeq, write: Write) {
        for run in &write.runs {
            self.entries.retain(|entry| entry.index() <= run.previous.index);
            self.entries.extend(run.entries.iter().cloned());
        }
        for entry in write.repairs.iter().flatten() {
            let place = self.entries.iter().position(|held| held.index() >= entry.index());
            let place = place.unwrap_or(self.entries.len());
            self.entries.insert(place, entry.clone());
        }
        if let Some(record) = &write.founding {
            self.founding = record.clone();
        }
        if let Some(peers) = &write.peers {
            self.peers.clone_from(peers);
        }
        self.last_write = Some(write);
        self.events.push_back(Event::Saved(seq));
    }

    /// What the disk says when no process runs.
    pub fn recovered(&self, id: NodeId) -> Recovered {
        let mut log = RecoveredLog::default();
        for entry in &self.entries {
            if log.ballots.last().is_none_or(|(_, ballot)| *ballot < entry.ballot()) {
                log.ballots.push((entry.index(), entry.ballot()));
            }
            if entry.kind == EntryKind::Membership {
                let members: Membership = postcard::from_bytes(&entry.payload).unwrap();
                log.memberships.push((entry.index(), members));
            }
            (log.last, log.last_digest, log.last_time) = (entry.id, entry.digest(), entry.time);
        }
        if let Some(first) = self.entries.first() {
            log.base_digest = first.parent;
        }
        log.tail = self.entries.clone();
        Recovered {
            identity: Identity {
                node: id,
                cluster: String::new(),
                protocol: P::NAME.to_owned(),
                incarnation: self.incarnation,
            },
            lineage: self.lineage.clone(),
            founding: self.founding.clone(),
            pledge: self.last_write.as_ref().map(|write| write.pledge),
            sworn: None,
            mute: self.last_write.as_ref().is_some_and(|write| write.mute),
            peers: self.peers.clone(),
            snapshot: None,
            log,
        }
    }
}

#[allow(unused_imports, reason = "for the tests that use this module")]
pub use quorate_core::PeerMessage;
pub type ReaderOf = Reader;
pub type At = Index;
