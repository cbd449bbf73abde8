//! What happens for the first time: the real code takes the step, and what comes of it is kept.

use std::ops::Range;

use quorate_core::Envelope;
use quorate_sim::{Simulated, Violation};

use super::{Library, Move, MoveEvent, Profile, Step};
use crate::cluster::{arrival, happening_of, link_between};
use crate::hashed::{Hashed, spread};
use crate::network::Way;
use crate::node::{Came, Node, position, taking};
use crate::promises::History;
use crate::rules::{Local, Speed};
use crate::settled::{Settled, takes_no_notice};

impl<P: Simulated> Library<P> {
    /// Names what happens to a replica; messages name themselves.
    pub(super) fn key_of(&self, local: Local, history: u32) -> u32 {
        let (kind, detail) = match local {
            Local::ElectionTimeout => (0, 0),
            Local::HeartbeatTimeout => (1, 0),
            Local::QuorumTimeout => (2, 0),
            Local::Propose => (3, 0),
            Local::Read => (4, self.committed[history as usize].0),
            Local::Save => (5, 0),
            Local::Swear => (6, 0),
            Local::Crash(kept) => (7, u64::from(kept)),
        };
        1 << 31 | kind << 24 | u32::try_from(detail).expect("logs are short")
    }

    pub(super) fn step(&mut self, node: u32, key: u32, what: Move, history: u32) -> Step {
        let slow = u64::from(what.disk == Speed::Slow) << 63;
        let batched = matches!(what.event, MoveEvent::Arrival(_, Way::Batched));
        assert!(node >> 30 == 0, "memory ends before");
        let pair = slow | u64::from(batched) << 62 | u64::from(node) << 32 | u64::from(key);
        if let Some(step) = self.steps.get(&pair) {
            return *step;
        }
        let before = self.nodes.get(node).clone();
        let message = (key >> 31 == 0).then(|| self.messages.get(key).clone());
        let happening = match (&message, what.event) {
            (Some(message), MoveEvent::Arrival(_, way)) => arrival((**message).clone(), way),
            (None, MoveEvent::Local(_, local)) => {
                happening_of(local, self.committed[history as usize])
            }
            (Some(_), MoveEvent::Local(..)) | (None, MoveEvent::Arrival(..)) => {
                unreachable!("messages, and nothing else, are delivered")
            }
        };
        let (after, came) = taking(&before, happening, what.disk, &self.rules);
        let Came { sent, entries, crashed, is_unfinished, verdict, .. } = came;
        let after = Hashed::new(after);
        let is_idle = after == before && sent.is_empty() && verdict.is_ok();
        let says_nothing = !crashed && entries.is_empty();
        let sight = after.sight(entries, crashed).into_owned();
        let number = self.number_node(after);
        let from = u32::try_from(self.sent.len()).expect("memory ends before");
        let count = u16::try_from(sent.len()).expect("no step sends so much");
        for envelope in sent {
            let message = self.number_message(envelope);
            self.sent.push(message);
        }
        let old_look = self.profiles[node as usize].look;
        let new_look = self.profiles[number as usize].look;
        // At the end of a batch there may be no change since its last message.
        let changed = old_look != new_look || self.rules.bounds.batched > 0;
        let is_seen = !is_unfinished && (changed || !says_nothing);
        let sight = is_seen.then(|| self.sights.number(Hashed::new(sight)).0);
        let broken = match verdict {
            Ok(()) => self.noticed.take(),
            Err(violation) => Some(self.number_violation(violation)),
        };
        let step = Step { node: number, sent: (from, count), sight, is_idle, broken };
        self.steps.insert(pair, step);
        step
    }

    /// What a history becomes when something is seen, and which promise that breaks.
    pub(super) fn learn(&mut self, history: u32, sight: u32) -> (u32, Option<u32>) {
        let pair = u64::from(history) << 32 | u64::from(sight);
        let lesson = match self.lessons.get(&pair) {
            Some(lesson) => *lesson,
            None => {
                let mut next = (**self.histories.get(history)).clone();
                let lesson = match next.see(self.sights.get(sight)) {
                    Ok(()) => Ok(self.number_history(Hashed::new(next))),
                    Err(violation) => Err(self.number_violation(violation)),
                };
                self.lessons.insert(pair, lesson);
                lesson
            }
        };
        match lesson {
            Ok(next) => (next, None),
            Err(violation) => (history, Some(violation)),
        }
    }

    pub(super) fn number_node(&mut self, node: Hashed<Node<P>>) -> u32 {
        let (number, is_new) = self.nodes.number(node.clone());
        if is_new {
            let look = Hashed::new(node.sight(Vec::new(), false).into_owned());
            let settled = self.number_settled(node.settled());
            self.profiles.push(Profile {
                settled,
                facts: node.facts(),
                sum: spread(node.short()),
                look: self.sights.number(look).0,
                held: self.logs.number(Hashed::new(node.held().clone())).0,
                on_disk: self.logs.number(Hashed::new(node.on_disk().clone())).0,
            });
            self.try_moot(number..number + 1, 0..self.messages.things.len() as u32);
        }
        number
    }

    fn number_settled(&mut self, settled: Settled<P>) -> u32 {
        let (number, is_new) = self.settled.number(Hashed::new(settled));
        if is_new {
            let (settled, drops) = (self.settled.get(number), self.rules.drops_moot);
            let messages = self.messages.things.iter();
            self.moot.push(messages.map(|message| drops && settled.makes_moot(message)).collect());
        }
        number
    }

    /// Each of these replicas takes no notice of any of these messages that is moot to it.
    fn try_moot(&mut self, nodes: Range<u32>, messages: Range<u32>) {
        for (node, message) in nodes.flat_map(|node| messages.clone().map(move |it| (node, it))) {
            let settled = self.profiles[node as usize].settled;
            if !self.moot[settled as usize][message as usize] {
                continue;
            }
            let (node, message) = (self.nodes.get(node), self.messages.get(message));
            if node.position() != position(message.to) {
                continue;
            }
            if let Err(violation) = takes_no_notice(node, message, &self.rules) {
                self.noticed = Some(self.number_violation(violation));
            }
        }
    }

    pub(super) fn number_message(&mut self, envelope: Envelope<P::Message>) -> u32 {
        let message = Hashed::new(envelope);
        let link = link_between(position(message.from), position(message.to));
        let sum = spread(message.short());
        let (number, is_new) = self.messages.number(message);
        if is_new {
            self.links.push(link);
            self.message_sums.push(sum);
            let (message, drops) = (self.messages.get(number), self.rules.drops_moot);
            for (moot, settled) in self.moot.iter_mut().zip(&self.settled.things) {
                moot.push(drops && settled.makes_moot(message));
            }
            self.try_moot(0..self.profiles.len() as u32, number..number + 1);
        }
        number
    }

    pub(super) fn number_history(&mut self, history: Hashed<History>) -> u32 {
        let committed = history.committed();
        let (number, is_new) = self.histories.number(history);
        if is_new {
            self.committed.push(committed);
        }
        number
    }

    fn number_violation(&mut self, violation: Violation) -> u32 {
        self.violations.push(violation);
        u32::try_from(self.violations.len() - 1).expect("one is enough")
    }
}
