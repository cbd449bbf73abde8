//! The loop by itself: the test is its threads, and time.

use std::collections::VecDeque;

use quorate_core::{
    Applied, Digest, Failure, Generation, Incarnation, LogId, LogTime, Membership, ReplicaConfig,
    SnapshotMeta, WriteSeq,
};
use quorate_handoff::{Consumer, Dropped, Waiter, queue, slot, watermark};
use quorate_raft::Raft;
use quorate_storage::{MemDisk, Owner, Store, StoreOptions};

use super::*;
use crate::error::RequestError;
use crate::net::testing::Echo;
use crate::requests::OVERHEAD_BYTES;
use crate::status::Status;

type Proposal = Waiter<Result<quorate_core::Outcome<Vec<u8>>, RequestError>>;
type Read = Waiter<Result<Vec<u8>, ReadError>>;

/// A loop, and the ends of its queues at which its threads would be.
struct Fixture {
    event_loop: EventLoop<Raft, Echo>,
    writes: Consumer<WriteJob>,
    jobs: Consumer<Job<Echo>>,
    /// How much time has passed beyond what has.
    skipped: Duration,
    _snapshots: Consumer<SnapshotJob<Echo>>,
    _reads: Consumer<ReadJob>,
}

impl Fixture {
    /// Node 1 of so many, on an empty disk. The others cannot be heard.
    fn of(members: u64, settings: Settings) -> Fixture {
        let owner = Owner { node: NodeId(1), cluster: "c".to_owned(), protocol: "raft".to_owned() };
        let disk = Arc::new(MemDisk::new());
        let opened = Store::open(disk, &owner, StoreOptions::default(), Incarnation(1), 1);
        let config = ReplicaConfig {
            me: NodeId(1),
            members: (1..=members).map(NodeId).collect(),
            bootstrap: true,
            settings: settings.clone(),
        };
        let (clock, mut effects) = (Clock::start(), Vec::new());
        let recovered = opened.unwrap().1;
        let replica =
            RecordedReplica::recover(config, recovered, clock.now(), &mut effects, None).unwrap();
        let ((storage, writes), (applier, jobs)) = (queue(usize::MAX), queue(usize::MAX));
        let ((snapshots, _snapshots), (reads, _reads)) = (queue(usize::MAX), queue(usize::MAX));
        let (newest_restore, _) = watermark(0);
        let workers = Workers { storage, applier, snapshots, reads, newest_restore };
        let status = Status::new(NodeId(1), "c".to_owned(), "raft");
        let event_loop = EventLoop::new(
            replica,
            effects,
            Arc::new(settings),
            clock,
            BTreeMap::new(),
            workers,
            Board::new(status, std::iter::empty()),
            Stopper::default(),
            Box::new(|| ()),
        );
        let skipped = Duration::ZERO;
        Fixture { event_loop, writes, jobs, skipped, _snapshots, _reads }
    }

    /// A node alone, which leads.
    fn leading(settings: Settings) -> Fixture {
        let mut fixture = Fixture::of(1, settings);
        fixture.event_loop.end_round();
        while !fixture.event_loop.replica.status().serving {
            fixture.skipped += Duration::from_millis(100);
            fixture.round();
        }
        fixture
    }

    fn now(&self) -> Now {
        let now = self.event_loop.clock.now();
        Now { monotonic: now.monotonic + self.skipped, wall: now.wall + self.skipped }
    }

    /// One round, in which the threads have done what there was to do.
    fn round(&mut self) {
        let now = self.now();
        self.work(now);
        while let Some(timer) = self.event_loop.timers.take_expired(now.monotonic) {
            let event = Event::Timeout(timer);
            self.event_loop.replica.step(now, event, &mut self.event_loop.effects);
        }
        self.event_loop.replica.flush(now, &mut self.event_loop.effects);
        self.event_loop.end_round();
    }

    fn work(&mut self, now: Now) {
        let (mut writes, mut jobs) = (VecDeque::new(), VecDeque::new());
        let _ = self.writes.try_pop_all(&mut writes);
        let _ = self.jobs.try_pop_all(&mut jobs);
        for WriteJob { seq, .. } in writes {
            self.event_loop.on_completed(now, Completed::Saved(seq));
        }
        for job in jobs {
            let Job::Apply { generation, entries } = job else { continue };
            let through = entries.last().unwrap().index();
            let applied = Applied { generation, through, requests: Vec::new(), deadline: None };
            let batch = quorate_core::Batch { applied, responses: Vec::new() };
            self.event_loop.on_completed(now, Completed::Applied(batch));
        }
    }

    fn propose(&mut self, length: usize) -> Proposal {
        let (answer, waiter) = slot();
        let body = vec![0; length].into();
        let request = Request::Propose { body, session: None, answer };
        self.event_loop.on_request(self.now(), request);
        waiter
    }

    fn read(&mut self, cost: usize) -> Read {
        let (answer, waiter) = slot();
        let request = Request::Read { query: Vec::new(), cost, answer };
        self.event_loop.on_request(self.now(), request);
        waiter
    }

    fn leave(&mut self) {
        let now = self.now();
        self.event_loop.on_completed(now, Completed::ShutDown);
    }

    /// Whether the loop has stopped, after one more round of leaving.
    fn has_left(&mut self) -> bool {
        self.has_left_at(self.now())
    }

    fn has_left_at(&mut self, now: Now) -> bool {
        self.event_loop.say_farewell(now);
        self.event_loop.stopper.is_stopping()
    }
}

fn refused<T>(why: NotProposed) -> Option<Result<Result<T, RequestError>, Dropped>> {
    Some(Ok(Err(why.into())))
}

#[test]
fn reads_beyond_what_may_wait_for_the_state_machine_are_refused_as_busy() {
    let (applier, jobs) = queue(10 * OVERHEAD_BYTES);
    let read = || {
        let (answer, waiter) = slot();
        ask::<Echo>(&applier, Vec::new(), OVERHEAD_BYTES, answer);
        waiter
    };
    let waiters: Vec<_> = (0..12).map(|_| read()).collect();
    let mut refused = waiters.into_iter().filter_map(|mut waiter| waiter.try_take()?.ok());
    assert_eq!(refused.next(), Some(Err(ReadError::Busy)));
    assert_eq!(refused.count(), 1);
    jobs.close();
    assert_eq!(read().wait(), Ok(Err(ReadError::ShuttingDown)));
}

#[test]
fn a_node_alone_has_nobody_to_hand_over_to_and_stops_at_once() {
    let mut fixture = Fixture::leading(Settings::default());
    assert!(!fixture.has_left(), "nobody asked it to");
    fixture.leave();
    assert!(fixture.has_left());
}

#[test]
fn who_leaves_waits_for_what_is_outstanding_and_not_for_ever() {
    let mut fixture = Fixture::of(3, Settings::default());
    let mut waiting = fixture.propose(1);
    fixture.leave();
    let begun = fixture.now();
    let after = |passed| Now { monotonic: begun.monotonic + passed, ..begun };
    assert!(!fixture.has_left_at(begun));
    let due = fixture.event_loop.timers.next();
    assert!(due.is_some_and(|due| due <= after(FAREWELL).monotonic), "{due:?}");
    assert!(!fixture.has_left_at(after(FAREWELL - Duration::from_millis(1))));
    assert_eq!(waiting.try_take(), None);
    assert!(fixture.has_left_at(after(FAREWELL)));

    let mut fixture = Fixture::of(3, Settings::default());
    fixture.leave();
    assert!(fixture.has_left(), "nothing is outstanding");
}

#[test]
fn what_is_asked_of_a_node_that_leaves_is_refused() {
    let mut fixture = Fixture::of(3, Settings::default());
    let mut before = fixture.propose(1);
    fixture.leave();
    // What came in the same round is still taken.
    let mut with_it = fixture.propose(1);
    assert!(!fixture.has_left());
    let mut behind = fixture.propose(1);
    assert_eq!(behind.try_take(), refused(NotProposed::ShuttingDown));
    assert_eq!(fixture.read(1).try_take(), Some(Ok(Err(ReadError::ShuttingDown))));
    assert_eq!((before.try_take(), with_it.try_take()), (None, None));
}

#[tokio::test]
async fn what_the_last_round_did_not_take_is_refused_and_what_it_took_is_unknown() {
    let mut fixture = Fixture::of(3, Settings::default());
    let (taken, read) = (fixture.propose(1), fixture.read(1));
    let (_to_loop, completed) = queue(usize::MAX);
    let (_messages, messages) = queue(usize::MAX);
    let (asking, requests) = queue(usize::MAX);
    let (answer, late) = slot();
    let request = Request::Propose { body: Bytes::new(), session: None, answer };
    asking.push(request, 1).unwrap_or_else(|_| panic!("nothing is in it"));
    let inputs = Inputs { completed, messages, requests };
    let gathering = Gathering::new(inputs, fixture.event_loop.stopper.signal().triggered());
    fixture.event_loop.refuse_what_is_left(gathering);
    assert_eq!(late.wait(), Ok(Err(NotProposed::ShuttingDown.into())));
    assert_eq!((taken.wait(), read.wait()), (Err(Dropped), Err(Dropped)));
}

#[test]
fn requests_beyond_what_may_be_outstanding_are_refused_as_busy_until_others_are_answered() {
    let settings = Settings { uncommitted_bytes: 64 << 10, ..Settings::default() };
    let max = settings.uncommitted_bytes;
    let mut fixture = Fixture::of(3, settings);
    // Whoever is alone is taken, however large.
    let mut alone = fixture.read(2 * max);
    assert_eq!(alone.try_take(), None);
    assert_eq!(fixture.read(1).try_take(), Some(Ok(Err(ReadError::Busy))));
    // Nobody leads, so it fails in the end; then there is room again.
    while alone.try_take().is_none() {
        fixture.skipped += Duration::from_secs(1);
        fixture.round();
    }
    let exactly = (fixture.read(max / 2), fixture.read(max - max / 2));
    assert_eq!(fixture.propose(1).try_take(), refused(NotProposed::Busy));
    assert_eq!(fixture.event_loop.waiting.len(), 2);
    fixture.event_loop.end_round();
    assert_eq!(fixture.event_loop.board.status().waiting, 2);
    drop(exactly);
}

#[test]
fn whether_there_is_room_stands_in_the_status_and_decides_what_is_taken() {
    let mut fixture = Fixture::leading(Settings::default());
    for has_room in [false, true, false] {
        let now = fixture.now();
        fixture.event_loop.on_completed(now, Completed::Room(has_room));
        fixture.event_loop.end_round();
        assert_eq!(fixture.event_loop.board.status().has_room, has_room);
        let mut proposal = fixture.propose(1);
        fixture.round();
        let answer = proposal.try_take();
        if has_room {
            assert_eq!(answer, None);
        } else {
            assert_eq!(answer, refused(NotProposed::DiskFull));
        }
    }
}

#[test]
fn what_fails_is_answered_and_waited_for_no_longer() {
    let mut fixture = Fixture::of(3, Settings::default());
    let name = |fixture: &mut Fixture| fixture.event_loop.replica.name_request();
    let before = name(&mut fixture);
    let (mut proposal, mut read) = (fixture.propose(1), fixture.read(1));
    let next = |number| quorate_core::RequestId { number, ..before };
    for number in [before.number + 1, before.number + 2] {
        let request = next(number);
        fixture.event_loop.carry_out(Effect::Failed { request, failure: Failure::NoLeader });
    }
    assert_eq!(proposal.try_take(), refused(NotProposed::NoLeader));
    assert_eq!(read.try_take(), Some(Ok(Err(ReadError::NoLeader))));
    assert!(fixture.event_loop.waiting.is_empty());
}

#[test]
fn the_newest_restoration_is_known_before_it_is_handed_over() {
    let mut fixture = Fixture::of(3, Settings::default());
    let snapshot = SnapshotMeta {
        last: LogId::ZERO,
        digest: Digest::ZERO,
        membership: Membership::default(),
        time: LogTime(0),
        size_bytes: 0,
        content: Digest::ZERO,
    };
    for generation in [1, 2] {
        let generation = Generation(generation);
        let snapshot = snapshot.clone();
        fixture.event_loop.carry_out(Effect::Restore { generation, snapshot });
        let newest = fixture.event_loop.workers.newest_restore.current();
        assert_eq!(newest, generation.0);
        assert!(matches!(fixture.jobs.pop(), Ok(Job::Restore { .. })));
    }
}

#[test]
fn a_write_that_was_only_sworn_is_not_called_saved() {
    let mut fixture = Fixture::of(1, Settings::default());
    fixture.event_loop.end_round();
    let mut writes = VecDeque::new();
    fixture.writes.try_pop_all(&mut writes).unwrap();
    let durable = fixture.event_loop.replica.status().durable;
    let last: WriteSeq = writes.back().unwrap().seq;
    let now = fixture.now();
    fixture.event_loop.on_completed(now, Completed::Sworn(last));
    assert_eq!(fixture.event_loop.replica.status().durable, durable);
}
