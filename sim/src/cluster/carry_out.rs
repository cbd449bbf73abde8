//! The loop of a process: it takes what has come, and carries out what the replica wants.

use std::time::Duration;

use quorate_core::{Ballot, Effect, Envelope, Event, PeerMessage, Role, Timer};

use super::{Cluster, Happening, Phase, position};
use crate::checks::Verdict;
use crate::clients::Reply;
use crate::marks::{Mark, sometimes};
use crate::oracle::Simulated;
use crate::process::{Alarm, ApplyJob, HelperJob, Local};
use crate::simulation::Canary;

impl<P: Simulated> Cluster<P> {
    /// Something comes for the loop of a process, which will look at it soon.
    pub(super) fn post(&mut self, node: usize, event: Event<P::Message>) {
        let Some(process) = &mut self.nodes[node].process else { return };
        process.inbox.push(event);
        if !process.wake_is_planned {
            process.wake_is_planned = true;
            let delay = self.takes(node, self.plan.completions.wake);
            self.plan_local(node, delay, Local::Wake);
        }
    }

    /// The loop looks at its inbox.
    pub(super) fn wake(&mut self, node: usize) -> Verdict {
        let now = self.clock(node);
        let time = self.now();
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        process.wake_is_planned = false;
        let lost = process.replica.lost();
        let mut inbox = std::mem::take(&mut process.inbox);
        for event in inbox.drain(..) {
            self.trace.note(time, Some(node), &event);
            self.trace.draw(|picture| picture.takes(time, node, &event));
            if let Event::Message(Envelope {
                from, message: PeerMessage::Protocol(message), ..
            }) = &event
            {
                self.checks.hears(node, position(*from), message);
            }
            process.replica.step(now, event, &mut process.effects);
        }
        process.inbox = inbox;
        process.replica.flush(now, &mut process.effects);
        let loses = process.replica.lost() != lost;
        self.carry_out_effects(node)?;
        if loses {
            self.on_loss(node)?;
        }
        self.observe(node)
    }

    /// Shows the checks how a replica stands.
    pub(super) fn observe(&mut self, node: usize) -> Verdict {
        let Some(process) = &self.nodes[node].process else { return Ok(()) };
        let replica = &process.replica;
        let Some((log, protocol)) = replica.log().zip(replica.protocol()) else { return Ok(()) };
        let standing = protocol.standing();
        if standing.role == Role::Candidate {
            let rivals = (0..self.nodes.len()).filter(|other| *other != node);
            let is_rival = |other| {
                let other = self.standing(other);
                other.is_some_and(|o| o.role == Role::Candidate && o.ballot == standing.ballot)
            };
            let is_split = standing.ballot > Ballot::default() && rivals.into_iter().any(is_rival);
            sometimes!(self.marks, Mark::VotesSplit, is_split);
        }
        let committed = self.checks.committed();
        let is_new_leader = self.checks.stepped(node, protocol, log)?;
        if is_new_leader {
            self.on_new_leader(node);
        }
        if self.checks.committed() > committed {
            self.on_commit(node);
        }
        Ok(())
    }

    pub(super) fn carry_out_effects(&mut self, node: usize) -> Verdict {
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        let mut effects = std::mem::take(&mut process.effects);
        for effect in effects.drain(..) {
            self.carry_out(node, effect)?;
        }
        if let Some(process) = &mut self.nodes[node].process {
            process.effects = effects;
        }
        Ok(())
    }

    fn carry_out(&mut self, node: usize, effect: Effect<P::Message>) -> Verdict {
        match effect {
            Effect::Persist { seq, write } => {
                self.draw_write(node, seq, &write);
                let last = self.checks.held_last(node);
                let is_cut = write.runs.iter().any(|run| run.previous.index < last);
                sometimes!(self.marks, Mark::SuffixCut, is_cut);
                sometimes!(self.marks, Mark::EntryRepaired, !write.repairs.is_empty());
                self.checks.writes(node, seq, &write)?;
                if let Some(process) = &mut self.nodes[node].process {
                    process.store.enqueue(seq, write);
                }
                if self.canary == Some(Canary::AcknowledgeBeforeSync) {
                    self.report_write(node, Event::Saved(seq));
                }
                self.on_queued(node)?;
            }
            Effect::Send(envelope) => self.send(node, envelope)?,
            Effect::SetTimer(timer, range) => {
                let hasty = self.plan.hasty_timers && self.phase == Phase::Storm;
                let spread = (range.end - range.start) / if hasty { 16 } else { 1 };
                let delay = self.timer_rng.duration(range.start, range.start + spread);
                self.set_timer(node, timer, delay);
            }
            Effect::Apply { generation, entries } => {
                self.queue_apply(node, ApplyJob::Apply(generation, entries));
            }
            Effect::Restore { generation, snapshot } => {
                self.marks.note(Mark::SnapshotRestored);
                let it = &mut self.nodes[node];
                if let Some(process) = &mut it.process {
                    process.newest_restore = generation;
                }
                if std::mem::take(&mut it.dies_restoring) {
                    self.dies_soon(node, self.plan.completions.apply.1 * 2, Mark::DiedRestoring);
                }
                self.queue_apply(node, ApplyJob::Restore(generation, snapshot));
            }
            Effect::TakeSnapshot => self.queue_apply(node, ApplyJob::TakeSnapshot),
            Effect::ReadReady { request } => self.queue_apply(node, ApplyJob::Answer(request)),
            effect @ (Effect::ReadEntries { .. }
            | Effect::ReadChunk { .. }
            | Effect::Scrub { .. }
            | Effect::BeginFetch { .. }
            | Effect::WriteChunk { .. }) => {
                let is_amid = matches!(effect, Effect::WriteChunk { chunk: 1.., .. });
                if is_amid && std::mem::take(&mut self.nodes[node].dies_fetching) {
                    self.dies_soon(node, self.plan.completions.helper.1 * 2, Mark::DiedFetching);
                }
                self.help(node, HelperJob::Files(Box::new(effect)));
            }
            Effect::Failed { request, failure } => {
                self.reply(node, request, Reply::Failed(failure))?;
            }
            Effect::Stop(why) => self.on_fatal(node, &why)?,
        }
        Ok(())
    }

    fn send(&mut self, node: usize, envelope: Envelope<P::Message>) -> Verdict {
        let to = position(envelope.to);
        if let PeerMessage::Protocol(message) = &envelope.message {
            if let Err(violation) = self.check_speech(node, to, message) {
                self.draw_forbidden(&envelope);
                return Err(violation);
            }
            if let Some(mark) = P::mark(message) {
                self.marks.note(mark);
            }
            self.on_speech(node, P::vouches(message));
        }
        let sent = self.now();
        let arrive = |envelope| Happening::Arrive { sent, envelope: Box::new(envelope) };
        let arrivals = self.network.send(self.agenda.now(), node, to);
        self.draw_message(&envelope, arrivals);
        if let [Some(arrival), _] = arrivals {
            let overtakes = self.network.note_arrival(node, to, arrival);
            sometimes!(self.marks, Mark::MessageOvertakes, overtakes);
        }
        match arrivals {
            [None, _] if self.network.is_cut(sent, node, to) => self.marks.note(Mark::MessageCut),
            [None, _] => self.marks.note(Mark::MessageLost),
            [Some(time), None] => self.agenda.at(time, arrive(envelope)),
            [Some(first), Some(second)] => {
                self.marks.note(Mark::MessageDuplicated);
                self.agenda.at(first, arrive(envelope.clone()));
                self.agenda.at(second, arrive(envelope));
            }
        }
        Ok(())
    }

    fn check_speech(&mut self, node: usize, to: usize, message: &P::Message) -> Verdict {
        let process = self.nodes[node].process.as_ref();
        let Some(log) = process.and_then(|process| process.replica.log()) else { return Ok(()) };
        if log.may_vouch() && !self.nodes[node].harm.is_unnoticed() {
            let is_readmitted = self.checks.regained(node)?;
            sometimes!(self.marks, Mark::Readmitted, is_readmitted);
        }
        self.checks.sends(node, to, message, log)
    }

    fn set_timer(&mut self, node: usize, timer: Timer, delay: Duration) {
        let delay = self.nodes[node].clock.until(delay);
        let due = self.now() + delay;
        let Some(process) = &mut self.nodes[node].process else { return };
        match process.timers.get_mut(&timer) {
            Some(alarm) if alarm.planned <= due => alarm.due = due,
            _ => {
                process.timers.insert(timer, Alarm { due, planned: due });
                self.plan_local(node, delay, Local::Alarm(timer));
            }
        }
    }

    /// The loop looks at a timer, which may have been set anew since.
    pub(super) fn on_alarm(&mut self, node: usize, timer: Timer) {
        let now = self.now();
        let Some(process) = &mut self.nodes[node].process else { return };
        let Some(alarm) = process.timers.get_mut(&timer) else { return };
        // A timer that was set to an earlier moment has planned a look of its own.
        if alarm.planned > now {
            return;
        }
        if alarm.due <= now {
            process.timers.remove(&timer);
            self.post(node, Event::Timeout(timer));
        } else {
            alarm.planned = alarm.due;
            let delay = Duration::from_micros(alarm.due.0 - now.0);
            self.plan_local(node, delay, Local::Alarm(timer));
        }
    }
}
