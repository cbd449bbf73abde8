//! Whoever has reported for a view acknowledges nothing in an earlier one from then on: it was not in the
//! report (Liskov and Cowling 2012, section 4.2, on DoViewChange).

use quorate_core::Ballot;
use quorate_vsr::{Message, Vsr};

use crate::checks::{Property, Verdict};
use crate::oracle::Oracle;

const PROPERTY: Property = Property {
    name: "nothing is acknowledged in a view that was left",
    stated_in: "Liskov and Cowling 2012, section 4.2",
};

/// The latest view for which each replica ever reported.
#[derive(Clone, Hash)]
pub(super) struct LeftViews {
    left_for: Vec<Ballot>,
}

impl LeftViews {
    pub(super) fn new(replicas: usize) -> LeftViews {
        LeftViews { left_for: vec![Ballot::default(); replicas] }
    }
}

impl Oracle<Vsr> for LeftViews {
    fn sends(&mut self, node: usize, _: usize, message: &Message) -> Verdict {
        let left_for = &mut self.left_for[node];
        match message {
            Message::PrepareOk { view, .. } => PROPERTY.require(*view >= *left_for, || {
                format!("replica {} says {message:?}, and has left for {left_for:?}", node + 1)
            }),
            Message::DoViewChange(report) => {
                *left_for = report.view.max(*left_for);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn forgot(&mut self, node: usize) {
        self.left_for[node] = Ballot::default();
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::{Digest, Index, LogId};
    use quorate_vsr::DoViewChange;

    use super::*;

    fn prepare_ok(view: u64) -> Message {
        Message::PrepareOk { view: Ballot(view), probe: 0, op: Index(7) }
    }

    #[test]
    fn an_acknowledgement_in_a_view_that_was_left_is_found() {
        let (view, head) = (Ballot(3), LogId::new(Index(7), Ballot(2)));
        let report = DoViewChange { view, head, digest: Digest::ZERO, commit: Index(0) };
        let mut check = LeftViews::new(1);
        check.sends(0, 1, &prepare_ok(2)).unwrap();
        check.sends(0, 1, &Message::DoViewChange(report)).unwrap();
        assert_eq!(check.sends(0, 1, &prepare_ok(2)).unwrap_err().property, PROPERTY.name);
        check.crashed(0);
        assert!(check.sends(0, 1, &prepare_ok(2)).is_err(), "it has said so for good");
        check.sends(0, 1, &prepare_ok(3)).unwrap();
    }
}
