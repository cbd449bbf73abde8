//! One replica's data directory.

pub(crate) mod open;
mod options;

use std::fmt;
use std::io;
use std::sync::Arc;

use quorate_core::{Incarnation, NodeId, Recovered, Write, WriteSeq};

use crate::disk::Disk;
use crate::error::StorageError;
use crate::job::{Done, Job, Step};
use crate::reader::LogReader;
use crate::snapshot::SnapshotStore;
use crate::wal::Wal;
pub use options::StoreOptions;

/// Who opens a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The node.
    pub node: NodeId,
    /// The name that the operator gave to the cluster.
    pub cluster: String,
    /// The protocol's [`NAME`](quorate_core::Protocol::NAME).
    pub protocol: String,
}

/// The log, the meta file and the snapshots of one replica.
///
/// It is a state machine which gives out [`Job`]s, one at a time, for somebody to carry out: the
/// storage thread with [`run`](Store::run), a simulator step by step. In turn, as long as there
/// is something to do:
///
/// 1. [`enqueue`](Store::enqueue) the writes that have come up.
/// 2. [`prepare`](Store::prepare) a job that saves them, and carry it out; [`Done`] says what has
///    come of it.
/// 3. With nothing to prepare: [`maintenance`](Store::maintenance), which keeps segments ready
///    for what comes; after some 10 ms without a write [`attest`](Store::attest).
///
/// Whatever fails to be written or synced makes the store useless: every later call returns that
/// error. There is nothing to be retried; a restart reads what reached the medium. The one
/// exception is a full disk while a segment is prepared: see [`has_room`](Store::has_room).
pub struct Store<D: Disk> {
    disk: Arc<D>,
    wal: Wal,
    snapshots: SnapshotStore<D>,
}

impl<D: Disk> fmt::Debug for Store<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("wal", &self.wal).finish_non_exhaustive()
    }
}

impl<D: Disk> Store<D> {
    /// Opens a directory and says what is in it. An empty one becomes this owner's, under the
    /// given incarnation. `nonce` is drawn at random, anew each time: no two starts on a disk have
    /// the same.
    ///
    /// # Errors
    /// If the directory is another's, in use, not writable, or damaged where it matters. Nothing
    /// in it was changed then. A write that fails is an error too.
    pub fn open(
        disk: Arc<D>,
        owner: &Owner,
        options: StoreOptions,
        fresh_incarnation: Incarnation,
        nonce: u64,
    ) -> Result<(Store<D>, Recovered), StorageError> {
        open::open(disk, owner, options, fresh_incarnation, nonce)
    }

    /// True if nothing in a directory is of a store: [`open`](Store::open) would begin one there.
    /// Files of others do not count. Changes nothing.
    ///
    /// # Errors
    /// If the directory cannot be read, or holds a store that cannot be opened.
    pub fn is_blank(disk: &Arc<D>) -> Result<bool, StorageError> {
        let stored =
            open::read_meta(&**disk, &open::list(&**disk)?, &SnapshotStore::new(disk.clone()))?;
        Ok(stored.is_none())
    }

    /// Takes a write. It is saved with one of the next jobs.
    ///
    /// # Panics
    /// If `seq` is not higher than that of the write before.
    pub fn enqueue(&mut self, seq: WriteSeq, write: Write) {
        self.wal.enqueue(seq, write);
    }

    /// A job which saves what is queued, up to about
    /// [`group_bytes`](StoreOptions::group_bytes) of it. `None` if nothing is queued, or nothing
    /// of it fits before [`maintenance`](Store::maintenance) has prepared a segment.
    ///
    /// # Errors
    /// If the store has failed before.
    ///
    /// # Panics
    /// If a job is on its way, or a write does not fit on the log: its `previous` is neither in
    /// the log nor the last entry of its snapshot, or it is larger than
    /// [`MAX_BYTES`](StoreOptions::MAX_BYTES).
    pub fn prepare(&mut self) -> Result<Option<Job>, StorageError> {
        self.wal.prepare()
    }

    /// True if writes are queued.
    #[must_use]
    pub fn has_queued(&self) -> bool {
        self.wal.has_queued()
    }

    /// A job which vouches for the last write: behind it, damage to that write is no longer taken
    /// for a torn tail. `None` if there is nothing to vouch for.
    ///
    /// # Errors
    /// If the store has failed before.
    pub fn attest(&mut self) -> Result<Option<Job>, StorageError> {
        self.wal.attest()
    }

    /// A job which keeps things in order: prepares the next segment, takes segments out of use
    /// which the snapshots cover. `None` if there is nothing to do. To be asked for until then
    /// whenever no write waits, or none fits.
    ///
    /// # Errors
    /// If the store has failed before.
    pub fn maintenance(&mut self) -> Result<Option<Job>, StorageError> {
        self.wal.maintenance()
    }

    /// The last job of a process that stops in order. `None` if writes are queued which are not
    /// saved.
    ///
    /// # Errors
    /// If the store has failed before.
    pub fn close(&mut self) -> Result<Option<Job>, StorageError> {
        self.wal.close()
    }

    /// Whether entries may be admitted. If not, the disk is full, and what is left is kept for
    /// writes that were admitted before. Pledges need no room. After a while
    /// [`retry_room`](Store::retry_room), then [`maintenance`](Store::maintenance).
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.wal.has_room()
    }

    /// Why no segment could be prepared, if so.
    #[must_use]
    pub fn room_error(&self) -> Option<&StorageError> {
        self.wal.room_error()
    }

    /// Lets maintenance try again to prepare a segment although the disk was full.
    pub fn retry_room(&mut self) {
        self.wal.retry_room();
    }

    /// Carries out a job.
    ///
    /// # Errors
    /// If a step fails; the store is useless then. A full disk while a segment is prepared is no
    /// error.
    pub fn run(&mut self, job: Job) -> Result<Done, StorageError> {
        for (number, step) in job.steps().iter().enumerate() {
            if let Err(error) = self.run_step(step) {
                return self.failed(&job, number, error).map(|()| Done::default());
            }
        }
        Ok(self.complete(job))
    }

    /// Does one step of a job. Steps are done in their order, each once.
    ///
    /// # Errors
    /// As the disk says: say [`failed`](Store::failed) then.
    pub fn run_step(&self, step: &Step) -> io::Result<()> {
        step.run(&*self.disk)
    }

    /// All steps of the job were done.
    ///
    /// # Panics
    /// If the job is not the one that was given out last.
    pub fn complete(&mut self, job: Job) -> Done {
        let mut done = self.wal.complete(job);
        if let Some(needed) = self.wal.take_pointed_to() {
            self.snapshots.retain(&needed);
            done.is_untidy = true;
        }
        done
    }

    /// Step number `step` of the job, from 0, failed; those behind it were not done.
    ///
    /// # Errors
    /// The error, unless it is one that can be lived with: a full disk while a segment was
    /// prepared. Otherwise the store is useless.
    pub fn failed(&mut self, job: &Job, step: usize, error: io::Error) -> Result<(), StorageError> {
        self.wal.failed(job, step, error)
    }

    /// Reads old entries, from any thread.
    #[must_use]
    pub fn reader(&self) -> LogReader<D> {
        LogReader::new(self.disk.clone(), self.wal.index(), self.wal.store_id())
    }

    /// The snapshots.
    #[must_use]
    pub fn snapshots(&self) -> &SnapshotStore<D> {
        &self.snapshots
    }
}

#[cfg(test)]
pub(crate) mod tests;
