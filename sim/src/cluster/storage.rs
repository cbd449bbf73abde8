//! What stands for the storage thread: the real log on disk, step by step, at the disk's pace.

use std::time::Duration;

use quorate_core::{Event, Protocol};
use quorate_storage::{Job, Step, StorageError};

use super::{Cluster, Happening};
use crate::checks::Verdict;
use crate::marks::Mark;
use crate::oracle::Simulated;
use crate::process::{HelperJob, Local, Process, Rest, Writing};
use crate::simulation::Canary;

/// After how much time without work the last write is vouched for.
const ATTEST_AFTER: Duration = Duration::from_millis(10);

/// How often a disk without room is tried again.
const RETRY_ROOM_AFTER: Duration = Duration::from_millis(200);

impl<P: Simulated> Cluster<P> {
    /// Begins the next job, unless one is underway or there is none.
    pub(super) fn write_next(&mut self, node: usize) -> Verdict {
        let now = self.now();
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        if process.writing.is_some() {
            return Ok(());
        }
        let job = match process.next_job() {
            Ok(job) => job,
            Err(why) => return self.stop(node, &why),
        };
        process.writing = job.map(|job| Writing { job, done: 0 });
        if process.writing.is_some() {
            self.plan_step(node);
        } else if let Some(patience) = process.patience() {
            process.rest = Rest { until: now + patience, unfit: process.store.has_queued() };
            self.plan_local(node, patience, Local::Idle);
        }
        Ok(())
    }

    /// A write has come. Where others wait for room already, it is a reason to look for room.
    pub(super) fn on_queued(&mut self, node: usize) -> Verdict {
        match &self.nodes[node].process {
            Some(process) if process.writing.is_none() && process.rest.unfit => self.end_rest(node),
            _ => self.write_next(node),
        }
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
        let stalled = Duration::from_micros(it.stalled_until.0.saturating_sub(self.now().0));
        let delay =
            stalled.max(self.disk_rng.duration(from, to) * it.slowness.times(self.agenda.now()));
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
            if let Err(error) = process.store.run_step(step) {
                let Writing { job, done } = writing;
                if let Err(why) = process.store.failed(&job, done, error) {
                    return self.stop(node, &why);
                }
                self.marks.note(Mark::SegmentUnprepared);
                self.tell_room(node);
                return self.write_next(node);
            }
            writing.done += 1;
        }
        if writing.done < writing.job.steps().len() {
            process.writing = Some(writing);
            self.plan_step(node);
            return Ok(());
        }
        let done = process.store.complete(writing.job);
        self.tell_room(node);
        if done.is_untidy {
            self.help(node, HelperJob::Tidy);
        }
        if let Some(seq) = done.sworn {
            self.marks.note(Mark::SwornAhead);
            self.trace.draw(|picture| picture.on_disk(self.agenda.now(), node, seq.0, true));
            self.checks.sworn(node, seq)?;
            self.report_write(node, Event::Sworn(seq));
        }
        if let Some(seq) = done.saved {
            self.trace.draw(|picture| picture.on_disk(self.agenda.now(), node, seq.0, false));
            self.checks.synced(node, seq)?;
            if self.canary != Some(Canary::AcknowledgeBeforeSync) {
                self.report_write(node, Event::Saved(seq));
            }
        }
        self.write_next(node)
    }

    /// The thread has had nothing to do for a while, unless something came up.
    pub(super) fn on_idle(&mut self, node: usize) -> Verdict {
        let now = self.now();
        match &self.nodes[node].process {
            Some(process) if process.writing.is_none() && process.rest.until <= now => {
                self.end_rest(node)
            }
            _ => Ok(()),
        }
    }

    /// Vouches for the last write, or looks for room.
    fn end_rest(&mut self, node: usize) -> Verdict {
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        if process.is_attested {
            process.store.retry_room();
            return self.write_next(node);
        }
        process.is_attested = true;
        let job = match process.store.attest() {
            Ok(Some(job)) => job,
            Ok(None) => return self.write_next(node),
            Err(why) => return self.stop(node, &why),
        };
        self.marks.note(Mark::WriteAttested);
        process.writing = Some(Writing { job, done: 0 });
        self.plan_step(node);
        Ok(())
    }

    /// Tells the loop if entries may be admitted again, or may not. Segments that are not ready
    /// yet, on a disk that is not full, are merely waited for.
    fn tell_room(&mut self, node: usize) {
        let Some(process) = &mut self.nodes[node].process else { return };
        let has_room = process.store.room_error().is_none() || process.store.has_room();
        if std::mem::replace(&mut process.has_room, has_room) != has_room {
            self.marks.note(if has_room { Mark::DiskRoomy } else { Mark::DiskFull });
            self.post(node, Event::Room(has_room));
        }
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

    /// What the thread says of writes reaches the loop in its order.
    pub(super) fn report_write(&mut self, node: usize, event: Event<P::Message>) {
        let time = self.report_time();
        let life = self.nodes[node].life;
        let Some(process) = &mut self.nodes[node].process else { return };
        process.last_saved = time.max(process.last_saved);
        let what = Local::Event(event);
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

    /// How long the thread waits for writes before it does something of its own; `None`: for as
    /// long as it takes.
    fn patience(&self) -> Option<Duration> {
        match (self.is_attested, self.store.room_error()) {
            (false, _) => Some(ATTEST_AFTER),
            (true, Some(_)) => Some(RETRY_ROOM_AFTER),
            (true, None) => None,
        }
    }
}
