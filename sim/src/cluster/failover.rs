//! How long a cluster with default settings is without a leader when it loses one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quorate_core::Settings;
use quorate_raft::Raft;
use quorate_vsr::Vsr;

use super::Cluster;
use super::life::Death;
use crate::clock::Time;
use crate::faults::{Completions, DiskFaults, LinkFaults, Load, Plan};
use crate::oracle::Simulated;
use crate::registers::Writing;
use crate::trace::{Keep, Trace};

const SEEDS: u64 = 100;

/// Default settings, a network and disks that work, and nothing that happens by itself.
pub(super) fn plan(nodes: usize) -> Plan {
    let us = Duration::from_micros;
    let soon = (us(1), us(100));
    Plan {
        nodes,
        settings: Settings::default(),
        link: LinkFaults {
            latency: (us(100), us(1000)),
            detour: Duration::ZERO,
            loss_ppm: 0,
            duplicate_ppm: 0,
            reorder_ppm: 0,
        },
        disk: DiskFaults {
            access: (us(1), us(20)),
            sync: (us(500), us(3000)),
            kept_ppm: 0,
            torn_ppm: 0,
        },
        segment_bytes: 1 << 16,
        group_bytes: 1 << 16,
        completions: Completions { wake: soon, apply: soon, helper: soon, report: soon },
        hasty_timers: false,
        mishaps: Vec::new(),
        calm: Duration::ZERO,
        uneven_limits: None,
        uneven_settings: None,
        stormy: Duration::from_secs(3600),
        downtime: Duration::ZERO,
        load: Load {
            clients: 3,
            keys: 5,
            window: 2,
            think: (Duration::ZERO, us(10_000)),
            payload_bytes: 100,
            ballast_bytes: 0,
            reads_ppm: 0,
            readers: 0,
            sessionless_ppm: 0,
            expiring_ppm: 0,
            oversized_ppm: 0,
            patience: Duration::from_millis(100),
        },
        skipped: BTreeSet::new(),
    }
}

impl<P: Simulated> Cluster<P> {
    /// Lets things happen until something is true; fails after so long.
    pub(super) fn run_until(
        &mut self,
        bound: Duration,
        is_true: impl Fn(&Cluster<P>) -> bool,
    ) -> Time {
        let end = self.now() + bound;
        while !is_true(self) {
            let next = self.agenda.next().expect("something is always planned");
            self.happen(next).unwrap_or_else(|violation| panic!("{violation}"));
            assert!(self.now() < end, "not within {bound:?}");
        }
        self.now()
    }
}

/// How long it takes from the death of the leader, and of the `also` nodes next in order, until a
/// write of the clients succeeds under another one.
fn outage<P: Simulated>(seed: u64, nodes: usize, also: usize) -> Duration {
    let plan = plan(nodes);
    let subject = Arc::new(Writing::of(&plan.load));
    let mut cluster =
        Cluster::<P>::new(seed, plan, subject, None, false, Trace::new(Keep::Nothing));
    let second = Duration::from_secs(1);
    let settled =
        cluster.run_until(second * 5, |cluster| cluster.checks.committed().0 > 20) + second / 4;
    let died = cluster.run_until(second * 2, |cluster| cluster.now() >= settled);
    let leader = cluster.leader().expect("somebody leads");
    let dead: Vec<usize> = (0..=also).map(|later| (leader + later) % nodes).collect();
    dead.iter().for_each(|node| cluster.crash(*node, Death::Sudden));
    cluster.run_until(second * 5, |cluster| cluster.leader().is_some());
    let before = cluster.clients.ended().acknowledged;
    let succeeded =
        cluster.run_until(second * 5, |cluster| cluster.clients.ended().acknowledged > before);
    Duration::from_micros(succeeded.0 - died.0)
}

/// The longest outage, and the seed which has it.
fn longest<P: Simulated>(nodes: usize, also: usize) -> (Duration, u64) {
    let outages = (1..=SEEDS).map(|seed| (outage::<P>(seed, nodes, also), seed));
    outages.max().expect("there are seeds")
}

const HALF_A_SECOND: Duration = Duration::from_millis(500);

fn is_replaced_within_half_a_second<P: Simulated>() {
    for nodes in [3, 5] {
        let (longest, seed) = longest::<P>(nodes, 0);
        assert!(longest <= HALF_A_SECOND, "{nodes} replicas, seed {seed}: {longest:?}");
    }
}

#[test]
fn a_dead_primary_is_replaced_and_a_write_succeeds_within_half_a_second() {
    is_replaced_within_half_a_second::<Vsr>();
}

#[test]
fn a_dead_leader_is_replaced_and_a_write_succeeds_within_half_a_second() {
    is_replaced_within_half_a_second::<Raft>();
}

#[test]
fn a_dead_primary_whose_successor_is_dead_too_is_replaced_within_two_timeouts() {
    let (longest, seed) = longest::<Vsr>(5, 1);
    let timeouts = Settings::default().election.end * 2;
    assert!(longest <= timeouts, "seed {seed}: {longest:?}");
}
