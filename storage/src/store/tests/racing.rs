//! What a reader meets while the log is compacted under it.

use std::io;
use std::sync::{Arc, Mutex};

use quorate_core::*;

use super::fixture::*;
use crate::disk::{Disk, FileInfo, MemDisk};
use crate::error::StorageError;
use crate::reader::LogReader;

type Hook = Box<dyn FnOnce() + Send>;

/// A disk on which something happens right before one of the reads: before how many of them, and
/// what.
struct Hooked {
    disk: MemDisk,
    hook: Mutex<Option<(u64, Hook)>>,
}

impl Disk for Hooked {
    fn list(&self) -> io::Result<Vec<FileInfo>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<()> {
        self.disk.create(name)
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut hook = self.hook.lock().unwrap();
        if let Some((left, happens)) = hook.take() {
            match left.checked_sub(1) {
                Some(fewer) => *hook = Some((fewer, happens)),
                None => happens(),
            }
        }
        self.disk.read_at(name, offset, buffer)
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.write_at(name, offset, bytes)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        self.disk.sync(name)
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
        self.disk.drop_cache(name)
    }

    fn lock(&self) -> io::Result<()> {
        self.disk.lock()
    }
}

/// The reader of a log of 150 entries that is compacted, and whose segments are removed or used
/// again, before read number `reads`. True is set once it was.
fn reader(reads: u64, is_used_again: bool) -> (LogReader<Hooked>, Arc<Mutex<bool>>) {
    let mut author = Author::new();
    (0..150u8).for_each(|i| author.append(1, &[&[i; 3000]]));
    author.take_snapshot(140);
    let (index, store) = (author.store.wal.index(), author.store.wal.store_id());
    let disk = author.disk.clone();
    let happened = Arc::new(Mutex::new(false));
    let tell = Arc::clone(&happened);
    let hook: Hook = Box::new(move || {
        author.take_snapshot(145);
        if is_used_again {
            (0..60u8).for_each(|i| author.append(1, &[&[i; 3000]]));
        }
        *tell.lock().unwrap() = true;
    });
    let disk = Arc::new(Hooked { disk, hook: Mutex::new(Some((reads, hook))) });
    (LogReader::new(disk, index, store), happened)
}

#[test]
fn what_is_compacted_under_a_search_for_damage_is_no_damage_and_no_stop() {
    let mut raced = 0;
    for from in [1, 2, 100, 141] {
        for reads in 0..6 {
            for is_used_again in [false, true] {
                let (reader, happened) = reader(reads, is_used_again);
                let case = format!("from {from}, before read {reads}, used again: {is_used_again}");
                let scrubbed = reader.scrub(Index(from), 1);
                let gaps = scrubbed.map(|scrubbed| scrubbed.gaps);
                assert!(matches!(&gaps, Ok(gaps) if gaps.is_empty()), "{case}: {gaps:?}");
                raced += u64::from(*happened.lock().unwrap());
            }
        }
    }
    assert!(raced > 8, "{raced}");
}

#[test]
fn what_is_compacted_under_a_reader_is_compacted() {
    for reads in 0..4 {
        for is_used_again in [false, true] {
            let (reader, _) = reader(reads, is_used_again);
            match reader.read_entries(Index(2), 1) {
                Ok(entries) => assert_eq!(entries[0].payload, [1; 3000][..]),
                Err(StorageError::Compacted { .. }) => {}
                Err(error) => panic!("before read {reads}: {error}"),
            }
        }
    }
}
