//! Election Safety: at most one leader can be elected in a given term (Ongaro 2014, figure 3.2;
//! section 3.4). In Viewstamped Replication the view names its primary, which is the same promise.

use std::collections::BTreeMap;

use quorate_core::Ballot;

use super::{Property, Violation};

const PROPERTY: Property =
    Property { name: "election safety", stated_in: "Ongaro 2014, figure 3.2 and section 3.4" };

/// Who led in which ballot.
#[derive(Default)]
pub(super) struct ElectionSafety {
    leaders: BTreeMap<Ballot, usize>,
}

impl ElectionSafety {
    /// `node` leads in `ballot`. True if that is news.
    pub(super) fn leads(&mut self, node: usize, ballot: Ballot) -> Result<bool, Violation> {
        match self.leaders.insert(ballot, node) {
            None => Ok(true),
            Some(other) => PROPERTY
                .require(other == node, || {
                    format!("replicas {} and {} both lead in {ballot:?}", other + 1, node + 1)
                })
                .map(|()| false),
        }
    }

    pub(super) fn leaders(&self) -> u64 {
        self.leaders.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leaders_of_one_ballot_are_found() {
        let mut check = ElectionSafety::default();
        assert_eq!(check.leads(0, Ballot(1)), Ok(true));
        assert_eq!(check.leads(0, Ballot(1)), Ok(false));
        assert_eq!(check.leads(1, Ballot(2)), Ok(true));
        assert_eq!(check.leads(2, Ballot(2)).unwrap_err().property, PROPERTY.name);
    }
}
