//! Recovery of a damaged directory: whatever bytes are overwritten and wherever a file is cut,
//! opening ends with a log or with a typed error, never with a panic, and a log which it yields
//! is a prefix-closed piece of what was written.
#![no_main]

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use quorate_core::{
    Ballot, Digest, Entry, EntryKind, Incarnation, Index, LogId, LogTime, NodeId, Proposal, Run,
    Write, WriteSeq,
};
use quorate_storage::{Disk, MemDisk, Owner, Store, StoreOptions};

fn owner() -> Owner {
    Owner { node: NodeId(1), cluster: "fuzz".to_owned(), protocol: "raft".to_owned() }
}

fn options() -> StoreOptions {
    StoreOptions { segment_bytes: Some(64 << 10), group_bytes: 64 << 10, tail_bytes: 1 << 20 }
}

fn run_all(store: &mut Store<MemDisk>) {
    while let Some(job) = store.prepare().expect("a disk in memory works") {
        let _ = store.run(job).expect("a disk in memory works");
    }
    while let Some(job) = store.maintenance().expect("a disk in memory works") {
        let _ = store.run(job).expect("a disk in memory works");
    }
}

/// A directory with a few groups, and the entries in it.
fn written() -> &'static (MemDisk, Vec<Entry>) {
    static WRITTEN: OnceLock<(MemDisk, Vec<Entry>)> = OnceLock::new();
    WRITTEN.get_or_init(|| {
        let disk = MemDisk::new();
        let (mut store, _) =
            Store::open(Arc::new(disk.clone()), &owner(), options(), Incarnation(7), 1)
                .expect("an empty directory opens");
        let mut entries: Vec<Entry> = Vec::new();
        let (mut previous, mut previous_digest) = (LogId::ZERO, Digest::ZERO);
        for seq in 1..=6_u64 {
            let first = entries.len();
            let (run_previous, run_digest) = (previous, previous_digest);
            for _ in 0..3 {
                let payload = Bytes::from(vec![seq as u8; 40 * seq as usize]);
                let proposal = Proposal::new(EntryKind::Command, LogTime(seq), payload);
                let id = LogId::new(previous.index.next(), Ballot(seq / 3 + 1));
                let entry = Entry::new(id, previous_digest, proposal);
                (previous, previous_digest) = (entry.id, entry.digest());
                entries.push(entry);
            }
            let run = Run {
                previous: run_previous,
                previous_digest: run_digest,
                entries: entries[first..].to_vec(),
            };
            let write = Write {
                runs: vec![run],
                repairs: Vec::new(),
                pledge: [seq as u8; 64],
                promise: seq % 2 == 0,
                snapshot: None,
                founding: None,
                mute: false,
                peers: None,
            };
            store.enqueue(WriteSeq(seq), write);
            run_all(&mut store);
        }
        drop(store);
        (disk.crash_keeping_all(), entries)
    })
}

fuzz_target!(|damage: &[u8]| {
    let (original, entries) = written();
    let disk = original.crash_keeping_all();
    let names: Vec<String> =
        disk.list().expect("listing works").into_iter().map(|file| file.name).collect();
    for hit in damage.chunks_exact(6) {
        let name = &names[usize::from(hit[0]) % names.len()];
        let mut content = disk.content(name).unwrap_or_default();
        if content.is_empty() {
            continue;
        }
        let offset = u32::from_le_bytes([hit[1], hit[2], hit[3], 0]) as usize % content.len();
        match hit[4] % 4 {
            0 => content.truncate(offset),
            1 => content[offset..].iter_mut().take(512).for_each(|byte| *byte = 0),
            _ => content[offset] ^= hit[5].max(1),
        }
        disk.set_content(name, &content);
    }
    let opened = Store::open(Arc::new(disk), &owner(), options(), Incarnation(8), 1);
    let Ok((store, recovered)) = opened else { return };
    let last = usize::try_from(recovered.log.last.index.0).expect("a short log");
    assert!(last <= entries.len());
    let mut from = recovered.log.base.index.next();
    while from <= recovered.log.last.index {
        if let Some(gap) = recovered.log.gaps.iter().find(|gap| gap.first == from) {
            let end = &entries[usize::try_from(gap.last.0).unwrap() - 1];
            assert_eq!(gap.digest, end.digest());
            from = gap.last.next();
            continue;
        }
        let found = store.reader().read_entries(from, 1 << 20).expect("what opened can be read");
        assert!(!found.is_empty());
        for entry in found {
            assert_eq!(entry, entries[usize::try_from(entry.index().0).unwrap() - 1]);
            from = entry.index().next();
        }
    }
});
