use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quorate_core::{
    At, Ballot, Command, Digest, EntryKind, Incarnation, Index, LogId, NodeId, Origin, Proposal,
    RequestId,
};
use quorate_handoff::{Advancer, queue, slot, watermark};
use quorate_storage::{MemDisk, Owner, Store, StoreOptions};
use serde::{Deserialize, Serialize};

use super::*;

/// Answers a query with the time that it is taken to be.
#[derive(Default, Serialize, Deserialize)]
struct Watch {
    cannot_be_viewed: bool,
    /// How many queries it was asked.
    #[serde(skip)]
    asked: Arc<AtomicUsize>,
    /// The node is stopped while this entry is applied.
    #[serde(skip)]
    stops_at: Option<(Index, Stopper)>,
}

impl Clone for Watch {
    fn clone(&self) -> Watch {
        assert!(!self.cannot_be_viewed, "the test said so");
        Watch::default()
    }
}

impl StateMachine for Watch {
    type Command = ();
    type Response = ();
    type Query = ();
    type Answer = LogTime;

    fn apply(&mut self, at: &At, (): ()) {
        if let Some((index, stopper)) = &self.stops_at
            && at.index == *index
        {
            stopper.stop(StopReason::Shutdown);
        }
    }

    fn query(&self, at: &At, (): ()) -> LogTime {
        self.asked.fetch_add(1, Ordering::Relaxed);
        at.time
    }
}

/// An apply thread to which the test is the loop, and the log that it has been given.
struct Fixture {
    thread: ApplyThread<Watch, MemDisk>,
    restores: Advancer,
    done: Consumer<Completed<Watch>>,
    last: LogId,
    digest: Digest,
    jobs: Producer<Job<Watch>>,
    _builder: Consumer<SnapshotJob<Watch>>,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture::of(Watch::default())
    }

    fn of(machine: Watch) -> Fixture {
        let stopper = machine.stops_at.as_ref().map(|(_, stopper)| stopper.clone());
        let stopper = stopper.unwrap_or_default();
        let owner = Owner { node: NodeId(1), cluster: "c".to_owned(), protocol: "raft".to_owned() };
        let disk = Arc::new(MemDisk::new());
        let opened = Store::open(disk, &owner, StoreOptions::default(), Incarnation(1), 1);
        let ((jobs, consumer), (to_loop, done)) = (queue(usize::MAX), queue(usize::MAX));
        let (to_builder, builder) = queue(usize::MAX);
        let (restores, newest_restore) = watermark(0);
        let thread = ApplyThread {
            applier: Applier::new(NodeId(1), machine),
            moved: Instant::now(),
            jobs: consumer,
            done: to_loop,
            snapshots: opened.unwrap().0.snapshots().clone(),
            builder: to_builder,
            newest_restore,
            stopper,
        };
        let (last, digest) = (LogId::ZERO, Digest::ZERO);
        Fixture { thread, restores, done, last, digest, jobs, _builder: builder }
    }

    /// The next entry: a command of that time.
    fn entry(&mut self, time: LogTime) -> Entry {
        let id = LogId::new(self.last.index.next(), Ballot(1));
        let origin = Origin { node: NodeId(2), request: RequestId::default() };
        let payload = Command { origin, session: None, body: Bytes::new() }.encode();
        let proposal = Proposal::new(EntryKind::Command, time, payload);
        let entry = Entry::new(id, self.digest, proposal);
        (self.last, self.digest) = (id, entry.digest());
        entry
    }

    /// Applies a command of that time.
    fn apply(&mut self, time: LogTime) {
        let entry = self.entry(time);
        self.thread.apply(self.thread_generation(), vec![entry]).unwrap();
    }

    fn thread_generation(&self) -> Generation {
        Generation(self.thread.newest_restore.current())
    }

    /// What queries are told of the time.
    fn time(&mut self) -> LogTime {
        let (answer, waiter) = slot();
        self.thread.query((), answer);
        waiter.wait().unwrap().unwrap()
    }

    /// As if nobody had written for so long.
    fn idle(&mut self, time: Duration) {
        self.thread.moved = self.thread.moved.checked_sub(time).expect("a machine that is up");
    }

    /// A snapshot of the state as it is.
    fn snapshot(&self) -> SnapshotMeta {
        let view = self.thread.applier.view();
        let mut builder = self.thread.snapshots.builder().unwrap();
        view.write(&mut builder).unwrap();
        let membership = view.membership().clone();
        builder.finish(view.last(), view.digest(), membership, view.time()).unwrap()
    }

    fn restore(&mut self, generation: u64, snapshot: &SnapshotMeta) -> Result<(), StopReason> {
        self.thread.restore(Generation(generation), snapshot)
    }

    fn told(&self) -> VecDeque<Completed<Watch>> {
        let mut told = VecDeque::new();
        let _ = self.done.try_pop_all(&mut told);
        told
    }
}

const WRITTEN: LogTime = LogTime(1_000_000_000);
const IDLE: Duration = Duration::from_millis(500);

#[test]
fn to_queries_time_passes_though_nobody_writes() {
    let mut fixture = Fixture::new();
    fixture.apply(WRITTEN);
    fixture.idle(IDLE);
    assert!(fixture.time() >= WRITTEN.plus(IDLE));
}

#[test]
fn a_write_of_the_same_time_says_that_it_is_no_later() {
    let mut fixture = Fixture::new();
    fixture.apply(WRITTEN);
    fixture.idle(IDLE);
    let began = Instant::now();
    // The clock of a leader begins where the log has ended.
    fixture.apply(WRITTEN);
    let time = fixture.time();
    assert!(time <= WRITTEN.plus(began.elapsed()), "{time:?}");
}

#[test]
fn after_a_restoration_it_is_no_later_than_the_snapshot_says() {
    let mut fixture = Fixture::new();
    fixture.apply(WRITTEN);
    let snapshot = fixture.snapshot();
    fixture.idle(IDLE);
    let began = Instant::now();
    fixture.restore(1, &snapshot).unwrap();
    let time = fixture.time();
    assert!(WRITTEN <= time && time <= WRITTEN.plus(began.elapsed()), "{time:?}");
}

#[test]
fn a_restoration_may_fail_if_a_later_one_was_asked_for() {
    let mut fixture = Fixture::new();
    fixture.apply(WRITTEN);
    let gone = fixture.snapshot();
    fixture.apply(WRITTEN);
    let newest = fixture.snapshot();
    fixture.thread.snapshots.retain(&[newest.id()]);
    fixture.thread.snapshots.tidy().unwrap();
    fixture.told();
    fixture.restores.advance(2);
    let overtaken = fixture.restore(1, &gone);
    assert!(overtaken.is_ok(), "{overtaken:?}");
    assert!(fixture.told().is_empty());
    fixture.restore(2, &newest).unwrap();
    let told = fixture.told();
    assert!(matches!(told[0], Completed::Restored { generation: Generation(2), .. }));
    let newest_is_gone = fixture.restore(2, &gone);
    assert!(matches!(newest_is_gone, Err(StopReason::Storage(_))), "{newest_is_gone:?}");
}

#[test]
fn a_panic_over_a_snapshot_names_no_entry() {
    let mut fixture = Fixture::of(Watch { cannot_be_viewed: true, ..Watch::default() });
    fixture.apply(LogTime(1));
    let reason = fixture.thread.take_snapshot().unwrap_err();
    assert_eq!(
        reason.to_string(),
        "the state machine panicked when a view of it was taken for a snapshot: the test said so; \
         correct the program, then restart"
    );
}

#[test]
fn a_query_whose_caller_has_left_is_not_asked() {
    let mut fixture = Fixture::new();
    let asked = Arc::clone(&fixture.thread.applier.machine().asked);
    let ((gone, _), (answer, waiter)) = (slot(), slot());
    fixture.thread.query((), gone);
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    fixture.thread.query((), answer);
    assert!(waiter.wait().unwrap().is_ok());
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[test]
fn a_shutdown_waits_for_the_entry_that_is_being_applied_and_for_nothing_behind_it() {
    let stops_at = Some((Index(2), Stopper::default()));
    let mut fixture = Fixture::of(Watch { stops_at, ..Watch::default() });
    let asked = Arc::clone(&fixture.thread.applier.machine().asked);
    let entries = (0..5).map(|_| fixture.entry(WRITTEN)).collect();
    let apply = Job::Apply { generation: fixture.thread_generation(), entries };
    let (answer, waiter) = slot();
    for job in [apply, Job::Query { query: (), answer }] {
        fixture.jobs.push_unbounded(job, 0).unwrap_or_else(|_| panic!("the thread takes it"));
    }
    let Fixture { thread, jobs, done, .. } = fixture;
    drop(jobs);
    thread.run();
    let mut told = VecDeque::new();
    done.try_pop_all(&mut told).unwrap();
    let Some(Completed::Applied(batch)) = told.pop_front() else { panic!("nothing was applied") };
    assert_eq!((batch.applied.through, told.len()), (Index(2), 0));
    assert!(waiter.wait().is_err());
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}
