//! The loop by itself: the test is its threads, and time.

mod rounds;

use std::collections::VecDeque;
use std::sync::LazyLock;

use quorate_core::{
    Applied, Digest, Failure, Generation, Incarnation, LogId, LogTime, Membership, ReplicaConfig,
    SnapshotMeta, WriteSeq,
};
use quorate_handoff::{Consumer, Dropped, Waiter, queue, slot, watermark};
use quorate_raft::Raft;
use quorate_storage::{MemDisk, Owner, Store, StoreOptions};
use tokio::runtime::Runtime;

use super::*;
use crate::error::RequestError;
use crate::net::inbox::Inbox;
use crate::net::testing::Echo;
use crate::requests::OVERHEAD_BYTES;
use crate::status::Status;

type Proposal = Waiter<Result<quorate_core::Outcome<Vec<u8>>, RequestError>>;
type Read = Waiter<Result<Vec<u8>, ReadError>>;

/// Where the loop would wait. Here it does not: the test takes its turns.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap());

/// A loop, and the ends of its queues at which its threads and connections would be.
struct Fixture {
    event_loop: EventLoop<Raft, Echo>,
    gathering: Gathering<Raft, Echo>,
    writes: Consumer<WriteJob>,
    jobs: Consumer<Job<Echo>>,
    messages: Inbox<quorate_raft::Message>,
    requests: Producer<Request<Echo>>,
    _done: Producer<Completed<Echo>>,
    _snapshots: Consumer<SnapshotJob<Echo>>,
    _reads: Consumer<ReadJob>,
}

impl Fixture {
    /// Node 1 of so many, on an empty disk. The others cannot be heard.
    fn of(members: u64, settings: Settings) -> Fixture {
        let clock = Clock::start();
        let (replica, effects) = replica(1, members, &settings, clock);
        let status = Status::new(NodeId(1), "c".to_owned(), "raft");
        let board = Board::new(status, std::iter::empty());
        Fixture::around(replica, effects, settings, clock, BTreeMap::new(), board)
    }

    fn around(
        replica: RecordedReplica<Raft>,
        effects: Vec<Effect<quorate_raft::Message>>,
        settings: Settings,
        clock: Clock,
        links: BTreeMap<NodeId, Link>,
        board: Board,
    ) -> Fixture {
        let ((storage, writes), (applier, jobs)) = (queue(usize::MAX), queue(usize::MAX));
        let ((snapshots, _snapshots), (reads, _reads)) = (queue(usize::MAX), queue(usize::MAX));
        let (newest_restore, _) = watermark(0);
        let workers = Workers { storage, applier, snapshots, reads, newest_restore };
        let (settings, stopper, ready) = (Arc::new(settings), Stopper::default(), Box::new(|| ()));
        let event_loop = EventLoop::new(
            replica, effects, settings, clock, links, workers, board, stopper, ready,
        );
        let ((_done, completed), (to_messages, messages)) = (queue(usize::MAX), queue(usize::MAX));
        let (requests, asked) = queue(usize::MAX);
        let inputs = Inputs { completed, messages, requests: asked };
        let gathering = {
            let _entered = RUNTIME.enter();
            Gathering::new(inputs, event_loop.stopper.signal().triggered())
        };
        let messages = Inbox::new(to_messages, 1 << 20);
        Fixture {
            event_loop,
            gathering,
            writes,
            jobs,
            messages,
            requests,
            _done,
            _snapshots,
            _reads,
        }
    }

    /// A node alone, which leads.
    fn leading(settings: Settings) -> Fixture {
        let mut fixture = Fixture::of(1, settings);
        fixture.event_loop.end_round();
        while !fixture.event_loop.replica.status().serving {
            fixture.skip(Duration::from_millis(100));
            fixture.round();
        }
        fixture
    }

    fn now(&self) -> Now {
        self.event_loop.clock.now()
    }

    /// As if so much time had passed.
    fn skip(&mut self, time: Duration) {
        let start = &mut self.event_loop.clock.start;
        *start = start.checked_sub(time).expect("a machine that is up");
    }

    /// One round, in which the threads have done what there was to do.
    fn round(&mut self) {
        self.work();
        let inputs = &self.gathering.inputs;
        // Nothing is there, or something was.
        let _ = inputs.messages.try_pop_all(&mut self.gathering.messages);
        let _ = inputs.requests.try_pop_all(&mut self.gathering.requests);
        self.event_loop.round(&mut self.gathering);
    }

    fn work(&mut self) {
        let (mut writes, mut jobs) = (VecDeque::new(), VecDeque::new());
        let _ = self.writes.try_pop_all(&mut writes);
        let _ = self.jobs.try_pop_all(&mut jobs);
        for WriteJob { seq, .. } in writes {
            self.gathering.completed.push_back(Completed::Saved(seq));
        }
        for job in jobs {
            let Job::Apply { generation, entries } = job else { continue };
            let through = entries.last().unwrap().index();
            let applied = Applied { generation, through, requests: Vec::new(), deadline: None };
            let batch = quorate_core::Batch { applied, responses: Vec::new() };
            self.gathering.completed.push_back(Completed::Applied(batch));
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

/// The replica of one of so many nodes, on an empty disk.
fn replica(
    me: u64,
    members: u64,
    settings: &Settings,
    clock: Clock,
) -> (RecordedReplica<Raft>, Vec<Effect<quorate_raft::Message>>) {
    let owner = Owner { node: NodeId(me), cluster: "c".to_owned(), protocol: "raft".to_owned() };
    let disk = Arc::new(MemDisk::new());
    let opened = Store::open(disk, &owner, StoreOptions::default(), Incarnation(me), me);
    let config = ReplicaConfig {
        me: NodeId(me),
        members: (1..=members).map(NodeId).collect(),
        bootstrap: true,
        settings: settings.clone(),
    };
    let mut effects = Vec::new();
    let recovered = opened.unwrap().1;
    let replica =
        RecordedReplica::recover(config, recovered, clock.now(), &mut effects, None).unwrap();
    (replica, effects)
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

#[test]
fn what_the_last_round_did_not_take_is_refused_and_what_it_took_is_unknown() {
    let mut fixture = Fixture::of(3, Settings::default());
    let (taken, read) = (fixture.propose(1), fixture.read(1));
    let (answer, late) = slot();
    let request = Request::Propose { body: Bytes::new(), session: None, answer };
    fixture.requests.push(request, 1).unwrap_or_else(|_| panic!("nothing is in it"));
    fixture.event_loop.refuse_what_is_left(fixture.gathering);
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
        fixture.skip(Duration::from_secs(1));
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
fn a_read_that_went_on_to_the_state_machine_leaves_its_room_to_the_next() {
    let settings = Settings { uncommitted_bytes: 64 << 10, ..Settings::default() };
    let max = settings.uncommitted_bytes;
    let mut fixture = Fixture::leading(settings);
    for _ in 0..3 {
        let mut read = fixture.read(max);
        assert_eq!(read.try_take(), None, "there is room for it");
        (0..5).for_each(|_| fixture.round());
        assert!(fixture.event_loop.waiting.is_empty());
    }
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
