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

/// Runs of ascending seeds, until as many full ones as asked for were seen, time is up or one
/// fails.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// The first seed.
    pub start: u64,
    /// How many full runs it takes; thinner ones do not count.
    pub seeds: u64,
    /// How many runs there are at most, thin ones included.
    pub most: Option<u64>,
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
    /// The failed run with the lowest seed, if any failed.
    pub failed: Option<Box<Failed>>,
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
    /// Runs this simulation with each of the seeds; `progress` is shown each report as it comes.
    #[must_use]
    pub fn run<P: Simulated>(
        &self,
        simulation: &Simulation<P>,
        mut progress: impl FnMut(&Report),
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
            let summary = self.collect(results, &mut progress);
            stop.store(true, Ordering::Relaxed);
            summary
        })
    }

    /// Takes results in the order of their seeds, whichever thread is faster, so that a campaign
    /// comes to the same end each time.
    fn collect(
        &self,
        results: mpsc::Receiver<(u64, Result<Report, Box<Failed>>)>,
        progress: &mut impl FnMut(&Report),
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
                    Ok(report) if report.is_full() => {
                        progress(&report);
                        summary.full.push(report);
                    }
                    Ok(report) => {
                        progress(&report);
                        summary.thin.push(report);
                    }
                    Err(failed) => summary.failed = Some(failed),
                }
                let is_last = self.most.is_some_and(|most| wanted - self.start >= most);
                let is_enough = summary.full.len() as u64 == self.seeds;
                if summary.failed.is_some() || is_enough || is_last {
                    return summary;
                }
            }
            if self.time_limit.is_some_and(|limit| began.elapsed() >= limit) {
                return summary;
            }
        }
        summary
    }
}
