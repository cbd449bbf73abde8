//! What the targets of the storage have in common.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use quorate_core::{
    Ballot, Digest, Entry, EntryKind, Incarnation, LogId, LogTime, NodeId, PledgeBytes, Proposal,
    Recovered, Run, SnapshotMeta, Write, WriteSeq,
};
use quorate_storage::{Disk, MemDisk, Owner, StorageError, Store, StoreOptions};

pub fn owner() -> Owner {
    Owner { node: NodeId(1), cluster: "fuzz".to_owned(), protocol: "raft".to_owned() }
}

pub fn options() -> StoreOptions {
    StoreOptions { segment_bytes: Some(16 << 10), group_bytes: 64 << 10, tail_bytes: 1 << 20 }
}

pub fn open(disk: &MemDisk) -> Result<(Store<MemDisk>, Recovered), StorageError> {
    Store::open(Arc::new(disk.clone()), &owner(), options(), Incarnation(7), 1)
}

/// Does everything that there is to do.
pub fn settle(store: &mut Store<MemDisk>) {
    loop {
        let job = store.prepare().expect("a disk in memory works");
        let job = job.or_else(|| store.maintenance().expect("a disk in memory works"));
        let Some(job) = job else { return };
        let _ = store.run(job).expect("a disk in memory works");
    }
}

pub fn entry(previous: LogId, parent: Digest, ballot: u64, payload: Vec<u8>) -> Entry {
    let id = LogId::new(previous.index.next(), Ballot(ballot));
    let proposal = Proposal::new(EntryKind::Command, LogTime(id.index.0), Bytes::from(payload));
    Entry::new(id, parent, proposal)
}

pub fn write(runs: Vec<Run>, pledge: PledgeBytes, snapshot: Option<SnapshotMeta>) -> Write {
    Write {
        runs,
        repairs: Vec::new(),
        pledge,
        promise: false,
        snapshot,
        founding: None,
        mute: false,
        peers: None,
    }
}

/// A directory with a few groups, and the entries in it.
pub fn written() -> &'static (MemDisk, Vec<Entry>) {
    static WRITTEN: OnceLock<(MemDisk, Vec<Entry>)> = OnceLock::new();
    WRITTEN.get_or_init(|| {
        let disk = MemDisk::new();
        let (mut store, _) = open(&disk).expect("an empty directory opens");
        let mut entries: Vec<Entry> = Vec::new();
        let (mut previous, mut parent) = (LogId::ZERO, Digest::ZERO);
        for seq in 1..=6_u64 {
            let mut run = Run { previous, previous_digest: parent, entries: Vec::new() };
            for _ in 0..3 {
                let payload = vec![seq as u8; 40 * seq as usize];
                let entry = entry(previous, parent, seq / 3 + 1, payload);
                (previous, parent) = (entry.id, entry.digest());
                run.entries.push(entry);
            }
            entries.extend(run.entries.iter().cloned());
            let promise = seq % 2 == 0;
            store.enqueue(
                WriteSeq(seq),
                Write { promise, ..write(vec![run], [seq as u8; 64], None) },
            );
            settle(&mut store);
        }
        drop(store);
        (disk.crash_keeping_all(), entries)
    })
}

/// Damages what the files of a disk hold, as the bytes say: which file, where, and how.
pub fn damage(disk: &MemDisk, hits: &[u8]) {
    let names: Vec<String> =
        disk.list().expect("listing works").into_iter().map(|file| file.name).collect();
    for hit in hits.chunks_exact(6) {
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
}
