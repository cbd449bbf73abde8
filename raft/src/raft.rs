//! The server as a whole: which role it is in, and what leads from one role to another.

use quorate_core::{
    Ballot, Effects, Incarnation, Index, Input, Log, LogId, NodeId, Now, PeerFaults, Proposal,
    Protocol, ReadId, Role, Settings, SnapshotMeta, Standing, Timer,
};

use crate::candidate::{Candidate, Phase};
use crate::fault::PeerFault;
use crate::follower::Follower;
use crate::leader::Leader;
use crate::message::{AppendEntriesReply, Appended, Message};
use crate::pledge::Pledge;
use crate::server::{Context, Server};

/// No cluster gets there: one election in each nanosecond would take 146 years.
const ABSURD_TERM: Ballot = Ballot::MAX;

/// One server of a Raft cluster.
///
/// - It votes at most once in a term, and its term never goes back.
/// - Unless it leads, its election timer runs.
/// - What only a leader needs exists only in a leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Raft {
    server: Server,
    role: State,
    faults: u64,
    last_fault: Option<(NodeId, PeerFault)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Follower(Follower),
    Candidate(Candidate),
    Leader(Leader),
}

impl Protocol for Raft {
    const NAME: &'static str = "raft";
    type Message = Message;
    type Pledge = Pledge;

    fn recover(
        me: NodeId,
        settings: &Settings,
        pledge: Option<Pledge>,
        log: &mut Log,
        out: &mut Effects<Message>,
    ) -> Raft {
        let pledge = pledge.unwrap_or_default();
        assert!(log.last().ballot <= pledge.term, "the term is saved with the entries");
        let server = Server { me, settings: settings.clone(), pledge };
        let now = std::time::Duration::ZERO;
        Context { now, log, out }.set_election_timer(&server);
        let role = State::Follower(Follower::default());
        Raft { server, role, faults: 0, last_fault: None }
    }

    fn step(&mut self, now: Now, input: Input<Message>, log: &mut Log, out: &mut Effects<Message>) {
        let cx = &mut Context { now: now.monotonic, log, out };
        match input {
            Input::Message { from, incarnation: _, message } => {
                if let Err(fault) = self.on_message(cx, from, message) {
                    self.faults += 1;
                    self.last_fault = Some((from, fault));
                }
            }
            Input::Propose(proposal) => self.on_propose(cx, proposal),
            Input::Read(read) => self.on_read(cx, read),
            Input::Saved => self.on_saved(cx),
            Input::Timeout(timer) => self.on_timeout(cx, timer),
            Input::EntriesRead { to, entries } => match &mut self.role {
                State::Leader(leader) => leader.on_entries_read(&self.server, cx, to, entries),
                State::Follower(_) | State::Candidate(_) => {}
            },
            Input::SnapshotFetched { from: _, snapshot } => self.on_fetched(cx, snapshot),
            Input::HandOver => match &mut self.role {
                State::Leader(leader) => leader.on_hand_over(&self.server, cx),
                State::Follower(_) | State::Candidate(_) => {}
            },
        }
    }

    fn flush(&mut self, now: Now, log: &mut Log, out: &mut Effects<Message>) {
        match &mut self.role {
            State::Leader(leader) => {
                leader.flush(&self.server, &mut Context { now: now.monotonic, log, out });
            }
            State::Follower(_) | State::Candidate(_) => {}
        }
    }

    fn pledge(&self) -> Pledge {
        self.server.pledge
    }

    fn standing(&self) -> Standing {
        let (role, leader, serving) = match &self.role {
            State::Follower(follower) => (Role::Follower, follower.leader, false),
            State::Candidate(_) => (Role::Candidate, None, false),
            State::Leader(leader) => (Role::Leader, Some(self.server.me), leader.is_serving()),
        };
        Standing { role, ballot: self.server.term(), leader, serving }
    }

    fn faults(&self) -> PeerFaults {
        let last = self.last_fault.map(|(peer, fault)| (peer, fault.to_string()));
        PeerFaults { count: self.faults, last }
    }

    fn acknowledged(&self, member: NodeId, incarnation: Incarnation) -> Index {
        match &self.role {
            State::Leader(leader) => leader.acknowledged(member, incarnation),
            State::Follower(_) | State::Candidate(_) => Index::ZERO,
        }
    }

    fn vouches(message: &Message) -> bool {
        message.vouches()
    }
}

impl Raft {
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
        message: Message,
    ) -> Result<(), PeerFault> {
        let term = match message {
            Message::PreVote { term, last } => return self.on_pre_vote(cx, from, term, last),
            _ => message.term().expect("every other message has its sender's term"),
        };
        if term >= ABSURD_TERM {
            return Err(PeerFault::AbsurdTerm);
        }
        if matches!(message, Message::RequestVote { .. }) && !cx.log.may_vouch() {
            // It has no vote to give. Nor does it follow a candidate into a term which may never
            // have a leader: the leader that is to bring it back could not reach it there.
            return Ok(());
        }
        if let Message::RequestVote { transfer: false, .. } = message
            && self.sticks_to_leader(cx, from)
        {
            self.refuse_vote(cx, from);
            return Ok(());
        }
        if term > self.server.term() {
            self.become_follower(cx, term);
        }
        if term < self.server.term() && !matches!(message, Message::PreVoteReply { .. }) {
            self.answer_the_past(cx, from, &message);
            return Ok(());
        }
        self.on_current(cx, from, message)
    }

    /// A message of this term, or a pre-vote, which may come from a voter that lags behind.
    fn on_current(
        &mut self,
        cx: &mut Context<'_>,
        from: NodeId,
        message: Message,
    ) -> Result<(), PeerFault> {
        let term = self.server.term();
        match message {
            Message::PreVote { .. } => unreachable!("answered whatever its term"),
            Message::PreVoteReply { asked, granted, .. } => {
                if granted && asked == term.next() {
                    self.on_vote(cx, from, Phase::PreVote);
                }
                Ok(())
            }
            Message::RequestVote { last, .. } => {
                self.on_request_vote(cx, from, last);
                Ok(())
            }
            Message::RequestVoteReply { granted, .. } => {
                if granted {
                    self.on_vote(cx, from, Phase::Vote);
                }
                Ok(())
            }
            Message::AppendEntries(message) => {
                let (server, follower) = self.follow()?;
                follower.on_append_entries(server, cx, from, message)
            }
            Message::InstallSnapshot { probe, snapshot, .. } => {
                let (server, follower) = self.follow()?;
                follower.on_install_snapshot(server, cx, from, probe, snapshot)
            }
            Message::AppendEntriesReply(reply) => match &mut self.role {
                State::Leader(leader) => {
                    leader.on_append_entries_reply(&self.server, cx, from, reply)
                }
                State::Follower(_) | State::Candidate(_) => Ok(()), // It led, and stepped down.
            },
            Message::InstallSnapshotReply { probe, durable, .. } => match &mut self.role {
                State::Leader(leader) => {
                    leader.on_install_snapshot_reply(&self.server, cx, from, probe, durable)
                }
                State::Follower(_) | State::Candidate(_) => Ok(()), // It led, and stepped down.
            },
            Message::TimeoutNow { .. } => {
                self.on_timeout_now(cx, from);
                Ok(())
            }
        }
    }

    /// A message of an earlier term: who asks is told the term; who answers is not needed.
    ///
    /// Probes are numbered anew in each term, and the sender may lead in this one as well by the
    /// time it gets the answer: so no probe is echoed.
    fn answer_the_past(&self, cx: &mut Context<'_>, to: NodeId, message: &Message) {
        let (term, probe) = (self.server.term(), 0);
        match message {
            Message::RequestVote { .. } => self.refuse_vote(cx, to),
            Message::AppendEntries(_) | Message::InstallSnapshot { .. } => {
                let reply = AppendEntriesReply { term, probe, outcome: Appended::Refused };
                cx.out.send(to, Message::AppendEntriesReply(reply));
            }
            Message::PreVote { .. }
            | Message::PreVoteReply { .. }
            | Message::RequestVoteReply { .. }
            | Message::AppendEntriesReply(_)
            | Message::InstallSnapshotReply { .. }
            | Message::TimeoutNow { .. } => {}
        }
    }

    fn on_timeout(&mut self, cx: &mut Context<'_>, timer: Timer) {
        match (timer, &mut self.role) {
            (Timer::Election, State::Follower(_) | State::Candidate(_)) => self.pre_campaign(cx),
            (Timer::Heartbeat, State::Leader(leader)) => {
                leader.on_heartbeat_timeout(&self.server, cx);
            }
            (Timer::Quorum, State::Leader(leader)) => {
                if cx.log.lacks_uncommitted() || leader.has_lost_quorum(&self.server, cx) {
                    self.become_follower(cx, self.server.term());
                }
            }
            // Left over from an earlier role.
            (Timer::Election, State::Leader(_))
            | (Timer::Heartbeat | Timer::Quorum, State::Follower(_) | State::Candidate(_)) => {}
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
            State::Leader(leader) => leader.on_propose(&self.server, cx, proposal),
            State::Follower(_) | State::Candidate(_) => panic!("only a leader takes proposals"),
        }
    }

    fn on_read(&mut self, cx: &mut Context<'_>, read: ReadId) {
        match &mut self.role {
            State::Leader(leader) => leader.on_read(cx, read),
            State::Follower(_) | State::Candidate(_) => panic!("only a leader takes reads"),
        }
    }

    fn on_saved(&mut self, cx: &mut Context<'_>) {
        match &mut self.role {
            State::Leader(leader) => leader.on_saved(&self.server, cx),
            // What waits for the disk travels inside the write.
            State::Follower(_) | State::Candidate(_) => {}
        }
    }

    /// A snapshot that was offered is on disk. Meanwhile the log may have got as far by itself.
    fn on_fetched(&mut self, cx: &mut Context<'_>, snapshot: SnapshotMeta) {
        let last = snapshot.last;
        if cx.log.holds(last) {
            cx.log.commit(last.index);
        } else {
            let leads = matches!(self.role, State::Leader(_));
            let usable = last.index > cx.log.committed() && last.ballot <= self.server.term();
            // A leader's log holds all that is committed, and nothing is ever cut off it.
            if leads || !usable {
                return;
            }
            cx.log.rebase(snapshot);
        }
        if let State::Follower(follower) = &self.role {
            follower.on_installed(&self.server, cx, last.index);
        }
    }
}

/// Elections.
impl Raft {
    fn on_pre_vote(
        &mut self,
        cx: &mut Context<'_>,
        from: NodeId,
        asked: Ballot,
        last: LogId,
    ) -> Result<(), PeerFault> {
        if asked >= ABSURD_TERM {
            return Err(PeerFault::AbsurdTerm);
        }
        if !cx.log.may_vouch() {
            return Ok(());
        }
        let term = self.server.term();
        let granted = asked > term && last >= cx.log.last() && !self.sticks_to_leader(cx, from);
        cx.out.send(from, Message::PreVoteReply { term, asked, granted });
        Ok(())
    }

    fn on_request_vote(&mut self, cx: &mut Context<'_>, from: NodeId, last: LogId) {
        let free = self.server.pledge.voted_for.is_none_or(|chosen| chosen == from);
        // The whole log counts, saved or not: a vote says "I will accept nothing older".
        if !free || last < cx.log.last() {
            self.refuse_vote(cx, from);
            return;
        }
        self.server.vote_for(from);
        match &self.role {
            State::Follower(_) => {}
            State::Candidate(_) => self.role = State::Follower(Follower::default()),
            State::Leader(_) => unreachable!("a leader has voted for itself"),
        }
        cx.set_election_timer(&self.server);
        let term = self.server.term();
        cx.out.send(from, Message::RequestVoteReply { term, granted: true });
    }

    fn refuse_vote(&self, cx: &mut Context<'_>, candidate: NodeId) {
        let term = self.server.term();
        cx.out.send(candidate, Message::RequestVoteReply { term, granted: false });
    }

    /// True if `candidate` should not disturb: the leader is alive.
    fn sticks_to_leader(&self, cx: &Context<'_>, candidate: NodeId) -> bool {
        match &self.role {
            State::Follower(follower) => {
                let minimum = self.server.settings.election.start;
                follower.sticks_to_leader(candidate, cx.now, minimum)
            }
            State::Candidate(_) => false,
            // CheckQuorum sees to it that a leader does not last without followers.
            State::Leader(_) => true,
        }
    }

    /// `voter` is in favour of what this server asks in `phase`.
    fn on_vote(&mut self, cx: &mut Context<'_>, voter: NodeId, phase: Phase) {
        let State::Candidate(candidate) = &mut self.role else { return };
        if candidate.phase != phase || !candidate.count(voter, cx.log.membership()) {
            return;
        }
        if !self.server.may_stand(cx.log) {
            // Its log was found to be damaged, or what it says does not count any more, after it
            // had asked for votes.
            self.role = State::Follower(Follower::default());
            return;
        }
        match phase {
            Phase::PreVote => self.campaign(cx, false),
            Phase::Vote => self.become_leader(cx),
        }
    }

    /// The leader hands over.
    fn on_timeout_now(&mut self, cx: &mut Context<'_>, from: NodeId) {
        let from_leader = match &self.role {
            State::Follower(follower) => follower.leader == Some(from),
            State::Candidate(_) | State::Leader(_) => false,
        };
        if from_leader && self.server.may_stand(cx.log) {
            self.campaign(cx, true);
        }
    }

    /// No word from a leader: asks whether it could win an election.
    fn pre_campaign(&mut self, cx: &mut Context<'_>) {
        cx.set_election_timer(&self.server);
        if !self.server.may_stand(cx.log) {
            return;
        }
        self.role = State::Candidate(Candidate::in_phase(Phase::PreVote));
        let term = self.server.term().next();
        cx.broadcast(&self.server, &Message::PreVote { term, last: cx.log.last() });
        // Its own opinion promises nothing, so it need not wait for a disk.
        self.on_vote(cx, self.server.me, Phase::PreVote);
    }

    /// Campaigns in the next term.
    fn campaign(&mut self, cx: &mut Context<'_>, transfer: bool) {
        assert!(self.server.may_stand(cx.log), "who cannot vote cannot lead");
        let me = self.server.me;
        self.server.enter(self.server.term().next());
        self.server.vote_for(me);
        self.role = State::Candidate(Candidate::in_phase(Phase::Vote));
        cx.set_election_timer(&self.server);
        let term = self.server.term();
        cx.broadcast(&self.server, &Message::RequestVote { term, last: cx.log.last(), transfer });
        cx.out.send(me, Message::RequestVoteReply { term, granted: true });
    }
}

/// Changes of role.
impl Raft {
    /// In `term`, which is this one or a later one, and follows nobody yet.
    fn become_follower(&mut self, cx: &mut Context<'_>, term: Ballot) {
        if term != self.server.term() {
            self.server.enter(term);
        }
        let before = std::mem::replace(&mut self.role, State::Follower(Follower::default()));
        match before {
            State::Leader(leader) => {
                leader.into_lost_reads().for_each(|read| cx.out.read_lost(read));
                cx.set_election_timer(&self.server);
            }
            // Their election timer runs, and only a leader's word or a vote given resets it.
            State::Follower(_) | State::Candidate(_) => {}
        }
    }

    /// A leader of this term has spoken: a candidate concedes.
    fn follow(&mut self) -> Result<(&Server, &mut Follower), PeerFault> {
        if let State::Candidate(_) = &self.role {
            self.role = State::Follower(Follower::default());
        }
        match &mut self.role {
            State::Follower(follower) => Ok((&self.server, follower)),
            State::Leader(_) => Err(PeerFault::SecondLeader),
            State::Candidate(_) => unreachable!("it has conceded"),
        }
    }

    fn become_leader(&mut self, cx: &mut Context<'_>) {
        assert!(matches!(&self.role, State::Candidate(c) if c.phase == Phase::Vote));
        assert_eq!(self.server.pledge.voted_for, Some(self.server.me));
        self.role = State::Leader(Leader::elected(&self.server, cx));
    }
}
