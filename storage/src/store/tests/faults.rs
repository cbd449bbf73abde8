//! The rest of the fault table: failing disks, files that are missing or not ours.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use quorate_core::*;

use super::fixture::*;
use super::healing::{heal, see};
use crate::disk::{Disk, FileDisk, MemDisk, Operation};
use crate::error::{Damage, StorageError};
use crate::frame::Claim;
use crate::meta::{META, META_TMP};
use crate::segment;
use crate::snapshot::SnapshotError;
use crate::store::{Owner, Store};

/// A log over several segments, with two snapshots.
pub(super) fn long_log() -> Author {
    let mut author = Author::new();
    for round in 1..=3u64 {
        for i in 0..20u8 {
            author.append(1, &[&[i; 3000]]);
        }
        if round > 1 {
            author.take_snapshot(round * 20 - 15);
        }
    }
    author
}

/// Fails to open a copy of the disk, and changes nothing.
pub(super) fn stop(disk: &MemDisk) -> StorageError {
    refused(&disk.crash_keeping_all())
}

/// Fails to open the disk itself, and changes nothing.
fn refused(disk: &MemDisk) -> StorageError {
    let before = disk.contents();
    let error = open(disk).map(|_| ()).unwrap_err();
    assert!(disk.contents() == before, "{error}: and yet something was changed");
    error
}

/// The segments that are part of the log.
fn registered(disk: &MemDisk) -> Vec<String> {
    let inspection = crate::inspect(&Arc::new(disk.clone())).unwrap();
    inspection.segments.into_iter().map(|segment| segment.file).collect()
}

fn remove(disk: &MemDisk, file: &str) {
    disk.remove(file).unwrap();
    disk.sync_dir().unwrap();
}

#[test]
fn a_failed_write_or_sync_is_final() {
    // A file system that copies what is written may want room for what stands there already.
    let kinds = [ErrorKind::Other, ErrorKind::StorageFull, ErrorKind::QuotaExceeded];
    let failures = kinds.map(|kind| [(Operation::Write, kind), (Operation::Sync, kind)]);
    for (operation, kind) in failures.concat() {
        let mut author = Author::new();
        author.append(1, &[b"saved"]);
        let write = author.appending(1, &[b"not saved"]);
        author.enqueue(write);
        author.disk.fail(operation, "wal-", kind, 1);
        let error = author.flush().unwrap_err();
        assert!(matches!(error, StorageError::WriteFailed { .. }), "{error}");
        let syncs = author.disk.syncs();
        for result in [author.store.prepare(), author.store.maintenance(), author.store.attest()] {
            assert!(matches!(result, Err(StorageError::WriteFailed { .. })));
        }
        assert_eq!(author.disk.syncs(), syncs, "a sync is never tried again");
        let (_, recovered) = open(&author.disk.crash_losing_all()).unwrap();
        assert_eq!(recovered.log.last.index, Index(1));
    }
}

#[test]
fn a_promise_counts_only_once_its_second_copy_is_synced() {
    let mut author = Author::new();
    author.append(1, &[b"x"]);
    let write = author.swearing(3);
    author.enqueue(write);
    let job = author.store.prepare().unwrap().unwrap();
    let steps: Vec<_> = job.steps().iter().map(|step| format!("{step:?}")).collect();
    let about = |n: usize, what: &str, file: &str| {
        steps[n].starts_with(what) && steps[n].contains(&format!("\"{file}"))
    };
    assert!(about(0, "Write", "wal-") && about(1, "Sync", "wal-"), "{steps:?}");
    assert!(about(2, "Write", "meta") && about(3, "Sync", "meta") && steps.len() == 4);
    assert_eq!(author.run(job).unwrap(), Some(author.seq));
}

#[test]
fn a_pledge_that_rides_along_costs_no_second_sync() {
    let mut author = Author::new();
    author.append(1, &[b"x"]);
    author.pledge = pledge(8);
    let syncs = author.disk.syncs();
    let write = author.write(Vec::new());
    author.save(write);
    assert_eq!(author.disk.syncs(), syncs + 1);
    let (_, recovered) = open(&author.disk.crash_losing_all()).unwrap();
    assert_eq!(recovered.pledge, Some(pledge(8)));
    // Once it is a promise it needs the second copy.
    let sworn =
        |author: &Author| crate::inspect(&Arc::new(author.disk.crash_losing_all())).unwrap().sworn;
    assert_eq!(sworn(&author), None);
    let write = author.swearing(8);
    author.save(write);
    assert_eq!(sworn(&author), Some((2, pledge(8))));
}

#[test]
fn a_pledge_found_only_in_the_log_is_copied_before_the_store_is_open() {
    let mut author = Author::new();
    author.append(1, &[b"x"]);
    author.pledge = pledge(8);
    let write = author.write(Vec::new());
    author.save(write);
    let disk = author.disk.crash_losing_all();
    drop(open(&disk).unwrap());
    let inspection = crate::inspect(&Arc::new(disk.crash_losing_all())).unwrap();
    assert_eq!(inspection.sworn, Some((2, pledge(8))));
}

#[test]
fn a_log_from_before_the_last_promise_is_mute_and_keeps_the_promise() {
    let mut author = Author::new();
    author.append(1, &[b"x"]);
    let before = author.disk.content(&segment::name(1)).unwrap();
    let write = author.swearing(3);
    author.save(write);
    author.disk.set_content(&segment::name(1), &before);
    let recovered = found(&author.disk).unwrap();
    assert!(recovered.mute);
    assert_eq!((recovered.pledge, recovered.log.last.index), (Some(pledge(3)), Index(1)));
}

#[test]
fn a_pledge_in_the_log_other_than_the_one_sworn_is_a_stop() {
    let (mut one, mut two) = (Author::new(), Author::new());
    for (author, number) in [(&mut one, 3), (&mut two, 4)] {
        let write = author.swearing(number);
        author.save(write);
    }
    let other = two.disk.content(&segment::name(1)).unwrap();
    one.disk.set_content(&segment::name(1), &other);
    assert!(matches!(stop(&one.disk), StorageError::PledgeContradicted { sequence: 1, .. }));
}

#[test]
fn a_segment_that_is_a_copy_of_another_is_a_stop_naming_both() {
    let author = long_log();
    let bytes = author.disk.content(&segment::name(3)).unwrap();
    author.disk.set_content(&segment::name(4), &bytes);
    let error = stop(&author.disk).to_string();
    assert!(error.contains(&segment::name(3)) && error.contains(&segment::name(4)), "{error}");
}

#[test]
fn a_segment_of_another_directory_is_a_stop() {
    let author = long_log();
    let disk = MemDisk::new();
    let owner = Owner { node: NodeId(2), ..owner() };
    drop(Store::open(Arc::new(disk.clone()), &owner, options(), Incarnation(5), 1).unwrap());
    let bytes = disk.content(&segment::name(1)).unwrap();
    let last = author.disk.contents().into_keys().rfind(|n| n.starts_with("wal-"));
    let next = segment::name(segment::parse_name(&last.unwrap()).unwrap() + 1);
    author.disk.set_content(&next, &bytes);
    assert!(matches!(stop(&author.disk), StorageError::ForeignSegment { .. }));
}

#[test]
fn a_missing_segment_in_the_middle_is_a_gap_and_one_at_the_end_makes_mute() {
    let author = long_log();
    let registered = registered(&author.disk);
    assert!(registered.len() > 4);
    let (mut gaps, mut mutes) = (0, 0);
    for file in &registered[1..] {
        let disk = author.disk.crash_keeping_all();
        remove(&disk, file);
        let seen = see(&disk, options(), &author.entries);
        gaps += u32::from(!seen.gaps.is_empty());
        mutes += u32::from(seen.mute);
        assert!(seen.mute || seen.last == author.last().0.index, "{file}: {seen:?}");
        heal(&disk, options(), &author.entries, &mut Random(3));
    }
    assert!(gaps > 0 && mutes >= 2, "{gaps} {mutes}");
}

#[test]
fn a_missing_first_segment_is_no_loss_if_a_snapshot_covers_it() {
    let author = long_log();
    remove(&author.disk, &registered(&author.disk)[0]);
    let (_, recovered) = open(&author.disk.crash_keeping_all()).unwrap();
    assert_eq!(recovered.log.last, author.last().0);
    assert_eq!(recovered.snapshot, author.snapshot);
    // Without any snapshot the same is a hole.
    let mut author = Author::new();
    for i in 0..40u8 {
        author.append(1, &[&[i; 3000]]);
    }
    remove(&author.disk, &segment::name(1));
    let seen = see(&author.disk, options(), &author.entries);
    assert!(matches!(seen.gaps[..], [(1, _)]) && !seen.mute, "{seen:?}");
    heal(&author.disk, options(), &author.entries, &mut Random(3));
}

#[test]
fn a_stale_snapshot_and_a_newer_log_are_both_found() {
    let author = long_log();
    let (store, recovered) = open(&author.disk.crash_losing_all()).unwrap();
    let snapshot = recovered.snapshot.unwrap();
    assert_eq!(snapshot.last.index, Index(45));
    let read = store.reader().read_entries(Index(46), usize::MAX).unwrap();
    assert_eq!(read, author.entries[45..]);
}

#[test]
fn behind_a_corrupt_newest_snapshot_the_older_one_and_the_log_serve() {
    let author = long_log();
    let snapshots: Vec<_> = author.disk.contents().into_keys().collect();
    let snapshots = snapshots.iter().filter(|name| name.starts_with("snap-"));
    let (older, newest) = match &snapshots.collect::<Vec<_>>()[..] {
        [older, newest] => (*older, *newest),
        other => panic!("{other:?}"),
    };
    author.disk.flip(newest, 2, 1);
    let disk = author.disk.crash_keeping_all();
    let (store, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.snapshot.unwrap().last.index, Index(25));
    assert!(recovered.log.base.index <= Index(25));
    let from = recovered.log.base.index.next();
    let read = store.reader().read_entries(from, usize::MAX).unwrap();
    assert_eq!(read.last(), author.entries.last());
    // Once more, and with the older one gone too.
    let disk = disk.crash_keeping_all();
    assert_eq!(open(&disk).unwrap().1.snapshot.unwrap().last.index, Index(25));
    author.disk.flip(older, 2, 1);
    // Of what the log does not hold any more, the end is known by name.
    let recovered = found(&author.disk).unwrap();
    assert_eq!((recovered.snapshot, recovered.log.base), (None, LogId::ZERO));
    assert_eq!(recovered.log.last, author.last().0);
    see(&author.disk, options(), &author.entries);
}

#[test]
fn a_snapshot_in_the_place_of_another_of_the_same_state_leaves_the_older_one_where_it_is() {
    let mut author = long_log();
    let newest = author.snapshot.clone().unwrap();
    let mut builder = author.store.snapshots().builder().unwrap();
    std::io::Write::write_all(&mut builder, b"the same in other words").unwrap();
    let SnapshotMeta { last, digest, membership, time, .. } = newest.clone();
    let renewed = builder.finish(last, digest, membership, time).unwrap();
    author.snapshot = Some(renewed.clone());
    let write = author.write(Vec::new());
    author.save(write);
    assert_eq!(found(&author.disk).unwrap().snapshot, Some(renewed));
    let names = author.disk.contents().into_keys().filter(|name| name.starts_with("snap-"));
    let [_, newest] = &names.collect::<Vec<_>>()[..] else {
        panic!("the older one and the newest")
    };
    author.disk.flip(newest, 2, 1);
    assert_eq!(found(&author.disk).unwrap().snapshot.unwrap().last.index, Index(25));
}

#[test]
fn a_log_that_no_readable_snapshot_reaches_lacks_what_lies_between() {
    let mut author = Author::new();
    for round in 1..=6u64 {
        for i in 0..20u8 {
            author.append(1, &[&[i; 3000]]);
        }
        author.take_snapshot(round * 20);
    }
    let names = author.disk.contents().into_keys().filter(|name| name.starts_with("snap-"));
    let names: Vec<String> = names.collect();
    names.iter().for_each(|name| author.disk.flip(name, 2, 1));
    let seen = see(&author.disk, options(), &author.entries);
    assert!(matches!(seen.gaps[..], [(1, last)] if last > 20) && !seen.mute, "{seen:?}");
    heal(&author.disk, options(), &author.entries, &mut Random(3));
}

#[test]
fn two_bad_copies_of_meta_are_stood_in_for_and_rewritten() {
    let author = long_log();
    for bad in [[0, 1], [0, 2], [1, 3], [2, 3]] {
        let disk = author.disk.crash_keeping_all();
        bad.iter().for_each(|copy| disk.flip(META, copy * 4096 + 50, 1));
        let (_, recovered) = open(&disk).unwrap();
        assert_eq!(recovered.log.last, author.last().0, "{bad:?}");
        let inspection = crate::inspect(&Arc::new(disk.crash_losing_all())).unwrap();
        assert_eq!(inspection.bad_meta_copies, 0);
    }
}

#[test]
fn a_copy_of_meta_that_cannot_be_read_is_stood_in_for() {
    let author = long_log();
    for copy in 0..4 {
        let disk = author.disk.crash_keeping_all();
        disk.set_unreadable(META, copy * 4096..copy * 4096 + 512);
        assert_eq!(found(&disk).unwrap().log.last, author.last().0, "{copy}");
        // What fails in another way says nothing about the medium.
        disk.fail_later(Operation::Read, META, ErrorKind::Other, copy);
        assert!(matches!(refused(&disk), StorageError::Unreadable { .. }), "{copy}");
    }
}

#[test]
fn after_a_crash_at_any_step_either_pair_of_copies_of_meta_can_be_spared() {
    let grow = |disk: &MemDisk, changes: u64| {
        let mut author = Author::on(disk);
        disk.stop_after(changes);
        let mut saved = 0;
        for i in 0..30u8 {
            let write = author.appending(1, &[&[i; 9000]]);
            author.enqueue(write);
            if author.flush().is_err() {
                return (saved, false);
            }
            saved += 1;
        }
        (saved, true)
    };
    for changes in 0.. {
        let disk = MemDisk::new();
        let (saved, is_over) = grow(&disk, changes);
        for pair in [0, 2] {
            let disk = disk.crash_losing_all();
            (pair..pair + 2).for_each(|copy| disk.flip(META, copy * 4096 + 50, 1));
            let recovered =
                found(&disk).unwrap_or_else(|error| panic!("{changes}, {pair}: {error}"));
            assert!(!recovered.mute && recovered.log.gaps.is_empty(), "{changes}, {pair}");
            assert!(recovered.log.last.index >= Index(saved), "{changes}, {pair}");
        }
        if is_over {
            assert!(changes > 100, "{changes}");
            return;
        }
    }
}

#[test]
fn with_whole_copies_of_meta_only_one_segment_is_not_registered() {
    let author = long_log();
    let last = registered(&author.disk).pop().unwrap();
    let last = segment::parse_name(&last).unwrap();
    let store = crate::meta::read(&author.disk).unwrap().meta.store_id();
    let add = |id| author.disk.set_content(&segment::name(id), &segment_of(store, id));
    add(last + 1);
    assert_eq!(found(&author.disk).unwrap().log.last, author.last().0);
    // Who puts back an old file is told, though its segments are those of this directory.
    add(last + 2);
    assert!(matches!(stop(&author.disk), StorageError::ForeignSegment { .. }));
    author.disk.flip(META, 50, 1);
    assert_eq!(found(&author.disk).unwrap().log.last, author.last().0);
    add(last + 3);
    assert!(matches!(stop(&author.disk), StorageError::ForeignSegment { .. }));
}

fn segment_of(store: Digest, id: u64) -> Vec<u8> {
    let mut bytes = segment::encode(store, id, 65_536);
    bytes.resize(65_536, 0);
    bytes
}

#[test]
fn a_blank_directory_is_one_without_a_store_whatever_else_is_there() {
    let disk = MemDisk::new();
    let is_blank = |disk: &MemDisk| Store::is_blank(&Arc::new(disk.clone()));
    assert!(is_blank(&disk).unwrap());
    disk.set_content("a file of somebody else", b"x");
    assert!(is_blank(&disk).unwrap());
    drop(open(&disk).unwrap());
    assert!(!is_blank(&disk).unwrap());
    remove(&disk, META);
    assert!(matches!(is_blank(&disk), Err(StorageError::MetaLost { .. })));
}

#[test]
fn without_any_copy_of_meta_the_data_is_not_touched() {
    let author = long_log();
    let disk = author.disk.crash_keeping_all();
    (0..4).for_each(|copy| disk.flip(META, copy * 4096 + 50, 1));
    assert!(matches!(stop(&disk), StorageError::MetaLost { .. }));
    remove(&disk, META);
    assert!(matches!(stop(&disk), StorageError::MetaLost { .. }));
    // Nor if segments or snapshots are all there is.
    for kind in ["wal-", "snap-"] {
        let disk = disk.crash_keeping_all();
        let names = disk.contents().into_keys().filter(|name| name.starts_with(kind));
        names.for_each(|name| remove(&disk, &name));
        assert!(matches!(stop(&disk), StorageError::MetaLost { .. }), "{kind}");
    }
}

#[test]
fn what_a_crash_left_in_preparation_is_removed() {
    let author = long_log();
    let names: Vec<String> = author.disk.contents().into_keys().collect();
    let leave = |file: &str| {
        let disk = author.disk.crash_keeping_all();
        disk.create(file).unwrap();
        disk.sync_dir().unwrap();
        disk
    };
    for file in [META_TMP, &segment::name_in_preparation(99)] {
        let disk = leave(file);
        drop(open(&disk).unwrap());
        assert!(disk.crash_losing_all().contents().into_keys().eq(names.iter().cloned()), "{file}");
        let disk = leave(file);
        disk.fail(Operation::Name, file, ErrorKind::Other, 1);
        let error = open(&disk).map(|_| ()).unwrap_err();
        assert!(matches!(error, StorageError::WriteFailed { .. }), "{error}");
    }
}

#[test]
fn a_founding_goes_over_what_another_left_unless_that_cannot_be_removed() {
    let begun = || {
        let disk = MemDisk::new();
        disk.set_content(META_TMP, &[1; 40_000]);
        disk
    };
    let disk = begun();
    drop(open(&disk).unwrap());
    assert!(disk.content(META_TMP).is_none());
    let inspection = crate::inspect(&Arc::new(disk.crash_losing_all())).unwrap();
    assert_eq!(inspection.bad_meta_copies, 0);
    let disk = begun();
    disk.fail(Operation::Name, META_TMP, ErrorKind::PermissionDenied, 1);
    match refused(&disk) {
        StorageError::WriteFailed { error, .. } => {
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_damaged_and_covered_by_the_newest_snapshot_is_not_missed() {
    let author = long_log();
    let (file, offset) = author.place_of(30);
    author.disk.flip(&file, offset + 70, 1);
    let (_, recovered) = open(&author.disk.crash_keeping_all()).unwrap();
    assert_eq!((recovered.log.gaps.len(), recovered.mute), (0, false));
    assert_eq!(recovered.log.base.index, Index(45));
    assert_eq!(recovered.log.last, author.last().0);
}

#[test]
fn a_snapshot_of_an_entry_that_the_log_does_not_hold_is_a_stop() {
    let mut author = Author::new();
    (0..3).for_each(|_| author.append(1, &[b"x"]));
    let other = LogId::new(Index(2), Ballot(9));
    author.snapshot = Some(build_snapshot(&author.store, other, Digest([3; 16])));
    let write = author.write(Vec::new());
    author.save(write);
    let StorageError::Damaged { indexes, damage, .. } = stop(&author.disk) else { panic!() };
    assert_eq!((indexes, damage), (Index(2)..Index(3), Damage::Contradiction));
}

#[test]
fn a_directory_of_another_node_cluster_or_protocol_is_refused_with_both_names() {
    let author = long_log();
    let others = [
        (Owner { node: NodeId(2), ..owner() }, "node 1", "node 2"),
        (Owner { cluster: "other".to_owned(), ..owner() }, "\"test\"", "\"other\""),
        (Owner { protocol: "vsr".to_owned(), ..owner() }, "\"raft\"", "\"vsr\""),
    ];
    for (other, found, expected) in others {
        let disk = author.disk.crash_keeping_all();
        let before = disk.contents();
        let handle = Arc::new(disk.clone());
        let error =
            Store::open(handle, &other, options(), Incarnation(1), 1).map(|_| ()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(found) && text.contains(expected), "{text}");
        assert!(disk.contents() == before);
    }
}

/// Gives what begins here another format version, under a true checksum of all of it.
fn make_newer(covered: &mut [u8]) {
    covered[12] = 9;
    let crc = crc32fast::hash(&covered[12..]);
    covered[8..12].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn a_newer_format_of_the_meta_file_of_any_segment_or_of_a_group_is_refused_and_left_alone() {
    let author = long_log();
    let mut newer: Vec<(String, Vec<u8>)> = author.segments().into_iter().collect();
    newer.iter_mut().for_each(|(_, bytes)| make_newer(&mut bytes[..segment::HEADER_LEN]));
    let mut meta = author.disk.content(META).unwrap();
    meta.chunks_mut(4096).for_each(make_newer);
    newer.push((META.to_owned(), meta));
    let (file, offset) = author.place_of(50);
    let mut bytes = author.disk.content(&file).unwrap();
    let claim = Claim::read(&bytes[offset..]).unwrap();
    make_newer(&mut bytes[offset..offset + claim.header_len as usize]);
    newer.push((file, bytes));
    for (newer, bytes) in newer {
        let disk = author.disk.crash_keeping_all();
        disk.set_content(&newer, &bytes);
        let error = stop(&disk);
        let StorageError::NewerFormat { file, found: 9, .. } = &error else { panic!("{error}") };
        assert_eq!(*file, newer);
        assert!(error.to_string().contains("use the newer program"), "{error}");
    }
}

#[test]
fn a_newer_format_of_the_newest_snapshot_is_refused_and_left_alone() {
    let author = long_log();
    let newest = author.disk.contents().into_keys().rfind(|name| name.starts_with("snap-"));
    let newest = newest.unwrap();
    let mut bytes = author.disk.content(&newest).unwrap();
    // The last 56 bytes: magic, version and more, and in the last 16 of them a digest of the others.
    let footer = bytes.len() - 56;
    bytes[footer + 8] = 9;
    let own = Digest::of(&bytes[footer..footer + 40]);
    bytes[footer + 40..].copy_from_slice(&own.0);
    author.disk.set_content(&newest, &bytes);
    let error = stop(&author.disk);
    let StorageError::Snapshots(SnapshotError::NewerFormat { file, found: 9, .. }) = &error else {
        panic!("{error}")
    };
    assert_eq!(*file, newest);
    assert!(error.to_string().contains("use the newer program"), "{error}");
}

#[test]
fn a_second_process_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        let disk = Arc::new(FileDisk::create(directory.path()).unwrap());
        Store::open(disk, &owner(), options(), Incarnation(1), 1)
    };
    let contents = || -> BTreeMap<PathBuf, Vec<u8>> {
        let paths = std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().path());
        paths.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
    };
    let (store, recovered) = open().unwrap();
    assert_eq!(recovered.lineage.latest().count, 1);
    let before = contents();
    assert!(matches!(open(), Err(StorageError::Locked)));
    assert!(contents() == before, "something was changed");
    drop(store);
    assert_eq!(open().unwrap().1.lineage.latest().count, 2);
}

#[test]
fn a_directory_that_may_not_be_written_is_refused() {
    for kind in [ErrorKind::ReadOnlyFilesystem, ErrorKind::PermissionDenied] {
        let disk = long_log().disk.crash_keeping_all();
        disk.fail(Operation::Lock, "", kind, 1);
        assert!(matches!(refused(&disk), StorageError::NotWritable { .. }));
    }
}

#[test]
fn foreign_files_are_ignored_and_what_stands_in_the_way_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let open = || {
        let disk = Arc::new(FileDisk::create(path).unwrap());
        Store::open(disk, &owner(), options(), Incarnation(1), 1).map(|(_, recovered)| recovered)
    };
    std::fs::write(path.join("notes.txt"), b"mine").unwrap();
    std::fs::write(path.join("wal-backup"), b"mine").unwrap();
    std::fs::create_dir(path.join("lost+found")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", path.join("link")).unwrap();
    open().unwrap();
    open().unwrap();
    assert_eq!(std::fs::read(path.join("notes.txt")).unwrap(), b"mine");
    for name in ["wal-00000000000000ff", "tmp-meta"] {
        std::os::unix::fs::symlink("/etc/passwd", path.join(name)).unwrap();
        let error = open().unwrap_err();
        assert!(matches!(&error, StorageError::NameTaken { file } if file == name), "{error}");
        std::fs::remove_file(path.join(name)).unwrap();
    }
}

#[test]
fn a_store_on_real_files_keeps_what_it_saved() {
    let directory = tempfile::tempdir().unwrap();
    let mut author = Author::new();
    let open = || {
        let disk = Arc::new(FileDisk::create(directory.path()).unwrap());
        Store::open(disk, &owner(), options(), Incarnation(1), 1).unwrap()
    };
    let (mut store, _) = open();
    for i in 0..60u8 {
        let write = author.appending(1, &[&[i; 3000]]);
        store.enqueue(WriteSeq(u64::from(i) + 1), write);
        while let Some(job) = store.prepare().unwrap() {
            let _ = store.run(job).unwrap();
        }
        while let Some(job) = store.maintenance().unwrap() {
            let _ = store.run(job).unwrap();
        }
    }
    drop(store);
    let (store, recovered) = open();
    assert_eq!(recovered.log.tail, author.entries);
    assert_eq!(store.reader().read_entries(Index(1), usize::MAX).unwrap(), author.entries);
}

#[test]
fn a_promise_that_shares_its_group_with_what_comes_behind_it_has_its_second_copy() {
    let mut author = Author::new();
    author.append(1, &[b"x"]);
    let promise = author.swearing(3);
    author.enqueue(promise);
    let write = author.appending(2, &[b"y"]);
    author.enqueue(write);
    author.flush().unwrap();
    let (file, offset) = author.place_of(2);
    author.disk.flip(&file, offset + 70, 1);
    let recovered = found(&author.disk).unwrap();
    assert_eq!((recovered.pledge, recovered.mute), (Some(pledge(3)), true));
}
