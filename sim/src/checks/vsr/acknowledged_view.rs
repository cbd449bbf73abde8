//! A PrepareOk is said by a log that is its view's (Liskov and Cowling 2012, sections 4.1 and 4.2).
//!
//! The paper's log_view never goes back. Here that of a log may, which is taken over piece by piece
//! (`docs/PROTOCOLS.md`); so it is demanded that nothing is acknowledged before it is the view.

use quorate_core::{Ballot, Index};
use quorate_vsr::{Message, Vsr};

use crate::checks::{Kept, Property, Verdict};
use crate::oracle::Oracle;

const PROPERTY: Property = Property {
    name: "log_view is the view where something is acknowledged",
    stated_in: "Liskov and Cowling 2012, section 4.2",
};

/// Compares the view of what is acknowledged with the view in which it is.
#[derive(Clone, Hash)]
pub(super) struct AcknowledgedView;

impl Oracle<Vsr> for AcknowledgedView {
    fn vouches(&mut self, node: usize, _: usize, message: &Message, kept: &Kept<'_>) -> Verdict {
        match message {
            Message::PrepareOk { view, op, .. } => {
                acknowledges(node, *view, *op, kept.ballot_at(*op))
            }
            _ => Ok(()),
        }
    }
}

/// `ballot` is that of the last entry that is acknowledged, unless it is compacted.
fn acknowledges(node: usize, view: Ballot, op: Index, ballot: Option<Ballot>) -> Verdict {
    PROPERTY.require(op == Index::ZERO || ballot.is_none_or(|ballot| ballot == view), || {
        format!("replica {} acknowledges {op:?} in {view:?}, which is of {ballot:?}", node + 1)
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
        let acknowledges = |op| {
            let message = Message::PrepareOk { view: Ballot(3), probe: 0, op: Index(op) };
            AcknowledgedView.vouches(0, 1, &message, &kept)
        };
        acknowledges(3).unwrap();
        acknowledges(0).unwrap();
        assert_eq!(acknowledges(2).unwrap_err().property, PROPERTY.name);
    }
}
