//! A directory in memory which can lose power.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, FileInfo};

/// A directory in memory which knows what was synced, so that a test can cut the power and choose
/// what of the rest survives; which can be damaged, and told to fail.
///
/// Clones share the files. What [`crash`](MemDisk::crash) returns shares nothing.
#[derive(Clone, Debug, Default)]
pub struct MemDisk {
    inner: Arc<Mutex<Inner>>,
}

/// What a power cut does to a sector that was written and not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It never reached the medium.
    Old,
    /// It did.
    New,
    /// Its first bytes did, this many; the rest is as before.
    Torn(usize),
}

/// What can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// [`Disk::read_at`]
    Read,
    /// [`Disk::write_at`]
    Write,
    /// [`Disk::sync`] and [`Disk::sync_dir`]
    Sync,
    /// [`Disk::create`], [`Disk::rename`] and [`Disk::remove`]
    Name,
    /// [`Disk::lock`]
    Lock,
}

#[derive(Clone, Debug, Default)]
struct Inner {
    files: BTreeMap<u64, File>,
    next_file: u64,
    names: BTreeMap<String, u64>,
    /// The names as of the last sync of the directory, and what happened to them since.
    synced_names: BTreeMap<String, u64>,
    renamings: Vec<Renaming>,
    is_locked: bool,
    failures: Vec<Failure>,
    /// What the medium does not give back: file, and bytes.
    unreadable: Vec<(String, Range<u64>)>,
    capacity_bytes: Option<u64>,
    /// How many more changes happen before the power goes out.
    changes_left: Option<u64>,
    changes: u64,
    syncs: u64,
    reads: u64,
    read_bytes: u64,
}

#[derive(Clone, Debug, Default)]
struct File {
    bytes: Vec<u8>,
    /// For every sector that was written since the last sync: what was there before.
    unsynced: BTreeMap<u64, Vec<u8>>,
    synced_len: usize,
}

#[derive(Clone, Debug)]
enum Renaming {
    Create(String, u64),
    Rename(String, String),
    Remove(String),
}

#[derive(Clone, Debug)]
struct Failure {
    operation: Operation,
    prefix: String,
    kind: io::ErrorKind,
    /// How many succeed before.
    after: u64,
    times: u64,
}

impl MemDisk {
    /// The unit in which a disk writes, in bytes.
    pub const SECTOR: usize = 512;

    /// An empty directory.
    #[must_use]
    pub fn new() -> MemDisk {
        MemDisk::default()
    }

    /// Cuts the power. Returns the directory as it is found afterwards: of the sectors that were
    /// not synced `keep(file, sector)` decides, of the names that were not synced the first
    /// `names` changes happened. This directory stays as it is.
    #[must_use]
    pub fn crash(&self, names: usize, mut keep: impl FnMut(&str, u64) -> Keep) -> MemDisk {
        let inner = self.inner();
        let mut found = inner.synced_names.clone();
        for renaming in inner.renamings.iter().take(names) {
            renaming.carry_out(&mut found);
        }
        let mut files = BTreeMap::new();
        for (name, number) in &found {
            if let Some(file) = inner.files.get(number) {
                files.insert(*number, file.after_crash(|sector| keep(name, sector)));
            }
        }
        let inner = Inner {
            files,
            next_file: inner.next_file,
            names: found.clone(),
            synced_names: found,
            capacity_bytes: inner.capacity_bytes,
            unreadable: inner.unreadable.clone(),
            ..Inner::default()
        };
        MemDisk { inner: Arc::new(Mutex::new(inner)) }
    }

    /// A power cut which loses everything that was not synced.
    #[must_use]
    pub fn crash_losing_all(&self) -> MemDisk {
        self.crash(0, |_, _| Keep::Old)
    }

    /// A power cut (or the death of the process) which loses nothing.
    #[must_use]
    pub fn crash_keeping_all(&self) -> MemDisk {
        self.crash(usize::MAX, |_, _| Keep::New)
    }

    /// The sectors that were written and not synced, by file and number.
    #[must_use]
    pub fn unsynced(&self) -> Vec<(String, u64)> {
        let inner = self.inner();
        let of = |(name, number): (&String, &u64)| {
            let file = inner.files.get(number);
            let sectors = file.into_iter().flat_map(|file| file.unsynced.keys());
            sectors.map(|sector| (name.clone(), *sector)).collect::<Vec<_>>()
        };
        inner.names.iter().flat_map(of).collect()
    }

    /// How many changes of names were not synced.
    #[must_use]
    pub fn unsynced_names(&self) -> usize {
        self.inner().renamings.len()
    }

    /// How many changes (writes, syncs, names) there were so far.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.inner().changes
    }

    /// How many syncs of files there were so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.inner().syncs
    }

    /// How often something was read so far, and how many bytes were.
    #[must_use]
    pub fn reads(&self) -> (u64, u64) {
        let inner = self.inner();
        (inner.reads, inner.read_bytes)
    }

    /// After this many more changes every operation fails, as if the power were gone.
    pub fn stop_after(&self, changes: u64) {
        self.inner().changes_left = Some(changes);
    }

    /// Makes the next `times` such operations on files whose name begins with `prefix` fail.
    pub fn fail(&self, operation: Operation, prefix: &str, kind: io::ErrorKind, times: u64) {
        let failure = Failure { operation, prefix: prefix.to_owned(), kind, after: 0, times };
        self.inner().failures.push(failure);
    }

    /// Makes one such operation fail, once `after` of them have succeeded.
    pub fn fail_later(&self, operation: Operation, prefix: &str, kind: io::ErrorKind, after: u64) {
        let failure = Failure { operation, prefix: prefix.to_owned(), kind, after, times: 1 };
        self.inner().failures.push(failure);
    }

    /// The medium does not give back these bytes of a file any more: reading any of them fails as
    /// on a disk with bad sectors.
    pub fn set_unreadable(&self, name: &str, bytes: Range<u64>) {
        self.inner().unreadable.push((name.to_owned(), bytes));
    }

    /// From here on nothing fails that was told to fail, and everything can be read.
    pub fn heal(&self) {
        let mut inner = self.inner();
        inner.failures.clear();
        inner.unreadable.clear();
        inner.changes_left = None;
    }

    /// How much fits on the disk, in bytes of content; `None`: as much as memory does.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.inner().capacity_bytes = bytes;
    }

    /// The content of a file; `None` if there is no such file.
    #[must_use]
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let inner = self.inner();
        Some(inner.files.get(inner.names.get(name)?)?.bytes.clone())
    }

    /// Makes the content of a file be this, durably, whether or not it exists.
    pub fn set_content(&self, name: &str, bytes: &[u8]) {
        let mut inner = self.inner();
        let number = inner.next_file;
        inner.next_file += 1;
        let file =
            File { bytes: bytes.to_vec(), unsynced: BTreeMap::new(), synced_len: bytes.len() };
        inner.files.insert(number, file);
        inner.names.insert(name.to_owned(), number);
        inner.synced_names.insert(name.to_owned(), number);
    }

    /// Turns over bits of one byte of a file, as a decaying medium does.
    ///
    /// # Panics
    /// If there is no such byte.
    pub fn flip(&self, name: &str, offset: usize, mask: u8) {
        let mut inner = self.inner();
        let number = inner.names.get(name).copied();
        let file = number.and_then(|number| inner.files.get_mut(&number));
        let file = file.expect("a file of that name");
        file.bytes[offset] ^= mask;
    }

    /// All files with their content, by name.
    #[must_use]
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let inner = self.inner();
        let of = |(name, number): (&String, &u64)| {
            Some((name.clone(), inner.files.get(number)?.bytes.clone()))
        };
        inner.names.iter().filter_map(of).collect()
    }

    /// The process that has the directory dies, and the power stays on: what it wrote is cached,
    /// and whoever opens the directory next finds it there.
    #[cfg(test)]
    pub(crate) fn release(&self) {
        self.inner().is_locked = false;
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn change(&mut self) -> io::Result<()> {
        if let Some(left) = &mut self.changes_left {
            *left = left.checked_sub(1).ok_or_else(power_is_gone)?;
        }
        self.changes += 1;
        Ok(())
    }

    fn check(&mut self, operation: Operation, name: &str) -> io::Result<()> {
        if self.changes_left == Some(0) {
            return Err(power_is_gone());
        }
        let hit = |failure: &&mut Failure| {
            failure.times > 0 && failure.operation == operation && name.starts_with(&failure.prefix)
        };
        match self.failures.iter_mut().find(hit) {
            None => Ok(()),
            Some(failure) if failure.after > 0 => {
                failure.after -= 1;
                Ok(())
            }
            Some(failure) => {
                failure.times -= 1;
                Err(failure.kind.into())
            }
        }
    }

    fn number(&self, name: &str) -> io::Result<u64> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file(&mut self, name: &str) -> io::Result<&mut File> {
        let number = self.number(name)?;
        self.files.get_mut(&number).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn used_bytes(&self) -> u64 {
        let len = |number: &u64| self.files.get(number).map_or(0, |file| file.bytes.len() as u64);
        self.names.values().map(len).sum()
    }

    fn rename(&mut self, renaming: Renaming) {
        renaming.carry_out(&mut self.names);
        self.renamings.push(renaming);
    }
}

impl File {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if bytes.is_empty() {
            return;
        }
        for sector in offset / MemDisk::SECTOR..=(end - 1) / MemDisk::SECTOR {
            let start = sector * MemDisk::SECTOR;
            let stop = (start + MemDisk::SECTOR).min(self.synced_len).min(self.bytes.len());
            let before = || self.bytes.get(start..stop).unwrap_or_default().to_vec();
            self.unsynced.entry(sector as u64).or_insert_with(before);
        }
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
    }

    fn sync(&mut self) {
        self.unsynced.clear();
        self.synced_len = self.bytes.len();
    }

    fn after_crash(&self, mut keep: impl FnMut(u64) -> Keep) -> File {
        let mut bytes = self.bytes.clone();
        let mut len = self.synced_len;
        for (sector, before) in &self.unsynced {
            let start = usize::try_from(*sector).unwrap_or(usize::MAX) * MemDisk::SECTOR;
            let stop = (start + MemDisk::SECTOR).min(bytes.len());
            let written = match keep(*sector) {
                Keep::Old => 0,
                Keep::New => stop - start,
                Keep::Torn(n) => n.min(stop - start),
            };
            if written > 0 {
                len = len.max(start + written);
            }
            let lost = &mut bytes[start + written..stop];
            let old = before.get(written..).unwrap_or_default();
            let (back, beyond) = lost.split_at_mut(old.len().min(lost.len()));
            back.copy_from_slice(&old[..back.len()]);
            beyond.fill(0);
        }
        bytes.truncate(len);
        File { bytes, unsynced: BTreeMap::new(), synced_len: len }
    }
}

impl Renaming {
    fn carry_out(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Renaming::Create(name, number) => {
                names.insert(name.clone(), *number);
            }
            Renaming::Rename(from, to) => {
                if let Some(number) = names.remove(from) {
                    names.insert(to.clone(), number);
                }
            }
            Renaming::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

fn power_is_gone() -> io::Error {
    io::Error::other("the power is gone")
}

fn position(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

impl Disk for MemDisk {
    fn list(&self) -> io::Result<Vec<FileInfo>> {
        let inner = self.inner();
        let info = |(name, number): (&String, &u64)| {
            let len = inner.files.get(number)?.bytes.len() as u64;
            Some(FileInfo { name: name.clone(), len, is_regular: true })
        };
        Ok(inner.names.iter().filter_map(info).collect())
    }

    fn create(&self, name: &str) -> io::Result<()> {
        let mut inner = self.inner();
        inner.check(Operation::Name, name)?;
        if inner.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        inner.change()?;
        let number = inner.next_file;
        inner.next_file += 1;
        inner.files.insert(number, File::default());
        inner.rename(Renaming::Create(name.to_owned(), number));
        Ok(())
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut inner = self.inner();
        inner.check(Operation::Read, name)?;
        let end = offset.saturating_add(buffer.len() as u64);
        let is_hit = |(file, bytes): &(String, Range<u64>)| {
            file == name && bytes.start < end && offset < bytes.end
        };
        if inner.unreadable.iter().any(is_hit) {
            return Err(rustix::io::Errno::IO.into());
        }
        let bytes = &inner.file(name)?.bytes;
        let rest = bytes.get(position(offset)?..).unwrap_or_default();
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        inner.reads += 1;
        inner.read_bytes += n as u64;
        Ok(n)
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.inner();
        inner.check(Operation::Write, name)?;
        let end = position(offset)?.checked_add(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        let growth = end.saturating_sub(inner.file(name)?.bytes.len()) as u64;
        if inner.capacity_bytes.is_some_and(|capacity| {
            growth > 0 && inner.used_bytes().saturating_add(growth) > capacity
        }) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        inner.change()?;
        inner.file(name)?.write(position(offset)?, bytes);
        Ok(())
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        let mut inner = self.inner();
        inner.check(Operation::Sync, name)?;
        inner.change()?;
        inner.syncs += 1;
        inner.file(name)?.sync();
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut inner = self.inner();
        inner.check(Operation::Sync, ".")?;
        inner.change()?;
        inner.renamings.clear();
        inner.synced_names = inner.names.clone();
        let Inner { files, names, .. } = &mut *inner;
        files.retain(|number, _| names.values().any(|named| named == number));
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.inner();
        inner.check(Operation::Name, from)?;
        inner.number(from)?;
        inner.change()?;
        inner.rename(Renaming::Rename(from.to_owned(), to.to_owned()));
        inner.unreadable.retain(|(name, _)| name != to);
        let unreadable = inner.unreadable.iter_mut().filter(|(name, _)| name == from);
        unreadable.for_each(|(name, _)| to.clone_into(name));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.inner();
        inner.check(Operation::Name, name)?;
        inner.number(name)?;
        inner.change()?;
        inner.rename(Renaming::Remove(name.to_owned()));
        Ok(())
    }

    fn drop_cache(&self, name: &str) -> io::Result<()> {
        self.inner().file(name).map(|_| ())
    }

    fn lock(&self) -> io::Result<()> {
        let mut inner = self.inner();
        inner.check(Operation::Lock, "")?;
        if inner.is_locked {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        inner.is_locked = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_keeps_what_was_synced_and_what_it_is_told_to() {
        let disk = MemDisk::new();
        disk.create("x").unwrap();
        disk.write_at("x", 0, &[1; 1024]).unwrap();
        disk.sync("x").unwrap();
        disk.sync_dir().unwrap();
        disk.write_at("x", 0, &[2; 1536]).unwrap();
        assert_eq!(disk.unsynced().len(), 3);
        assert_eq!(disk.crash_losing_all().content("x"), Some(vec![1; 1024]));
        assert_eq!(disk.crash_keeping_all().content("x"), Some(vec![2; 1536]));
        let torn =
            disk.crash(0, |_, sector| [Keep::Torn(5), Keep::Old, Keep::New][sector as usize]);
        let expected = [vec![2; 5], vec![1; 1019], vec![2; 512]].concat();
        assert_eq!(torn.content("x"), Some(expected));
    }

    #[test]
    fn a_crash_undoes_names_from_the_last_one_on() {
        let disk = MemDisk::new();
        disk.create("x").unwrap();
        disk.rename("x", "y").unwrap();
        let names = |n| disk.crash(n, |_, _| Keep::New).list().unwrap().pop().map(|f| f.name);
        assert_eq!(names(0), None);
        assert_eq!(names(1), Some("x".to_owned()));
        assert_eq!(names(2), Some("y".to_owned()));
    }

    #[test]
    fn a_full_disk_refuses_growth_only() {
        let disk = MemDisk::new();
        disk.create("x").unwrap();
        disk.write_at("x", 0, &[1; 600]).unwrap();
        disk.set_capacity(Some(600));
        assert_eq!(disk.write_at("x", 600, &[1]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.write_at("x", 0, &[2; 600]).unwrap();
    }

    #[test]
    fn nothing_works_once_the_power_is_gone() {
        let disk = MemDisk::new();
        disk.stop_after(1);
        disk.create("x").unwrap();
        assert!(disk.write_at("x", 0, b"x").is_err());
        assert!(disk.read_at("x", 0, &mut [0]).is_err());
    }
}
