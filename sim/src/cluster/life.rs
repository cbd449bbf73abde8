//! How processes begin and end.

use std::time::Duration;

use quorate_core::{MemTape, Recorded, Recovered, ReplicaConfig};
use quorate_storage::{StorageError, Store, StoreOptions};

use super::{Cluster, Happening, Phase};
use crate::checks::{Condition, Verdict, gave_up, replays};
use crate::clients::{ClientEvent, Reply};
use crate::disk::SimDisk;
use crate::marks::{Mark, sometimes};
use crate::oracle::Simulated;
use crate::process::Process;
use crate::rng::MILLION;
use crate::simulation::Canary;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// At any moment: what it said last may be lost, what it wrote last may be on the disk.
    Sudden,
    /// What it said arrives, and nothing is left of what was not synced.
    AfterLastWords,
    /// As it was asked to: what a storage thread does last is done, if nothing waited for the disk.
    InOrder,
}

impl<P: Simulated> Cluster<P> {
    /// The process of a node starts, from what is on its disk, unless it runs already.
    pub(super) fn start(&mut self, node: usize) -> Verdict {
        let it = &self.nodes[node];
        if it.process.is_some() || it.is_given_up || self.stays_down(node) {
            return Ok(());
        }
        self.trace.note(self.now(), Some(node), "start");
        let now = self.clock(node);
        let members = self.members();
        if self.phase == Phase::Storm && self.disk_rng.one_in(6) {
            self.die_while_opening(node);
        }
        let condition = self.condition(node);
        let is_damaged = condition == Condition::Damaged;
        let (store, mut found) = match self.open(node) {
            Ok(opened) => opened,
            Err(why) if self.nodes[node].disk.has_failed() || self.nodes[node].disk.is_full() => {
                self.trace.note(self.now(), Some(node), &why.to_string());
                self.lose_unsynced(node, Death::Sudden);
                self.agenda.after(Duration::from_millis(100), Happening::Restart(node));
                return Ok(());
            }
            // All of the log that could be read is gone: which snapshots counted, nobody knows.
            Err(why @ StorageError::Damaged { .. }) if is_damaged => {
                self.marks.note(Mark::DirectoryGivenUp);
                self.trace.note(self.now(), Some(node), &why.to_string());
                self.give_up(node, Duration::from_millis(1));
                return Ok(());
            }
            Err(why) => return Err(gave_up(node, &why)),
        };
        let start = found.lineage.latest().count;
        if self.nodes[node].harm.is_past_noticing(start) {
            // The operator has lost patience, and does not know how close that was.
            self.give_up(node, Duration::ZERO);
            return Ok(());
        }
        let is_right = self.checks.recovered(node, &found, condition);
        self.draw_disk(node, &found);
        is_right?;
        self.nodes[node].start = start;
        sometimes!(self.marks, Mark::DamageFoundAtStart, !found.log.gaps.is_empty());
        sometimes!(self.marks, Mark::EndLost, found.mute && is_damaged);
        if self.canary == Some(Canary::ForgetPledge) {
            (found.pledge, found.sworn) = (None, None);
        }
        self.draw_start(node, &found);
        let it = &mut self.nodes[node];
        let config = ReplicaConfig {
            me: it.id,
            members,
            bootstrap: true,
            settings: self.plan.settings_of(node).clone(),
        };
        let applier = self.subject.applier(it.id);
        let mut effects = Vec::new();
        let tape = self.is_recorded.then(MemTape::default);
        let replica = Recorded::recover(config, found, now, &mut effects, tape)
            .map_err(|why| gave_up(node, &why))?;
        let mut process = Process::new(replica, applier, store);
        process.effects = effects;
        it.process = Some(process);
        self.carry_out_effects(node)?;
        self.write_next(node)?;
        self.observe(node)
    }

    /// An operator is to empty the directory; until then nothing is started on it.
    fn give_up(&mut self, node: usize, after: Duration) {
        let it = &mut self.nodes[node];
        it.is_given_up = true;
        self.agenda.after(after, Happening::Empty { node, life: it.life });
    }

    fn condition(&self, node: usize) -> Condition {
        let it = &self.nodes[node];
        match (it.disk.is_damaged(), it.harm.is_none()) {
            (true, _) => Condition::Damaged,
            (false, false) => Condition::Harmed,
            (false, true) => Condition::Sound,
        }
    }

    fn open(&mut self, node: usize) -> Result<(Store<SimDisk>, Recovered), StorageError> {
        let options = StoreOptions {
            segment_bytes: Some(self.plan.segment_bytes),
            group_bytes: self.plan.group_bytes,
            tail_bytes: self.disk_rng.between(0, 20_000) as usize,
        };
        let it = &self.nodes[node];
        let nonce = self.start_rng.bits();
        let opened = Store::open(it.disk.clone(), &it.owner, options, it.incarnation, nonce)?;
        it.disk.vouch_for_the_log();
        Ok(opened)
    }

    /// Everything is at rest, and every machine dies: on the disks is all that the replicas said they
    /// had, but where something was damaged and nobody has read it since.
    pub(super) fn read_disks(&mut self) -> Verdict {
        self.note_recoveries();
        for node in 0..self.nodes.len() {
            self.crash(node, Death::AfterLastWords);
            let condition = self.condition(node);
            let (store, found) = self.open(node).map_err(|why| gave_up(node, &why))?;
            self.checks.recovered(node, &found, condition)?;
            drop(store);
            if self.nodes[node].harm.is_none() {
                self.checks.has_all(node, &found)?;
            }
        }
        Ok(())
    }

    /// A process that begins to read its disk, and to tidy it, and dies.
    fn die_while_opening(&mut self, node: usize) {
        const MOST_CHANGES: u64 = 30;
        self.nodes[node].disk.set_power(Some(self.disk_rng.below(MOST_CHANGES)));
        // Whatever came of it comes to nothing.
        let opened = self.open(node);
        self.nodes[node].disk.set_power(Some(0));
        drop(opened);
        self.lose_unsynced(node, Death::Sudden);
        self.marks.note(Mark::DiedOpening);
    }

    /// A machine dies, or only the process on it: then nothing is lost that was written.
    fn lose_unsynced(&mut self, node: usize, death: Death) {
        const ONLY_THE_PROCESS: u64 = 4;
        let mut faults = self.plan.disk;
        match death {
            Death::AfterLastWords => faults.kept_ppm = 0,
            Death::Sudden if self.disk_rng.one_in(ONLY_THE_PROCESS) => faults.kept_ppm = MILLION,
            Death::Sudden | Death::InOrder => {}
        }
        let loss = self.nodes[node].disk.crash(&mut self.disk_rng, &faults);
        sometimes!(self.marks, Mark::UnsyncedLost, loss.is_any);
        sometimes!(self.marks, Mark::SectorTorn, loss.is_torn);
        sometimes!(self.marks, Mark::LaterSectorKept, loss.is_out_of_order);
    }

    /// The process of a node dies, if it runs; what its disk was still to write is lost.
    pub(super) fn crash(&mut self, node: usize, death: Death) {
        if death == Death::Sudden {
            self.finish_a_step(node);
        }
        if death == Death::InOrder {
            self.close_store(node);
        }
        self.do_jobs_in_part(node);
        let it = &mut self.nodes[node];
        let Some(process) = it.process.take() else { return };
        self.trace.note(self.agenda.now(), Some(node), "crash");
        self.draw_mishap(Some(node), "crash", death);
        let it = &mut self.nodes[node];
        if death == Death::Sudden && self.mishap_rng.one_in(2) {
            it.silent_until = Some(self.agenda.now());
        }
        it.life += 1;
        it.paused = None;
        self.crashes += 1;
        let asked = process.asked;
        drop(process.store);
        self.lose_unsynced(node, death);
        self.keep_image(node);
        self.checks.crashed(node);
        if self.replayed.is_ok() {
            self.replayed = replays(node, process.replica, &mut self.told);
        }
        for asked in asked.into_values() {
            let reply = Reply::ConnectionLost;
            let event = ClientEvent::Answer { op: asked.op, attempt: asked.attempt, reply };
            self.tell(asked.client, event);
        }
    }

    /// The last job of a store, if it is at rest.
    fn close_store(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        let Some(process) = &mut it.process else { return };
        if it.paused.is_some() || process.writing.is_some() {
            return;
        }
        if let Ok(Some(job)) = process.store.close()
            && process.store.run(job).is_ok()
        {
            it.disk.vouch_for_the_log();
            self.marks.note(Mark::StoppedInOrder);
        }
    }

    /// The process of a node stands still. False if it does already, or does not run.
    pub(super) fn pause(&mut self, node: usize, duration: Duration) -> bool {
        let it = &mut self.nodes[node];
        let is_going = it.process.is_some() && it.paused.is_none();
        if is_going {
            self.trace.note(self.agenda.now(), Some(node), "pause");
            it.paused = Some(Vec::new());
            it.paused_until = self.agenda.now() + duration;
            self.agenda.after(duration, Happening::Resume(node));
        }
        is_going
    }

    /// The process of a node stands still no longer, unless it was stopped again since.
    pub(super) fn on_resume(&mut self, node: usize) -> Verdict {
        if self.now() < self.nodes[node].paused_until { Ok(()) } else { self.resume(node) }
    }

    /// The process of a node goes on, with all that has come for it.
    pub(super) fn resume(&mut self, node: usize) -> Verdict {
        let Some(deferred) = self.nodes[node].paused.take() else { return Ok(()) };
        self.trace.note(self.now(), Some(node), "resume");
        let life = self.nodes[node].life;
        deferred.into_iter().try_for_each(|what| self.on_local(node, life, what))
    }
}
