//! The primary of a view: it orders the log, and sees to it that the backups have it.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_core::{
    Entry, Incarnation, Index, LogId, NodeId, Proposal, ReadId, Reads, Rounds, Timer,
};

use crate::fault::PeerFault;
use crate::message::{Message, Stretch};
use crate::progress::Progress;
use crate::server::{Context, Server};
use crate::state_transfer::{self, Found};

/// The primary of a view which it has opened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Primary {
    /// The first entry of this view. Once it is committed, the primary knows everything that was
    /// committed before.
    opening: Index,
    peers: BTreeMap<NodeId, Progress>,
    rounds: Rounds,
    reads: Reads,
    /// Something is to be said to everybody, be it without entries.
    heartbeat_due: bool,
    hand_over: Option<HandOver>,
}

/// The primary is about to let another replica lead.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct HandOver {
    to: NodeId,
    /// Given up at this moment.
    until: Duration,
}

impl Primary {
    /// The view begins: the entry at `opening` is on disk.
    pub(crate) fn beginning(server: &Server, cx: &mut Context<'_>, opening: Index) -> Primary {
        assert!(opening <= cx.log.durable(), "nobody is told of a view that may be forgotten");
        assert_eq!(cx.log.ballot_at(opening), Some(server.view));
        let members = cx.log.membership();
        let progress = |id| Progress::starting_at(opening, members.incarnation(id));
        let primary = Primary {
            opening,
            peers: members.peers_of(server.me).map(|id| (id, progress(id))).collect(),
            rounds: Rounds::since(cx.now),
            reads: Reads::default(),
            heartbeat_due: true,
            hand_over: None,
        };
        cx.set_exact_timer(Timer::Heartbeat, server.settings.heartbeat);
        cx.set_exact_timer(Timer::Quorum, server.settings.election.end);
        primary
    }

    /// True if proposals and reads are taken.
    pub(crate) fn is_serving(&self) -> bool {
        self.hand_over.is_none()
    }

    pub(crate) fn on_propose(&mut self, server: &Server, cx: &mut Context<'_>, what: Proposal) {
        assert!(self.is_serving(), "proposals go to a replica that takes them");
        cx.log.append(server.view, what);
    }

    pub(crate) fn on_read(&mut self, cx: &Context<'_>, read: ReadId) {
        assert!(self.is_serving(), "reads go to a replica that takes them");
        // Until the opening is committed, the commit index may be behind that of earlier
        // primaries; but whatever they committed stands before the opening.
        let covers_all = cx.log.committed().max(self.opening);
        self.reads.register(read, covers_all, &self.rounds);
    }

    pub(crate) fn on_prepare_ok(
        &mut self,
        server: &Server,
        cx: &mut Context<'_>,
        from: NodeId,
        incarnation: Incarnation,
        probe: u64,
        op: Index,
    ) -> Result<(), PeerFault> {
        let last = cx.log.last().index;
        let is_possible = op == Index::ZERO || (self.opening <= op && op <= last);
        let asked = probe <= self.rounds.latest();
        let progress = self.peers.get_mut(&from).filter(|_| is_possible && asked);
        let progress = progress.ok_or(PeerFault::ImpossibleReply)?;
        if cx.log.membership().incarnation(from) != Some(incarnation) {
            return Ok(()); // Another disk has taken its place.
        }
        progress.on_prepare_ok(incarnation, op, probe, last);
        self.settle(server, cx);
        Ok(())
    }

    /// A backup lacks what follows `last`.
    pub(crate) fn on_get_state(
        &mut self,
        server: &Server,
        cx: &mut Context<'_>,
        from: NodeId,
        incarnation: Incarnation,
        last: LogId,
    ) {
        let Some(progress) = self.peers.get_mut(&from) else { return };
        progress.on_asked(last.index, incarnation);
        match state_transfer::look_up(cx.log, last, server.settings.append_bytes) {
            Found::Entries { previous, entries } => {
                progress.on_supplied(previous.index, &entries, cx.log.last().index);
                let probe = self.rounds.latest();
                state_transfer::send_new_state(server, cx, from, probe, previous, entries);
            }
            Found::Cold(index) => {
                if progress.start_reading(index) {
                    cx.out.read_entries(from, index, server.settings.append_bytes);
                }
            }
            Found::Compacted => {
                let snapshot = progress.offer(cx.log);
                cx.out.send(from, Message::Checkpoint { view: server.view, snapshot });
            }
            // It asks again, and peers give back what is damaged.
            Found::Damaged { .. } | Found::Nameless => progress.leave_to_pull(),
        }
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
        if let Some(previous) = state_transfer::stretch_of(cx.log, &entries)
            && progress.awaits(previous.index.next())
        {
            progress.on_supplied(previous.index, &entries, cx.log.last().index);
            let probe = self.rounds.latest();
            state_transfer::send_new_state(server, cx, to, probe, previous, entries);
        }
    }

    /// More of this replica's own log is on disk.
    pub(crate) fn on_saved(&mut self, server: &Server, cx: &mut Context<'_>) {
        self.settle(server, cx);
    }

    pub(crate) fn on_heartbeat_timeout(&mut self, server: &Server, cx: &mut Context<'_>) {
        self.heartbeat_due = true;
        self.peers.values_mut().for_each(Progress::on_heartbeat);
        self.hand_over.take_if(|hand_over| hand_over.until <= cx.now);
        cx.set_exact_timer(Timer::Heartbeat, server.settings.heartbeat);
    }

    /// True if no quorum has answered for so long that a replica which hears nothing would have
    /// asked to leave.
    pub(crate) fn has_lost_quorum(&self, server: &Server, cx: &mut Context<'_>) -> bool {
        let deadline = self.rounds.confirmed_at() + server.settings.election.end;
        if deadline <= cx.now {
            return true;
        }
        cx.set_exact_timer(Timer::Quorum, deadline - cx.now);
        false
    }

    /// Lets the backup lead that has most of the log; among equals, the one whose turn comes
    /// first. Without one that is alive, nothing changes.
    pub(crate) fn on_hand_over(&mut self, server: &Server, cx: &Context<'_>) {
        let live = self.peers.iter().filter(|(_, progress)| progress.is_live());
        let turn = |id| crate::server::next_turn(id, server.view, cx.log.membership());
        let successor = live
            .max_by_key(|(id, progress)| (progress.matched, std::cmp::Reverse(turn(**id))))
            .map(|(id, _)| *id);
        if self.hand_over.is_none() {
            let until = cx.now + server.settings.election.end;
            self.hand_over = successor.map(|to| HandOver { to, until });
        }
    }

    /// The successor, once it has everything that this primary has taken.
    pub(crate) fn ready_successor(&self, cx: &Context<'_>) -> Option<NodeId> {
        let to = self.hand_over.as_ref()?.to;
        let progress = self.peers.get(&to).expect("the successor is a peer");
        (progress.matched == cx.log.last().index).then_some(to)
    }

    /// Sends what the inputs at hand gave rise to, one batch to each backup.
    pub(crate) fn flush(&mut self, server: &Server, cx: &mut Context<'_>) {
        let due = self.heartbeat_due || self.reads.need_round(&self.rounds);
        self.heartbeat_due = false;
        if due {
            self.rounds.begin(cx.now);
        }
        let probe = self.rounds.latest();
        for (to, progress) in &mut self.peers {
            supply(server, cx, self.opening, probe, *to, progress, due);
        }
        self.settle(server, cx);
    }

    /// All reads that this primary can no longer confirm.
    pub(crate) fn take_reads(&mut self) -> Reads {
        std::mem::take(&mut self.reads)
    }

    /// How far `peer` has acknowledged the log, by this disk.
    pub(crate) fn acknowledged(&self, peer: NodeId, incarnation: Incarnation) -> Index {
        let progress = self.peers.get(&peer);
        let counted = progress.filter(|progress| progress.counts_under(Some(incarnation)));
        counted.map_or(Index::ZERO, |progress| progress.matched)
    }

    /// Draws the conclusions from what backups and the own disk have said.
    fn settle(&mut self, server: &Server, cx: &mut Context<'_>) {
        let reached = |of_myself, of_peer: fn(&Progress) -> u64| {
            let members = cx.log.membership();
            members.reached(|id| match self.peers.get(&id) {
                Some(progress) if !progress.counts_under(members.incarnation(id)) => None,
                Some(progress) => Some(of_peer(progress)),
                None => (id == server.me).then_some(of_myself),
            })
        };
        let prepared = reached(cx.log.durable().0, |peer| peer.matched.0).map(Index);
        let present = reached(self.rounds.latest(), |peer| peer.heard);

        if let Some(op) = prepared {
            cx.log.commit(op);
        }
        let Some(round) = present else { return };
        self.rounds.confirm(round);
        if cx.log.committed() >= self.opening {
            while let Some((read, index)) = self.reads.pop_confirmed(round) {
                cx.out.read_ready(read, index);
            }
        }
    }
}

/// Sends all that one backup may get unasked. If that is nothing, but the backup should be heard
/// or told of a commit, it is sent a Commit.
fn supply(
    server: &Server,
    cx: &mut Context<'_>,
    opening: Index,
    probe: u64,
    to: NodeId,
    progress: &mut Progress,
    due: bool,
) {
    let (view, commit, last) = (server.view, cx.log.committed(), cx.log.last().index);
    let mut silent = true;
    while let Some((next, room)) = progress.room(&server.settings)
        && next <= last
    {
        let at_hand = cx.log.id_at(next.previous()).zip(cx.log.entries(next, room));
        let Some((previous, entries)) = at_hand else {
            progress.leave_to_pull();
            break;
        };
        progress.on_streamed(&entries);
        let stretch = Stretch { view, probe, previous, commit, entries };
        let begins = next == opening;
        let message = if begins { Message::StartView(stretch) } else { Message::Prepare(stretch) };
        cx.out.send(to, message);
        silent = false;
    }
    let news = progress.told < commit;
    if silent && (due || news) {
        let op = progress.should_hold(last);
        cx.out.send(to, Message::Commit { view, probe, op, commit });
    }
    progress.told = progress.told.max(commit);
}
