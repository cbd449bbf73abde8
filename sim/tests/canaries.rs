//! The simulator can fail: what is broken on purpose is caught, within few seeds, whichever protocol
//! runs.

use quorate_raft::Raft;
use quorate_sim::{Canary, Failed, Simulated, Simulation};
use quorate_vsr::Vsr;

/// The first failure among so many seeds.
fn caught<P: Simulated>(canary: Canary, seeds: u64) -> Box<Failed> {
    let run = |seed| Simulation::new(seed).protocol::<P>().replicas(3).canary(canary).run();
    let failed = (1..=seeds).find_map(|seed| run(seed).err());
    failed.unwrap_or_else(|| panic!("{} with {canary:?} goes unnoticed", P::NAME))
}

#[test]
fn acknowledging_before_the_sync_is_caught() {
    let canary = Canary::AcknowledgeBeforeSync;
    for failed in [caught::<Raft>(canary, 3), caught::<Vsr>(canary, 3)] {
        assert!(!failed.last_events.is_empty());
    }
}

#[test]
fn forgetting_the_pledge_on_restart_is_caught() {
    caught::<Raft>(Canary::ForgetPledge, 30);
    caught::<Vsr>(Canary::ForgetPledge, 30);
}

#[test]
fn reading_from_whatever_state_is_at_hand_is_caught() {
    let canary = Canary::ReadLocally;
    for failed in [caught::<Raft>(canary, 3), caught::<Vsr>(canary, 3)] {
        assert_eq!(failed.violation.property, "linearizability in the order of the log");
    }
}
