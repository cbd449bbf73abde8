//! Does a [`Disk`] of one's own keep what the trait promises?

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

use crate::disk::{Disk, FileInfo};

/// How many sequences of random operations are tried, and how long each of them is.
const RUNS: u64 = 20;
const OPERATIONS: u64 = 200;

/// What a disk does not keep to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the disk breaks the promise that {claim}: {found}")]
pub struct Nonconforming {
    /// The promise of the trait.
    pub claim: &'static str,
    /// What was seen instead.
    pub found: String,
}

/// Sees whether a [`Disk`] of one's own does what the storage relies on. `open` opens the directory
/// of this name: an empty one if the name is new, else the one that was opened under it before.
/// No handle of a directory is alive when it is opened again, but for the test of the lock.
///
/// ```
/// use quorate_storage::{FileDisk, check_disk};
///
/// let root = tempfile::tempdir()?;
/// check_disk(|name| FileDisk::create(root.path().join(name)))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// What only a power cut shows is the business of [`check_disk_after_crash`].
///
/// # Errors
/// The first promise that is not kept.
pub fn check_disk<D: Disk>(open: impl Fn(&str) -> io::Result<D>) -> Result<(), Nonconforming> {
    names(&open("names").map_err(|error| could_not("a directory can be opened", &error))?)?;
    bytes(&open("bytes").map_err(|error| could_not("a directory can be opened", &error))?)?;
    threads(&open("threads").map_err(|error| could_not("a directory can be opened", &error))?)?;
    lock(&open)?;
    (0..RUNS).try_for_each(|seed| operations(&open, seed))
}

/// Sees what a power cut leaves. `crash` cuts the power of a disk and gives the one that is found
/// afterwards: what was synced is to be there, and of the rest, sector by sector, what was there
/// before or what was written.
///
/// ```
/// use quorate_storage::{MemDisk, check_disk_after_crash};
///
/// check_disk_after_crash(MemDisk::new(), |disk| disk.crash_losing_all())?;
/// # Ok::<(), quorate_storage::Nonconforming>(())
/// ```
///
/// # Errors
/// The first promise that is not kept.
pub fn check_disk_after_crash<D: Disk>(
    disk: D,
    crash: impl Fn(D) -> D,
) -> Result<(), Nonconforming> {
    const CLAIM: &str = "what was synced survives a power cut";
    const SECTOR: usize = 512;
    let well = |result: io::Result<()>| result.map_err(|error| could_not(CLAIM, &error));
    let (old, new) = (vec![1; 8 * SECTOR], vec![2; 8 * SECTOR]);
    well(disk.create("synced"))?;
    well(disk.write_at("synced", 0, &old))?;
    well(disk.sync("synced"))?;
    well(disk.create("before"))?;
    well(disk.sync("before"))?;
    well(disk.rename("before", "renamed"))?;
    well(disk.create("removed"))?;
    well(disk.remove("removed"))?;
    well(disk.sync_dir())?;
    let disk = crash(disk);
    expect(CLAIM, &read(&disk, "synced"), &Ok(old.clone()))?;
    let found = list(&disk, CLAIM)?;
    let names: Vec<&str> = found.iter().map(|file| file.name.as_str()).collect();
    expect("names that were synced survive a power cut", &names, &vec!["renamed", "synced"])?;

    well(disk.write_at("synced", 0, &new))?;
    let disk = crash(disk);
    let bytes = read(&disk, "synced").map_err(|kind| could_not(CLAIM, &kind.into()))?;
    let is_one_of_both = |sector: &[u8]| [1, 2].iter().any(|byte| sector.iter().all(|b| b == byte));
    let torn = bytes.chunks(SECTOR).position(|sector| !is_one_of_both(sector));
    expect("a power cut leaves a sector as it was or as it was written", &torn, &None)?;
    expect("a power cut does not shorten a synced file", &bytes.len(), &old.len())
}

fn could_not(claim: &'static str, error: &io::Error) -> Nonconforming {
    Nonconforming { claim, found: error.to_string() }
}

fn expect<T: PartialEq + std::fmt::Debug>(
    claim: &'static str,
    found: &T,
    expected: &T,
) -> Result<(), Nonconforming> {
    if found == expected {
        return Ok(());
    }
    let found = format!("{found:?} instead of {expected:?}");
    Err(Nonconforming { claim, found: found.chars().take(400).collect() })
}

fn kind<T>(result: io::Result<T>) -> Result<(), ErrorKind> {
    result.map(|_| ()).map_err(|error| error.kind())
}

/// All of a file.
fn read<D: Disk>(disk: &D, name: &str) -> Result<Vec<u8>, ErrorKind> {
    let mut bytes = vec![0; 1 << 20];
    let len = disk.read_at(name, 0, &mut bytes).map_err(|error| error.kind())?;
    bytes.truncate(len);
    Ok(bytes)
}

fn list<D: Disk>(disk: &D, claim: &'static str) -> Result<Vec<FileInfo>, Nonconforming> {
    disk.list().map_err(|error| could_not(claim, &error))
}

fn names<D: Disk>(disk: &D) -> Result<(), Nonconforming> {
    expect("a new directory is empty", &list(disk, "a directory can be listed")?.len(), &0)?;
    for name in ["b", "a", "c"] {
        expect("a file can be created", &kind(disk.create(name)), &Ok(()))?;
    }
    expect("bytes can be written", &kind(disk.write_at("b", 0, b"12345")), &Ok(()))?;
    let claim = "a name is created once";
    expect(claim, &kind(disk.create("b")), &Err(ErrorKind::AlreadyExists))?;
    expect(claim, &read(disk, "b"), &Ok(b"12345".to_vec()))?;
    let claim = "a directory lists its files in the order of their names, each with its length";
    let file = |name: &str, len| FileInfo { name: name.to_owned(), len, is_regular: true };
    expect(claim, &list(disk, claim)?, &vec![file("a", 0), file("b", 5), file("c", 0)])?;
    let claim = "a renamed file takes the place of the one that had the name";
    expect(claim, &kind(disk.rename("b", "c")), &Ok(()))?;
    expect(claim, &list(disk, claim)?, &vec![file("a", 0), file("c", 5)])?;
    expect(claim, &read(disk, "c"), &Ok(b"12345".to_vec()))?;
    expect("a file can be removed", &kind(disk.remove("a")), &Ok(()))?;
    expect("a removed file is gone", &list(disk, claim)?, &vec![file("c", 5)])?;
    let claim = "what is not there is NotFound";
    let missing = &Err(ErrorKind::NotFound);
    expect(claim, &kind(disk.read_at("a", 0, &mut [0])), missing)?;
    expect(claim, &kind(disk.write_at("a", 0, b"1")), missing)?;
    expect(claim, &kind(disk.rename("a", "b")), missing)?;
    expect(claim, &kind(disk.remove("a")), missing)?;
    expect(claim, &kind(disk.sync("a")), missing)?;
    expect("names can be synced", &kind(disk.sync_dir()), &Ok(()))
}

fn bytes<D: Disk>(disk: &D) -> Result<(), Nonconforming> {
    let well = |claim, result: io::Result<()>| result.map_err(|error| could_not(claim, &error));
    well("a file can be created", disk.create("file"))?;
    let claim = "a write behind the end grows the file, with zeros in between";
    well(claim, disk.write_at("file", 10_000, b"end"))?;
    let mut expected = vec![0; 10_003];
    expected[10_000..].copy_from_slice(b"end");
    expect(claim, &read(disk, "file"), &Ok(expected.clone()))?;
    let claim = "a write changes its bytes and no others";
    well(claim, disk.write_at("file", 4095, b"xyz"))?;
    expected[4095..4098].copy_from_slice(b"xyz");
    expect(claim, &read(disk, "file"), &Ok(expected.clone()))?;
    let claim = "a read stops at the end of the file only";
    for (offset, len) in
        [(0, 10_003), (9_999, 4), (10_002, 100), (10_003, 10), (20_000, 10), (5, 0)]
    {
        let mut buffer = vec![7; len];
        let read = disk.read_at("file", offset, &mut buffer);
        let read = read.map_err(|error| could_not(claim, &error))?;
        let start = expected.len().min(offset as usize);
        let there = &expected[start..expected.len().min(start + len)];
        expect(claim, &&buffer[..read], &there)?;
    }
    well("a file can be synced", disk.sync("file"))?;
    well("the cache of a file can be dropped", disk.drop_cache("file"))?;
    expect("a sync changes nothing", &read(disk, "file"), &Ok(expected))
}

/// Several threads write to one file at once, each to a part of its own, and read what they wrote.
#[expect(clippy::disallowed_methods, reason = "it tries what several threads do")]
fn threads<D: Disk>(disk: &D) -> Result<(), Nonconforming> {
    const CLAIM: &str = "a disk is shared between threads";
    const PART: usize = 4096;
    disk.create("file").map_err(|error| could_not(CLAIM, &error))?;
    std::thread::scope(|scope| {
        let writers: Vec<_> = (1..=4_u8)
            .map(|number| {
                scope.spawn(move || {
                    let offset = u64::from(number) * PART as u64;
                    for round in 0..50 {
                        let part = [number ^ round; PART];
                        let written = disk.write_at("file", offset, &part);
                        written.map_err(|error| could_not(CLAIM, &error))?;
                        let mut found = [0; PART];
                        let read = disk.read_at("file", offset, &mut found);
                        expect(CLAIM, &kind(read), &Ok(()))?;
                        expect(CLAIM, &found, &part)?;
                    }
                    Ok(())
                })
            })
            .collect();
        let panicked = |_| Nonconforming { claim: CLAIM, found: "a panic".to_owned() };
        writers.into_iter().try_for_each(|writer| writer.join().map_err(panicked)?)
    })
}

fn lock<D: Disk>(open: &impl Fn(&str) -> io::Result<D>) -> Result<(), Nonconforming> {
    const CLAIM: &str = "a directory is one process's alone while it holds the lock";
    let opened = || open("lock").map_err(|error| could_not(CLAIM, &error));
    let (first, second) = (opened()?, opened()?);
    expect(CLAIM, &kind(first.lock()), &Ok(()))?;
    expect(CLAIM, &kind(second.lock()), &Err(ErrorKind::WouldBlock))?;
    drop(first);
    expect("the lock goes with the disk that took it", &kind(second.lock()), &Ok(()))
}

/// Random operations, beside a map that does the same.
fn operations<D: Disk>(
    open: &impl Fn(&str) -> io::Result<D>,
    seed: u64,
) -> Result<(), Nonconforming> {
    const CLAIM: &str = "files are what was done to them, also when the directory is opened again";
    const NAMES: [&str; 4] = ["0", "1", "2", "3"];
    let directory = format!("operations-{seed}");
    let opened = || open(&directory).map_err(|error| could_not(CLAIM, &error));
    let mut disk = opened()?;
    let mut model: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    // Xorshift: small, and the same everywhere.
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = |limit: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % limit
    };
    for _ in 0..OPERATIONS {
        let [name, other] = [0; 2].map(|_: i32| NAMES[below(4) as usize]);
        let is_there = model.contains_key(name);
        let missing = || if is_there { Ok(()) } else { Err(ErrorKind::NotFound) };
        let (found, expected) = match below(8) {
            0 => {
                model.entry(name).or_default();
                let expected = if is_there { Err(ErrorKind::AlreadyExists) } else { Ok(()) };
                (kind(disk.create(name)), expected)
            }
            1..=3 => {
                let (offset, len) = (below(5000) as usize, below(3000) as usize);
                let bytes: Vec<u8> = (0..len).map(|_| below(256) as u8).collect();
                if let Some(file) = model.get_mut(name)
                    && len > 0
                {
                    file.resize(file.len().max(offset + len), 0);
                    file[offset..offset + len].copy_from_slice(&bytes);
                }
                (kind(disk.write_at(name, offset as u64, &bytes)), missing())
            }
            4 => (kind(disk.sync(name)), missing()),
            5 if name != other => {
                if let Some(file) = model.remove(name) {
                    model.insert(other, file);
                }
                (kind(disk.rename(name, other)), missing())
            }
            6 => {
                model.remove(name);
                (kind(disk.remove(name)), missing())
            }
            _ => {
                drop(disk);
                disk = opened()?;
                (Ok(()), Ok(()))
            }
        };
        expect(CLAIM, &found, &expected)?;
        for (name, bytes) in &model {
            expect(CLAIM, &read(&disk, name), &Ok(bytes.clone()))?;
        }
        let info = |(name, bytes): (&&str, &Vec<u8>)| {
            let (name, len) = ((*name).to_owned(), bytes.len() as u64);
            FileInfo { name, len, is_regular: true }
        };
        expect(CLAIM, &list(&disk, CLAIM)?, &model.iter().map(info).collect())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::disk::{FileDisk, Keep, MemDisk};

    #[test]
    fn real_files_conform() {
        let root = tempfile::tempdir().unwrap();
        check_disk(|name| FileDisk::create(root.path().join(name))).unwrap();
    }

    #[test]
    fn what_a_power_cut_leaves_of_a_disk_in_memory_conforms() {
        for keep in [Keep::Old, Keep::New] {
            check_disk_after_crash(MemDisk::new(), |disk| disk.crash(9, |_, _| keep)).unwrap();
        }
        let every_other = |_: &str, sector| if sector % 2 == 0 { Keep::Old } else { Keep::New };
        check_disk_after_crash(MemDisk::new(), |disk| disk.crash(9, every_other)).unwrap();
    }

    /// What a broken disk does wrong.
    #[derive(Clone, Copy, PartialEq)]
    enum Break {
        CreateTruncates,
        ListIsNotSorted,
        ReadIsShort,
        HolesAreNotZero,
        MissingIsCreated,
        RenameKeepsTheOld,
        LockIsShared,
        Forgets,
        SyncDoesNothing,
    }

    /// Files in memory, with a fault.
    struct Broken {
        fault: Break,
        disk: MemDisk,
    }

    impl Disk for Broken {
        fn list(&self) -> io::Result<Vec<FileInfo>> {
            let mut list = self.disk.list()?;
            if self.fault == Break::ListIsNotSorted {
                list.reverse();
            }
            Ok(list)
        }

        fn create(&self, name: &str) -> io::Result<()> {
            if self.fault == Break::CreateTruncates && self.disk.content(name).is_some() {
                self.disk.set_content(name, b"");
            }
            self.disk.create(name)
        }

        fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
            let most = if self.fault == Break::ReadIsShort { 4096 } else { usize::MAX };
            let len = buffer.len().min(most);
            self.disk.read_at(name, offset, &mut buffer[..len])
        }

        fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
            if self.fault == Break::MissingIsCreated && self.disk.content(name).is_none() {
                self.disk.create(name)?;
            }
            self.disk.write_at(name, offset, bytes)?;
            let mut content = self.disk.content(name).unwrap_or_default();
            if self.fault == Break::HolesAreNotZero && offset > 0 && content[0] == 0 {
                content[0] = 0xff;
                self.disk.set_content(name, &content);
            }
            Ok(())
        }

        fn sync(&self, name: &str) -> io::Result<()> {
            if self.fault == Break::SyncDoesNothing { Ok(()) } else { self.disk.sync(name) }
        }

        fn sync_dir(&self) -> io::Result<()> {
            self.disk.sync_dir()
        }

        fn rename(&self, from: &str, to: &str) -> io::Result<()> {
            let before = self.disk.content(from);
            self.disk.rename(from, to)?;
            if self.fault == Break::RenameKeepsTheOld {
                self.disk.create(from)?;
                self.disk.set_content(from, &before.unwrap_or_default());
            }
            Ok(())
        }

        fn remove(&self, name: &str) -> io::Result<()> {
            self.disk.remove(name)
        }

        fn drop_cache(&self, name: &str) -> io::Result<()> {
            self.disk.drop_cache(name)
        }

        fn lock(&self) -> io::Result<()> {
            if self.fault == Break::LockIsShared { Ok(()) } else { self.disk.lock() }
        }
    }

    fn claim_broken_by(fault: Break) -> &'static str {
        let disks: Mutex<BTreeMap<String, MemDisk>> = Mutex::default();
        let open = |name: &str| {
            let mut disks = disks.lock().unwrap();
            if fault == Break::Forgets {
                disks.remove(name);
            }
            Ok(Broken { fault, disk: disks.entry(name.to_owned()).or_default().clone() })
        };
        check_disk(open).unwrap_err().claim
    }

    #[test]
    fn every_promise_that_is_not_kept_is_named() {
        for (fault, claim) in [
            (Break::CreateTruncates, "a name is created once"),
            (Break::ListIsNotSorted, "in the order of their names"),
            (Break::ReadIsShort, "a write behind the end grows the file"),
            (Break::HolesAreNotZero, "a write behind the end grows the file"),
            (Break::MissingIsCreated, "what is not there is NotFound"),
            (Break::RenameKeepsTheOld, "a renamed file takes the place"),
            (Break::LockIsShared, "one process's alone"),
            (Break::Forgets, "one process's alone"),
        ] {
            let named = claim_broken_by(fault);
            assert!(named.contains(claim), "{named}, and not: {claim}");
        }
    }

    #[test]
    fn a_sync_that_does_nothing_shows_when_the_power_goes() {
        let fault = Break::SyncDoesNothing;
        let broken = |disk| Broken { fault, disk };
        let crash = |disk: Broken| broken(disk.disk.crash_losing_all());
        let found = check_disk_after_crash(broken(MemDisk::new()), crash).unwrap_err();
        assert_eq!(found.claim, "what was synced survives a power cut");
    }
}
