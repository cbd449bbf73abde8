//! What a server has sworn: its term, and its vote in that term.

use quorate_core::{Ballot, NodeId, PledgeBytes};

/// The persistent state of Raft beside the log: `currentTerm` and `votedFor` (Ongaro 2014,
/// figure 3.1). Forgetting either would allow two leaders in one term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pledge {
    /// The latest term that the server has seen.
    pub term: Ballot,
    /// Who got its vote in that term.
    pub voted_for: Option<NodeId>,
}

// 0        8         9          16         24        64
// │ term   │ voted?  │ 0 … 0    │ voted_for │ 0 … 0  │    integers little-endian
const TERM: std::ops::Range<usize> = 0..8;
const VOTED: usize = 8;
const VOTED_FOR: std::ops::Range<usize> = 16..24;

impl quorate_core::Pledge for Pledge {
    fn to_bytes(&self) -> PledgeBytes {
        let mut bytes = [0; 64];
        bytes[TERM].copy_from_slice(&self.term.0.to_le_bytes());
        if let Some(candidate) = self.voted_for {
            bytes[VOTED] = 1;
            bytes[VOTED_FOR].copy_from_slice(&candidate.0.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &PledgeBytes) -> Option<Pledge> {
        let number = |range| {
            Some(u64::from_le_bytes(bytes.get::<std::ops::Range<_>>(range)?.try_into().ok()?))
        };
        let voted_for = match bytes[VOTED] {
            0 => None,
            1 => Some(NodeId(number(VOTED_FOR)?)),
            _ => return None,
        };
        let pledge = Pledge { term: Ballot(number(TERM)?), voted_for };
        // Whatever else the bytes say is not of this layout.
        (pledge.to_bytes() == *bytes).then_some(pledge)
    }

    /// All of it: nothing merely rides along.
    fn promise(&self) -> Pledge {
        *self
    }

    /// The later term; of two pledges in one term, the one with the vote.
    fn joined(in_log: Option<Pledge>, sworn: Pledge) -> Pledge {
        let in_log = in_log.unwrap_or_default();
        let is_later = |a: Pledge, b: Pledge| {
            (a.term, a.voted_for.is_some()) > (b.term, b.voted_for.is_some())
        };
        if is_later(in_log, sworn) { in_log } else { sworn }
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::Pledge as _;

    use super::*;

    #[test]
    fn the_bytes_on_disk_are_golden() {
        let pledge = Pledge { term: Ballot(0x0102), voted_for: Some(NodeId(7)) };
        let mut golden = [0; 64];
        golden[..2].copy_from_slice(&[2, 1]);
        golden[8] = 1;
        golden[16] = 7;
        assert_eq!(pledge.to_bytes(), golden);
        assert_eq!(Pledge::from_bytes(&golden), Some(pledge));
    }

    #[test]
    fn a_vote_is_promised_and_not_only_its_term() {
        let pledge = Pledge { term: Ballot(3), voted_for: Some(NodeId(0)) };
        assert_eq!(pledge.promise(), pledge);
        assert_ne!(pledge.promise(), Pledge { term: Ballot(3), voted_for: None }.promise());
    }

    #[test]
    fn neither_a_term_nor_a_vote_is_lost_whichever_place_is_behind() {
        let pledge = |term, vote: Option<u64>| {
            let voted_for = vote.map(NodeId);
            Pledge { term: Ballot(term), voted_for }
        };
        let ascending = [pledge(0, None), pledge(1, Some(2)), pledge(2, None), pledge(2, Some(1))];
        for (i, a) in ascending.into_iter().enumerate() {
            assert_eq!(Pledge::joined(None, a), a);
            for b in ascending.into_iter().take(i + 1) {
                assert_eq!(Pledge::joined(Some(a), b), a);
                assert_eq!(Pledge::joined(Some(b), a), a);
            }
        }
    }

    #[test]
    fn no_vote_and_a_vote_for_node_zero_differ() {
        let none = Pledge { term: Ballot(3), voted_for: None };
        let zero = Pledge { term: Ballot(3), voted_for: Some(NodeId(0)) };
        assert_ne!(none.to_bytes(), zero.to_bytes());
        assert_eq!(Pledge::from_bytes(&none.to_bytes()), Some(none));
        assert_eq!(Pledge::from_bytes(&zero.to_bytes()), Some(zero));
    }

    #[test]
    fn bytes_of_another_layout_are_refused() {
        for position in [8, 9, 15, 16, 23, 24, 63] {
            let mut bytes = Pledge { term: Ballot(3), voted_for: None }.to_bytes();
            bytes[position] = 2;
            assert_eq!(Pledge::from_bytes(&bytes), None, "byte {position}");
        }
    }
}
