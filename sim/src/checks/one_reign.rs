//! Nobody leads twice in the same ballot: whoever stopped, by choice or by dying, may have forgotten what it
//! said. A candidate enters a new term (Ongaro 2014, section 3.4), and a primary that was down is none until
//! a view begins anew.

use quorate_core::Ballot;

use super::{Property, Verdict};

const PROPERTY: Property = Property {
    name: "nobody leads twice in one ballot",
    stated_in: "Ongaro 2014, section 3.4; Liskov and Cowling 2012, section 4.2",
};

/// `node` begins to lead in this ballot, in which that one led before.
pub(super) fn begins(node: usize, ballot: Ballot, led: Option<usize>) -> Verdict {
    PROPERTY.require(led != Some(node), || {
        format!("replica {} led in {ballot:?}, stopped, and begins to again", node + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_begins_to_lead_where_it_led_is_found() {
        begins(0, Ballot(1), None).unwrap();
        assert_eq!(begins(0, Ballot(1), Some(0)).unwrap_err().property, PROPERTY.name);
    }
}
