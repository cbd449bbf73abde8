//! What a campaign shows while it runs: one line, kept up to date; where there is no terminal, a line now
//! and then.

use std::cell::{Cell, RefCell};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use quorate_sim::{Mark, Marks, Report};

/// How often a line is written where it cannot be kept up to date.
const PAUSE: Duration = Duration::from_secs(30);

/// How far a campaign has come.
pub(crate) struct Progress {
    bar: ProgressBar,
    sums: RefCell<Sums>,
    written: Cell<Instant>,
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
        let written = Cell::new(Instant::now());
        Progress { bar: bar.with_style(style), sums: RefCell::default(), written }
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
        let said = format!(
            "{speed:.0} events/s, {commits} commits, {faults} faults, {marks} of {all} marks"
        );
        if report.is_full() {
            self.bar.inc(1);
        }
        if !std::io::stderr().is_terminal() && self.written.get().elapsed() >= PAUSE {
            self.written.set(Instant::now());
            let _ = writeln!(
                std::io::stderr(),
                "{:.0} s, {} full seeds, the last one {}, {said}",
                seconds,
                self.bar.position(),
                report.seed
            );
        }
        self.bar.set_message(said);
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
