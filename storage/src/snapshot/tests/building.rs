use std::io;

use super::*;
use crate::disk::{FileDisk, Operation};
use crate::snapshot::manifest::Manifest;

#[test]
fn what_was_written_is_read_back_in_every_way() {
    for len in [0, 1, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 7] {
        let (disk, content) = (MemDisk::new(), content(1, len));
        let store = store(&disk);
        let expected = meta(5, &content);
        assert_eq!(build(&store, 5, &content).unwrap(), expected);
        let id = expected.id();
        assert_eq!(store.verify(&id).unwrap(), expected);
        assert!(read(&store, &id).unwrap() == content);
        for number in 0..expected.chunks() {
            let read = store.read_chunk(&id, number).unwrap().unwrap();
            assert!(read == chunk(&content, number));
        }
        assert_eq!(store.read_chunk(&id, expected.chunks()).unwrap(), None);
        assert_eq!(store.read_chunk(&id, u64::MAX).unwrap(), None);
        let listed = store.list().unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].meta.as_ref().unwrap(), &expected);
        assert_eq!(names(&disk), [file(&expected)]);
    }
}

#[test]
fn the_size_of_the_writes_does_not_matter() {
    let content = content(1, CHUNK + 500);
    let expected = meta(5, &content);
    for piece in [997, 65_536, CHUNK, CHUNK + 1] {
        let store = store(&MemDisk::new());
        let mut builder = store.builder().unwrap();
        content.chunks(piece).for_each(|piece| builder.write_all(piece).unwrap());
        builder.flush().unwrap();
        assert_eq!(finish(builder, &expected).unwrap(), expected);
        assert_eq!(store.verify(&expected.id()).unwrap(), expected);
    }
}

#[test]
fn a_snapshot_that_was_finished_survives_a_crash() {
    let (disk, content) = (MemDisk::new(), content(1, 3000));
    let built = build(&store(&disk), 5, &content).unwrap();
    let disk = disk.crash_losing_all();
    assert_eq!(store(&disk).verify(&built.id()).unwrap(), built);
    assert!(read(&store(&disk), &built.id()).unwrap() == content);
}

#[test]
fn a_large_snapshot_is_synced_piece_by_piece() {
    let disk = MemDisk::new();
    let mut builder = store(&disk).builder().unwrap();
    for number in 1..=33 {
        builder.write_all(&content(number, CHUNK)).unwrap();
        assert_eq!(disk.syncs(), number);
    }
}

#[test]
fn an_unfinished_builder_leaves_nothing() {
    let disk = MemDisk::new();
    let store = store(&disk);
    let mut builder = store.builder().unwrap();
    builder.write_all(&content(1, CHUNK + 1)).unwrap();
    assert_eq!(names(&disk).len(), 1);
    drop(builder);
    assert_eq!(names(&disk), [""; 0]);
}

#[test]
fn several_builders_do_not_disturb_each_other() {
    let disk = MemDisk::new();
    let store = store(&disk);
    let (one, two) = (content(1, CHUNK + 1), content(2, 10));
    let (mut first, mut second) = (store.builder().unwrap(), store.builder().unwrap());
    first.write_all(&one).unwrap();
    second.write_all(&two).unwrap();
    let second = finish(second, &meta(6, &two)).unwrap();
    let first = finish(first, &meta(5, &one)).unwrap();
    assert_eq!(ids(&store), [first.id(), second.id()]);
    assert!(read(&store, &first.id()).unwrap() == one);
    assert!(read(&store, &second.id()).unwrap() == two);
}

#[test]
fn same_entry_and_other_content_is_another_snapshot() {
    let disk = MemDisk::new();
    let store = store(&disk);
    let (one, two) = (content(1, 100), content(2, 100));
    let first = build(&store, 5, &one).unwrap();
    let second = build(&store, 5, &two).unwrap();
    assert_eq!(first.last, second.last);
    assert_eq!(ids(&store).len(), 2);
    assert!(read(&store, &first.id()).unwrap() == one);
    assert!(read(&store, &second.id()).unwrap() == two);
}

#[test]
fn the_same_snapshot_can_be_built_twice() {
    let disk = MemDisk::new();
    let store = store(&disk);
    let content = content(1, 100);
    let first = build(&store, 5, &content).unwrap();
    assert_eq!(build(&store, 5, &content).unwrap(), first);
    assert_eq!(names(&disk), [file(&first)]);
    assert_eq!(store.verify(&first.id()).unwrap(), first);
}

#[test]
fn a_full_disk_aborts_the_snapshot_and_nothing_else() {
    let older = content(1, 1000);
    let newer = content(2, CHUNK + 1000);
    let needed = Manifest::file_bytes(&meta(6, &newer)).unwrap();
    for missing in [1, 60, 500, 1500, needed] {
        let disk = MemDisk::new();
        let store = store(&disk);
        let kept = build(&store, 5, &older).unwrap();
        let used = disk.contents().values().map(|bytes| bytes.len() as u64).sum::<u64>();
        disk.set_capacity(Some(used + needed - missing));
        let error = build(&store, 6, &newer).unwrap_err();
        assert!(matches!(error, SnapshotError::NoRoom { .. }), "{error}");
        assert_eq!(names(&disk), [file(&kept)]);
        disk.set_capacity(None);
        assert!(read(&store, &kept.id()).unwrap() == older);
        let built = build(&store, 6, &newer).unwrap();
        assert!(read(&store, &built.id()).unwrap() == newer);
    }
}

#[test]
fn after_a_failed_write_the_builder_goes_on_failing() {
    for full in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
        let disk = MemDisk::new();
        let mut builder = store(&disk).builder().unwrap();
        disk.fail(Operation::Write, "tmp-", full, 1);
        let error = builder.write_all(&content(1, CHUNK)).unwrap_err();
        assert_eq!(error.kind(), full);
        assert_eq!(names(&disk), [""; 0]);
        assert!(builder.write_all(b"more").is_err());
        assert!(builder.flush().is_err());
        assert!(matches!(finish(builder, &meta(5, b"")), Err(SnapshotError::NoRoom { .. })));
        assert_eq!(names(&disk), [""; 0]);
    }
}

#[test]
fn a_failing_disk_never_leaves_a_snapshot_that_does_not_count() {
    let content = content(1, 2000);
    for (operation, prefix) in
        [(Operation::Name, "tmp-"), (Operation::Write, "tmp-"), (Operation::Sync, "tmp-")]
    {
        // Creating, then renaming: the second one is reached behind the first.
        for skipped in 0..2 {
            let disk = MemDisk::new();
            let store = store(&disk);
            let builder = (skipped == 1).then(|| store.builder().unwrap());
            disk.fail(operation, prefix, io::ErrorKind::Other, 1);
            let error = match builder {
                None => build(&store, 5, &content),
                Some(mut builder) => {
                    builder.write_all(&content).unwrap();
                    finish(builder, &meta(5, &content))
                }
            };
            assert!(matches!(error, Err(SnapshotError::WriteFailed { .. })), "{error:?}");
            assert_eq!(names(&disk), [""; 0]);
            build(&store, 5, &content).unwrap();
        }
    }
}

#[test]
fn a_sync_of_the_directory_that_failed_is_not_taken_back() {
    let disk = MemDisk::new();
    let store = store(&disk);
    let content = content(1, 2000);
    disk.fail(Operation::Sync, ".", io::ErrorKind::Other, 1);
    for _ in 0..2 {
        let built = build(&store, 5, &content);
        assert!(matches!(built, Err(SnapshotError::WriteFailed { .. })), "{built:?}");
        let fetched = store.begin_fetch(&meta(5, &content));
        assert!(matches!(fetched, Err(SnapshotError::WriteFailed { .. })), "{fetched:?}");
    }
    let restarted = super::store(&disk);
    assert_eq!(restarted.begin_fetch(&meta(5, &content)).unwrap(), FetchNext::Complete);
    assert!(read(&super::store(&disk.crash_losing_all()), &meta(5, &content).id()).is_ok());
}

#[test]
fn what_is_too_large_to_describe_is_refused() {
    let disk = MemDisk::new();
    let builder = store(&disk).builder().unwrap();
    let crowd = Membership::new((0..200_000).map(|id| (NodeId(id), Incarnation(u64::MAX))));
    let error = builder.finish(LogId::ZERO, Digest::ZERO, crowd, LogTime(0)).unwrap_err();
    assert!(matches!(error, SnapshotError::TooLarge { .. }), "{error}");
    assert_eq!(names(&disk), [""; 0]);
}

#[test]
fn real_files_hold_snapshots_and_foreign_ones_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let content = content(1, CHUNK + 100);
    let meta = meta(5, &content);
    let other = SnapshotMeta { last: LogId::new(Index(4), Ballot(3)), ..meta.clone() };
    let disk = Arc::new(FileDisk::open(directory.path()).unwrap());
    let store = SnapshotStore::new(disk.clone());
    std::fs::write(directory.path().join("snap-readme"), b"mine").unwrap();
    std::fs::create_dir(directory.path().join("tmp-build-0000000000000001")).unwrap();
    std::os::unix::fs::symlink("snap-readme", directory.path().join(file(&other))).unwrap();

    let mut builder = store.builder().unwrap();
    builder.write_all(&content).unwrap();
    let (last, digest, time) = (meta.last, meta.digest, meta.time);
    assert_eq!(builder.finish(last, digest, meta.membership.clone(), time).unwrap(), meta);
    assert_eq!(store.verify(&meta.id()).unwrap(), meta);
    let mut bytes = Vec::new();
    store.open(&meta.id()).unwrap().read_to_end(&mut bytes).unwrap();
    assert!(bytes == content);

    assert_eq!(store.list().unwrap().len(), 1);
    assert!(matches!(store.verify(&other.id()), Err(SnapshotError::Missing { .. })));
    assert!(matches!(store.open(&other.id()), Err(SnapshotError::Missing { .. })));
    assert_eq!(store.read_chunk(&other.id(), 0).unwrap(), None);
    assert!(matches!(store.begin_fetch(&other), Err(SnapshotError::NameTaken { .. })));
    store.clean_temps().unwrap();
    keep_only(&store, &[meta.id()]).unwrap();
    assert_eq!(disk.list().unwrap().len(), 4);
    let readme = std::fs::read(directory.path().join(file(&other))).unwrap();
    assert_eq!(readme, b"mine");
}
