//! What the disk may do, and what it may not.

use super::file::SECTOR;
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
    let all = Loss { is_any: true, ..Loss::default() };
    assert_eq!(disk.crash(&mut rng, &faults(0, 0)), all);
    assert_eq!(content(&disk), [1; 2 * SECTOR]);
    disk.write_at("x", SECTOR as u64, &[2; 2 * SECTOR]).unwrap();
    assert_eq!(disk.crash(&mut rng, &faults(MILLION, 0)), Loss::default());
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
        let loss = disk.crash(&mut rng, &faults(MILLION / 2, MILLION / 4));
        let content = content(&disk);
        assert_eq!(content.len(), 2 * SECTOR);
        let ends = |sector: usize| {
            let sector = &content[sector * SECTOR..][..SECTOR];
            (sector[0], sector[SECTOR - 1])
        };
        let (first, second) = (ends(0), ends(1));
        assert_eq!(loss.is_any, (first, second) != ((3, 3), (2, 2)));
        assert_eq!(loss.is_torn, first.0 != first.1 || second.0 != second.1);
        // The first sector was written last.
        assert_eq!(loss.is_out_of_order, first == (3, 3) && second != (2, 2));
        seen.insert((first, second));
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

#[test]
fn after_a_failed_sync_what_is_read_is_not_what_is_there() {
    let mut both = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let disk = disk();
        disk.set_failing_sync(Some((0, Rng::new(seed, "test"))));
        disk.write_at("x", 0, &[2; 2 * SECTOR]).unwrap();
        assert_eq!(disk.sync("x").unwrap_err().raw_os_error(), Some(EIO));
        disk.sync("x").unwrap();
        assert_eq!(content(&disk), [2; 2 * SECTOR], "it can still be read");
        disk.drop_cache("x").unwrap();
        let content = content(&disk);
        both.insert((content[0], content[SECTOR]));
    }
    assert_eq!(both.len(), 4, "any of it may be there");
}

#[test]
fn what_was_synced_last_is_spared_in_the_log_and_damage_elsewhere_is_done_and_taken_back() {
    let mut rng = Rng::new(1, "test");
    let disk = SimDisk::default();
    disk.create("wal-0").unwrap();
    disk.sync_dir().unwrap();
    let all: Vec<u8> = (0..8 * 4096).map(|at| (at / 4096 + 1) as u8).collect();
    for block in 0..8 {
        disk.write_at("wal-0", block * 4096, &all[block as usize * 4096..][..4096]).unwrap();
        disk.sync("wal-0").unwrap();
    }
    let read = |disk: &SimDisk| {
        let mut buffer = vec![0; all.len()];
        disk.read_at("wal-0", 0, &mut buffer).map(|_| buffer)
    };
    for damage in [Damage::Flipped, Damage::Unreadable, Damage::Misdirected] {
        for _ in 0..50 {
            let Some(wound) = disk.damage(Part::Log, damage, &mut rng) else { continue };
            assert!(disk.is_damaged());
            match read(&disk) {
                Ok(bytes) => {
                    assert_ne!(bytes, all);
                    assert_eq!(bytes[7 * 4096..], all[7 * 4096..], "the last group is spared");
                }
                Err(error) => assert_eq!(error.raw_os_error(), Some(EIO)),
            }
            disk.heal(wound);
            assert_eq!(read(&disk).unwrap(), all);
            assert!(!disk.is_damaged());
        }
    }
    while !disk.is_damaged() {
        disk.damage(Part::Log, Damage::Unreadable, &mut rng);
    }
    disk.write_at("wal-0", 0, &all).unwrap();
    assert!(!disk.is_damaged(), "what is written anew is sound");
    assert_eq!(read(&disk).unwrap(), all);
}
