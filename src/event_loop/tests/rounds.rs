//! In which order a round takes what has gathered, and that others have their turn between two.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

use quorate_core::{Envelope, RequestId, Timer};
use quorate_raft::Message;

use super::*;
use crate::net::testing::local;

/// Replicas whose messages arrive and whose disks have saved at once. Only time is up to the test.
struct Replicas {
    all: BTreeMap<NodeId, RecordedReplica<Raft>>,
    /// For each, the timers that were set, as they were set last.
    timers: BTreeMap<(NodeId, Timer), std::ops::Range<Duration>>,
    clock: Clock,
}

impl Replicas {
    /// Three, which have founded their cluster. The second leads.
    fn new(clock: Clock, settings: &Settings) -> Replicas {
        let mut replicas = Replicas { all: BTreeMap::new(), timers: BTreeMap::new(), clock };
        let mut begun = Vec::new();
        for id in 1..=3 {
            let (replica, effects) = replica(id, 3, settings, clock);
            replicas.all.insert(NodeId(id), replica);
            begun.push((NodeId(id), effects));
        }
        for (id, effects) in begun {
            replicas.carry_out(id, effects, None);
        }
        while !replicas.all.values().all(|replica| replica.status().formed) {
            (1..=3).for_each(|id| replicas.step(NodeId(id), Event::Timeout(Timer::Founding)));
        }
        replicas.step(NodeId(2), Event::Timeout(Timer::Election));
        replicas.step(NodeId(2), Event::Timeout(Timer::Heartbeat));
        for replica in replicas.all.values() {
            assert_eq!(replica.status().leader, Some(NodeId(2)));
        }
        replicas
    }

    fn step(&mut self, id: NodeId, event: Event<Message>) {
        self.step_but_for(id, event, None);
    }

    /// What is sent to `caught` does not arrive there, but is the answer.
    fn step_but_for(
        &mut self,
        id: NodeId,
        event: Event<Message>,
        caught: Option<NodeId>,
    ) -> Vec<Envelope<Message>> {
        let (now, mut effects) = (self.clock.now(), Vec::new());
        let replica = self.all.get_mut(&id).unwrap();
        replica.step(now, event, &mut effects);
        replica.flush(now, &mut effects);
        self.carry_out(id, effects, caught)
    }

    fn carry_out(
        &mut self,
        id: NodeId,
        effects: Vec<Effect<Message>>,
        caught: Option<NodeId>,
    ) -> Vec<Envelope<Message>> {
        let mut sent = Vec::new();
        for effect in effects {
            let (to, event) = match effect {
                Effect::Persist { seq, .. } => (id, Event::Saved(seq)),
                Effect::Send(envelope) if Some(envelope.to) == caught => {
                    sent.push(envelope);
                    continue;
                }
                Effect::Send(envelope) => (envelope.to, Event::Message(envelope)),
                Effect::Apply { generation, entries } => {
                    let through = entries.last().unwrap().index();
                    let requests = Vec::new();
                    (id, Event::Applied(Applied { generation, through, requests, deadline: None }))
                }
                Effect::SetTimer(timer, range) => {
                    self.timers.insert((id, timer), range);
                    continue;
                }
                _ => continue,
            };
            sent.extend(self.step_but_for(to, event, caught));
        }
        sent
    }
}

#[test]
fn a_loop_that_stood_still_hears_its_leader_before_it_runs_out_of_patience() {
    let settings = Settings::default();
    let clock = Clock::start();
    let mut replicas = Replicas::new(clock, &settings);
    let (me, leader) = (NodeId(1), NodeId(2));
    let heartbeat = Event::Timeout(Timer::Heartbeat);
    let heartbeats = replicas.step_but_for(leader, heartbeat, Some(me));
    assert!(!heartbeats.is_empty());
    let replica = replicas.all.remove(&me).unwrap();
    let election = replicas.timers[&(me, Timer::Election)].clone();
    let effects = vec![Effect::SetTimer(Timer::Election, election.clone())];

    let status = Status::new(me, "c".to_owned(), "raft");
    let peers = [leader, NodeId(3)].map(|id| (id, String::new()));
    let board = Board::new(status, peers.into_iter());
    let local = Arc::new(local(board.clone()));
    // Nobody is there: what is sent is counted as dropped.
    let link = |id| (id, Link::new(id, String::new(), 1, Arc::clone(&local)).0);
    let links = [leader, NodeId(3)].map(link).into_iter().collect();
    let mut fixture = Fixture::around(replica, effects, settings, clock, links, board.clone());
    fixture.event_loop.end_round();
    fixture.round();
    let sent = || board.status().peers.iter().map(|peer| peer.dropped).collect::<Vec<_>>();
    let before = sent();

    fixture.skip(10 * election.end);
    for heartbeat in heartbeats {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(pin!(fixture.messages.put(heartbeat, 1)).poll(&mut cx).is_ready());
    }
    fixture.round();
    let status = fixture.event_loop.replica.status();
    assert_eq!((status.role, status.leader), (Role::Follower, Some(leader)));
    assert_eq!(sent()[1], before[1], "the other one was asked for its vote");
    // Of a leader that says nothing, the loop does run out of patience.
    fixture.skip(10 * election.end);
    fixture.round();
    assert_eq!(fixture.event_loop.replica.status().role, Role::Candidate);
    assert!(sent()[1] > before[1]);
}

/// Asks the loop again as soon as it has answered, and has it stop after so many times.
struct Insistent {
    requests: Producer<Request<Echo>>,
    stopper: Stopper,
    asked: AtomicUsize,
    waiting: Mutex<Vec<Read>>,
}

const QUESTIONS: usize = 1000;

impl Insistent {
    fn ask(self: &Arc<Self>) {
        if self.asked.fetch_add(1, Ordering::Relaxed) == QUESTIONS {
            return self.stopper.stop(StopReason::Shutdown);
        }
        let (answer, mut waiter) = slot();
        let waker = Waker::from(Arc::clone(self));
        assert!(Pin::new(&mut waiter).poll(&mut Context::from_waker(&waker)).is_pending());
        self.waiting.lock().unwrap().push(waiter);
        let request = Request::Read { query: Vec::new(), cost: 1, answer };
        assert!(self.requests.push(request, 1).is_ok());
    }
}

impl Wake for Insistent {
    fn wake(self: Arc<Self>) {
        self.ask();
    }
}

#[tokio::test]
async fn connections_have_their_turn_though_the_loop_always_has_something_to_do() {
    let settings = Settings::default();
    let max = settings.uncommitted_bytes;
    let mut fixture = Fixture::of(3, settings);
    // Beside this one there is no room: each of the others is answered at once, as busy.
    let _first = fixture.read(2 * max);
    let stopper = fixture.event_loop.stopper.clone();
    let (asked, waiting) = Default::default();
    let requests = fixture.requests.clone();
    let insistent = Arc::new(Insistent { requests, stopper, asked, waiting });
    insistent.ask();
    let turns = Arc::new(AtomicUsize::new(0));
    let connection = tokio::spawn({
        let turns = Arc::clone(&turns);
        async move {
            loop {
                turns.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        }
    });
    fixture.event_loop.run(fixture.gathering.inputs).await;
    connection.abort();
    assert!(insistent.asked.load(Ordering::Relaxed) > QUESTIONS);
    let turns = turns.load(Ordering::Relaxed);
    assert!(turns > QUESTIONS / 2, "{turns} turns");
}

#[test]
fn a_session_is_opened_within_the_limits_that_are_set() {
    let settings = Settings {
        max_sessions: 2,
        session_window: 3,
        max_response_bytes: 4,
        ..Default::default()
    };
    let request = RequestId { number: 5, ..RequestId::default() };
    let origin = Origin { node: NodeId(1), request };
    let Event::Propose { request: asked, kind, payload } = register::<Message>(origin, &settings)
    else {
        panic!("something else")
    };
    assert_eq!((asked, kind), (request, EntryKind::Register));
    let register = Register::decode(&payload).unwrap();
    let expected = Register { origin, max_sessions: 2, window: 3, max_response_bytes: 4 };
    assert_eq!(register, expected);
}
