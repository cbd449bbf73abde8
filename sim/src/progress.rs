//! What a campaign shows while it runs: one line, kept up to date; where there is no terminal, a line now
//! and then.

use std::cell::{Cell, RefCell};
use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use quorate_sim::{Mark, Marks, Report};

/// Where a line cannot be kept up to date: when the first one is written, and how long after each the next.
const FIRST: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_secs(30);

/// How far a campaign has come.
pub(crate) struct Progress {
    bar: ProgressBar,
    sums: RefCell<Sums>,
    /// When the next line is due, if lines are written.
    next_line: Cell<Option<Duration>>,
}

#[derive(Default)]
struct Sums {
    /// Runs in which too little happened to count.
    thin: u64,
    events: u64,
    commits: u64,
    faults: u64,
    marks: Marks,
}

impl Sums {
    fn add(&mut self, report: &Report) {
        self.thin += u64::from(!report.is_full());
        self.events += report.events;
        self.commits += report.commits;
        self.faults += report.faults.total();
        self.marks.add(&report.marks);
    }

    /// In so much time.
    fn in_words(&self, elapsed: Duration) -> String {
        let Sums { thin, events, commits, faults, marks } = self;
        let speed = *events as f64 / elapsed.as_secs_f64().max(1e-3);
        let (marks, all) = (marks.iter().count(), Mark::ALL.len());
        format!(
            "{thin} too thin to count, {speed:.0} events/s, {commits} commits, {faults} faults, \
             {marks} of {all} marks"
        )
    }
}

impl Progress {
    /// Of so many full seeds; `u64::MAX` for as many as there are.
    pub(crate) fn new(seeds: u64) -> Progress {
        let (bar, counted) = if seeds == u64::MAX {
            (ProgressBar::no_length(), "{pos}")
        } else {
            (ProgressBar::new(seeds), "{bar:20} {pos}/{len}")
        };
        let template = format!("{{elapsed_precise}} {counted} full seeds, {{msg}}");
        let style = ProgressStyle::with_template(&template).expect("a valid template");
        let next_line = Cell::new((!std::io::stderr().is_terminal()).then_some(FIRST));
        Progress { bar: bar.with_style(style), sums: RefCell::default(), next_line }
    }

    /// A run has held.
    pub(crate) fn add(&self, report: &Report) {
        let elapsed = self.bar.elapsed();
        let mut sums = self.sums.borrow_mut();
        sums.add(report);
        let said = sums.in_words(elapsed);
        if report.is_full() {
            self.bar.inc(1);
        }
        if self.is_due(elapsed) {
            let (seconds, full, seed) = (elapsed.as_secs(), self.bar.position(), report.seed);
            let _ = writeln!(
                std::io::stderr(),
                "{seconds} s, {full} full seeds, the last one {seed}, {said}"
            );
        }
        self.bar.set_message(said);
    }

    /// True if a line is to be written at this time: then the next one is due after a while.
    fn is_due(&self, elapsed: Duration) -> bool {
        let is_due = self.next_line.get().is_some_and(|next| next <= elapsed);
        if is_due {
            self.next_line.set(Some(elapsed + PAUSE));
        }
        is_due
    }

    /// Says something else meanwhile.
    pub(crate) fn aside(&self, say: impl FnOnce()) {
        self.bar.suspend(say);
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use quorate_raft::Raft;
    use quorate_sim::Simulation;

    use super::*;

    #[test]
    fn where_there_is_no_terminal_the_first_line_comes_soon_and_the_others_now_and_then() {
        let progress = Progress::new(10);
        progress.next_line.set(Some(FIRST));
        let written = (0..70).filter(|second| progress.is_due(Duration::from_secs(*second)));
        assert_eq!(written.collect::<Vec<_>>(), [2, 32, 62]);
        progress.next_line.set(None);
        assert!(!progress.is_due(Duration::MAX));
    }

    #[test]
    fn thin_seeds_are_counted_beside_the_full_ones() {
        let mut reports = (1..).map(|seed| Simulation::new(seed).protocol::<Raft>().run().unwrap());
        let full = reports.find(|report| report.is_full()).unwrap();
        let mut thin = full.clone();
        thin.commits = 0;
        let mut sums = Sums::default();
        [&full, &thin, &thin].into_iter().for_each(|report| sums.add(report));
        let said = sums.in_words(Duration::from_secs(1));
        let events = 3 * full.events;
        assert!(said.starts_with(&format!("2 too thin to count, {events} ev")), "{said}");
    }
}
