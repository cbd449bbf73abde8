//! What is left out of a run, so that a failing one fails with as little as possible; and the file
//! that says so.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::faults::Plan;
use crate::simulation::Canary;

/// What is left out of a run of a seed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// What of its plan, by name.
    pub(crate) without: BTreeSet<String>,
    /// Which of its mishaps, by number.
    pub(crate) skipped: BTreeSet<u64>,
    /// All but the first so many clients.
    pub(crate) clients: Option<usize>,
    /// All but the first so many milliseconds of the time for which things go wrong.
    pub(crate) stormy_ms: Option<u64>,
}

/// All that a run is: what [`Simulation`](crate::Simulation) was told, as a text file.
///
/// ```
/// let text = "protocol vsr\nseed 17\nwithout Crash loss\nskip 0 3-7\nclients 2\nstorm-ms 250\n";
/// let file: quorate_sim::PlanFile = text.parse()?;
/// assert_eq!((file.protocol.as_str(), file.seed), ("vsr", 17));
/// assert_eq!(file.to_string().parse(), Ok(file));
/// # Ok::<(), quorate_sim::BadPlan>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanFile {
    /// The name of the protocol.
    pub protocol: String,
    /// The type of the workload, if it is not the simulator's own.
    pub workload: Option<String>,
    /// The seed.
    pub seed: u64,
    /// With how many replicas; otherwise the seed decides.
    pub replicas: Option<usize>,
    /// What is broken.
    pub canary: Option<Canary>,
    /// What is left out.
    pub cuts: Cuts,
}

/// A text that is not a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPlan {
    /// Which line, from 1; 0 if something is lacking.
    line: usize,
    what: String,
}

impl fmt::Display for BadPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "the plan lacks a line with its {}", self.what),
            line => write!(f, "line {line} of the plan is not understood: {}", self.what),
        }
    }
}

impl std::error::Error for BadPlan {}

impl Cuts {
    /// What this plan has that can be left out, by name.
    pub(crate) fn features(plan: &Plan) -> Vec<String> {
        let mut features: Vec<String> =
            plan.mishaps.iter().map(|(mishap, _)| format!("{mishap:?}")).collect();
        let switches = [
            (plan.link.loss_ppm > 0, "loss"),
            (plan.link.duplicate_ppm > 0, "duplication"),
            (plan.link.reorder_ppm > 0, "reordering"),
            (plan.disk.torn_ppm > 0, "torn-sectors"),
            (plan.disk.kept_ppm < crate::rng::MILLION, "unsynced-loss"),
            (plan.hasty_timers, "hasty-timers"),
            (plan.uneven_limits.is_some(), "uneven-limits"),
            (plan.uneven_settings.is_some(), "uneven-settings"),
            (plan.load.ballast_bytes > 0, "ballast"),
            (plan.load.sessionless_ppm > 0, "sessionless-requests"),
            (plan.load.expiring_ppm > 0, "expiry"),
            (plan.load.oversized_ppm > 0, "oversized-requests"),
        ];
        let on = switches.into_iter().filter(|(is_on, _)| *is_on);
        features.extend(on.map(|(_, name)| name.to_owned()));
        features
    }

    pub(crate) fn apply(&self, plan: &mut Plan) {
        let is_out = |name: &str| self.without.contains(name);
        plan.mishaps.retain(|(mishap, _)| !is_out(&format!("{mishap:?}")));
        let unless = |name: &str, rate: u32| if is_out(name) { 0 } else { rate };
        plan.link.loss_ppm = unless("loss", plan.link.loss_ppm);
        plan.link.duplicate_ppm = unless("duplication", plan.link.duplicate_ppm);
        plan.link.reorder_ppm = unless("reordering", plan.link.reorder_ppm);
        plan.disk.torn_ppm = unless("torn-sectors", plan.disk.torn_ppm);
        if is_out("unsynced-loss") {
            plan.disk.kept_ppm = crate::rng::MILLION;
        }
        plan.hasty_timers &= !is_out("hasty-timers");
        plan.uneven_limits.take_if(|_| is_out("uneven-limits"));
        plan.uneven_settings.take_if(|_| is_out("uneven-settings"));
        if is_out("ballast") {
            plan.load.ballast_bytes = 0;
        }
        plan.load.sessionless_ppm = unless("sessionless-requests", plan.load.sessionless_ppm);
        plan.load.expiring_ppm = unless("expiry", plan.load.expiring_ppm);
        plan.load.oversized_ppm = unless("oversized-requests", plan.load.oversized_ppm);
        if let Some(clients) = self.clients {
            plan.load.clients = plan.load.clients.min(clients);
        }
        if let Some(stormy) = self.stormy_ms.map(Duration::from_millis) {
            plan.stormy = plan.stormy.min(stormy);
        }
        plan.skipped.clone_from(&self.skipped);
    }
}

impl fmt::Display for PlanFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "protocol {}\nseed {}", self.protocol, self.seed)?;
        if let Some(workload) = &self.workload {
            writeln!(f, "workload {workload}")?;
        }
        if let Some(replicas) = self.replicas {
            writeln!(f, "replicas {replicas}")?;
        }
        if let Some(canary) = self.canary {
            writeln!(f, "canary {canary:?}")?;
        }
        if let Some(clients) = self.cuts.clients {
            writeln!(f, "clients {clients}")?;
        }
        if let Some(stormy) = self.cuts.stormy_ms {
            writeln!(f, "storm-ms {stormy}")?;
        }
        if !self.cuts.without.is_empty() {
            let names: Vec<&str> = self.cuts.without.iter().map(String::as_str).collect();
            writeln!(f, "without {}", names.join(" "))?;
        }
        if !self.cuts.skipped.is_empty() {
            writeln!(f, "skip {}", ranges(&self.cuts.skipped).join(" "))?;
        }
        Ok(())
    }
}

/// Numbers as `0 3-7 9`.
fn ranges(numbers: &BTreeSet<u64>) -> Vec<String> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => ranges.push((*number, *number)),
        }
    }
    let text = |(first, last): (u64, u64)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    ranges.into_iter().map(text).collect()
}

fn parse_range(text: &str) -> Option<std::ops::RangeInclusive<u64>> {
    /// More than any run has.
    const MOST: u64 = 1 << 20;
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < MOST).then_some(first..=last)
}

impl FromStr for PlanFile {
    type Err = BadPlan;

    fn from_str(text: &str) -> Result<PlanFile, BadPlan> {
        let (mut protocol, mut workload, mut seed) = (None, None, None);
        let (mut replicas, mut canary, mut cuts) = (None, None, Cuts::default());
        for (number, line) in (1..).zip(text.lines()) {
            let mut words = line.split_whitespace();
            let Some(key) = words.next().filter(|key| !key.starts_with('#')) else { continue };
            let rest: Vec<&str> = words.collect();
            let bad = || BadPlan { line: number, what: line.to_owned() };
            match (key, &*rest) {
                ("protocol", [_, ..]) => protocol = Some(rest.join(" ")),
                ("workload", [_, ..]) => workload = Some(rest.join(" ")),
                ("seed", [value]) => seed = Some(value.parse().map_err(|_| bad())?),
                ("replicas", [value]) => replicas = Some(value.parse().map_err(|_| bad())?),
                ("canary", [name]) => canary = Some(Canary::named(name).ok_or_else(bad)?),
                ("clients", [value]) => cuts.clients = Some(value.parse().map_err(|_| bad())?),
                ("storm-ms", [value]) => cuts.stormy_ms = Some(value.parse().map_err(|_| bad())?),
                ("without", names) => {
                    cuts.without = names.iter().map(|name| (*name).to_owned()).collect();
                }
                ("skip", numbers) => {
                    for range in numbers {
                        cuts.skipped.extend(parse_range(range).ok_or_else(bad)?);
                    }
                }
                _ => return Err(bad()),
            }
        }
        let lacks = |what: &str| BadPlan { line: 0, what: what.to_owned() };
        Ok(PlanFile {
            protocol: protocol.ok_or_else(|| lacks("protocol"))?,
            workload,
            seed: seed.ok_or_else(|| lacks("seed"))?,
            replicas,
            canary,
            cuts,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_plan_is_refused_with_its_line() {
        let parse = |text: &str| text.parse::<PlanFile>().unwrap_err().to_string();
        assert!(parse("seed 1").contains("protocol"));
        assert!(parse("protocol raft\nseed x").contains("line 2"));
        assert!(parse("protocol raft\nseed 1\n\nskip 5-3").contains("line 4"));
        assert!(parse("protocol raft\nseed 1\nskip 0-18446744073709551615").contains("line 3"));
        assert!(parse("protocol raft\nseed 1\ncanary Nothing").contains("line 3"));
    }

    #[test]
    fn whatever_is_left_out_is_gone_from_the_plan() {
        for seed in 0..50 {
            let mut plan = Plan::draw(seed, None);
            let without = Cuts::features(&plan).into_iter().collect();
            let cuts = Cuts { without, clients: Some(1), stormy_ms: Some(7), ..Cuts::default() };
            cuts.apply(&mut plan);
            assert_eq!(Cuts::features(&plan), Vec::<String>::new());
            assert_eq!(plan.load.clients, 1);
            assert_eq!(plan.stormy, Duration::from_millis(7));
        }
    }
}
