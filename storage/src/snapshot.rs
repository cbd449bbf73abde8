//! Snapshots on disk: written by this process or received from a peer, read back verified.
//!
//! A snapshot is one file, `snap-<index>-<ballot>-<content digest>`, all in hexadecimal: the
//! content in chunks, and behind it a manifest which vouches for every byte (`manifest.rs` draws
//! it). It comes into being under another name, which is changed once all of it is on the
//! medium, so whatever has the name of a snapshot was complete and synced once. If it is not what
//! was written, that shows when it is read.
//!
//! A file being here means nothing by itself: only the log says which snapshots count.

mod builder;
mod directory;
mod error;
mod fetch;
mod manifest;
mod name;
mod reader;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quorate_core::{FetchNext, SnapshotId, SnapshotMeta};

pub use self::builder::SnapshotBuilder;
use self::directory::Directory;
pub use self::error::{SnapshotDamage, SnapshotError};
use self::fetch::{Fetch, Verdict};
use self::name::Name;
pub use self::reader::SnapshotReader;
use crate::disk::Disk;

/// The snapshots of one replica, in one directory that it may share with other files.
///
/// - Writing: [`builder`](SnapshotStore::builder).
/// - Receiving: [`begin_fetch`](SnapshotStore::begin_fetch), then
///   [`write_chunk`](SnapshotStore::write_chunk) until nothing is missing. One at a time.
/// - Reading: [`open`](SnapshotStore::open) the content, [`read_chunk`](SnapshotStore::read_chunk)
///   for a peer, [`verify`](SnapshotStore::verify), [`list`](SnapshotStore::list).
/// - Tidying: [`clean_temps`](SnapshotStore::clean_temps) at the start,
///   [`retain`](SnapshotStore::retain) whenever the log points to another snapshot, then
///   [`tidy`](SnapshotStore::tidy).
///
/// Clones share everything, and every method may be called from any thread at any time; all but
/// `retain` may take as long as the disk does. There must be no second store on the same
/// directory unless it only reads.
pub struct SnapshotStore<D: Disk> {
    directory: Arc<Directory<D>>,
    reception: Arc<Mutex<Reception>>,
}

/// One of the files that have the name of a snapshot.
#[derive(Clone, Debug)]
pub struct StoredSnapshot {
    /// The name of the file.
    pub file: String,
    /// The length of the file, in bytes.
    pub len: u64,
    /// What it is called.
    pub id: SnapshotId,
    /// What the intact manifest says; the content was not looked at. Else what is wrong.
    pub meta: Result<SnapshotMeta, SnapshotError>,
}

/// What is being received.
#[derive(Default)]
enum Reception {
    #[default]
    Nothing,
    Underway(Box<Fetch>),
    /// This was the last.
    Done(SnapshotId),
}

impl<D: Disk> Clone for SnapshotStore<D> {
    fn clone(&self) -> Self {
        Self { directory: self.directory.clone(), reception: self.reception.clone() }
    }
}

impl<D: Disk> SnapshotStore<D> {
    /// The snapshots in this directory. Touches nothing.
    #[must_use]
    pub fn new(disk: Arc<D>) -> SnapshotStore<D> {
        SnapshotStore { directory: Arc::new(Directory::new(disk)), reception: Arc::default() }
    }

    /// Begins to write a snapshot of this process's own state.
    ///
    /// # Errors
    /// If a file cannot be created. Nothing was changed.
    pub fn builder(&self) -> Result<SnapshotBuilder<D>, SnapshotError> {
        SnapshotBuilder::new(self.directory.clone())
    }

    /// Everything that has the name of a snapshot, in the order of what they cover. Reads the
    /// manifests only. Files that cannot be read are in the list, with the reason.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn list(&self) -> Result<Vec<StoredSnapshot>, SnapshotError> {
        let files = self.directory.files()?.into_iter();
        let stored = files.filter_map(|(name, info)| {
            let Name::Snapshot(id) = name else { return None };
            let meta = self.directory.read_manifest(id).map(|manifest| manifest.meta);
            // Removed while the list was being made.
            let is_gone = matches!(meta, Err(SnapshotError::Missing { .. }));
            (!is_gone).then_some(StoredSnapshot { file: info.name, len: info.len, id, meta })
        });
        let mut stored: Vec<StoredSnapshot> = stored.collect();
        stored.sort_by_key(|stored| (stored.id.last.index, stored.id));
        Ok(stored)
    }

    /// Reads all of a snapshot, from the medium as far as the operating system lets it, and
    /// compares it with its checksums and its name.
    ///
    /// # Errors
    /// If anything is not as it was written, cannot be read, or is not here.
    pub fn verify(&self, snapshot: &SnapshotId) -> Result<SnapshotMeta, SnapshotError> {
        self.directory.verify(*snapshot)
    }

    /// Opens the content of a snapshot. If the snapshot is removed meanwhile, reading goes on or
    /// fails with `NotFound`; it never returns anything else.
    ///
    /// # Errors
    /// If it is not here, or if the manifest cannot be read.
    pub fn open(&self, snapshot: &SnapshotId) -> Result<SnapshotReader<D>, SnapshotError> {
        let manifest = self.directory.read_manifest(*snapshot)?;
        Ok(SnapshotReader::new(self.directory.clone(), Arc::new(manifest)))
    }

    /// A chunk of a snapshot, verified; `None` if the snapshot is not here, or has no such chunk.
    ///
    /// # Errors
    /// If the chunk or the manifest is damaged or cannot be read. A peer that asked for it has to
    /// fetch another snapshot.
    pub fn read_chunk(
        &self,
        snapshot: &SnapshotId,
        chunk: u64,
    ) -> Result<Option<Bytes>, SnapshotError> {
        let read = self.directory.manifest(*snapshot).and_then(|manifest| {
            let exists = chunk < manifest.meta.chunks();
            let read = || self.directory.read_chunk(&manifest, chunk, Vec::new());
            exists.then(read).transpose()
        });
        match read {
            Ok(bytes) => Ok(bytes.map(Bytes::from)),
            Err(SnapshotError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Receiving.
impl<D: Disk> SnapshotStore<D> {
    /// Prepares to receive a snapshot, or goes on where an earlier attempt stopped, be it before a
    /// crash. Whatever was received of other snapshots is dropped.
    ///
    /// Says `Complete` only of a snapshot that is here durably, all of which was read and verified
    /// by this call; a damaged one is received anew. `Failed` means that a sound snapshot
    /// of this name is here which contradicts what was announced.
    ///
    /// # Errors
    /// If the disk fails or is full, or something else has the name of the snapshot. What was
    /// received is dropped if that helps; it can be tried again.
    pub fn begin_fetch(&self, snapshot: &SnapshotMeta) -> Result<FetchNext, SnapshotError> {
        let mut reception = self.reception();
        if let Reception::Underway(fetch) = &*reception
            && fetch.meta() == snapshot
        {
            return Ok(FetchNext::Chunk(fetch.next_chunk()));
        }
        *reception = Reception::Nothing;
        match self.directory.verify(snapshot.id()) {
            Ok(found) if found == *snapshot => {
                // It may be here since before a crash which its name would not have survived.
                self.directory.complete_again(snapshot.id())?;
                *reception = Reception::Done(snapshot.id());
                return Ok(FetchNext::Complete);
            }
            Ok(_) => return Ok(FetchNext::Failed),
            Err(
                SnapshotError::Missing { .. }
                | SnapshotError::Damaged { .. }
                | SnapshotError::Unreadable { .. },
            ) => {}
            Err(error) => return Err(error),
        }
        let fetch = Fetch::resume(&self.directory, snapshot)?;
        self.go_on(&mut reception, fetch)
    }

    /// Stores a chunk, and once it was the last one makes all of them a complete snapshot,
    /// durably. A chunk that is not the next one, or is not as long as it must be, is ignored.
    ///
    /// Says `Failed` if this snapshot is not being received, or if the content turned out not to
    /// be what it is named for; it was dropped then.
    ///
    /// # Errors
    /// If the disk fails or is full. What was received was dropped.
    pub fn write_chunk(
        &self,
        snapshot: &SnapshotId,
        chunk: u64,
        bytes: &[u8],
    ) -> Result<FetchNext, SnapshotError> {
        let mut reception = self.reception();
        let mut fetch = match std::mem::take(&mut *reception) {
            Reception::Underway(fetch) if fetch.meta().id() == *snapshot => *fetch,
            other => {
                let is_done = matches!(other, Reception::Done(id) if id == *snapshot);
                *reception = other;
                let is_here = is_done && self.directory.read_manifest(*snapshot).is_ok();
                return Ok(if is_here { FetchNext::Complete } else { FetchNext::Failed });
            }
        };
        let is_next = chunk == fetch.next_chunk();
        if is_next && bytes.len() as u64 == fetch.meta().chunk_bytes(chunk) {
            fetch.write(&self.directory, bytes).inspect_err(|_| self.discard(*snapshot))?;
        }
        self.go_on(&mut reception, fetch)
    }

    fn go_on(&self, reception: &mut Reception, fetch: Fetch) -> Result<FetchNext, SnapshotError> {
        let id = fetch.meta().id();
        if !fetch.is_whole() {
            let next = fetch.next_chunk();
            *reception = Reception::Underway(Box::new(fetch));
            return Ok(FetchNext::Chunk(next));
        }
        let verdict = fetch.complete(&self.directory).inspect_err(|_| self.discard(id))?;
        match verdict {
            Verdict::Complete => {
                *reception = Reception::Done(id);
                Ok(FetchNext::Complete)
            }
            Verdict::Differs => Ok(FetchNext::Failed),
        }
    }

    fn discard(&self, snapshot: SnapshotId) {
        fetch::discard(&self.directory, snapshot);
    }

    fn reception(&self) -> MutexGuard<'_, Reception> {
        // While a fetch is being worked on it is taken out: what a panic leaves is `Nothing`.
        self.reception.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tidying.
impl<D: Disk> SnapshotStore<D> {
    /// Says which complete snapshots are needed. The others go with the next
    /// [`tidy`](SnapshotStore::tidy). Touches no file and waits for nobody: it is for whoever
    /// writes the log, where nothing may wait for snapshots.
    ///
    /// A snapshot that this process has built or received and that is no older than all of `keep`
    /// stays as well, until a call names it or one that is newer: the log may be about to point
    /// to it.
    pub fn retain(&self, keep: &[SnapshotId]) {
        self.directory.decide(keep);
    }

    /// Removes all complete snapshots but those that are to be [retained](SnapshotStore::retain),
    /// and what is left of snapshots that were given up.
    ///
    /// What is being written or received is not touched. A reader of a removed snapshot may fail.
    /// Waits for a reception that is at work, and takes as long as the removal of large files
    /// does.
    ///
    /// # Errors
    /// If something cannot be removed; as much as possible was. It is enough to call again when
    /// there is a reason to.
    pub fn tidy(&self) -> Result<(), SnapshotError> {
        let reception = self.reception();
        let Some((files, needed)) = self.directory.survey()? else { return Ok(()) };
        let newest = needed.decided().map(|id| id.last.index).max();
        self.remove_all(&reception, files.into_iter().map(|(name, _)| name), |name| match name {
            Name::Snapshot(id) => !needed.contains(&id),
            Name::Build(_) => true,
            // A snapshot that is retained covers all that this one does.
            Name::Fetch(id) | Name::FetchDigests(id) => Some(id.last.index) <= newest,
        })
    }

    /// Removes what an earlier process has left unfinished, except what was received of the newest
    /// snapshot: that can be resumed. To be called at the start.
    ///
    /// # Errors
    /// As for [`tidy`](SnapshotStore::tidy).
    pub fn clean_temps(&self) -> Result<(), SnapshotError> {
        let reception = self.reception();
        let names: BTreeSet<Name> =
            self.directory.files()?.into_iter().map(|(name, _)| name).collect();
        let resumable = |name: &Name| match name {
            Name::Fetch(id) => names.contains(&Name::FetchDigests(*id)).then_some(*id),
            Name::Snapshot(_) | Name::Build(_) | Name::FetchDigests(_) => None,
        };
        let newest = names.iter().filter_map(resumable).max_by_key(|id| (id.last.index, *id));
        self.remove_all(&reception, names.iter().copied(), |name| match name {
            Name::Snapshot(_) => false,
            Name::Build(_) => true,
            Name::Fetch(id) | Name::FetchDigests(id) => Some(id) != newest,
        })
    }

    /// Removes those of the files which `is_stale` names, unless they are in use.
    fn remove_all(
        &self,
        reception: &Reception,
        names: impl Iterator<Item = Name>,
        is_stale: impl Fn(Name) -> bool,
    ) -> Result<(), SnapshotError> {
        let is_in_use = |name: Name| match (name, reception) {
            (Name::Snapshot(_), _) => false,
            (Name::Build(number), _) => self.directory.is_being_built(number),
            (Name::Fetch(id) | Name::FetchDigests(id), Reception::Underway(fetch)) => {
                fetch.meta().id() == id
            }
            (Name::Fetch(_) | Name::FetchDigests(_), _) => false,
        };
        let mut outcome = Ok(());
        let mut is_changed = false;
        for name in names.filter(|&name| is_stale(name) && !is_in_use(name)) {
            is_changed = true;
            outcome = outcome.and(self.directory.remove(name));
        }
        if is_changed {
            outcome = outcome.and_then(|()| self.directory.sync_dir());
        }
        outcome
    }
}

#[cfg(test)]
mod tests;
