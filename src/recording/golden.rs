//! What is in the bodies of records keeps its encoding, or is of another version of the format.

use std::time::Duration;

use bytes::Bytes;
use quorate_core::{
    Applied, Ballot, Call, Digest, Disk, Entry, EntryKind, Envelope, Event, FetchNext,
    FoundingRecord, Gap, Generation, Incarnation, Index, Known, LogId, LogTime, Membership, NodeId,
    Now, PeerMessage, Proposal, Protocol, Reader, RecordedCall, RecordedStart, Recovered,
    ReplicaConfig, RequestId, Settings, SnapshotMeta, Start, Timer, WriteSeq,
};
use quorate_raft::Raft;
use quorate_storage::{MemDisk, Owner, Store, StoreOptions};
use quorate_vsr::Vsr;
use serde::Serialize;

use super::format::FORMAT_VERSION;

type RaftEvent = Event<<Raft as Protocol>::Message>;
type VsrEvent = Event<<Vsr as Protocol>::Message>;

const NOW: Now = Now { monotonic: Duration::from_millis(1), wall: Duration::from_secs(1 << 30) };
const ID: LogId = LogId { index: Index(300), ballot: Ballot(4) };
const DIGEST: Digest = Digest([5; 16]);
const DISK: Disk = Disk { incarnation: Incarnation(6), start: Start { count: 7, nonce: 8 } };
const REQUEST: RequestId = RequestId { start: DISK.start, number: 9 };
const GAP: Gap =
    Gap { first: Index(1), last: Index(2), digest: DIGEST, before: Digest::ZERO, ids_known: true };

fn entry() -> Entry {
    let payload = Bytes::from_static(b"payload");
    Entry::new(ID, DIGEST, Proposal::new(EntryKind::Command, LogTime(10), payload))
}

fn membership() -> Membership {
    Membership::new([(NodeId(1), Incarnation(6)), (NodeId(2), Incarnation(11))])
}

fn snapshot() -> SnapshotMeta {
    SnapshotMeta {
        last: ID,
        digest: DIGEST,
        membership: membership(),
        time: LogTime(12),
        size_bytes: 1 << 20,
        content: DIGEST,
    }
}

fn envelope<M>(message: M) -> Envelope<M> {
    Envelope {
        from: NodeId(1),
        to: NodeId(2),
        incarnation: Incarnation(6),
        start: DISK.start,
        previous_nonce: 13,
        known: Some(Known { disk: DISK, acknowledged: Some((Ballot(4), ID)) }),
        has_room: true,
        message: PeerMessage::Protocol(message),
    }
}

/// One of each.
fn events() -> Vec<RaftEvent> {
    let message = quorate_raft::Message::PreVote { term: Ballot(4), last: ID };
    let applied = Applied {
        generation: Generation(1),
        through: Index(2),
        requests: vec![REQUEST],
        deadline: Some(LogTime(14)),
    };
    let (payload, of_snapshot) = (Bytes::from_static(b"p"), snapshot().id());
    vec![
        Event::Message(envelope(message)),
        Event::Propose { request: REQUEST, kind: EntryKind::Command, payload: payload.clone() },
        Event::Read { request: REQUEST },
        Event::Saved(WriteSeq(15)),
        Event::Sworn(WriteSeq(16)),
        Event::Timeout(Timer::Readmission),
        Event::Applied(applied),
        Event::Restored { generation: Generation(1), deadline: None },
        Event::EntriesRead {
            reader: Reader::Repair(NodeId(2)),
            from: Index(300),
            entries: vec![entry()],
        },
        Event::SnapshotBuilt(Some(snapshot())),
        Event::ChunkRead { to: NodeId(2), snapshot: of_snapshot, chunk: 17, bytes: Some(payload) },
        Event::FetchProgress { snapshot: of_snapshot, next: FetchNext::Chunk(18) },
        Event::Damaged(vec![GAP]),
        Event::Scrubbed { next: Index(19), gaps: vec![GAP] },
        Event::Room(true),
        Event::HandOver,
    ]
}

/// Of an event that is not here, there is none above either.
fn place(event: &RaftEvent) -> usize {
    match event {
        Event::Message(_) => 0,
        Event::Propose { .. } => 1,
        Event::Read { .. } => 2,
        Event::Saved(_) => 3,
        Event::Sworn(_) => 4,
        Event::Timeout(_) => 5,
        Event::Applied(_) => 6,
        Event::Restored { .. } => 7,
        Event::EntriesRead { .. } => 8,
        Event::SnapshotBuilt(_) => 9,
        Event::ChunkRead { .. } => 10,
        Event::FetchProgress { .. } => 11,
        Event::Damaged(_) => 12,
        Event::Scrubbed { .. } => 13,
        Event::Room(_) => 14,
        Event::HandOver => 15,
    }
}

fn start() -> RecordedStart {
    let owner = Owner { node: NodeId(1), cluster: "c".to_owned(), protocol: "raft".to_owned() };
    let disk = std::sync::Arc::new(MemDisk::new());
    let opened = Store::open(disk, &owner, StoreOptions::default(), Incarnation(6), 20);
    let mut recovered = Recovered {
        founding: FoundingRecord { round: 21, list: Some(membership()), formed: true },
        pledge: Some([22; 64]),
        sworn: Some([23; 64]),
        mute: true,
        peers: [(NodeId(2), DISK)].into(),
        snapshot: Some(snapshot()),
        ..opened.unwrap().1
    };
    recovered.log.ballots = vec![(Index(300), Ballot(4))];
    recovered.log.memberships = vec![(Index(300), membership())];
    recovered.log.tail = vec![entry()];
    recovered.log.gaps = vec![GAP];
    let config = ReplicaConfig {
        me: NodeId(1),
        members: [NodeId(1), NodeId(2)].into(),
        bootstrap: true,
        settings: Settings::default(),
    };
    RecordedStart { config, recovered, now: NOW, outcome: Some(Ok(vec![DIGEST])) }
}

fn digest(value: &impl Serialize) -> String {
    format!("{:08x}", crc32fast::hash(&postcard::to_allocvec(value).unwrap()))
}

#[test]
fn what_is_in_a_record_keeps_its_encoding() {
    let call = |event| RecordedCall {
        call: Call::Step(NOW, event),
        effects: Some(vec![DIGEST, Digest::ZERO]),
    };
    let events = events();
    assert!(events.iter().map(place).eq(0..events.len()));
    let message = quorate_vsr::Message::StartViewChange { view: Ballot(4), target: Ballot(5) };
    let of_vsr =
        RecordedCall { call: Call::Step(NOW, VsrEvent::Message(envelope(message))), effects: None };
    let name = RecordedCall::<()> { call: Call::NameRequest(REQUEST), effects: Some(Vec::new()) };
    let flush = RecordedCall::<()> { call: Call::Flush(NOW), effects: None };
    let [start, of_vsr, name, flush] =
        [digest(&start()), digest(&of_vsr), digest(&name), digest(&flush)];
    let of_events = events.into_iter().map(|event| digest(&call(event)));
    let digests: Vec<String> = [start, of_vsr, name, flush].into_iter().chain(of_events).collect();
    let golden = [
        "cf0962b7 1371b1b4 1bc08c37 073011e1",
        "722fd76d 7a8ed5a7 a5a6394b f6ff7d5f 2cb9d6c3 f3e8f0d0 db6d54af 2878b63f",
        "ec44c0c2 a40ef9d3 c30b5e82 89ced1b4 983ac7d2 680d2135 2ded9b05 b65b9187",
    ];
    assert_eq!(
        digests.join(" "),
        golden.join(" "),
        "recordings are encoded in another way than in format version {FORMAT_VERSION}: raise \
         FORMAT_VERSION, and have these digests here. Only if nothing but a default of Settings is \
         another one, leave the version as it is"
    );
}
