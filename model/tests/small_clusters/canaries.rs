//! The model checker can fail: what is broken on purpose is caught, and the way to it can be read.

use quorate_model::{Bounds, Canary, Counterexample, Ending, Model, Stroll};
use quorate_raft::Raft;
use quorate_sim::Simulated;
use quorate_vsr::Vsr;

fn broken<P: Simulated>(ending: Ending<P>, canary: Canary) -> Counterexample<P> {
    match ending {
        Ending::Broken(counterexample) => *counterexample,
        Ending::Exhausted | Ending::Stopped => panic!("{} with {canary:?} goes unnoticed", P::NAME),
    }
}

/// The counterexample of a search among the states of a small cluster.
fn checked<P: Simulated>(canary: Canary, bounds: Bounds) -> Counterexample<P> {
    broken(Model::new(bounds).canary(canary).check().ending, canary)
}

/// The counterexample of a random walk.
fn walked<P: Simulated>(canary: Canary) -> Counterexample<P> {
    let stroll = Stroll { walks: 20_000, time: std::time::Duration::MAX, ..Stroll::default() };
    let model = Model::new(Bounds::of_a_walk()).canary(canary);
    broken(model.walk(stroll, &mut |_| {}).0, canary)
}

const SMALL: Bounds = Bounds {
    replicas: 3,
    elections: 2,
    heartbeats: 0,
    abdications: 0,
    proposals: 0,
    reads: 0,
    crashes: 1,
    duplicates: 0,
    overtakings: Some(0),
    batched: 0,
    slow_writes: 1,
    oaths: 0,
    single_entries: false,
    symmetric: false,
};

#[test]
fn acknowledging_before_the_sync_is_caught() {
    let canary = Canary::AcknowledgeBeforeSync;
    let found = checked::<Raft>(canary, SMALL);
    assert_eq!(found.violation.property, "no message before the term and the vote are on disk");
    let found = checked::<Vsr>(canary, SMALL);
    assert_eq!(found.violation.property, "no message before the view is on disk");
    walked::<Raft>(canary);
    walked::<Vsr>(canary);
}

#[test]
fn taking_a_write_for_those_behind_it_is_caught() {
    let canary = Canary::CompleteLaterWrites;
    let bounds = Bounds { elections: 2, crashes: 0, ..SMALL };
    checked::<Raft>(canary, bounds);
    checked::<Vsr>(canary, bounds);
    walked::<Raft>(canary);
    walked::<Vsr>(canary);
}

#[test]
fn forgetting_the_pledge_is_caught() {
    let canary = Canary::ForgetPledge;
    checked::<Raft>(canary, SMALL);
    checked::<Vsr>(canary, SMALL);
    walked::<Raft>(canary);
    walked::<Vsr>(canary);
}

#[test]
fn losing_what_was_durable_is_caught() {
    let canary = Canary::LoseLastEntry;
    let lost = "committed entries are durable on a quorum";
    assert_eq!(checked::<Raft>(canary, SMALL).violation.property, lost);
    assert_eq!(walked::<Raft>(canary).violation.property, lost);
    assert_eq!(checked::<Vsr>(canary, SMALL).violation.property, lost);
    // Before anything is committed, it may have been reported to the primary of a view.
    assert_eq!(walked::<Vsr>(canary).violation.property, "a DoViewChange never changes");
}

#[test]
fn reading_from_whatever_state_is_at_hand_is_caught() {
    let canary = Canary::ReadLocally;
    let bounds = Bounds { crashes: 0, slow_writes: 0, reads: 1, ..SMALL };
    let property = "a linearizable read covers what was committed when it was asked for";
    assert_eq!(checked::<Raft>(canary, bounds).violation.property, property);
    assert_eq!(checked::<Vsr>(canary, bounds).violation.property, property);
    assert_eq!(walked::<Raft>(canary).violation.property, property);
    assert_eq!(walked::<Vsr>(canary).violation.property, property);
}

#[test]
fn a_counterexample_is_a_list_of_what_happened() {
    let found = checked::<Raft>(Canary::LoseLastEntry, SMALL);
    let told = found.to_string();
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].contains("  1. n"), "{told}");
    assert!(told.contains("the process dies and starts again"), "{told}");
    assert!(told.contains("n2 → n1") || told.contains("n1 → n2"), "{told}");
    assert!(lines.last().unwrap().starts_with("BROKEN after"), "{told}");
    let numbered = lines.iter().filter(|line| line.trim_start().starts_with(char::is_numeric));
    assert_eq!(numbered.count(), found.actions.len(), "{told}");
}
