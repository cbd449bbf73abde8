//! The apply thread: executes what is committed, answers queries, takes snapshot views.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use quorate_core::{Applier, Entry, Generation, LogTime, SnapshotMeta, SnapshotView, StateMachine};
use quorate_handoff::{Consumer, Producer, Watermark};
use quorate_storage::{Disk, StorageError};

use crate::completed::Completed;
use crate::error::{ReadError, StopReason};
use crate::helpers::SnapshotJob;
use crate::requests::ReadAnswer;
use crate::storage_thread::Snapshots;
use crate::threads::{Stopper, giving_way, message_of};

/// What the apply thread is asked to do, in order.
pub(crate) enum Job<S: StateMachine> {
    Apply { generation: Generation, entries: Vec<Entry> },
    Restore { generation: Generation, snapshot: SnapshotMeta },
    TakeSnapshot,
    Query { query: S::Query, answer: ReadAnswer<S::Answer> },
}

pub(crate) struct ApplyThread<S: StateMachine, D: Disk> {
    pub(crate) applier: Applier<S>,
    /// When an entry or a snapshot last said what log time is.
    pub(crate) moved: Instant,
    pub(crate) jobs: Consumer<Job<S>>,
    pub(crate) done: Producer<Completed<S>>,
    pub(crate) snapshots: Snapshots<D>,
    pub(crate) builder: Producer<SnapshotJob<S>>,
    /// The generation of the last restoration that was asked for.
    pub(crate) newest_restore: Watermark,
    pub(crate) stopper: Stopper,
}

impl<S: StateMachine, D: Disk> ApplyThread<S, D> {
    /// Works until there is nothing more to come, or the node stops.
    pub(crate) fn run(mut self) {
        let mut batch = VecDeque::new();
        while self.jobs.pop_all(&mut batch).is_ok() {
            for job in batch.drain(..) {
                if self.stopper.is_stopping() {
                    return;
                }
                if let Err(reason) = self.carry_out(job) {
                    return self.stopper.stop(reason);
                }
            }
        }
    }

    fn carry_out(&mut self, job: Job<S>) -> Result<(), StopReason> {
        match job {
            Job::Apply { generation, entries } => self.apply(generation, entries),
            Job::Restore { generation, snapshot } => self.restore(generation, &snapshot),
            Job::TakeSnapshot => self.take_snapshot(),
            Job::Query { query, answer } => {
                self.query(query, answer);
                Ok(())
            }
        }
    }

    /// A shutdown waits for the entry that is being applied, and not for those that follow.
    fn apply(&mut self, generation: Generation, entries: Vec<Entry>) -> Result<(), StopReason> {
        let stopper = self.stopper.clone();
        let entries = entries.into_iter().take_while(|_| !stopper.is_stopping());
        let batch = self.guarded(|applier| applier.apply(generation, entries))??;
        // Also by entries of the same time: a leader's clock begins where the log has ended.
        self.moved = Instant::now();
        self.tell(Completed::Applied(batch));
        Ok(())
    }

    fn restore(
        &mut self,
        generation: Generation,
        snapshot: &SnapshotMeta,
    ) -> Result<(), StopReason> {
        let deadline = match self.restored(generation, snapshot) {
            Ok(deadline) => deadline,
            // Another one was installed since, and this one may be gone: its turn will come.
            Err(_) if self.newest_restore.current() > generation.0 => return Ok(()),
            Err(reason) => return Err(reason),
        };
        self.moved = Instant::now();
        tracing::info!(index = %snapshot.last.index, bytes = snapshot.size_bytes, "restored");
        self.tell(Completed::Restored { generation, deadline });
        Ok(())
    }

    fn restored(
        &mut self,
        generation: Generation,
        snapshot: &SnapshotMeta,
    ) -> Result<Option<LogTime>, StopReason> {
        let content = self.snapshots.open(&snapshot.id());
        let mut content = content.map_err(StorageError::Snapshots)?;
        let applier = &mut self.applier;
        let restore = || applier.restore(generation, snapshot, &mut content);
        let restored = giving_way("restore", restore);
        let restored = restored.map_err(panicked("when it was restored from a snapshot"))?;
        restored.map_err(|error| StopReason::Restore(error.into()))
    }

    fn take_snapshot(&mut self) -> Result<(), StopReason> {
        let view = catch_unwind(AssertUnwindSafe(|| self.applier.view()));
        let view: SnapshotView<S> =
            view.map_err(panicked("when a view of it was taken for a snapshot"))?;
        // Refused only while the node stops.
        let _ = self.builder.push_unbounded(SnapshotJob::Build(view), 0);
        Ok(())
    }

    /// A query changes nothing, so one over which the state machine panics is the client's
    /// problem and not the replica's: the same query would stop all replicas in turn.
    fn query(&mut self, query: S::Query, answer: ReadAnswer<S::Answer>) {
        if answer.is_abandoned() {
            return;
        }
        let (applier, passed) = (&self.applier, self.moved.elapsed());
        let result = catch_unwind(AssertUnwindSafe(|| applier.query_after(passed, query)));
        let result = result.map_err(|panic| {
            let index = self.applier.applied();
            let message = message_of(&*panic);
            tracing::error!(%index, %message, "the state machine panicked over a query");
            ReadError::Panicked
        });
        // Nobody has to wait for it any more.
        let _ = answer.complete(result);
    }

    /// Applies. A panic of the user's code is an error which names the entry.
    fn guarded<R>(&mut self, call: impl FnOnce(&mut Applier<S>) -> R) -> Result<R, StopReason> {
        catch_unwind(AssertUnwindSafe(|| call(&mut self.applier))).map_err(|panic| {
            let index = self.applier.applied().next();
            StopReason::Panicked { index, message: message_of(&*panic) }
        })
    }

    fn tell(&self, completed: Completed<S>) {
        let cost = completed.cost_bytes();
        // Refused only while the node stops.
        let _ = self.done.push_unbounded(completed, cost);
    }
}

fn panicked(when: &'static str) -> impl FnOnce(Box<dyn Any + Send>) -> StopReason {
    move |panic| StopReason::PanickedOverSnapshot { when, message: message_of(&*panic) }
}

#[cfg(test)]
mod tests;
