//! The same seed gives the same run.

use quorate_raft::Raft;
use quorate_sim::Simulation;

#[test]
fn the_same_seed_gives_the_same_run_event_by_event() {
    for seed in 1..6 {
        let simulation = Simulation::new(seed).protocol::<Raft>();
        let (first, second) = (simulation.run().unwrap(), simulation.run().unwrap());
        assert_eq!(first, second, "seed {seed}");
        assert!(first.events > 1000);
    }
}

#[test]
fn different_seeds_give_different_runs() {
    let hash = |seed| Simulation::new(seed).protocol::<Raft>().run().unwrap().hash;
    assert_ne!(hash(1), hash(2));
}
