//! A server that wants to lead: first it asks whether it could win, then it campaigns.

use std::collections::BTreeSet;

use quorate_core::{Membership, NodeId};

/// A server that collects votes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Candidate {
    pub(crate) phase: Phase,
    votes: BTreeSet<NodeId>,
}

/// What the votes are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// It asks who would vote for it in the next term, and stays in its own.
    PreVote,
    /// It campaigns in its term, in which it has voted for itself.
    Vote,
}

impl Candidate {
    pub(crate) fn in_phase(phase: Phase) -> Candidate {
        Candidate { phase, votes: BTreeSet::new() }
    }

    /// `voter` is in favour. True if a quorum is.
    pub(crate) fn count(&mut self, voter: NodeId, membership: &Membership) -> bool {
        self.votes.insert(voter);
        membership.is_quorum(self.votes.iter().copied())
    }
}
