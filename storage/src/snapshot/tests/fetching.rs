use std::io;

use super::*;
use crate::disk::Operation;

#[test]
fn a_fetched_snapshot_is_the_one_that_was_built_elsewhere() {
    for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 5] {
        let (there, here) = (MemDisk::new(), MemDisk::new());
        let content = content(1, len);
        let built = build(&store(&there), 5, &content).unwrap();
        let store = store(&here);
        let fetched = fetch(&store, &built, &content).unwrap();
        assert_eq!(fetched, (FetchNext::Complete, built.chunks()));
        assert!(here.contents() == there.contents(), "{len}");
        let survivor = super::store(&here.crash_losing_all());
        assert_eq!(survivor.verify(&built.id()).unwrap(), built);
        assert_eq!(store.begin_fetch(&built).unwrap(), FetchNext::Complete);
    }
}

#[test]
fn chunks_that_come_twice_out_of_order_or_cut_are_ignored() {
    let disk = MemDisk::new();
    let store = store(&disk);
    let content = content(1, 2 * CHUNK + 5);
    let meta = meta(5, &content);
    let id = meta.id();
    let other = SnapshotId { content: Digest::ZERO, ..id };
    let put = |number: u64, bytes: &[u8]| store.write_chunk(&id, number, bytes).unwrap();
    assert_eq!(put(0, chunk(&content, 0)), FetchNext::Failed);
    assert_eq!(store.begin_fetch(&meta).unwrap(), FetchNext::Chunk(0));
    assert_eq!(put(2, chunk(&content, 2)), FetchNext::Chunk(0));
    assert_eq!(put(0, b"short"), FetchNext::Chunk(0));
    assert_eq!(put(u64::MAX, b""), FetchNext::Chunk(0));
    assert_eq!(put(0, chunk(&content, 0)), FetchNext::Chunk(1));
    assert_eq!(put(0, chunk(&content, 1)), FetchNext::Chunk(1));
    assert_eq!(store.write_chunk(&other, 1, b"x").unwrap(), FetchNext::Failed);
    assert_eq!(put(0, chunk(&content, 0)), FetchNext::Chunk(1), "it goes on");
    assert_eq!(store.begin_fetch(&meta).unwrap(), FetchNext::Chunk(1));
    assert_eq!(put(1, chunk(&content, 1)), FetchNext::Chunk(2));
    assert_eq!(put(2, chunk(&content, 1)), FetchNext::Chunk(2));
    assert_eq!(put(2, chunk(&content, 2)), FetchNext::Complete);
    assert_eq!(put(2, chunk(&content, 2)), FetchNext::Complete);
    assert_eq!(put(3, b""), FetchNext::Complete);
    assert!(read(&store, &id).unwrap() == content);
    assert_eq!(names(&disk), [file(&meta)]);
}

#[test]
fn a_late_chunk_of_a_snapshot_that_was_removed_is_not_called_complete() {
    let disk = MemDisk::new();
    let store = store(&disk);
    let meta = meta(5, b"content");
    assert_eq!(fetch(&store, &meta, b"content").unwrap(), (FetchNext::Complete, 1));
    keep_only(&store, &[super::meta(6, b"").id()]).unwrap();
    assert_eq!(store.write_chunk(&meta.id(), 0, b"content").unwrap(), FetchNext::Failed);
    assert_eq!(fetch(&store, &meta, b"content").unwrap(), (FetchNext::Complete, 1));
}

#[test]
fn a_fetch_goes_on_after_a_restart_where_it_stopped() {
    let disk = MemDisk::new();
    let content = content(1, 3 * CHUNK + 5);
    let meta = meta(5, &content);
    for number in 0..2 {
        let store = store(&disk);
        store.clean_temps().unwrap();
        assert_eq!(store.begin_fetch(&meta).unwrap(), FetchNext::Chunk(number));
        store.write_chunk(&meta.id(), number, chunk(&content, number)).unwrap();
    }
    let disk = disk.crash_keeping_all();
    let store = store(&disk);
    store.clean_temps().unwrap();
    assert_eq!(fetch(&store, &meta, &content).unwrap(), (FetchNext::Complete, 2));
    assert!(read(&store, &meta.id()).unwrap() == content);
}

#[test]
fn what_rotted_or_was_torn_is_fetched_again() {
    let content = content(1, 2 * CHUNK + 5);
    let meta = meta(5, &content);
    let (data, digests) = (Name::Fetch(meta.id()), Name::FetchDigests(meta.id()));
    let flips = [(data, 0, 0), (data, 2 * CHUNK - 1, 1), (digests, 15, 0), (digests, 16, 1)];
    for (name, at, next) in flips {
        let disk = half_fetched(&meta, &content);
        disk.flip(&name.to_string(), at, 1);
        let store = store(&disk);
        assert_eq!(store.begin_fetch(&meta).unwrap(), FetchNext::Chunk(next));
        assert_eq!(fetch(&store, &meta, &content).unwrap(), (FetchNext::Complete, 3 - next));
        assert_eq!(store.verify(&meta.id()).unwrap(), meta);
    }
    for (name, len, next) in [(data, CHUNK + 1, 1), (data, 0, 0), (digests, 17, 1), (digests, 0, 0)]
    {
        let disk = half_fetched(&meta, &content);
        let name = name.to_string();
        disk.set_content(&name, &disk.content(&name).unwrap()[..len]);
        let store = store(&disk);
        assert_eq!(store.begin_fetch(&meta).unwrap(), FetchNext::Chunk(next));
        assert_eq!(fetch(&store, &meta, &content).unwrap(), (FetchNext::Complete, 3 - next));
        assert_eq!(store.verify(&meta.id()).unwrap(), meta);
    }
}

#[test]
fn one_file_of_a_fetch_without_the_other_is_worth_nothing() {
    let content = content(1, 2 * CHUNK + 5);
    let meta = meta(5, &content);
    for gone in [Name::Fetch(meta.id()), Name::FetchDigests(meta.id())] {
        let disk = half_fetched(&meta, &content);
        disk.remove(&gone.to_string()).unwrap();
        let store = store(&disk);
        assert_eq!(fetch(&store, &meta, &content).unwrap(), (FetchNext::Complete, 3));
        assert_eq!(names(&disk), [file(&meta)]);
    }
}

#[test]
fn what_an_unreadable_attempt_has_left_is_not_resumed() {
    let content = content(1, 2 * CHUNK + 5);
    let meta = meta(5, &content);
    for operation in [Operation::Read, Operation::Sync] {
        let disk = half_fetched(&meta, &content);
        disk.fail(operation, "tmp-fetch", io::ErrorKind::Other, 1);
        assert_eq!(store(&disk).begin_fetch(&meta).unwrap(), FetchNext::Chunk(0));
    }
}

#[test]
fn another_fetch_takes_the_place_of_the_one_before() {
    let (one, two) = (content(1, 2 * CHUNK + 5), content(2, 2 * CHUNK));
    let (first, second) = (meta(5, &one), meta(6, &two));
    let disk = half_fetched(&first, &one);
    let store = store(&disk);
    assert_eq!(store.begin_fetch(&first).unwrap(), FetchNext::Chunk(2));
    assert_eq!(store.begin_fetch(&second).unwrap(), FetchNext::Chunk(0));
    assert_eq!(store.write_chunk(&first.id(), 2, chunk(&one, 2)).unwrap(), FetchNext::Failed);
    assert_eq!(names(&disk).len(), 2);
    assert_eq!(store.begin_fetch(&first).unwrap(), FetchNext::Chunk(0));
    assert_eq!(fetch(&store, &second, &two).unwrap(), (FetchNext::Complete, 2));
    assert_eq!(names(&disk), [file(&second)]);
}

#[test]
fn content_that_is_not_the_announced_one_is_dropped() {
    let disk = MemDisk::new();
    let store = store(&disk);
    let right = content(1, CHUNK + 5);
    let meta = meta(5, &right);
    let wrong = content(2, CHUNK + 5);
    assert_eq!(fetch(&store, &meta, &wrong).unwrap(), (FetchNext::Failed, 2));
    assert_eq!(names(&disk), [""; 0]);
    assert_eq!(fetch(&store, &meta, &right).unwrap(), (FetchNext::Complete, 2));

    let empty = SnapshotMeta { size_bytes: 0, ..meta };
    let disk = MemDisk::new();
    assert_eq!(super::store(&disk).begin_fetch(&empty).unwrap(), FetchNext::Failed);
    assert_eq!(names(&disk), [""; 0]);
}

#[test]
fn a_wrong_attempt_that_was_interrupted_at_the_end_does_not_come_back() {
    let right = content(1, CHUNK + 5);
    let meta = meta(5, &right);
    let wrong = content(2, CHUNK + 5);
    let disk = MemDisk::new();
    let (data, digests) = (Name::Fetch(meta.id()), Name::FetchDigests(meta.id()));
    disk.set_content(&data.to_string(), &wrong);
    let of_chunks = (0..2).flat_map(|number| Digest::of(chunk(&wrong, number)).0);
    disk.set_content(&digests.to_string(), &of_chunks.collect::<Vec<u8>>());
    assert_eq!(fetch(&store(&disk), &meta, &right).unwrap(), (FetchNext::Complete, 2));
    assert!(read(&store(&disk), &meta.id()).unwrap() == right);
}

#[test]
fn announcements_that_contradict_each_other_are_not_mixed() {
    let content = content(1, CHUNK + 5);
    let meta = meta(5, &content);
    let disk = MemDisk::new();
    let store = store(&disk);
    // Longer than it is: what lies behind must not end up in the snapshot.
    let longer = SnapshotMeta { size_bytes: 3 * SnapshotMeta::CHUNK_BYTES, ..meta.clone() };
    assert_eq!(store.begin_fetch(&longer).unwrap(), FetchNext::Chunk(0));
    for number in 0..2 {
        store.write_chunk(&meta.id(), number, &super::content(number, CHUNK)).unwrap();
    }
    assert_eq!(fetch(&store, &meta, &content).unwrap(), (FetchNext::Complete, 2));
    assert_eq!(store.verify(&meta.id()).unwrap(), meta);
    let older = SnapshotMeta { time: LogTime(1), ..meta.clone() };
    assert_eq!(store.begin_fetch(&older).unwrap(), FetchNext::Failed);
    assert_eq!(store.verify(&meta.id()).unwrap(), meta);
}

#[test]
fn absurd_announcements_cost_nothing() {
    let disk = MemDisk::new();
    disk.set_capacity(Some(3 * SnapshotMeta::CHUNK_BYTES));
    let store = store(&disk);
    let absurd = SnapshotMeta { size_bytes: u64::MAX, ..meta(5, b"") };
    assert!(matches!(store.begin_fetch(&absurd), Err(SnapshotError::TooLarge { .. })));
    assert_eq!(names(&disk), [""; 0]);
    let huge = SnapshotMeta { size_bytes: 1 << 60, ..meta(5, b"") };
    let bytes = content(1, CHUNK);
    let error = fetch(&store, &huge, &bytes.repeat(4)).unwrap_err();
    assert!(matches!(error, SnapshotError::NoRoom { .. }), "{error}");
    assert_eq!(names(&disk), [""; 0]);
}

#[test]
fn a_full_or_failing_disk_ends_the_fetch_and_the_next_attempt_succeeds() {
    let content = content(1, CHUNK + 5);
    let meta = meta(5, &content);
    for (operation, kind) in [
        (Operation::Write, io::ErrorKind::StorageFull),
        (Operation::Write, io::ErrorKind::Other),
        (Operation::Sync, io::ErrorKind::Other),
        (Operation::Name, io::ErrorKind::Other),
    ] {
        let disk = MemDisk::new();
        let store = store(&disk);
        store.begin_fetch(&meta).unwrap();
        store.write_chunk(&meta.id(), 0, chunk(&content, 0)).unwrap();
        disk.fail(operation, "tmp-", kind, 1);
        let error = store.write_chunk(&meta.id(), 1, chunk(&content, 1)).unwrap_err();
        let is_full = matches!(error, SnapshotError::NoRoom { .. });
        assert_eq!(is_full, kind == io::ErrorKind::StorageFull, "{error}");
        assert_eq!(names(&disk), [""; 0]);
        let late = store.write_chunk(&meta.id(), 1, chunk(&content, 1)).unwrap();
        assert_eq!(late, FetchNext::Failed);
        assert_eq!(fetch(&store, &meta, &content).unwrap(), (FetchNext::Complete, 2));
    }
}

/// A disk with the first two chunks of a fetch.
fn half_fetched(meta: &SnapshotMeta, content: &[u8]) -> MemDisk {
    let disk = MemDisk::new();
    let store = store(&disk);
    store.begin_fetch(meta).unwrap();
    for number in 0..2 {
        store.write_chunk(&meta.id(), number, chunk(content, number)).unwrap();
    }
    disk
}
