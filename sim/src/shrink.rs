//! Making a failing run smaller: fewer replicas, a shorter time, fewer kinds of faults, fewer faults,
//! fewer clients, as long as the same property is violated.

use std::time::{Duration, Instant};

use crate::cuts::Cuts;
use crate::oracle::Simulated;
use crate::report::Failed;
use crate::simulation::Simulation;

/// The smallest run that was found.
#[derive(Clone, Debug)]
pub struct Shrunk<P> {
    /// The run.
    pub simulation: Simulation<P>,
    /// How it fails.
    pub failed: Box<Failed>,
    /// How many runs were tried.
    pub tried: u64,
}

struct Search<P> {
    best: Simulation<P>,
    failed: Box<Failed>,
    until: Instant,
    tried: u64,
}

impl<P: Simulated> Simulation<P> {
    /// Looks for a smaller run that violates the same property as this one, which has failed, for
    /// as long as there is time.
    #[must_use]
    pub fn shrink(&self, failed: &Failed, time_limit: Duration) -> Shrunk<P> {
        let until = Instant::now() + time_limit;
        let failed = Box::new(failed.clone());
        let mut search = Search { best: self.clone(), failed, until, tried: 0 };
        search.leave_out_replicas();
        search.leave_out_time();
        search.leave_out_features();
        search.leave_out_faults();
        search.leave_out_clients();
        // What was needed beside something that is gone may not be needed any more.
        search.leave_out_features();
        search.leave_out_time();
        let Search { best, failed, tried, .. } = search;
        let failed = best.run().err().unwrap_or(failed);
        Shrunk { simulation: best, failed, tried }
    }
}

impl<P: Simulated> Search<P> {
    /// True if the run fails as before with this left out; then it is.
    fn fails_with(&mut self, cut: impl FnOnce(&mut Cuts)) -> bool {
        let mut smaller = self.best.clone();
        cut(&mut smaller.cuts);
        self.fails_as(smaller)
    }

    /// True if this run fails as before; then it is the best so far.
    fn fails_as(&mut self, smaller: Simulation<P>) -> bool {
        if Instant::now() >= self.until {
            return false;
        }
        self.tried += 1;
        match smaller.run_quietly() {
            Err(failed) if failed.violation.is_like(&self.failed.violation) => {
                self.best = smaller;
                self.failed = failed;
                true
            }
            _ => false,
        }
    }

    /// With fewer replicas the run is another one. It may fail all the same. How many were asked for is
    /// not changed.
    fn leave_out_replicas(&mut self) {
        if !self.best.may_have_any_size() {
            return;
        }
        let most = self.best.drawn().nodes;
        let _ = (1..most).any(|replicas| self.fails_as(self.best.clone().replicas(replicas)));
    }

    /// By eighths of the time for which things go wrong.
    fn leave_out_time(&mut self) {
        let stormy = self.best.drawn().stormy;
        let _ = (1..8).any(|eighths| {
            self.fails_with(|cuts| cuts.stormy_ms = Some((stormy * eighths / 8).as_millis() as u64))
        });
    }

    fn leave_out_features(&mut self) {
        for feature in Cuts::features(&self.best.drawn()) {
            self.fails_with(|cuts| {
                cuts.without.insert(feature);
            });
        }
    }

    /// Halves, quarters and so on, down to single ones.
    fn leave_out_faults(&mut self) {
        let mut size = self.failed.strikes.next_power_of_two() / 2;
        while size > 0 {
            let mut first = 0;
            while first < self.failed.strikes {
                let faults = first..first + size;
                let is_news = faults.clone().any(|n| !self.best.cuts.skipped.contains(&n));
                if is_news {
                    self.fails_with(|cuts| cuts.skipped.extend(faults));
                }
                first += size;
            }
            size /= 2;
        }
    }

    fn leave_out_clients(&mut self) {
        let most = self.best.drawn().load.clients;
        let _ = (1..most).any(|clients| self.fails_with(|cuts| cuts.clients = Some(clients)));
    }
}

#[cfg(test)]
mod tests {
    use quorate_raft::Raft;

    use super::*;
    use crate::checks::Violation;
    use crate::simulation::Canary;

    #[test]
    fn another_assertion_is_another_bug() {
        let violation = |property, details: &str| {
            let (stated_in, details) = ("", details.to_owned());
            Violation { property, stated_in, details }
        };
        let failed = |details| violation(Violation::ASSERTIONS, details);
        assert!(failed("writes are numbered: 3").is_like(&failed("writes are numbered: 17")));
        assert!(!failed("writes are numbered: 3").is_like(&failed("views only grow")));
        assert!(violation("log matching", "here").is_like(&violation("log matching", "there")));
    }

    #[test]
    fn a_failing_run_gets_smaller_and_its_plan_file_fails_in_the_same_way() {
        let simulation = Simulation::new(1).protocol::<Raft>().canary(Canary::ForgetPledge);
        let failed = simulation.run().expect_err("it is broken");
        let shrunk = simulation.shrink(&failed, Duration::from_secs(600));
        let all = Cuts::features(&simulation.drawn()).len();
        let left = Cuts::features(&shrunk.simulation.drawn()).len();
        assert!(left < all, "{left} of {all}");
        let (before, after) = (simulation.drawn(), shrunk.simulation.drawn());
        assert!(after.stormy < before.stormy, "{:?} of {:?}", after.stormy, before.stormy);
        assert!(after.load.clients < before.load.clients);
        let text = shrunk.simulation.plan_file().to_string();
        let again: crate::PlanFile = text.parse().expect("what was written can be read");
        let again = Simulation::planned(&again).protocol::<Raft>().run();
        assert_eq!(again.expect_err("it fails").violation, shrunk.failed.violation);
    }
}
