//! Two helpers for what takes long and may wait: one writes snapshots, its own and fetched ones,
//! the other reads old entries and chunks for peers that are behind. Each does its jobs in order.

mod pace;

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use quorate_core::{
    FetchNext, Index, NodeId, Reader, SnapshotId, SnapshotMeta, SnapshotView, StateMachine,
};
use quorate_handoff::{Consumer, Producer};
use quorate_storage::{Disk, Scrubbed, SnapshotError, StorageError};

use crate::completed::Completed;
use crate::error::StopReason;
use crate::storage_thread::{Entries, Snapshots};
use crate::threads::{Stopper, give_way, message_of};
pub(crate) use pace::Pace;

/// What the snapshot helper is asked to do.
pub(crate) enum SnapshotJob<S: StateMachine> {
    Build(SnapshotView<S>),
    BeginFetch {
        snapshot: SnapshotMeta,
    },
    WriteChunk {
        snapshot: SnapshotId,
        chunk: u64,
        bytes: Bytes,
    },
    /// Remove what the log no longer points to.
    Tidy,
}

/// What the reading helper is asked to do.
pub(crate) enum ReadJob {
    Entries { reader: Reader, from: Index, max_bytes: usize },
    Chunk { to: NodeId, snapshot: SnapshotId, chunk: u64 },
    Scrub { from: Index, max_bytes: usize },
}

pub(crate) struct SnapshotHelper<S: StateMachine, D: Disk> {
    pub(crate) snapshots: Snapshots<D>,
    pub(crate) jobs: Consumer<SnapshotJob<S>>,
    /// How fast this node's own snapshots are written.
    pub(crate) own: Pace,
    /// How fast those are that it fetches.
    pub(crate) fetched: Pace,
    pub(crate) done: Producer<Completed<S>>,
    pub(crate) stopper: Stopper,
}

pub(crate) struct ReadHelper<S: StateMachine, D: Disk> {
    pub(crate) snapshots: Snapshots<D>,
    pub(crate) entries: Entries<D>,
    pub(crate) jobs: Consumer<ReadJob>,
    pub(crate) done: Producer<Completed<S>>,
    pub(crate) stopper: Stopper,
}

impl<S: StateMachine, D: Disk> SnapshotHelper<S, D> {
    /// Works until there is nothing more to come, or the node stops.
    pub(crate) fn run(mut self) {
        give_way();
        while let Ok(job) = self.jobs.pop() {
            if self.stopper.is_stopping() {
                return;
            }
            if let Some(completed) = self.carry_out(job) {
                tell(&self.done, completed);
            }
        }
    }

    fn carry_out(&mut self, job: SnapshotJob<S>) -> Option<Completed<S>> {
        Some(match job {
            SnapshotJob::Build(view) => Completed::SnapshotBuilt(self.build(&view)),
            SnapshotJob::BeginFetch { snapshot } => {
                let next = self.snapshots.begin_fetch(&snapshot);
                progress(snapshot.id(), next)
            }
            SnapshotJob::WriteChunk { snapshot, chunk, bytes } => {
                let next = self.snapshots.write_chunk(&snapshot, chunk, &bytes);
                self.fetched.wrote(bytes.len(), &self.stopper);
                progress(snapshot, next)
            }
            SnapshotJob::Tidy => {
                if let Err(error) = self.snapshots.tidy() {
                    tracing::warn!(%error, "old snapshots not removed: tried again with the next");
                }
                return None;
            }
        })
    }

    /// The state goes on without a snapshot: the log merely grows until one succeeds.
    fn build(&mut self, view: &SnapshotView<S>) -> Option<SnapshotMeta> {
        let index = view.last().index;
        let built = catch_unwind(AssertUnwindSafe(|| self.write(view)));
        match built {
            Ok(Ok(meta)) => {
                tracing::info!(%index, bytes = meta.size_bytes, "snapshot written");
                Some(meta)
            }
            Ok(Err(error)) => {
                tracing::error!(%index, %error, "snapshot not written");
                None
            }
            Err(panic) => {
                let error = message_of(&*panic);
                tracing::error!(%index, %error, "the state machine panicked over a snapshot");
                None
            }
        }
    }

    fn write(&mut self, view: &SnapshotView<S>) -> io::Result<SnapshotMeta> {
        let mut builder = self.snapshots.builder()?;
        let out = &mut builder;
        view.write(&mut Steadily { out, pace: &mut self.own, stopper: &self.stopper })?;
        let membership = view.membership().clone();
        Ok(builder.finish(view.last(), view.digest(), membership, view.time())?)
    }
}

fn progress<S: StateMachine>(
    snapshot: SnapshotId,
    next: Result<FetchNext, SnapshotError>,
) -> Completed<S> {
    let next = next.unwrap_or_else(|error| {
        tracing::error!(index = %snapshot.last.index, %error, "snapshot not received");
        FetchNext::Failed
    });
    Completed::FetchProgress { snapshot, next }
}

/// A snapshot takes its time; a shutdown does not wait for it.
struct Steadily<'a> {
    out: &'a mut dyn Write,
    pace: &'a mut Pace,
    stopper: &'a Stopper,
}

impl Write for Steadily<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.stopper.is_stopping() {
            return Err(io::Error::other("the node is stopping"));
        }
        let written = self.out.write(bytes)?;
        self.pace.wrote(written, self.stopper);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<S: StateMachine, D: Disk> ReadHelper<S, D> {
    /// Works until there is nothing more to come, or the node stops.
    pub(crate) fn run(self) {
        give_way();
        while let Ok(job) = self.jobs.pop() {
            if self.stopper.is_stopping() {
                return;
            }
            match self.carry_out(job) {
                Ok(completed) => tell(&self.done, completed),
                Err(error) => return self.stopper.stop(StopReason::Storage(error)),
            }
        }
    }

    fn carry_out(&self, job: ReadJob) -> Result<Completed<S>, StorageError> {
        match job {
            ReadJob::Entries { reader, from, max_bytes } => {
                let entries = match self.entries.read_entries(from, max_bytes) {
                    // A snapshot was taken or installed since: the replica asks for that instead.
                    Err(StorageError::Compacted { .. }) => Vec::new(),
                    Err(error) => {
                        // Peers have it. What cannot even be named, nobody is served from here on.
                        let gaps = self.entries.scrub(from, max_bytes)?.gaps;
                        if gaps.is_empty() {
                            return Err(error);
                        }
                        tracing::error!(%error, "damaged: to be repaired from the other members");
                        tell(&self.done, Completed::Damaged(gaps));
                        Vec::new()
                    }
                    Ok(entries) => entries,
                };
                Ok(Completed::EntriesRead { reader, from, entries })
            }
            ReadJob::Scrub { from, max_bytes } => {
                let Scrubbed { next, gaps } = self.entries.scrub(from, max_bytes)?;
                for gap in &gaps {
                    let (first, last) = (gap.first, gap.last);
                    tracing::error!(%first, %last, "damage found: to be repaired from the others");
                }
                Ok(Completed::Scrubbed { next, gaps })
            }
            ReadJob::Chunk { to, snapshot, chunk } => {
                let bytes = self.snapshots.read_chunk(&snapshot, chunk).unwrap_or_else(|error| {
                    tracing::error!(index = %snapshot.last.index, chunk, %error, "chunk not read");
                    None
                });
                Ok(Completed::ChunkRead { to, snapshot, chunk, bytes })
            }
        }
    }
}

fn tell<S: StateMachine>(done: &Producer<Completed<S>>, completed: Completed<S>) {
    let cost = completed.cost_bytes();
    // Refused only once the loop has ended.
    let _ = done.push_unbounded(completed, cost);
}

#[cfg(test)]
mod tests;
