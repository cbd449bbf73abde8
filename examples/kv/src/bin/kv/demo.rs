//! `kv demo`: three nodes under load, the leader killed in the middle, and what became of it.

mod check;
mod load;
mod nodes;
mod report;

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressState, ProgressStyle};
use quorate_kv::{ClientError, Level};

use crate::cli::DemoArgs;
use crate::signals::Signals;
use check::{Findings, Standing};
use load::{Load, Tally};
use nodes::Nodes;
use report::Report;

/// Why the demo could not show anything, or what it has shown.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The machine would not let it.
    #[error("{what}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A node ended, or did not say that it listens.
    #[error("node {id} did not start ({why}); its log is {}", log.display())]
    Start {
        /// Which.
        id: u64,
        /// What happened instead.
        why: String,
        /// Where it may have said more.
        log: PathBuf,
    },
    /// Something that had to happen took too long.
    #[error("{what}; the nodes' logs and data are in {}", dir.display())]
    TooSlow {
        /// What did not happen.
        what: &'static str,
        /// Where the nodes' logs are.
        dir: PathBuf,
    },
    /// A node did not answer.
    #[error("a node does not answer")]
    Client(#[from] ClientError),
    /// It was asked to stop.
    #[error("the demo was stopped by {0}")]
    Stopped(&'static str),
    /// It has run, and the promises were not kept.
    #[error("the demo FAILED: {why}; the nodes' logs and data are in {}", dir.display())]
    Failed {
        /// Which promises.
        why: String,
        /// Where the nodes' logs are.
        dir: PathBuf,
    },
}

/// Wraps an error of the operating system.
fn system(what: &'static str) -> impl FnOnce(io::Error) -> DemoError {
    move |source| DemoError::System { what, source }
}

const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Runs the demo.
pub fn run(args: &DemoArgs) -> Result<(), DemoError> {
    let runtime = tokio::runtime::Runtime::new().map_err(system("cannot start threads"))?;
    runtime.block_on(async {
        let mut signals = Signals::new().map_err(system("cannot listen for signals"))?;
        let dir = tempfile::Builder::new().prefix("kv-demo-").tempdir();
        let dir = dir.map_err(system("cannot create a temporary directory"))?;
        let mut nodes = Nodes::new(dir.path(), args.protocol)?;
        let played = tokio::select! {
            played = run_on(args, dir.path(), &mut nodes) => played,
            signal = signals.next() => Err(DemoError::Stopped(signal)),
        };
        // While they run they write into the directory.
        let stopped = nodes.stop_all().await;
        let outcome = played.and(stopped);
        if outcome.is_ok() {
            println!("PASSED: nothing acknowledged was lost, and nothing was applied twice.\n");
            println!("{}", report::by_hand());
        }
        // Whoever wants to know what went wrong needs the logs.
        let went_wrong = !matches!(outcome, Ok(()) | Err(DemoError::Stopped(_)));
        if args.keep || went_wrong {
            println!("kept: {}", dir.keep().display());
        }
        outcome
    })
}

async fn run_on(args: &DemoArgs, dir: &Path, nodes: &mut Nodes) -> Result<(), DemoError> {
    Demo::start(args, dir, nodes).await?.play().await
}

struct Demo<'a> {
    args: &'a DemoArgs,
    dir: &'a Path,
    nodes: &'a mut Nodes,
    load: Load,
    bar: ProgressBar,
}

/// What happened to the leader.
struct Kill {
    victim: u64,
    failover: Duration,
    caught_up: Duration,
}

impl<'a> Demo<'a> {
    async fn start(
        args: &'a DemoArgs,
        dir: &'a Path,
        nodes: &'a mut Nodes,
    ) -> Result<Demo<'a>, DemoError> {
        println!("three replicas, each a process of its own, with their data in {}", dir.display());
        nodes.start_all().await?;
        let addresses: Vec<SocketAddr> = nodes.addresses();
        let load = Load::new(addresses);
        let bar = ProgressBar::new(args.writes);
        let style = "{elapsed_precise} {wide_bar} {human_pos}/{human_len} writes, {rate} writes/s";
        if let Ok(style) = ProgressStyle::with_template(style) {
            let rate = |state: &ProgressState, out: &mut dyn Write| {
                // A terminal that is gone is no reason to stop.
                let _ = write!(out, "{}", HumanCount(state.per_sec() as u64));
            };
            bar.set_style(style.with_key("rate", rate));
        }
        Ok(Demo { args, dir, nodes, load, bar })
    }

    async fn play(mut self) -> Result<(), DemoError> {
        let leader = self.leader().await?;
        self.say(format!("node {leader} leads; {} clients begin to write", self.args.clients));
        let began = Instant::now();
        self.load.start(self.args.clients);
        let half = self.args.writes / 2;
        self.until("the load makes no progress", |load| load.acknowledged() >= half).await?;
        let kill = self.kill_and_restart_leader().await?;
        let (writes, after) = (self.args.writes, self.load.acknowledged() + half / 2);
        let goal = writes.max(after);
        self.until("the load makes no progress", |load| load.acknowledged() >= goal).await?;
        let tallies = self.load.stop().await;
        let elapsed = began.elapsed();
        self.bar.finish_and_clear();
        println!("the load has ended; waiting until all nodes have applied all of it");
        self.wait_for_all().await?;
        let findings = self.read_back(kill.victim, &tallies).await?;
        let Kill { failover, caught_up, .. } = kill;
        let report = Report { tallies, findings, elapsed, failover, caught_up };
        println!("\n{report}\n");
        let failures = report.failures();
        if !failures.is_empty() {
            return Err(DemoError::Failed { why: failures.join(", "), dir: self.dir.to_owned() });
        }
        Ok(())
    }

    /// Kills the leader, waits until the others go on, and starts it again.
    async fn kill_and_restart_leader(&mut self) -> Result<Kill, DemoError> {
        let victim = self.leader().await?;
        let killing = Instant::now();
        self.nodes.kill(victim).await?;
        self.load.mark_kill();
        self.say(format!("node {victim}, the leader, was killed (SIGKILL)"));
        let first = |load: &Load| load.first_after_kill().is_some();
        self.until("nobody took over from the killed leader", first).await?;
        let first = self.load.first_after_kill().unwrap_or(killing);
        let failover = first.saturating_duration_since(killing);
        self.say(format!("writes go on, {} ms after the kill", failover.as_millis()));
        self.nodes.start(victim).await?;
        self.say(format!("node {victim} is back"));
        let caught_up = self.wait_for_one(victim, Instant::now()).await?;
        self.say(format!("node {victim} has caught up, while the load goes on"));
        Ok(Kill { victim, failover, caught_up })
    }

    /// Waits for something that must happen while writes go on: gives up if for a long time it
    /// has not happened and no write was acknowledged either.
    async fn until(
        &self,
        otherwise: &'static str,
        done: impl Fn(&Load) -> bool,
    ) -> Result<(), DemoError> {
        let mut last = (self.load.acknowledged(), Instant::now());
        while !done(&self.load) {
            let acknowledged = self.load.acknowledged();
            self.bar.set_position(acknowledged.min(self.args.writes));
            if acknowledged != last.0 {
                last = (acknowledged, Instant::now());
            } else if last.1.elapsed() > PATIENCE {
                return Err(self.too_slow(otherwise));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// Reads everything back, linearizably from the node that was killed, and from each node what
    /// it has itself.
    async fn read_back(&self, victim: u64, tallies: &[Tally]) -> Result<Findings, DemoError> {
        println!("reading everything back, from each node");
        let mut findings = Findings::default();
        for node in &self.nodes.list {
            if node.id == victim {
                findings.merge(check::check(node.listen, Level::Linearizable, tallies).await?);
            }
            findings.merge(check::check(node.listen, Level::Local, tallies).await?);
        }
        Ok(findings)
    }

    async fn leader(&self) -> Result<u64, DemoError> {
        let since = Instant::now();
        loop {
            let standings = self.standings().await;
            // After a change of leaders the old one may not know yet.
            let leaders = standings.iter().filter(|(_, node)| node.leads);
            if let Some((id, _)) = leaders.max_by_key(|(_, node)| node.term) {
                return Ok(*id);
            }
            if since.elapsed() > PATIENCE {
                return Err(self.too_slow("no leader was elected"));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// How every node stands; a node that does not answer is left out.
    async fn standings(&self) -> Vec<(u64, Standing)> {
        let mut standings = Vec::new();
        for node in &self.nodes.list {
            if let Ok(standing) = check::standing(node.listen).await {
                standings.push((node.id, standing));
            }
        }
        standings
    }

    /// Waits until a node has applied what any of them had committed when this began; returns how
    /// long it took from `since`.
    async fn wait_for_one(&self, id: u64, since: Instant) -> Result<Duration, DemoError> {
        let mut goal = None;
        loop {
            let standings = self.standings().await;
            goal = goal.or_else(|| standings.iter().map(|(_, node)| node.committed).max());
            let node = standings.iter().find(|(node, _)| *node == id);
            if goal.is_some() && node.map(|(_, node)| node.applied) >= goal {
                return Ok(since.elapsed());
            }
            if since.elapsed() > PATIENCE * 2 {
                return Err(self.too_slow("the restarted node does not catch up"));
            }
            self.bar.set_position(self.load.acknowledged().min(self.args.writes));
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits until every node has applied everything.
    async fn wait_for_all(&self) -> Result<(), DemoError> {
        for node in &self.nodes.list {
            self.wait_for_one(node.id, Instant::now()).await?;
        }
        Ok(())
    }

    fn too_slow(&self, what: &'static str) -> DemoError {
        DemoError::TooSlow { what, dir: self.dir.to_owned() }
    }

    /// Prints a line above the progress bar; where there is no terminal there is no bar either.
    fn say(&self, line: String) {
        if self.bar.is_hidden() {
            println!("{line}");
        } else {
            self.bar.println(line);
        }
    }
}
