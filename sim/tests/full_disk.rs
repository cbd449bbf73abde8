//! A replica whose disk is full: it votes and follows, takes and acknowledges no entries, loses
//! no vote in a crash, and goes on once there is room. With the real protocol, the real replica
//! and the real log on disk; the others are played by the test.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_core::{
    Ballot, Command, Effect, Entry, EntryKind, Envelope, Event, FoundingRecord, Incarnation, Index,
    Log, LogId, LogTime, Membership, NodeId, Now, Origin, PeerMessage, Proposal, Protocol, Replica,
    ReplicaConfig, RequestId, Settings, Start,
};
use quorate_raft::{AppendEntries, AppendEntriesReply, Appended, Message, Raft};
use quorate_storage::{Disk, MemDisk, Owner, Store, StoreOptions};

const ME: NodeId = NodeId(1);
const LEADER: NodeId = NodeId(2);
const OTHER: NodeId = NodeId(3);

fn members() -> Membership {
    Membership::new([ME, LEADER, OTHER].map(|id| (id, Incarnation(100 + id.0))))
}

struct Node {
    disk: MemDisk,
    store: Store<MemDisk>,
    replica: Replica<Raft>,
    now: Duration,
    has_room: bool,
    events: VecDeque<Event<Message>>,
    sent: Vec<(NodeId, Message)>,
}

impl Node {
    fn start(disk: MemDisk) -> Node {
        let owner = Owner { node: ME, cluster: "test".to_owned(), protocol: Raft::NAME.to_owned() };
        let options = StoreOptions {
            segment_bytes: Some(64 << 10),
            group_bytes: 1 << 20,
            ..StoreOptions::default()
        };
        let handle = Arc::new(disk.clone());
        let (store, mut recovered) =
            Store::open(handle, &owner, options, Incarnation(101), 1).unwrap();
        recovered.founding = FoundingRecord { round: 1, list: Some(members()), formed: true };
        let config = ReplicaConfig {
            me: ME,
            members: members().voters().collect(),
            bootstrap: false,
            settings: Settings::default(),
        };
        let mut out = Vec::new();
        let replica = Replica::recover(config, recovered, Now::default(), &mut out).unwrap();
        let now = Duration::from_secs(1);
        let (events, sent) = (VecDeque::new(), Vec::new());
        let mut node = Node { disk, store, replica, now, has_room: true, events, sent };
        node.carry_out(out);
        node.work();
        node
    }

    fn carry_out(&mut self, effects: Vec<Effect<Message>>) {
        for effect in effects {
            match effect {
                Effect::Persist { seq, write } => self.store.enqueue(seq, write),
                Effect::Send(Envelope { to, message: PeerMessage::Protocol(message), .. }) => {
                    self.sent.push((to, message));
                }
                _ => {}
            }
        }
    }

    /// All that the storage thread and the loop can do.
    fn work(&mut self) {
        loop {
            let job = self.store.prepare().unwrap();
            if let Some(job) = job.or_else(|| self.store.maintenance().unwrap()) {
                let done = self.store.run(job).unwrap();
                self.events.extend(done.sworn.map(Event::Sworn));
                self.events.extend(done.saved.map(Event::Saved));
                let has_room = self.store.room_error().is_none() || self.store.has_room();
                if std::mem::replace(&mut self.has_room, has_room) != has_room {
                    self.events.push_back(Event::Room(has_room));
                }
            } else if self.events.is_empty() {
                return;
            }
            while let Some(event) = self.events.pop_front() {
                let now = Now { monotonic: self.now, wall: self.now };
                let mut out = Vec::new();
                self.replica.step(now, event, &mut out);
                self.replica.flush(now, &mut out);
                self.carry_out(out);
            }
        }
    }

    /// A message arrives. Gives what is answered to its sender.
    fn hear(&mut self, from: NodeId, message: Message) -> Vec<Message> {
        let incarnation = Incarnation(100 + from.0);
        let message = PeerMessage::Protocol(message);
        self.events.push_back(Event::Message(Envelope {
            from,
            to: ME,
            incarnation,
            start: Start::default(),
            previous_nonce: 0,
            has_room: true,
            known: None,
            message,
        }));
        self.work();
        self.said_to(from)
    }

    fn said_to(&mut self, to: NodeId) -> Vec<Message> {
        let said = self.sent.extract_if(.., |(peer, _)| *peer == to);
        said.map(|(_, message)| message).collect()
    }
}

/// The log of the leaders.
struct Leaders {
    log: Log,
    probe: u64,
}

impl Leaders {
    fn append(&mut self, term: u64, kilobytes: usize) -> (LogId, Entry) {
        let previous = self.log.last();
        let proposal = if previous == LogId::ZERO {
            self.log.opening()
        } else {
            let number = previous.index.0;
            let request = RequestId { number, ..RequestId::default() };
            let origin = Origin { node: LEADER, request };
            let body = Bytes::from(vec![7; kilobytes << 10]);
            let payload = Command { origin, session: None, body }.encode();
            Proposal::new(EntryKind::Command, LogTime(0), payload)
        };
        let id = self.log.append(Ballot(term), proposal);
        (previous, self.log.entries(id.index, 1).unwrap().remove(0))
    }

    fn message(&mut self, term: u64, previous: LogId, entries: Vec<Entry>) -> Message {
        self.probe += 1;
        let (term, probe, commit) = (Ballot(term), self.probe, Index(1));
        Message::AppendEntries(AppendEntries { term, probe, previous, commit, entries })
    }

    fn heartbeat(&mut self, term: u64, previous: LogId) -> Message {
        self.message(term, previous, Vec::new())
    }
}

fn outcomes(messages: &[Message]) -> Vec<Appended> {
    let outcome = |message: &Message| match message {
        Message::AppendEntriesReply(AppendEntriesReply { outcome, .. }) => Some(*outcome),
        _ => None,
    };
    messages.iter().filter_map(outcome).collect()
}

fn request_vote(term: u64, last: LogId) -> Message {
    Message::RequestVote { term: Ballot(term), last, transfer: false }
}

fn grants(messages: &[Message], term: u64) -> bool {
    messages.contains(&Message::RequestVoteReply { term: Ballot(term), granted: true })
}

#[test]
fn a_follower_whose_disk_fills_up_under_entries_keeps_voting_and_acknowledges_none_of_them() {
    let mut node = Node::start(MemDisk::new());
    let mut leaders = Leaders { log: Log::founded_by(members()), probe: 0 };
    let (previous, opening) = leaders.append(1, 0);
    let first = opening.id;
    let append = leaders.message(1, previous, vec![opening]);
    assert!(outcomes(&node.hear(LEADER, append)).contains(&Appended::Durable(first.index)));

    // The disk is full, and nobody has noticed yet: what comes is taken, and does not fit.
    let files = node.disk.list().unwrap();
    node.disk.set_capacity(Some(files.iter().map(|file| file.len).sum()));
    let mut held = first;
    let mut refused = 0;
    for _ in 0..6 {
        let (previous, entry) = leaders.append(1, 100);
        let id = entry.id;
        let append = leaders.message(1, previous, vec![entry]);
        for outcome in outcomes(&node.hear(LEADER, append)) {
            match outcome {
                Appended::Held(index) => assert_eq!((index, id.index), (id.index, index)),
                Appended::NoRoom { previous } => {
                    assert_eq!(previous, held.index);
                    refused += 1;
                }
                Appended::Conflict { previous, .. } => assert!(previous > held.index),
                other => panic!("{other:?}"),
            }
        }
        held = node.replica.log().unwrap().last();
    }
    assert!(held > first, "nothing was taken in the moments before");
    assert!(refused > 0, "the leader was not told that there is no room");
    assert_eq!(node.replica.status().durable, first.index);
    assert!(node.store.has_queued());

    // A vote, however often there is a new term; and each is there after a crash.
    let mut term = 1;
    for _ in 0..40 {
        term += 1;
        node.now += Duration::from_secs(1);
        assert!(grants(&node.hear(OTHER, request_vote(term, held)), term), "term {term}");
    }
    let mut crashed = Node::start(node.disk.crash_losing_all());
    assert_eq!(crashed.replica.status().last, first);
    crashed.now += Duration::from_secs(1);
    assert!(!grants(&crashed.hear(LEADER, request_vote(term, held)), term), "a second vote");
    assert!(grants(&crashed.hear(OTHER, request_vote(term, held)), term), "the same vote");

    // Heartbeats of the new leader are answered, for as long as it takes.
    let waiting = |node: &Node| format!("{:?}", node.replica).len();
    let mut size = 0;
    for round in 0..1000 {
        node.now += Duration::from_millis(40);
        let heartbeat = leaders.heartbeat(term, held);
        assert_eq!(outcomes(&node.hear(OTHER, heartbeat)), [Appended::Held(held.index)]);
        if round == 10 {
            size = waiting(&node);
        }
    }
    assert!(waiting(&node) < size + 100, "something piles up");

    // There is room: all that was taken is saved, and acknowledged.
    node.disk.set_capacity(None);
    node.store.retry_room();
    node.work();
    assert_eq!(node.replica.status().durable, held.index);
    assert!(outcomes(&node.said_to(OTHER)).contains(&Appended::Durable(held.index)));
    let behind: Vec<Entry> = leaders.log.entries(held.index.next(), usize::MAX).unwrap();
    let last = leaders.log.last();
    let append = leaders.message(term, held, behind);
    assert!(outcomes(&node.hear(OTHER, append)).contains(&Appended::Durable(last.index)));
    let restarted = Node::start(node.disk.crash_losing_all());
    assert_eq!(restarted.replica.status().last, last);
    assert_eq!(restarted.replica.status().ballot, Ballot(term));
}

#[test]
fn a_replica_that_is_started_on_a_full_disk_again_and_again_keeps_each_of_its_votes() {
    let node = Node::start(MemDisk::new());
    let files = node.disk.list().unwrap();
    let mut disk = node.disk.crash_losing_all();
    disk.set_capacity(Some(files.iter().map(|file| file.len).sum()));
    for term in 1..200 {
        let mut node = Node::start(disk);
        node.now += Duration::from_secs(1);
        let last = LogId::new(Index(9), Ballot(term));
        assert!(grants(&node.hear(OTHER, request_vote(term, last)), term), "term {term}");
        assert!(!grants(&node.hear(LEADER, request_vote(term, last)), term), "term {term}");
        disk = node.disk.crash_losing_all();
    }
}
