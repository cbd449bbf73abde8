//! One log for each ballot: whoever leads in a ballot orders all of it (Ongaro 2014, section 3.5; Liskov and
//! Cowling 2012, sections 4.1 and 4.2: the primary of a view assigns op-numbers, and a view begins with one
//! log).

use quorate_core::Index;

use super::{Mirror, Property, Verdict};

pub(super) const PROPERTY: Property = Property {
    name: "one log for each ballot",
    stated_in: "Ongaro 2014, section 3.5; Liskov and Cowling 2012, sections 4.1 and 4.2",
};

/// Of two logs which end in the same ballot, the shorter one is the beginning of the longer one.
///
/// # Errors
/// If it is not.
pub fn one_log(a: usize, held_by_a: &Mirror, b: usize, held_by_b: &Mirror) -> Verdict {
    let end = |log: &Mirror| log.at(log.last()).map(|(ballot, _)| ballot);
    let common = held_by_a.last().min(held_by_b.last());
    // Digests chain: what agrees there agrees before.
    let (here, there) = (held_by_a.at(common), held_by_b.at(common));
    let same_end = common > Index::ZERO && end(held_by_a) == end(held_by_b);
    PROPERTY.require(!same_end || here == there, || {
        let (a, b) = (a + 1, b + 1);
        format!(
            "{common:?} is {here:?} on replica {a} and {there:?} on replica {b}, whose logs end in \
             the same ballot"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::mirror;
    use super::*;

    #[test]
    fn two_logs_of_one_ballot_that_differ_are_found() {
        let of_ballot_3 = mirror(&[1, 2, 3, 3]);
        one_log(0, &of_ballot_3, 1, &mirror(&[1, 2, 3])).unwrap();
        one_log(0, &of_ballot_3, 1, &mirror(&[1, 1])).unwrap();
        let other = one_log(0, &of_ballot_3, 1, &mirror(&[1, 1, 3]));
        assert_eq!(other.unwrap_err().property, PROPERTY.name);
    }
}
