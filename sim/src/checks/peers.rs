//! Replicas find no fault with each other: whatever arrives late, twice or out of order, a sound replica
//! says nothing that another one calls impossible. (Not from a paper: the faults are those that
//! `Protocol::faults` counts.)

use quorate_core::PeerFaults;

use super::{Property, Verdict};

const PROPERTY: Property =
    Property { name: "replicas find no fault with each other", stated_in: "quorate, PeerFaults" };

/// `node`, all of whose peers are sound, has found these faults so far: so there must be none.
///
/// # Errors
/// If there are.
pub fn are_right(node: usize, faults: &PeerFaults) -> Verdict {
    PROPERTY.require(faults.count == 0, || format!("replica {} has found {faults:?}", node + 1))
}

#[cfg(test)]
mod tests {
    use quorate_core::NodeId;

    use super::*;

    #[test]
    fn any_fault_is_one_too_many() {
        are_right(0, &PeerFaults { count: 0, last: None }).unwrap();
        let last = Some((NodeId(2), "an absurd term".to_owned()));
        assert!(are_right(0, &PeerFaults { count: 1, last }).is_err());
    }
}
