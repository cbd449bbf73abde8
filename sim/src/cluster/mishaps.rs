//! What happens to processes, disks, clocks and the network as a whole.

use std::time::Duration;

use quorate_core::Event;

use super::life::Death;
use super::{Cluster, Happening, Phase};
use crate::checks::Verdict;
use crate::disk::Damage;
use crate::faults::Mishap;
use crate::network::Partition;
use crate::oracle::Simulated;
use crate::rng::Rng;

impl<P: Simulated> Cluster<P> {
    /// How long it takes to the next mishap of this kind.
    pub(super) fn next_mishap(&mut self, number: usize) -> Duration {
        let mean = self.plan.mishaps[number].1;
        self.mishap_rngs[number].duration(mean / 2, mean * 3 / 2)
    }

    pub(super) fn on_mishap(&mut self, number: usize) -> Verdict {
        if self.phase != Phase::Storm {
            return Ok(());
        }
        let (mishap, mean) = self.plan.mishaps[number];
        if !self.plan.skipped.contains(&self.mishaps) {
            std::mem::swap(&mut self.mishap_rng, &mut self.mishap_rngs[number]);
            self.strike(mishap, mean);
            std::mem::swap(&mut self.mishap_rng, &mut self.mishap_rngs[number]);
        }
        self.mishaps += 1;
        let delay = self.next_mishap(number);
        self.agenda.after(delay, Happening::Mishap(number));
        Ok(())
    }

    fn strike(&mut self, mishap: Mishap, mean: Duration) {
        let some_node = self.mishap_rng.position(self.nodes.len());
        let struck = if mishap.is_of_a_node() {
            Some(some_node)
        } else {
            self.leader().filter(|_| mishap.is_of_the_leader())
        };
        self.draw_mishap(struck, "mishap", mishap);
        let ms = Duration::from_millis;
        match mishap {
            Mishap::Crash => self.crash_for(some_node, self.plan.downtime),
            Mishap::CrashLeader => {
                if let Some(leader) = self.leader() {
                    self.crash_for(leader, self.plan.downtime);
                }
            }
            Mishap::CrashWriting => {
                self.nodes[some_node].doomed_in = Some(self.mishap_rng.below(6));
            }
            Mishap::CrashSpeaking => {
                self.nodes[some_node].last_words_in = Some(self.mishap_rng.below(6));
            }
            Mishap::FellLeaders => {
                let duration = self.mishap_rng.duration(ms(50), mean);
                self.leaders_fall_until = self.now() + duration;
            }
            Mishap::CrashAll => {
                for node in 0..self.nodes.len() {
                    self.crash_for(node, ms(200));
                }
            }
            Mishap::Partition => {
                let shape = Partition::ALL[self.mishap_rng.position(Partition::ALL.len())];
                self.trace.note(self.agenda.now(), None, &format_args!("{shape:?}").to_string());
                let leader = self.leader().filter(|_| self.mishap_rng.one_in(2));
                let number = self.network.partition(shape, leader.unwrap_or(some_node));
                let duration = match self.mishap_rng.one_in(3) {
                    true => self.about_an_election(),
                    false => self.mishap_rng.duration(ms(10), mean * 2),
                };
                self.agenda.after(duration, Happening::Heal(number));
            }
            Mishap::Clog => {
                let until = self.now() + self.about_an_election();
                self.network.clog(some_node, until);
            }
            Mishap::Pause => {
                let duration = self.mishap_rng.duration(ms(1), ms(1000));
                self.pause(some_node, duration);
            }
            Mishap::FreezeLeader => self.freeze_leader(),
            Mishap::SlowDisk => {
                self.nodes[some_node].slowness = self.mishap_rng.between(10, 500) as u32;
                let duration = self.mishap_rng.duration(ms(10), ms(1000));
                self.agenda.after(duration, Happening::FastDisk(some_node));
            }
            Mishap::StallDisk => {
                self.nodes[some_node].stalled_until = self.now() + self.about_an_election();
            }
            Mishap::FullDisk => {
                self.nodes[some_node].disk.set_full(true);
                let duration = self.mishap_rng.duration(ms(10), ms(1000));
                self.agenda.after(duration, Happening::RoomyDisk(some_node));
            }
            Mishap::FadeLeader => self.fade_leader(),
            Mishap::HandOver => self.hand_over(some_node),
            Mishap::ClockJump => {
                const MOST_US: u64 = 60_000_000;
                let jump = self.mishap_rng.below(2 * MOST_US) as i64 - MOST_US as i64;
                self.nodes[some_node].clock.wall_skew = jump;
            }
            Mishap::ClockRate => {
                let rate = match self.mishap_rng.one_in(3) {
                    true => self.mishap_rng.between(300_000, 3_000_000),
                    false => self.mishap_rng.between(900_000, 1_100_000),
                };
                let now = self.now();
                self.nodes[some_node].clock.set_rate(now, rate);
            }
            Mishap::SlowNode => {
                self.nodes[some_node].sluggishness = self.mishap_rng.between(5, 200) as u32;
                let duration = self.mishap_rng.duration(ms(10), ms(1000));
                self.agenda.after(duration, Happening::FastNode(some_node));
            }
            Mishap::Overload => {
                self.clients.rush(true);
                let duration = self.mishap_rng.duration(ms(10), ms(500));
                self.agenda.after(duration, Happening::EndRush);
            }
            Mishap::CrashRestoring => self.nodes[some_node].dies_restoring = true,
            Mishap::FailSync => {
                let rng = Rng::new(self.mishap_rng.bits(), "failing sync");
                let after = self.mishap_rng.below(6);
                self.nodes[some_node].disk.set_failing_sync(Some((after, rng)));
            }
            Mishap::FlipBits => self.damage(some_node, Damage::Flipped),
            Mishap::LoseSectors => self.damage(some_node, Damage::Unreadable),
            Mishap::MisdirectWrite => self.damage(some_node, Damage::Misdirected),
            Mishap::WipeDisk => self.wipe(some_node),
            Mishap::RestoreImage => self.restore_image(some_node),
        }
    }

    /// Long enough for a leader to be replaced, or just not.
    fn about_an_election(&mut self) -> Duration {
        let election = self.plan.settings.election.clone();
        self.mishap_rng.duration(election.start / 2, election.end * 3 / 2)
    }

    /// The leader stands still. What is on its way to it arrives meanwhile, but mostly nothing
    /// that is sent later, so that it goes on from where it was.
    fn freeze_leader(&mut self) {
        let Some(leader) = self.leader() else { return };
        let duration = self.about_an_election();
        self.pause(leader, duration);
        if !self.mishap_rng.one_in(4) {
            let number = self.network.partition(Partition::Isolate, leader);
            let longer = self.mishap_rng.duration(Duration::ZERO, duration / 2);
            self.agenda.after(duration + longer, Happening::Heal(number));
        }
    }

    /// The leader's messages cease to arrive, at one node after the other. The last of them has
    /// entries on the way to its disk all the time until somebody else is elected.
    fn fade_leader(&mut self) {
        let Some(leader) = self.leader() else { return };
        let election = self.plan.settings.election.clone();
        let last = self.mishap_rng.position(self.nodes.len());
        let stays = self.mishap_rng.duration(Duration::ZERO, election.start);
        for to in (0..self.nodes.len()).filter(|to| *to != leader) {
            let earlier = self.mishap_rng.duration(Duration::ZERO, stays);
            let delay = if to == last { stays } else { earlier };
            self.agenda.after(delay, Happening::Cut { from: leader, to });
        }
        let saved_after = self.mishap_rng.duration(election.start, election.end);
        self.nodes[last].stalled_until = self.now() + stays + saved_after;
        self.agenda.after(stays + election.end * 2, Happening::HealAll);
    }

    pub(super) fn on_cut(&mut self, from: usize, to: usize) {
        if self.phase == Phase::Storm {
            self.network.cut(from, to);
        }
    }

    /// The leader hands over, perhaps to `node`, which in turn may lead before it has saved that
    /// it does, and die before it has: perhaps without the leader's notice.
    fn hand_over(&mut self, node: usize) {
        let Some(leader) = self.leader() else { return };
        self.post(leader, Event::HandOver);
        if node == leader || self.mishap_rng.one_in(2) {
            return;
        }
        self.nodes[node].stalled_until = self.now() + self.about_an_election();
        self.nodes[node].last_words_in = Some(self.mishap_rng.below(12));
        if self.mishap_rng.one_in(2) {
            self.network.cut(node, leader);
            let duration = self.about_an_election();
            self.agenda.after(duration, Happening::HealAll);
        }
    }

    /// A node sends a message. If it vouches for something, or the disk has work, it may be the
    /// node's last.
    pub(super) fn on_speech(&mut self, node: usize, vouches: bool) {
        let it = &mut self.nodes[node];
        let Some(words) = &mut it.last_words_in else { return };
        let is_busy = it.process.as_ref().is_some_and(|process| process.writing.is_some());
        if !vouches && !is_busy {
            return;
        }
        if let Some(fewer) = words.checked_sub(1) {
            *words = fewer;
            return;
        }
        it.last_words_in = None;
        let life = it.life;
        // While it is said, and heard, and answered: then all that was not synced is forgotten.
        let round = 2 * self.plan.link.latency.1;
        let delay = self.mishap_rng.duration(Duration::ZERO, round);
        self.agenda.after(delay, Happening::Silence { node, life });
    }

    /// A node has said its last word.
    pub(super) fn silence(&mut self, node: usize, life: u64) {
        if self.phase == Phase::Storm && self.nodes[node].life == life {
            self.crash(node, Death::AfterLastWords);
            let down = self.mishap_rng.duration(Duration::ZERO, Duration::from_millis(20));
            self.agenda.after(down, Happening::Restart(node));
        }
    }

    /// Somebody has begun to lead: these are times in which that does not last. Every other one
    /// is cut off before it has said a word, so that the entry which opens its reign is on its
    /// own disk only.
    pub(super) fn on_new_leader(&mut self, node: usize) {
        if self.phase != Phase::Storm || self.now() >= self.leaders_fall_until {
            return;
        }
        let sync = self.plan.disk.sync.1;
        let round = 2 * self.plan.link.latency.1 + sync;
        let mut delay = self.mishap_rng.duration(Duration::ZERO, 2 * round);
        let life = self.nodes[node].life;
        if self.mishap_rng.one_in(2) {
            self.nodes[node].silent_until = Some(self.agenda.now());
            let number = self.network.partition(Partition::Isolate, node);
            delay = sync + self.mishap_rng.duration(Duration::ZERO, sync);
            self.agenda.after(delay, Happening::Heal(number));
        }
        self.agenda.after(delay, Happening::Fell { node, life });
    }

    /// Somebody has committed what nobody knew to be: in such times that may be the last thing
    /// that it does, before it tells anybody.
    pub(super) fn on_commit(&mut self, node: usize) {
        let falls = self.phase == Phase::Storm && self.now() < self.leaders_fall_until;
        if falls && self.mishap_rng.one_in(4) {
            self.crash_for(node, self.plan.downtime);
        }
    }

    pub(super) fn fell(&mut self, node: usize, life: u64) {
        let ms = Duration::from_millis;
        if self.phase != Phase::Storm || self.nodes[node].life != life {
            return;
        }
        match self.mishap_rng.below(4) {
            0 => {
                let number = self.network.partition(Partition::Isolate, node);
                let duration = self.mishap_rng.duration(ms(20), ms(500));
                self.agenda.after(duration, Happening::Heal(number));
            }
            1 => {
                let duration = self.mishap_rng.duration(ms(20), ms(500));
                self.pause(node, duration);
            }
            _ => self.crash_for(node, self.plan.downtime),
        }
    }

    /// A node does one thing more to its disk. True if that is its death.
    pub(super) fn is_doomed(&mut self, node: usize) -> bool {
        match &mut self.nodes[node].doomed_in {
            Some(0) => {
                self.nodes[node].doomed_in = None;
                self.phase == Phase::Storm
            }
            Some(steps) => {
                *steps -= 1;
                false
            }
            None => false,
        }
    }

    pub(super) fn crash_for(&mut self, node: usize, most: Duration) {
        if self.nodes[node].process.is_none() {
            return;
        }
        self.crash(node, Death::Sudden);
        let down = self.mishap_rng.duration(Duration::from_millis(1), most);
        self.agenda.after(down, Happening::Restart(node));
    }
}
