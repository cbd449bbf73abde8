//! Election Safety: at most one leader can be elected in a given term (Ongaro 2014, figure 3.2;
//! section 3.4). In Viewstamped Replication the view names its primary, which is the same promise.

use quorate_core::Ballot;

use super::{Property, Verdict};

const PROPERTY: Property =
    Property { name: "election safety", stated_in: "Ongaro 2014, figure 3.2 and section 3.4" };

/// `node` begins to lead in this ballot, in which that one led before.
pub(super) fn begins(node: usize, ballot: Ballot, led: Option<usize>) -> Verdict {
    let other = led.filter(|led| *led != node);
    PROPERTY.require(other.is_none(), || {
        let other = other.map_or(0, |other| other + 1);
        format!("replica {other} led in {ballot:?}, and replica {} begins to", node + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::super::reigns::Reigns;
    use super::*;

    #[test]
    fn two_leaders_of_one_ballot_are_found() {
        let mut check = Reigns::new(3);
        assert_eq!(check.stepped(0, Some(Ballot(1))), Ok(true));
        assert_eq!(check.stepped(0, Some(Ballot(1))), Ok(false));
        assert_eq!(check.stepped(1, Some(Ballot(2))), Ok(true));
        assert_eq!(check.stepped(2, Some(Ballot(2))).unwrap_err().property, PROPERTY.name);
    }
}
