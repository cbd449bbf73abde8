//! What Viewstamped Replication alone promises.

mod acknowledged;
mod acknowledged_view;
mod do_view_change;
mod left_views;
mod log_view;
mod nacks;
mod one_log;
mod persistent_view;
mod views;
mod whole_reports;

use quorate_core::{Ballot, Protocol};
use quorate_vsr::{DoViewChange, Message, Pledge, Vsr};

use crate::marks::Mark;
use crate::oracle::{Claim, Oracle, Said, Simulated, Topic};
use crate::words::Words;
use acknowledged::Acknowledged;
use acknowledged_view::AcknowledgedView;
use do_view_change::Reports;
use left_views::LeftViews;
use log_view::LogView;
use nacks::Nacks;
use one_log::OneLog;
use persistent_view::PersistentView;
use views::Views;
use whole_reports::WholeReports;

impl Simulated for Vsr {
    fn mark(message: &Message) -> Option<Mark> {
        match message {
            Message::DoViewChange(_) => Some(Mark::ViewReported),
            Message::Sought { .. } => Some(Mark::EntrySought),
            Message::Nack { .. } => Some(Mark::EntryNacked),
            Message::Checkpoint { .. } => Some(Mark::SnapshotOffered),
            _ => None,
        }
    }

    fn says(message: &Message) -> Option<Said> {
        let (topic, claim) = match message {
            Message::StartViewChange { .. } | Message::StartView(_) => (Topic::Elect, None),
            Message::DoViewChange(DoViewChange { head, .. }) => {
                (Topic::Elect, Some(Claim::Reports { head: *head }))
            }
            // A backup takes for its primary's what its log holds of the view, whoever showed it that.
            Message::Prepare(stretch) if !stretch.entries.is_empty() => (Topic::Replicate, None),
            Message::Prepare(_) | Message::Commit { .. } => (Topic::Heartbeat, None),
            Message::PrepareOk { op, .. } => {
                (Topic::Reply, Some(Claim::Acknowledges { through: *op }))
            }
            Message::GetState { .. }
            | Message::NewState(_)
            | Message::Checkpoint { .. }
            | Message::Missing { .. }
            | Message::Sought { .. } => (Topic::Repair, None),
            Message::Nack { missing, .. } => {
                (Topic::Repair, Some(Claim::Nacks { missing: *missing }))
            }
        };
        Some(Said { topic, ballot: Some(view_of(message)), claim })
    }

    /// Whatever is of an earlier view is ignored (Liskov and Cowling 2012, section 4).
    fn is_moot(message: &Message, pledge: &Pledge) -> bool {
        view_of(message) < pledge.view
    }

    fn words() -> Words {
        Words {
            ballot: "view",
            leader: "primary",
            follower: "backup",
            candidate: "view change",
            elections: "view changes",
            promise: "view",
            speaks_under_oath: true,
        }
    }

    fn oracles(replicas: usize) -> Vec<Box<dyn Oracle<Vsr>>> {
        vec![
            Box::new(Views::new(replicas)),
            Box::new(LogView),
            Box::new(PersistentView::new(replicas)),
            Box::new(OneLog::new(replicas)),
            Box::new(Reports::new(replicas)),
            Box::new(LeftViews::new(replicas)),
            Box::new(Acknowledged),
            Box::new(AcknowledgedView),
            Box::new(Nacks),
            Box::new(WholeReports::new(replicas)),
        ]
    }
}

/// The view in which the sender of a message is.
fn view_of(message: &Message) -> Ballot {
    match message {
        Message::Prepare(stretch) | Message::StartView(stretch) | Message::NewState(stretch) => {
            stretch.view
        }
        Message::DoViewChange(report) => report.view,
        Message::PrepareOk { view, .. }
        | Message::Commit { view, .. }
        | Message::StartViewChange { view, .. }
        | Message::GetState { view, .. }
        | Message::Checkpoint { view, .. }
        | Message::Missing { view, .. }
        | Message::Sought { view, .. }
        | Message::Nack { view, .. } => *view,
    }
}

/// The view in which a replica is.
fn view(protocol: &Vsr) -> Ballot {
    protocol.pledge().view
}

#[cfg(test)]
mod tests {
    use quorate_core::{Digest, Index, LogId};
    use quorate_vsr::Stretch;

    use super::*;

    #[test]
    fn what_is_acknowledged_reported_and_nacked_is_said_in_the_view_of_its_sender() {
        let (view, id) = (Ballot(7), LogId::new(Index(3), Ballot(2)));
        let said = |topic, claim| Some(Said { topic, ballot: Some(view), claim });
        let acknowledgement = Message::PrepareOk { view, probe: 9, op: Index(4) };
        let acknowledges = Some(Claim::Acknowledges { through: Index(4) });
        assert_eq!(Vsr::says(&acknowledgement), said(Topic::Reply, acknowledges));
        let report = DoViewChange { view, head: id, digest: Digest([1; 16]), commit: Index(2) };
        let reports = Some(Claim::Reports { head: id });
        assert_eq!(Vsr::says(&Message::DoViewChange(report)), said(Topic::Elect, reports));
        let nacks = Some(Claim::Nacks { missing: id });
        assert_eq!(Vsr::says(&Message::Nack { view, missing: id }), said(Topic::Repair, nacks));
        let idle = Stretch { view, probe: 9, previous: id, commit: Index(2), entries: Vec::new() };
        assert_eq!(Vsr::says(&Message::Prepare(idle)), said(Topic::Heartbeat, None));
    }
}
