//! Between the clients and the nodes that they ask.

use quorate_core::{Command, EntryKind, Event, Origin, Register, RequestId};

use super::{Cluster, Happening};
use crate::checks::Verdict;
use crate::clients::{Act, ClientEvent, Reply, Seen};
use crate::faults::SessionLimits;
use crate::marks::{Mark, sometimes};
use crate::oracle::Simulated;
use crate::process::{Ask, Asked, Local, Want};
use crate::simulation::Canary;
use crate::value::Value;
use crate::witness::Observed;

impl<P: Simulated> Cluster<P> {
    pub(super) fn on_client(&mut self, client: usize, event: ClientEvent) -> Verdict {
        if !matches!(event, ClientEvent::Think | ClientEvent::Patience { .. }) {
            self.trace.note(self.agenda.now(), None, &event);
        }
        let heard = self.trace.is_drawn().then(|| event.clone());
        let mut acts = Vec::new();
        self.clients.step(client, event, self.checks.witnessed(), &mut acts);
        if let Some(event) = heard {
            self.draw_client(client, &event);
        }
        for act in acts {
            match act {
                Act::Later(delay, event) => {
                    self.agenda.after(delay, Happening::Client(client, event));
                }
                Act::Ask(node, ask) => {
                    self.trace.draw(|picture| picture.asks(self.agenda.now(), node, &ask));
                    let delay = self.clients.latency();
                    self.plan_local(node, delay, Local::Ask(ask));
                }
            }
        }
        Ok(())
    }

    /// A client's request arrives at a node that runs.
    pub(super) fn on_ask(&mut self, node: usize, ask: Ask) -> Verdict {
        self.trace.note(self.agenda.now(), Some(node), &ask);
        let now = self.clock(node).monotonic;
        let it = &mut self.nodes[node];
        let Some(process) = &mut it.process else { return Ok(()) };
        let request = process.replica.name_request();
        let origin = Origin { node: it.id, request };
        self.trace.draw(|picture| picture.is_asked(self.agenda.now(), &ask, origin));
        self.checks.named(origin)?;
        self.checks.asked(&ask, origin);
        if let Want::Read { query } = &ask.what {
            let observed = process.query(now, query);
            self.checks.looked(node, query, &observed)?;
        }
        let Ask { client, op, attempt, what } = ask;
        let (query, since, event) = match what {
            Want::Session { limits, window } => {
                let are_others = limits != self.plan.session_limits(0);
                sometimes!(self.marks, Mark::SessionOpenedUnderOtherLimits, are_others);
                let SessionLimits { max_sessions, max_response_bytes } = limits;
                let payload = Register { origin, max_sessions, window, max_response_bytes };
                let payload = payload.encode();
                (None, 0, Event::Propose { request, kind: EntryKind::Register, payload })
            }
            Want::Write { session, body, since } => {
                let payload = Command { origin, session, body: body.bytes().clone() }.encode();
                (None, since, Event::Propose { request, kind: EntryKind::Command, payload })
            }
            Want::Read { query } => (Some(query), self.checks.witnessed(), Event::Read { request }),
        };
        let asked = Asked { client, op, attempt, query, since };
        if self.canary == Some(Canary::ReadLocally)
            && let Some(query) = &asked.query
        {
            let observed = process.query(now, query);
            process.asked.insert(request, asked);
            return self.reply_to_read(node, request, observed);
        }
        process.asked.insert(request, asked);
        self.post(node, event);
        Ok(())
    }

    /// A node answers a query.
    pub(super) fn reply_to_read(
        &mut self,
        node: usize,
        request: RequestId,
        observed: Observed<Value>,
    ) -> Verdict {
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        // What was answered before, if only as unknown, is not answered again.
        let Some(asked) = process.asked.remove(&request) else { return Ok(()) };
        let is_right = self.checks.answered(node, &asked, &observed);
        let reply = Reply::Seen(Seen { at: observed.index, answer: observed.answer });
        self.draw_reply(&asked, &reply);
        is_right?;
        let Asked { client, op, attempt, .. } = asked;
        self.tell(client, ClientEvent::Answer { op, attempt, reply });
        Ok(())
    }

    /// A node answers a client. From here on, everybody may know.
    pub(super) fn reply(&mut self, node: usize, request: RequestId, reply: Reply) -> Verdict {
        let it = &mut self.nodes[node];
        let Some(process) = &mut it.process else { return Ok(()) };
        let Some(asked) = process.asked.remove(&request) else { return Ok(()) };
        self.draw_reply(&asked, &reply);
        let it = &self.nodes[node];
        let Asked { client, op, attempt, since, .. } = asked;
        match &reply {
            Reply::Done(response) => self.checks.acknowledged(op, response, since)?,
            Reply::Seen(_) => unreachable!("queries are answered elsewhere"),
            Reply::Failed(failure) if failure.surely_not_proposed() => {
                self.marks.note(Mark::SurelyNotProposed);
                self.checks.surely_not_proposed(Origin { node: it.id, request })?;
            }
            Reply::Failed(_) => self.marks.note(Mark::RequestUnknown),
            Reply::NoSession => self.marks.note(Mark::SessionEvicted),
            Reply::ResponseDropped => self.marks.note(Mark::ResponseDropped),
            Reply::WindowExceeded => self.marks.note(Mark::SessionWindowExceeded),
            Reply::Acknowledged => {
                self.checks.called_acknowledged(op, self.clients.awaits(client, op))?;
            }
            Reply::Registered(_) | Reply::ConnectionRefused | Reply::ConnectionLost => {}
        }
        self.tell(client, ClientEvent::Answer { op, attempt, reply });
        Ok(())
    }

    /// A client finds nobody at a node.
    pub(super) fn refuse_connection(&mut self, ask: &Ask) {
        let reply = Reply::ConnectionRefused;
        self.tell(ask.client, ClientEvent::Answer { op: ask.op, attempt: ask.attempt, reply });
    }

    pub(super) fn tell(&mut self, client: usize, event: ClientEvent) {
        let delay = self.clients.latency();
        self.agenda.after(delay, Happening::Client(client, event));
    }
}
