use std::io;

use super::*;
use crate::disk::Operation;

#[test]
fn only_what_is_retained_stays() {
    let disk = MemDisk::new();
    let store = store(&disk);
    let built: Vec<SnapshotId> =
        (1..=4).map(|i| build(&store, i, &content(i, 100)).unwrap().id()).collect();
    for foreign in ["snap-", "snap-x", "tmp-fetch-", "tmp-meta", "segment-1"] {
        disk.set_content(foreign, b"foreign");
    }
    keep_only(&store, &[built[1], built[3]]).unwrap();
    assert_eq!(ids(&store), [built[1], built[3]]);
    assert_eq!(names(&disk).len(), 2 + 5);
    assert_eq!(ids(&super::store(&disk.crash_losing_all())), [built[1], built[3]]);
    assert_eq!(store.read_chunk(&built[0], 0).unwrap(), None);
    assert!(matches!(store.open(&built[0]), Err(SnapshotError::Missing { .. })));
    keep_only(&store, &[]).unwrap();
    assert_eq!(ids(&store), []);
}

#[test]
fn nothing_stays_in_memory_of_snapshots_that_were_removed() {
    let store = store(&MemDisk::new());
    for index in 1..=20 {
        let built = build(&store, index, &content(index, 100)).unwrap().id();
        assert!(store.read_chunk(&built, 0).unwrap().is_some());
        keep_only(&store, &[built]).unwrap();
    }
    assert_eq!(store.directory.manifests(), 1);
}

#[test]
fn what_was_just_completed_stays_until_it_is_decided_about() {
    let disk = MemDisk::new();
    let store = store(&disk);
    let old = build(&store, 1, b"old").unwrap();
    let built = build(&store, 2, b"built").unwrap();
    keep_only(&store, &[old.id()]).unwrap();
    let fetched = meta(3, b"fetched");
    assert_eq!(fetch(&store, &fetched, b"fetched").unwrap().0, FetchNext::Complete);
    keep_only(&store, &[old.id()]).unwrap();
    assert_eq!(ids(&store), [old.id(), built.id(), fetched.id()]);
    keep_only(&store, &[fetched.id()]).unwrap();
    assert_eq!(ids(&store), [fetched.id()]);
    keep_only(&store, &[old.id()]).unwrap();
    assert_eq!(ids(&store), []);
}

#[test]
fn what_is_to_take_the_place_of_the_newest_stays_until_it_has_or_a_newer_one_is_there() {
    let disk = MemDisk::new();
    let store = store(&disk);
    let old = build(&store, 2, b"old").unwrap();
    let renewed = build(&store, 2, b"renewed").unwrap();
    // Which the log says when it points to the old one, however late that comes.
    keep_only(&store, &[old.id()]).unwrap();
    assert_eq!(ids(&store).len(), 2);
    keep_only(&store, &[renewed.id()]).unwrap();
    assert_eq!(ids(&store), [renewed.id()]);
    let again = build(&store, 2, b"again").unwrap();
    let newer = build(&store, 3, b"newer").unwrap();
    keep_only(&store, &[renewed.id(), newer.id()]).unwrap();
    assert_eq!(ids(&store), [renewed.id(), newer.id()]);
    assert_eq!(again.last, renewed.last);
}

#[test]
fn what_an_earlier_process_completed_goes_unless_it_is_retained() {
    let disk = MemDisk::new();
    let old = build(&store(&disk), 1, b"old").unwrap();
    let newer = build(&store(&disk), 2, b"newer").unwrap();
    let restarted = store(&disk);
    keep_only(&restarted, &[old.id()]).unwrap();
    assert_eq!(ids(&restarted), [old.id()]);
    assert_eq!(restarted.read_chunk(&newer.id(), 0).unwrap(), None);
}

#[test]
fn a_snapshot_found_complete_is_not_removed_before_it_is_used() {
    let disk = MemDisk::new();
    let old = build(&store(&disk), 1, b"old").unwrap();
    let newer = build(&store(&disk), 2, b"newer").unwrap();
    let restarted = store(&disk);
    assert_eq!(restarted.begin_fetch(&newer).unwrap(), FetchNext::Complete);
    keep_only(&restarted, &[old.id()]).unwrap();
    assert_eq!(ids(&restarted), [old.id(), newer.id()]);
}

#[test]
fn what_is_being_written_or_received_is_not_touched() {
    let disk = MemDisk::new();
    let store = store(&disk);
    let old = build(&store, 9, b"old").unwrap();
    let content = content(1, CHUNK + 5);
    let fetched = meta(5, &content);
    let mut builder = store.builder().unwrap();
    builder.write_all(&content).unwrap();
    store.begin_fetch(&fetched).unwrap();
    store.write_chunk(&fetched.id(), 0, chunk(&content, 0)).unwrap();
    keep_only(&store, &[old.id()]).unwrap();
    store.clean_temps().unwrap();
    assert_eq!(names(&disk).len(), 4);
    let next = store.write_chunk(&fetched.id(), 1, chunk(&content, 1)).unwrap();
    assert_eq!(next, FetchNext::Complete);
    let built = finish(builder, &meta(6, &content)).unwrap();
    assert_eq!(ids(&store), [fetched.id(), built.id(), old.id()]);
}

#[test]
fn a_fetch_that_a_retained_snapshot_has_overtaken_is_dropped() {
    let disk = MemDisk::new();
    let content = content(1, CHUNK + 5);
    store(&disk).begin_fetch(&meta(5, &content)).unwrap();
    let newer = build(&store(&disk), 6, b"newer").unwrap();
    let restarted = store(&disk);
    restarted.clean_temps().unwrap();
    assert_eq!(names(&disk).len(), 3);
    keep_only(&restarted, &[]).unwrap();
    let newer = build(&restarted, 6, b"newer").map(|_| newer).unwrap();
    assert_eq!(names(&disk).len(), 3);
    keep_only(&restarted, &[newer.id()]).unwrap();
    assert_eq!(names(&disk), [file(&newer)]);
}

#[test]
fn cleaning_keeps_the_newest_fetch_that_can_be_resumed_and_every_snapshot() {
    let disk = MemDisk::new();
    let built = build(&store(&disk), 1, b"built").unwrap();
    let pair = |index| {
        let id = meta(index, b"x").id();
        [Name::Fetch(id).to_string(), Name::FetchDigests(id).to_string()]
    };
    let (older, newer, newest) = (pair(2), pair(3), pair(4));
    for name in older.iter().chain(&newer).chain(&newest[..1]) {
        disk.set_content(name, b"x");
    }
    disk.set_content(&Name::Build(1).to_string(), b"x");
    disk.set_content("tmp-foreign", b"x");
    let store = store(&disk);
    store.clean_temps().unwrap();
    let [data, digests] = newer;
    assert_eq!(names(&disk), [file(&built), data, digests, "tmp-foreign".to_owned()]);
    store.clean_temps().unwrap();
    assert_eq!(names(&disk).len(), 4);
}

#[test]
fn what_an_earlier_process_has_left_is_not_in_the_way_of_a_builder() {
    let disk = MemDisk::new();
    disk.set_content(&Name::Build(1).to_string(), b"left behind, and longer than what comes");
    let store = store(&disk);
    let built = build(&store, 1, b"built").unwrap();
    assert_eq!(store.verify(&built.id()).unwrap(), built);
    keep_only(&store, &[built.id()]).unwrap();
    assert_eq!(names(&disk), [file(&built)]);
}

#[test]
fn a_reader_of_a_removed_snapshot_fails_and_never_errs() {
    let disk = MemDisk::new();
    let store = store(&disk);
    let content = content(1, 2 * CHUNK + 5);
    let built = build(&store, 1, &content).unwrap();
    let mut reader = store.open(&built.id()).unwrap();
    let mut bytes = vec![0; CHUNK + 1];
    reader.read_exact(&mut bytes).unwrap();
    assert!(bytes == content[..=CHUNK]);
    keep_only(&store, &[meta(2, b"").id()]).unwrap();
    let error = reader.read_to_end(&mut bytes).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(bytes == content[..2 * CHUNK]);
    // It comes back by way of a peer: the reader goes on with the same bytes.
    assert_eq!(fetch(&store, &built, &content).unwrap().0, FetchNext::Complete);
    reader.read_to_end(&mut bytes).unwrap();
    assert!(bytes == content);
}

#[test]
fn what_cannot_be_removed_is_reported_and_the_rest_is_removed() {
    let disk = MemDisk::new();
    for index in 1..=3 {
        build(&store(&disk), index, &content(index, 10)).unwrap();
    }
    let store = store(&disk);
    let [first, _, third] = ids(&store)[..] else { unreachable!() };
    let name = Name::Snapshot(first).to_string();
    disk.fail(Operation::Name, &name, io::ErrorKind::PermissionDenied, 1);
    let error = keep_only(&store, &[third]).unwrap_err();
    assert!(matches!(error, SnapshotError::WriteFailed { .. }), "{error}");
    assert_eq!(ids(&store), [first, third]);
    keep_only(&store, &[third]).unwrap();
    assert_eq!(ids(&store), [third]);
}

#[test]
fn readers_builders_fetches_and_tidying_run_side_by_side() {
    let disk = MemDisk::new();
    let store = store(&disk);
    let base = content(0, CHUNK + 5);
    let kept = build(&store, 1000, &base).unwrap();
    let id = kept.id();
    std::thread::scope(|scope| {
        scope.spawn(|| (0..8).for_each(|_| assert!(read(&store, &id).unwrap() == base)));
        scope.spawn(|| (1..20).for_each(|i| drop(build(&store, i, &content(i, 2000)).unwrap())));
        scope.spawn(|| (0..40).for_each(|_| keep_only(&store, &[id]).unwrap()));
        scope.spawn(|| {
            for i in 30..40 {
                let content = content(i, 2000);
                let fetched = fetch(&store.clone(), &meta(i, &content), &content).unwrap();
                assert_eq!(fetched, (FetchNext::Complete, 1));
            }
        });
    });
    keep_only(&store, &[kept.id()]).unwrap();
    assert_eq!(names(&disk), [file(&kept)]);
}
