//! Replicas that were recorded, and others which are told the same.

use std::collections::BTreeMap;

use quorate_raft::Raft;
use quorate_sim::{Simulated, Simulation};
use quorate_vsr::Vsr;

/// All that a replica can be told, and how it can start.
const KINDS: [&str; 18] = [
    "a start",
    "a mute start",
    "Applied",
    "ChunkRead",
    "Damaged",
    "EntriesRead",
    "FetchProgress",
    "HandOver",
    "Message",
    "Propose",
    "Read",
    "Restored",
    "Room",
    "Saved",
    "Scrubbed",
    "SnapshotBuilt",
    "Sworn",
    "Timeout",
];

/// Runs with all faults: a dozen, and as many more as it takes until there was everything. In those
/// that come first there was what is rare, when this was written.
fn all_is_replayed<P: Simulated>(first: [u64; 2]) {
    const FEWEST: usize = 12;
    const MOST: u64 = 1000;
    let (mut told, mut runs) = (BTreeMap::<&str, u64>::new(), 0);
    for seed in first.into_iter().chain(1..MOST) {
        let simulation = Simulation::new(seed).protocol::<P>().recorded();
        let report = simulation.run().unwrap_or_else(|failed| panic!("{failed}"));
        for (kind, count) in report.replayed {
            *told.entry(kind).or_default() += count;
        }
        runs += 1;
        if runs >= FEWEST && KINDS.iter().all(|kind| told.contains_key(kind)) {
            println!("{}, {runs} runs: {told:?}", P::NAME);
            return;
        }
    }
    panic!("not everything was told: {told:?}");
}

#[test]
fn what_replicas_were_told_under_raft_is_replayed_byte_for_byte() {
    all_is_replayed::<Raft>([41, 43]);
}

#[test]
fn what_replicas_were_told_under_viewstamped_replication_is_replayed_byte_for_byte() {
    all_is_replayed::<Vsr>([59, 125]);
}

#[test]
fn to_record_a_run_changes_nothing_about_it() {
    let simulation = Simulation::new(1).protocol::<Raft>();
    let run = |simulation: Simulation<Raft>| simulation.run().unwrap_or_else(|why| panic!("{why}"));
    let (unrecorded, mut recorded) = (run(simulation.clone()), run(simulation.recorded()));
    assert!(unrecorded.replayed.is_empty() && !recorded.replayed.is_empty());
    recorded.replayed.clear();
    assert_eq!(unrecorded, recorded);
}

#[test]
fn one_in_fifty_runs_is_recorded_without_being_asked() {
    let report = Simulation::new(50).protocol::<Raft>().run().unwrap_or_else(|why| panic!("{why}"));
    assert!(report.replayed["Message"] > 0);
}
