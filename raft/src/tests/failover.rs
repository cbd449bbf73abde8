//! How long a cluster goes without a leader, at default settings, where a message and a write take
//! one to three milliseconds each.

use std::time::Duration;

use quorate_core::{NodeId, Protocol};

use super::cluster::{Cluster, Sent, n};
use super::random::Random;

const MS: Duration = Duration::from_millis(1);

struct Timed {
    cluster: Cluster,
    random: Random,
    on_their_way: Vec<(Duration, Sent)>,
}

impl Timed {
    fn started(size: u64, seed: u64) -> Timed {
        let mut random = Random::seeded(seed);
        let mut cluster = Cluster::of(size);
        // Not all of them start at the same moment.
        for node in cluster.nodes.values_mut() {
            for due in node.timers.values_mut() {
                *due += MS * random.below(50) as u32;
            }
        }
        let phase = random.below(100) as u32;
        let mut timed = Timed { cluster, random, on_their_way: Vec::new() };
        timed.pass(MS * (1500 + phase));
        assert!(timed.serving().is_some());
        timed
    }

    fn pass(&mut self, time: Duration) {
        let until = self.cluster.now + time;
        while self.cluster.now < until {
            self.cluster.now += MS;
            for node in self.cluster.nodes.values_mut() {
                node.draw = u32::try_from(self.random.below(1000)).unwrap();
            }
            self.save_some();
            let now = self.cluster.now;
            let arriving: Vec<_> =
                self.on_their_way.extract_if(.., |(due, _)| *due <= now).collect();
            for (_, sent) in arriving {
                self.cluster.deliver(sent);
            }
            self.cluster.fire_due_timers();
            for sent in self.cluster.take(|_| true) {
                let due = now + MS * (1 + self.random.below(3) as u32);
                self.on_their_way.push((due, sent));
            }
        }
    }

    fn save_some(&mut self) {
        let writing = self.cluster.nodes.values().filter(|node| node.up);
        let writing: Vec<_> = writing.map(|node| (node.me, node.writes())).collect();
        for (id, writes) in writing {
            if self.random.chance(50) {
                (0..writes).for_each(|_| self.cluster.save(id.0));
            }
        }
    }

    fn serving(&self) -> Option<NodeId> {
        let mut nodes = self.cluster.nodes.values().filter(|node| node.up);
        nodes.find(|node| node.raft.standing().serving).map(|node| node.me)
    }

    /// How long it takes until somebody takes a write and knows it committed.
    fn until_a_write_is_committed(&mut self) -> Duration {
        let begun = self.cluster.now;
        let mut proposed = None;
        while proposed.is_none_or(|index| self.cluster.checks.committed() < index) {
            self.pass(MS);
            if let Some(id) = self.serving().filter(|_| proposed.is_none()) {
                self.cluster.propose(id.0, "a");
                proposed = Some(self.cluster.last_index(id.0));
            }
            assert!(self.cluster.now < begun + Duration::from_secs(10), "no progress");
        }
        self.cluster.now - begun
    }
}

#[test]
fn a_dead_leader_is_replaced_and_a_write_committed_within_half_a_second() {
    let mut longest = Duration::ZERO;
    for seed in 1..=300 {
        for size in [3, 5] {
            let mut timed = Timed::started(size, seed);
            let leader = timed.serving().unwrap();
            timed.cluster.crash(leader.0);
            let took = timed.until_a_write_is_committed();
            assert!(took <= MS * 500, "seed {seed}, of {size}: {took:?}");
            longest = longest.max(took);
        }
    }
    assert!(longest > MS * 250, "it cannot have been dead: {longest:?}");
}

#[test]
fn with_another_one_dead_too_it_takes_no_longer_than_half_a_second_either() {
    for seed in 1..=300 {
        let mut timed = Timed::started(5, seed);
        let leader = timed.serving().unwrap();
        let other = n((leader.0 + seed % 4) % 5 + 1);
        timed.cluster.crash(leader.0);
        timed.cluster.crash(other.0);
        let took = timed.until_a_write_is_committed();
        assert!(took <= MS * 500, "seed {seed}: {took:?}");
    }
}
