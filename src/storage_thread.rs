//! The storage thread: the only writer of the log.
//!
//! While it syncs one group, the next one gathers in its queue: no timer batches anything. What is
//! not urgent (segments made ready, snapshots removed, the last write vouched for) is done when
//! nothing waits.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use quorate_core::{
    Fatal, Identity, Incarnation, Protocol, Recovered, StateMachine, Write, WriteSeq,
};
use quorate_handoff::{Consumer, PopError, Producer};
use quorate_storage::{
    Disk, FileDisk, Job, LogReader, Owner, SnapshotStore, StorageError, Store, StoreOptions,
};

use crate::completed::Completed;
use crate::config::Config;
use crate::error::{StartError, StopReason};
use crate::helpers::ReadJob;
use crate::threads::Stopper;

/// The snapshots on disk, for every thread that needs them.
pub(crate) type Snapshots<D> = SnapshotStore<D>;

/// The old entries on disk, likewise.
pub(crate) type Entries<D> = LogReader<D>;

/// After how long without a write the last one is vouched for: see
/// [`Store::attest`](quorate_storage::Store::attest).
const ATTEST_AFTER: Duration = Duration::from_millis(10);

/// How often a disk without room is tried again.
const RETRY_ROOM_AFTER: Duration = Duration::from_millis(200);

/// How long to sleep when there is nothing at all to do.
const IDLE: Duration = Duration::from_secs(3600);

/// A write on its way to the disk.
pub(crate) struct WriteJob {
    pub(crate) seq: WriteSeq,
    pub(crate) write: Write,
}

impl WriteJob {
    /// What it takes of memory, in bytes.
    pub(crate) fn cost_bytes(&self) -> usize {
        let entries = self.write.runs.iter().flat_map(|run| &run.entries);
        let entries = entries.chain(self.write.repairs.iter().flatten());
        entries.map(quorate_core::Entry::size_bytes).sum()
    }
}

/// Opens the data directory.
pub(crate) fn data_dir(config: &Config) -> Result<FileDisk, StartError> {
    let unusable = |source| StartError::DataDir { path: config.data_dir.clone(), source };
    if config.members.len() == 1 && !config.bootstrap {
        let is_blank = match FileDisk::open(&config.data_dir) {
            Ok(disk) => Store::is_blank(&Arc::new(disk))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(unusable(error)),
        };
        if is_blank {
            // Found out here, so that nothing is written.
            return Err(Fatal::NotBootstrapped.into());
        }
    }
    FileDisk::create(&config.data_dir).map_err(unusable)
}

/// Reads what is on the disk.
pub(crate) fn open<P: Protocol, D: Disk>(
    config: &Config,
    disk: D,
    incarnation: Incarnation,
    nonce: u64,
) -> Result<(Store<D>, Recovered), StartError> {
    let owner =
        Owner { node: config.me, cluster: config.cluster.clone(), protocol: P::NAME.to_owned() };
    let options = StoreOptions {
        segment_bytes: config.segment_bytes,
        tail_bytes: config.settings.log_cache_bytes,
        ..StoreOptions::default()
    };
    let (store, recovered) = Store::open(Arc::new(disk), &owner, options, incarnation, nonce)?;
    let Identity { incarnation, .. } = recovered.identity;
    let (start, last) = (recovered.lineage.latest().count, recovered.log.last);
    tracing::info!(%incarnation, start, %last, "recovered");
    Ok((store, recovered))
}

pub(crate) struct StorageThread<S: StateMachine, D: Disk> {
    store: Store<D>,
    writes: Consumer<WriteJob>,
    reads: Producer<ReadJob>,
    done: Producer<Completed<S>>,
    stopper: Stopper,
    has_room: bool,
    is_attested: bool,
    /// A group was saved since things were last kept in order.
    order_is_due: bool,
}

/// What the queue of writes says.
#[derive(PartialEq, Eq)]
enum Queue {
    Open,
    Closed,
}

impl<S: StateMachine, D: Disk> StorageThread<S, D> {
    pub(crate) fn new(
        store: Store<D>,
        writes: Consumer<WriteJob>,
        reads: Producer<ReadJob>,
        done: Producer<Completed<S>>,
        stopper: Stopper,
    ) -> StorageThread<S, D> {
        StorageThread {
            store,
            writes,
            reads,
            done,
            stopper,
            has_room: true,
            is_attested: false,
            order_is_due: false,
        }
    }

    /// Works until there is nothing more to come, or the disk fails.
    pub(crate) fn run(mut self) {
        if let Err(error) = self.work() {
            self.stopper.stop(StopReason::Storage(error));
        }
    }

    fn work(&mut self) -> Result<(), StorageError> {
        loop {
            let queue = self.take(Duration::ZERO);
            if queue == Queue::Closed && !self.store.has_queued() {
                return self.close();
            }
            if let Some(job) = self.next_job()? {
                self.carry_out(job)?;
            } else if queue == Queue::Closed {
                return self.close();
            } else {
                self.rest()?;
            }
        }
    }

    /// What to do next: save what waits, or keep things in order, in turn. Segments must be ready
    /// before the log needs them, also under a load that never pauses.
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

    /// Waits for writes. If none come: vouches for the last one, and looks for room.
    fn rest(&mut self) -> Result<(), StorageError> {
        let no_room = self.store.room_error().is_some();
        let patience = match (self.is_attested, no_room) {
            (false, _) => ATTEST_AFTER,
            (true, true) => RETRY_ROOM_AFTER,
            (true, false) => IDLE,
        };
        let before = self.store.has_queued();
        self.take(patience);
        if self.store.has_queued() && !before {
            return Ok(());
        }
        if !self.is_attested {
            self.is_attested = true;
            return match self.store.attest()? {
                Some(job) => self.carry_out(job),
                None => Ok(()),
            };
        }
        self.store.retry_room();
        Ok(())
    }

    /// Takes what is queued, or waits that long for it.
    fn take(&mut self, patience: Duration) -> Queue {
        let mut batch = VecDeque::new();
        let taken = if patience.is_zero() {
            self.writes.try_pop_all(&mut batch)
        } else {
            self.writes.pop_all_timeout(&mut batch, patience)
        };
        for WriteJob { seq, write } in batch {
            self.store.enqueue(seq, write);
        }
        match taken {
            Err(PopError::Closed) => Queue::Closed,
            _ => Queue::Open,
        }
    }

    fn carry_out(&mut self, job: Job) -> Result<(), StorageError> {
        let done = self.store.run(job)?;
        if let Some(seq) = done.saved {
            self.tell(Completed::Saved(seq));
        }
        if let Some(seq) = done.sworn {
            self.tell(Completed::Sworn(seq));
        }
        if done.is_untidy {
            // Refused only once the helper has ended; then it is done at the next start.
            let _ = self.reads.push_unbounded(ReadJob::Tidy, 0);
        }
        // Segments that are not ready yet, on a disk that is not full, are merely waited for.
        let error = self.store.room_error();
        let has_room = error.is_none() || self.store.has_room();
        if has_room != self.has_room {
            self.has_room = has_room;
            match error {
                Some(error) => tracing::warn!(%error, "no room on the disk: proposals are refused"),
                None => tracing::info!("there is room on the disk again"),
            }
            self.tell(Completed::Room(has_room));
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), StorageError> {
        if self.store.has_queued() {
            // No room for them: nobody was told that they are saved.
            return Ok(());
        }
        match self.store.close()? {
            Some(job) => self.store.run(job).map(|_| ()),
            None => Ok(()),
        }
    }

    fn tell(&self, completed: Completed<S>) {
        // Refused only once the loop has ended.
        let _ = self.done.push_unbounded(completed, 0);
    }
}

#[cfg(test)]
mod tests;
