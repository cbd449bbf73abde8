//! What can be read is not always what is on the medium.

use std::io;

use super::*;
use crate::disk::FileInfo;

/// A disk of which every sync fails silently, as after a sync that was reported as failed: the
/// pages count as clean and are read from the cache, until that is dropped.
struct Forgetful(MemDisk);

impl Disk for Forgetful {
    fn list(&self) -> io::Result<Vec<FileInfo>> {
        self.0.list()
    }

    fn create(&self, name: &str) -> io::Result<()> {
        self.0.create(name)
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(name, offset, buffer)
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(name, offset, bytes)
    }

    fn sync(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.0.sync_dir()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn drop_cache(&self, name: &str) -> io::Result<()> {
        let on_medium = self.0.crash_losing_all().content(name);
        self.0.set_content(name, &on_medium.unwrap_or_default());
        Ok(())
    }

    fn lock(&self) -> io::Result<()> {
        self.0.lock()
    }
}

#[test]
fn chunks_that_are_in_the_cache_only_are_not_resumed() {
    let store = SnapshotStore::new(Arc::new(Forgetful(MemDisk::new())));
    let content = content(1, CHUNK + 5);
    let meta = meta(5, &content);
    store.begin_fetch(&meta).unwrap();
    store.write_chunk(&meta.id(), 0, chunk(&content, 0)).unwrap();
    let restarted = SnapshotStore { reception: Arc::default(), ..store };
    assert_eq!(restarted.begin_fetch(&meta).unwrap(), FetchNext::Chunk(0));
}

#[test]
fn a_snapshot_that_is_in_the_cache_only_is_not_verified() {
    let store = SnapshotStore::new(Arc::new(Forgetful(MemDisk::new())));
    let meta = meta(5, b"content");
    let mut builder = store.builder().unwrap();
    builder.write_all(b"content").unwrap();
    builder.finish(meta.last, meta.digest, meta.membership.clone(), meta.time).unwrap();
    let verified = store.verify(&meta.id());
    assert!(matches!(verified, Err(SnapshotError::Damaged { .. })), "{verified:?}");
}
