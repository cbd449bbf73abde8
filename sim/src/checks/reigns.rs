//! Who led in which ballot: the ground that the checks of leaders stand on. That nobody leads where
//! [another](super::election_safety) did, or [it did itself](super::one_reign), is for these.

use std::collections::BTreeMap;

use quorate_core::Ballot;

use super::{Violation, election_safety, one_reign};

/// Who led in which ballot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reigns {
    leaders: BTreeMap<Ballot, usize>,
    leading: Vec<Option<Ballot>>,
}

impl Reigns {
    /// Of a cluster of so many replicas, none of which has led.
    #[must_use]
    pub fn new(nodes: usize) -> Reigns {
        Reigns { leaders: BTreeMap::new(), leading: vec![None; nodes] }
    }

    /// The process of `node` has died.
    pub fn forget(&mut self, node: usize) {
        self.leading[node] = None;
    }

    /// `node` leads in this ballot, or in none. True if it has begun to.
    ///
    /// # Errors
    /// If somebody has led in that ballot before.
    pub fn stepped(&mut self, node: usize, leads: Option<Ballot>) -> Result<bool, Violation> {
        let before = std::mem::replace(&mut self.leading[node], leads);
        let Some(ballot) = leads.filter(|_| leads != before) else { return Ok(false) };
        let led = self.leaders.insert(ballot, node);
        election_safety::begins(node, ballot, led)?;
        one_reign::begins(node, ballot, led)?;
        Ok(true)
    }

    /// How many leaders there have been.
    #[must_use]
    pub fn leaders(&self) -> u64 {
        self.leaders.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_that_resumes_its_ballot_is_found() {
        let mut check = Reigns::new(2);
        assert_eq!(check.stepped(0, Some(Ballot(1))), Ok(true));
        assert_eq!(check.stepped(0, None), Ok(false));
        assert!(check.stepped(0, Some(Ballot(1))).is_err());
        assert_eq!(check.stepped(1, Some(Ballot(2))), Ok(true));
        check.forget(1);
        assert!(check.stepped(1, Some(Ballot(2))).is_err());
    }
}
