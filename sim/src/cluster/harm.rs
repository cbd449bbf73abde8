//! Faults that take something from a disk for good, as far as the [atlas](crate::atlas) allows.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use quorate_core::{Disk, Fatal, Incarnation, Index, Log, Protocol, Start};

use super::life::Death;
use super::{Cluster, Happening};
use crate::atlas::{Harm, Image, Took, allows};
use crate::checks::{Verdict, gave_up, has_lost};
use crate::disk::{Damage, Part, SimDisk};
use crate::marks::Mark;
use crate::oracle::Simulated;
use crate::process::{Node, Process};

impl<P: Simulated> Cluster<P> {
    pub(super) fn may_take(&self, node: usize, took: &Took) -> bool {
        allows(self.nodes.iter().map(|node| &node.harm), node, took)
    }

    /// Notes which replicas have made good what they lost.
    pub(super) fn note_recoveries(&mut self) {
        for (number, node) in self.nodes.iter_mut().enumerate() {
            // What a snapshot made good is missing again after a crash, as long as the disk does not point
            // to that.
            let points_there = |log: &Log| self.checks.points_to(number, log.snapshot());
            if !node.harm.is_none() && node.is_well() && node.log().is_some_and(points_there) {
                node.harm = Harm::default();
            }
        }
    }

    /// Part of a disk is damaged, under a running process or not. False if there is nothing to damage,
    /// or no damage is allowed.
    pub(super) fn damage(&mut self, node: usize, damage: Damage) -> bool {
        self.note_recoveries();
        let part = match self.mishap_rng.below(10) {
            0..6 => Part::Log,
            6..9 => Part::Snapshot,
            _ => Part::Meta,
        };
        let it = &mut self.nodes[node];
        let Some(wound) = it.disk.damage(part, damage, &mut self.mishap_rng) else { return false };
        let took = match (&it.process, part) {
            (Some(process), Part::Log) => process.damaged_entries(),
            _ => Some(Took::Anything),
        };
        match took {
            Some(took) if self.may_take(node, &took) => {
                self.note_damage(node, took);
                self.trace.note(self.agenda.now(), Some(node), &(damage as u8, part as u8));
                true
            }
            _ => {
                self.nodes[node].disk.heal(wound);
                false
            }
        }
    }

    /// Damage has taken this from a disk.
    pub(super) fn note_damage(&mut self, node: usize, took: Took) {
        let it = &mut self.nodes[node];
        it.harm.take(took, it.life);
        self.marks.note(Mark::DiskDamaged);
    }

    /// A machine gets an empty disk, if that is allowed.
    pub(super) fn wipe(&mut self, node: usize) -> bool {
        self.note_recoveries();
        let may = self.may_take(node, &Took::Anything);
        if may {
            self.marks.note(Mark::DiskWiped);
            self.replace_disk(node);
            let down = self.mishap_rng.duration(Duration::from_millis(1), self.plan.downtime);
            self.agenda.after(down, Happening::Restart(node));
        }
        may
    }

    /// The disk of a replica is replaced by an empty one. Its process dies, if it runs.
    fn replace_disk(&mut self, node: usize) {
        self.crash(node, Death::Sudden);
        self.trace.note(self.now(), Some(node), "wiped");
        let it = &mut self.nodes[node];
        it.disk = Arc::default();
        it.is_given_up = false;
        it.incarnation = Incarnation(self.birth_rng.bits());
        it.image = None;
        it.harm.unnoticed = None;
        it.harm.take(Took::Anything, it.life);
        let incarnation = it.incarnation;
        self.checks.wiped(node);
        self.checks.has_disk(node, incarnation);
    }

    /// A disk is put back to what it was, if that can be noticed.
    pub(super) fn restore_image(&mut self, node: usize) -> bool {
        self.note_recoveries();
        let it = &self.nodes[node];
        let Some(image) = &it.image else { return false };
        let start = Start { count: image.start, nonce: 0 };
        let known = Disk { incarnation: image.incarnation, start };
        let is_alone = self.nodes.iter().all(|node| node.harm.is_none());
        let can_be_noticed = is_alone
            && image.incarnation == it.incarnation
            && self.may_take(node, &Took::Anything)
            && self.checks.know_a_later_start(node, known);
        if !can_be_noticed {
            return false;
        }
        let Some(image) = self.nodes[node].image.take() else { return false };
        self.crash(node, Death::Sudden);
        self.trace.note(self.now(), Some(node), "put back");
        self.marks.note(Mark::ImagePutBack);
        let it = &mut self.nodes[node];
        it.disk = image.disk.clone();
        it.harm.take(Took::Anything, it.life);
        it.harm.unnoticed = Some(start.count);
        self.checks.put_back(node, &image.held);
        let down = self.mishap_rng.duration(Duration::from_millis(1), self.plan.downtime);
        self.agenda.after(down, Happening::Restart(node));
        true
    }

    /// A machine is off: what its disk holds may be put back some day.
    pub(super) fn keep_image(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        if it.harm.is_none() && self.image_rng.one_in(4) {
            it.image = Some(Box::new(Image {
                disk: Arc::new(it.disk.image()),
                held: self.checks.image(node),
                incarnation: it.incarnation,
                start: it.start,
            }));
        }
    }

    /// A replica is told that it has acknowledged more than its disk holds.
    pub(super) fn on_loss(&mut self, node: usize) -> Verdict {
        self.marks.note(Mark::AcknowledgedLost);
        has_lost(node, !self.nodes[node].harm.is_none())
    }

    /// A process cannot go on with its disk. If a sync has failed, the process is started anew;
    /// otherwise there is no excuse: damage to the log is lived with.
    pub(super) fn stop(&mut self, node: usize, why: &dyn Display) -> Verdict {
        if !self.nodes[node].disk.has_failed() {
            return Err(gave_up(node, why));
        }
        self.marks.note(Mark::SyncFailed);
        self.start_anew(node);
        Ok(())
    }

    /// A process cannot take over a snapshot. If its disk is damaged, it finds another one at its next
    /// start.
    pub(super) fn stop_over_snapshot(&mut self, node: usize, why: &dyn Display) -> Verdict {
        if !self.nodes[node].disk.is_damaged() {
            return self.stop(node, why);
        }
        self.marks.note(Mark::SnapshotUnreadable);
        self.start_anew(node);
        Ok(())
    }

    fn start_anew(&mut self, node: usize) {
        self.trace.note(self.now(), Some(node), "stop");
        self.crash(node, Death::Sudden);
        let down = self.mishap_rng.duration(Duration::from_millis(1), Duration::from_millis(500));
        self.agenda.after(down, Happening::Restart(node));
    }

    /// A process says that it cannot go on.
    pub(super) fn on_fatal(&mut self, node: usize, why: &Fatal) -> Verdict {
        let it = &self.nodes[node];
        match why {
            Fatal::OldImage { .. } if it.harm.is_unnoticed() => {
                self.marks.note(Mark::ImageNoticed);
                // The operator does what the message says.
                let life = it.life;
                self.agenda.after(Duration::ZERO, Happening::Empty { node, life });
                Ok(())
            }
            _ => Err(gave_up(node, why)),
        }
    }

    /// An operator empties a directory that cannot be used any more, and starts the process again.
    pub(super) fn empty(&mut self, node: usize, life: u64) {
        if self.nodes[node].life == life {
            self.replace_disk(node);
            self.agenda.after(Duration::from_millis(1), Happening::Restart(node));
        }
    }
}

impl SimDisk {
    /// True if something is wrong with it that a process cannot always live with.
    pub(super) fn is_faulty(&self) -> bool {
        self.is_damaged() || self.has_failed()
    }
}

impl<P: Protocol> Node<P> {
    fn log(&self) -> Option<&Log> {
        self.process.as_ref().and_then(|process| process.replica.log())
    }

    /// True if the replica counts and has all that it should have.
    fn is_well(&self) -> bool {
        self.log().is_some_and(|log| log.may_vouch() && log.is_whole())
            && !self.harm.is_unnoticed()
            && (!self.disk.is_damaged() || self.harm.is_before(self.life))
    }
}

impl<P: Protocol> Process<P> {
    /// What of the log cannot be read any more. `None` if that cannot be told at this moment.
    fn damaged_entries(&self) -> Option<Took> {
        let log = self.replica.log()?;
        if !log.is_whole() || self.writing.is_some() {
            return None;
        }
        let (mut from, mut gaps) = (log.base().index.next(), Vec::new());
        loop {
            let scrubbed = self.reader.scrub(from, usize::MAX).ok()?;
            gaps.extend(scrubbed.gaps);
            if scrubbed.next > log.durable() || scrubbed.next <= from {
                break;
            }
            from = scrubbed.next;
        }
        // What is not committed may yet be cut off, and then it is nobody's.
        let is_settled = |index: Index| index <= log.committed();
        gaps.iter().all(|gap| is_settled(gap.last)).then(|| Took::entries(&gaps))
    }
}
