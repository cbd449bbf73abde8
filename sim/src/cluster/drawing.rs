//! What the picture of a run is shown. Nothing here is computed unless a picture is drawn, and
//! nothing here changes the run.

use std::fmt::Debug;

use quorate_core::{Envelope, Pledge, PledgeBytes, Protocol, Recovered, Write, WriteSeq};

use super::{Cluster, position};
use crate::clients::{ClientEvent, Reply};
use crate::network::Arrivals;
use crate::oracle::Simulated;
use crate::picture::{Fate, World};
use crate::process::Asked;
use crate::witness::Change;

impl<P: Simulated> Cluster<P> {
    /// How everything stands after something has happened.
    pub(super) fn draw_world(&mut self) {
        if !self.trace.is_drawn() {
            return;
        }
        let now = self.agenda.now();
        for (number, node) in self.nodes.iter().enumerate() {
            let world = World {
                is_up: node.process.is_some(),
                is_paused: node.paused.is_some(),
                is_slow: node.slowness.times(now) > 1,
                is_stalled: node.stalled_until > now,
                is_full: node.disk.is_full(),
                replica: node.process.as_ref().map(|process| {
                    let replica = &process.replica;
                    (replica.status(), replica.protocol().map(P::pledge))
                }),
            };
            self.trace.draw(|picture| picture.stands(now, number, world));
        }
        let (nodes, network) = (self.nodes.len(), &self.network);
        self.trace.draw(|picture| {
            let links = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
            picture.links_stand(
                now,
                links.filter(|(from, to)| network.is_cut(now, *from, *to)).collect(),
            );
        });
    }

    pub(super) fn draw_message(&mut self, envelope: &Envelope<P::Message>, arrivals: Arrivals) {
        let now = self.agenda.now();
        let (from, to) = (position(envelope.from), position(envelope.to));
        let is_cut = self.network.is_cut(now, from, to);
        let fate = if is_cut { Fate::Cut } else { Fate::Lost };
        self.trace.draw(|picture| {
            picture.sent::<P>(now, (from, to), &envelope.message, arrivals, fate);
        });
    }

    /// A message that violates a property.
    pub(super) fn draw_forbidden(&mut self, envelope: &Envelope<P::Message>) {
        let now = self.agenda.now();
        let (from, to) = (position(envelope.from), position(envelope.to));
        self.trace.draw(|picture| {
            picture.sent::<P>(now, (from, to), &envelope.message, [None; 2], Fate::Forbidden);
        });
    }

    pub(super) fn draw_arrival(&mut self, envelope: &Envelope<P::Message>, is_unsaid: bool) {
        let (from, to) = (position(envelope.from), position(envelope.to));
        let fate = match (is_unsaid, &self.nodes[to].process) {
            (true, _) => Fate::Unsaid,
            (false, None) => Fate::Unheard,
            (false, Some(_)) => Fate::Arrived,
        };
        self.trace.draw(|picture| picture.arrives(self.agenda.now(), from, to, fate));
    }

    pub(super) fn draw_write(&mut self, node: usize, seq: WriteSeq, write: &Write) {
        let now = self.agenda.now();
        self.trace.draw(|picture| {
            picture.writes(now, node, seq.0, write, P::Pledge::from_bytes(&write.pledge));
        });
    }

    /// What is on the disk of a node whose process starts.
    pub(super) fn draw_disk(&mut self, node: usize, found: &Recovered) {
        let now = self.agenda.now();
        let log = self.checks.log_of(node);
        self.trace.draw(|picture| picture.finds(now, node, found, sworn::<P>(found), log));
    }

    /// What the process that starts is given of it.
    pub(super) fn draw_start(&mut self, node: usize, found: &Recovered) {
        self.trace.draw(|picture| picture.starts_with(node, sworn::<P>(found)));
    }

    /// A replica's machine has done this.
    pub(super) fn draw_change(&mut self, node: usize, change: &Change) {
        let now = self.agenda.now();
        let checks = &self.checks;
        self.trace.draw(|picture| {
            let (deed, count) = (checks.last_deed(node), checks.count_at(change.index));
            picture.applies(now, node, change, deed, count);
        });
    }

    /// A node answers a client.
    pub(super) fn draw_reply(&mut self, asked: &Asked, reply: &Reply) {
        let (now, checks) = (self.agenda.now(), &self.checks);
        self.trace.draw(|picture| {
            let effect = match reply {
                Reply::Done(_) => checks.effect_of(asked.op),
                Reply::Seen(seen) => Some(checks.count_at(seen.at)),
                _ => None,
            };
            picture.replies(now, asked, reply, effect);
        });
    }

    /// A client was told something, and has made up its mind what to do.
    pub(super) fn draw_client(&mut self, client: usize, event: &ClientEvent) {
        let is_waiting = match event {
            ClientEvent::Think => return,
            ClientEvent::Try(op)
            | ClientEvent::Patience { op, .. }
            | ClientEvent::Answer { op, .. } => self.clients.awaits(client, *op),
        };
        self.trace.draw(|picture| picture.hears(self.agenda.now(), event, is_waiting));
    }

    pub(super) fn draw_mishap(&mut self, node: Option<usize>, kind: &str, what: impl Debug) {
        let now = self.agenda.now();
        self.trace.draw(|picture| picture.note(now, node, kind, format!("{what:?}")));
    }
}

/// All that a disk has sworn, in its log or ahead of it.
fn sworn<P: Protocol>(found: &Recovered) -> Option<P::Pledge> {
    let read = |bytes: Option<PledgeBytes>| bytes.and_then(|bytes| P::Pledge::from_bytes(&bytes));
    let in_log = read(found.pledge);
    read(found.sworn).map(|sworn| P::Pledge::joined(in_log, sworn)).or(in_log)
}
