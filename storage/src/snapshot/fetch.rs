//! A snapshot on its way from a peer to this disk.
//!
//! ```text
//! tmp-fetch-<id>           chunk 0 │ chunk 1 │ …      the content, as in the snapshot
//! tmp-fetch-<id>.digests   16      │ 16      │ …      a digest per chunk, no header
//! ```
//!
//! Chunks arrive and are stored in order. Neither file vouches for the other after a crash, nor
//! for itself: what is resumed are the first chunks that match their digests, read from the
//! medium. At the end the content as a whole must match the digest for which it is named.

use quorate_core::{Digest, SnapshotId, SnapshotMeta};

use super::directory::{Directory, chunk_len};
use super::error::SnapshotError;
use super::manifest::{ContentDigest, Manifest};
use super::name::Name;
use crate::disk::Disk;

/// After so many chunks, what was received is noted: a crash costs no more than these.
const NOTED_CHUNKS: u64 = 16;

/// What has been received of one snapshot.
pub(super) struct Fetch {
    meta: SnapshotMeta,
    chunks: Vec<Digest>,
    content: ContentDigest,
}

/// Whether what was received is what was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is, and it is a complete snapshot.
    Complete,
    /// It is not, and was dropped.
    Differs,
}

impl Fetch {
    /// Goes on where an earlier attempt stopped, or starts anew. All other attempts are dropped.
    pub(super) fn resume<D: Disk>(
        directory: &Directory<D>,
        meta: &SnapshotMeta,
    ) -> Result<Fetch, SnapshotError> {
        let id = meta.id();
        let max_bytes = Manifest::file_bytes(meta)?;
        directory.check_free(&[Name::Snapshot(id), Name::Fetch(id), Name::FetchDigests(id)])?;
        for (name, _) in directory.files()? {
            if matches!(name, Name::Fetch(o) | Name::FetchDigests(o) if o != id) {
                // What cannot be removed takes room, and nothing else.
                let _ = directory.remove(name);
            }
        }
        let content = directory.file(Name::Fetch(id))?;
        let is_resumable = directory.file(Name::FetchDigests(id))?.is_some()
            && content.is_some_and(|content| content.len <= max_bytes);
        if is_resumable {
            let mut fetch = Fetch::new(meta);
            // What cannot be read is not resumed.
            let is_read = fetch.reread(directory).is_ok();
            if is_read && (!fetch.is_whole() || fetch.content.digest() == meta.content) {
                return Ok(fetch);
            }
        }
        Fetch::start(directory, meta)
    }

    /// What is being received.
    pub(super) fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    /// The chunk that comes next.
    pub(super) fn next_chunk(&self) -> u64 {
        self.chunks.len() as u64
    }

    /// True if no chunk is missing.
    pub(super) fn is_whole(&self) -> bool {
        self.next_chunk() == self.meta.chunks()
    }

    /// Stores the next chunk.
    pub(super) fn write<D: Disk>(
        &mut self,
        directory: &Directory<D>,
        bytes: &[u8],
    ) -> Result<(), SnapshotError> {
        let (id, chunk, digest) = (self.meta.id(), self.next_chunk(), Digest::of(bytes));
        assert_eq!(bytes.len(), chunk_len(&self.meta, chunk), "chunks are measured beforehand");
        directory.write(Name::Fetch(id), chunk * SnapshotMeta::CHUNK_BYTES, bytes)?;
        directory.write(Name::FetchDigests(id), chunk * 16, &digest.0)?;
        self.push(digest, bytes);
        // At once, as a builder does.
        directory.sync(Name::Fetch(id))?;
        if self.next_chunk().is_multiple_of(NOTED_CHUNKS) {
            directory.sync(Name::FetchDigests(id))?;
        }
        Ok(())
    }

    /// Makes it a complete snapshot, durably.
    pub(super) fn complete<D: Disk>(
        self,
        directory: &Directory<D>,
    ) -> Result<Verdict, SnapshotError> {
        assert!(self.is_whole(), "all chunks are here");
        let id = self.meta.id();
        if self.content.digest() != self.meta.content {
            discard(directory, id);
            return Ok(Verdict::Differs);
        }
        let Fetch { meta, chunks, .. } = self;
        directory.publish(Name::Fetch(id), Manifest { meta, chunks })?;
        // Should it stay behind, it goes when the directory is cleaned.
        let _ = directory.remove(Name::FetchDigests(id));
        Ok(Verdict::Complete)
    }

    fn new(meta: &SnapshotMeta) -> Fetch {
        Fetch { meta: meta.clone(), chunks: Vec::new(), content: ContentDigest::new() }
    }

    fn start<D: Disk>(
        directory: &Directory<D>,
        meta: &SnapshotMeta,
    ) -> Result<Fetch, SnapshotError> {
        let id = meta.id();
        for name in [Name::Fetch(id), Name::FetchDigests(id)] {
            directory.remove(name)?;
            directory.create(name)?;
        }
        directory.sync_dir()?;
        Ok(Fetch::new(meta))
    }

    /// Takes over the first chunks that match their digests.
    fn reread<D: Disk>(&mut self, directory: &Directory<D>) -> Result<(), SnapshotError> {
        let (content, digests) = (Name::Fetch(self.meta.id()), Name::FetchDigests(self.meta.id()));
        // After a failed sync cached pages may hold what the medium does not.
        for name in [content, digests] {
            directory.sync(name)?;
            directory.drop_cache(name)?;
        }
        let mut bytes = Vec::new();
        while !self.is_whole() {
            let chunk = self.next_chunk();
            let mut digest = Digest::ZERO;
            bytes.resize(chunk_len(&self.meta, chunk), 0);
            let is_there = directory.read(digests, chunk * 16, &mut digest.0)?
                && directory.read(content, chunk * SnapshotMeta::CHUNK_BYTES, &mut bytes)?
                && Digest::of(&bytes) == digest;
            if !is_there {
                break;
            }
            self.push(digest, &bytes);
        }
        Ok(())
    }

    fn push(&mut self, digest: Digest, bytes: &[u8]) {
        self.chunks.push(digest);
        self.content.update(bytes);
    }
}

/// Removes what was received. What cannot be removed is in nobody's way but that of the next
/// attempt, which fails then.
pub(super) fn discard<D: Disk>(directory: &Directory<D>, id: SnapshotId) {
    let _ = directory.remove(Name::Fetch(id));
    let _ = directory.remove(Name::FetchDigests(id));
}
