//! The same seed gives the same run.

use quorate_raft::Raft;
use quorate_sim::{Report, Simulated, Simulation};
use quorate_vsr::Vsr;

fn run<P: Simulated>(seed: u64) -> Report {
    Simulation::new(seed).protocol::<P>().run().unwrap_or_else(|failed| panic!("{failed}"))
}

fn repeats_itself<P: Simulated>() {
    for seed in 1..6 {
        let (first, second) = (run::<P>(seed), run::<P>(seed));
        assert_eq!(first, second, "seed {seed}");
        assert!(first.events > 1000);
    }
}

#[test]
fn the_same_seed_gives_the_same_run_event_by_event() {
    repeats_itself::<Raft>();
    repeats_itself::<Vsr>();
}

#[test]
fn different_seeds_and_protocols_give_different_runs() {
    let hashes = [run::<Raft>(1), run::<Raft>(2), run::<Vsr>(1), run::<Vsr>(2)].map(|run| run.hash);
    for (position, hash) in hashes.iter().enumerate() {
        assert!(!hashes[..position].contains(hash), "{hashes:x?}");
    }
}
