//! A protocol of one's own, in the simulator: primary and backups, with the failover that suggests
//! itself. Whoever hears nothing from the primary for a while takes over, and asks nobody.
//!
//! ```text
//! cargo run --release -p quorate-sim --example naive_failover
//! ```
//!
//! The primary even waits for a majority before it calls anything committed. It does not help: two
//! replicas believe that they lead, and the new one does not know what the old one has acknowledged.
//! The simulator says which promise is broken, in which run, and draws it.

mod protocol;

use std::process::ExitCode;

use protocol::Naive;
use quorate_sim::{Refuted, Simulation};

/// Runs it until something is broken; that run is then made smaller, and drawn.
fn check() -> Result<(), Box<Refuted>> {
    let simulation = Simulation::new(1).protocol::<Naive>().replicas(3);
    simulation.check(100).map(|_| ())
}

fn main() -> ExitCode {
    match check() {
        Err(refuted) => println!("{refuted}"),
        Ok(()) if std::env::var_os("QUORATE_REPLAY").is_some() => {}
        Ok(()) => {
            println!("no violation in 100 runs: the simulator is blind");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_split_brain_is_found_and_drawn() {
        let refuted = check().expect_err("nobody asks a majority");
        let Refuted::Violated { failed, picture, .. } = &*refuted else { panic!("{refuted}") };
        // Of what two primaries break, whichever shows first.
        let broken = [
            "leader completeness",
            "committed entries never change",
            "linearizability in the order of the log",
        ];
        assert!(broken.contains(&failed.violation.property), "{}", failed.violation);
        let picture = std::fs::read_to_string(picture).unwrap();
        assert!(picture.contains("<html") && picture.contains("Acknowledge"));
        assert!(picture.contains(r#""claim":{"kind":"acknowledges","through":"#));
    }
}
