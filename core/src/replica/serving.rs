//! Requests: taken here if this replica leads, otherwise forwarded to the one that does.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use super::Replica;
use super::forwarded::{Attempt, ForwardedProposal};
use super::log_clock::LogClock;
use super::requests::Requests;
use crate::command::{Command, Register};
use crate::entry::{Entry, EntryKind, Proposal};
use crate::event::{Effect, Failure};
use crate::log::Log;
use crate::message::{Forward, PeerMessage, Place, Refusal};
use crate::protocol::{Input, Protocol, ReadId, Standing, Timer};
use crate::types::{Ballot, Index, LogTime, NodeId, Now, RequestId};

/// Requests of this node's own clients.
impl<P: Protocol> Replica<P> {
    pub(super) fn on_propose(
        &mut self,
        now: Now,
        request: RequestId,
        kind: EntryKind,
        payload: Bytes,
        out: &mut Vec<Effect<P::Message>>,
    ) {
        assert!(
            matches!(kind, EntryKind::Command | EntryKind::Register),
            "clients propose commands and sessions"
        );
        if payload.len() > self.settings.max_command_bytes {
            return self.fail(request, Failure::TooLarge, out);
        }
        let waiting = self.requests.bytes();
        let cost = Requests::cost_bytes(&payload);
        if waiting > 0 && waiting + cost > self.settings.uncommitted_bytes {
            return self.fail(request, Failure::Busy, out);
        }
        if self.is_overdue(now) {
            return self.fail(request, Failure::Overdue, out);
        }
        let deadline = now.monotonic.saturating_add(self.settings.request_timeout);
        self.requests.admit(request, kind, payload, deadline);
    }

    /// True if what waits to be forwarded has waited for half as long as requests do, though a leader is
    /// there: as with what a leader takes, a longer backlog would be answered when nobody waits any more.
    fn is_overdue(&self, now: Now) -> bool {
        let leader = self.standing().leader;
        let half = self.settings.request_timeout / 2;
        leader.is_some_and(|leader| leader != self.me)
            && self.requests.has_waited_until(now.monotonic.saturating_add(half))
    }

    pub(super) fn on_read(
        &mut self,
        now: Now,
        request: RequestId,
        out: &mut Vec<Effect<P::Message>>,
    ) {
        if self.requests.read_bytes() >= self.settings.uncommitted_bytes {
            return self.fail(request, Failure::Busy, out);
        }
        let deadline = now.monotonic.saturating_add(self.settings.request_timeout);
        self.requests.admit_read(request, deadline);
    }

    /// Gives everything that waits to the leader, if one is known.
    pub(super) fn serve_requests(&mut self, now: Now, out: &mut Vec<Effect<P::Message>>) {
        let Standing { ballot, leader, serving, .. } = self.standing();
        if leader != Some(self.me) {
            self.forwarded.drop_early();
        }
        let Some(leader) = leader else { return };
        if leader == self.me && !serving {
            return;
        }
        while let Some((request, proposed)) = self.requests.next_to_send(ballot) {
            let (kind, payload) = (proposed.kind, proposed.payload.clone());
            if leader == self.me
                && let Some(refusal) = self.refusal_of(now, &payload)
            {
                self.fail(request, failure_of(refusal), out);
                continue;
            }
            if leader != self.me && self.requests.sent_bytes() >= self.forward_window() {
                break;
            }
            let attempt = self.name_request();
            let place = self.requests.mark_sent(request, attempt, ballot, now.monotonic);
            if leader == self.me {
                self.propose(now, kind, payload, out);
            } else {
                self.forward(leader, ballot, place, kind, payload);
            }
        }
        for request in self.requests.reads_to_send(ballot, now.monotonic) {
            if leader == self.me {
                let read = ReadId { origin: self.me, request };
                self.drive(now, Input::Read(read), out);
            } else {
                self.post(leader, PeerMessage::Forward(Forward::Read { ballot, request }));
            }
        }
    }

    /// How much is forwarded ahead of its outcome, beside one request of any size. What this node says
    /// beside that, as one of a quorum, goes the same way, and does not stand behind more than this.
    fn forward_window(&self) -> usize {
        (self.settings.window_bytes / 4).max(1)
    }

    fn forward(
        &mut self,
        leader: NodeId,
        ballot: Ballot,
        place: Place,
        kind: EntryKind,
        payload: Bytes,
    ) {
        let propose = Forward::Propose { ballot, place, kind, payload };
        self.post(leader, PeerMessage::Forward(propose));
    }

    pub(super) fn resend_interval(&self) -> Range<Duration> {
        self.settings.heartbeat * 4..self.settings.heartbeat * 5
    }

    pub(super) fn on_requests_timeout(&mut self, now: Now, out: &mut Vec<Effect<P::Message>>) {
        self.requests_timer_is_set = false;
        for (request, failure) in
            self.requests.expire(now.monotonic, self.standing().leader.is_some())
        {
            out.push(Effect::Failed { request, failure });
        }
        let interval = self.resend_interval().start;
        self.requests.ask_again(now.monotonic.saturating_sub(interval));
        let Standing { ballot, leader, .. } = self.standing();
        let Some(leader) = leader.filter(|leader| *leader != self.me) else { return };
        let again = self.requests.send_again(ballot, now.monotonic, interval);
        for (place, kind, payload) in again {
            self.forward(leader, ballot, place, kind, payload);
        }
    }
}

/// Requests that others forwarded, and the answers to one's own.
impl<P: Protocol> Replica<P> {
    pub(super) fn on_forward(
        &mut self,
        now: Now,
        from: NodeId,
        message: Forward,
        out: &mut Vec<Effect<P::Message>>,
    ) {
        match message {
            Forward::Propose { ballot, place, kind, payload } => {
                let proposal = ForwardedProposal { place, kind, payload };
                self.on_forwarded_proposal(now, from, ballot, proposal, out);
            }
            Forward::Refused { attempt, reason } => self.on_refused(attempt, reason, out),
            Forward::Read { ballot, request } => {
                let standing = self.standing();
                if standing.serving && standing.ballot == ballot {
                    let read = ReadId { origin: from, request };
                    self.drive(now, Input::Read(read), out);
                }
            }
            Forward::ReadReady { request, index } => self.requests.read_ready(request, index),
        }
    }

    fn on_forwarded_proposal(
        &mut self,
        now: Now,
        from: NodeId,
        ballot: Ballot,
        proposal: ForwardedProposal,
        out: &mut Vec<Effect<P::Message>>,
    ) {
        let standing = self.standing();
        let leads = standing.leader == Some(self.me) && standing.ballot == ballot;
        // A malformed payload would stop every replica, so it must not get into the log.
        let well_formed = match proposal.kind {
            EntryKind::Command => Command::decode(&proposal.payload).is_some(),
            EntryKind::Register => Register::decode(&proposal.payload).is_some(),
            EntryKind::Noop | EntryKind::Membership | EntryKind::Time => false,
        };
        // Only who leads in this ballot knows what was taken in it, and may say what was not.
        if !leads || !well_formed {
            self.ignored.untimely += 1;
            return;
        }
        let mut next = Some(proposal);
        while let Some(proposal) = next {
            let attempt = proposal.place.attempt;
            self.take_in_turn(now, from, ballot, proposal, out);
            next = self.forwarded.next_in_line(from, attempt);
        }
    }

    /// A leader's: takes or refuses a proposal, or keeps it until its turn comes.
    fn take_in_turn(
        &mut self,
        now: Now,
        from: NodeId,
        ballot: Ballot,
        proposal: ForwardedProposal,
        out: &mut Vec<Effect<P::Message>>,
    ) {
        let ForwardedProposal { place, kind, .. } = proposal;
        let attempt = place.attempt;
        let refusal = match self.forwarded.note(ballot, from, place) {
            Attempt::Settled => {
                self.ignored.untimely += 1;
                return;
            }
            Attempt::Early => {
                return self.forwarded.keep(from, proposal, self.settings.uncommitted_bytes);
            }
            Attempt::Refused(reason) => Some(reason),
            Attempt::First | Attempt::Behind if !self.standing().serving => {
                Some(Refusal::HandingOver)
            }
            Attempt::First => self.refusal_of(now, &proposal.payload),
            // It waits again, unless it would be refused by itself.
            Attempt::Behind => self.refusal_of(now, &proposal.payload).or(Some(Refusal::OutOfTurn)),
        };
        let Some(reason) = refusal else { return self.propose(now, kind, proposal.payload, out) };
        self.forwarded.refuse(from, attempt, reason);
        self.post(from, PeerMessage::Forward(Forward::Refused { attempt, reason }));
    }

    fn on_refused(
        &mut self,
        attempt: RequestId,
        reason: Refusal,
        out: &mut Vec<Effect<P::Message>>,
    ) {
        match reason {
            Refusal::HandingOver => self.requests.pause(attempt),
            Refusal::OutOfTurn => self.requests.put_back(attempt),
            Refusal::Busy | Refusal::Overdue | Refusal::DiskFull | Refusal::TooLarge => {
                if let Some(request) = self.requests.attempted(attempt) {
                    self.fail(request, failure_of(reason), out);
                }
            }
        }
    }
}

/// A leader's side.
impl<P: Protocol> Replica<P> {
    /// Why this command is not taken, if it is not. What was committed but not executed yet
    /// counts as well: a slow state machine pushes back, too.
    fn refusal_of(&mut self, now: Now, payload: &Bytes) -> Option<Refusal> {
        let ballot = self.standing().ballot;
        let log = self.formed.as_ref().map(|formed| &formed.log);
        let pending = log.map_or(0, |log| log.uncommitted_bytes() + log.unapplied_bytes());
        let applied = log.map_or(Index::ZERO, Log::applied);
        let with_it = pending + Entry::OVERHEAD + payload.len();
        let age = self.backlog.age(ballot, applied, now.monotonic);
        if payload.len() > self.settings.max_command_bytes {
            Some(Refusal::TooLarge)
        } else if !self.has_room {
            Some(Refusal::DiskFull)
        } else if pending > 0 && with_it > self.settings.uncommitted_bytes {
            Some(Refusal::Busy)
        } else if age > self.settings.request_timeout / 2 {
            // Its turn would come when nobody waits for it any more.
            Some(Refusal::Overdue)
        } else {
            None
        }
    }

    pub(super) fn propose(
        &mut self,
        now: Now,
        kind: EntryKind,
        payload: Bytes,
        out: &mut Vec<Effect<P::Message>>,
    ) {
        let time = self.read_log_clock(now);
        let Some(formed) = &self.formed else { return };
        let last = formed.log.last();
        self.drive(now, Input::Propose(Proposal::new(kind, time, payload)), out);
        let Some(formed) = &self.formed else { return };
        let index = formed.log.last().index;
        assert!(index == last.index.next(), "who serves takes proposals");
        let (ballot, resolution) = (self.standing().ballot, self.settings.request_timeout / 16);
        self.backlog.on_taken(ballot, index, now.monotonic, resolution);
    }

    /// Log time at a leader. Its clock starts anew with its ballot.
    fn read_log_clock(&mut self, now: Now) -> LogTime {
        let ballot = self.standing().ballot;
        let Some(formed) = &self.formed else { return LogTime(0) };
        let log = &formed.log;
        // A deadline may also be set by what is not applied yet.
        let pending = self.applying.deadline().is_some() || log.applied() < log.last().index;
        let since = self.clock.as_ref().map(|(since, _)| *since);
        if since != Some(ballot) {
            self.clock = Some((ballot, LogClock::starting_at(log.last_time(), now)));
        }
        let (_, clock) = self.clock.as_mut().expect("just made sure of it");
        clock.read(now, pending).max(log.last_time())
    }

    /// A leader's: appends a time entry when the state machine's deadline is due, and has itself
    /// woken at the next one.
    pub(super) fn keep_log_time(&mut self, now: Now, out: &mut Vec<Effect<P::Message>>) {
        if !self.standing().serving || !self.has_room {
            return;
        }
        let Some(deadline) = self.applying.deadline() else { return };
        if self.deadline_timer == Some(deadline) {
            return;
        }
        let on_its_way = |formed: &super::Formed<P>| {
            self.time_entry
                .is_some_and(|id| formed.log.holds(id) && formed.log.applied() < id.index)
        };
        if self.formed.as_ref().is_some_and(on_its_way) {
            return;
        }
        let time = self.read_log_clock(now);
        if time >= deadline {
            self.propose(now, EntryKind::Time, Bytes::new(), out);
            self.time_entry = self.log().map(Log::last);
        } else {
            self.deadline_timer = Some(deadline);
            // Log time may run faster than this clock by a tenth. Woken too early, it looks again.
            let wait = deadline.since(time) * 10 / 11;
            let range = wait..wait + Duration::from_millis(1);
            out.push(Effect::SetTimer(Timer::Deadline, range));
        }
    }
}

fn failure_of(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::HandingOver | Refusal::OutOfTurn => Failure::NoLeader,
        Refusal::Busy => Failure::Busy,
        Refusal::Overdue => Failure::Overdue,
        Refusal::DiskFull => Failure::DiskFull,
        Refusal::TooLarge => Failure::TooLarge,
    }
}
