//! What happens to processes, disks, clocks and the network as a whole.

use std::time::Duration;

use quorate_core::Protocol;

use super::{Cluster, Happening, Phase};
use crate::checks::Verdict;
use crate::faults::Mishap;
use crate::network::Partition;

impl<P: Protocol> Cluster<P> {
    /// How long it takes to the next mishap of this kind.
    pub(super) fn next_mishap(&mut self, number: usize) -> Duration {
        let mean = self.plan.mishaps[number].1;
        self.mishap_rng.duration(mean / 2, mean * 3 / 2)
    }

    pub(super) fn on_mishap(&mut self, number: usize) -> Verdict {
        if self.phase != Phase::Storm {
            return Ok(());
        }
        let (mishap, mean) = self.plan.mishaps[number];
        self.strike(mishap, mean);
        let delay = self.next_mishap(number);
        self.agenda.after(delay, Happening::Mishap(number));
        Ok(())
    }

    fn strike(&mut self, mishap: Mishap, mean: Duration) {
        self.mishaps += 1;
        let some_node = self.mishap_rng.position(self.nodes.len());
        let ms = Duration::from_millis;
        match mishap {
            Mishap::Crash => self.crash_for(some_node, ms(1000)),
            Mishap::CrashLeader => {
                if let Some(leader) = self.leader() {
                    self.crash_for(leader, ms(1000));
                }
            }
            Mishap::CrashAll => {
                for node in 0..self.nodes.len() {
                    self.crash_for(node, ms(200));
                }
            }
            Mishap::Partition => {
                let shape = Partition::ALL[self.mishap_rng.position(Partition::ALL.len())];
                self.trace.note(self.agenda.now(), None, &format_args!("{shape:?}").to_string());
                self.network.partition(shape);
                let duration = self.mishap_rng.duration(ms(10), mean * 2);
                self.agenda.after(duration, Happening::Heal);
            }
            Mishap::Pause => {
                let duration = self.mishap_rng.duration(ms(1), ms(1000));
                self.pause(some_node, duration);
            }
            Mishap::SlowDisk => {
                self.nodes[some_node].slowness = self.mishap_rng.between(10, 500) as u32;
                let duration = self.mishap_rng.duration(ms(10), ms(1000));
                self.agenda.after(duration, Happening::FastDisk(some_node));
            }
            Mishap::ClockJump => {
                const MOST_US: u64 = 60_000_000;
                let jump = self.mishap_rng.below(2 * MOST_US) as i64 - MOST_US as i64;
                self.nodes[some_node].wall_skew = jump;
            }
        }
    }

    fn crash_for(&mut self, node: usize, most: Duration) {
        if self.nodes[node].process.is_none() {
            return;
        }
        self.crash(node);
        let down = self.mishap_rng.duration(Duration::from_millis(1), most);
        self.agenda.after(down, Happening::Restart(node));
    }
}
