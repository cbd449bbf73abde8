//! A server votes only for a candidate whose log is at least as up-to-date as its own (Ongaro 2014,
//! section 3.6.1), and its own is what its disk was given: damaged entries count as if they were
//! whole (Alagappan et al. 2018, section 3.4).

use std::collections::BTreeMap;

use quorate_core::{Ballot, LogId};
use quorate_raft::{Message, Raft};

use crate::checks::{Kept, Property, Verdict};
use crate::oracle::Oracle;

const PROPERTY: Property = Property {
    name: "votes go to logs that are at least as up-to-date",
    stated_in: "Ongaro 2014, section 3.6.1; Alagappan et al. 2018, section 3.4",
};

/// Where the log of each candidate ends, as each server was told last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Votes {
    /// By server and candidate.
    told: BTreeMap<(usize, usize), (Ballot, LogId)>,
}

impl Votes {
    fn granted(&self, node: usize, to: usize, term: Ballot, own: LogId) -> Verdict {
        let told = self.told.get(&(node, to)).filter(|(asked, _)| *asked == term);
        let Some((_, candidate)) = told else { return Ok(()) };
        PROPERTY.require(own <= *candidate, || {
            let (voter, to) = (node + 1, to + 1);
            format!("replica {voter}, whose log ends in {own}, votes for {to}: {candidate}")
        })
    }
}

impl Oracle<Raft> for Votes {
    fn hears(&mut self, node: usize, from: usize, message: &Message) {
        if let Message::RequestVote { term, last, .. } = message {
            let told = self.told.entry((node, from)).or_default();
            *told = (*told).max((*term, *last));
        }
    }

    fn vouches(&mut self, node: usize, to: usize, message: &Message, kept: &Kept<'_>) -> Verdict {
        match message {
            // What the candidate has sent since it leads is of its own term, or was in its log.
            Message::RequestVoteReply { term, granted: true } => {
                self.granted(node, to, *term, kept.last_before(*term))
            }
            _ => Ok(()),
        }
    }

    fn crashed(&mut self, node: usize) {
        self.told.retain(|(server, _), _| *server != node);
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::Index;

    use super::*;

    #[test]
    fn a_vote_for_a_log_that_lacks_something_is_found() {
        let mut check = Votes::default();
        let id = |index, ballot| LogId::new(Index(index), Ballot(ballot));
        let ask = Message::RequestVote { term: Ballot(5), last: id(7, 3), transfer: false };
        check.hears(0, 1, &ask);
        check.granted(0, 1, Ballot(5), id(7, 3)).unwrap();
        check.granted(0, 1, Ballot(5), id(9, 2)).unwrap();
        assert!(check.granted(0, 1, Ballot(5), id(8, 3)).is_err());
        assert!(check.granted(0, 1, Ballot(5), id(1, 4)).is_err());
        check.granted(2, 1, Ballot(5), id(8, 3)).unwrap();
        check.crashed(0);
        check.granted(0, 1, Ballot(5), id(8, 3)).unwrap();
    }
}
