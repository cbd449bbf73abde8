//! A disk in memory with somebody who is told before it is touched.

use std::io;
use std::sync::Arc;

use crate::disk::{Disk, FileInfo, MemDisk};

/// Is told what is about to happen to files, and may take its time over it.
pub(super) trait Watch: Send + Sync {
    fn before_read(&self, name: &str);

    fn before_removal(&self, _: &str) {}

    fn before_sync_of_names(&self) {}
}

pub(super) struct Watched<W> {
    pub(super) disk: MemDisk,
    pub(super) watch: Arc<W>,
}

impl<W> Clone for Watched<W> {
    fn clone(&self) -> Watched<W> {
        Watched { disk: self.disk.clone(), watch: Arc::clone(&self.watch) }
    }
}

impl<W: Watch + 'static> Disk for Watched<W> {
    fn list(&self) -> io::Result<Vec<FileInfo>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<()> {
        self.disk.create(name)
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.watch.before_read(name);
        self.disk.read_at(name, offset, buffer)
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.write_at(name, offset, bytes)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        self.disk.sync(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.watch.before_sync_of_names();
        self.disk.sync_dir()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.watch.before_removal(name);
        self.disk.remove(name)
    }

    fn drop_cache(&self, name: &str) -> io::Result<()> {
        self.disk.drop_cache(name)
    }

    fn lock(&self) -> io::Result<()> {
        self.disk.lock()
    }
}
