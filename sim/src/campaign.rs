//! Many seeds, on several threads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::faults::Struck;
use crate::marks::Marks;
use crate::oracle::Simulated;
use crate::report::{Failed, Report};
use crate::simulation::Simulation;

/// Runs of ascending seeds, until as many full ones as asked for were seen, time is up or enough have
/// failed.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// The first seed.
    pub start: u64,
    /// How many full runs it takes; thinner ones do not count.
    pub seeds: u64,
    /// How many runs there are at most, thin ones included.
    pub most: Option<u64>,
    /// With how many failed runs it ends, from 1 on.
    pub failures: usize,
    /// When to stop all the same.
    pub time_limit: Option<Duration>,
    /// How many threads work on it.
    pub threads: usize,
}

/// What a campaign has come to.
#[derive(Debug, Default)]
pub struct Summary {
    /// Runs that count, in the order of their seeds.
    pub full: Vec<Report>,
    /// Runs in which too little happened.
    pub thin: Vec<Report>,
    /// Failed runs, in the order of their seeds.
    pub failed: Vec<Box<Failed>>,
}

impl Summary {
    /// What the runs that count have reached.
    #[must_use]
    pub fn marks(&self) -> Marks {
        let mut marks = Marks::default();
        self.full.iter().for_each(|report| marks.add(&report.marks));
        marks
    }

    /// What has struck in the runs that count.
    #[must_use]
    pub fn faults(&self) -> Struck {
        let mut faults = Struck::default();
        self.full.iter().for_each(|report| faults.add(&report.faults));
        faults
    }
}

impl Campaign {
    /// Runs this simulation with each of the seeds; `progress` is shown what came of each, as it comes.
    /// While it looks at that, the next runs go on, unless this was the failed run with which it ends.
    #[must_use]
    pub fn run<P: Simulated>(
        &self,
        simulation: &Simulation<P>,
        mut progress: impl FnMut(Result<&Report, &Failed>),
    ) -> Summary {
        let next = AtomicU64::new(self.start);
        let stop = AtomicBool::new(false);
        let (sender, results) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                let (sender, next, stop) = (sender.clone(), &next, &stop);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        let result = simulation.with_seed(seed).run();
                        if sender.send((seed, result)).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            let summary = self.collect(results, &stop, &mut progress);
            stop.store(true, Ordering::Relaxed);
            summary
        })
    }

    /// Takes results in the order of their seeds, whichever thread is faster, so that a campaign
    /// comes to the same end each time.
    fn collect(
        &self,
        results: mpsc::Receiver<(u64, Result<Report, Box<Failed>>)>,
        stop: &AtomicBool,
        progress: &mut impl FnMut(Result<&Report, &Failed>),
    ) -> Summary {
        let began = Instant::now();
        let mut summary = Summary::default();
        let mut early = BTreeMap::new();
        let mut wanted = self.start;
        for (seed, result) in results {
            early.insert(seed, result);
            while let Some(result) = early.remove(&wanted) {
                wanted += 1;
                match result {
                    Ok(report) => {
                        progress(Ok(&report));
                        let list =
                            if report.is_full() { &mut summary.full } else { &mut summary.thin };
                        list.push(report);
                    }
                    Err(failed) => {
                        if summary.failed.len() + 1 >= self.failures {
                            stop.store(true, Ordering::Relaxed);
                        }
                        progress(Err(&failed));
                        summary.failed.push(failed);
                    }
                }
                let is_last = self.most.is_some_and(|most| wanted - self.start >= most);
                let is_enough = summary.full.len() as u64 == self.seeds;
                let is_broken = !summary.failed.is_empty() && summary.failed.len() >= self.failures;
                if is_broken || is_enough || is_last {
                    return summary;
                }
            }
            // What is under way by then is still looked at: it may have failed.
            if self.time_limit.is_some_and(|limit| began.elapsed() >= limit) {
                stop.store(true, Ordering::Relaxed);
            }
        }
        summary
    }
}

#[cfg(test)]
mod tests {
    use quorate_raft::Raft;

    use super::*;
    use crate::simulation::Canary;

    /// A campaign with a shell that is broken, which many runs notice: the seeds that it is told of, with
    /// whether they held, and what it comes to.
    fn broken(seeds: u64, failures: usize) -> (Vec<(u64, bool)>, Summary) {
        let simulation = Simulation::new(1).protocol::<Raft>().canary(Canary::ReadLocally);
        let campaign =
            Campaign { start: 1, seeds, most: Some(20), failures, time_limit: None, threads: 2 };
        let mut told = Vec::new();
        let summary = campaign.run(&simulation, |ran| match ran {
            Ok(report) => told.push((report.seed, true)),
            Err(failed) => told.push((failed.seed, false)),
        });
        (told, summary)
    }

    fn seeds_of(summary: &Summary) -> Vec<u64> {
        summary.failed.iter().map(|failed| failed.seed).collect()
    }

    #[test]
    fn a_campaign_goes_on_behind_a_failed_run_until_enough_have_failed() {
        let (told, summary) = broken(1000, 3);
        let failed = told.iter().filter(|(_, held)| !held).map(|(seed, _)| *seed);
        assert_eq!(failed.collect::<Vec<_>>(), seeds_of(&summary));
        assert_eq!(summary.failed.len(), 3);
        assert!(told.iter().map(|(seed, _)| *seed).eq(1..=told.len() as u64), "{told:?}");
        assert_eq!(told.last(), Some(&(seeds_of(&summary)[2], false)));
        let (_, first) = broken(1000, 1);
        assert_eq!(seeds_of(&first), seeds_of(&summary)[..1]);
    }

    #[test]
    fn failed_runs_that_are_too_few_to_end_a_campaign_do_not_end_it() {
        let (told, summary) = broken(1000, 1000);
        assert_eq!(told.len(), 20);
        assert!(summary.failed.len() > 3);
        assert_eq!(summary.full.len() + summary.thin.len() + summary.failed.len(), 20);
    }
}
