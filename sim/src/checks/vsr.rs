//! What Viewstamped Replication alone promises.

mod do_view_change;
mod one_log;
mod persistent_view;
mod views;
mod vouching;

use quorate_core::{Ballot, Protocol};
use quorate_vsr::{Message, Vsr};

use crate::marks::Mark;
use crate::oracle::{Oracle, Simulated};
use crate::words::Words;
use do_view_change::Reports;
use one_log::OneLog;
use persistent_view::PersistentView;
use views::Views;
use vouching::Vouching;

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
            Box::new(PersistentView::new(replicas)),
            Box::new(OneLog::new(replicas)),
            Box::new(Reports::new(replicas)),
            Box::new(Vouching::new(replicas)),
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
