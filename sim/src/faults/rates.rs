//! How slow and how unreliable the network, the disks and the threads of a run are.

use std::time::Duration;

use super::sometimes;
use crate::rng::Rng;

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

impl LinkFaults {
    pub(super) fn draw(rng: &mut Rng) -> LinkFaults {
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
    pub(super) fn draw(rng: &mut Rng) -> DiskFaults {
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
    pub(super) fn draw(rng: &mut Rng) -> Completions {
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
