//! Which snapshot a store stands on when it is opened.

use std::io::{ErrorKind, Write as _};
use std::sync::Arc;

use quorate_core::*;

use super::faults::{long_log, stop};
use super::fixture::*;
use crate::disk::{Disk as _, MemDisk, Operation};
use crate::error::StorageError;
use crate::snapshot::{SnapshotError, SnapshotStore};

/// The files of the snapshots, the older one first.
fn snapshots(disk: &MemDisk) -> Vec<String> {
    disk.contents().into_keys().filter(|name| name.starts_with("snap-")).collect()
}

fn remove_all(disk: &MemDisk, prefix: &str) {
    for name in disk.contents().into_keys().filter(|name| name.starts_with(prefix)) {
        disk.remove(&name).unwrap();
    }
    disk.sync_dir().unwrap();
}

#[test]
fn one_that_cannot_be_read_for_another_reason_than_damage_is_not_given_up() {
    let author = long_log();
    for kind in [ErrorKind::OutOfMemory, ErrorKind::PermissionDenied] {
        let disk = author.disk.crash_keeping_all();
        let before = disk.contents();
        disk.fail(Operation::Read, "snap-", kind, 1);
        let error = open(&disk).unwrap_err();
        let StorageError::Snapshots(SnapshotError::Unreadable { .. }) = error else {
            panic!("{error}");
        };
        assert!(disk.contents() == before);
        let (_, found) = open(&disk.crash_keeping_all()).unwrap();
        assert_eq!(found.snapshot, author.snapshot);
    }
}

#[test]
fn one_that_the_medium_does_not_give_back_is_as_good_as_damaged() {
    let author = long_log();
    let names = snapshots(&author.disk);
    author.disk.set_unreadable(&names[1], 0..512);
    for _ in 0..2 {
        let (_, found) = open(&author.disk.crash_keeping_all()).unwrap();
        assert_eq!(found.snapshot.map(|it| it.last.index), Some(Index(25)));
        assert_eq!(found.log.last, author.last().0);
    }
}

#[test]
fn those_that_cannot_be_read_at_one_start_are_left_for_the_next() {
    let author = long_log();
    let names = snapshots(&author.disk);
    let disk = author.disk.crash_keeping_all();
    names.iter().for_each(|name| disk.set_unreadable(name, 0..512));
    assert_eq!(open(&disk).unwrap().1.snapshot, None);
    assert_eq!(snapshots(&disk), names);
}

#[test]
fn an_intact_one_that_is_not_what_the_log_says_does_not_count() {
    let author = long_log();
    let newest = author.snapshot.clone().unwrap();
    let elsewhere = MemDisk::new();
    let mut builder = SnapshotStore::new(Arc::new(elsewhere.clone())).builder().unwrap();
    builder.write_all(format!("state at {}", newest.last).as_bytes()).unwrap();
    let other = LogTime(newest.time.0 + 1);
    let built = builder.finish(newest.last, newest.digest, newest.membership.clone(), other);
    assert_eq!(built.unwrap().id(), newest.id());
    let name = &snapshots(&author.disk)[1];
    author.disk.set_content(name, &elsewhere.content(name).unwrap());
    let (_, found) = open(&author.disk.crash_keeping_all()).unwrap();
    assert_eq!(found.snapshot.map(|it| it.last.index), Some(Index(25)));
}

#[test]
fn without_any_group_nobody_knows_which_one_counted() {
    let author = long_log();
    let disk = author.disk.crash_keeping_all();
    remove_all(&disk, "wal-");
    assert!(matches!(stop(&disk), StorageError::Damaged { .. }));
    // Nor what was compacted, if there was one and it is gone as well.
    let author = author_in_a_used_segment();
    let disk = author.disk.crash_keeping_all();
    remove_all(&disk, "wal-");
    remove_all(&disk, "snap-");
    assert!(matches!(stop(&disk), StorageError::Damaged { .. }));
    // A log that never had any is mute, and empty.
    let mut author = Author::new();
    author.append(1, &[b"one"]);
    remove_all(&author.disk, "wal-");
    let (_, found) = open(&author.disk.crash_keeping_all()).unwrap();
    assert_eq!((found.log.last, found.snapshot, found.mute), (LogId::ZERO, None, true));
}
