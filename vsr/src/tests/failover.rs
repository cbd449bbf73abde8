//! How long a group goes without a primary, at default settings, where a message and a write take
//! a millisecond each.

use std::time::Duration;

use quorate_core::{NodeId, Protocol};

use super::cluster::{Cluster, n};
use super::random::Random;

struct Timed {
    cluster: Cluster,
    random: Random,
}

impl Timed {
    fn started(size: u64, seed: u64) -> Timed {
        let mut random = Random::seeded(seed);
        let mut cluster = Cluster::of(size);
        // Not all of them start at the same moment.
        for node in cluster.nodes.values_mut() {
            for due in node.timers.values_mut() {
                *due += Duration::from_millis(random.below(50) as u64);
            }
        }
        let phase = random.below(100) as u64;
        let mut timed = Timed { cluster, random };
        timed.pass(Duration::from_millis(500 + phase));
        assert!(timed.serving().is_some());
        timed
    }

    /// Lets time pass: what was sent arrives, and what was written is saved, a millisecond later.
    fn pass(&mut self, time: Duration) {
        let until = self.cluster.now + time;
        while self.cluster.now < until {
            self.cluster.now += Duration::from_millis(1);
            for node in self.cluster.nodes.values_mut() {
                node.draw = u32::try_from(self.random.below(1000)).unwrap();
            }
            let writing = self.cluster.nodes.values().filter(|node| node.up);
            let writing: Vec<_> = writing.map(|node| (node.me, node.writes())).collect();
            let arriving = self.cluster.take(|_| true);
            for (id, writes) in writing {
                (0..writes).for_each(|_| self.cluster.save(id.0));
            }
            for sent in arriving {
                self.cluster.deliver(sent);
            }
            self.cluster.fire_due_timers();
        }
    }

    fn serving(&self) -> Option<NodeId> {
        let mut nodes = self.cluster.nodes.values().filter(|node| node.up);
        nodes.find(|node| node.vsr.standing().serving).map(|node| node.me)
    }

    /// How long it takes until somebody takes a write and knows it committed.
    fn until_a_write_is_committed(&mut self) -> Duration {
        let begun = self.cluster.now;
        let before = self.cluster.checks.committed();
        let mut proposed = None;
        while proposed.is_none_or(|index| self.cluster.checks.committed() < index) {
            self.pass(Duration::from_millis(1));
            if let Some(id) = self.serving().filter(|_| proposed.is_none()) {
                self.cluster.propose(id.0, "a");
                proposed = Some(self.cluster.last_index(id.0));
            }
            assert!(self.cluster.now < begun + Duration::from_secs(10), "no progress");
        }
        assert!(self.cluster.checks.committed() > before);
        self.cluster.now - begun
    }
}

#[test]
fn a_dead_primary_is_replaced_and_a_write_committed_within_half_a_second() {
    let mut longest = Duration::ZERO;
    for seed in 1..=200 {
        for size in [3, 5] {
            let mut timed = Timed::started(size, seed);
            let primary = timed.serving().unwrap();
            timed.cluster.crash(primary.0);
            let took = timed.until_a_write_is_committed();
            assert!(took < Duration::from_millis(500), "seed {seed}, of {size}: {took:?}");
            longest = longest.max(took);
        }
    }
    assert!(longest > Duration::from_millis(250), "it cannot have been dead: {longest:?}");
}

#[test]
fn with_the_next_primary_dead_too_it_takes_no_longer_than_two_election_timeouts() {
    for seed in 1..=200 {
        let mut timed = Timed::started(5, seed);
        let primary = timed.serving().unwrap();
        let next = n(primary.0 % 5 + 1);
        timed.cluster.crash(primary.0);
        timed.cluster.crash(next.0);
        let took = timed.until_a_write_is_committed();
        let limit = timed.cluster.settings.election.end * 2;
        assert!(took <= limit, "seed {seed}: {took:?}");
    }
}

#[test]
fn a_hand_over_and_the_restart_of_a_primary_interrupt_for_a_few_milliseconds() {
    for seed in 1..=50 {
        for size in [3, 5] {
            let mut timed = Timed::started(size, seed);
            let primary = timed.serving().unwrap();
            timed.cluster.input(primary.0, quorate_core::Input::HandOver);
            let took = timed.until_a_write_is_committed();
            assert!(took < Duration::from_millis(15), "hand-over, seed {seed}: {took:?}");

            timed.pass(Duration::from_millis(100));
            let primary = timed.serving().unwrap();
            timed.cluster.crash(primary.0);
            timed.cluster.restart(primary.0);
            let took = timed.until_a_write_is_committed();
            assert!(took < Duration::from_millis(20), "restart, seed {seed}: {took:?}");
        }
    }
}

#[test]
fn a_new_group_serves_within_a_few_milliseconds() {
    for size in 1..=5 {
        let cluster = Cluster::of(size);
        let mut timed = Timed { cluster, random: Random::seeded(size) };
        let took = timed.until_a_write_is_committed();
        assert!(took < Duration::from_millis(20), "of {size}: {took:?}");
    }
}

#[test]
fn a_whole_group_that_restarts_serves_within_a_few_milliseconds() {
    for seed in 1..=50 {
        let mut timed = Timed::started(3, seed);
        (1..=3).for_each(|id| timed.cluster.crash(id));
        (1..=3).for_each(|id| timed.cluster.restart(id));
        let took = timed.until_a_write_is_committed();
        assert!(took < Duration::from_millis(20), "seed {seed}: {took:?}");
    }
}
