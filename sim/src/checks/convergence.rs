//! Progress: once faults stop, all requests end and all replicas come to the same state within a
//! bound (Ongaro 2014, section 3.9 on timing and availability; Liskov and Cowling 2012, section
//! 4.2 on liveness).

use std::fmt;
use std::time::Duration;

use quorate_core::{Index, Standing};

use super::{Property, Violation};

const PROPERTY: Property =
    Property { name: "progress once faults stop", stated_in: "Ongaro 2014, section 3.9" };

/// How one replica stands in the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Converging {
    pub(crate) standing: Standing,
    pub(crate) last: Index,
    pub(crate) committed: Index,
    pub(crate) applied: Index,
    /// Something is yet to expire.
    pub(crate) expiring: bool,
    /// Of the machine and all that is kept beside it.
    pub(crate) digest: u64,
}

/// Why a cluster is not at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unconverged {
    /// So many requests have not ended.
    Requests(usize),
    /// A replica is not running, or not formed.
    Down(usize),
    /// A replica does not count, or has something left to repair or to save.
    Lacking(usize),
    /// Replicas differ, or lack something.
    Behind(String),
}

impl Unconverged {
    /// The violation if this is how things are when the bound has passed.
    pub(crate) fn after(self, bound: Duration) -> Violation {
        PROPERTY.violation(format!("{bound:?} after the last fault, {self}"))
    }
}

impl fmt::Display for Unconverged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unconverged::Requests(count) => write!(f, "{count} requests have not ended"),
            Unconverged::Down(node) => write!(f, "replica {} does not take part", node + 1),
            Unconverged::Lacking(node) => {
                let node = node + 1;
                write!(f, "replica {node} is mute, or lacks or has not saved a part of its log")
            }
            Unconverged::Behind(details) => write!(f, "{details}"),
        }
    }
}

/// Whether all replicas stand at the same place, with everything done; one of them leads, unless they
/// are led from elsewhere.
///
/// # Errors
/// What is lacking.
pub(crate) fn converged(
    replicas: &[Converging],
    led_from_elsewhere: bool,
) -> Result<(), Unconverged> {
    let behind = |details: String| Err(Unconverged::Behind(details));
    let leaders = replicas.iter().filter(|replica| replica.standing.serving).count();
    if leaders != usize::from(!led_from_elsewhere) {
        return behind(format!("{leaders} replicas lead"));
    }
    let first = &replicas[0];
    for (node, replica) in replicas.iter().enumerate() {
        let Converging { last, committed, applied, expiring, .. } = replica;
        let at_rest = last == committed && committed == applied && !expiring;
        let same = (*last, replica.digest) == (first.last, first.digest);
        if !at_rest || !same {
            return behind(format!("replica {} is not level: {replica:?} / {first:?}", node + 1));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use quorate_core::{Ballot, NodeId, Role};

    use super::*;

    fn replica(leads: bool) -> Converging {
        let index = Index(3);
        Converging {
            standing: Standing {
                role: if leads { Role::Leader } else { Role::Follower },
                ballot: Ballot(1),
                leader: Some(NodeId(1)),
                serving: leads,
            },
            last: index,
            committed: index,
            applied: index,
            expiring: false,
            digest: 7,
        }
    }

    #[test]
    fn replicas_that_are_level_under_one_leader_have_converged() {
        assert_eq!(converged(&[replica(true), replica(false)], false), Ok(()));
        assert!(converged(&[replica(false); 2], false).is_err(), "nobody leads");
        assert_eq!(converged(&[replica(false); 2], true), Ok(()));
        assert!(converged(&[replica(true), replica(false)], true).is_err(), "two lead");
    }

    #[test]
    fn whatever_is_not_level_is_found() {
        let level = replica(false);
        let uncommitted = Converging { committed: Index(2), ..level };
        let unapplied = Converging { applied: Index(2), ..level };
        let other_state = Converging { digest: 8, ..level };
        let expiring = Converging { expiring: true, ..level };
        for other in [uncommitted, unapplied, other_state, expiring] {
            assert!(converged(&[replica(true), other], false).is_err(), "{other:?}");
        }
    }
}
