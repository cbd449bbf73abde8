//! What a replica is in every role, and what each handler works on.

use std::time::Duration;

use quorate_core::{Ballot, Effects, Log, LogId, Membership, NodeId, Settings, Timer};

use crate::message::Message;

/// What a replica is in every role.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Server {
    pub(crate) me: NodeId,
    pub(crate) settings: Settings,
    /// The view that the replica is in.
    pub(crate) view: Ballot,
    /// See [`Pledge::torn`](crate::Pledge::torn).
    pub(crate) torn: Ballot,
}

/// The surroundings of one step.
pub(crate) struct Context<'a> {
    /// Monotonic time.
    pub(crate) now: Duration,
    pub(crate) log: &'a mut Log,
    pub(crate) out: &'a mut Effects<Message>,
}

impl Server {
    /// The primary of the view that the replica is in.
    pub(crate) fn primary(&self, log: &Log) -> NodeId {
        primary_of(self.view, log.membership())
    }

    /// True if what this replica says may count. Only then does it ask to leave a view, report
    /// its log, acknowledge, and lead.
    pub(crate) fn may_vouch(&self, log: &Log) -> bool {
        log.membership().contains(self.me) && log.may_vouch()
    }

    /// True if this replica may begin a view: it must be able to show its log to others.
    pub(crate) fn may_lead(&self, log: &Log) -> bool {
        self.may_vouch(log) && log.is_whole()
    }

    /// True if this replica can vouch for never having acknowledged an entry that was not found to
    /// be uncommitted since: it knows what its log holds in that place, and that is something else,
    /// or nothing. A name that is lost with its entry tells neither. Nor does a log whose end was
    /// cut off, before it goes on in a later view than that was: then it is the log of that view's
    /// primary, and what is not in it is not committed. Before, it may be one that what was cut off
    /// had replaced.
    pub(crate) fn surely_lacks(&self, log: &Log, id: LogId) -> bool {
        let last = log.last();
        let is_another = match log.id_at(id.index) {
            Some(held) => held != id,
            None => id.index > last.index,
        };
        let may_be_cut_off = last.ballot <= self.torn && id.ballot <= self.torn;
        self.may_vouch(log) && is_another && !may_be_cut_off
    }

    /// Moves on to a later view. All earlier ones are left for good.
    pub(crate) fn enter(&mut self, view: Ballot) {
        assert!(view > self.view, "views only grow");
        self.view = view;
    }
}

/// Whose turn it is in `view`: the members take turns in the order of their names.
pub(crate) fn primary_of(view: Ballot, members: &Membership) -> NodeId {
    let turn = view.0 % members.len() as u64;
    let primary = usize::try_from(turn).ok().and_then(|turn| members.voters().nth(turn));
    primary.expect("there is always a member")
}

/// The first view behind `view` in which it is the turn of `replica`; `None` if that is not a
/// member.
pub(crate) fn next_turn(replica: NodeId, view: Ballot, members: &Membership) -> Option<Ballot> {
    let later = std::iter::successors(Some(view.next()), |view| Some(view.next()));
    later.take(members.len()).find(|view| primary_of(*view, members) == replica)
}

impl Context<'_> {
    /// Sends `message` to all members other than the replica itself.
    pub(crate) fn broadcast(&mut self, server: &Server, message: &Message) {
        for peer in self.log.membership().peers_of(server.me) {
            self.out.send(peer, message.clone());
        }
    }

    pub(crate) fn set_election_timer(&mut self, server: &Server) {
        self.out.set_timer(Timer::Election, server.settings.election.clone());
    }

    /// Sets a timer to a duration which is not drawn at random.
    pub(crate) fn set_exact_timer(&mut self, timer: Timer, duration: Duration) {
        self.out.set_timer(timer, duration..duration + Duration::from_micros(1));
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::Incarnation;

    use super::*;

    #[test]
    fn members_take_turns_in_the_order_of_their_names() {
        let members = Membership::new([7, 2, 5].map(|id| (NodeId(id), Incarnation(0))));
        let turns: Vec<u64> = (0..5).map(|view| primary_of(Ballot(view), &members).0).collect();
        assert_eq!(turns, [2, 5, 7, 2, 5]);
        for (replica, view, expected) in [(5, 1, 4), (7, 1, 2), (2, 1, 3), (2, 3, 6)] {
            let turn = next_turn(NodeId(replica), Ballot(view), &members);
            assert_eq!(turn, Some(Ballot(expected)), "{replica} after {view}");
        }
        assert_eq!(next_turn(NodeId(1), Ballot(1), &members), None);
    }
}
