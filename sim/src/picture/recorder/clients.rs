//! What clients ask for, and what they are told.

use std::fmt::Debug;

use super::Recorder;
use crate::clock::Time;
use crate::machine::OpId;
use crate::picture::record::{Attempt, Request};
use crate::picture::wording;
use crate::process::{Ask, Want};
use crate::workload::ClientEvent;

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
                    Want::Write { key, session: None, .. } => format!("set x{key}"),
                    Want::Write { key, session: Some(session), .. } => {
                        format!("set x{key} as {} of session {}", session.sequence, session.session)
                    }
                    Want::Read { key } => format!("read x{key}"),
                };
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
    pub(crate) fn is_asked(&mut self, now: Time, ask: &Ask) {
        if let Some(attempt) = self.attempt(ask.op, ask.attempt) {
            attempt.reached = Some(now.0);
        }
    }

    /// The node answers an attempt of a request before which effect `since` had been seen.
    pub(crate) fn replies(
        &mut self,
        now: Time,
        (op, attempt): (OpId, u64),
        reply: &impl Debug,
        since: u64,
    ) {
        let reply = wording::tidy(&format!("{reply:?}"));
        let reply = self.text(format!("{reply}; when it was asked, effect {since} had been seen"));
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
            ClientEvent::Answer { op, reply, .. } => (op, wording::tidy(&format!("{reply:?}"))),
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
