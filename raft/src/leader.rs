//! A server that leads: it orders the log, and makes the others follow.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_core::{
    Entry, Incarnation, Index, LogId, NodeId, Proposal, ReadId, Reads, Rounds, Timer,
};

use crate::fault::PeerFault;
use crate::message::{AppendEntries, AppendEntriesReply, Appended, Message};
use crate::progress::{Progress, State};
use crate::server::{Context, Server};

/// A server that leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Leader {
    /// The first entry of this term. Once it is committed, the leader knows everything that was
    /// committed before its term.
    opening: Index,
    peers: BTreeMap<NodeId, Progress>,
    rounds: Rounds,
    reads: Reads,
    /// Something is to be said to everybody, be it without entries.
    heartbeat_due: bool,
    transfer: Option<Transfer>,
}

/// The leader is about to hand over (section 3.10).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Transfer {
    to: NodeId,
    /// Given up at this moment.
    until: Duration,
    /// The successor was told to campaign, since the last heartbeat.
    told: bool,
}

impl Leader {
    /// Opens the term with an entry of its own, by which all earlier ones get committed
    /// (section 3.6.2).
    pub(crate) fn elected(server: &Server, cx: &mut Context<'_>) -> Leader {
        let proposal = cx.log.opening();
        let opening = cx.log.append(server.term(), proposal).index;
        let members = cx.log.membership();
        let peers = members.peers_of(server.me);
        let progress = |id| Progress::starting_at(opening, members.incarnation(id));
        let leader = Leader {
            opening,
            peers: peers.map(|id| (id, progress(id))).collect(),
            rounds: Rounds::since(cx.now),
            reads: Reads::default(),
            heartbeat_due: true,
            transfer: None,
        };
        cx.set_exact_timer(Timer::Heartbeat, server.settings.heartbeat);
        cx.set_exact_timer(Timer::Quorum, server.settings.election.end);
        leader
    }

    /// True if proposals and reads are taken.
    pub(crate) fn is_serving(&self) -> bool {
        self.transfer.is_none()
    }

    pub(crate) fn on_propose(&mut self, server: &Server, cx: &mut Context<'_>, what: Proposal) {
        assert!(self.is_serving(), "proposals go to a server that takes them");
        cx.log.append(server.term(), what);
    }

    pub(crate) fn on_read(&mut self, cx: &Context<'_>, read: ReadId) {
        assert!(self.is_serving(), "reads go to a server that takes them");
        // Until the opening is committed, the commit index may be behind that of earlier
        // leaders; but whatever they committed stands before the opening.
        let covers_all = cx.log.committed().max(self.opening);
        self.reads.register(read, covers_all, &self.rounds);
    }

    pub(crate) fn on_append_entries_reply(
        &mut self,
        server: &Server,
        cx: &mut Context<'_>,
        from: NodeId,
        reply: AppendEntriesReply,
    ) -> Result<(), PeerFault> {
        let end = cx.log.last().index;
        let listed = cx.log.membership().incarnation(from);
        let progress = self.asked(from, reply.probe)?;
        let is_mute = reply.is_mute();
        if is_mute || !progress.counts_under(listed) {
            progress.forget_what_was_said(listed);
        }
        match reply.outcome {
            Appended::Durable(index) | Appended::Held(index) if index > end => {
                return Err(PeerFault::ImpossibleReply);
            }
            // Said of an earlier term, in which this server may have led as well.
            Appended::Refused => return Ok(()),
            Appended::Durable(index) => progress.on_durable(index, cx.log.base().index),
            Appended::Held(index) if is_mute => progress.on_held_by_mute(index),
            Appended::Held(index) => progress.on_held(index),
            Appended::Conflict { hint, .. } if hint.ballot > server.term() => {
                return Err(PeerFault::ImpossibleReply);
            }
            Appended::Conflict { previous, hint } => progress.on_conflict(previous, hint, cx.log),
            Appended::NoRoom { previous } => progress.on_no_room(previous),
        }
        progress.on_heard(reply.probe);
        self.settle(server, cx);
        Ok(())
    }

    pub(crate) fn on_install_snapshot_reply(
        &mut self,
        server: &Server,
        cx: &mut Context<'_>,
        from: NodeId,
        probe: u64,
        durable: Option<Index>,
    ) -> Result<(), PeerFault> {
        let end = cx.log.last().index;
        let listed = cx.log.membership().incarnation(from);
        let progress = self.asked(from, probe)?;
        if !progress.counts_under(listed) {
            progress.forget_what_was_said(listed);
        }
        if durable.is_some_and(|index| index > end) {
            return Err(PeerFault::ImpossibleReply);
        }
        progress.on_heard(probe);
        if let Some(index) = durable {
            progress.on_durable(index, cx.log.base().index);
        }
        self.settle(server, cx);
        Ok(())
    }

    /// More of this server's own log is on disk.
    pub(crate) fn on_saved(&mut self, server: &Server, cx: &mut Context<'_>) {
        self.settle(server, cx);
    }

    /// Entries for `to` were read from disk.
    pub(crate) fn on_entries_read(
        &mut self,
        server: &Server,
        cx: &mut Context<'_>,
        to: NodeId,
        entries: Vec<Entry>,
    ) {
        let Some(progress) = self.peers.get_mut(&to) else { return };
        if let Some(previous) = progress.previous(cx.log)
            && progress.on_read(&entries, cx.log)
        {
            send_entries(server, cx, self.rounds.latest(), to, progress, previous, entries);
        }
    }

    pub(crate) fn on_heartbeat_timeout(&mut self, server: &Server, cx: &mut Context<'_>) {
        self.heartbeat_due = true;
        self.peers.values_mut().for_each(Progress::on_heartbeat);
        if let Some(transfer) = &mut self.transfer {
            transfer.told = false;
        }
        self.transfer.take_if(|transfer| transfer.until <= cx.now);
        cx.set_exact_timer(Timer::Heartbeat, server.settings.heartbeat);
    }

    /// CheckQuorum (section 6.2): true if no quorum has followed for so long that every follower
    /// that is in contact with others has begun to replace this leader.
    pub(crate) fn has_lost_quorum(&self, server: &Server, cx: &mut Context<'_>) -> bool {
        let deadline = self.rounds.confirmed_at() + server.settings.election.end;
        if deadline <= cx.now {
            return true;
        }
        cx.set_exact_timer(Timer::Quorum, deadline - cx.now);
        false
    }

    /// Lets the follower lead that has most of the log. Without one that is alive, nothing
    /// changes.
    pub(crate) fn on_hand_over(&mut self, server: &Server, cx: &Context<'_>) {
        let live = self.peers.iter().filter(|(_, progress)| progress.is_live());
        let successor = live.max_by_key(|(_, progress)| progress.matched).map(|(id, _)| *id);
        if self.transfer.is_none() {
            let until = cx.now + server.settings.election.end;
            self.transfer = successor.map(|to| Transfer { to, until, told: false });
        }
    }

    /// Sends what the inputs at hand gave rise to, one batch to each follower.
    pub(crate) fn flush(&mut self, server: &Server, cx: &mut Context<'_>) {
        let due = self.heartbeat_due || self.reads.need_round(&self.rounds);
        self.heartbeat_due = false;
        if due {
            self.rounds.begin(cx.now);
        }
        for (to, progress) in &mut self.peers {
            replicate(server, cx, self.rounds.latest(), *to, progress, due);
        }
        self.tell_successor(server, cx);
        self.settle(server, cx);
    }

    /// All reads that this leader can no longer confirm.
    pub(crate) fn into_lost_reads(self) -> impl Iterator<Item = ReadId> {
        self.reads.into_lost()
    }

    /// The progress of `from`, if it was asked `probe`.
    fn asked(&mut self, from: NodeId, probe: u64) -> Result<&mut Progress, PeerFault> {
        let progress = self.peers.get_mut(&from).filter(|_| probe <= self.rounds.latest());
        progress.ok_or(PeerFault::ImpossibleReply)
    }

    /// How far `peer` has acknowledged the log, by this disk.
    pub(crate) fn acknowledged(&self, peer: NodeId, incarnation: Incarnation) -> Index {
        let progress = self.peers.get(&peer);
        let counted = progress.filter(|progress| progress.counts_under(Some(incarnation)));
        counted.map_or(Index::ZERO, |progress| progress.matched)
    }

    /// Draws the conclusions from what followers and the own disk have said.
    fn settle(&mut self, server: &Server, cx: &mut Context<'_>) {
        let reached = |of_myself, of_peer: fn(&Progress) -> u64| {
            let members = cx.log.membership();
            members.reached(|id| match self.peers.get(&id) {
                Some(progress) if !progress.counts_under(members.incarnation(id)) => None,
                Some(progress) => Some(of_peer(progress)),
                None => (id == server.me).then_some(of_myself),
            })
        };
        let durable = reached(cx.log.durable().0, |peer| peer.matched.0).map(Index);
        let followed = reached(self.rounds.latest(), |peer| peer.heard);

        // Copies of earlier terms' entries prove nothing by themselves (section 3.6.2).
        if let Some(index) = durable
            && index > cx.log.committed()
            && cx.log.ballot_at(index) == Some(server.term())
        {
            cx.log.commit(index);
        }
        let Some(round) = followed else { return };
        self.rounds.confirm(round);
        if cx.log.committed() >= self.opening {
            while let Some((read, index)) = self.reads.pop_confirmed(round) {
                cx.out.read_ready(read, index);
            }
        }
    }

    fn tell_successor(&mut self, server: &Server, cx: &mut Context<'_>) {
        let Some(transfer) = &mut self.transfer else { return };
        let progress = self.peers.get(&transfer.to).expect("the successor is a peer");
        if !transfer.told && progress.matched == cx.log.last().index {
            transfer.told = true;
            cx.out.send(transfer.to, Message::TimeoutNow { term: server.term() });
        }
    }
}

/// Sends all that one follower may get. If that is nothing, but the follower should be heard or
/// told of a commit, it gets a message without entries.
fn replicate(
    server: &Server,
    cx: &mut Context<'_>,
    probe: u64,
    to: NodeId,
    progress: &mut Progress,
    due: bool,
) {
    let offered_before = matches!(progress.state, State::Snapshot(_));
    let mut silent = true;
    while let Some(previous) = progress.previous(cx.log)
        && let Some(room) = progress.room(&server.settings)
        && progress.next <= cx.log.last().index
    {
        let Some(entries) = cx.log.entries(progress.next, room) else {
            // What its disk cannot show comes back from a peer first.
            if !cx.log.is_missing(progress.next) && progress.start_reading() {
                cx.out.read_entries(to, progress.next, room);
            }
            break;
        };
        send_entries(server, cx, probe, to, progress, previous, entries);
        silent = false;
    }
    let news = progress.told < cx.log.committed().min(progress.next.previous());
    match &progress.state {
        State::Replicate(_) if !silent || !(due || news) => {}
        State::Probe { .. } | State::Full { .. } if !silent || !due => {}
        State::Snapshot(_) if !due && offered_before => {}
        State::Probe { .. } | State::Replicate(_) | State::Full { .. } => {
            let previous = progress.previous(cx.log).expect("whoever is behind gets a snapshot");
            send_entries(server, cx, probe, to, progress, previous, Vec::new());
        }
        State::Snapshot(offered) => {
            let (term, snapshot) = (server.term(), offered.clone());
            cx.out.send(to, Message::InstallSnapshot { term, probe, snapshot });
        }
    }
}

fn send_entries(
    server: &Server,
    cx: &mut Context<'_>,
    probe: u64,
    to: NodeId,
    progress: &mut Progress,
    previous: LogId,
    entries: Vec<Entry>,
) {
    progress.on_sent(&entries);
    let commit = cx.log.committed();
    // A follower takes a commit index no further than its log agrees.
    progress.told = progress.told.max(commit.min(progress.next.previous()));
    let message = AppendEntries { term: server.term(), probe, previous, commit, entries };
    cx.out.send(to, Message::AppendEntries(message));
}
