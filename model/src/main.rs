//! The command: check every state within bounds, walk beyond them, or look around in a browser.

use std::fmt::Debug;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use quorate_model::{Bounds, Canary, Checked, Ending, Model, Order, Progress, Stroll, Walked};
use quorate_raft::Raft;
use quorate_sim::Simulated;
use quorate_vsr::Vsr;

/// Checks Raft and Viewstamped Replication in a small cluster.
#[derive(Debug, Parser)]
#[command(name = "quorate-model", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Looks at every state that can be reached within the bounds.
    Check(Check),
    /// Takes random walks, far beyond what can be exhausted.
    Walk(Walk),
    /// Serves a page on which one goes from state to state by hand; on this machine only.
    #[cfg(feature = "explorer")]
    Explore(Explore),
}

#[derive(Debug, Args)]
struct Check {
    #[arg(long, value_enum)]
    protocol: ProtocolName,
    #[command(flatten)]
    bounds: BoundsArgs,
    /// Break this, to see that it is noticed.
    #[arg(long, value_enum)]
    canary: Option<CanaryName>,
    /// Look at all states equally far away before any that is farther: what is found first is
    /// nearest. Takes much more memory.
    #[arg(long)]
    breadth_first: bool,
    /// Stop after so many states.
    #[arg(long)]
    states: Option<u64>,
}

#[derive(Debug, Args)]
struct Walk {
    #[arg(long, value_enum)]
    protocol: ProtocolName,
    #[command(flatten)]
    bounds: BoundsArgs,
    /// Break this, to see that it is noticed.
    #[arg(long, value_enum)]
    canary: Option<CanaryName>,
    /// For how long, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// The first seed. Every thread has one of its own, counted from here.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A walk ends after so many steps.
    #[arg(long, default_value_t = 400)]
    length: usize,
    /// How many walk at the same time; by default one for each core.
    #[arg(long)]
    threads: Option<u64>,
}

#[cfg(feature = "explorer")]
#[derive(Debug, Args)]
struct Explore {
    #[arg(long, value_enum)]
    protocol: ProtocolName,
    #[command(flatten)]
    bounds: BoundsArgs,
    /// Break this, to see what comes of it.
    #[arg(long, value_enum)]
    canary: Option<CanaryName>,
    /// On which port of the loopback interface.
    #[arg(long, default_value_t = 3000)]
    port: u16,
}

/// How often each thing may happen. What is not given is as `check` or `walk` has it by default.
#[derive(Debug, Args)]
struct BoundsArgs {
    /// How many replicas there are.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=7))]
    replicas: Option<u8>,
    /// How often an election timer runs out.
    #[arg(long)]
    elections: Option<u8>,
    /// How often a heartbeat timer runs out.
    #[arg(long)]
    heartbeats: Option<u8>,
    /// How often a leader finds that it has lost its quorum.
    #[arg(long)]
    abdications: Option<u8>,
    /// How many commands clients propose.
    #[arg(long)]
    proposals: Option<u8>,
    /// How many linearizable reads clients ask for.
    #[arg(long)]
    reads: Option<u8>,
    /// How often a process dies and starts again.
    #[arg(long)]
    crashes: Option<u8>,
    /// How often a message arrives twice.
    #[arg(long)]
    duplicates: Option<u8>,
    /// How often a message overtakes others from the same sender to the same receiver (by default once).
    #[arg(long, conflicts_with = "any_order")]
    overtakings: Option<u8>,
    /// How often a batch goes on after a message, and becomes one write with what happens next.
    #[arg(long)]
    batched: Option<u8>,
    /// Messages from the same sender to the same receiver have no order at all.
    #[arg(long)]
    any_order: bool,
    /// How often a write takes any time at all.
    #[arg(long)]
    slow_writes: Option<u8>,
    /// How often a full disk keeps a promise ahead of the write of which it is part.
    #[arg(long)]
    oaths: Option<u8>,
    /// A message carries one entry at most.
    #[arg(long)]
    single_entries: bool,
    /// Look also at runs that differ from others only in who is who.
    #[arg(long)]
    all_names: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ProtocolName {
    Raft,
    Vsr,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CanaryName {
    /// Tell replicas that writes are durable as soon as they ask for them.
    AcknowledgeBeforeSync,
    /// Take a write that is durable for all later ones too.
    CompleteLaterWrites,
    /// Forget what was sworn at each start.
    ForgetPledge,
    /// Let a crash take the last entry with it.
    LoseLastEntry,
    /// Answer reads without asking anybody.
    ReadLocally,
}

impl From<CanaryName> for Canary {
    fn from(name: CanaryName) -> Canary {
        match name {
            CanaryName::AcknowledgeBeforeSync => Canary::AcknowledgeBeforeSync,
            CanaryName::CompleteLaterWrites => Canary::CompleteLaterWrites,
            CanaryName::ForgetPledge => Canary::ForgetPledge,
            CanaryName::LoseLastEntry => Canary::LoseLastEntry,
            CanaryName::ReadLocally => Canary::ReadLocally,
        }
    }
}

impl BoundsArgs {
    fn over(&self, default: Bounds, protocol: ProtocolName) -> Bounds {
        let overtakings = match (self.any_order, self.overtakings) {
            (true, _) => None,
            (false, None) => default.overtakings,
            (false, given) => given,
        };
        Bounds {
            replicas: self.replicas.map_or(default.replicas, usize::from),
            elections: self.elections.unwrap_or(default.elections),
            heartbeats: self.heartbeats.unwrap_or(default.heartbeats),
            abdications: self.abdications.unwrap_or(default.abdications),
            proposals: self.proposals.unwrap_or(default.proposals),
            reads: self.reads.unwrap_or(default.reads),
            crashes: self.crashes.unwrap_or(default.crashes),
            duplicates: self.duplicates.unwrap_or(default.duplicates),
            overtakings,
            batched: self.batched.unwrap_or(default.batched),
            slow_writes: self.slow_writes.unwrap_or(default.slow_writes),
            oaths: self.oaths.unwrap_or(default.oaths),
            single_entries: self.single_entries || default.single_entries,
            // A view of Viewstamped Replication names its primary.
            symmetric: protocol == ProtocolName::Raft && !self.all_names,
        }
    }
}

fn main() -> ExitCode {
    let is_kept = match Cli::parse().command {
        Command::Check(args) => match args.protocol {
            ProtocolName::Raft => args.run::<Raft>(),
            ProtocolName::Vsr => args.run::<Vsr>(),
        },
        Command::Walk(args) => match args.protocol {
            ProtocolName::Raft => args.run::<Raft>(),
            ProtocolName::Vsr => args.run::<Vsr>(),
        },
        #[cfg(feature = "explorer")]
        Command::Explore(args) => match args.protocol {
            ProtocolName::Raft => args.run::<Raft>(),
            ProtocolName::Vsr => args.run::<Vsr>(),
        },
    };
    if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn model<P: Simulated>(bounds: Bounds, canary: Option<CanaryName>) -> Model<P> {
    println!("{}: {bounds:?}", P::NAME);
    let model = Model::new(bounds);
    match canary {
        Some(canary) => model.canary(canary.into()),
        None => model,
    }
}

impl Check {
    fn run<P: Simulated>(self) -> bool {
        let bounds = self.bounds.over(Bounds::default(), self.protocol);
        let mut model = model::<P>(bounds, self.canary);
        if let Some(states) = self.states {
            model = model.limit(states);
        }
        let order = if self.breadth_first { Order::BreadthFirst } else { Order::DepthFirst };
        let mut told = Duration::ZERO;
        let mut tell = |progress: &Progress| {
            if progress.elapsed >= told + Duration::from_secs(10) {
                told = progress.elapsed;
                println!("{}", in_words(progress));
            }
        };
        let Checked { ending, progress } = model.check_in(order, &mut tell);
        println!("{}", in_words(&progress));
        concluded(ending)
    }
}

impl Walk {
    fn run<P: Simulated>(self) -> bool {
        let bounds = self.bounds.over(Bounds::of_a_walk(), self.protocol);
        let model = model::<P>(bounds, self.canary);
        let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        let threads = self.threads.unwrap_or_else(cores).max(1);
        let time = Duration::from_secs(self.seconds);
        let stroll = |seed| Stroll { seed, length: self.length, time, ..Stroll::default() };
        let ended: Vec<_> = std::thread::scope(|scope| {
            let seeds = self.seed..self.seed + threads;
            let walking: Vec<_> = seeds
                .map(|seed| {
                    (
                        seed,
                        scope.spawn({
                            let model = &model;
                            move || model.walk(stroll(seed), &mut |_| {})
                        }),
                    )
                })
                .collect();
            walking.into_iter().map(|(seed, walk)| (seed, walk.join())).collect()
        });
        let mut all = Walked::default();
        let mut is_kept = true;
        for (seed, walked) in ended {
            let Ok((ending, walked)) = walked else { return false };
            all = all.and(&walked);
            if let Ending::Broken(_) = &ending {
                println!("seed {seed}, walk {}:", walked.walks);
                is_kept &= concluded(ending);
            }
        }
        let Walked { walks, steps, inputs, leaders, commits, elapsed } = all;
        let each_second = inputs as f64 / elapsed.as_secs_f64().max(1e-9);
        println!(
            "{walks} walks, {steps} steps, {inputs} inputs taken by replicas ({:.2} million a \
             second), {leaders} leaders, {commits} entries committed, {:.1} s, {threads} threads",
            each_second / 1e6,
            elapsed.as_secs_f64()
        );
        is_kept
    }
}

#[cfg(feature = "explorer")]
impl Explore {
    fn run<P>(self) -> bool
    where
        P: Simulated + Sync,
        P::Message: Sync,
        P::Pledge: Sync,
    {
        let bounds = self.bounds.over(Bounds::default(), self.protocol);
        let explored = quorate_model::Explored::<P>::new(bounds, self.canary.map(Canary::from));
        if let Err(why) = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, self.port)) {
            println!("port {} cannot be used: {why}; choose another with --port", self.port);
            return false;
        }
        println!("http://localhost:{}/  (ends with Ctrl-C)", self.port);
        explored.serve(self.port);
        true
    }
}

fn in_words(progress: &Progress) -> String {
    let Progress {
        distinct,
        generated,
        deepest,
        replica_states,
        real_steps,
        visited_bytes,
        elapsed,
    } = progress;
    let seconds = elapsed.as_secs_f64();
    format!(
        "{distinct} distinct states of {generated} reached, up to {deepest} steps away, {seconds:.1} \
         s ({:.0} distinct a second); {replica_states} states of replicas, {real_steps} steps of \
         the code; {} MiB to remember states by",
        *distinct as f64 / seconds.max(1e-9),
        visited_bytes >> 20
    )
}

/// True if no promise is broken.
fn concluded<P: Simulated>(ending: Ending<P>) -> bool
where
    Ending<P>: Debug,
{
    match ending {
        Ending::Exhausted => {
            println!("Exhausted: every promise is kept in every state within these bounds.");
            true
        }
        Ending::Stopped => {
            println!("Stopped: no broken promise was found, and there is more to look at.");
            true
        }
        Ending::Broken(counterexample) => {
            println!("{counterexample}");
            false
        }
    }
}
