use std::collections::VecDeque;
use std::sync::Arc;

use quorate_core::{
    Ballot, Digest, Entry, EntryKind, Incarnation, LogId, LogTime, Proposal, Run, WriteSeq,
};
use quorate_handoff::queue;
use quorate_storage::{MemDisk, Owner, Store, StoreOptions};

use super::*;
use crate::net::testing::Echo;

const PAYLOAD: [u8; 1000] = [0x5a; 1000];

/// The reading helper of a node whose log holds one entry.
fn helper() -> (ReadHelper<Echo, MemDisk>, Consumer<Completed<Echo>>, MemDisk) {
    let disk = MemDisk::new();
    let owner = Owner { node: NodeId(1), cluster: "c".to_owned(), protocol: "raft".to_owned() };
    let (shared, options) = (Arc::new(disk.clone()), StoreOptions::default());
    let (mut store, _) = Store::open(shared, &owner, options, Incarnation(1), 1).unwrap();
    let payload = Bytes::copy_from_slice(&PAYLOAD);
    let (kind, time, checksum) = (EntryKind::Command, LogTime(1), Digest::of(&payload));
    let id = LogId::new(Index(1), Ballot(1));
    let entry = Entry::new(id, Digest::ZERO, Proposal { kind, time, checksum, payload });
    let run = Run { previous: LogId::ZERO, previous_digest: Digest::ZERO, entries: vec![entry] };
    let write = quorate_core::Write {
        runs: vec![run],
        repairs: Vec::new(),
        pledge: [0; 64],
        promise: false,
        snapshot: None,
        founding: None,
        mute: false,
        peers: None,
    };
    store.enqueue(WriteSeq(1), write);
    while let Some(job) = store.prepare().unwrap() {
        let _ = store.run(job).unwrap();
    }
    let ((_, jobs), (done, completed)) = (queue(1), queue(1));
    let (snapshots, entries) = (store.snapshots().clone(), store.reader());
    (ReadHelper { snapshots, entries, jobs, done, stopper: Stopper::default() }, completed, disk)
}

fn told(completed: &Consumer<Completed<Echo>>) -> VecDeque<Completed<Echo>> {
    let mut told = VecDeque::new();
    // Nothing is there, or something was.
    let _ = completed.try_pop_all(&mut told);
    told
}

fn read(helper: &ReadHelper<Echo, MemDisk>, from: u64) -> Vec<Entry> {
    let job = ReadJob::Entries { reader: Reader::Applier, from: Index(from), max_bytes: 1 };
    match helper.carry_out(job).unwrap() {
        Completed::EntriesRead { entries, .. } => entries,
        _ => panic!("not what was asked for"),
    }
}

#[test]
fn what_was_compacted_before_it_was_read_is_answered_with_nothing() {
    let (helper, completed, _) = helper();
    assert_eq!(read(&helper, 1).len(), 1);
    assert_eq!(read(&helper, 0), []);
    assert!(told(&completed).is_empty());
}

#[test]
fn damage_that_a_read_finds_is_told_before_the_read_is_answered() {
    let (helper, completed, disk) = helper();
    for (file, bytes) in disk.contents() {
        if let Some(offset) = bytes.windows(PAYLOAD.len()).position(|part| part == PAYLOAD) {
            disk.flip(&file, offset, 1);
        }
    }
    assert_eq!(read(&helper, 1), []);
    let told = told(&completed);
    let Some(Completed::Damaged(gaps)) = told.front() else { panic!("nothing was told") };
    assert_eq!((gaps[0].first, gaps[0].last), (Index(1), Index(1)));
}
