//! `quorate-sim`: runs simulated clusters by the hundred, and replays single ones.

mod histogram;
mod progress;
mod watch;

use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use clap::{Args, Parser, Subcommand, ValueEnum};
use quorate_core::Protocol;
use quorate_raft::Raft;
use quorate_sim::{
    Campaign, Canary, Cuts, Failed, Mark, Picture, PlanFile, Report, Shrunk, Simulated, Simulation,
    Summary,
};
use quorate_vsr::Vsr;

use histogram::print_histogram;
use progress::Progress;
use watch::{PATIENCE, Watch};

/// Prints a line. Whoever reads may have had enough.
macro_rules! say {
    ($($arguments:tt)*) => {{
        let _ = writeln!(std::io::stdout(), $($arguments)*);
    }};
}

/// Simulated quorate clusters: one seed decides what clock, network, disks and clients do.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run many seeds and look for one that violates a property.
    Run(Run),
    /// Run one seed again, exactly as it was, or what a plan file has left of it.
    Replay(Replay),
    /// Run as many seeds of both protocols as there is time for.
    Campaign(Night),
}

#[derive(Args)]
struct Run {
    /// Which consensus protocol.
    #[arg(long, value_enum)]
    protocol: ProtocolName,
    /// How many full seeds: 300 commits, a crash, a change of leader and ten faults each. Thinner
    /// ones do not count. Default: 600, or as many as there is time for if --seconds is given.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    start: u64,
    /// Stop after so many seconds, with as many seeds as there were.
    #[arg(long)]
    seconds: Option<u64>,
    /// With how many replicas. Default: each seed decides.
    #[arg(long)]
    replicas: Option<usize>,
    /// How many threads. Default: one for each core.
    #[arg(long)]
    threads: Option<usize>,
    /// Break something on purpose, to see that it is caught.
    #[arg(long, value_enum)]
    canary: Option<CanaryName>,
    /// Go on behind a failing seed, until so many have failed.
    #[arg(long, default_value_t = 1)]
    failures: usize,
    /// For how many seconds a failing seed is made smaller; a tenth of that if an earlier one has failed
    /// alike.
    #[arg(long, default_value_t = 60)]
    shrink_seconds: u64,
    /// Fail, too, if a kind of fault never struck, or a state that some hundred seeds reach was not
    /// reached: then the simulator sees less than it should, or something does nothing at all.
    #[arg(long)]
    demand_marks: bool,
}

/// Each protocol gets half of the time, or until 20 seeds have failed. What failed is listed at the end.
#[derive(Args)]
struct Night {
    /// For how many minutes.
    #[arg(long)]
    minutes: u64,
    /// The first seed. Default: one that no earlier campaign is likely to have begun with.
    #[arg(long)]
    start: Option<u64>,
    /// How many threads. Default: one for each core.
    #[arg(long)]
    threads: Option<usize>,
    /// Break something on purpose, to see that it is caught.
    #[arg(long, value_enum)]
    canary: Option<CanaryName>,
    /// For how many seconds a failing seed is made smaller; a tenth of that if an earlier one has failed
    /// alike.
    #[arg(long, default_value_t = 600)]
    shrink_seconds: u64,
}

#[derive(Args)]
struct Replay {
    /// Which consensus protocol.
    #[arg(long, value_enum, required_unless_present = "plan")]
    protocol: Option<ProtocolName>,
    /// The seed.
    #[arg(long, required_unless_present = "plan")]
    seed: Option<u64>,
    /// A file which says all that the run is, as a failing one was made smaller.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["protocol", "seed", "replicas", "canary"])]
    plan: Option<PathBuf>,
    /// With how many replicas, if that was given.
    #[arg(long)]
    replicas: Option<usize>,
    /// What was broken, if something was.
    #[arg(long, value_enum)]
    canary: Option<CanaryName>,
    /// Print every event.
    #[arg(long)]
    trace: bool,
    /// Draw the run into this file: one HTML page, to be opened in a browser.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProtocolName {
    Raft,
    Vsr,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CanaryName {
    AcknowledgeBeforeSync,
    ForgetPledge,
    ReadLocally,
}

impl From<CanaryName> for Canary {
    fn from(name: CanaryName) -> Canary {
        match name {
            CanaryName::AcknowledgeBeforeSync => Canary::AcknowledgeBeforeSync,
            CanaryName::ForgetPledge => Canary::ForgetPledge,
            CanaryName::ReadLocally => Canary::ReadLocally,
        }
    }
}

fn main() -> ExitCode {
    let passed = match Cli::parse().command {
        Command::Run(run) => {
            let ran = match run.protocol {
                ProtocolName::Raft => run.run::<Raft>(),
                ProtocolName::Vsr => run.run::<Vsr>(),
            };
            list(&ran.found);
            ran.passed
        }
        Command::Replay(replay) => replay.replay(),
        Command::Campaign(night) => night.run(),
    };
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What many seeds have come to.
struct Ran {
    /// Everything holds that was asked for.
    passed: bool,
    /// What does not, in the order of the seeds.
    found: Vec<Found>,
}

/// A violation that was told when it was found, and is listed at the end.
struct Found {
    failed: Box<Failed>,
    /// What replays it.
    again: String,
    /// The file with what is left of it, made smaller.
    plan: Option<String>,
}

impl Run {
    fn run<P: Simulated>(&self) -> Ran {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let unasked = if self.seconds.is_some() { u64::MAX } else { 600 };
        let seeds = self.seeds.unwrap_or(unasked);
        let campaign = Campaign {
            start: self.start,
            seeds,
            most: None,
            failures: self.failures,
            time_limit: self.seconds.map(Duration::from_secs),
            threads: self.threads.unwrap_or(cores),
        };
        let progress = Progress::new(seeds);
        let began = Instant::now();
        let mut found = Vec::new();
        let watch = self.watch::<P>();
        let summary = campaign.run(&self.simulation::<P>(self.start), |ran| {
            watch.rests();
            let seed = match ran {
                Ok(report) => {
                    progress.add(report);
                    report.seed
                }
                Err(failed) => {
                    progress.aside(|| {
                        let elapsed = began.elapsed().as_secs();
                        let is_over = self.seconds.is_some_and(|limit| elapsed >= limit);
                        let news = self.tell::<P>(failed, &found, is_over);
                        found.push(news);
                    });
                    failed.seed
                }
            };
            watch.awaits(seed + 1);
        });
        drop(watch);
        progress.finish();
        print_summary(&summary, began.elapsed());
        Ran { passed: found.is_empty() && self.is_enough(&summary), found }
    }

    /// A run that hangs keeps its thread for ever: all that is left to do is to name it.
    fn watch<P: Simulated>(&self) -> Watch {
        let (replicas, canary) = (self.replicas, self.canary);
        Watch::over(self.start, PATIENCE, move |seed| {
            let again = command(P::NAME, seed, replicas, canary);
            let seconds = PATIENCE.as_secs();
            say!(
                "\nseed {seed} has come to no end in {seconds} s; see where it is with\n  {again}"
            );
            std::process::exit(1);
        })
    }

    /// True if as much was seen as was asked for.
    fn is_enough(&self, summary: &Summary) -> bool {
        if let Some(seeds) = self.seeds
            && (summary.full.len() as u64) < seeds
        {
            say!("\nstopped before {seeds} full seeds were run: give it more --seconds");
            return false;
        }
        if self.demand_marks {
            let marks = summary.marks();
            let missed = marks.missed().filter(|mark| mark.is_common());
            let missed = missed.map(|mark| mark.name().to_owned());
            let missed: Vec<_> = summary.faults().missed().chain(missed).collect();
            if !missed.is_empty() {
                say!("\nnot reached, and must be: {}", missed.join("; "));
                return false;
            }
            let undecided = marks.count(Mark::HistoryUndecided);
            if undecided * 20 > summary.full.len() as u64 {
                say!(
                    "\nof {undecided} histories of clients it could not be told whether they are right"
                );
                return false;
            }
        }
        true
    }

    fn simulation<P: Simulated>(&self, seed: u64) -> Simulation<P> {
        let mut simulation = Simulation::new(seed).protocol::<P>();
        if let Some(replicas) = self.replicas {
            simulation = simulation.replicas(replicas);
        }
        if let Some(canary) = self.canary {
            simulation = simulation.canary(canary.into());
        }
        simulation
    }

    /// Tells of a failed run at once, so that it is known even if nobody waits for the end, and makes it
    /// smaller. Once the time is over, only the first one is.
    fn tell<P: Simulated>(&self, failed: &Failed, before: &[Found], is_over: bool) -> Found {
        let again = command(P::NAME, failed.seed, self.replicas, self.canary);
        print_failure(failed, &again);
        let is_like = |found: &Found| found.failed.violation.is_like(&failed.violation);
        let seconds = Duration::from_secs(self.shrink_seconds);
        let seconds = if before.iter().any(is_like) { seconds / 10 } else { seconds };
        let is_shrunk = !seconds.is_zero() && (!is_over || before.is_empty());
        let plan = is_shrunk.then(|| self.shrink::<P>(failed, seconds)).flatten();
        Found { failed: Box::new(failed.clone()), again, plan }
    }

    /// Makes a failed run smaller, and writes what is left of it to a file.
    fn shrink<P: Simulated>(&self, failed: &Failed, time_limit: Duration) -> Option<String> {
        let simulation = self.simulation::<P>(failed.seed);
        let Shrunk { simulation, failed, tried } = simulation.shrink(failed, time_limit);
        let file = format!("{}-{}.plan", P::NAME, failed.seed);
        let plan = simulation.plan_file();
        match std::fs::write(&file, plan.to_string()) {
            Ok(()) => {
                say!(
                    "\nmade smaller in {tried} runs, it fails at {}:\n  {}\nreplay that with\n  {REPLAY} \
                     --plan {file} --trace\nor draw it with\n  {REPLAY} --plan {file} --html run.html",
                    failed.time,
                    failed.violation
                );
                Some(file)
            }
            Err(why) => {
                say!("{file} cannot be written: {why}");
                None
            }
        }
    }
}

/// Says once more what was found, at the end.
fn list(found: &[Found]) {
    if found.is_empty() {
        return;
    }
    say!("\n{} of the seeds failed:", found.len());
    for Found { failed, again, plan } in found {
        let Failed { seed, time, events, violation, .. } = &**failed;
        say!("\n  {violation}\n  seed {seed}, at {time}, event {events}\n    {again}");
        if let Some(plan) = plan {
            say!("    {REPLAY} --plan {plan}");
        }
    }
}

impl Night {
    fn run(&self) -> bool {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let start = self.start.unwrap_or_else(|| since_1970.unwrap_or_default().as_secs() << 20);
        let run = |protocol| Run {
            protocol,
            seeds: None,
            start,
            seconds: Some(self.minutes * 30),
            replicas: None,
            threads: self.threads,
            canary: self.canary,
            failures: 20,
            shrink_seconds: self.shrink_seconds,
            demand_marks: false,
        };
        say!("Raft, from seed {start}");
        let raft = run(ProtocolName::Raft).run::<Raft>();
        say!("\nViewstamped Replication, from seed {start}");
        let vsr = run(ProtocolName::Vsr).run::<Vsr>();
        let found: Vec<Found> = raft.found.into_iter().chain(vsr.found).collect();
        list(&found);
        raft.passed && vsr.passed
    }
}

impl Replay {
    fn replay(&self) -> bool {
        match self.plan_file() {
            Ok(PlanFile { workload: Some(workload), .. }) => {
                say!(
                    "this is a run of {workload}, which only its own program can run: give it the plan \
                     as QUORATE_REPLAY in the environment"
                );
                false
            }
            Ok(plan) if plan.protocol == Raft::NAME => self.replay_plan::<Raft>(&plan),
            Ok(plan) if plan.protocol == Vsr::NAME => self.replay_plan::<Vsr>(&plan),
            Ok(plan) => {
                say!("no protocol is called {}", plan.protocol);
                false
            }
            Err(why) => {
                say!("{why}");
                false
            }
        }
    }

    fn plan_file(&self) -> Result<PlanFile, Box<dyn Error>> {
        if let Some(file) = &self.plan {
            return Ok(std::fs::read_to_string(file)?.parse()?);
        }
        let protocol = match self.protocol {
            Some(ProtocolName::Raft) => Raft::NAME,
            Some(ProtocolName::Vsr) | None => Vsr::NAME,
        };
        Ok(PlanFile {
            protocol: protocol.to_owned(),
            workload: None,
            seed: self.seed.unwrap_or_default(),
            replicas: self.replicas,
            canary: self.canary.map(Canary::from),
            cuts: Cuts::default(),
        })
    }

    fn command(&self, plan: &PlanFile) -> String {
        match &self.plan {
            Some(file) => format!("{REPLAY} --plan {}", file.display()),
            None => command(&plan.protocol, plan.seed, self.replicas, self.canary),
        }
    }

    fn replay_plan<P: Simulated>(&self, plan: &PlanFile) -> bool {
        let simulation = Simulation::planned(plan).protocol::<P>();
        if self.trace {
            say!("{}", simulation.plan());
        }
        let result = if self.trace { simulation.run_aloud() } else { simulation.run() };
        let is_drawn = match &self.html {
            Some(file) => save(&simulation.draw().1, file, &self.command(plan)),
            None => true,
        };
        match result {
            Ok(report) => {
                print_report(&report);
                is_drawn
            }
            Err(failed) => {
                print_failure(&failed, &self.command(plan));
                false
            }
        }
    }
}

/// True if the picture is in its file.
fn save(picture: &Picture, file: &Path, again: &str) -> bool {
    let html = picture.html(&format!("{again} --html {}", file.display()));
    let written = std::fs::write(file, html);
    match &written {
        Ok(()) => say!("drawn: {}", file.display()),
        Err(why) => say!("{} cannot be written: {why}", file.display()),
    }
    written.is_ok()
}

fn print_summary(summary: &Summary, took: Duration) {
    let Summary { full, thin, .. } = summary;
    if !full.is_empty() {
        let column = |of: fn(&Report) -> u64| full.iter().map(of).collect::<Vec<u64>>();
        say!("of each full seed:");
        print_histogram("commits", &column(|report| report.commits));
        print_histogram("crashes", &column(|report| report.crashes));
        print_histogram("leader changes", &column(|report| report.leader_changes));
        print_histogram("faults", &column(|report| report.faults.total()));
        print_histogram("events", &column(|report| report.events));
        print_histogram("settled after, ms", &column(|r| r.settled_after.as_millis() as u64));
        say!();
    }
    let (faults, marks) = (summary.faults(), summary.marks());
    for (fault, count) in faults.iter() {
        say!("{count:>12} {fault}");
    }
    for (mark, count) in marks.iter() {
        say!("{count:>12} {}", mark.name());
    }
    let missed: Vec<_> =
        faults.missed().chain(marks.missed().map(|mark| mark.name().to_owned())).collect();
    if !missed.is_empty() {
        say!("\nnever reached: {}", missed.join("; "));
    }
    let all = || full.iter().chain(thin);
    let events: u64 = all().map(|report| report.events).sum();
    let virtual_time: Duration = all().map(|report| report.lasted).sum();
    let seconds = took.as_secs_f64().max(1e-9);
    say!(
        "\n{} full seeds, {} too thin to count; {events} events and {:.1} virtual hours in {:.1} s: \
         {:.0} events/s",
        full.len(),
        thin.len(),
        virtual_time.as_secs_f64() / 3600.0,
        seconds,
        events as f64 / seconds
    );
}

fn print_report(report: &Report) {
    let (answered, unknown) = report.requests();
    say!(
        "seed {} holds: {} replicas, {} events (hash {:016x}) in {:.3} virtual seconds; {} commits, \
         {} crashes, {} changes of leader, {} faults; {answered} requests answered, {unknown} of \
         unknown outcome; at rest {} ms after the last fault",
        report.seed,
        report.nodes,
        report.events,
        report.hash,
        report.lasted.as_secs_f64(),
        report.commits,
        report.crashes,
        report.leader_changes,
        report.faults.total(),
        report.settled_after.as_millis()
    );
    for (fault, count) in report.faults.iter() {
        say!("{count:>12} {fault}");
    }
    for (mark, count) in report.marks.iter() {
        say!("{count:>12} {}", mark.name());
    }
}

fn print_failure(failed: &Failed, again: &str) {
    say!(
        "\n{failed}\n\nreplay it with\n  {again} --trace\nor draw it with\n  {again} --html run.html"
    );
}

const REPLAY: &str = "cargo run --release -p quorate-sim -- replay";

/// What replays a run.
fn command(
    protocol: &str,
    seed: u64,
    replicas: Option<usize>,
    canary: Option<CanaryName>,
) -> String {
    let replicas = replicas.map_or(String::new(), |replicas| format!(" --replicas {replicas}"));
    let canary = canary.and_then(|canary| canary.to_possible_value());
    let canary = canary.map_or(String::new(), |name| format!(" --canary {}", name.get_name()));
    format!("{REPLAY} --protocol {protocol} --seed {seed}{replicas}{canary}")
}
