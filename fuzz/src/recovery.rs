//! A directory of arbitrary files under the names that the storage uses. Sound or not, opening
//! ends with a log that can be written to, or with a typed error; looking at it changes nothing.

use std::sync::Arc;

use quorate_core::{Run, WriteSeq};
use quorate_storage::fuzzing::seal;
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

/// From this number of a name on checksums are made to fit: a multiple of the count of names.
const SEALED: u8 = 132;

/// Files as the bytes say: a name, from where its content comes, and what is put over it and
/// where.
fn files(mut data: &[u8]) -> (MemDisk, bool) {
    let (sound, _) = written();
    let disk = MemDisk::new();
    let mut is_forged = false;
    while let [name, how, low, high, length, behind @ ..] = data {
        let (bytes, rest) = behind.split_at(usize::from(*length).min(behind.len()));
        data = rest;
        let seals = *name >= SEALED;
        let name = NAMES[usize::from(*name) % NAMES.len()];
        let mut content = match how % 3 {
            0 => Vec::new(),
            1 => sound.content(name).unwrap_or_default(),
            _ => disk.content(name).unwrap_or_default(),
        };
        let offset = usize::from(u16::from_le_bytes([*low, *high]));
        let end = offset + bytes.len();
        content.resize(content.len().max(end), 0);
        content[offset..end].copy_from_slice(bytes);
        if seals {
            is_forged = true;
            content.chunks_mut(4096).for_each(seal_block);
        }
        disk.set_content(name, &content);
    }
    (disk, is_forged)
}

/// Makes the checksum fit if the block begins with a header. Not so of the meta file: of as many
/// segments as it says are registered, each is looked for.
fn seal_block(block: &mut [u8]) {
    let Some(begin) = block.first_chunk::<20>() else { return };
    let claimed = u32::from_le_bytes([begin[16], begin[17], begin[18], begin[19]]) as usize;
    let len = match &begin[..8] {
        b"QRM-GRP\0" => claimed,
        b"QRM-SEG\0" => 64,
        _ => return,
    };
    if (20..=block.len()).contains(&len) {
        seal(&mut block[..len]);
    }
}

pub fn run(data: &[u8]) {
    let (disk, is_forged) = files(data);
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
    let opened = open(&disk.crash_losing_all());
    // No damage makes up a checksum that fits, and who lies about the log may have it believed.
    if is_forged {
        return;
    }
    let (_, again) = opened.expect("what was written is sound");
    assert_eq!(again.log.last, next.id);
    assert!(reader.read_entries(next.index(), 1).is_ok_and(|read| read == [next]));
    let _ = disk.list();
}

pub fn seeds() -> Vec<Vec<u8>> {
    vec![
        // The first segment and the meta file as they were; a byte of either is another one.
        files_of(&[(0, 1, 0, &[]), (1, 1, 0, &[])]),
        files_of(&[(0, 1, 0, &[]), (1, 1, 0, &[]), (2, 1, 0, &[])]),
        files_of(&[(0, 1, 0, &[]), (1, 1, 4090, &[0xff; 4])]),
        files_of(&[(0, 1, 4090, &[1]), (1, 1, 0, &[])]),
        files_of(&[(0, 0, 0, b"QRM-META")]),
        // The highest numbers, under checksums that fit: of the first group its sequence, and where
        // it says that the log ends; of the last one its sequence, and what its start found.
        files_of(&[(0, 1, 0, &[]), (SEALED + 1, 1, 4096 + 56, &[0xff; 16])]),
        files_of(&[(0, 1, 0, &[]), (SEALED + 1, 1, 4096 + 168, &[0xff; 16])]),
        files_of(&[(0, 1, 0, &[]), (SEALED + 1, 1, 6 * 4096 + 56, &[0xff; 16])]),
        files_of(&[(0, 1, 0, &[]), (SEALED + 1, 1, 6 * 4096 + 152, &[0xff; 32])]),
    ]
}

fn files_of(files: &[(u8, u8, u16, &[u8])]) -> Vec<u8> {
    let file = |(name, how, offset, bytes): &(u8, u8, u16, &[u8])| {
        let [low, high] = offset.to_le_bytes();
        [&[*name, *how, low, high, bytes.len() as u8], *bytes].concat()
    };
    files.iter().flat_map(file).collect()
}
