//! What Raft alone promises.

mod one_vote;
mod persistent_state;

use quorate_raft::Raft;

use crate::oracle::{Oracle, Simulated};
use one_vote::OneVote;
use persistent_state::PersistentState;

impl Simulated for Raft {
    fn oracles(replicas: usize) -> Vec<Box<dyn Oracle<Raft>>> {
        vec![Box::new(OneVote::new(replicas)), Box::new(PersistentState::new(replicas))]
    }
}
