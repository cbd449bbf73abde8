//! What can be read is not always what is on the medium.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Disk, FileInfo, MemDisk};

/// A disk of which every sync fails silently, as after a sync that was reported as failed: the
/// pages count as clean and are read from the cache, until that is dropped.
#[derive(Debug)]
pub(crate) struct Forgetful {
    disk: MemDisk,
    syncs: AtomicBool,
}

impl Forgetful {
    pub(crate) fn new(disk: MemDisk) -> Forgetful {
        Forgetful { disk, syncs: AtomicBool::new(false) }
    }

    /// From here on what is synced is on the medium, or it is not.
    pub(crate) fn set_syncs(&self, syncs: bool) {
        self.syncs.store(syncs, Ordering::Relaxed);
    }
}

impl Disk for Forgetful {
    fn list(&self) -> io::Result<Vec<FileInfo>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<()> {
        self.disk.create(name)
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.disk.read_at(name, offset, buffer)
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.write_at(name, offset, bytes)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        if self.syncs.load(Ordering::Relaxed) { self.disk.sync(name) } else { Ok(()) }
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn drop_cache(&self, name: &str) -> io::Result<()> {
        let on_medium = self.disk.crash_losing_all().content(name);
        self.disk.set_content(name, &on_medium.unwrap_or_default());
        Ok(())
    }

    fn lock(&self) -> io::Result<()> {
        self.disk.lock()
    }
}
