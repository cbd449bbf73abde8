//! What a replica of Viewstamped Replication says of its log, it says of all that its disk was
//! given, damaged or not: a nack is only sent for what was surely never written or was cut off
//! since, a DoViewChange leaves nothing out, and a PrepareOk covers only what can be read, in a log
//! that is its view's (Liskov and Cowling 2012, sections 4.1 and 4.2; Alagappan et al. 2018, section
//! 3.4, whose nack this is).
//!
//! The paper's log_view never goes back. Here that of a log may, which is taken over piece by piece
//! (`docs/PROTOCOLS.md`); so it is demanded that nothing is acknowledged before it is the view.

use quorate_core::{Ballot, Index, Log, LogId, Protocol as _};
use quorate_vsr::{Message, Pledge, Vsr};

use crate::checks::{Kept, Property, Verdict, readable};
use crate::oracle::Oracle;

const NACK: Property = Property {
    name: "a nack is only sent for what was surely never written",
    stated_in: "Alagappan et al. 2018, section 3.4",
};
const REPORT: Property = Property {
    name: "a DoViewChange leaves out nothing that was on the disk",
    stated_in: "Liskov and Cowling 2012, section 4.2",
};
const LOG_VIEW: Property = Property {
    name: "log_view is the view where something is acknowledged",
    stated_in: "Liskov and Cowling 2012, section 4.2",
};

/// Compares what replicas say with what their disks were given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Vouching {
    /// For each replica: the last view of which it has heard that this has begun, until its disk has
    /// the promise of a later one. From then on nothing leaves that was said in an earlier view.
    begun: Vec<Option<Ballot>>,
}

impl Vouching {
    pub(super) fn new(replicas: usize) -> Vouching {
        Vouching { begun: vec![None; replicas] }
    }
}

impl Oracle<Vsr> for Vouching {
    fn stepped(&mut self, node: usize, protocol: &Vsr, _: &Log) -> Verdict {
        let standing = protocol.standing();
        if standing.leader.is_some() {
            self.begun[node] = Some(standing.ballot);
        }
        Ok(())
    }

    fn vouches(&mut self, node: usize, _: usize, message: &Message, kept: &Kept<'_>) -> Verdict {
        match message {
            Message::PrepareOk { view, op, .. } => {
                readable::acknowledges(node, *op, kept, message)?;
                acknowledges(node, *view, *op, kept.ballot_at(*op))
            }
            Message::Nack { missing, .. } => nack(node, *missing, kept.holds(*missing)),
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

/// `ballot` is that of the last entry that is acknowledged, unless it is compacted.
fn acknowledges(node: usize, view: Ballot, op: Index, ballot: Option<Ballot>) -> Verdict {
    LOG_VIEW.require(op == Index::ZERO || ballot.is_none_or(|ballot| ballot == view), || {
        format!("replica {} acknowledges {op:?} in {view:?}, which is of {ballot:?}", node + 1)
    })
}

fn nack(node: usize, missing: LogId, is_held: bool) -> Verdict {
    NACK.require(!is_held, || format!("replica {} nacks {missing}, which it was given", node + 1))
}

fn report(node: usize, view: Ballot, head: LogId, own: LogId) -> Verdict {
    REPORT.require(own <= head, || {
        format!("replica {} reports {head} for {view:?}; its disk was given {own}", node + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::mirror;

    #[test]
    fn an_acknowledgement_by_a_log_of_an_earlier_view_is_found() {
        let log = mirror(&[1, 1, 3]);
        let kept = Kept::of_sound(&log, &log);
        let mut check = Vouching::new(1);
        let mut acknowledges = |op| {
            let message = Message::PrepareOk { view: Ballot(3), probe: 0, op: Index(op) };
            check.vouches(0, 1, &message, &kept)
        };
        acknowledges(3).unwrap();
        acknowledges(0).unwrap();
        assert_eq!(acknowledges(2).unwrap_err().property, LOG_VIEW.name);
    }

    #[test]
    fn a_nack_of_what_is_held_and_a_report_that_leaves_something_out_are_found() {
        let id = |index, ballot| LogId::new(Index(index), Ballot(ballot));
        nack(0, id(3, 2), false).unwrap();
        assert_eq!(nack(0, id(3, 2), true).unwrap_err().property, NACK.name);
        report(0, Ballot(4), id(3, 3), id(9, 2)).unwrap();
        assert_eq!(report(0, Ballot(4), id(3, 3), id(4, 3)).unwrap_err().property, REPORT.name);
    }
}
