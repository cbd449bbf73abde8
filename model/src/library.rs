//! The same model, remembered: a replica in the same state that takes in the same thing does the
//! same again, so it does it only once.
//!
//! Within bounds a cluster has many more states than any of its replicas: every combination of
//! theirs. So each state of a replica, each message and each history is kept once and gets a
//! number, and a state of the cluster is a handful of numbers. A step of the real
//! [`Replica`](quorate_core::Replica) is taken once for each pair of a state and what comes in,
//! with everything that is demanded of that step; after that it is a look into a table.

mod learning;

use std::hash::Hash;

use quorate_core::{Envelope, Index};
use quorate_sim::oracles::{Mirror, one_log};
use quorate_sim::{Simulated, Verdict, Violation};
use rustc_hash::FxHashMap;

use crate::bounds::Spent;
use crate::cluster::{Action, What, pay_for, pay_for_slowness, ways};
use crate::hashed::{Hashed, spread};
use crate::network::{Delivery, Way, deliveries, take};
use crate::node::Node;
use crate::promises::{History, Sight};
use crate::rules::{Facts, Local, Rules, Speed};
use crate::settled::Settled;

/// No cluster of the model is larger.
pub(crate) const MOST_REPLICAS: usize = 7;

/// Things with numbers.
struct Shelf<T> {
    things: Vec<Hashed<T>>,
    numbers: FxHashMap<u128, u32>,
}

impl<T: Hash> Shelf<T> {
    fn new() -> Shelf<T> {
        Shelf { things: Vec::new(), numbers: FxHashMap::default() }
    }

    /// The number of `thing`, and true if it had none before.
    fn number(&mut self, thing: Hashed<T>) -> (u32, bool) {
        let next = u32::try_from(self.things.len()).expect("memory ends before");
        let number = *self.numbers.entry(thing.identity()).or_insert(next);
        if number == next {
            self.things.push(thing);
        }
        (number, number == next)
    }

    fn get(&self, number: u32) -> &Hashed<T> {
        &self.things[number as usize]
    }
}

/// What is looked at of a replica's state again and again.
#[derive(Clone, Copy, Debug)]
struct Profile {
    facts: Facts,
    /// Its part of a fingerprint.
    sum: u64,
    look: u32,
    held: u32,
    on_disk: u32,
    settled: u32,
}

/// What comes of one step of one replica.
#[derive(Clone, Copy, Debug)]
struct Step {
    node: u32,
    /// Where what it sent begins, and how much it is.
    sent: (u32, u16),
    /// What is to be seen of it; none if nothing is that was not before.
    sight: Option<u32>,
    /// Nothing comes of it.
    is_idle: bool,
    broken: Option<u32>,
}

/// A state of a cluster, in numbers.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    nodes: [u32; MOST_REPLICAS],
    /// In the order in which they were sent; ascending if that does not matter.
    network: Vec<u32>,
    history: u32,
    spent: Spent,
}

impl Place {
    /// Becomes a copy, in the memory that it has.
    pub(crate) fn copy(&mut self, other: &Place) {
        let Place { nodes, network, history, spent } = self;
        network.clone_from(&other.network);
        (*nodes, *history, *spent) = (other.nodes, other.history, other.spent);
    }
}

/// Something that can happen, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Move {
    event: MoveEvent,
    disk: Speed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MoveEvent {
    /// The message at this place of the network arrives.
    Arrival(u16, Way),
    Local(u8, Local),
}

/// What comes of a move.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Next {
    spent: Spent,
    history: u32,
    /// Whose state becomes which.
    node: (usize, u32),
    taken: Option<Delivery>,
    sent: (u32, u16),
    /// Something changed that replicas are measured by together.
    is_news: bool,
    pub(crate) broken: Option<u32>,
}

/// Everything that is known of a protocol under some rules.
pub(crate) struct Library<P: Simulated> {
    pub(crate) rules: Rules,
    nodes: Shelf<Node<P>>,
    profiles: Vec<Profile>,
    messages: Shelf<Envelope<P::Message>>,
    /// Of each message.
    links: Vec<u16>,
    message_sums: Vec<u64>,
    histories: Shelf<History>,
    committed: Vec<Index>,
    sights: Shelf<Sight<'static>>,
    logs: Shelf<Mirror>,
    settled: Shelf<Settled<P>>,
    /// Of each of these: which messages are moot to a replica on whose disk it is.
    moot: Vec<Vec<bool>>,
    steps: FxHashMap<u64, Step>,
    sent: Vec<u32>,
    /// What each history becomes when something is seen.
    lessons: FxHashMap<u64, Result<u32, u32>>,
    /// A replica that was met takes notice of a message that is moot to it.
    noticed: Option<u32>,
    violations: Vec<Violation>,
}

impl<P: Simulated> Library<P> {
    pub(crate) fn new(rules: Rules) -> Library<P> {
        assert!(rules.bounds.replicas <= MOST_REPLICAS, "a model of so many replicas has no end");
        Library {
            rules,
            nodes: Shelf::new(),
            profiles: Vec::new(),
            messages: Shelf::new(),
            links: Vec::new(),
            message_sums: Vec::new(),
            histories: Shelf::new(),
            committed: Vec::new(),
            sights: Shelf::new(),
            logs: Shelf::new(),
            settled: Shelf::new(),
            moot: Vec::new(),
            steps: FxHashMap::default(),
            sent: Vec::new(),
            lessons: FxHashMap::default(),
            noticed: None,
            violations: Vec::new(),
        }
    }

    /// A cluster that was just founded.
    ///
    /// # Errors
    /// If that breaks a promise already.
    pub(crate) fn founded(&mut self) -> Result<Place, Violation> {
        let replicas = self.rules.bounds.replicas;
        let mut place = Place {
            nodes: [0; MOST_REPLICAS],
            network: Vec::new(),
            history: self.number_history(Hashed::new(History::new(replicas))),
            spent: Spent::default(),
        };
        for position in 0..replicas {
            let (node, came) = Node::founded(position, &self.rules);
            came.verdict?;
            let mut history = (**self.histories.get(place.history)).clone();
            history.see(&node.sight(came.entries, came.crashed))?;
            place.history = self.number_history(Hashed::new(history));
            place.nodes[position] = self.number_node(Hashed::new(node));
            place.network.extend(came.sent.into_iter().map(|sent| self.number_message(sent)));
        }
        Ok(place)
    }

    /// Stands for a state.
    pub(crate) fn fingerprint(&self, place: &Place) -> u64 {
        let nodes = place.nodes.iter().take(self.rules.bounds.replicas);
        let nodes = nodes.map(|node| self.profiles[*node as usize].sum);
        let history = spread(self.histories.get(place.history).short());
        let number = place.spent.number();
        let spent = spread((number as u64) ^ spread((number >> 64) as u64 + 1));
        let sum = nodes.fold(history.wrapping_add(spent), u64::wrapping_add);
        spread(sum.wrapping_add(self.network_sum(&place.network)))
    }

    fn network_sum(&self, network: &[u32]) -> u64 {
        let sums = network.iter().map(|message| self.message_sums[*message as usize]);
        if !self.rules.bounds.is_ordered() {
            return sums.fold(0, u64::wrapping_add);
        }
        // Of each link a sum in which the order counts.
        let mut links = [0_u64; MOST_REPLICAS * MOST_REPLICAS];
        for (message, sum) in network.iter().zip(sums) {
            let link = self.links[*message as usize];
            let of_link =
                &mut links[usize::from(link >> 8) * MOST_REPLICAS + usize::from(link & 255)];
            *of_link = spread(of_link.wrapping_add(sum));
        }
        links.into_iter().fold(0, u64::wrapping_add)
    }

    /// Everything that can happen next.
    pub(crate) fn moves(&self, place: &Place, moves: &mut Vec<Move>) {
        let (bounds, spent) = (&self.rules.bounds, place.spent);
        let link = |message: &u32| self.links[*message as usize];
        deliveries(&place.network, bounds.is_ordered(), link, &ways(spent, bounds), |delivery| {
            let to = self.receiver(place.network[delivery.place]);
            if spent.wake(to, bounds).is_none() {
                return;
            }
            let event = MoveEvent::Arrival(delivery.place as u16, delivery.way);
            let speeds = Speed::of_a_disk_at(self.facts(place, to).unsaved, spent, bounds);
            moves.extend(speeds.iter().map(|disk| Move { event, disk: *disk }));
        });
        for position in 0..bounds.replicas {
            let facts = self.facts(place, position);
            for local in Local::all(facts) {
                if local.pay(position, spent, bounds).is_some() {
                    let event = MoveEvent::Local(position as u8, local);
                    let speeds = local.speeds(facts, spent, bounds);
                    moves.extend(speeds.iter().map(|disk| Move { event, disk: *disk }));
                }
            }
        }
    }

    /// What comes of a move; `None` if it is not possible, or if nothing comes of it.
    pub(crate) fn next(&mut self, place: &Place, what: Move) -> Option<Next> {
        let bounds = &self.rules.bounds;
        let (mut spent, position, key, taken) = match what.event {
            MoveEvent::Arrival(at, way) => {
                let message = place.network[usize::from(at)];
                let to = self.receiver(message);
                let spent = pay_for(way, place.spent, bounds)?.wake(to, bounds)?;
                (spent, to, message, Some(Delivery { place: usize::from(at), way }))
            }
            MoveEvent::Local(node, local) => {
                let node = usize::from(node);
                let spent = local.pay(node, place.spent, bounds)?;
                (spent, node, self.key_of(local, place.history), None)
            }
        };
        let before = place.nodes[position];
        let step = self.step(before, key, what, place.history);
        if step.is_idle {
            return None;
        }
        let (old, new) = (self.profiles[before as usize], self.profiles[step.node as usize]);
        let was_idle =
            old.facts.unsaved == 0 || matches!(what.event, MoveEvent::Local(_, Local::Crash(_)));
        if what.disk == Speed::Slow && was_idle {
            spent = pay_for_slowness(new.facts.unsaved, spent, &self.rules.bounds)?;
        }
        let (history, lesson) = match step.sight {
            Some(sight) => self.learn(place.history, sight),
            None => (place.history, None),
        };
        let is_news =
            history != place.history || old.held != new.held || old.on_disk != new.on_disk;
        Some(Next {
            spent,
            history,
            node: (position, step.node),
            taken,
            sent: step.sent,
            is_news,
            broken: step.broken.or(lesson),
        })
    }

    /// Makes `place` the state to which `next` leads.
    pub(crate) fn go(&self, place: &mut Place, next: &Next) {
        let (position, node) = next.node;
        let before = std::mem::replace(&mut place.nodes[position], node);
        let is_ordered = self.rules.bounds.is_ordered();
        if let Some(taken) = next.taken {
            take(&mut place.network, is_ordered, taken, |message| self.links[*message as usize]);
        }
        let nodes = place.nodes;
        let profile = |node: u32| &self.profiles[node as usize];
        let is_moot = |message: u32| {
            let settled = profile(nodes[self.receiver(message)]).settled;
            self.moot[settled as usize][message as usize]
        };
        if profile(before).settled != profile(node).settled {
            place.network.retain(|message| !is_moot(*message));
        }
        let sent = self.sent_by(next.sent).iter();
        place.network.extend(sent.filter(|message| !is_moot(**message)));
        if !is_ordered {
            place.network.sort_unstable();
        }
        place.history = next.history;
        place.spent = next.spent;
    }

    /// What replicas promise together, of a state that was reached by `next`.
    pub(crate) fn judge(&self, place: &Place, next: &Next) -> Verdict {
        if !next.is_news {
            return Ok(());
        }
        let replicas = self.rules.bounds.replicas;
        let profile = |position: usize| self.profiles[place.nodes[position] as usize];
        let disk = |position| &**self.logs.get(profile(position).on_disk);
        self.histories.get(place.history).on_a_quorum((0..replicas).map(disk))?;
        let held = |position| &**self.logs.get(profile(position).held);
        let (a, _) = next.node;
        (0..replicas)
            .filter(|b| *b != a)
            .try_for_each(|b| one_log(a.min(b), held(a.min(b)), a.max(b), held(a.max(b))))
    }

    /// A promise that a step has broken.
    pub(crate) fn violation(&self, number: u32) -> &Violation {
        &self.violations[number as usize]
    }

    /// A move from `place`, in the terms of the [`Cluster`](crate::cluster::Cluster).
    pub(crate) fn action(&self, place: &Place, what: Move) -> Action {
        let Move { event, disk } = what;
        let what = match event {
            MoveEvent::Arrival(at, way) => {
                let number = place.network[usize::from(at)];
                let before = &place.network[..usize::from(at)];
                let copy = before.iter().filter(|other| **other == number).count();
                What::Arrival { message: self.messages.get(number).short(), copy, way }
            }
            MoveEvent::Local(node, local) => What::Local(usize::from(node), local),
        };
        Action { what, disk }
    }

    /// Where a message goes.
    fn receiver(&self, message: u32) -> usize {
        usize::from(self.links[message as usize] & 255)
    }

    /// What decides on what can happen to a replica.
    fn facts(&self, place: &Place, node: usize) -> Facts {
        self.profiles[place.nodes[node] as usize].facts
    }

    /// How many states of replicas and steps of the real code there were.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.nodes.things.len(), self.steps.len())
    }

    fn sent_by(&self, (from, count): (u32, u16)) -> &[u32] {
        &self.sent[from as usize..from as usize + usize::from(count)]
    }
}
