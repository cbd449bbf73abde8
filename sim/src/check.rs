//! One call that runs many seeds, and leaves behind what is needed when one of them fails.

use std::fmt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::campaign::{Campaign, Summary};
use crate::cuts::PlanFile;
use crate::oracle::Simulated;
use crate::report::Failed;
use crate::shrink::Shrunk;
use crate::simulation::Simulation;

/// Names the file with the plan of the one run that is to be run, in the environment.
const REPLAY: &str = "QUORATE_REPLAY";

/// For how long a failing run is made smaller.
const SHRINK_FOR: Duration = Duration::from_secs(20);

/// Why a [check](Simulation::check) has not succeeded.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Refuted {
    /// A property does not hold.
    Violated {
        /// How the smallest run that was found fails.
        failed: Box<Failed>,
        /// The file with the plan of this run.
        plan: PathBuf,
        /// The file with its picture, to be opened in a browser.
        picture: PathBuf,
        /// What runs it again.
        again: String,
    },
    /// So little happens in these runs that their success means nothing.
    TooLittle {
        /// How many there were.
        runs: u64,
        /// In how many of them enough happened.
        full: u64,
    },
    /// The file that the environment names cannot be read, or is not a plan.
    Plan(String),
}

impl fmt::Display for Refuted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refuted::Violated { failed, picture, again, .. } => write!(
                f,
                "{failed}\n\nthe picture of this run, for any browser:\n  {}\nto run it again, with every \
                 event printed:\n  {again}",
                picture.display()
            ),
            Refuted::TooLittle { runs, full } => write!(
                f,
                "in {full} of {runs} runs enough happened to count; are most commands above 4 KiB, \
                 which the simulated cluster refuses?"
            ),
            Refuted::Plan(why) => write!(f, "{REPLAY}: {why}"),
        }
    }
}

impl std::error::Error for Refuted {}

impl<P: Simulated> Simulation<P> {
    /// Runs this seed and those after it, on all cores, until so many runs have held in which
    /// [enough happened](crate::Report::is_full). This is what a test calls.
    ///
    /// If one fails, it is made smaller, and its plan and its picture are written to the directory for
    /// temporary files. The error says where, and how to run it again: with `QUORATE_REPLAY` in the
    /// environment, which names the plan, a check runs nothing else, and prints every event.
    ///
    /// # Errors
    /// If a property does not hold; if in too many runs too little happens.
    pub fn check(&self, seeds: u64) -> Result<Summary, Box<Refuted>> {
        if let Some(file) = std::env::var_os(REPLAY) {
            return self.check_again(Path::new(&file)).map(|()| Summary::default());
        }
        let campaign = Campaign {
            start: self.seed(),
            seeds,
            most: Some(seeds * 2 + 8),
            failures: 1,
            time_limit: None,
            threads: thread::available_parallelism().map_or(1, usize::from),
        };
        let summary = campaign.run(self, |_| ());
        if let Some(failed) = summary.failed.first() {
            return Err(Box::new(self.with_seed(failed.seed).keep(failed)));
        }
        let full = summary.full.len() as u64;
        if full < seeds {
            let runs = full + summary.thin.len() as u64;
            return Err(Box::new(Refuted::TooLittle { runs, full }));
        }
        Ok(summary)
    }

    /// Runs what a plan says, if that is about this simulation.
    fn check_again(&self, file: &Path) -> Result<(), Box<Refuted>> {
        let plan = |why: String| Box::new(Refuted::Plan(format!("{}: {why}", file.display())));
        let text = std::fs::read_to_string(file).map_err(|why| plan(why.to_string()))?;
        let wanted: PlanFile = text.parse().map_err(|why: crate::BadPlan| plan(why.to_string()))?;
        let mine = self.plan_file();
        if (&wanted.protocol, &wanted.workload) != (&mine.protocol, &mine.workload) {
            println!("{REPLAY} names a run of something else: nothing is run here");
            return Ok(());
        }
        let again = self.like(&wanted);
        again.run_aloud().map(|_| ()).map_err(|failed| Box::new(again.keep_as(file, &failed)))
    }

    /// Makes this run, which has failed, smaller, and writes what is left of it to files.
    fn keep(&self, failed: &Failed) -> Refuted {
        let Shrunk { simulation, failed, .. } = self.shrink(failed, SHRINK_FOR);
        let name = format!("quorate-{}-{}.plan", P::NAME.replace(' ', "-"), failed.seed);
        simulation.keep_as(&std::env::temp_dir().join(name), &failed)
    }

    fn keep_as(&self, plan: &Path, failed: &Failed) -> Refuted {
        let again = format!("{REPLAY}={} {}", plan.display(), command());
        let picture = plan.with_extension("html");
        let written = std::fs::write(plan, self.plan_file().to_string())
            .and_then(|()| std::fs::write(&picture, self.draw().1.html(&again)));
        match written {
            Ok(()) => {
                let failed = Box::new(failed.clone());
                Refuted::Violated { failed, plan: plan.to_owned(), picture, again }
            }
            Err(why) => Refuted::Plan(format!("{}: {why}; the run:\n{failed}", plan.display())),
        }
    }
}

/// What runs this program, or this test of it, again.
fn command() -> String {
    let program = std::env::current_exe().unwrap_or_default();
    let Ok(package) = std::env::var("CARGO_PKG_NAME") else {
        let arguments = std::env::args().skip(1).map(|argument| format!(" {argument}"));
        return program.display().to_string() + &arguments.collect::<String>();
    };
    let release = program.components().any(|part| part.as_os_str() == "release");
    let release = if release { " --release" } else { "" };
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let is_example = program.parent().is_some_and(|directory| directory.ends_with("examples"));
    match thread::current().name() {
        Some(test) if test != "main" => {
            format!("cargo test{release} -p {package} {test} -- --exact --nocapture")
        }
        _ if is_example => format!("cargo run{release} -p {package} --example {name}"),
        _ => format!("cargo run{release} -p {package} --bin {name}"),
    }
}
