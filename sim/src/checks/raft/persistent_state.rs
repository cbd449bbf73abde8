//! Persistent state: `currentTerm` and `votedFor` are updated on stable storage before a server
//! answers or asks anything under them (Ongaro 2014, figure 3.1; section 3.8).

use quorate_core::{Ballot, NodeId};
use quorate_raft::{Message, Pledge, Raft};

use crate::checks::{Property, Verdict};
use crate::oracle::Oracle;

const PROPERTY: Property = Property {
    name: "no message before the term and the vote are on disk",
    stated_in: "Ongaro 2014, figure 3.1 and section 3.8",
};

/// What each disk holds.
#[derive(Clone, Hash)]
pub(super) struct PersistentState {
    disks: Vec<Pledge>,
}

impl PersistentState {
    pub(super) fn new(replicas: usize) -> PersistentState {
        PersistentState { disks: vec![Pledge::default(); replicas] }
    }
}

impl Oracle<Raft> for PersistentState {
    fn on_disk(&mut self, node: usize, pledge: &Pledge) -> Verdict {
        self.disks[node] = *pledge;
        Ok(())
    }

    fn forgot(&mut self, node: usize) {
        self.disks[node] = Pledge::default();
    }

    fn sends(&mut self, node: usize, to: usize, message: &Message) -> Verdict {
        let disk = self.disks[node];
        let Some(term) = said_in(message) else { return Ok(()) };
        let vote = vote_in(message, node, to);
        // Of a term that is over, the disk need not know the vote any more.
        let has_vote = vote.is_none() || disk.term > term || disk.voted_for == vote;
        PROPERTY.require(term <= disk.term && has_vote, || {
            format!("replica {} says {message:?}, and its disk {disk:?}", node + 1)
        })
    }
}

/// The term that the sender is in; `None` if it only asks what would be.
fn said_in(message: &Message) -> Option<Ballot> {
    match message {
        Message::PreVote { .. } => None,
        Message::AppendEntries(message) => Some(message.term),
        Message::AppendEntriesReply(reply) => Some(reply.term),
        Message::PreVoteReply { term, .. }
        | Message::RequestVote { term, .. }
        | Message::RequestVoteReply { term, .. }
        | Message::InstallSnapshot { term, .. }
        | Message::InstallSnapshotReply { term, .. }
        | Message::TimeoutNow { term } => Some(*term),
    }
}

/// For whom the sender has voted, if the message says so. A candidate votes for itself, and
/// whoever leads was one.
fn vote_in(message: &Message, node: usize, to: usize) -> Option<NodeId> {
    let id = |position: usize| NodeId(position as u64 + 1);
    match message {
        Message::RequestVoteReply { granted: true, .. } => Some(id(to)),
        Message::RequestVote { .. }
        | Message::AppendEntries(_)
        | Message::InstallSnapshot { .. }
        | Message::TimeoutNow { .. } => Some(id(node)),
        Message::PreVote { .. }
        | Message::PreVoteReply { .. }
        | Message::RequestVoteReply { granted: false, .. }
        | Message::AppendEntriesReply(_)
        | Message::InstallSnapshotReply { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_under_a_pledge_that_is_not_on_disk_is_found() {
        let mut check = PersistentState::new(1);
        let pledge = Pledge { term: Ballot(3), voted_for: Some(NodeId(2)) };
        check.on_disk(0, &pledge).unwrap();
        let vote = |term| Message::RequestVoteReply { term: Ballot(term), granted: true };
        check.sends(0, 1, &vote(3)).unwrap();
        check.sends(0, 2, &vote(2)).unwrap();
        assert!(check.sends(0, 2, &vote(3)).is_err(), "a vote for another one");
        assert!(check.sends(0, 1, &vote(4)).is_err(), "a term that the disk does not know");
        assert!(check.sends(0, 1, &Message::TimeoutNow { term: Ballot(3) }).is_err());
    }
}
