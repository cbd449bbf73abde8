//! Drawing changes nothing, and what is drawn is what happened.

use quorate_raft::Raft;
use quorate_sim::{Canary, Simulated, Simulation};
use quorate_vsr::Vsr;

/// True if the run fails, drawn or not.
fn fails_alike<P: Simulated>(seed: u64, canary: Option<Canary>) -> bool {
    let mut simulation = Simulation::new(seed).protocol::<P>().replicas(3);
    if let Some(canary) = canary {
        simulation = simulation.canary(canary);
    }
    let (drawn, _) = simulation.draw();
    // A report holds the digest of the trace, a failure its last events.
    assert_eq!(simulation.run(), drawn, "{} seed {seed}", P::NAME);
    drawn.is_err()
}

#[test]
fn a_run_is_the_same_drawn_or_not() {
    for seed in 1..5 {
        assert!(!fails_alike::<Raft>(seed, None));
        assert!(!fails_alike::<Vsr>(seed, None));
    }
}

#[test]
fn so_is_one_that_fails() {
    let canary = Some(Canary::ReadLocally);
    assert!((1..4).any(|seed| fails_alike::<Raft>(seed, canary)));
    assert!((1..4).any(|seed| fails_alike::<Vsr>(seed, canary)));
}
