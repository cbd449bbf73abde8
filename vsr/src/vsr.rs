//! The replica as a whole: which role it is in, and what leads from one role to another.

use std::time::Duration;

use quorate_core::{
    Ballot, Effects, Entry, Incarnation, Index, Input, Log, LogId, NodeId, Now, PeerFaults,
    Proposal, Protocol, ReadId, Role, Settings, SnapshotMeta, Standing, Timer,
};

use crate::backup::Backup;
use crate::departure::Departure;
use crate::fault::PeerFault;
use crate::message::{DoViewChange, Message, Stretch};
use crate::pledge::Pledge;
use crate::primary::Primary;
use crate::server::{Context, Server, next_turn, primary_of};
use crate::succession::Succession;
use crate::view_change::ViewChange;

/// No cluster gets there: one view change in each nanosecond would take 292 years.
const ABSURD_VIEW: Ballot = Ballot::MAX;

/// One replica of a Viewstamped Replication cluster.
///
/// - Its view never goes back.
/// - No entry of its log is of a later view.
/// - Unless it is the primary of a view that has begun, its election timer runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Vsr {
    server: Server,
    role: State,
    departure: Departure,
    faults: u64,
    last_fault: Option<(NodeId, PeerFault)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    /// The view has begun, or had when the replica started.
    Backup(Backup),
    /// The view has not begun, as far as is known.
    ViewChange(ViewChange),
    Primary(Primary),
}

impl Protocol for Vsr {
    const NAME: &'static str = "vsr";
    type Message = Message;
    type Pledge = Pledge;

    fn recover(
        me: NodeId,
        settings: &Settings,
        pledge: Option<Pledge>,
        log: &mut Log,
        out: &mut Effects<Message>,
    ) -> Vsr {
        let Pledge { view, torn } = pledge.unwrap_or_default();
        assert!(log.last().ballot <= view, "the view is saved with the entries");
        let torn = if log.was_torn() { view } else { torn };
        let server = Server { me, settings: settings.clone(), view, torn };
        let cx = &mut Context { now: Duration::ZERO, log, out };
        // Nobody can tell what the primary of this view said before. It never resumes it.
        let is_abandoned = server.primary(cx.log) == me;
        let role = if is_abandoned || cx.log.last().ballot == view {
            State::Backup(Backup::default())
        } else {
            State::ViewChange(ViewChange::resumed(&server, cx))
        };
        if is_abandoned {
            cx.set_exact_timer(Timer::Election, Duration::ZERO);
        } else {
            cx.set_election_timer(&server);
            cx.set_exact_timer(Timer::Heartbeat, settings.heartbeat);
        }
        Vsr { server, role, departure: Departure::default(), faults: 0, last_fault: None }
    }

    fn step(&mut self, now: Now, input: Input<Message>, log: &mut Log, out: &mut Effects<Message>) {
        let cx = &mut Context { now: now.monotonic, log, out };
        match input {
            Input::Message { from, incarnation, message } => {
                // What a disk has lost may have asked for it, as the next primary of that view.
                let answers_the_lost = message.view() > self.server.view && !cx.log.may_vouch();
                if let Err(fault) = self.on_message(cx, from, incarnation, message)
                    && !(answers_the_lost && fault.is_about_turns())
                {
                    self.faults += 1;
                    self.last_fault = Some((from, fault));
                }
            }
            Input::Propose(proposal) => self.on_propose(cx, proposal),
            Input::Read(read) => self.on_read(cx, read),
            Input::Saved => self.on_saved(cx),
            Input::Timeout(timer) => self.on_timeout(cx, timer),
            Input::EntriesRead { to, entries } => self.on_entries_read(cx, to, entries),
            Input::SnapshotFetched { from: _, snapshot } => self.on_fetched(cx, snapshot),
            Input::HandOver => match &mut self.role {
                State::Primary(primary) => primary.on_hand_over(&self.server, cx),
                State::Backup(_) | State::ViewChange(_) => {}
            },
        }
    }

    fn flush(&mut self, now: Now, log: &mut Log, out: &mut Effects<Message>) {
        let cx = &mut Context { now: now.monotonic, log, out };
        match &mut self.role {
            State::Primary(primary) => {
                primary.flush(&self.server, cx);
                if let Some(successor) = primary.ready_successor(cx) {
                    self.abdicate_for(cx, successor);
                }
            }
            State::Backup(backup) => backup.flush(&self.server, cx),
            State::ViewChange(_) => {}
        }
    }

    fn pledge(&self) -> Pledge {
        Pledge { view: self.server.view, torn: self.server.torn }
    }

    fn standing(&self) -> Standing {
        let (role, leader, serving) = match &self.role {
            State::Backup(backup) => (Role::Follower, backup.primary, false),
            State::ViewChange(_) => (Role::Candidate, None, false),
            State::Primary(primary) => (Role::Leader, Some(self.server.me), primary.is_serving()),
        };
        Standing { role, ballot: self.server.view, leader, serving }
    }

    fn faults(&self) -> PeerFaults {
        let last = self.last_fault.map(|(peer, fault)| (peer, fault.to_string()));
        PeerFaults { count: self.faults, last }
    }

    fn acknowledged(&self, member: NodeId, incarnation: Incarnation) -> Index {
        match &self.role {
            State::Primary(primary) => primary.acknowledged(member, incarnation),
            State::Backup(_) | State::ViewChange(_) => Index::ZERO,
        }
    }

    fn vouches(message: &Message) -> bool {
        message.vouches()
    }
}

impl Vsr {
    /// How many messages were ignored because their sender must be broken, and the last one's
    /// sender and fault.
    #[must_use]
    pub fn peer_faults(&self) -> (u64, Option<(NodeId, PeerFault)>) {
        (self.faults, self.last_fault)
    }

    fn on_message(
        &mut self,
        cx: &mut Context<'_>,
        from: NodeId,
        incarnation: Incarnation,
        message: Message,
    ) -> Result<(), PeerFault> {
        let view = message.view();
        if view >= ABSURD_VIEW {
            return Err(PeerFault::AbsurdView);
        }
        if view < self.server.view {
            return Ok(());
        }
        match message {
            Message::StartViewChange { target, .. } => {
                self.on_start_view_change(cx, from, view, target)
            }
            Message::DoViewChange(report) => self.on_do_view_change(cx, from, incarnation, report),
            Message::PrepareOk { probe, op, .. } => {
                self.on_prepare_ok(cx, from, incarnation, view, probe, op)
            }
            Message::GetState { last, .. } => {
                self.on_get_state(cx, from, incarnation, view, last);
                Ok(())
            }
            Message::NewState(stretch) => self.on_new_state(cx, from, stretch),
            Message::Checkpoint { snapshot, .. } => self.on_checkpoint(cx, from, view, snapshot),
            Message::Missing { previous, missing, .. } => self
                .succeed(view, |server, succession| {
                    succession.on_missing(server, cx, from, previous, missing)
                }),
            Message::Nack { missing, .. } => self.succeed(view, |server, succession| {
                succession.on_nack(server, cx, from, incarnation, missing)
            }),
            Message::Sought { missing, .. } => {
                self.on_sought(cx, from, view, missing);
                Ok(())
            }
            Message::Prepare(stretch) | Message::StartView(stretch) => {
                check_age(&stretch)?;
                let (server, backup) = self.follow(cx, from, view)?;
                backup.on_stretch(server, cx, stretch)
            }
            Message::Commit { probe, op, commit, .. } => {
                let (server, backup) = self.follow(cx, from, view)?;
                backup.on_commit(server, cx, probe, op, commit);
                Ok(())
            }
        }
    }

    /// The primary of `view`, which is this one or a later one, has spoken: so the view has
    /// begun.
    fn follow(
        &mut self,
        cx: &mut Context<'_>,
        from: NodeId,
        view: Ballot,
    ) -> Result<(&Server, &mut Backup), PeerFault> {
        if from != primary_of(view, cx.log.membership()) {
            return Err(PeerFault::NotThePrimary);
        }
        if view > self.server.view {
            self.server.enter(view);
            self.become_backup(cx);
        }
        if let State::ViewChange(_) = &self.role {
            self.become_backup(cx);
        }
        self.departure.forget_want();
        match &mut self.role {
            State::Backup(backup) => {
                backup.hear(&self.server, cx, from);
                Ok((&self.server, backup))
            }
            // Its own primary it does not hear.
            State::Primary(_) => Err(PeerFault::NotThePrimary),
            State::ViewChange(_) => unreachable!("it has become a backup"),
        }
    }

    fn on_prepare_ok(
        &mut self,
        cx: &mut Context<'_>,
        from: NodeId,
        incarnation: Incarnation,
        view: Ballot,
        probe: u64,
        op: Index,
    ) -> Result<(), PeerFault> {
        match &mut self.role {
            _ if view > self.server.view => Err(PeerFault::ImpossibleReply),
            State::Primary(primary) => {
                primary.on_prepare_ok(&self.server, cx, from, incarnation, probe, op)
            }
            // It led, and gave up.
            State::Backup(_) | State::ViewChange(_) => Ok(()),
        }
    }

    fn on_timeout(&mut self, cx: &mut Context<'_>, timer: Timer) {
        match (timer, &mut self.role) {
            (Timer::Election, State::Backup(_) | State::ViewChange(_)) => {
                self.leave_for(cx, self.server.view.next());
            }
            (Timer::Heartbeat, State::Primary(primary)) => {
                primary.on_heartbeat_timeout(&self.server, cx);
            }
            (Timer::Heartbeat, State::Backup(_) | State::ViewChange(_)) => self.repeat(cx),
            (Timer::Quorum, State::Primary(primary)) => {
                if cx.log.lacks_uncommitted() || primary.has_lost_quorum(&self.server, cx) {
                    self.abdicate(cx, self.server.view.next());
                }
            }
            // Left over from an earlier role.
            (Timer::Election, State::Primary(_))
            | (Timer::Quorum, State::Backup(_) | State::ViewChange(_)) => {}
            (
                Timer::Requests
                | Timer::Founding
                | Timer::Fetch
                | Timer::Deadline
                | Timer::Repair
                | Timer::Scrub
                | Timer::Readmission,
                _,
            ) => unreachable!("{timer:?} is not a protocol's timer"),
        }
    }

    fn on_propose(&mut self, cx: &mut Context<'_>, proposal: Proposal) {
        match &mut self.role {
            State::Primary(primary) => primary.on_propose(&self.server, cx, proposal),
            State::Backup(_) | State::ViewChange(_) => panic!("only a primary takes proposals"),
        }
    }

    fn on_read(&mut self, cx: &mut Context<'_>, read: ReadId) {
        match &mut self.role {
            State::Primary(primary) => primary.on_read(cx, read),
            State::Backup(_) | State::ViewChange(_) => panic!("only a primary takes reads"),
        }
    }

    fn on_saved(&mut self, cx: &mut Context<'_>) {
        match &mut self.role {
            State::Primary(primary) => primary.on_saved(&self.server, cx),
            // Damage may have been found since it took the log over.
            State::ViewChange(change) if self.server.may_lead(cx.log) => {
                let succession = change.succession.as_ref();
                match succession.and_then(|succession| succession.begun(cx)) {
                    Some(opening) => self.become_primary(cx, opening),
                    None => change.on_saved(&self.server, cx),
                }
            }
            State::ViewChange(_) => {}
            // What waits for the disk travels inside the write.
            State::Backup(_) => {}
        }
    }
}

/// View changes.
impl Vsr {
    fn on_start_view_change(
        &mut self,
        cx: &mut Context<'_>,
        from: NodeId,
        view: Ballot,
        target: Ballot,
    ) -> Result<(), PeerFault> {
        if target >= ABSURD_VIEW {
            return Err(PeerFault::AbsurdView);
        }
        if !self.server.may_vouch(cx.log) {
            return Ok(());
        }
        if view > self.server.view {
            // A quorum wanted to leave, or else the sender would not have; and it cannot return,
            // be it mute since.
            self.enter_view_change(cx, view);
        }
        if target <= self.server.view {
            return Ok(());
        }
        self.departure.on_asked(from, target, cx.now);
        if from == self.server.primary(cx.log) {
            match &mut self.role {
                State::Backup(backup) => backup.release(),
                State::ViewChange(change) => change.release(),
                State::Primary(_) => {}
            }
        }
        let minimum = self.server.settings.election.start;
        let is_content = match &self.role {
            State::Backup(backup) => backup.is_content(cx.now, minimum),
            State::ViewChange(change) => change.is_content(cx.now, minimum),
            // It sees to it by itself that it does not last without backups.
            State::Primary(_) => true,
        };
        let joins = !is_content && self.departure.ask(target);
        if !self.leave_if_agreed(cx) && joins {
            self.ask_to_leave(cx);
        }
        Ok(())
    }

    /// Wants to leave for `view`, and says so for as long as it wants to.
    fn leave_for(&mut self, cx: &mut Context<'_>, view: Ballot) {
        cx.set_election_timer(&self.server);
        if !self.server.may_vouch(cx.log) {
            return self.tell_its_view(cx);
        }
        self.departure.ask(view);
        if !self.leave_if_agreed(cx) {
            self.ask_to_leave(cx);
        }
    }

    /// A mute replica's, in a view of which it hears nothing: if the others are in an earlier one,
    /// they neither hear it nor are heard by it. Its word counts for nothing; but in a later view,
    /// which they move on to, it can follow.
    fn tell_its_view(&self, cx: &mut Context<'_>) {
        let view = self.server.view;
        cx.broadcast(&self.server, &Message::StartViewChange { view, target: view });
    }

    /// Repeats what may have been lost.
    fn repeat(&mut self, cx: &mut Context<'_>) {
        self.ask_to_leave(cx);
        if let State::ViewChange(change) = &mut self.role {
            change.on_tick(&self.server, cx);
        }
    }

    /// Tells the others for which view this replica wants to leave, or has left; again and again.
    fn ask_to_leave(&self, cx: &mut Context<'_>) {
        let view = self.server.view;
        let left_for = match &self.role {
            State::ViewChange(_) => Some(view),
            State::Backup(_) | State::Primary(_) => None,
        };
        if let Some(target) = self.departure.want().max(left_for)
            && self.server.may_vouch(cx.log)
        {
            cx.broadcast(&self.server, &Message::StartViewChange { view, target });
            cx.set_exact_timer(Timer::Heartbeat, self.server.settings.heartbeat);
        }
    }

    /// Leaves if a quorum wants to. True if it did.
    fn leave_if_agreed(&mut self, cx: &mut Context<'_>) -> bool {
        let patience = self.server.settings.election.end;
        let members = cx.log.membership();
        let agreed = self.departure.agreed(self.server.me, members, cx.now, patience);
        match agreed.filter(|view| *view > self.server.view) {
            Some(view) => {
                self.enter_view_change(cx, view);
                true
            }
            None => false,
        }
    }

    /// Leaves for `view`, as a quorum wants to.
    fn enter_view_change(&mut self, cx: &mut Context<'_>, view: Ballot) {
        self.server.enter(view);
        self.lose_reads(cx);
        self.role = State::ViewChange(ViewChange::entering(&self.server, cx));
        if self.departure.want().is_some_and(|want| want <= view) {
            self.departure.forget_want();
        }
        cx.set_election_timer(&self.server);
        self.ask_to_leave(cx);
    }

    fn on_do_view_change(
        &mut self,
        cx: &mut Context<'_>,
        from: NodeId,
        incarnation: Incarnation,
        report: DoViewChange,
    ) -> Result<(), PeerFault> {
        if primary_of(report.view, cx.log.membership()) != self.server.me {
            return Err(PeerFault::ImpossibleReport);
        }
        if !self.server.may_vouch(cx.log) {
            return Ok(());
        }
        if report.view > self.server.view {
            // A quorum has left, or else nobody would report.
            self.enter_view_change(cx, report.view);
        }
        self.succeed(report.view, |server, succession| {
            succession.on_report(server, cx, from, incarnation, report)
        })
    }

    fn on_sought(&self, cx: &mut Context<'_>, from: NodeId, view: Ballot, missing: LogId) {
        match &self.role {
            State::ViewChange(change)
                if view == self.server.view && from == self.server.primary(cx.log) =>
            {
                change.on_sought(&self.server, cx, missing);
            }
            State::ViewChange(_) | State::Primary(_) | State::Backup(_) => {}
        }
    }

    /// Does something if this replica is about to begin `view`.
    fn succeed(
        &mut self,
        view: Ballot,
        act: impl FnOnce(&Server, &mut Succession) -> Result<(), PeerFault>,
    ) -> Result<(), PeerFault> {
        match &mut self.role {
            State::ViewChange(ViewChange { succession: Some(succession), .. })
                if view == self.server.view =>
            {
                act(&self.server, succession)
            }
            State::ViewChange(_) | State::Primary(_) | State::Backup(_) => Ok(()),
        }
    }

    /// Stops leading, for good in this view, and asks to leave for `view`.
    fn abdicate(&mut self, cx: &mut Context<'_>, view: Ballot) {
        self.become_backup(cx);
        self.leave_for(cx, view);
    }

    fn abdicate_for(&mut self, cx: &mut Context<'_>, successor: NodeId) {
        let turn = next_turn(successor, self.server.view, cx.log.membership());
        self.abdicate(cx, turn.unwrap_or(self.server.view.next()));
    }
}

/// State transfer.
impl Vsr {
    fn on_get_state(
        &mut self,
        cx: &mut Context<'_>,
        from: NodeId,
        incarnation: Incarnation,
        view: Ballot,
        last: LogId,
    ) {
        if view != self.server.view {
            return;
        }
        match &mut self.role {
            State::Primary(primary) => {
                primary.on_get_state(&self.server, cx, from, incarnation, last);
            }
            State::ViewChange(change) if from == self.server.primary(cx.log) => {
                change.on_get_state(&self.server, cx, last);
            }
            State::Backup(_) | State::ViewChange(_) => {}
        }
    }

    fn on_entries_read(&mut self, cx: &mut Context<'_>, to: NodeId, entries: Vec<Entry>) {
        match &mut self.role {
            State::Primary(primary) => primary.on_entries_read(&self.server, cx, to, entries),
            State::ViewChange(change) => change.on_entries_read(&self.server, cx, to, entries),
            State::Backup(_) => {}
        }
    }

    fn on_new_state(
        &mut self,
        cx: &mut Context<'_>,
        from: NodeId,
        stretch: Stretch,
    ) -> Result<(), PeerFault> {
        check_age(&stretch)?;
        if self.is_own_turn(cx, stretch.view) {
            return self.succeed(stretch.view, |server, succession| {
                succession.on_new_state(server, cx, from, stretch)
            });
        }
        let (server, backup) = self.follow(cx, from, stretch.view)?;
        backup.on_new_state(server, cx, stretch)
    }

    fn on_checkpoint(
        &mut self,
        cx: &mut Context<'_>,
        from: NodeId,
        view: Ballot,
        snapshot: SnapshotMeta,
    ) -> Result<(), PeerFault> {
        if snapshot.last.ballot > view {
            return Err(PeerFault::FromTheFuture);
        }
        if self.is_own_turn(cx, view) {
            // To fetch it takes longer than a view change should.
            let gives_up = match &self.role {
                State::ViewChange(ViewChange { succession: Some(succession), .. }) => {
                    succession.awaits_answer_of(from)
                }
                State::ViewChange(_) | State::Primary(_) | State::Backup(_) => false,
            };
            if gives_up {
                self.leave_for(cx, view.next());
            }
            return Ok(());
        }
        let (_, backup) = self.follow(cx, from, view)?;
        backup.on_checkpoint(cx, from, snapshot)
    }

    /// A snapshot that was offered is on disk. Meanwhile the log may have got as far by itself.
    fn on_fetched(&mut self, cx: &mut Context<'_>, snapshot: SnapshotMeta) {
        let State::Backup(backup) = &mut self.role else { return };
        let last = snapshot.last;
        if cx.log.holds(last) {
            cx.log.commit(last.index);
        } else if last.index > cx.log.committed() && last.ballot <= self.server.view {
            cx.log.rebase(snapshot);
        } else {
            return;
        }
        backup.on_installed(&self.server, cx);
    }

    fn is_own_turn(&self, cx: &Context<'_>, view: Ballot) -> bool {
        view == self.server.view && self.server.primary(cx.log) == self.server.me
    }
}

/// Changes of role.
impl Vsr {
    /// Follows nobody yet.
    fn become_backup(&mut self, cx: &mut Context<'_>) {
        self.lose_reads(cx);
        self.departure.forget_all();
        self.role = State::Backup(Backup::default());
    }

    fn become_primary(&mut self, cx: &mut Context<'_>, opening: Index) {
        assert!(matches!(&self.role, State::ViewChange(change) if change.succession.is_some()));
        assert_eq!(self.server.primary(cx.log), self.server.me);
        self.departure.forget_all();
        self.role = State::Primary(Primary::beginning(&self.server, cx, opening));
    }

    /// Whoever led does not any more.
    fn lose_reads(&mut self, cx: &mut Context<'_>) {
        let lost = match &mut self.role {
            State::Primary(primary) => primary.take_reads(),
            State::Backup(_) | State::ViewChange(_) => return,
        };
        lost.into_lost().for_each(|read| cx.out.read_lost(read));
    }
}

/// Nobody has entries of views that are still to come.
fn check_age(stretch: &Stretch) -> Result<(), PeerFault> {
    let last = stretch.entries.iter().map(Entry::ballot).max();
    if last.max(Some(stretch.previous.ballot)) > Some(stretch.view) {
        return Err(PeerFault::FromTheFuture);
    }
    Ok(())
}
