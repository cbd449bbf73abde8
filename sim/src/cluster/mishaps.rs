//! What happens to processes, disks, clocks and the network as a whole.

use std::time::Duration;

use quorate_core::Event;

use super::life::Death;
use super::{Cluster, Happening, Phase};
use crate::checks::Verdict;
use crate::clock::Time;
use crate::disk::Damage;
use crate::faults::Mishap;
use crate::marks::{Mark, sometimes};
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
        if !self.plan.skipped.contains(&self.strikes) {
            std::mem::swap(&mut self.mishap_rng, &mut self.mishap_rngs[number]);
            if self.strike(mishap, mean) {
                self.struck.note(mishap);
            }
            std::mem::swap(&mut self.mishap_rng, &mut self.mishap_rngs[number]);
        }
        self.strikes += 1;
        let delay = self.next_mishap(number);
        self.agenda.after(delay, Happening::Mishap(number));
        Ok(())
    }

    /// True if there was anything to strike.
    fn strike(&mut self, mishap: Mishap, mean: Duration) -> bool {
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
            Mishap::CrashWriting => {
                let after = self.mishap_rng.below(6);
                self.nodes[some_node].doomed_in.replace(after).is_none()
            }
            Mishap::CrashSpeaking => {
                let after = self.mishap_rng.below(6);
                self.nodes[some_node].last_words_in.replace(after).is_none()
            }
            Mishap::FellLeaders => {
                let duration = self.mishap_rng.duration(ms(50), mean);
                self.leaders_fall_until = self.now() + duration;
                true
            }
            Mishap::CrashAll => {
                let crashes = self.crashes;
                for node in 0..self.nodes.len() {
                    self.crash_for(node, ms(200));
                }
                self.crashes > crashes
            }
            Mishap::Partition => self.part(some_node, mean),
            Mishap::Clog => {
                let until = self.now() + self.about_an_election();
                self.network.clog(some_node, until);
                true
            }
            Mishap::Pause => {
                let duration = self.mishap_rng.duration(ms(1), ms(1000));
                self.pause(some_node, duration)
            }
            Mishap::CrashLeader | Mishap::FreezeLeader | Mishap::FadeLeader | Mishap::HandOver => {
                self.strike_leader(mishap, some_node)
            }
            Mishap::ClockJump | Mishap::ClockRate => {
                self.disturb_clock(mishap, some_node);
                true
            }
            Mishap::SlowNode => {
                let times = self.mishap_rng.between(5, 200) as u32;
                let until = self.now() + self.mishap_rng.duration(ms(10), ms(1000));
                let now = self.now();
                self.nodes[some_node].sluggishness.begin(now, times, until);
                true
            }
            Mishap::Overload => {
                let duration = self.mishap_rng.duration(ms(10), ms(500));
                self.clients.rush(true);
                self.rush_until = self.rush_until.max(self.now() + duration);
                self.agenda.after(duration, Happening::EndRush);
                true
            }
            Mishap::CrashRestoring => {
                !std::mem::replace(&mut self.nodes[some_node].dies_restoring, true)
            }
            Mishap::CrashFetching => {
                !std::mem::replace(&mut self.nodes[some_node].dies_fetching, true)
            }
            Mishap::SlowDisk | Mishap::StallDisk | Mishap::FullDisk | Mishap::FailSync => {
                self.hinder_disk(mishap, some_node);
                true
            }
            Mishap::FlipBits => self.damage(some_node, Damage::Flipped),
            Mishap::LoseSectors => self.damage(some_node, Damage::Unreadable),
            Mishap::MisdirectWrite => self.damage(some_node, Damage::Misdirected),
            Mishap::LoseNewest => self.leave_behind(some_node),
            Mishap::WipeDisk => self.wipe(some_node),
            Mishap::RestoreImage => self.restore_image(some_node),
        }
    }

    fn strike_leader(&mut self, mishap: Mishap, some_node: usize) -> bool {
        let Some(leader) = self.leader() else { return false };
        match mishap {
            Mishap::CrashLeader => return self.crash_for(leader, self.plan.downtime),
            Mishap::FreezeLeader => return self.freeze(leader),
            Mishap::FadeLeader => self.fade(leader),
            Mishap::HandOver => self.hand_over(leader, some_node),
            _ => unreachable!("{mishap:?} is not of the leader"),
        }
        true
    }

    /// A partition, perhaps around the leader. True if it cuts anything.
    fn part(&mut self, some_node: usize, mean: Duration) -> bool {
        let shape = Partition::ALL[self.mishap_rng.position(Partition::ALL.len())];
        self.trace.note(self.agenda.now(), None, &format_args!("{shape:?}").to_string());
        let leader = self.leader().filter(|_| self.mishap_rng.one_in(2));
        let number = self.network.partition(shape, leader.unwrap_or(some_node));
        let duration = match self.mishap_rng.one_in(3) {
            true => self.about_an_election(),
            false => self.mishap_rng.duration(Duration::from_millis(10), mean * 2),
        };
        self.agenda.after(duration, Happening::Heal(number));
        let is_parted = self.network.is_parted();
        sometimes!(self.marks, shape.mark(), is_parted);
        is_parted
    }

    fn disturb_clock(&mut self, mishap: Mishap, node: usize) {
        if mishap == Mishap::ClockJump {
            const MOST_US: u64 = 60_000_000;
            let jump = self.mishap_rng.below(2 * MOST_US) as i64 - MOST_US as i64;
            self.nodes[node].clock.wall_skew = jump;
            return;
        }
        let rate = match self.mishap_rng.one_in(3) {
            true => self.mishap_rng.between(300_000, 3_000_000),
            false => self.mishap_rng.between(900_000, 1_100_000),
        };
        let now = self.now();
        self.nodes[node].clock.set_rate(now, rate);
    }

    fn hinder_disk(&mut self, mishap: Mishap, node: usize) {
        let (now, ms) = (self.now(), Duration::from_millis);
        let duration = match mishap {
            Mishap::StallDisk => self.about_an_election(),
            _ => self.mishap_rng.duration(ms(10), ms(1000)),
        };
        let it = &mut self.nodes[node];
        match mishap {
            Mishap::SlowDisk => {
                it.slowness.begin(now, self.mishap_rng.between(10, 500) as u32, now + duration);
            }
            Mishap::StallDisk => it.stalled_until = it.stalled_until.max(now + duration),
            Mishap::FullDisk => {
                it.disk.set_full(true);
                it.full_until = it.full_until.max(now + duration);
                self.agenda.after(duration, Happening::RoomyDisk(node));
            }
            _ => {
                let rng = Rng::new(self.mishap_rng.bits(), "failing sync");
                let after = self.mishap_rng.below(6);
                it.disk.set_failing_sync(Some((after, rng)));
            }
        }
    }

    /// There is room on a disk again, unless it was filled again since.
    pub(super) fn on_roomy_disk(&mut self, node: usize) {
        let now = self.now();
        let it = &mut self.nodes[node];
        if now >= it.full_until {
            it.disk.set_full(false);
        }
    }

    pub(super) fn on_end_of_rush(&mut self) {
        if self.now() >= self.rush_until {
            self.clients.rush(false);
        }
    }

    /// Long enough for a leader to be replaced, or just not.
    fn about_an_election(&mut self) -> Duration {
        let election = self.plan.settings.election.clone();
        self.mishap_rng.duration(election.start / 2, election.end * 3 / 2)
    }

    /// The leader stands still. What is on its way to it arrives meanwhile, but mostly nothing
    /// that is sent later, so that it goes on from where it was.
    fn freeze(&mut self, leader: usize) -> bool {
        let duration = self.about_an_election();
        let is_stopped = self.pause(leader, duration);
        let is_cut = !self.mishap_rng.one_in(4);
        if is_cut {
            let longer = self.mishap_rng.duration(Duration::ZERO, duration / 2);
            let until = self.now() + duration + longer;
            self.network.isolate(leader, until);
        }
        is_stopped || is_cut
    }

    /// The leader's messages cease to arrive, at one node after the other. The last of them has
    /// entries on the way to its disk all the time until somebody else is elected.
    fn fade(&mut self, leader: usize) {
        let election = self.plan.settings.election.clone();
        let last = self.mishap_rng.position(self.nodes.len());
        let stays = self.mishap_rng.duration(Duration::ZERO, election.start);
        let until = self.now() + stays + election.end * 2;
        for to in (0..self.nodes.len()).filter(|to| *to != leader) {
            let earlier = self.mishap_rng.duration(Duration::ZERO, stays);
            let delay = if to == last { stays } else { earlier };
            self.agenda.after(delay, Happening::Cut { from: leader, to, until });
        }
        let saved_after = self.mishap_rng.duration(election.start, election.end);
        let stalled = self.now() + stays + saved_after;
        let it = &mut self.nodes[last];
        it.stalled_until = it.stalled_until.max(stalled);
    }

    pub(super) fn on_cut(&mut self, from: usize, to: usize, until: Time) {
        if self.phase == Phase::Storm {
            self.network.cut(from, to, until);
        }
    }

    /// The leader hands over, perhaps to `node`, which in turn may lead before it has saved that
    /// it does, and die before it has: perhaps without the leader's notice.
    fn hand_over(&mut self, leader: usize, node: usize) {
        self.post(leader, Event::HandOver);
        if node == leader || self.mishap_rng.one_in(2) {
            return;
        }
        let stalled = self.now() + self.about_an_election();
        let it = &mut self.nodes[node];
        it.stalled_until = it.stalled_until.max(stalled);
        it.last_words_in = Some(self.mishap_rng.below(12));
        if self.mishap_rng.one_in(2) {
            let until = self.now() + self.about_an_election();
            self.network.cut(node, leader, until);
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

    /// A node's process is to die within this time, amid what it does.
    pub(super) fn dies_soon(&mut self, node: usize, within: Duration, amid: Mark) {
        let life = self.nodes[node].life;
        let delay = self.mishap_rng.duration(Duration::ZERO, within);
        self.agenda.after(delay, Happening::Die { node, life, amid });
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
            delay = sync + self.mishap_rng.duration(Duration::ZERO, sync);
            let until = self.now() + delay;
            self.network.isolate(node, until);
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
                let until = self.now() + self.mishap_rng.duration(ms(20), ms(500));
                self.network.isolate(node, until);
            }
            1 => {
                let duration = self.mishap_rng.duration(ms(20), ms(500));
                self.pause(node, duration);
            }
            _ => {
                self.crash_for(node, self.plan.downtime);
            }
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

    /// True if there was a process to die.
    pub(super) fn crash_for(&mut self, node: usize, most: Duration) -> bool {
        if self.nodes[node].process.is_none() {
            return false;
        }
        let death = if self.mishap_rng.one_in(4) { Death::InOrder } else { Death::Sudden };
        self.crash(node, death);
        let down = self.mishap_rng.duration(Duration::from_millis(1), most);
        self.agenda.after(down, Happening::Restart(node));
        true
    }
}
