//! What a replica reports to the primary of a view never changes, and from then on it acknowledges
//! nothing in an earlier view (Liskov and Cowling 2012, section 4.2, on DoViewChange).
//!
//! A report may speak of entries that are not on disk yet, for only what was acknowledged counts.
//! So a process that starts anew may report less than the one before it. That it reports all that
//! was committed with its help is for leader completeness.

use std::collections::BTreeMap;

use quorate_core::Ballot;
use quorate_vsr::{DoViewChange, Message, Vsr};

use crate::checks::{Property, Verdict};
use crate::oracle::Oracle;

const STAYS: Property = Property {
    name: "a DoViewChange never changes",
    stated_in: "Liskov and Cowling 2012, section 4.2",
};
const LEFT: Property = Property {
    name: "nothing is acknowledged in a view that was left",
    stated_in: "Liskov and Cowling 2012, section 4.2",
};

/// What each replica has said.
#[derive(Clone, Hash)]
pub(super) struct Reports {
    said: Vec<Said>,
}

#[derive(Clone, Default, Hash)]
struct Said {
    /// For each view, in this life of the process.
    reports: BTreeMap<Ballot, DoViewChange>,
    /// The latest view for which it ever reported.
    left_for: Ballot,
}

impl Reports {
    pub(super) fn new(replicas: usize) -> Reports {
        Reports { said: vec![Said::default(); replicas] }
    }
}

impl Oracle<Vsr> for Reports {
    fn sends(&mut self, node: usize, _: usize, message: &Message) -> Verdict {
        let said = &mut self.said[node];
        match message {
            Message::PrepareOk { view, .. } => {
                let left_for = said.left_for;
                LEFT.require(*view >= left_for, || {
                    format!("replica {} says {message:?}, and has left for {left_for:?}", node + 1)
                })
            }
            Message::DoViewChange(report) => {
                said.left_for = said.left_for.max(report.view);
                let first = *said.reports.entry(report.view).or_insert(*report);
                STAYS.require(first == *report, || {
                    format!("replica {} reported {first:?}, and reports {report:?}", node + 1)
                })
            }
            _ => Ok(()),
        }
    }

    fn crashed(&mut self, node: usize) {
        self.said[node].reports.clear();
    }

    fn forgot(&mut self, node: usize) {
        self.said[node] = Said::default();
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::{Digest, Index, LogId};

    use super::*;

    fn report(view: u64, index: u64, ballot: u64) -> Message {
        Message::DoViewChange(DoViewChange {
            view: Ballot(view),
            head: LogId::new(Index(index), Ballot(ballot)),
            digest: Digest::ZERO,
            commit: Index(0),
        })
    }

    fn prepare_ok(view: u64, op: u64) -> Message {
        Message::PrepareOk { view: Ballot(view), probe: 0, op: Index(op) }
    }

    #[test]
    fn a_report_that_changes_is_found_unless_the_process_died() {
        let mut check = Reports::new(1);
        check.sends(0, 1, &report(3, 7, 2)).unwrap();
        check.sends(0, 1, &report(3, 7, 2)).unwrap();
        check.sends(0, 1, &report(4, 6, 2)).unwrap();
        assert_eq!(check.sends(0, 1, &report(3, 6, 2)).unwrap_err().property, STAYS.name);
        check.crashed(0);
        check.sends(0, 1, &report(3, 6, 2)).unwrap();
    }

    #[test]
    fn an_acknowledgement_in_a_view_that_was_left_is_found() {
        let mut check = Reports::new(1);
        check.sends(0, 1, &report(3, 7, 2)).unwrap();
        assert_eq!(check.sends(0, 1, &prepare_ok(2, 7)).unwrap_err().property, LEFT.name);
        check.sends(0, 1, &prepare_ok(3, 8)).unwrap();
    }
}
