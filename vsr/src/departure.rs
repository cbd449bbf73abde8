//! Who asks to leave the view.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_core::{Ballot, Membership, NodeId};

/// Collects the wish to leave, one's own and that of others.
///
/// To ask for a view is to ask for every view up to it. A wish promises nothing and changes
/// nothing by itself; it takes a quorum of them to move anybody. So a replica that is deaf, or
/// that comes back from a long absence, does not disturb the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Departure {
    /// For which view this replica wants to leave its own.
    want: Option<Ballot>,
    /// What each of the others asked for last, and when.
    asked: BTreeMap<NodeId, (Ballot, Duration)>,
}

impl Departure {
    pub(crate) fn want(&self) -> Option<Ballot> {
        self.want
    }

    /// Wants to leave for `view`. True if it did not want to leave for so late a view before.
    pub(crate) fn ask(&mut self, view: Ballot) -> bool {
        let raised = self.want.is_none_or(|want| want < view);
        self.want = self.want.max(Some(view));
        raised
    }

    pub(crate) fn on_asked(&mut self, from: NodeId, view: Ballot, now: Duration) {
        self.asked.insert(from, (view, now));
    }

    /// The view has a primary that is heard.
    pub(crate) fn forget_want(&mut self) {
        self.want = None;
    }

    /// What was asked for up to now was asked because of what is past.
    pub(crate) fn forget_all(&mut self) {
        *self = Departure::default();
    }

    /// The latest view for which a quorum wants to leave, this replica included. What was not
    /// asked for again within `patience` does not count any more.
    pub(crate) fn agreed(
        &self,
        me: NodeId,
        members: &Membership,
        now: Duration,
        patience: Duration,
    ) -> Option<Ballot> {
        members.reached(|id| {
            if id == me {
                return self.want;
            }
            let (view, then) = self.asked.get(&id)?;
            (now.saturating_sub(*then) < patience).then_some(*view)
        })
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::Incarnation;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    fn agreed(departure: &Departure, now: Duration) -> Option<u64> {
        let members = Membership::new((1..=3).map(|id| (NodeId(id), Incarnation(0))));
        departure.agreed(NodeId(1), &members, now, PATIENCE).map(|view| view.0)
    }

    #[test]
    fn a_quorum_agrees_on_the_latest_view_that_all_of_it_would_leave_for() {
        let mut departure = Departure::default();
        let now = Duration::ZERO;
        departure.on_asked(NodeId(2), Ballot(5), now);
        departure.on_asked(NodeId(2), Ballot(5), now);
        assert_eq!(agreed(&departure, now), None, "nobody counts twice");
        departure.on_asked(NodeId(9), Ballot(5), now);
        assert_eq!(agreed(&departure, now), None, "strangers do not count");
        assert!(departure.ask(Ballot(3)));
        assert_eq!(agreed(&departure, now), Some(3));
        assert!(!departure.ask(Ballot(2)) && !departure.ask(Ballot(3)));
        assert_eq!(departure.want(), Some(Ballot(3)));
        departure.on_asked(NodeId(3), Ballot(4), now);
        assert_eq!(agreed(&departure, now), Some(4));
        departure.forget_want();
        assert_eq!(agreed(&departure, now), Some(4));
        assert!(departure.ask(Ballot(5)) && departure.ask(Ballot(6)));
    }

    #[test]
    fn a_wish_that_is_not_repeated_is_over() {
        let mut departure = Departure::default();
        departure.ask(Ballot(3));
        departure.on_asked(NodeId(2), Ballot(3), Duration::from_secs(1));
        assert_eq!(agreed(&departure, Duration::from_millis(1999)), Some(3));
        assert_eq!(agreed(&departure, Duration::from_secs(2)), None);
    }
}
