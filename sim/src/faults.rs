//! What a seed has in store for its cluster, in swarm style (Groce et al. 2012): each seed turns a
//! random subset of the faults on, at random rates, since faults that are always on hide one
//! another.

mod load;
mod mishaps;
mod rates;

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use quorate_core::Settings;

use crate::rng::Rng;
pub(crate) use load::Load;
pub(crate) use mishaps::Mishap;
pub use mishaps::Struck;
use mishaps::{draw_fetches, draw_ills, draw_losses, draw_medley, draw_overlap, draw_turmoil};
pub(crate) use rates::{Completions, DiskFaults, LinkFaults};

/// Everything about a run that is decided before it begins.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) nodes: usize,
    pub(crate) settings: Settings,
    pub(crate) link: LinkFaults,
    pub(crate) disk: DiskFaults,
    pub(crate) segment_bytes: u64,
    pub(crate) group_bytes: usize,
    pub(crate) completions: Completions,
    /// Timers run out early in their range, so that elections collide.
    pub(crate) hasty_timers: bool,
    pub(crate) mishaps: Vec<(Mishap, Duration)>,
    /// How long after the start mishaps begin: at once, so that founding suffers them too, or
    /// when the cluster is likely to stand.
    pub(crate) calm: Duration,
    /// How long mishaps go on.
    pub(crate) stormy: Duration,
    /// How long a machine is down at most after a crash.
    pub(crate) downtime: Duration,
    pub(crate) load: Load,
    /// What every other node grants clients instead, as while a change of that is under way.
    pub(crate) uneven_limits: Option<SessionLimits>,
    /// What every other node is set to instead, likewise.
    pub(crate) uneven_settings: Option<Settings>,
    /// The numbers of strikes that are left out, from 0.
    pub(crate) skipped: BTreeSet<u64>,
}

/// What is kept for clients with sessions, as a node says when one is opened through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionLimits {
    pub(crate) max_sessions: u32,
    pub(crate) max_response_bytes: u64,
}

impl Plan {
    /// What a node is set to.
    pub(crate) fn settings_of(&self, node: usize) -> &Settings {
        instead(self.uneven_settings.as_ref(), node).unwrap_or(&self.settings)
    }

    /// What a node grants the client of a session that is opened through it.
    pub(crate) fn session_limits(&self, node: usize) -> SessionLimits {
        let Settings { max_sessions, max_response_bytes, .. } = self.settings;
        let everywhere = SessionLimits { max_sessions, max_response_bytes };
        instead(self.uneven_limits, node).unwrap_or(everywhere)
    }

    /// What this seed has in store for `nodes` replicas; for a random number if `None`.
    pub(crate) fn draw(seed: u64, nodes: Option<usize>) -> Plan {
        let rng = &mut Rng::new(seed, "plan");
        let drawn = match rng.below(20) {
            0 => 1,
            1 => 2,
            2..=12 => 3,
            13 => 4,
            _ => 5,
        };
        let link = LinkFaults::draw(rng);
        let disk = DiskFaults::draw(rng);
        let completions = Completions::draw(rng);
        let mut settings = draw_settings(rng, &link, &disk);
        let mut load = Load::draw(rng, &settings);
        let (turmoil, overlap) = (rng.one_in(5), rng.one_in(4));
        let mut mishaps = match (turmoil, overlap) {
            (true, _) => draw_turmoil(rng),
            (false, true) => draw_overlap(rng, settings.election.start),
            (false, false) => draw_medley(rng),
        };
        let ills = &mut Rng::new(seed, "plan: ills");
        let losses = &mut Rng::new(seed, "plan: losses");
        if losses.one_in(8) {
            mishaps = draw_losses(losses);
        } else if !ills.one_in(3) {
            mishaps.extend(draw_ills(ills));
        }
        let large_state = &mut Rng::new(seed, "plan: large state");
        if large_state.one_in(10) {
            load.make_large(large_state, &mut settings);
            mishaps.extend(draw_fetches(large_state));
        }
        if turmoil && rng.one_in(2) {
            // One entry at a time, so that a leader can die between any two.
            settings.append_bytes = 1;
        }
        let uneven = &mut Rng::new(seed, "plan: uneven settings");
        let uneven_settings = draw_uneven_settings(uneven, &settings, &link, &disk);
        Plan {
            nodes: nodes.unwrap_or(drawn),
            settings,
            uneven_settings,
            link,
            disk,
            segment_bytes: 4096 * rng.between(4, 16),
            group_bytes: rng.between(4096, 60_000) as usize,
            completions,
            hasty_timers: rng.one_in(6),
            mishaps,
            calm: if rng.one_in(3) { Duration::ZERO } else { millis(rng, 300..600) },
            stormy: millis(rng, 3000..6000),
            downtime: if turmoil { millis(rng, 20..200) } else { Duration::from_secs(1) },
            load,
            uneven_limits: draw_uneven_limits(&mut Rng::new(seed, "plan: uneven limits")),
            skipped: BTreeSet::new(),
        }
    }
}

/// What holds for a node in the place of what holds for all: for every other one.
fn instead<T>(uneven: Option<T>, node: usize) -> Option<T> {
    uneven.filter(|_| node % 2 == 1)
}

/// Small limits, so that windows fill, entries leave the memory and snapshots are taken within
/// seconds of virtual time.
fn draw_settings(rng: &mut Rng, link: &LinkFaults, disk: &DiskFaults) -> Settings {
    let heartbeat = millis(rng, 8..20);
    // A round trip with a sync in it must fit into an election timeout with room to spare, or no
    // leader could ever last.
    let round = 2 * link.latency.1 + disk.sync.1 + Duration::from_millis(2);
    let least = (heartbeat * 5).max(round * 4);
    let max_command_bytes = 4096;
    let mut settings = Settings {
        scrub_interval: Duration::from_millis(500),
        heartbeat,
        election: least..least * 2,
        request_timeout: millis(rng, 200..1200),
        max_command_bytes,
        append_bytes: if rng.one_in(3) { 1 } else { rng.between(200, 8000) } as usize,
        window_bytes: rng.between(400, 20_000) as usize,
        uncommitted_bytes: max_command_bytes + rng.below(20_000) as usize,
        apply_bytes: rng.between(600, 8000) as usize,
        log_cache_bytes: rng.below(8000) as usize,
        snapshot_bytes: rng.between(3000, 60_000),
        max_sessions: if rng.one_in(6) { rng.between(1, 4) } else { 1000 } as u32,
        session_window: rng.between(1, 16) as u32,
        max_response_bytes: 1 << 20,
    };
    // Who has room for few sessions has room for few of their responses.
    if settings.max_sessions < 1000 {
        settings.max_response_bytes = 40;
    }
    settings
}

/// In a quarter of the cases.
fn draw_uneven_limits(rng: &mut Rng) -> Option<SessionLimits> {
    let max_sessions = if rng.one_in(2) { rng.between(1, 6) } else { 1000 } as u32;
    let limits = SessionLimits { max_sessions, max_response_bytes: rng.between(30, 300) };
    rng.one_in(4).then_some(limits)
}

/// In a quarter of the cases: how much of everything there may be.
fn draw_uneven_settings(
    rng: &mut Rng,
    settings: &Settings,
    link: &LinkFaults,
    disk: &DiskFaults,
) -> Option<Settings> {
    let others = draw_settings(rng, link, disk);
    let max_command_bytes = rng.between(500, settings.max_command_bytes as u64) as usize;
    let uneven = Settings {
        max_command_bytes,
        append_bytes: others.append_bytes,
        window_bytes: others.window_bytes,
        uncommitted_bytes: others.uncommitted_bytes.max(max_command_bytes),
        apply_bytes: others.apply_bytes,
        log_cache_bytes: others.log_cache_bytes,
        snapshot_bytes: others.snapshot_bytes,
        request_timeout: others.request_timeout,
        ..settings.clone()
    };
    rng.one_in(4).then_some(uneven)
}

/// Off in half of the cases, otherwise a random rate up to `most`.
fn sometimes(rng: &mut Rng, most: u64) -> u32 {
    let rate = rng.below(most) as u32;
    if rng.one_in(2) { 0 } else { rate }
}

fn millis(rng: &mut Rng, range: Range<u64>) -> Duration {
    Duration::from_millis(rng.between(range.start, range.end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_draws_settings_that_can_work() {
        for seed in 0..500 {
            let plan = Plan::draw(seed, None);
            for node in 0..2 {
                assert_eq!(plan.settings_of(node).validate(), Ok(()), "seed {seed}");
            }
            assert!((1..=5).contains(&plan.nodes));
        }
    }

    #[test]
    fn seeds_differ_in_the_faults_they_turn_on() {
        let plans: Vec<Plan> = (0..100).map(|seed| Plan::draw(seed, None)).collect();
        let with = |test: &dyn Fn(&Plan) -> bool| plans.iter().filter(|plan| test(plan)).count();
        assert!((20..80).contains(&with(&|plan| plan.link.loss_ppm > 0)));
        let splits = |plan: &Plan| plan.mishaps.iter().any(|(kind, _)| *kind == Mishap::Partition);
        assert!((20..80).contains(&with(&splits)));
        assert!(with(&|plan| plan.nodes == 1) > 0 && with(&|plan| plan.nodes == 5) > 0);
    }
}
