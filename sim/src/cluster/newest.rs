//! What a disk has saved last is lost, and hardly anybody is there who has it: those who never had it
//! are, and must not take it for what nobody has (Alagappan et al. 2018, section 3.4).

use std::time::Duration;

use super::life::Death;
use super::{Cluster, Happening, Phase};
use crate::atlas::Took;
use crate::disk::Damage;
use crate::marks::Mark;
use crate::oracle::Simulated;

impl<P: Simulated> Cluster<P> {
    /// A minority is cut off; the others go on for a while without it.
    pub(super) fn leave_behind(&mut self, node: usize) -> bool {
        let count = self.nodes.len();
        let leader = self.leader();
        let mut behind: Vec<usize> = (1..count).map(|step| (node + step) % count).collect();
        // Without the leader it would take the others an election to go on.
        behind.sort_by_key(|other| Some(*other) == leader);
        behind.truncate((count - 1) / 2);
        if behind.is_empty() {
            return false;
        }
        let round = 2 * self.plan.link.latency.1 + self.plan.disk.sync.1;
        let duration = self.mishap_rng.duration(round, self.plan.settings.election.end);
        let until = self.now() + duration;
        behind.iter().for_each(|other| self.network.isolate(*other, until));
        self.agenda.after(duration, Happening::LoseNewest { node, behind });
        true
    }

    /// Those who went on die. One of them is soon back, without something of what it saved last;
    /// the others are when those who were left behind have had the time to elect somebody.
    pub(super) fn lose_newest(&mut self, node: usize, behind: &[usize]) {
        if self.phase != Phase::Storm {
            return;
        }
        self.note_recoveries();
        for other in (0..self.nodes.len()).filter(|other| !behind.contains(other)) {
            if self.nodes[other].process.is_none() {
                continue; // It is to be started some time anyhow.
            }
            let in_order = other == node && self.mishap_rng.one_in(2);
            self.crash(other, if in_order { Death::InOrder } else { Death::Sudden });
            let election = self.plan.settings.election.end;
            let down = match other == node {
                true => self.mishap_rng.duration(Duration::ZERO, Duration::from_millis(20)),
                false => self.mishap_rng.duration(election, election * 8),
            };
            self.agenda.after(down, Happening::Restart(other));
        }
        if self.damage_newest(node) {
            self.marks.note(Mark::NewestLost);
        }
    }

    /// One of the last groups of a log is damaged, if that is allowed.
    fn damage_newest(&mut self, node: usize) -> bool {
        const LAST: usize = 8;
        if !self.may_take(node, &Took::Anything) {
            return false;
        }
        let it = &self.nodes[node];
        let Ok(inspection) = quorate_storage::inspect(&it.disk) else { return false };
        let groups = inspection.segments.iter().flat_map(|segment| {
            segment.groups.iter().map(|group| (group.sequence, &segment.file, group))
        });
        let mut groups: Vec<_> = groups.collect();
        groups.sort_by_key(|(sequence, ..)| std::cmp::Reverse(*sequence));
        groups.truncate(LAST);
        if groups.is_empty() {
            return false;
        }
        let (_, file, group) = groups[self.mishap_rng.position(groups.len())];
        let place = group.offset..group.offset + group.len;
        let damage = match self.mishap_rng.one_in(2) {
            true => Damage::Flipped,
            false => Damage::Unreadable,
        };
        let is_damaged = it.disk.damage_log(file, place, damage, &mut self.mishap_rng);
        if is_damaged {
            self.note_damage(node, Took::Anything);
            self.trace.note(self.agenda.now(), Some(node), "newest");
        }
        is_damaged
    }
}
