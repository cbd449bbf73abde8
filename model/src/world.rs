//! The same model without memory of what was elsewhere: one cluster that only goes on.

use quorate_core::{Ballot, Envelope, Index};
use quorate_sim::oracles::one_log;
use quorate_sim::{Simulated, Verdict};

use crate::bounds::Spent;
use crate::cluster::{
    Action, What, arrival, happening_of, link_between, pay_for, pay_for_slowness,
};
use crate::hashed::Hashed;
use crate::network::{Delivery, take};
use crate::node::{Came, Node, position};
use crate::promises::History;
use crate::rules::{Facts, Local, Rules, Speed};

/// Something that can happen to a [`World`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Arrival(Delivery),
    Local(usize, Local),
}

/// A message in the network. Many are looked over, and few are read.
#[derive(Clone)]
struct InFlight<M> {
    /// See [`link_between`].
    link: u16,
    message: Box<Envelope<M>>,
}

impl<M> InFlight<M> {
    fn new(message: Envelope<M>) -> InFlight<M> {
        let link = link_between(position(message.from), position(message.to));
        InFlight { link, message: Box::new(message) }
    }
}

/// A cluster that goes on.
pub(crate) struct World<'r, P: Simulated> {
    rules: &'r Rules,
    nodes: Vec<Node<P>>,
    network: Vec<InFlight<P::Message>>,
    spent: Spent,
    history: History,
    /// How each replica stood when it was last looked at.
    stood: Vec<(Ballot, bool, Index)>,
}

impl<'r, P: Simulated> World<'r, P> {
    /// A cluster that was just founded.
    pub(crate) fn founded(rules: &'r Rules) -> (World<'r, P>, Verdict) {
        let replicas = rules.bounds.replicas;
        let mut world = World {
            rules,
            nodes: Vec::with_capacity(replicas),
            network: Vec::new(),
            spent: Spent::default(),
            history: History::new(replicas),
            stood: vec![(Ballot::default(), false, Index::ZERO); replicas],
        };
        let mut verdict = Ok(());
        for position in 0..replicas {
            let (node, came) = Node::founded(position, rules);
            world.nodes.push(node);
            verdict = verdict.and_then(|()| world.note(position, came));
        }
        (world, verdict)
    }

    pub(crate) fn replicas(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn facts(&self, node: usize) -> Facts {
        self.nodes[node].facts()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.network.len()
    }

    /// The first message in the network of those with the same sender and receiver as this one.
    pub(crate) fn first_of_link(&self, place: usize) -> usize {
        let link = self.network[place].link;
        self.network.iter().position(|other| other.link == link).unwrap_or(place)
    }

    /// How many leaders there were, and how many entries are committed.
    pub(crate) fn achieved(&self) -> (u64, u64) {
        (self.history.leaders(), self.history.committed().0)
    }

    /// How many inputs its replicas have taken.
    pub(crate) fn inputs(&self) -> u64 {
        self.nodes.iter().map(Node::inputs).sum()
    }

    /// This happens. `None` if it may not.
    pub(crate) fn go(&mut self, turn: Turn, disk: Speed) -> Option<Verdict> {
        let bounds = &self.rules.bounds;
        let (at, spent) = match turn {
            Turn::Arrival(Delivery { place, way }) => {
                (self.receiver(place), pay_for(way, self.spent, bounds)?)
            }
            Turn::Local(node, local) => (node, local.pay(node, self.spent, bounds)?),
        };
        let is_crash = matches!(turn, Turn::Local(_, Local::Crash(_)));
        let was_idle = is_crash || self.nodes[at].unsaved() == 0;
        let disk = if was_idle { disk } else { Speed::Slow };
        let slow = was_idle && disk == Speed::Slow;
        // Whether there will be something to write is not known yet.
        let spent_if_it_writes = if slow { pay_for_slowness(1, spent, bounds)? } else { spent };
        let happening = match turn {
            Turn::Arrival(delivery) => {
                let is_ordered = bounds.is_ordered();
                let arrived = take(&mut self.network, is_ordered, delivery, |other| other.link);
                arrival(*arrived.message, delivery.way)
            }
            Turn::Local(_, local) => happening_of(local, self.history.committed()),
        };
        let came = self.nodes[at].take(happening, disk, self.rules);
        let writes = self.nodes[at].unsaved() > 0;
        self.spent = if writes { spent_if_it_writes } else { spent };
        Some(self.note(at, came))
    }

    fn note(&mut self, at: usize, came: Came<P::Message>) -> Verdict {
        self.network.extend(came.sent.into_iter().map(InFlight::new));
        came.verdict?;
        if came.is_unfinished {
            return Ok(());
        }
        let stands = self.nodes[at].stands();
        let stood = std::mem::replace(&mut self.stood[at], stands);
        if stood == stands && !came.changed_log && !came.crashed {
            return Ok(());
        }
        self.history.see(&self.nodes[at].sight(came.entries, came.crashed))?;
        self.history.on_a_quorum(self.nodes.iter().map(Node::on_disk))?;
        let others = (0..self.nodes.len()).filter(|other| *other != at);
        others
            .map(|other| (other.min(at), other.max(at)))
            .try_for_each(|(a, b)| one_log(a, self.nodes[a].held(), b, self.nodes[b].held()))
    }

    /// Whose turn it is.
    pub(crate) fn node_of(&self, turn: Turn) -> usize {
        match turn {
            Turn::Local(node, _) => node,
            Turn::Arrival(delivery) => self.receiver(delivery.place),
        }
    }

    fn receiver(&self, place: usize) -> usize {
        position(self.network[place].message.to)
    }

    /// How many writes wait for this one's disk.
    pub(crate) fn unsaved(&self, node: usize) -> usize {
        self.nodes[node].unsaved()
    }

    /// This turn, in the terms of the [`Cluster`](crate::cluster::Cluster).
    pub(crate) fn action(&self, turn: Turn, disk: Speed) -> Action {
        let (what, at) = match turn {
            Turn::Local(node, local) => (What::Local(node, local), node),
            Turn::Arrival(Delivery { place, way }) => {
                let message = &self.network[place].message;
                let before = self.network[..place].iter();
                let copy = before.filter(|other| other.message == *message).count();
                let at = position(message.to);
                let message = Hashed::new((**message).clone()).short();
                (What::Arrival { message, copy, way }, at)
            }
        };
        let is_crash = matches!(turn, Turn::Local(_, Local::Crash(_)));
        let is_busy = !is_crash && self.nodes[at].unsaved() > 0;
        Action { what, disk: if is_busy { Speed::Slow } else { disk } }
    }
}
