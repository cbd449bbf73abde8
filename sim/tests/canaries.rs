//! The simulator can fail: what is broken on purpose is caught, and within few seeds.

use quorate_raft::Raft;
use quorate_sim::{Canary, Failed, Simulation};

/// The first failure among so many seeds.
fn caught(canary: Canary, seeds: u64) -> Option<Box<Failed>> {
    (1..=seeds).find_map(|seed| {
        Simulation::new(seed).protocol::<Raft>().replicas(3).canary(canary).run().err()
    })
}

#[test]
fn acknowledging_before_the_sync_is_caught() {
    let failed = caught(Canary::AcknowledgeBeforeSync, 3).expect("it goes unnoticed");
    assert!(!failed.last_events.is_empty());
}

#[test]
fn forgetting_the_vote_on_restart_is_caught() {
    caught(Canary::ForgetPledge, 30).expect("it goes unnoticed");
}

#[test]
fn reading_from_whatever_state_is_at_hand_is_caught() {
    let failed = caught(Canary::ReadLocally, 3).expect("it goes unnoticed");
    assert_eq!(failed.violation.property, "linearizability");
}
