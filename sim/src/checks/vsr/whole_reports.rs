//! A DoViewChange leaves out nothing that was on the disk, damaged or not (Liskov and Cowling 2012, section
//! 4.2).

use quorate_core::{Ballot, Log, LogId, Protocol as _};
use quorate_vsr::{Message, Pledge, Vsr};

use crate::checks::{Kept, Property, Verdict};
use crate::oracle::Oracle;

const PROPERTY: Property = Property {
    name: "a DoViewChange leaves out nothing that was on the disk",
    stated_in: "Liskov and Cowling 2012, section 4.2",
};

/// Compares what replicas report with what their disks were given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct WholeReports {
    /// For each replica: the last view of which it has heard that this has begun, until its disk has
    /// the promise of a later one. From then on nothing leaves that was said in an earlier view.
    begun: Vec<Option<Ballot>>,
}

impl WholeReports {
    pub(super) fn new(replicas: usize) -> WholeReports {
        WholeReports { begun: vec![None; replicas] }
    }
}

impl Oracle<Vsr> for WholeReports {
    fn stepped(&mut self, node: usize, protocol: &Vsr, _: &Log) -> Verdict {
        let standing = protocol.standing();
        if standing.leader.is_some() {
            self.begun[node] = Some(standing.ballot);
        }
        Ok(())
    }

    fn vouches(&mut self, node: usize, _: usize, message: &Message, kept: &Kept<'_>) -> Verdict {
        match message {
            // Nobody counts a report for a view that has begun: if it waits for the disk all the while,
            // more may be on that before the report has left.
            Message::DoViewChange(said) if self.begun[node] != Some(said.view) => {
                report(node, said.view, said.head, kept.last_before(said.view))
            }
            _ => Ok(()),
        }
    }

    fn on_disk(&mut self, node: usize, pledge: &Pledge) -> Verdict {
        self.begun[node].take_if(|begun| *begun < pledge.view);
        Ok(())
    }

    fn crashed(&mut self, node: usize) {
        self.begun[node] = None;
    }
}

fn report(node: usize, view: Ballot, head: LogId, own: LogId) -> Verdict {
    PROPERTY.require(own <= head, || {
        format!("replica {} reports {head} for {view:?}; its disk was given {own}", node + 1)
    })
}

#[cfg(test)]
mod tests {
    use quorate_core::Index;

    use super::*;

    #[test]
    fn a_report_that_leaves_something_out_is_found() {
        let id = |index, ballot| LogId::new(Index(index), Ballot(ballot));
        report(0, Ballot(4), id(3, 3), id(9, 2)).unwrap();
        assert_eq!(report(0, Ballot(4), id(3, 3), id(4, 3)).unwrap_err().property, PROPERTY.name);
    }
}
