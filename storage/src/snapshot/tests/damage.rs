use std::io;

use super::*;
use crate::disk::Operation;
use crate::snapshot::manifest::Manifest;

#[test]
fn a_flip_of_any_bit_is_noticed_however_the_snapshot_is_read() {
    let disk = MemDisk::new();
    let content = content(1, 300);
    let built = build(&store(&disk), 5, &content).unwrap();
    let (name, id) = (file(&built), built.id());
    let len = disk.content(&name).unwrap().len();
    for bit in 0..len * 8 {
        disk.flip(&name, bit / 8, 1 << (bit % 8));
        let store = store(&disk);
        assert!(is_damage(store.verify(&id)), "bit {bit}");
        assert!(is_damage(read(&store, &id)), "bit {bit}");
        assert!(is_damage(store.read_chunk(&id, 0)), "bit {bit}");
        disk.flip(&name, bit / 8, 1 << (bit % 8));
    }
    assert_eq!(store(&disk).verify(&id).unwrap(), built);
}

#[test]
fn only_the_damaged_chunk_is_lost() {
    let disk = MemDisk::new();
    let content = content(1, 2 * CHUNK + 10);
    let built = build(&store(&disk), 5, &content).unwrap();
    disk.flip(&file(&built), CHUNK + 9, 1);
    let store = store(&disk);
    assert!(store.read_chunk(&built.id(), 0).unwrap().unwrap() == chunk(&content, 0));
    assert!(is_damage(store.read_chunk(&built.id(), 1)));
    assert!(store.read_chunk(&built.id(), 2).unwrap().unwrap() == chunk(&content, 2));
    let mut reader = store.open(&built.id()).unwrap();
    let mut bytes = vec![0; CHUNK];
    reader.read_exact(&mut bytes).unwrap();
    assert!(bytes == chunk(&content, 0));
    for _ in 0..2 {
        assert_eq!(reader.read(&mut bytes).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}

#[test]
fn damage_is_noticed_by_a_store_that_has_read_the_snapshot_before() {
    let disk = MemDisk::new();
    let store = store(&disk);
    let built = build(&store, 5, &content(1, 300)).unwrap();
    assert!(store.read_chunk(&built.id(), 0).unwrap().is_some());
    disk.flip(&file(&built), 7, 0x80);
    assert!(is_damage(store.read_chunk(&built.id(), 0)));
    disk.flip(&file(&built), 7, 0x80);
    assert!(store.read_chunk(&built.id(), 0).unwrap().is_some());
}

#[test]
fn a_snapshot_that_was_taken_away_is_missing_to_whoever_has_read_of_it() {
    let disk = MemDisk::new();
    let store = store(&disk);
    let built = build(&store, 5, &content(1, 300)).unwrap();
    let mut reader = store.open(&built.id()).unwrap();
    assert!(store.read_chunk(&built.id(), 0).unwrap().is_some());
    disk.remove(&file(&built)).unwrap();
    assert!(store.read_chunk(&built.id(), 0).unwrap().is_none());
    assert_eq!(reader.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_file_cut_or_grown_anywhere_is_noticed() {
    let disk = MemDisk::new();
    let built = build(&store(&disk), 5, &content(1, 300)).unwrap();
    let (name, id) = (file(&built), built.id());
    let whole = disk.content(&name).unwrap();
    let grown = [&whole[..], &[0]].concat();
    let doubled = [&whole[..], &whole[..]].concat();
    let cut = (0..whole.len()).map(|len| &whole[..len]);
    for bytes in cut.chain([&grown[..], &doubled[..]]) {
        disk.set_content(&name, bytes);
        let store = store(&disk);
        assert!(is_damage(store.verify(&id)), "{} bytes", bytes.len());
        assert!(is_damage(read(&store, &id)), "{} bytes", bytes.len());
        assert!(is_damage(store.read_chunk(&id, 0)), "{} bytes", bytes.len());
        let listed = store.list().unwrap();
        assert!(is_damage(listed[0].meta.clone()), "{} bytes", bytes.len());
    }
}

#[test]
fn an_intact_snapshot_under_the_name_of_another_is_noticed() {
    let disk = MemDisk::new();
    let store = store(&disk);
    let one = build(&store, 5, &content(1, 300)).unwrap();
    let two = build(&store, 5, &content(2, 300)).unwrap();
    disk.set_content(&file(&two), &disk.content(&file(&one)).unwrap());
    assert!(is_damage(super::store(&disk).verify(&two.id())));
    assert!(is_damage(super::store(&disk).open(&two.id())));
}

#[test]
fn intact_chunks_that_do_not_make_the_content_are_noticed() {
    let disk = MemDisk::new();
    let content = content(1, 300);
    let claimed = SnapshotMeta { content: Digest::of(b"other"), ..meta(5, &content) };
    let manifest = Manifest { meta: claimed.clone(), chunks: vec![Digest::of(&content)] };
    let bytes = [content, manifest.encode().unwrap()].concat();
    disk.set_content(&file(&claimed), &bytes);
    let store = store(&disk);
    assert!(store.read_chunk(&claimed.id(), 0).is_ok());
    assert!(is_damage(store.verify(&claimed.id())));
}

#[test]
fn a_newer_format_is_said_to_be_newer_and_left_alone() {
    let disk = MemDisk::new();
    let built = build(&store(&disk), 5, &content(1, 300)).unwrap();
    let name = file(&built);
    let mut bytes = disk.content(&name).unwrap();
    let footer = bytes.len() - 56;
    bytes[footer + 8] = 9;
    let own = Digest::of(&bytes[footer..footer + 40]);
    bytes[footer + 40..].copy_from_slice(&own.0);
    disk.set_content(&name, &bytes);
    let store = store(&disk);
    let is_newer = |error: &SnapshotError| {
        matches!(error, SnapshotError::NewerFormat { found: 9, supported: 1, .. })
    };
    assert!(is_newer(&store.verify(&built.id()).unwrap_err()));
    assert!(is_newer(&read(&store, &built.id()).unwrap_err()));
    assert!(is_newer(&store.read_chunk(&built.id(), 0).unwrap_err()));
    assert!(is_newer(&store.begin_fetch(&built).unwrap_err()));
    assert_eq!(disk.content(&name).unwrap(), bytes);
}

#[test]
fn a_disk_that_cannot_read_is_an_error_of_its_own() {
    let disk = MemDisk::new();
    let store = store(&disk);
    let built = build(&store, 5, &content(1, 300)).unwrap();
    disk.fail(Operation::Read, "snap-", io::ErrorKind::Other, 1);
    let error = store.read_chunk(&built.id(), 0).unwrap_err();
    assert!(matches!(error, SnapshotError::Unreadable { .. }), "{error}");
    assert!(store.read_chunk(&built.id(), 0).unwrap().is_some());
}

#[test]
fn a_damaged_snapshot_is_replaced_by_fetching_it() {
    let disk = MemDisk::new();
    let content = content(1, CHUNK + 300);
    let built = build(&store(&disk), 5, &content).unwrap();
    for at in [0, CHUNK + 299, CHUNK + 300, CHUNK + 340] {
        disk.flip(&file(&built), at, 4);
        let store = store(&disk);
        assert_eq!(fetch(&store, &built, &content).unwrap(), (FetchNext::Complete, 2));
        assert_eq!(store.verify(&built.id()).unwrap(), built);
        assert!(store.read_chunk(&built.id(), 1).unwrap().unwrap() == chunk(&content, 1));
        assert_eq!(names(&disk), [file(&built)]);
    }
}

fn is_damage<T>(result: Result<T, SnapshotError>) -> bool {
    matches!(result, Err(SnapshotError::Damaged { .. }))
}
