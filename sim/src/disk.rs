//! A disk that promises no more than a disk does: until a file is synced, a crash may keep any
//! subset of the sectors written to it, in any version that they had meanwhile, or a mixture of
//! two; until the directory is synced, any number of the last changes of names may be undone.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use quorate_storage::{Disk, FileInfo};

use crate::faults::DiskFaults;
use crate::rng::Rng;

/// The unit in which a disk writes, in bytes.
const SECTOR: usize = 512;

/// One directory.
#[derive(Default)]
pub(crate) struct SimDisk {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    files: BTreeMap<u64, File>,
    next_file: u64,
    names: BTreeMap<String, u64>,
    synced_names: BTreeMap<String, u64>,
    unsynced_names: Vec<Renaming>,
    is_locked: bool,
    /// How many more changes happen before the power goes out.
    power: Option<u64>,
    is_full: bool,
}

#[derive(Default)]
struct File {
    bytes: Vec<u8>,
    synced_len: usize,
    /// What was in sectors before they were written to, since the last sync: the sector's number,
    /// and its content at the same position in `before`. A sector written to several times is
    /// there several times.
    overwritten: Vec<usize>,
    before: Vec<u8>,
}

#[derive(Clone)]
enum Renaming {
    Create(String, u64),
    Rename(String, String),
    Remove(String),
}

impl SimDisk {
    /// The power goes out once so many more changes were made; `None`: never.
    pub(crate) fn set_power(&self, changes: Option<u64>) {
        self.inner().power = changes;
    }

    /// Whether there is room for more files, or for longer ones.
    pub(crate) fn set_full(&self, full: bool) {
        self.inner().is_full = full;
    }

    pub(crate) fn is_full(&self) -> bool {
        self.inner().is_full
    }

    /// The machine dies, and with it whatever was not synced, as far as the faults have it.
    /// Returns whether anything was lost.
    pub(crate) fn crash(&self, rng: &mut Rng, faults: &DiskFaults) -> bool {
        let mut inner = self.inner();
        let mut is_loss = false;
        let undone = if faults.kept_ppm == crate::rng::MILLION {
            0
        } else {
            rng.below(inner.unsynced_names.len() as u64 + 1) as usize
        };
        is_loss |= undone > 0;
        let kept = inner.unsynced_names.len() - undone;
        let changes = std::mem::take(&mut inner.unsynced_names);
        let mut names = std::mem::take(&mut inner.synced_names);
        changes[..kept].iter().for_each(|change| change.carry_out(&mut names));
        for file in inner.files.values_mut() {
            is_loss |= file.crash(rng, faults);
        }
        inner.synced_names = names.clone();
        inner.names = names;
        inner.drop_unnamed();
        inner.is_locked = false;
        inner.power = None;
        is_loss
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that a change begins with.
    fn change(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let mut inner = self.inner();
        if let Some(left) = &mut inner.power {
            let less = left.checked_sub(1);
            *left = less.ok_or_else(|| io::Error::other("the power is gone"))?;
        }
        Ok(inner)
    }
}

impl Inner {
    fn file(&mut self, name: &str) -> io::Result<&mut File> {
        let number = self.names.get(name).copied();
        let file = number.and_then(|number| self.files.get_mut(&number));
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn require_room(&self, more: usize) -> io::Result<()> {
        if self.is_full && more > 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn change_names(&mut self, change: Renaming) {
        change.carry_out(&mut self.names);
        self.unsynced_names.push(change);
    }

    /// Forgets files which have no name and cannot get one back.
    fn drop_unnamed(&mut self) {
        let Inner { files, names, .. } = self;
        files.retain(|number, _| names.values().any(|named| named == number));
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

impl File {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        let sectors = offset / SECTOR..end.div_ceil(SECTOR);
        if self.bytes.len() < sectors.end * SECTOR {
            // What lies behind the end of the file is zero, as far as anybody can tell.
            let len = self.bytes.len().max(end);
            self.bytes.resize(sectors.end * SECTOR, 0);
            self.remember(sectors);
            self.bytes.truncate(len);
        } else {
            self.remember(sectors);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
    }

    fn remember(&mut self, sectors: std::ops::Range<usize>) {
        self.before.extend_from_slice(&self.bytes[sectors.start * SECTOR..sectors.end * SECTOR]);
        self.overwritten.extend(sectors);
    }

    fn sync(&mut self) {
        self.synced_len = self.bytes.len();
        self.overwritten.clear();
        self.before.clear();
    }

    fn crash(&mut self, rng: &mut Rng, faults: &DiskFaults) -> bool {
        let mut versions: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (position, sector) in self.overwritten.iter().enumerate() {
            versions.entry(*sector).or_default().push(position);
        }
        let mut len = self.synced_len;
        let mut is_loss = false;
        for (sector, older) in versions {
            let start = sector * SECTOR;
            let end = self.bytes.len().min(start + SECTOR);
            if rng.chance(faults.kept_ppm) {
                len = len.max(end);
                continue;
            }
            is_loss = true;
            let version = older[rng.position(older.len())] * SECTOR;
            let torn = if rng.chance(faults.torn_ppm) { rng.position(end - start) } else { 0 };
            if torn > 0 || version != older[0] * SECTOR {
                // Some of it was written, so the file reaches that far.
                len = len.max(end);
            }
            let old = &self.before[version..version + (end - start)];
            self.bytes[start + torn..end].copy_from_slice(&old[torn..]);
        }
        self.bytes.truncate(len);
        self.bytes.resize(len, 0);
        self.sync();
        is_loss
    }
}

fn position(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<FileInfo>> {
        let inner = self.inner();
        let info = |(name, number): (&String, &u64)| FileInfo {
            name: name.clone(),
            len: inner.files.get(number).map_or(0, |file| file.bytes.len() as u64),
            is_regular: true,
        };
        Ok(inner.names.iter().map(info).collect())
    }

    fn create(&self, name: &str) -> io::Result<()> {
        let mut inner = self.change()?;
        if inner.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        inner.require_room(1)?;
        let number = inner.next_file;
        inner.next_file += 1;
        inner.files.insert(number, File::default());
        inner.change_names(Renaming::Create(name.to_owned(), number));
        Ok(())
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut inner = self.inner();
        let rest = inner.file(name)?.bytes.get(position(offset)?..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.change()?;
        let end = position(offset)?.saturating_add(bytes.len());
        let len = inner.file(name)?.bytes.len();
        inner.require_room(end.saturating_sub(len))?;
        inner.file(name)?.write(position(offset)?, bytes);
        Ok(())
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        self.change()?.file(name)?.sync();
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut inner = self.change()?;
        inner.unsynced_names.clear();
        inner.synced_names = inner.names.clone();
        inner.drop_unnamed();
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.change()?;
        inner.file(from)?;
        inner.change_names(Renaming::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.change()?;
        inner.file(name)?;
        inner.change_names(Renaming::Remove(name.to_owned()));
        Ok(())
    }

    fn drop_cache(&self, name: &str) -> io::Result<()> {
        self.inner().file(name).map(|_| ())
    }

    fn lock(&self) -> io::Result<()> {
        let mut inner = self.inner();
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
    use crate::rng::MILLION;

    fn faults(kept_ppm: u32, torn_ppm: u32) -> DiskFaults {
        use std::time::Duration;
        let no_time = (Duration::ZERO, Duration::ZERO);
        DiskFaults { access: no_time, sync: no_time, kept_ppm, torn_ppm }
    }

    fn content(disk: &SimDisk) -> Vec<u8> {
        let mut buffer = vec![0; 10_000];
        let count = disk.read_at("x", 0, &mut buffer).unwrap();
        buffer.truncate(count);
        buffer
    }

    /// A file of two sectors of ones, synced.
    fn disk() -> SimDisk {
        let disk = SimDisk::default();
        disk.create("x").unwrap();
        disk.write_at("x", 0, &[1; 2 * SECTOR]).unwrap();
        disk.sync("x").unwrap();
        disk.sync_dir().unwrap();
        disk
    }

    #[test]
    fn what_was_synced_survives_and_the_rest_may() {
        let mut rng = Rng::new(1, "test");
        let disk = disk();
        disk.write_at("x", SECTOR as u64, &[2; 2 * SECTOR]).unwrap();
        assert!(disk.crash(&mut rng, &faults(0, 0)));
        assert_eq!(content(&disk), [1; 2 * SECTOR]);
        disk.write_at("x", SECTOR as u64, &[2; 2 * SECTOR]).unwrap();
        assert!(!disk.crash(&mut rng, &faults(MILLION, 0)));
        assert_eq!(content(&disk), [vec![1; SECTOR], vec![2; 2 * SECTOR]].concat());
    }

    #[test]
    fn every_subset_version_and_mixture_of_unsynced_sectors_occurs() {
        let mut rng = Rng::new(1, "test");
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let disk = disk();
            disk.write_at("x", 0, &[2; 2 * SECTOR]).unwrap();
            disk.write_at("x", 0, &[3; SECTOR]).unwrap();
            disk.crash(&mut rng, &faults(MILLION / 2, MILLION / 4));
            let content = content(&disk);
            assert_eq!(content.len(), 2 * SECTOR);
            let ends = |sector: usize| {
                let sector = &content[sector * SECTOR..][..SECTOR];
                (sector[0], sector[SECTOR - 1])
            };
            seen.insert((ends(0), ends(1)));
        }
        for first in [(1, 1), (2, 2), (3, 3), (3, 1), (3, 2)] {
            for second in [(1, 1), (2, 2), (2, 1)] {
                assert!(seen.contains(&(first, second)), "{first:?} {second:?}");
            }
        }
        assert_eq!(seen.len(), 15);
    }

    #[test]
    fn names_that_were_not_synced_are_undone_from_the_last_one_on() {
        let mut rng = Rng::new(1, "test");
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let disk = disk();
            disk.create("y").unwrap();
            disk.remove("x").unwrap();
            disk.crash(&mut rng, &faults(0, 0));
            let names = disk.list().unwrap().into_iter().map(|file| file.name);
            seen.insert(names.collect::<Vec<_>>().concat());
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["x", "xy", "y"]);
    }

    #[test]
    fn on_a_full_disk_only_what_is_there_can_be_written_to() {
        let disk = disk();
        disk.set_full(true);
        disk.write_at("x", SECTOR as u64, &[2; SECTOR]).unwrap();
        let full = io::ErrorKind::StorageFull;
        assert_eq!(disk.write_at("x", SECTOR as u64, &[2; SECTOR + 1]).unwrap_err().kind(), full);
        assert_eq!(disk.create("y").unwrap_err().kind(), full);
        disk.set_full(false);
        disk.create("y").unwrap();
    }

    #[test]
    fn without_power_nothing_changes_until_the_machine_starts_again() {
        let disk = disk();
        disk.set_power(Some(1));
        disk.write_at("x", 0, &[2]).unwrap();
        assert!(disk.write_at("x", 0, &[3]).is_err());
        disk.crash(&mut Rng::new(1, "test"), &faults(MILLION, 0));
        assert_eq!(content(&disk)[0], 2);
        disk.write_at("x", 0, &[3]).unwrap();
    }
}
