//! No log holds an entry of a view that its replica has not reached: log_view ≤ view (Liskov and Cowling
//! 2012, section 4.2).

use quorate_core::{Ballot, Log};
use quorate_vsr::Vsr;

use super::view;
use crate::checks::{Property, Verdict};
use crate::oracle::Oracle;

const PROPERTY: Property =
    Property { name: "log_view ≤ view", stated_in: "Liskov and Cowling 2012, section 4.2" };

/// Compares the view of each replica's last entry with the view in which it is.
#[derive(Clone, Hash)]
pub(super) struct LogView;

impl Oracle<Vsr> for LogView {
    fn stepped(&mut self, node: usize, protocol: &Vsr, log: &Log) -> Verdict {
        is_reached(node, view(protocol), log.last().ballot)
    }
}

fn is_reached(node: usize, view: Ballot, log_view: Ballot) -> Verdict {
    PROPERTY.require(log_view <= view, || {
        format!("replica {} is in {view:?} and holds an entry of {log_view:?}", node + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_a_view_to_come_is_found() {
        is_reached(0, Ballot(3), Ballot(3)).unwrap();
        let to_come = is_reached(0, Ballot(3), Ballot(4));
        assert_eq!(to_come.unwrap_err().property, PROPERTY.name);
    }
}
