//! Election Safety: at most one leader can be elected in a given term (Ongaro 2014, figure 3.2;
//! section 3.4). In Viewstamped Replication the view names its primary, which is the same promise.
//!
//! Nor does anybody lead twice in the same ballot: whoever stopped, by choice or by dying, may
//! have forgotten what it said.

use std::collections::BTreeMap;

use quorate_core::Ballot;

use super::{Property, Violation};

const PROPERTY: Property =
    Property { name: "election safety", stated_in: "Ongaro 2014, figure 3.2 and section 3.4" };

/// Who led in which ballot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ElectionSafety {
    leaders: BTreeMap<Ballot, usize>,
    leading: Vec<Option<Ballot>>,
}

impl ElectionSafety {
    /// Of a cluster of so many replicas, none of which has led.
    #[must_use]
    pub fn new(nodes: usize) -> ElectionSafety {
        ElectionSafety { leaders: BTreeMap::new(), leading: vec![None; nodes] }
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
        let other = self.leaders.insert(ballot, node);
        PROPERTY
            .require(other.is_none(), || {
                let other = other.map_or(0, |other| other + 1);
                format!("replica {other} led in {ballot:?}, and replica {} begins to", node + 1)
            })
            .map(|()| true)
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
    fn two_leaders_of_one_ballot_are_found() {
        let mut check = ElectionSafety::new(3);
        assert_eq!(check.stepped(0, Some(Ballot(1))), Ok(true));
        assert_eq!(check.stepped(0, Some(Ballot(1))), Ok(false));
        assert_eq!(check.stepped(1, Some(Ballot(2))), Ok(true));
        assert_eq!(check.stepped(2, Some(Ballot(2))).unwrap_err().property, PROPERTY.name);
    }

    #[test]
    fn a_leader_that_resumes_its_ballot_is_found() {
        let mut check = ElectionSafety::new(2);
        assert_eq!(check.stepped(0, Some(Ballot(1))), Ok(true));
        assert_eq!(check.stepped(0, None), Ok(false));
        assert!(check.stepped(0, Some(Ballot(1))).is_err());
        assert_eq!(check.stepped(1, Some(Ballot(2))), Ok(true));
        check.forget(1);
        assert!(check.stepped(1, Some(Ballot(2))).is_err());
    }
}
