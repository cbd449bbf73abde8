//! A disk that promises no more than a disk does: until a file is synced, a crash may keep any
//! subset of the sectors written to it, in any version that they had meanwhile, or a mixture of
//! two; until the directory is synced, any number of the last changes of names may be undone. A
//! sync may fail, and what was written well may be damaged later on.

mod damage;
mod file;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use quorate_storage::{Disk, FileInfo};

use crate::faults::DiskFaults;
use crate::rng::Rng;
pub(crate) use damage::{Damage, Part};
use file::File;
pub(crate) use file::Loss;

/// The number of the error which says that the medium failed.
const EIO: i32 = 5;

/// The file that says how far the log is known to be durable.
const META: &str = "meta";

/// True of the files of the log.
fn is_log(name: &str) -> bool {
    name.starts_with("wal-")
}

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
    /// What the log's files hold is vouched for elsewhere on the disk: also what was synced last.
    is_vouched_for: bool,
    /// How many more changes happen before the power goes out.
    power: Option<u64>,
    is_full: bool,
    /// After so many more syncs of files one fails, by this generator.
    failing_sync: Option<(u64, Rng)>,
    has_failed: bool,
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

    /// What was written to the log so far is vouched for: damage to any of it must be found.
    pub(crate) fn vouch_for_the_log(&self) {
        self.inner().is_vouched_for = true;
    }

    /// Whether there is room for more files, or for longer ones.
    pub(crate) fn set_full(&self, full: bool) {
        self.inner().is_full = full;
    }

    pub(crate) fn is_full(&self) -> bool {
        self.inner().is_full
    }

    /// After so many more syncs of files one fails; `None`: none does.
    pub(crate) fn set_failing_sync(&self, failing: Option<(u64, Rng)>) {
        self.inner().failing_sync = failing;
    }

    /// True if a sync has failed since the machine was started.
    pub(crate) fn has_failed(&self) -> bool {
        self.inner().has_failed
    }

    /// A copy of what is on the medium of a machine that is off.
    pub(crate) fn image(&self) -> SimDisk {
        let inner = self.inner();
        let (files, names) = (inner.files.clone(), inner.names.clone());
        let synced_names = names.clone();
        let next_file = inner.next_file;
        let copy = Inner { files, next_file, names, synced_names, ..Inner::default() };
        SimDisk { inner: Mutex::new(copy) }
    }

    /// The machine dies, and with it whatever was not synced, as far as the faults have it.
    /// Returns what was lost.
    pub(crate) fn crash(&self, rng: &mut Rng, faults: &DiskFaults) -> Loss {
        let mut inner = self.inner();
        let undone = if faults.kept_ppm == crate::rng::MILLION {
            0
        } else {
            rng.below(inner.unsynced_names.len() as u64 + 1) as usize
        };
        let mut loss = Loss { is_any: undone > 0, ..Loss::default() };
        let kept = inner.unsynced_names.len() - undone;
        let changes = std::mem::take(&mut inner.unsynced_names);
        let mut names = std::mem::take(&mut inner.synced_names);
        changes[..kept].iter().for_each(|change| change.carry_out(&mut names));
        for file in inner.files.values_mut() {
            loss = loss.and(file.crash(rng, faults));
            if faults.kept_ppm != crate::rng::MILLION {
                file.drop_cache();
            }
        }
        inner.synced_names = names.clone();
        inner.names = names;
        inner.drop_unnamed();
        inner.is_locked = false;
        inner.power = None;
        inner.failing_sync = None;
        inner.has_failed = false;
        loss
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

    /// True if the medium holds something else in this file than was written.
    fn is_damaged(&self, name: &str) -> bool {
        let number = self.names.get(name);
        number.and_then(|number| self.files.get(number)).is_some_and(File::is_damaged)
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
        let (file, offset) = (inner.file(name)?, position(offset)?);
        let rest = file.bytes.get(offset..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if !file.can_be_read(offset..offset + count) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
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
        let mut inner = self.change()?;
        match &mut inner.failing_sync {
            Some((0, rng)) => {
                let mut rng = rng.clone();
                inner.failing_sync = None;
                inner.has_failed = true;
                inner.file(name)?.fail_to_sync(&mut rng);
                return Err(io::Error::from_raw_os_error(EIO));
            }
            Some((more, _)) => *more -= 1,
            None => {}
        }
        let wrote = inner.file(name)?.sync();
        inner.is_vouched_for &= !(wrote && is_log(name));
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
        self.inner().file(name).map(File::drop_cache)
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
mod tests;
