//! A cluster in a test's hand.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use quorate_core::{
    Ballot, EntryKind, Incarnation, Index, Input, Log, LogTime, Membership, NodeId, Proposal,
    Protocol, ReadId, RequestId, Settings, Timer, WriteSeq,
};

use super::checks::Checks;
use super::node::Node;
use crate::{AppendEntries, Message, Pledge, Raft};

/// More than any test takes of them: what a change has made endless fails by it.
const STEPS: usize = 20_000;

/// A message on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    pub(super) message: Message,
}

#[derive(Clone, Debug)]
pub(super) struct Cluster {
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) network: Vec<Sent>,
    /// How many messages have arrived.
    pub(super) delivered: usize,
    /// Messages on these ways are lost.
    pub(super) cut: BTreeSet<(NodeId, NodeId)>,
    /// Disks that complete nothing by themselves.
    pub(super) slow: BTreeSet<NodeId>,
    pub(super) now: Duration,
    pub(super) founders: Membership,
    pub(super) settings: Settings,
    pub(super) checks: Checks,
    requests: u64,
}

pub(super) fn n(id: u64) -> NodeId {
    NodeId(id)
}

/// How the tests write down a message of no particular sender.
pub(super) fn append(message: &Message) -> Option<&AppendEntries> {
    match message {
        Message::AppendEntries(append) => Some(append),
        _ => None,
    }
}

impl Cluster {
    pub(super) fn of(size: u64) -> Cluster {
        Cluster::with(size, Settings::default())
    }

    pub(super) fn with(size: u64, settings: Settings) -> Cluster {
        let founders = Membership::new((1..=size).map(|id| (n(id), Incarnation(id))));
        let nodes = founders.voters().map(|id| (id, Node::new(id, &founders, &settings)));
        Cluster {
            nodes: nodes.collect(),
            network: Vec::new(),
            delivered: 0,
            cut: BTreeSet::new(),
            slow: BTreeSet::new(),
            now: Duration::ZERO,
            founders,
            settings,
            checks: Checks::default(),
            requests: 0,
        }
    }

    /// A cluster which node 1 leads, everything delivered and saved.
    pub(super) fn led_by_1(size: u64) -> Cluster {
        let mut cluster = Cluster::of(size);
        cluster.elect(1);
        cluster
    }

    /// Makes `id` the leader.
    pub(super) fn elect(&mut self, id: u64) {
        // Long enough for everybody to forget the leader before.
        self.now += self.settings.election.end;
        if let Some(leader) = self.leader() {
            self.timeout(leader.0, Timer::Quorum);
        }
        self.timeout(id, Timer::Election);
        self.settle();
        assert!(self.node(id).leads(), "{:?}", self.node(id).raft);
    }

    pub(super) fn node(&self, id: u64) -> &Node {
        &self.nodes[&n(id)]
    }

    pub(super) fn raft(&self, id: u64) -> &Raft {
        &self.node(id).raft
    }

    pub(super) fn term(&self, id: u64) -> u64 {
        self.raft(id).standing().ballot.0
    }

    pub(super) fn committed(&self, id: u64) -> u64 {
        self.node(id).log.committed().0
    }

    pub(super) fn leader(&self) -> Option<NodeId> {
        let leading = self.nodes.values().filter(|node| node.leads());
        leading.max_by_key(|node| node.raft.standing().ballot).map(|node| node.me)
    }

    /// Gives `id` a batch of inputs.
    pub(super) fn batch(&mut self, id: NodeId, inputs: Vec<Input<Message>>) {
        let node = self.nodes.get_mut(&id).unwrap();
        let sent = node.batch(self.now, inputs);
        self.post(id, sent);
    }

    pub(super) fn input(&mut self, id: u64, input: Input<Message>) {
        self.batch(n(id), vec![input]);
    }

    pub(super) fn timeout(&mut self, id: u64, timer: Timer) {
        self.nodes.get_mut(&n(id)).unwrap().timers.remove(&timer);
        self.input(id, Input::Timeout(timer));
    }

    pub(super) fn proposal(text: &str) -> Input<Message> {
        let payload = Bytes::copy_from_slice(text.as_bytes());
        Input::Propose(Proposal::new(EntryKind::Command, LogTime(0), payload))
    }

    pub(super) fn propose(&mut self, id: u64, text: &str) {
        self.input(id, Cluster::proposal(text));
    }

    pub(super) fn read(&mut self, id: u64) -> ReadId {
        self.requests += 1;
        let request = RequestId { number: self.requests, ..RequestId::default() };
        let read = ReadId { origin: n(id), request };
        self.checks.on_read(read);
        self.input(id, Input::Read(read));
        read
    }

    /// The oldest write of `id` completes.
    pub(super) fn save(&mut self, id: u64) {
        let sent = self.nodes.get_mut(&n(id)).unwrap().save(self.now);
        self.post(n(id), sent);
    }

    /// The disk of `id` has no room for what is on its way, but keeps its pledge.
    pub(super) fn swear(&mut self, id: u64) {
        let sent = self.nodes.get_mut(&n(id)).unwrap().swear(self.now);
        self.post(n(id), sent);
    }

    /// `message` reaches its receiver.
    pub(super) fn deliver(&mut self, sent: Sent) {
        let Sent { from, to, message } = sent;
        if self.nodes[&to].up && !self.cut.contains(&(from, to)) {
            self.delivered += 1;
            self.batch(to, vec![Input::Message { from, incarnation: Incarnation(0), message }]);
        }
    }

    /// A message that nobody in the cluster has sent.
    pub(super) fn forge(&mut self, from: u64, to: u64, message: Message) {
        self.input(to, Input::Message { from: n(from), incarnation: Incarnation(0), message });
    }

    /// Takes the messages off the network for which `which` holds.
    pub(super) fn take(&mut self, which: impl Fn(&Sent) -> bool) -> Vec<Sent> {
        self.network.extract_if(.., |sent| which(sent)).collect()
    }

    /// Delivers the messages that are on their way to `id`, in order; not those that follow.
    pub(super) fn deliver_to(&mut self, id: u64) {
        for sent in self.take(|sent| sent.to == n(id)) {
            self.deliver(sent);
        }
    }

    /// One write after the other is saved at `id`.
    pub(super) fn save_all(&mut self, id: u64) {
        self.until(|cluster| !cluster.node(id).has_writes(), |cluster| cluster.save(id));
    }

    /// Takes step after step until it `is` so.
    pub(super) fn until(
        &mut self,
        is: impl Fn(&Cluster) -> bool,
        mut step: impl FnMut(&mut Cluster),
    ) {
        for _ in 0..STEPS {
            if is(self) {
                return;
            }
            step(self);
        }
        panic!("it never becomes so");
    }

    /// Delivers and saves until nothing moves.
    pub(super) fn settle(&mut self) {
        for _ in 0..STEPS {
            let writing = self
                .nodes
                .values()
                .find(|node| node.up && node.has_writes() && !self.slow.contains(&node.me));
            if let Some(id) = writing.map(|node| node.me) {
                self.save(id.0);
            } else if self.network.is_empty() {
                return;
            } else {
                let sent = self.network.remove(0);
                self.deliver(sent);
            }
        }
        panic!("the cluster never comes to rest");
    }

    /// Repeats `step` until `id` leads.
    pub(super) fn until_leads(&mut self, id: u64, mut step: impl FnMut(&mut Cluster)) {
        for _ in 0..20 {
            if self.node(id).leads() {
                return;
            }
            step(self);
        }
        panic!("node {id} does not win: {:?}", self.raft(id));
    }

    /// The timers run out whose time has come.
    pub(super) fn fire_due_timers(&mut self) {
        for id in self.founders.clone().voters() {
            for (timer, due) in self.nodes[&id].timers.clone() {
                if due <= self.now && self.nodes[&id].timers.get(&timer) == Some(&due) {
                    self.timeout(id.0, timer);
                }
            }
        }
    }

    /// Lets time pass, a heartbeat after the other; no election timer runs out.
    pub(super) fn heartbeats(&mut self, count: u32) {
        for _ in 0..count {
            self.now += self.settings.heartbeat;
            let leaders: Vec<_> = self.nodes.values().filter(|node| node.leads()).collect();
            for id in leaders.iter().map(|node| node.me.0).collect::<Vec<_>>() {
                self.timeout(id, Timer::Heartbeat);
            }
            self.settle();
        }
    }

    pub(super) fn crash(&mut self, id: u64) {
        self.nodes.get_mut(&n(id)).unwrap().crash(0);
    }

    pub(super) fn restart(&mut self, id: u64) {
        self.restart_with(id, usize::MAX);
    }

    /// Starts `id` again, with the last `tail` entries in memory.
    pub(super) fn restart_with(&mut self, id: u64, tail: usize) {
        let node = self.nodes.get_mut(&n(id)).unwrap();
        node.restart(self.now, &self.founders, &self.settings, tail);
        self.checks.on_restart(&self.nodes[&n(id)]);
    }

    /// Starts `id` with a log of entries of these terms. Logs with the same terms are the same.
    pub(super) fn set_log(&mut self, id: u64, terms: &[u64]) {
        let mut log = Log::founded_by(self.founders.clone());
        for &term in terms {
            let opening = log.opening();
            log.append(Ballot(term), opening);
        }
        let runs = log.begin_write(WriteSeq(1));
        let pledge = Pledge { term: log.last().ballot, voted_for: None };
        self.nodes.get_mut(&n(id)).unwrap().disk.save(&runs, pledge, None);
        self.restart(id);
    }

    /// Cuts `id` off from everybody.
    pub(super) fn isolate(&mut self, id: u64) {
        for other in self.founders.peers_of(n(id)) {
            self.cut.extend([(n(id), other), (other, n(id))]);
        }
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
    }

    /// The entries at `id` are those of these terms, and node `id` has committed `committed`.
    pub(super) fn assert_log(&self, id: u64, terms: &[u64], committed: u64) {
        assert_eq!(self.node(id).terms(), terms, "terms of the entries of node {id}");
        assert_eq!(self.committed(id), committed, "committed at node {id}");
    }

    pub(super) fn last_index(&self, id: u64) -> Index {
        self.node(id).last().index
    }

    pub(super) fn ballot(&self, id: u64) -> Ballot {
        self.raft(id).standing().ballot
    }

    fn post(&mut self, from: NodeId, sent: Vec<(NodeId, Message)>) {
        self.checks.check(&self.nodes, from);
        let sent = sent.into_iter().filter(|(to, _)| !self.cut.contains(&(from, *to)));
        self.network.extend(sent.map(|(to, message)| Sent { from, to, message }));
    }
}
