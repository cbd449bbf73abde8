//! One vote in each term: a server votes for at most one candidate in a given term, and terms never
//! go back (Ongaro 2014, section 3.4 and figure 3.1). Crashes included: so the disk is what counts.

use quorate_raft::{Pledge, Raft};

use crate::checks::{Property, Verdict};
use crate::oracle::Oracle;

const PROPERTY: Property = Property {
    name: "one vote in each term",
    stated_in: "Ongaro 2014, section 3.4 and figure 3.1",
};

/// The last pledge that each disk held.
#[derive(Clone, Hash)]
pub(super) struct OneVote {
    sworn: Vec<Pledge>,
}

impl OneVote {
    pub(super) fn new(replicas: usize) -> OneVote {
        OneVote { sworn: vec![Pledge::default(); replicas] }
    }
}

impl Oracle<Raft> for OneVote {
    fn on_disk(&mut self, node: usize, pledge: &Pledge) -> Verdict {
        let before = std::mem::replace(&mut self.sworn[node], *pledge);
        let same_term = pledge.term == before.term;
        let kept = before.voted_for.is_none() || pledge.voted_for == before.voted_for;
        PROPERTY.require(pledge.term > before.term || same_term && kept, || {
            format!("replica {} had sworn {before:?}, and swears {pledge:?}", node + 1)
        })
    }

    fn forgot(&mut self, node: usize) {
        self.sworn[node] = Pledge::default();
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::{Ballot, NodeId};

    use super::*;

    fn pledge(term: u64, vote: Option<u64>) -> Pledge {
        Pledge { term: Ballot(term), voted_for: vote.map(NodeId) }
    }

    #[test]
    fn a_second_vote_a_vote_withdrawn_and_a_term_that_goes_back_are_found() {
        let after_a_vote = || {
            let mut check = OneVote::new(1);
            check.on_disk(0, &pledge(3, None)).unwrap();
            check.on_disk(0, &pledge(3, Some(2))).unwrap();
            check
        };
        after_a_vote().on_disk(0, &pledge(3, Some(2))).unwrap();
        after_a_vote().on_disk(0, &pledge(4, Some(1))).unwrap();
        for broken in [pledge(3, Some(1)), pledge(3, None), pledge(2, Some(2))] {
            assert!(after_a_vote().on_disk(0, &broken).is_err(), "{broken:?}");
        }
    }
}
