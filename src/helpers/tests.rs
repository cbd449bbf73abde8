use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorate_core::{
    Applier, At, Ballot, Digest, EntryKind, Incarnation, LogId, LogTime, Proposal, Run, WriteSeq,
};
use quorate_handoff::queue;
use quorate_storage::{MemDisk, Operation, Owner, Store, StoreOptions};
use serde::{Deserialize, Serialize, Serializer};

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
        Some(Completed::EntriesRead { entries, .. }) => entries,
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
fn what_cannot_be_read_for_a_moment_stops_nobody() {
    let (helper, completed, disk) = helper();
    let (log, _) = disk.contents().into_iter().find(|(name, _)| name.starts_with("wal")).unwrap();
    disk.fail(Operation::Read, &log, ErrorKind::InvalidData, 1);
    assert_eq!(read(&helper, 1).len(), 1);
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

/// The helper that writes snapshots, on the same disk.
fn writer<S: StateMachine>(helper: &ReadHelper<Echo, MemDisk>) -> SnapshotHelper<S, MemDisk> {
    let ((_, jobs), (done, _)) = (queue(1), queue(1));
    let snapshots = helper.snapshots.clone();
    let [own, fetched] = [(); 2].map(|()| Pace::new(u64::MAX, Duration::ZERO));
    let stopper = Stopper::default();
    SnapshotHelper { snapshots, jobs, own, fetched, newest_bytes: 0, done, stopper }
}

/// A snapshot of the first state.
fn build(writer: &mut SnapshotHelper<Echo, MemDisk>) -> Option<SnapshotMeta> {
    let view = Applier::new(NodeId(1), Echo).view();
    match writer.carry_out(SnapshotJob::Build(view)) {
        Completed::SnapshotBuilt(built) => built,
        _ => panic!("not what was asked for"),
    }
}

#[test]
fn a_chunk_that_cannot_be_read_is_answered_with_nothing() {
    let (helper, _, disk) = helper();
    let snapshot = build(&mut writer(&helper)).unwrap().id();
    let read = || {
        let job = ReadJob::Chunk { to: NodeId(2), snapshot, chunk: 0 };
        match helper.carry_out(job).unwrap() {
            Some(Completed::ChunkRead { bytes, .. }) => bytes,
            _ => panic!("not what was asked for"),
        }
    };
    assert!(read().is_some());
    disk.fail(Operation::Read, "", ErrorKind::Other, u64::MAX);
    assert_eq!(read(), None);
}

#[test]
fn a_snapshot_for_which_the_disk_has_no_room_is_not_received() {
    let (source, _, _) = helper();
    let snapshot = build(&mut writer(&source)).unwrap();
    let chunk = source.snapshots.read_chunk(&snapshot.id(), 0).unwrap().unwrap();
    let (helper, _, disk) = helper();
    let mut writer = writer::<Echo>(&helper);
    let mut progress = |job| match writer.carry_out(job) {
        Completed::FetchProgress { next, .. } => next,
        _ => panic!("not what was asked for"),
    };
    let begin = SnapshotJob::BeginFetch { snapshot: snapshot.clone() };
    assert_eq!(progress(begin), FetchNext::Chunk(0));
    disk.fail(Operation::Write, "", ErrorKind::StorageFull, u64::MAX);
    let write = SnapshotJob::WriteChunk { snapshot: snapshot.id(), chunk: 0, bytes: chunk };
    assert_eq!(progress(write), FetchNext::Failed);
}

#[test]
fn what_is_written_of_snapshots_counts_for_how_fast_that_goes() {
    let (source, _, _) = helper();
    let mut of_source = writer::<Echo>(&source);
    let snapshot = build(&mut of_source).unwrap();
    let written = |writer: &SnapshotHelper<Echo, MemDisk>| {
        (writer.own.written_of_it(), writer.fetched.written_of_it())
    };
    assert_eq!(written(&of_source), (snapshot.size_bytes, 0));
    assert_eq!(of_source.newest_bytes, snapshot.size_bytes);
    let bytes = source.snapshots.read_chunk(&snapshot.id(), 0).unwrap().unwrap();
    let mut writer = writer::<Echo>(&helper().0);
    let id = snapshot.id();
    for _ in 0..2 {
        writer.carry_out(SnapshotJob::BeginFetch { snapshot: snapshot.clone() });
        let bytes = bytes.clone();
        writer.carry_out(SnapshotJob::WriteChunk { snapshot: id, chunk: 0, bytes });
        assert_eq!(written(&writer), (0, snapshot.size_bytes));
    }
    assert_eq!(writer.newest_bytes, snapshot.size_bytes);
}

#[test]
fn a_state_that_is_handed_over_in_one_piece_is_written_in_several() {
    let (stopper, jobs) = (Stopper::default(), queue::<()>(1).1);
    let (mut pace, mut out) = (Pace::new(u64::MAX, Duration::ZERO), Vec::new());
    let mut steadily = Steadily { out: &mut out, pace: &mut pace, jobs: &jobs, stopper: &stopper };
    assert_eq!(steadily.write(&[7; AT_ONCE_BYTES + 1]).unwrap(), AT_ONCE_BYTES);
    assert_eq!(out.len(), AT_ONCE_BYTES);
}

#[test]
fn what_the_thread_is_waited_for_is_urgent() {
    let ((to_helper, jobs), stopper) = (queue(1), Stopper::default());
    assert!(!is_urgent(&jobs, &stopper));
    to_helper.push_unbounded((), 0).unwrap();
    assert!(is_urgent(&jobs, &stopper));
    assert!(jobs.try_pop_all(&mut VecDeque::new()).is_ok() && !is_urgent(&jobs, &stopper));
    stopper.stop(StopReason::Shutdown);
    assert!(is_urgent(&jobs, &stopper));
}

#[test]
fn a_node_that_stops_does_not_wait_for_its_snapshot() {
    let (helper, _, _) = helper();
    let mut writer = writer::<Echo>(&helper);
    writer.stopper.stop(StopReason::Shutdown);
    assert_eq!(build(&mut writer), None);
    assert!(helper.snapshots.list().unwrap().is_empty());
}

/// A state that cannot be written out while it is told so.
#[derive(Clone, Default, Deserialize)]
struct Fragile {
    #[serde(skip)]
    is_broken: Arc<AtomicBool>,
}

impl Serialize for Fragile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(!self.is_broken.load(Ordering::Relaxed), "the test said so");
        serializer.serialize_bytes(&PAYLOAD)
    }
}

impl StateMachine for Fragile {
    type Command = ();
    type Response = ();
    type Query = ();
    type Answer = ();

    fn apply(&mut self, _: &At, (): ()) {}

    fn query(&self, _: &At, (): ()) {}
}

#[test]
fn a_state_over_whose_writing_the_machine_panics_costs_a_snapshot_and_not_the_node() {
    let (helper, _, disk) = helper();
    let mut writer = writer::<Fragile>(&helper);
    let machine = Fragile::default();
    let is_broken = Arc::clone(&machine.is_broken);
    let applier = Applier::new(NodeId(1), machine);
    let mut build = || match writer.carry_out(SnapshotJob::Build(applier.view())) {
        Completed::SnapshotBuilt(built) => built,
        _ => panic!("not what was asked for"),
    };
    is_broken.store(true, Ordering::Relaxed);
    let files = disk.contents().len();
    assert_eq!(build(), None);
    assert!(helper.snapshots.list().unwrap().is_empty());
    helper.snapshots.tidy().unwrap();
    assert_eq!(disk.contents().len(), files);
    is_broken.store(false, Ordering::Relaxed);
    assert!(build().is_some());
}

#[test]
fn a_snapshot_that_cannot_be_removed_is_left_and_removed_with_the_next() {
    let (helper, completed, disk) = helper();
    let snapshot = build(&mut writer(&helper)).unwrap().id();
    let kept = || helper.snapshots.list().unwrap().len();
    let later = SnapshotId { last: LogId::new(Index(9), Ballot(1)), ..snapshot };
    helper.snapshots.retain(&[later]);
    disk.fail(Operation::Name, "", ErrorKind::Other, 1);
    assert!(matches!(helper.carry_out(ReadJob::Tidy), Ok(None)));
    assert_eq!(kept(), 1);
    assert!(matches!(helper.carry_out(ReadJob::Tidy), Ok(None)));
    assert_eq!(kept(), 0);
    assert!(told(&completed).is_empty());
}
