//! A directory of arbitrary files under the names that the storage uses. Sound or not, opening
//! ends with a log that can be written to, or with a typed error; looking at it changes nothing.

use std::sync::Arc;

use quorate_core::{Run, WriteSeq};
use quorate_storage::{Disk, MemDisk, inspect, verify};

use crate::storage::{entry, open, options, settle, write, written};

const NAMES: [&str; 6] = [
    "meta",
    "wal-0000000000000001",
    "wal-0000000000000002",
    "tmp-meta",
    "tmp-wal-0000000000000003",
    "snap-0000000000000003-0000000000000001-00000000000000000000000000000000",
];

/// Files as the bytes say: a name, from where in a sound file the content comes, then what is
/// put over it.
fn files(mut data: &[u8]) -> MemDisk {
    let (sound, _) = written();
    let disk = MemDisk::new();
    while let [name, how, length, behind @ ..] = data {
        let (bytes, rest) = behind.split_at(usize::from(*length).min(behind.len()));
        data = rest;
        let name = NAMES[usize::from(*name) % NAMES.len()];
        let mut content = match how % 3 {
            0 => Vec::new(),
            1 => sound.content(name).unwrap_or_default(),
            _ => disk.content(name).unwrap_or_default(),
        };
        let offset = usize::from(how / 3) * 409;
        let end = offset + bytes.len();
        content.resize(content.len().max(end), 0);
        content[offset..end].copy_from_slice(bytes);
        disk.set_content(name, &content);
    }
    disk
}

pub fn run(data: &[u8]) {
    let disk = files(data);
    let before = disk.contents();
    let _ = inspect(&Arc::new(disk.clone()));
    let _ = verify(&Arc::new(disk.clone()), options());
    assert_eq!(disk.contents(), before, "whoever only looks changes nothing");
    let Ok((mut store, recovered)) = open(&disk) else {
        return;
    };
    let log = &recovered.log;
    let next = entry(log.last, log.last_digest, log.last.ballot.0 + 1, vec![1; 10]);
    let run =
        Run { previous: log.last, previous_digest: log.last_digest, entries: vec![next.clone()] };
    let pledge = recovered.pledge.unwrap_or([0; 64]);
    store.enqueue(WriteSeq(1), write(vec![run], pledge, recovered.snapshot.clone()));
    settle(&mut store);
    let reader = store.reader();
    drop(store);
    let (_, again) = open(&disk.crash_losing_all()).expect("what was written is sound");
    assert_eq!(again.log.last, next.id);
    assert!(reader.read_entries(next.index(), 1).is_ok_and(|read| read == [next]));
    let _ = disk.list();
}

pub fn seeds() -> Vec<Vec<u8>> {
    vec![
        // The first segment and the meta file as they were; a byte of either is another one.
        vec![0, 1, 0, 1, 1, 0],
        vec![0, 1, 0, 1, 1, 0, 2, 1, 0],
        vec![0, 1, 0, 1, 31, 4, 0xff, 0xff, 0xff, 0xff],
        vec![0, 31, 1, 1, 1, 1, 0],
        vec![0, 0, 8, b'Q', b'R', b'M', b'-', b'M', b'E', b'T', b'A'],
    ]
}
