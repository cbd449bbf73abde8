//! What a campaign shows while it runs.

use std::cell::RefCell;

use indicatif::{ProgressBar, ProgressStyle};
use quorate_sim::{Mark, Marks, Report};

/// One line, kept up to date.
pub(crate) struct Progress {
    bar: ProgressBar,
    sums: RefCell<Sums>,
}

#[derive(Default)]
struct Sums {
    events: u64,
    commits: u64,
    faults: u64,
    marks: Marks,
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
        Progress { bar: bar.with_style(style), sums: RefCell::default() }
    }

    /// A run has held.
    pub(crate) fn add(&self, report: &Report) {
        let mut sums = self.sums.borrow_mut();
        sums.events += report.events;
        sums.commits += report.commits;
        sums.faults += report.faults.total();
        sums.marks.add(&report.marks);
        let seconds = self.bar.elapsed().as_secs_f64().max(1e-3);
        let speed = sums.events as f64 / seconds;
        let (commits, faults) = (sums.commits, sums.faults);
        let (marks, all) = (sums.marks.iter().count(), Mark::ALL.len());
        self.bar.set_message(format!(
            "{speed:.0} events/s, {commits} commits, {faults} faults, {marks} of {all} marks"
        ));
        if report.is_full() {
            self.bar.inc(1);
        }
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
