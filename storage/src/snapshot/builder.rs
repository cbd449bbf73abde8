//! A snapshot on its way from this process to its disk.

use std::io;
use std::sync::Arc;

use quorate_core::{Digest, LogId, LogTime, Membership, SnapshotMeta};

use super::directory::Directory;
use super::error::SnapshotError;
use super::manifest::{ContentDigest, MAX_CONTENT_BYTES, Manifest};
use super::name::Name;
use crate::disk::Disk;

const CHUNK_LEN: usize = SnapshotMeta::CHUNK_BYTES as usize;

/// Writes a snapshot: an [`io::Write`] for its content, and [`finish`](SnapshotBuilder::finish).
///
/// Until it is finished there is no snapshot. If a write fails, or if the builder is dropped
/// before, what was written is removed; should that fail too,
/// [`clean_temps`](super::SnapshotStore::clean_temps) removes it at the next start.
pub struct SnapshotBuilder<D: Disk> {
    directory: Arc<Directory<D>>,
    file: Name,
    /// What does not make a whole chunk yet.
    buffer: Vec<u8>,
    chunks: Vec<Digest>,
    content: ContentDigest,
    size_bytes: u64,
    /// What came of it; `None` while it is being written.
    outcome: Option<Result<(), SnapshotError>>,
}

impl<D: Disk> SnapshotBuilder<D> {
    pub(super) fn new(directory: Arc<Directory<D>>) -> Result<SnapshotBuilder<D>, SnapshotError> {
        let file = directory.begin_build()?;
        Ok(SnapshotBuilder {
            directory,
            file,
            buffer: Vec::new(),
            chunks: Vec::new(),
            content: ContentDigest::new(),
            size_bytes: 0,
            outcome: None,
        })
    }

    /// Makes what was written a complete snapshot, durably, and returns all that is known about
    /// it. `last` is the last entry whose effects it contains, `digest` the digest of that entry,
    /// `membership` and `time` are those as of it.
    ///
    /// # Errors
    /// The error of the first write that failed, or what fails now. There is no snapshot then,
    /// except that after a failed sync of the directory it may be there at the next start.
    pub fn finish(
        mut self,
        last: LogId,
        digest: Digest,
        membership: Membership,
        time: LogTime,
    ) -> Result<SnapshotMeta, SnapshotError> {
        self.check()?;
        let finished = self.publish(last, digest, membership, time);
        self.end(finished.as_ref().map(|_| ()).map_err(SnapshotError::clone));
        finished
    }

    fn publish(
        &mut self,
        last: LogId,
        digest: Digest,
        membership: Membership,
        time: LogTime,
    ) -> Result<SnapshotMeta, SnapshotError> {
        if !self.buffer.is_empty() {
            self.write_chunk()?;
        }
        let content = self.content.digest();
        let size_bytes = self.size_bytes;
        let meta = SnapshotMeta { last, digest, membership, time, size_bytes, content };
        let chunks = std::mem::take(&mut self.chunks);
        self.directory.publish(self.file, Manifest { meta: meta.clone(), chunks })?;
        Ok(meta)
    }

    fn append(&mut self, mut bytes: &[u8]) -> Result<(), SnapshotError> {
        while !bytes.is_empty() {
            let (taken, rest) = bytes.split_at(bytes.len().min(CHUNK_LEN - self.buffer.len()));
            self.buffer.extend_from_slice(taken);
            bytes = rest;
            if self.buffer.len() == CHUNK_LEN {
                self.write_chunk()?;
            }
        }
        Ok(())
    }

    fn write_chunk(&mut self) -> Result<(), SnapshotError> {
        let bytes = self.size_bytes + self.buffer.len() as u64;
        if bytes > MAX_CONTENT_BYTES {
            let max_bytes = MAX_CONTENT_BYTES;
            return Err(SnapshotError::TooLarge { what: "content", bytes, max_bytes });
        }
        self.directory.write(self.file, self.size_bytes, &self.buffer)?;
        self.chunks.push(Digest::of(&self.buffer));
        self.content.update(&self.buffer);
        self.size_bytes = bytes;
        self.buffer.clear();
        // One sync of gigabytes at the end would hold up those of the log, which go to the same disk.
        self.directory.sync(self.file)
    }

    fn check(&self) -> Result<(), SnapshotError> {
        self.outcome.clone().unwrap_or(Ok(()))
    }

    fn end(&mut self, outcome: Result<(), SnapshotError>) {
        if outcome.is_err() {
            // A file that stays behind is in nobody's way.
            let _ = self.directory.remove(self.file);
        }
        self.directory.end_build(self.file);
        self.outcome = Some(outcome);
    }
}

/// Errors carry a [`SnapshotError`] inside, and end the snapshot: every later call, and
/// `finish`, fails alike.
impl<D: Disk> io::Write for SnapshotBuilder<D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check()?;
        if let Err(error) = self.append(bytes) {
            self.end(Err(error.clone()));
            return Err(error.into());
        }
        Ok(bytes.len())
    }

    /// Does nothing: only a finished snapshot is worth anything.
    fn flush(&mut self) -> io::Result<()> {
        Ok(self.check()?)
    }
}

impl<D: Disk> Drop for SnapshotBuilder<D> {
    fn drop(&mut self) {
        if self.outcome.is_none() {
            // A file that stays behind is in nobody's way.
            let _ = self.directory.remove(self.file);
            self.directory.end_build(self.file);
        }
    }
}
