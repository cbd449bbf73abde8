//! `quorate-sim`: runs simulated clusters by the hundred, and replays single ones.

mod histogram;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use quorate_raft::Raft;
use quorate_sim::{
    Campaign, Canary, Failed, Mark, Marks, Picture, Report, Simulated, Simulation, Summary,
};
use quorate_vsr::Vsr;

use histogram::print_histogram;

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
    /// Run one seed again, exactly as it was.
    Replay(Replay),
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
}

#[derive(Args)]
struct Replay {
    /// Which consensus protocol.
    #[arg(long, value_enum)]
    protocol: ProtocolName,
    /// The seed.
    #[arg(long)]
    seed: u64,
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
    let Cli { command } = Cli::parse();
    let passed = match command.protocol() {
        ProtocolName::Raft => command.carry_out::<Raft>(),
        ProtocolName::Vsr => command.carry_out::<Vsr>(),
    };
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Command {
    fn protocol(&self) -> ProtocolName {
        match self {
            Command::Run(run) => run.protocol,
            Command::Replay(replay) => replay.protocol,
        }
    }

    fn carry_out<P: Simulated>(&self) -> bool {
        match self {
            Command::Run(run) => run.run::<P>(),
            Command::Replay(replay) => replay.replay::<P>(),
        }
    }
}

impl Run {
    fn run<P: Simulated>(&self) -> bool {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let unasked = if self.seconds.is_some() { u64::MAX } else { 600 };
        let seeds = self.seeds.unwrap_or(unasked);
        let campaign = Campaign {
            start: self.start,
            seeds,
            time_limit: self.seconds.map(Duration::from_secs),
            replicas: self.replicas,
            canary: self.canary.map(Canary::from),
            threads: self.threads.unwrap_or(cores),
        };
        let bar = progress_bar(seeds);
        let began = Instant::now();
        let summary = campaign.run::<P>(|report| {
            if report.is_full() {
                bar.inc(1);
            }
        });
        bar.finish_and_clear();
        print_summary(&summary, began.elapsed());
        if let Some(failed) = &summary.failed {
            print_failure::<P>(failed, self.replicas, self.canary);
            return false;
        }
        if self.seeds.is_some_and(|seeds| (summary.full.len() as u64) < seeds) {
            println!("\nstopped before {seeds} full seeds were run: give it more --seconds");
            return false;
        }
        true
    }
}

impl Replay {
    fn replay<P: Simulated>(&self) -> bool {
        let mut simulation = Simulation::new(self.seed).protocol::<P>();
        if let Some(replicas) = self.replicas {
            simulation = simulation.replicas(replicas);
        }
        if let Some(canary) = self.canary {
            simulation = simulation.canary(canary.into());
        }
        if self.trace {
            println!("{}", simulation.plan());
        }
        let result = if self.trace { simulation.run_aloud() } else { simulation.run() };
        let is_drawn = match &self.html {
            Some(file) => self.save::<P>(&simulation.draw().1, file),
            None => true,
        };
        match result {
            Ok(report) => {
                print_report(&report);
                is_drawn
            }
            Err(failed) => {
                print_failure::<P>(&failed, self.replicas, self.canary);
                false
            }
        }
    }
}

impl Replay {
    /// True if the picture is in its file.
    fn save<P: Simulated>(&self, picture: &Picture, file: &Path) -> bool {
        let again = command::<P>(self.seed, self.replicas, self.canary);
        let html = picture.html(&format!("{again} --html {}", file.display()));
        let written = std::fs::write(file, html);
        match &written {
            Ok(()) => println!("drawn: {}", file.display()),
            Err(why) => println!("{} cannot be written: {why}", file.display()),
        }
        written.is_ok()
    }
}

fn progress_bar(seeds: u64) -> ProgressBar {
    let (bar, counted) = if seeds == u64::MAX {
        (ProgressBar::no_length(), "{pos}")
    } else {
        (ProgressBar::new(seeds), "{bar:30} {pos}/{len}")
    };
    let template = format!("{{elapsed_precise}} {counted} full seeds, {{per_sec}}");
    bar.with_style(ProgressStyle::with_template(&template).expect("a valid template"))
}

fn print_summary(summary: &Summary, took: Duration) {
    let Summary { full, thin, .. } = summary;
    if !full.is_empty() {
        let column = |of: fn(&Report) -> u64| full.iter().map(of).collect::<Vec<u64>>();
        println!("of each full seed:");
        print_histogram("commits", &column(|report| report.commits));
        print_histogram("crashes", &column(|report| report.crashes));
        print_histogram("leader changes", &column(|report| report.leader_changes));
        print_histogram("faults", &column(|report| report.faults));
        print_histogram("events", &column(|report| report.events));
        print_histogram("settled after, ms", &column(|r| r.settled_after.as_millis() as u64));
        println!();
    }
    let mut marks = Marks::default();
    full.iter().for_each(|report| marks.add(&report.marks));
    for (mark, count) in marks.iter() {
        println!("{count:>12} {}", mark.name());
    }
    let missed: Vec<_> = marks.missed().map(Mark::name).collect();
    if !missed.is_empty() {
        println!("\nnever reached: {}", missed.join("; "));
    }
    let all = || full.iter().chain(thin);
    let events: u64 = all().map(|report| report.events).sum();
    let virtual_time: Duration = all().map(|report| report.lasted).sum();
    let seconds = took.as_secs_f64().max(1e-9);
    println!(
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
    println!(
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
        report.faults,
        report.settled_after.as_millis()
    );
    for (mark, count) in report.marks.iter() {
        println!("{count:>12} {}", mark.name());
    }
}

fn print_failure<P: Simulated>(
    failed: &Failed,
    replicas: Option<usize>,
    canary: Option<CanaryName>,
) {
    let again = command::<P>(failed.seed, replicas, canary);
    println!(
        "\n{failed}\n\nreplay it with\n  {again} --trace\nor draw it with\n  {again} --html run.html"
    );
}

/// What replays a run.
fn command<P: Simulated>(seed: u64, replicas: Option<usize>, canary: Option<CanaryName>) -> String {
    let replicas = replicas.map_or(String::new(), |replicas| format!(" --replicas {replicas}"));
    let canary = canary.and_then(|canary| canary.to_possible_value());
    let canary = canary.map_or(String::new(), |name| format!(" --canary {}", name.get_name()));
    format!(
        "cargo run --release -p quorate-sim -- replay --protocol {} --seed {seed}{replicas}{canary}",
        P::NAME
    )
}
