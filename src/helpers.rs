//! Two helpers for what takes long and may wait: one writes snapshots, its own and fetched ones,
//! the other reads old entries and chunks for peers that are behind, and removes old snapshots. Each does
//! its jobs in order.

mod pace;

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use quorate_core::{
    Entry, FetchNext, Index, NodeId, Reader, SnapshotId, SnapshotMeta, SnapshotView, StateMachine,
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
    BeginFetch { snapshot: SnapshotMeta },
    WriteChunk { snapshot: SnapshotId, chunk: u64, bytes: Bytes },
}

/// What the reading helper is asked to do.
pub(crate) enum ReadJob {
    Entries {
        reader: Reader,
        from: Index,
        max_bytes: usize,
    },
    Chunk {
        to: NodeId,
        snapshot: SnapshotId,
        chunk: u64,
    },
    Scrub {
        from: Index,
        max_bytes: usize,
    },
    /// Remove the snapshots that the log no longer points to. Not for the other helper: they would take up
    /// room until it has written the next one.
    Tidy,
}

pub(crate) struct SnapshotHelper<S: StateMachine, D: Disk> {
    pub(crate) snapshots: Snapshots<D>,
    pub(crate) jobs: Consumer<SnapshotJob<S>>,
    /// How fast this node's own snapshots are written.
    pub(crate) own: Pace,
    /// How fast those are that it fetches.
    pub(crate) fetched: Pace,
    /// The size of the last one, written or fetched: the next will be about as large.
    pub(crate) newest_bytes: u64,
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
            let completed = self.carry_out(job);
            tell(&self.done, completed);
        }
    }

    fn carry_out(&mut self, job: SnapshotJob<S>) -> Completed<S> {
        match job {
            SnapshotJob::Build(view) => Completed::SnapshotBuilt(self.build(&view)),
            SnapshotJob::BeginFetch { snapshot } => {
                self.fetched.begin(snapshot.size_bytes);
                self.newest_bytes = snapshot.size_bytes;
                let next = self.snapshots.begin_fetch(&snapshot);
                progress(snapshot.id(), next)
            }
            SnapshotJob::WriteChunk { snapshot, chunk, bytes } => {
                let next = self.snapshots.write_chunk(&snapshot, chunk, &bytes);
                self.fetched.wrote(bytes.len(), || is_urgent(&self.jobs, &self.stopper));
                progress(snapshot, next)
            }
        }
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
        self.own.begin(self.newest_bytes);
        let mut builder = self.snapshots.builder()?;
        let out = &mut builder;
        let (pace, jobs, stopper) = (&mut self.own, &self.jobs, &self.stopper);
        view.write(&mut Steadily { out, pace, jobs, stopper })?;
        let membership = view.membership().clone();
        let meta = builder.finish(view.last(), view.digest(), membership, view.time())?;
        self.newest_bytes = meta.size_bytes;
        Ok(meta)
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

/// How much of a state is written before the pace is looked to.
const AT_ONCE_BYTES: usize = 1 << 18;

/// A snapshot takes its time; a shutdown does not wait for it, and other jobs not for its pace. A state that
/// is handed over in one piece is no exception.
struct Steadily<'a, J> {
    out: &'a mut dyn Write,
    pace: &'a mut Pace,
    jobs: &'a Consumer<J>,
    stopper: &'a Stopper,
}

impl<J> Write for Steadily<'_, J> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.stopper.is_stopping() {
            return Err(io::Error::other("the node is stopping"));
        }
        let written = self.out.write(&bytes[..bytes.len().min(AT_ONCE_BYTES)])?;
        self.pace.wrote(written, || is_urgent(self.jobs, self.stopper));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// This thread is waited for: by a snapshot that the node has to fetch in order to go on while it writes
/// its own (or the other way round), or by a shutdown.
fn is_urgent<J>(jobs: &Consumer<J>, stopper: &Stopper) -> bool {
    !jobs.is_empty() || stopper.is_stopping()
}

impl<S: StateMachine, D: Disk> ReadHelper<S, D> {
    /// Works until there is nothing more to come, or the node stops.
    pub(crate) fn run(self) {
        while let Ok(job) = self.jobs.pop() {
            if self.stopper.is_stopping() {
                return;
            }
            match self.carry_out(job) {
                Ok(Some(completed)) => tell(&self.done, completed),
                Ok(None) => {}
                Err(error) => return self.stopper.stop(StopReason::Storage(error)),
            }
        }
    }

    fn read(&self, from: Index, max_bytes: usize) -> Result<Vec<Entry>, StorageError> {
        let read = || match self.entries.read_entries(from, max_bytes) {
            // A snapshot was taken or installed since: the replica asks for that instead.
            Err(StorageError::Compacted { .. }) => Ok(Vec::new()),
            other => other,
        };
        let error = match read() {
            Ok(entries) => return Ok(entries),
            Err(error) => error,
        };
        let gaps = self.entries.scrub(from, max_bytes)?.gaps;
        if gaps.is_empty() {
            tracing::warn!(%error, "what could not be read can be read now, or is compacted");
            // What cannot even be named, nobody is served from here on.
            return read();
        }
        tracing::error!(%error, "damaged: to be repaired from the other members");
        tell(&self.done, Completed::Damaged(gaps));
        Ok(Vec::new())
    }

    fn carry_out(&self, job: ReadJob) -> Result<Option<Completed<S>>, StorageError> {
        Ok(Some(match job {
            ReadJob::Entries { reader, from, max_bytes } => {
                Completed::EntriesRead { reader, from, entries: self.read(from, max_bytes)? }
            }
            ReadJob::Scrub { from, max_bytes } => {
                let Scrubbed { next, gaps } = self.entries.scrub(from, max_bytes)?;
                for gap in &gaps {
                    let (first, last) = (gap.first, gap.last);
                    tracing::error!(%first, %last, "damage found: to be repaired from the others");
                }
                Completed::Scrubbed { next, gaps }
            }
            ReadJob::Chunk { to, snapshot, chunk } => {
                let bytes = self.snapshots.read_chunk(&snapshot, chunk).unwrap_or_else(|error| {
                    tracing::error!(index = %snapshot.last.index, chunk, %error, "chunk not read");
                    None
                });
                Completed::ChunkRead { to, snapshot, chunk, bytes }
            }
            ReadJob::Tidy => {
                if let Err(error) = self.snapshots.tidy() {
                    tracing::warn!(%error, "old snapshots not removed: tried again with the next");
                }
                return Ok(None);
            }
        }))
    }
}

fn tell<S: StateMachine>(done: &Producer<Completed<S>>, completed: Completed<S>) {
    let cost = completed.cost_bytes();
    // Refused only once the loop has ended.
    let _ = done.push_unbounded(completed, cost);
}

#[cfg(test)]
mod tests;
