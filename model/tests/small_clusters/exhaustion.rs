//! Both protocols keep every promise in every state within small bounds.

use quorate_model::{Bounds, Checked, Ending, Model, Order};
use quorate_raft::Raft;
use quorate_sim::Simulated;
use quorate_vsr::Vsr;

/// What one replica has sent to another one arrives in order, with gaps.
fn in_order() -> Bounds {
    Bounds { overtakings: Some(0), ..Bounds::default() }
}

/// How many states there are within these bounds, in all of which every promise is kept.
fn exhausted<P: Simulated>(bounds: Bounds) -> u64 {
    let Checked { ending, progress } = Model::<P>::new(bounds).check();
    match ending {
        Ending::Exhausted => progress.distinct,
        Ending::Stopped => panic!("nothing bounds the number of states here"),
        Ending::Broken(counterexample) => panic!("{}:\n{counterexample}", P::NAME),
    }
}

#[test]
fn a_command_is_committed_without_faults() {
    let bounds = Bounds { elections: 1, crashes: 0, proposals: 1, ..in_order() };
    assert!(exhausted::<Raft>(Bounds { symmetric: true, ..bounds }) > 5_000);
    assert!(exhausted::<Vsr>(Bounds { slow_writes: 0, ..bounds }) > 20_000);
}

#[test]
fn an_election_with_a_crash_that_loses_what_was_on_its_way() {
    let bounds = Bounds { elections: 1, proposals: 0, ..in_order() };
    assert!(exhausted::<Raft>(Bounds { symmetric: true, ..bounds }) > 5_000);
    assert!(exhausted::<Vsr>(bounds) > 5_000);
}

#[test]
fn two_elections_whose_messages_are_lost_and_reordered() {
    let bounds =
        Bounds { elections: 2, crashes: 0, slow_writes: 0, proposals: 0, ..Bounds::default() };
    assert!(exhausted::<Raft>(Bounds { symmetric: true, ..bounds }) > 20_000);
    assert!(exhausted::<Vsr>(bounds) > 100_000);
}

#[test]
fn an_election_whose_messages_arrive_in_any_order_or_twice() {
    let bounds = Bounds { elections: 1, crashes: 0, slow_writes: 0, proposals: 0, ..in_order() };
    let disordered = Bounds { overtakings: None, duplicates: 1, ..bounds };
    assert!(exhausted::<Raft>(Bounds { symmetric: true, ..disordered }) > 5_000);
    assert!(exhausted::<Vsr>(disordered) > 5_000);
}

#[test]
fn a_read_covers_what_was_committed() {
    let bounds = Bounds { elections: 1, crashes: 0, slow_writes: 0, proposals: 0, ..in_order() };
    let reading = Bounds { reads: 1, heartbeats: 1, ..bounds };
    assert!(exhausted::<Raft>(Bounds { symmetric: true, ..reading }) > 1_000);
    assert!(exhausted::<Vsr>(reading) > 1_000);
}

#[test]
fn whatever_the_order_the_states_are_the_same() {
    let bounds = Bounds { elections: 1, proposals: 0, crashes: 0, ..in_order() };
    let model = Model::<Raft>::new(bounds);
    let wide = model.check_in(Order::BreadthFirst, &mut |_| {});
    assert!(matches!(wide.ending, Ending::Exhausted));
    let deep = model.check();
    assert_eq!(wide.progress.distinct, deep.progress.distinct);
    assert_eq!(wide.progress.generated, deep.progress.generated);
}

#[test]
fn replicas_that_are_alike_need_not_be_told_apart() {
    let bounds = Bounds { elections: 1, proposals: 0, crashes: 0, ..in_order() };
    let apart = exhausted::<Raft>(bounds);
    let alike = exhausted::<Raft>(Bounds { symmetric: true, ..bounds });
    // One of three stands for the others as the first to do anything.
    assert!(alike < apart && apart <= 6 * alike, "{alike} of {apart}");
}
