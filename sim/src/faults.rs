//! What a seed has in store for its cluster, in swarm style (Groce et al. 2012): each seed turns a
//! random subset of the faults on, at random rates, since faults that are always on hide one
//! another.

use std::ops::Range;
use std::time::Duration;

use quorate_core::Settings;

use crate::rng::Rng;

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
    pub(crate) mishaps: Vec<(Mishap, Duration)>,
    /// How long after the start mishaps begin: at once, so that founding suffers them too, or
    /// when the cluster is likely to stand.
    pub(crate) calm: Duration,
    /// How long mishaps go on.
    pub(crate) stormy: Duration,
    /// How long a machine is down at most after a crash.
    pub(crate) downtime: Duration,
    pub(crate) load: Load,
}

/// What messages suffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkFaults {
    /// How long a message takes at least and at most.
    pub(crate) latency: (Duration, Duration),
    /// By how much longer a message takes at most that does not keep its place.
    pub(crate) detour: Duration,
    pub(crate) loss_ppm: u32,
    pub(crate) duplicate_ppm: u32,
    pub(crate) reorder_ppm: u32,
}

/// What the disk does, and how slowly.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiskFaults {
    /// How long anything but a sync takes.
    pub(crate) access: (Duration, Duration),
    /// How long a sync takes.
    pub(crate) sync: (Duration, Duration),
    /// How much of what is unsynced a crash leaves on the disk, sector by sector.
    pub(crate) kept_ppm: u32,
    /// How many of the other sectors end up as a mixture.
    pub(crate) torn_ppm: u32,
}

/// How late a replica learns of work that was done for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completions {
    /// From an event's arrival to the step that takes it.
    pub(crate) wake: (Duration, Duration),
    /// Applying a batch of entries.
    pub(crate) apply: (Duration, Duration),
    /// Work off the loop: writing snapshots, reading old entries and chunks.
    pub(crate) helper: (Duration, Duration),
    /// From a completion to its arrival at the loop.
    pub(crate) report: (Duration, Duration),
}

/// What happens to processes and the network now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// One process dies, and its machine's unsynced writes with it.
    Crash,
    /// The leader's process dies.
    CrashLeader,
    /// One process dies in the middle of one of the next things that it does to its disk.
    CrashWriting,
    /// For a while, hardly any leader lasts for more than a few milliseconds: the ground on which
    /// a log holds entries of many ballots, none of them committed (Ongaro 2014, figure 3.7).
    FellLeaders,
    /// All processes die at once.
    CrashAll,
    /// A partition, or another one.
    Partition,
    /// One process stands still for a while, and goes on as if nothing had been.
    Pause,
    /// One disk becomes very slow for a while.
    SlowDisk,
    /// One machine's wall clock jumps.
    ClockJump,
}

/// What the clients do.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) clients: usize,
    pub(crate) keys: u64,
    /// Requests which one client has outstanding at most.
    pub(crate) window: usize,
    pub(crate) think: (Duration, Duration),
    pub(crate) payload_bytes: u64,
    /// How much state every snapshot carries beside what the clients wrote.
    pub(crate) ballast_bytes: u64,
    pub(crate) reads_ppm: u32,
    /// How many of the clients do nothing but read, and do not wait long before they read again:
    /// one that also writes has soon nothing but writes outstanding where a leader is cut off.
    pub(crate) readers: usize,
    pub(crate) sessionless_ppm: u32,
    pub(crate) expiring_ppm: u32,
    pub(crate) oversized_ppm: u32,
    /// How long a client waits before it asks another node.
    pub(crate) patience: Duration,
}

impl Plan {
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
        let load = Load::draw(rng, &settings);
        let turmoil = rng.one_in(5);
        let mishaps = if turmoil { draw_turmoil(rng) } else { draw_mishaps(rng) };
        if turmoil && rng.one_in(2) {
            // One entry at a time, so that a leader can die between any two.
            settings.append_bytes = 1;
        }
        Plan {
            nodes: nodes.unwrap_or(drawn),
            settings,
            link,
            disk,
            segment_bytes: 4096 * rng.between(4, 16),
            group_bytes: rng.between(4096, 60_000) as usize,
            completions,
            mishaps,
            calm: if rng.one_in(3) { Duration::ZERO } else { millis(rng, 300..600) },
            stormy: millis(rng, 3000..6000),
            downtime: if turmoil { millis(rng, 20..200) } else { Duration::from_secs(1) },
            load,
        }
    }
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

fn draw_mishaps(rng: &mut Rng) -> Vec<(Mishap, Duration)> {
    // (mishap, one in so many seeds goes without it, mean time between two of them in ms)
    let all = [
        (Mishap::Crash, 6, 200..1500),
        (Mishap::CrashLeader, 3, 400..2000),
        (Mishap::CrashWriting, 3, 200..1500),
        (Mishap::FellLeaders, 2, 500..2500),
        (Mishap::CrashAll, 2, 700..3000),
        (Mishap::Partition, 2, 150..1200),
        (Mishap::Pause, 2, 200..1500),
        (Mishap::SlowDisk, 2, 300..1500),
        (Mishap::ClockJump, 2, 100..1000),
    ];
    let mut chosen = Vec::new();
    for (mishap, without, period) in all {
        let period = millis(rng, period);
        if !rng.one_in(without) {
            chosen.push((mishap, period));
        }
    }
    if !chosen.iter().any(|(mishap, _)| matches!(mishap, Mishap::Crash | Mishap::CrashLeader)) {
        chosen.push((Mishap::CrashLeader, millis(rng, 400..1200)));
    }
    chosen
}

/// Leader upon leader, and hardly anything else.
fn draw_turmoil(rng: &mut Rng) -> Vec<(Mishap, Duration)> {
    let mut chosen = vec![(Mishap::FellLeaders, millis(rng, 800..2500))];
    if rng.one_in(2) {
        chosen.push((Mishap::Crash, millis(rng, 100..800)));
    }
    if rng.one_in(2) {
        chosen.push((Mishap::Partition, millis(rng, 100..800)));
    }
    chosen
}

impl LinkFaults {
    fn draw(rng: &mut Rng) -> LinkFaults {
        let fastest = rng.between(50, 500);
        let slowest = fastest + if rng.one_in(2) { rng.below(300) } else { rng.below(5000) };
        let longest = if rng.one_in(3) { 400_000 } else { 50_000 };
        LinkFaults {
            latency: (Duration::from_micros(fastest), Duration::from_micros(slowest)),
            detour: Duration::from_micros(rng.between(500, longest)),
            loss_ppm: sometimes(rng, 50_000),
            duplicate_ppm: sometimes(rng, 100_000),
            reorder_ppm: sometimes(rng, 200_000),
        }
    }
}

impl DiskFaults {
    fn draw(rng: &mut Rng) -> DiskFaults {
        let fastest = rng.between(20, 500);
        let slowest = fastest + if rng.one_in(2) { rng.below(500) } else { rng.below(6000) };
        DiskFaults {
            access: (Duration::from_micros(1), Duration::from_micros(rng.between(2, 100))),
            sync: (Duration::from_micros(fastest), Duration::from_micros(slowest)),
            kept_ppm: match rng.below(4) {
                0 => 0,
                1 => crate::rng::MILLION,
                _ => rng.below(u64::from(crate::rng::MILLION)) as u32,
            },
            torn_ppm: sometimes(rng, 500_000),
        }
    }
}

impl Completions {
    fn draw(rng: &mut Rng) -> Completions {
        let mut up_to = |usual: u64, late: u64| {
            let most = if rng.one_in(2) { rng.between(1, usual) } else { rng.between(usual, late) };
            (Duration::ZERO, Duration::from_micros(most))
        };
        Completions {
            wake: up_to(20, 500),
            apply: up_to(50, 4000),
            helper: up_to(500, 6000),
            report: up_to(20, 2000),
        }
    }
}

impl Load {
    fn draw(rng: &mut Rng, settings: &Settings) -> Load {
        let most = settings.session_window as u64;
        let ballast_bytes = if rng.one_in(12) { rng.below(3 << 20) } else { rng.below(300) };
        Load {
            clients: rng.between(3, 8) as usize,
            readers: rng.between(0, 2) as usize,
            keys: rng.between(1, 12),
            window: rng.between(1, most) as usize,
            think: (Duration::ZERO, millis(rng, 4..25)),
            payload_bytes: if rng.one_in(5) { 3000 } else { rng.between(10, 200) },
            ballast_bytes,
            reads_ppm: rng.between(50_000, 500_000) as u32,
            sessionless_ppm: sometimes(rng, 700_000),
            expiring_ppm: sometimes(rng, 300_000),
            oversized_ppm: sometimes(rng, 20_000),
            patience: millis(rng, 100..1500),
        }
    }
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
            assert_eq!(plan.settings.validate(), Ok(()), "seed {seed}");
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
