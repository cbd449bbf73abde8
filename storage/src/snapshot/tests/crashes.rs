use super::*;
use crate::disk::Keep;

/// Cuts the power after each change of the disk in turn, with several fates of what was not
/// synced. `run` says whether it was told that its snapshot is complete.
fn at_every_step(run: impl Fn(&Store) -> bool, check: impl Fn(MemDisk, bool)) {
    for step in 0.. {
        assert!(step < 100, "it ends");
        let disk = MemDisk::new();
        build(&store(&disk), 1, &content(1, 600)).unwrap();
        disk.stop_after(step);
        let is_told = run(&store(&disk));
        for names in 0..=disk.unsynced_names() {
            for fate in 0..6 {
                check(disk.crash(names, |name, sector| keep(fate, name, sector)), is_told);
            }
        }
        if is_told {
            assert!(step > 4, "it was interrupted before");
            return;
        }
    }
}

fn keep(fate: u64, name: &str, sector: u64) -> Keep {
    let seed = [name.as_bytes(), &fate.to_le_bytes(), &sector.to_le_bytes()].concat();
    let drawn = Digest::of(&seed).0;
    match (fate, drawn[0] % 4) {
        (0, _) | (2.., 0) => Keep::Old,
        (1, _) | (2.., 1..=2) => Keep::New,
        (2.., _) => Keep::Torn(usize::from(drawn[1])),
    }
}

/// The snapshot from before is there; the other one is, or is not; nothing else is. Then trying
/// again succeeds.
fn check(disk: MemDisk, is_told: bool, expected: &SnapshotMeta, content: &[u8]) {
    let store = store(&disk);
    store.clean_temps().unwrap();
    let before = meta(1, &super::content(1, 600));
    for id in ids(&store) {
        let found = store.verify(&id).unwrap();
        assert!(found == before || found == *expected);
    }
    assert!(ids(&store).contains(&before.id()));
    let is_there = ids(&store).contains(&expected.id());
    assert!(is_there || !is_told, "what was said to be complete is lost");
    assert_eq!(fetch(&store, expected, content).unwrap().0, FetchNext::Complete);
    assert!(read(&store, &expected.id()).unwrap() == content);
    build(&store, 3, b"more").unwrap();
    keep_only(&store, &[expected.id()]).unwrap();
    let survivor = super::store(&disk.crash_losing_all());
    assert_eq!(survivor.verify(&expected.id()).unwrap(), *expected);
    assert!(!ids(&survivor).contains(&before.id()));
}

#[test]
fn a_snapshot_interrupted_at_any_step_of_building_is_there_or_not() {
    for len in [0, 1500, CHUNK + 700] {
        let content = content(2, len);
        let expected = meta(2, &content);
        at_every_step(
            |store| build(store, 2, &content).is_ok(),
            |disk, is_told| check(disk, is_told, &expected, &content),
        );
    }
}

#[test]
fn a_snapshot_interrupted_at_any_step_of_receiving_is_there_or_not() {
    for len in [1500, CHUNK + 700] {
        let content = content(2, len);
        let expected = meta(2, &content);
        at_every_step(
            |store| matches!(fetch(store, &expected, &content), Ok((FetchNext::Complete, _))),
            |disk, is_told| check(disk, is_told, &expected, &content),
        );
    }
}

#[test]
fn a_snapshot_found_complete_survives_although_its_name_was_not_synced() {
    let content = content(2, 1500);
    let expected = meta(2, &content);
    for step in 0..20 {
        let disk = MemDisk::new();
        disk.stop_after(step);
        let _ = build(&store(&disk), 2, &content);
        // The process dies, the machine does not; then the machine does.
        disk.heal();
        let restarted = store(&disk);
        if restarted.begin_fetch(&expected).unwrap() == FetchNext::Complete {
            let found = store(&disk.crash_losing_all()).verify(&expected.id());
            assert_eq!(found.unwrap(), expected, "step {step}");
        }
    }
}

#[test]
fn chunks_received_long_ago_survive_a_crash() {
    let content = content(2, 17 * CHUNK);
    let expected = meta(2, &content);
    let disk = MemDisk::new();
    let store = store(&disk);
    store.begin_fetch(&expected).unwrap();
    for number in 0..17 {
        let next = store.write_chunk(&expected.id(), number, chunk(&content, number)).unwrap();
        if number == 15 {
            assert_eq!(next, FetchNext::Chunk(16));
            let survivor = super::store(&disk.crash_losing_all());
            assert_eq!(survivor.begin_fetch(&expected).unwrap(), FetchNext::Chunk(16));
        }
    }
    assert_eq!(store.verify(&expected.id()).unwrap(), expected);
}
