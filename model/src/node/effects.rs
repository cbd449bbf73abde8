//! What a replica asks for, carried out.

use std::collections::VecDeque;

use quorate_core::{
    Applied, Command, Effect, Entry, EntryKind, Event, Now, PeerMessage, RequestId,
};
use quorate_sim::oracles::gave_up;
use quorate_sim::{Simulated, Verdict};

use super::{Came, Node, machines, position};
use crate::canary::Canary;
use crate::rules::Rules;

impl<P: Simulated> Node<P> {
    /// Carries the effects out, and whatever follows from that at once.
    pub(super) fn finish(
        &mut self,
        effects: Vec<Effect<P::Message>>,
        now: Now,
        rules: &Rules,
        (crashed, changed_disk): (bool, bool),
        verdict: Verdict,
    ) -> Came<P::Message> {
        let mut came = Came::new(verdict);
        (came.crashed, came.changed_log) = (crashed, changed_disk);
        let mut effects = VecDeque::from(effects);
        while came.verdict.is_ok()
            && let Some(effect) = effects.pop_front()
        {
            let mut more = Vec::new();
            came.verdict = self.carry_out(effect, now, rules, &mut came, &mut more);
            effects.extend(more);
        }
        if effects.is_empty() {
            // The next batch is gathered in the same memory.
            self.batch = effects.into();
        }
        if came.verdict.is_ok() {
            let (protocol, log) = machines(&self.replica);
            came.verdict = self.watch.stepped(protocol, log, &self.held, self.disk.log());
        }
        came
    }

    fn carry_out(
        &mut self,
        effect: Effect<P::Message>,
        now: Now,
        rules: &Rules,
        came: &mut Came<P::Message>,
        more: &mut Vec<Effect<P::Message>>,
    ) -> Verdict {
        match effect {
            Effect::Persist { seq, write } => {
                for run in &write.runs {
                    self.watch.changes(&self.held, run);
                    self.held.change(run);
                    came.entries.extend(run.entries.iter().cloned());
                    came.changed_log = true;
                }
                self.unsaved.push_back((seq, write));
                if rules.canary == Some(Canary::AcknowledgeBeforeSync) {
                    self.step(now, Event::Saved(seq), more);
                }
            }
            Effect::Send(envelope) => {
                if let PeerMessage::Protocol(message) = &envelope.message {
                    let (held, disk) = (&self.held, self.disk.log());
                    self.watch.sends(position(envelope.to), message, held, disk)?;
                }
                came.sent.push(envelope);
            }
            // The machine is quick: it executes what it is given at once.
            Effect::Apply { generation, entries } => {
                let applied = Applied {
                    generation,
                    through: entries.last().map(Entry::index).unwrap_or_default(),
                    requests: entries.iter().filter_map(|entry| self.own_request(entry)).collect(),
                    deadline: None,
                };
                self.step(now, Event::Applied(applied), more);
            }
            Effect::ReadReady { request } => self.answer(request)?,
            Effect::Failed { request, .. } => {
                self.reads.remove(&request);
            }
            Effect::Stop(why) => return Err(gave_up(position(self.id), &why)),
            // Any timer may run out at any time.
            Effect::SetTimer(..)
            // Nothing is damaged, so nothing is found.
            | Effect::Scrub { .. }
            // Logs are short: all of them is in memory, and nothing is compacted. What is asked
            // for nevertheless is never answered.
            | Effect::ReadEntries { .. }
            | Effect::Restore { .. }
            | Effect::TakeSnapshot
            | Effect::ReadChunk { .. }
            | Effect::BeginFetch { .. }
            | Effect::WriteChunk { .. } => {}
        }
        Ok(())
    }

    /// The request of this process which is behind an entry, if one is.
    fn own_request(&self, entry: &Entry) -> Option<RequestId> {
        let command = (entry.kind == EntryKind::Command).then_some(&entry.payload);
        let origin = Command::decode(command?)?.origin;
        (origin.node == self.id).then_some(origin.request)
    }
}
