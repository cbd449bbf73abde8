//! The model: a cluster as it stands, and what can happen to it next.

use std::fmt;
use std::hash::{Hash, Hasher};

use quorate_core::{Envelope, Index};
use quorate_sim::oracles::one_log;
use quorate_sim::{Simulated, Verdict, Violation};

use crate::bounds::{Bounds, Expense, Spent};
use crate::hashed::Hashed;
use crate::network::{Delivery, Way, deliveries, take};
use crate::node::{Came, Happening, Node, position, taking};
use crate::promises::History;
use crate::rules::{Local, Rules, Speed};

/// Something that happens to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Action {
    /// What.
    pub what: What,
    /// How long the writes take to which it gives rise.
    pub disk: Speed,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// A message arrives.
    Arrival {
        /// Its hash.
        message: u64,
        /// How many messages just like it were sent before and are still in the network.
        copy: usize,
        /// How it arrives.
        way: Way,
    },
    /// Something happens to the replica at this position.
    Local(usize, Local),
}

/// A cluster as it stands: its replicas with their disks, the messages in the network, and what
/// later states are measured by.
pub struct Cluster<P: Simulated> {
    pub(crate) nodes: Vec<Hashed<Node<P>>>,
    /// By sender and receiver, and then in the order in which they were sent; or in that of their
    /// hashes if that does not matter.
    pub(crate) network: Vec<Hashed<Envelope<P::Message>>>,
    pub(crate) spent: Spent,
    pub(crate) history: Hashed<History>,
    /// A promise that does not hold.
    pub(crate) broken: Option<Violation>,
}

impl<P: Simulated> Cluster<P> {
    /// A cluster that was just founded.
    pub(crate) fn founded(rules: &Rules) -> Cluster<P> {
        let mut cluster = Cluster {
            nodes: Vec::new(),
            network: Vec::new(),
            spent: Spent::default(),
            history: Hashed::new(History::new(rules.bounds.replicas)),
            broken: None,
        };
        for position in 0..rules.bounds.replicas {
            let (node, came) = Node::founded(position, rules);
            cluster.nodes.push(Hashed::new(node));
            let verdict = cluster.note(position, came, rules);
            cluster.broken = cluster.broken.or(verdict.err());
        }
        cluster
    }

    /// Everything that can happen next.
    pub(crate) fn actions(&self, rules: &Rules, actions: &mut Vec<Action>) {
        if self.broken.is_some() {
            return;
        }
        let (bounds, spent) = (&rules.bounds, self.spent);
        deliveries(&self.network, bounds.is_ordered(), link, &ways(spent, bounds), |delivery| {
            let message = &self.network[delivery.place];
            let to = position(message.to);
            if spent.wake(to, bounds).is_none() {
                return;
            }
            let before = &self.network[..delivery.place];
            let copy = before.iter().filter(|other| *other == message).count();
            let what = What::Arrival { message: message.short(), copy, way: delivery.way };
            let speeds = Speed::of_a_disk_at(self.nodes[to].unsaved(), spent, bounds);
            actions.extend(speeds.iter().map(|disk| Action { what, disk: *disk }));
        });
        for (position, node) in self.nodes.iter().enumerate() {
            let facts = node.facts();
            for local in Local::all(facts) {
                if local.pay(position, spent, bounds).is_some() {
                    let what = What::Local(position, local);
                    let speeds = local.speeds(facts, spent, bounds);
                    actions.extend(speeds.iter().map(|disk| Action { what, disk: *disk }));
                }
            }
        }
    }

    /// The place in the network of the message that arrives.
    pub(crate) fn place_of(&self, what: What) -> Option<usize> {
        let What::Arrival { message, copy, .. } = what else { return None };
        let copies = self.network.iter().enumerate();
        copies.filter(|(_, other)| other.short() == message).nth(copy).map(|(place, _)| place)
    }

    /// What the cluster is after this has happened. `None` if it cannot happen, or if nothing
    /// comes of it: a message that changes nothing is as good as one that is lost.
    pub(crate) fn after(&self, action: Action, rules: &Rules) -> Option<Cluster<P>> {
        let bounds = &rules.bounds;
        let mut next = self.clone();
        let (at, happening) = match action.what {
            What::Arrival { way, .. } => {
                let place = self.place_of(action.what)?;
                let delivery = Delivery { place, way };
                let message = take(&mut next.network, bounds.is_ordered(), delivery, link);
                let to = position(message.to);
                next.spent = pay_for(way, self.spent, bounds)?.wake(to, bounds)?;
                (to, arrival((*message).clone(), way))
            }
            What::Local(position, local) => {
                next.spent = local.pay(position, self.spent, bounds)?;
                (position, happening_of(local, self.history.committed()))
            }
        };
        let before = &self.nodes[at];
        let (node, came) = taking(before, happening, action.disk, rules);
        let node = Hashed::new(node);
        if node == *before && came.sent.is_empty() && came.verdict.is_ok() {
            return None;
        }
        let was_idle =
            before.unsaved() == 0 || matches!(action.what, What::Local(_, Local::Crash(_)));
        if action.disk == Speed::Slow && was_idle {
            next.spent = pay_for_slowness(node.unsaved(), next.spent, bounds)?;
        }
        next.nodes[at] = node;
        next.broken = next.note(at, came, rules).err();
        Some(next)
    }

    /// Sends what was sent, and looks at what has become of it.
    fn note(&mut self, node: usize, came: Came<P::Message>, rules: &Rules) -> Verdict {
        self.network.extend(came.sent.into_iter().map(Hashed::new));
        if rules.bounds.is_ordered() {
            // Between different senders or receivers there is no order; so it must not be seen.
            self.network.sort_by_key(link);
        } else {
            self.network.sort_by_key(Hashed::identity);
        }
        if rules.drops_moot {
            let nodes = &self.nodes;
            let settled: Vec<_> = nodes.iter().map(|node| node.settled()).collect();
            self.network.retain(|message| {
                let receiver = settled.get(position(message.to));
                !receiver.is_some_and(|settled| settled.makes_moot(message))
            });
        }
        came.verdict?;
        if came.is_unfinished {
            return Ok(());
        }
        let mut history = (*self.history).clone();
        history.see(&self.nodes[node].sight(came.entries, came.crashed))?;
        self.history = Hashed::new(history);
        // Not before all of them are there.
        let disks: Vec<_> = self.nodes.iter().map(|node| node.on_disk()).collect();
        self.history.on_a_quorum(disks.into_iter())?;
        for (a, node) in self.nodes.iter().enumerate() {
            for (b, other) in self.nodes.iter().enumerate().take(a) {
                one_log(b, other.held(), a, node.held())?;
            }
        }
        Ok(())
    }
}

fn link<M>(message: &Hashed<Envelope<M>>) -> u16 {
    link_between(position(message.from), position(message.to))
}

/// Names a sender and a receiver.
pub(crate) fn link_between(from: usize, to: usize) -> u16 {
    u16::try_from(from << 8 | to).expect("nodes are few")
}

/// How messages may arrive.
pub(crate) fn ways(spent: Spent, bounds: &Bounds) -> Vec<Way> {
    let all = [Way::InTurn, Way::Overtaking, Way::Twice, Way::Batched];
    all.into_iter().filter(|way| pay_for(*way, spent, bounds).is_some()).collect()
}

/// What is left after a message has arrived in this way; `None` if it may not.
pub(crate) fn pay_for(way: Way, spent: Spent, bounds: &Bounds) -> Option<Spent> {
    match way {
        Way::InTurn => Some(spent),
        Way::Overtaking => spent.pay(Expense::Overtaking, bounds),
        Way::Twice => spent.pay(Expense::Duplicate, bounds),
        Way::Batched => spent.pay(Expense::Batched, bounds),
    }
}

/// What is left after a disk was slow that is left with so many writes; `None` if it may not be, or
/// if there was nothing to be slow with.
pub(crate) fn pay_for_slowness(unsaved: usize, spent: Spent, bounds: &Bounds) -> Option<Spent> {
    if unsaved == 0 {
        return None;
    }
    spent.pay(Expense::SlowWrite, bounds)
}

/// What it means to the replica that a message arrives in this way.
pub(crate) fn arrival<M>(message: Envelope<M>, way: Way) -> Happening<M> {
    match way {
        Way::InTurn | Way::Overtaking | Way::Twice => Happening::Message(message),
        Way::Batched => Happening::Batched(message),
    }
}

/// What this means to the replica, when so much is committed.
pub(crate) fn happening_of<M>(local: Local, committed: Index) -> Happening<M> {
    match (local, local.timer()) {
        (_, Some(timer)) => Happening::Timeout(timer),
        (Local::Propose, _) => Happening::Propose,
        (Local::Read, _) => Happening::Read(committed),
        (Local::Save, _) => Happening::Save,
        (Local::Swear, _) => Happening::Swear,
        (Local::Crash(kept), _) => Happening::Crash(usize::from(kept)),
        (Local::ElectionTimeout | Local::HeartbeatTimeout | Local::QuorumTimeout, None) => {
            unreachable!("these are timers")
        }
    }
}

impl<P: Simulated> Clone for Cluster<P> {
    fn clone(&self) -> Cluster<P> {
        Cluster {
            nodes: self.nodes.clone(),
            network: self.network.clone(),
            spent: self.spent,
            history: self.history.clone(),
            broken: self.broken.clone(),
        }
    }
}

impl<P: Simulated> PartialEq for Cluster<P> {
    fn eq(&self, other: &Cluster<P>) -> bool {
        let Cluster { nodes, network, spent, history, broken } = self;
        *nodes == other.nodes
            && *network == other.network
            && *spent == other.spent
            && *history == other.history
            && *broken == other.broken
    }
}

impl<P: Simulated> Hash for Cluster<P> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.nodes.hash(state);
        self.network.hash(state);
        self.spent.hash(state);
        self.history.hash(state);
        self.broken.is_some().hash(state);
    }
}

impl<P: Simulated> fmt::Debug for Cluster<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for node in &self.nodes {
            writeln!(f, "{}", crate::words::node(node))?;
        }
        for message in &self.network {
            writeln!(f, "in flight: {}", crate::words::message(message))?;
        }
        writeln!(
            f,
            "committed: {:?}, leaders: {}",
            self.history.committed(),
            self.history.leaders()
        )?;
        match &self.broken {
            Some(violation) => writeln!(f, "BROKEN: {violation}"),
            None => Ok(()),
        }
    }
}
