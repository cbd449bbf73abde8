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
use crate::{Message, Pledge, Stretch, Vsr};

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

/// The stretch of a log that a message carries.
pub(super) fn stretch(message: &Message) -> Option<&Stretch> {
    match message {
        Message::Prepare(stretch) | Message::StartView(stretch) | Message::NewState(stretch) => {
            Some(stretch)
        }
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

    /// A cluster in the first view in which it is the turn of node 1, everything delivered and
    /// saved.
    pub(super) fn led_by_1(size: u64) -> Cluster {
        let mut cluster = Cluster::of(size);
        cluster.lead(1);
        cluster
    }

    /// Makes everybody change to the next view in which it is the turn of `id`.
    pub(super) fn lead(&mut self, id: u64) {
        // Long enough for everybody to give up the primary before.
        self.now += self.settings.election.end;
        if let Some(primary) = self.leader() {
            self.timeout(primary.0, Timer::Quorum);
        }
        self.take(|_| true);
        let latest = self.nodes.values().map(|node| node.vsr.standing().ballot).max().unwrap();
        let view = self.turn_after(id, latest.0);
        let up = self.nodes.values().filter(|node| node.up).map(|node| node.me.0);
        let up: Vec<u64> = up.collect();
        for (from, to) in up.iter().flat_map(|from| up.iter().map(move |to| (*from, *to))) {
            if from != to {
                let target = Ballot(view);
                let view = self.vsr(to).standing().ballot;
                self.forge(from, to, Message::StartViewChange { view, target });
            }
        }
        if up.len() == 1 {
            self.timeout(id, Timer::Election);
        }
        self.settle();
        assert!(self.node(id).leads(), "{:?}", self.node(id).vsr);
        assert_eq!(self.view(id), view);
    }

    /// The first view behind `view` in which it is the turn of `id`.
    pub(super) fn turn_after(&self, id: u64, view: u64) -> u64 {
        let voters: Vec<NodeId> = self.founders.voters().collect();
        let is_turn = |view: &u64| voters[usize::try_from(*view).unwrap() % voters.len()] == n(id);
        (view + 1..).find(is_turn).unwrap()
    }

    pub(super) fn node(&self, id: u64) -> &Node {
        &self.nodes[&n(id)]
    }

    pub(super) fn vsr(&self, id: u64) -> &Vsr {
        &self.node(id).vsr
    }

    pub(super) fn view(&self, id: u64) -> u64 {
        self.vsr(id).standing().ballot.0
    }

    pub(super) fn committed(&self, id: u64) -> u64 {
        self.node(id).log.committed().0
    }

    pub(super) fn leader(&self) -> Option<NodeId> {
        let leading = self.nodes.values().filter(|node| node.leads());
        leading.max_by_key(|node| node.vsr.standing().ballot).map(|node| node.me)
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

    /// `message` reaches its receiver.
    pub(super) fn deliver(&mut self, sent: Sent) {
        let Sent { from, to, message } = sent;
        if self.nodes[&to].up && !self.cut.contains(&(from, to)) {
            self.delivered += 1;
            self.batch(
                to,
                vec![Input::Message { from, incarnation: Incarnation(from.0), message }],
            );
        }
    }

    /// A message from `from`, as an input.
    pub(super) fn arriving(from: NodeId, message: Message) -> Input<Message> {
        Input::Message { from, incarnation: Incarnation(from.0), message }
    }

    /// A message that nobody in the cluster has sent.
    pub(super) fn forge(&mut self, from: u64, to: u64, message: Message) {
        self.input(to, Cluster::arriving(n(from), message));
    }

    /// A message from a disk of this incarnation.
    pub(super) fn arrive(&mut self, from: u64, by: Incarnation, to: u64, message: Message) {
        self.input(to, Input::Message { from: n(from), incarnation: by, message });
    }

    /// Nothing that `id` says may count.
    pub(super) fn fall_mute(&mut self, id: u64) {
        self.nodes.get_mut(&n(id)).unwrap().log.set_mute(true);
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

    /// Whether somebody's GetState is on its way.
    pub(super) fn asks_for_state(&self) -> bool {
        self.network.iter().any(|sent| matches!(sent.message, Message::GetState { .. }))
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

    /// The timers run out that were set to no time at all.
    pub(super) fn fire_immediate_timers(&mut self) {
        self.now += Duration::from_micros(1);
        self.fire_due_timers();
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

    /// Lets time pass, and counts the messages of one kind.
    pub(super) fn heartbeats_counting(&mut self, count: u32, which: fn(&Sent) -> bool) -> usize {
        let mut found = 0;
        for _ in 0..count {
            self.now += self.settings.heartbeat;
            let leader = self.leader().unwrap();
            self.timeout(leader.0, Timer::Heartbeat);
            self.until(
                |cluster| cluster.network.is_empty(),
                |cluster| {
                    for id in cluster.founders.clone().voters() {
                        cluster.deliver_to(id.0);
                        let sent = cluster.network.iter().filter(|s| s.from == id && which(s));
                        found += sent.count();
                    }
                },
            );
            self.settle();
        }
        found
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

    /// Starts `id` in `view`, with a log of entries of these views. Logs with the same views are
    /// the same.
    pub(super) fn set_log(&mut self, id: u64, view: u64, views: &[u64]) {
        let mut log = Log::founded_by(self.founders.clone());
        for &view in views {
            let opening = log.opening();
            log.append(Ballot(view), opening);
        }
        let runs = log.begin_write(WriteSeq(1));
        let pledge = Pledge { view: Ballot(view), torn: Ballot(0) };
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

    /// The entries at `id` are those of these views, and node `id` has committed `committed`.
    pub(super) fn assert_log(&self, id: u64, views: &[u64], committed: u64) {
        assert_eq!(self.node(id).views(), views, "views of the entries of node {id}");
        assert_eq!(self.committed(id), committed, "committed at node {id}");
    }

    pub(super) fn last_index(&self, id: u64) -> Index {
        self.node(id).last().index
    }

    fn post(&mut self, from: NodeId, sent: Vec<(NodeId, Message)>) {
        self.checks.check(&self.nodes, from);
        for (_, message) in &sent {
            if let Message::DoViewChange(report) = message {
                self.checks.on_report(from, report);
            }
        }
        let sent = sent.into_iter().filter(|(to, _)| !self.cut.contains(&(from, *to)));
        self.network.extend(sent.map(|(to, message)| Sent { from, to, message }));
    }
}
