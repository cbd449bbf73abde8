//! The meta file. It holds four copies in two pairs, of which an update writes one and syncs. So
//! as long as one pair is whole, it says who owns the directory and how often it was opened, and
//! what it had vouched for before the last update stands.

use quorate_core::{FoundingRecord, Incarnation, Write, WriteSeq};
use quorate_storage::{MemDisk, StorageError};

use crate::storage::{open, settle, write};

const COPY_BYTES: usize = 4096;

/// A directory whose meta file has been updated so often.
fn updated(times: u8) -> MemDisk {
    let disk = MemDisk::new();
    let (mut store, _) = open(&disk).expect("an empty directory opens");
    for round in 1..=u64::from(times) {
        let founding = Some(FoundingRecord { round, ..FoundingRecord::default() });
        store.enqueue(WriteSeq(round), Write { founding, ..write(Vec::new(), [0; 64], None) });
        settle(&mut store);
    }
    drop(store);
    disk.crash_keeping_all()
}

pub fn run(data: &[u8]) {
    let [how, hits @ ..] = data else { return };
    thread_local! {
        static DISKS: [MemDisk; 4] = [0, 1, 2, 3].map(updated);
    }
    let times = how % 4;
    let disk = DISKS.with(|disks| disks[usize::from(times)].crash_keeping_all());
    let sound = disk.content("meta").expect("it is there");
    let mut content = sound.clone();
    for hit in hits.chunks_exact(4) {
        let at = usize::from(u16::from_le_bytes([hit[0], hit[1]])) % content.len();
        content[at] ^= hit[2];
        if hit[3] == 0xff && at > 0 {
            content.truncate(at);
        }
    }
    let copy = |number: usize| number * COPY_BYTES..(number + 1) * COPY_BYTES;
    let is_sound = |number| content.get(copy(number)) == Some(&sound[copy(number)]);
    let survives = (0..4).any(is_sound);
    disk.set_content("meta", &content);
    match open(&disk) {
        Ok((_, recovered)) => {
            assert!(survives, "nothing of it was whole");
            assert_eq!(recovered.identity.incarnation, Incarnation(7));
            let rounds = u64::from(times).saturating_sub(1)..=u64::from(times);
            assert!(rounds.contains(&recovered.founding.round), "{:?}", recovered.founding);
        }
        Err(StorageError::MetaLost { .. }) => assert!(!survives, "a copy of it is whole"),
        Err(other) => panic!("{other}"),
    }
}
