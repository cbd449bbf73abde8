//! What clients ask for, and what they are told.

use quorate_core::{InSession, Origin};

use super::Recorder;
use crate::clients::{ClientEvent, OpId, Reply, Seen};
use crate::clock::Time;
use crate::picture::record::{Attempt, Request};
use crate::picture::wording;
use crate::process::{Ask, Asked, Want};

impl Recorder {
    /// A client asks a node.
    pub(crate) fn asks(&mut self, now: Time, node: usize, ask: &Ask) {
        let Ask { client, op, attempt: number, what } = ask;
        let nothing = self.text(String::new());
        let request = match self.request_of.get(op) {
            Some(request) => *request,
            None => {
                let what = match what {
                    Want::Session { .. } => "open a session".to_owned(),
                    Want::Write { session, body, .. } => {
                        let words = self.clients.subject.command_in_words(body.bytes());
                        let mut words = words.unwrap_or_default();
                        words.extend(session.map(|InSession { session, sequence, .. }| {
                            format!(" as {sequence} of session {session}")
                        }));
                        words
                    }
                    Want::Read { query } => self.clients.subject.query_in_words(query),
                };
                let what = wording::tidy(&what);
                let (what, outcome) = (self.text(what), nothing);
                let (op_name, client, begun) = (op.0, *client, now.0);
                let (ended, attempts) = (None, Vec::new());
                self.request_of.insert(*op, self.requests.len());
                self.requests.push(Request {
                    op: op_name,
                    client,
                    what,
                    begun,
                    ended,
                    outcome,
                    attempts,
                });
                self.requests.len() - 1
            }
        };
        let (asked, reached, replied) = (now.0, None, None);
        let attempt = Attempt { node, asked, reached, replied, reply: nothing, number: *number };
        self.requests[request].attempts.push(attempt);
    }

    /// An attempt reaches the node that is asked.
    pub(crate) fn is_asked(&mut self, now: Time, ask: &Ask, origin: Origin) {
        self.clients.attempts.insert(origin, ask.op);
        if let Some(attempt) = self.attempt(ask.op, ask.attempt) {
            attempt.reached = Some(now.0);
        }
    }

    /// The node answers an attempt of a request, for a command which had this effect, or from a state
    /// which takes effects up to this one into account.
    pub(crate) fn replies(&mut self, now: Time, asked: &Asked, reply: &Reply, effect: Option<u64>) {
        let Asked { op, attempt, since, .. } = *asked;
        let as_of = match (reply, effect) {
            (Reply::Done(_), Some(effect)) => format!(", as effect {effect}"),
            (Reply::Seen(_), Some(effect)) => format!(", as of effect {effect}"),
            _ => String::new(),
        };
        let words = wording::tidy(&in_words(reply, &as_of));
        let reply = self.text(format!("{words}; when it was asked, effect {since} had been seen"));
        if let Some(attempt) = self.attempt(op, attempt) {
            attempt.replied = Some(now.0);
            attempt.reply = reply;
        }
    }

    /// A client hears or thinks this of a request, for which it then still waits or does not.
    pub(crate) fn hears(&mut self, now: Time, event: &ClientEvent, is_waiting: bool) {
        let (op, what) = match event {
            ClientEvent::Think | ClientEvent::Try(_) => return,
            ClientEvent::Patience { op, .. } => (op, "no answer in time".to_owned()),
            ClientEvent::Answer { op, reply, .. } => (op, wording::tidy(&in_words(reply, ""))),
        };
        let outcome = self.text(what);
        let Some(request) = self.request_of.get(op) else { return };
        let request = &mut self.requests[*request];
        if request.ended.is_none() {
            request.outcome = outcome;
            request.ended = (!is_waiting).then_some(now.0);
        }
    }

    fn attempt(&mut self, op: OpId, number: u64) -> Option<&mut Attempt> {
        let request = &mut self.requests[*self.request_of.get(&op)?];
        request.attempts.iter_mut().rev().find(|attempt| attempt.number == number)
    }
}

fn in_words(reply: &Reply, as_of: &str) -> String {
    match reply {
        Reply::Done(response) => format!("done{as_of}: {response:?}"),
        Reply::Seen(Seen { at, answer }) => format!("sees {answer:?}{as_of} (state at {at:?})"),
        reply => format!("{reply:?}"),
    }
}
