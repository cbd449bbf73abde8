//! What stands for the storage thread: the real log on disk, step by step, at the disk's pace.

use std::time::Duration;

use quorate_core::{Event, Protocol, WriteSeq};
use quorate_storage::{Job, Step, StorageError};

use super::{Cluster, Happening, gave_up};
use crate::checks::Verdict;
use crate::oracle::Simulated;
use crate::process::{HelperJob, Local, Process, Writing};
use crate::simulation::Canary;

/// After how much time without work the last write is vouched for.
const IDLE: Duration = Duration::from_millis(10);

impl<P: Simulated> Cluster<P> {
    /// Begins the next job, unless one is underway or there is none.
    pub(super) fn write_next(&mut self, node: usize) -> Verdict {
        let now = self.now();
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        if process.writing.is_some() {
            return Ok(());
        }
        let job = process.next_job().map_err(|why| gave_up(node, &why))?;
        process.writing = job.map(|job| Writing { job, done: 0 });
        if process.writing.is_some() {
            self.plan_step(node);
        } else if !process.is_attested {
            process.idle_since = now;
            self.plan_local(node, IDLE, Local::Idle);
        }
        Ok(())
    }

    fn plan_step(&mut self, node: usize) {
        let disk = self.plan.disk;
        let it = &self.nodes[node];
        let Some(writing) = it.process.as_ref().and_then(|process| process.writing.as_ref()) else {
            return;
        };
        let (from, to) = match writing.job.steps().get(writing.done) {
            Some(Step::Sync { .. } | Step::SyncDir) => disk.sync,
            Some(_) => disk.access,
            None => (Duration::ZERO, Duration::ZERO),
        };
        let delay = self.disk_rng.duration(from, to) * it.slowness;
        self.plan_local(node, delay, Local::Written);
    }

    /// The thread is done with a step.
    pub(super) fn on_written(&mut self, node: usize) -> Verdict {
        if self.is_doomed(node) {
            self.crash_for(node, Duration::from_millis(500));
            return Ok(());
        }
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        let mut writing = process.writing.take().expect("a step of a job");
        if let Some(step) = writing.job.steps().get(writing.done) {
            process.store.run_step(step).map_err(|why| gave_up(node, &why))?;
            writing.done += 1;
        }
        if writing.done < writing.job.steps().len() {
            process.writing = Some(writing);
            self.plan_step(node);
            return Ok(());
        }
        let done = process.store.complete(writing.job);
        let has_room = process.store.has_room();
        if std::mem::replace(&mut process.has_room, has_room) != has_room {
            self.post(node, Event::Room(has_room));
        }
        if done.is_untidy {
            self.help(node, HelperJob::Tidy);
        }
        if let Some(seq) = done.saved {
            self.checks.synced(node, seq)?;
            if self.canary != Some(Canary::AcknowledgeBeforeSync) {
                self.report_saved(node, seq);
            }
        }
        self.write_next(node)
    }

    /// The thread has had nothing to do for a while, unless something came up.
    pub(super) fn on_idle(&mut self, node: usize) -> Verdict {
        let now = self.now();
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        if process.writing.is_some() || process.is_attested || process.idle_since + IDLE > now {
            return Ok(());
        }
        process.is_attested = true;
        if let Some(job) = process.store.attest().map_err(|why| gave_up(node, &why))? {
            self.marks.note("writes attested");
            process.writing = Some(Writing { job, done: 0 });
            self.plan_step(node);
        }
        Ok(())
    }

    /// The step that is underway when the process dies happens as well, or does not.
    pub(super) fn finish_a_step(&mut self, node: usize) {
        let Some(process) = &self.nodes[node].process else { return };
        let Some(writing) = &process.writing else { return };
        if let Some(step) = writing.job.steps().get(writing.done)
            && self.disk_rng.one_in(2)
        {
            // Whoever would be told of it is dead.
            let _ = process.store.run_step(step);
        }
    }

    pub(super) fn report_saved(&mut self, node: usize, seq: WriteSeq) {
        let time = self.report_time();
        let life = self.nodes[node].life;
        let Some(process) = &mut self.nodes[node].process else { return };
        process.last_saved = time.max(process.last_saved);
        let what = Local::Event(Event::Saved(seq));
        self.agenda.at(process.last_saved, Happening::Local { node, life, what });
    }
}

impl<P: Protocol> Process<P> {
    /// What the thread does next, as the real one chooses: save what waits, or keep things in
    /// order, in turn.
    fn next_job(&mut self) -> Result<Option<Job>, StorageError> {
        if std::mem::take(&mut self.order_is_due)
            && let Some(job) = self.store.maintenance()?
        {
            return Ok(Some(job));
        }
        if self.store.has_queued()
            && let Some(job) = self.store.prepare()?
        {
            self.is_attested = false;
            self.order_is_due = true;
            return Ok(Some(job));
        }
        self.store.maintenance()
    }
}
