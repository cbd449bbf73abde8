use bytes::Bytes;
use quorate_core::{
    Ballot, Digest, Entry, EntryKind, LogId, LogTime, NodeId, Proposal, Run, Settings,
};
use quorate_handoff::queue;
use quorate_raft::Raft;
use quorate_storage::MemDisk;

use super::*;
use crate::net::testing::Echo;
use crate::node::Node;

/// The thread by itself: the test takes its steps.
struct Fixture {
    thread: StorageThread<Echo, MemDisk>,
    writes: Producer<WriteJob>,
    done: Consumer<Completed<Echo>>,
    disk: MemDisk,
    seq: WriteSeq,
    last: (LogId, Digest),
    _reads: Consumer<ReadJob>,
}

impl Fixture {
    /// On an empty disk, with all in order.
    fn new() -> Fixture {
        let owner = Owner { node: NodeId(1), cluster: "c".to_owned(), protocol: "raft".to_owned() };
        let disk = MemDisk::new();
        // So that one write goes into each group.
        let options = StoreOptions {
            segment_bytes: Some(64 << 10),
            group_bytes: 1,
            ..StoreOptions::default()
        };
        let opened = Store::open(Arc::new(disk.clone()), &owner, options, Incarnation(1), 1);
        let ((writes, to_write), (told, done)) = (queue(usize::MAX), queue(usize::MAX));
        let (reads, _reads) = queue(usize::MAX);
        let store = opened.unwrap().0;
        let thread = StorageThread::new(store, to_write, reads, told, Stopper::default());
        let last = (LogId::ZERO, Digest([9; 16]));
        let seq = WriteSeq(0);
        let mut fixture = Fixture { thread, writes, done, disk, seq, last, _reads };
        while fixture.step() {}
        fixture
    }

    /// Has a write wait; one of an entry of that many bytes, or of a promise.
    fn enqueue(&mut self, entry_bytes: Option<usize>) -> WriteSeq {
        let runs = entry_bytes.map(|length| {
            let (previous, previous_digest) = self.last;
            let id = LogId::new(previous.index.next(), Ballot(1));
            let payload = Bytes::from(vec![1; length]);
            let proposal = Proposal::new(EntryKind::Command, LogTime(id.index.0), payload);
            let entry = Entry::new(id, previous_digest, proposal);
            self.last = (id, entry.digest());
            Run { previous, previous_digest, entries: vec![entry] }
        });
        let write = Write {
            promise: runs.is_none(),
            runs: runs.into_iter().collect(),
            repairs: Vec::new(),
            pledge: [1; 64],
            snapshot: None,
            founding: None,
            mute: false,
            peers: None,
        };
        self.seq = self.seq.next();
        self.writes.push_unbounded(WriteJob { seq: self.seq, write }, 0).unwrap();
        self.seq
    }

    /// Does the next thing; false if there is nothing to do but to wait.
    fn step(&mut self) -> bool {
        self.thread.take(Duration::ZERO);
        let Some(job) = self.thread.next_job().unwrap() else { return false };
        self.thread.carry_out(job).unwrap();
        true
    }

    /// What the loop was told of writes: which are saved, and which sworn.
    fn told(&self) -> (Vec<WriteSeq>, Vec<WriteSeq>) {
        let (mut told, mut saved, mut sworn) = (VecDeque::new(), Vec::new(), Vec::new());
        let _ = self.done.try_pop_all(&mut told);
        for completed in told {
            match completed {
                Completed::Saved(seq) => saved.push(seq),
                Completed::Sworn(seq) => sworn.push(seq),
                _ => {}
            }
        }
        (saved, sworn)
    }

    /// How many segments are there that hold nothing.
    fn reserve(&self) -> usize {
        let segments = quorate_storage::inspect(&Arc::new(self.disk.clone())).unwrap().segments;
        segments.iter().filter(|segment| segment.groups.is_empty()).count()
    }
}

#[test]
fn a_promise_that_is_sworn_ahead_of_what_waits_for_room_is_told() {
    let mut fixture = Fixture::new();
    let used = fixture.disk.contents().values().map(|bytes| bytes.len() as u64).sum();
    fixture.disk.set_capacity(Some(used));
    for _ in 0..4 {
        fixture.enqueue(Some(100_000));
    }
    let promise = fixture.enqueue(None);
    while fixture.step() {}
    assert_eq!(fixture.told(), (vec![], vec![promise]));
}

#[test]
fn what_waited_for_room_is_told_as_it_is_saved_whatever_was_sworn_ahead_of_it() {
    let mut fixture = Fixture::new();
    let used = fixture.disk.contents().values().map(|bytes| bytes.len() as u64).sum();
    fixture.disk.set_capacity(Some(used));
    let mut writes: Vec<_> = (0..4).map(|_| fixture.enqueue(Some(100_000))).collect();
    writes.push(fixture.enqueue(None));
    while fixture.step() {}
    assert_eq!(fixture.told(), (vec![], vec![writes[4]]));
    fixture.disk.set_capacity(None);
    // Nothing more comes: so it need not be waited for.
    fixture.writes.close();
    for _ in 0..3 {
        fixture.thread.rest().unwrap();
        while fixture.step() {}
    }
    assert_eq!(fixture.told(), (writes, vec![]));
}

#[test]
fn under_a_load_that_never_pauses_segments_are_ready_before_they_are_needed() {
    let mut fixture = Fixture::new();
    let reserve = fixture.reserve();
    assert!(reserve > 0);
    for _ in 0..100 {
        fixture.enqueue(Some(20_000));
        while fixture.told().0.is_empty() {
            // One always waits while another one is saved.
            fixture.enqueue(Some(20_000));
            assert!(fixture.step());
        }
        assert!(fixture.reserve() > 0, "the log has to wait for its next segment");
    }
}

#[test]
fn room_is_looked_for_while_writes_wait_for_it() {
    let mut fixture = Fixture::new();
    let used = fixture.disk.contents().values().map(|bytes| bytes.len() as u64).sum();
    fixture.disk.set_capacity(Some(used));
    let writes: Vec<_> = (0..4).map(|_| fixture.enqueue(Some(100_000))).collect();
    while fixture.step() {}
    assert_eq!(fixture.told().0, []);
    fixture.disk.set_capacity(None);
    // Nothing more comes: so it need not be waited for.
    fixture.writes.close();
    for _ in 0..3 {
        fixture.thread.rest().unwrap();
        while fixture.step() {}
    }
    assert_eq!(fixture.told().0, writes);
}

#[test]
fn a_start_reads_the_end_of_the_log_into_memory_and_no_more_than_was_allowed() {
    const CACHE_BYTES: usize = 100_000;
    let mut fixture = Fixture::new();
    for _ in 0..50 {
        fixture.enqueue(Some(20_000));
        while fixture.step() {}
    }
    let Fixture { disk, last, .. } = fixture;
    let settings = Settings { log_cache_bytes: CACHE_BYTES, ..Settings::default() };
    let builder = Node::<Raft, Echo>::builder().id(1).members([(1, "a:1")]).cluster("c");
    let builder = builder.data_dir("in memory").segment_bytes(64 << 10).settings(settings);
    let config = builder.check().unwrap().0;
    let disk = disk.crash_keeping_all();
    let (_, recovered) = open::<Raft, _>(&config, disk, Incarnation(2), 2).unwrap();
    assert_eq!(recovered.log.last, last.0);
    let held: usize = recovered.log.tail.iter().map(Entry::size_bytes).sum();
    assert!((CACHE_BYTES / 2..=CACHE_BYTES).contains(&held), "{held} bytes");
}
