//! What Raft alone promises.

mod acknowledged;
mod one_vote;
mod persistent_state;
mod votes;

use quorate_raft::{Message, Raft};

use crate::marks::Mark;
use crate::oracle::{Oracle, Simulated};
use crate::words::Words;
use acknowledged::Acknowledged;
use one_vote::OneVote;
use persistent_state::PersistentState;
use votes::Votes;

impl Simulated for Raft {
    fn mark(message: &Message) -> Option<Mark> {
        match message {
            Message::TimeoutNow { .. } => Some(Mark::LeaderHandsOver),
            Message::InstallSnapshot { .. } => Some(Mark::SnapshotOffered),
            _ => None,
        }
    }

    fn words() -> Words {
        Words { ballot: "term", promise: "term, vote", speaks_under_oath: true, ..Words::default() }
    }

    fn oracles(replicas: usize) -> Vec<Box<dyn Oracle<Raft>>> {
        vec![
            Box::new(OneVote::new(replicas)),
            Box::new(PersistentState::new(replicas)),
            Box::new(Votes::default()),
            Box::new(Acknowledged),
        ]
    }
}
