//! The content of a snapshot, verified as it is read.

use std::io;
use std::sync::Arc;

use quorate_core::SnapshotMeta;

use super::directory::Directory;
use super::manifest::Manifest;
use crate::disk::Disk;

/// Reads the content of a snapshot. Every byte it returns was verified.
///
/// Errors carry a [`SnapshotError`](super::SnapshotError) inside: `InvalidData` for damage,
/// `NotFound` if the snapshot was removed meanwhile. Nothing of a chunk is returned before all of
/// it was verified, but what came before it has been returned by then: whoever restores a state
/// uses it only after the end was reached.
pub struct SnapshotReader<D: Disk> {
    directory: Arc<Directory<D>>,
    manifest: Arc<Manifest>,
    next_chunk: u64,
    /// The chunk before that one, of which so much was returned.
    chunk: Vec<u8>,
    returned: usize,
}

impl<D: Disk> SnapshotReader<D> {
    pub(super) fn new(directory: Arc<Directory<D>>, manifest: Arc<Manifest>) -> SnapshotReader<D> {
        SnapshotReader { directory, manifest, next_chunk: 0, chunk: Vec::new(), returned: 0 }
    }

    /// Everything but the content.
    #[must_use]
    pub fn meta(&self) -> &SnapshotMeta {
        &self.manifest.meta
    }

    fn rest(&mut self) -> io::Result<&[u8]> {
        if self.returned == self.chunk.len() && self.next_chunk < self.manifest.meta.chunks() {
            self.returned = 0;
            let buffer = std::mem::take(&mut self.chunk);
            self.chunk = self.directory.read_chunk(&self.manifest, self.next_chunk, buffer)?;
            self.next_chunk += 1;
        }
        Ok(&self.chunk[self.returned..])
    }
}

impl<D: Disk> io::Read for SnapshotReader<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.rest()?;
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        self.returned += n;
        Ok(n)
    }
}
