//! The files of the snapshots, and what this process knows about them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_core::{Digest, SnapshotId, SnapshotMeta};
use quorate_handoff::{Needed, Retention};

use super::error::{SnapshotDamage, SnapshotError};
use super::manifest::{ContentDigest, FOOTER_BYTES, FORMAT, Footer, Manifest, Unfit};
use super::name::Name;
use crate::disk::{Disk, FileInfo};

/// The disk with typed errors, shared by the store with its builders and readers.
pub(super) struct Directory<D> {
    disk: Arc<D>,
    /// Of complete snapshots.
    retention: Retention<SnapshotId>,
    books: Mutex<Books>,
}

/// The files, and what is needed of them.
type Survey = (Vec<(Name, FileInfo)>, Needed<SnapshotId>);

#[derive(Default)]
struct Books {
    /// Those that a builder of this process is writing.
    builds: BTreeSet<u64>,
    next_build: u64,
    /// Manifests that were read and verified.
    manifests: BTreeMap<SnapshotId, Arc<Manifest>>,
    sync_failure: Option<SnapshotError>,
}

/// Single operations.
impl<D: Disk> Directory<D> {
    pub(super) fn new(disk: Arc<D>) -> Directory<D> {
        Directory { disk, retention: Retention::new(), books: Mutex::default() }
    }

    /// The regular files whose names are ours. Whatever else is in the directory is ignored.
    pub(super) fn files(&self) -> Result<Vec<(Name, FileInfo)>, SnapshotError> {
        let files = self.list()?.into_iter().filter(|info| info.is_regular);
        Ok(files.filter_map(|info| Some((Name::parse(&info.name)?, info))).collect())
    }

    /// The regular file of this name, if there is one.
    pub(super) fn file(&self, name: Name) -> Result<Option<FileInfo>, SnapshotError> {
        let found = self.files()?.into_iter().find(|(found, _)| *found == name);
        Ok(found.map(|(_, info)| info))
    }

    /// Fails if something else than a regular file has one of these names.
    pub(super) fn check_free(&self, names: &[Name]) -> Result<(), SnapshotError> {
        let is_taken = |info: &FileInfo| {
            !info.is_regular && Name::parse(&info.name).is_some_and(|name| names.contains(&name))
        };
        match self.list()?.into_iter().find(is_taken) {
            Some(info) => Err(SnapshotError::NameTaken { file: info.name }),
            None => Ok(()),
        }
    }

    pub(super) fn create(&self, name: Name) -> Result<(), SnapshotError> {
        let name = name.to_string();
        self.disk.create(&name).map_err(|e| SnapshotError::write_failed("create", &name, e))
    }

    pub(super) fn write(&self, name: Name, offset: u64, bytes: &[u8]) -> Result<(), SnapshotError> {
        let name = name.to_string();
        let written = self.disk.write_at(&name, offset, bytes);
        written.map_err(|error| SnapshotError::write_failed("write", &name, error))
    }

    pub(super) fn sync(&self, name: Name) -> Result<(), SnapshotError> {
        let name = name.to_string();
        self.disk.sync(&name).map_err(|error| SnapshotError::write_failed("sync", &name, error))
    }

    /// Makes the names durable. Once that failed it fails for good: a second try could succeed
    /// although names of before never reached the medium.
    pub(super) fn sync_dir(&self) -> Result<(), SnapshotError> {
        if let Some(failure) = &self.books().sync_failure {
            return Err(failure.clone());
        }
        let synced = self.disk.sync_dir();
        synced.map_err(|error| {
            let failure = SnapshotError::write_failed("sync", DIRECTORY, error);
            self.books().sync_failure = Some(failure.clone());
            failure
        })
    }

    /// Removes a file, which may be gone already.
    pub(super) fn remove(&self, name: Name) -> Result<(), SnapshotError> {
        if let Name::Snapshot(id) = name {
            self.books().manifests.remove(&id);
        }
        let name = name.to_string();
        match self.disk.remove(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(SnapshotError::write_failed("remove", &name, error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Makes what is read of a synced file come from the medium.
    pub(super) fn drop_cache(&self, name: Name) -> Result<(), SnapshotError> {
        let name = name.to_string();
        self.disk.drop_cache(&name).map_err(|e| SnapshotError::unreadable(&name, 0, e))
    }

    /// Fills the buffer; false if the file ends before.
    pub(super) fn read(
        &self,
        name: Name,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<bool, SnapshotError> {
        let name = name.to_string();
        let read = self.disk.read_at(&name, offset, buffer);
        let n = read.map_err(|error| SnapshotError::unreadable(&name, offset, error))?;
        Ok(n == buffer.len())
    }

    /// How many manifests are in memory.
    #[cfg(test)]
    pub(super) fn manifests(&self) -> usize {
        self.books().manifests.len()
    }

    fn list(&self) -> Result<Vec<FileInfo>, SnapshotError> {
        self.disk.list().map_err(|error| SnapshotError::unreadable(DIRECTORY, 0, error))
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // Every change of the books is a single call: they are whole whoever panicked.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Files that are being built.
impl<D: Disk> Directory<D> {
    /// Creates an empty file for a snapshot to be written into.
    pub(super) fn begin_build(&self) -> Result<Name, SnapshotError> {
        loop {
            let number = {
                let mut books = self.books();
                books.next_build += 1;
                let number = books.next_build;
                books.builds.insert(number);
                number
            };
            let name = Name::Build(number);
            let Err(error) = self.disk.create(&name.to_string()) else { return Ok(name) };
            self.end_build(name);
            // An earlier process left it behind, or it is foreign: there are more numbers.
            if error.kind() != io::ErrorKind::AlreadyExists {
                return Err(SnapshotError::write_failed("create", &name.to_string(), error));
            }
        }
    }

    pub(super) fn end_build(&self, name: Name) {
        if let Name::Build(number) = name {
            self.books().builds.remove(&number);
        }
    }

    pub(super) fn is_being_built(&self, number: u64) -> bool {
        self.books().builds.contains(&number)
    }
}

/// Complete snapshots.
impl<D: Disk> Directory<D> {
    /// Makes a file that holds the whole content a complete, durable snapshot.
    ///
    /// The order is what makes it safe: nothing has the name of a snapshot before all its bytes
    /// are on the medium, and nobody is told of it before its name is.
    pub(super) fn publish(&self, from: Name, manifest: Manifest) -> Result<(), SnapshotError> {
        let id = manifest.meta.id();
        let to = Name::Snapshot(id);
        self.write(from, manifest.meta.size_bytes, &manifest.encode()?)?;
        self.sync(from)?;
        self.check_free(&[to])?;
        let name = from.to_string();
        let rename = || self.disk.rename(&name, &to.to_string());
        let renamed = self.retention.complete(id, rename);
        renamed.map_err(|error| SnapshotError::write_failed("rename", &name, error))?;
        self.sync_dir()?;
        self.books().manifests.insert(id, Arc::new(manifest));
        Ok(())
    }

    /// Makes a snapshot that is here durable, if only its name was not, and has it stay until it is
    /// decided about.
    pub(super) fn complete_again(&self, id: SnapshotId) -> Result<(), SnapshotError> {
        self.retention.complete(id, || self.sync_dir())
    }

    /// These are to be retained. That decides about those which this process has completed and
    /// which are among them or older. One that is as new as the newest may be about to take the
    /// place of that, which is damaged.
    pub(super) fn decide(&self, keep: &[SnapshotId]) {
        let newest = keep.iter().map(|id| id.last.index).max();
        let is_undecided = |id: &SnapshotId| newest.is_none_or(|newest| id.last.index >= newest);
        self.retention.decide(keep.iter().copied().collect(), is_undecided);
    }

    /// The files, and which of the complete snapshots among them must not be removed; `None` as long
    /// as nobody has decided.
    pub(super) fn survey(&self) -> Result<Option<Survey>, SnapshotError> {
        let survey = self.retention.survey(|| self.files());
        survey.map(|(files, needed)| Ok((files?, needed))).transpose()
    }

    /// What the content of a snapshot must be; remembered once it was read.
    pub(super) fn manifest(&self, id: SnapshotId) -> Result<Arc<Manifest>, SnapshotError> {
        if let Some(manifest) = self.books().manifests.get(&id) {
            return Ok(manifest.clone());
        }
        let manifest = Arc::new(self.read_manifest(id)?);
        self.books().manifests.insert(id, manifest.clone());
        Ok(manifest)
    }

    /// What the content of a snapshot must be, from the file itself.
    pub(super) fn read_manifest(&self, id: SnapshotId) -> Result<Manifest, SnapshotError> {
        let name = Name::Snapshot(id);
        let info = self.file(name)?.ok_or(SnapshotError::Missing { snapshot: id })?;
        let damaged = |at, damage| SnapshotError::damaged(&info.name, at, damage);
        let footer_at = info.len.checked_sub(FOOTER_BYTES);
        let footer_at = footer_at.ok_or_else(|| damaged(0, SnapshotDamage::Footer))?;
        let mut footer = [0; FOOTER_BYTES as usize];
        self.read(name, footer_at, &mut footer)?;
        let footer = Footer::decode(&footer).map_err(|unfit| match unfit {
            Unfit::Damaged => damaged(footer_at, SnapshotDamage::Footer),
            Unfit::Newer(found) => {
                let file = info.name.clone();
                SnapshotError::NewerFormat { file, found, supported: FORMAT }
            }
        })?;
        let place = footer.manifest(info.len);
        let (start, len) = place.ok_or_else(|| damaged(footer_at, SnapshotDamage::Footer))?;
        let mut bytes = vec![0; len];
        self.read(name, start, &mut bytes)?;
        let manifest = footer.decode_manifest(&bytes).map_err(|damage| damaged(start, damage))?;
        let is_named_right = manifest.meta.id() == id;
        is_named_right.then_some(manifest).ok_or_else(|| damaged(start, SnapshotDamage::Misnamed))
    }

    /// Reads a chunk that exists by the manifest, and verifies it. The memory of `buffer` is used
    /// again; bytes that were not verified are not returned in any case.
    pub(super) fn read_chunk(
        &self,
        manifest: &Manifest,
        chunk: u64,
        mut buffer: Vec<u8>,
    ) -> Result<Vec<u8>, SnapshotError> {
        let id = manifest.meta.id();
        let name = Name::Snapshot(id);
        let position = usize::try_from(chunk).ok();
        let expected = position.and_then(|position| manifest.chunks.get(position));
        let expected = expected.expect("chunks are counted before they are read");
        let offset = chunk * SnapshotMeta::CHUNK_BYTES;
        buffer.clear();
        buffer.resize(chunk_len(&manifest.meta, chunk), 0);
        let is_whole = self.read(name, offset, &mut buffer).map_err(|error| match error {
            SnapshotError::Unreadable { error, .. } if error.kind() == io::ErrorKind::NotFound => {
                self.books().manifests.remove(&id);
                SnapshotError::Missing { snapshot: id }
            }
            error => error,
        })?;
        let is_sound = is_whole && Digest::of(&buffer) == *expected;
        let damaged = || SnapshotError::damaged(&name.to_string(), offset, SnapshotDamage::Chunk);
        is_sound.then_some(buffer).ok_or_else(damaged)
    }

    /// Reads all of a snapshot, from the medium, and compares it with everything that is known
    /// about it.
    pub(super) fn verify(&self, id: SnapshotId) -> Result<SnapshotMeta, SnapshotError> {
        let name = Name::Snapshot(id);
        self.file(name)?.ok_or(SnapshotError::Missing { snapshot: id })?;
        self.drop_cache(name)?;
        let manifest = self.read_manifest(id)?;
        let mut content = ContentDigest::new();
        let mut buffer = Vec::new();
        for chunk in 0..manifest.meta.chunks() {
            buffer = self.read_chunk(&manifest, chunk, buffer)?;
            content.update(&buffer);
        }
        if content.digest() != manifest.meta.content {
            return Err(SnapshotError::damaged(&name.to_string(), 0, SnapshotDamage::Content));
        }
        Ok(manifest.meta)
    }
}

/// What the directory is called in errors.
const DIRECTORY: &str = "the data directory";

/// The length of a chunk in memory.
pub(super) fn chunk_len(meta: &SnapshotMeta, chunk: u64) -> usize {
    usize::try_from(meta.chunk_bytes(chunk)).expect("a chunk is at most 1 MiB")
}
