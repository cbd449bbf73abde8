mod histories;
mod snapshots;

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::*;
use crate::command::{InSession, Origin};
use crate::entry::Proposal;
use crate::types::{Ballot, Incarnation, LogId};

const ME: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(2);
const NOW: Generation = Generation(0);

/// Writes down everything that is done to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Journal {
    notes: Vec<(Index, LogTime, u64, u32)>,
    timers: BTreeSet<LogTime>,
    expired: Vec<(Index, LogTime)>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Do {
    Note(u32),
    SetTimer(LogTime),
    Panic,
}

impl StateMachine for Journal {
    type Command = Do;
    type Response = (Index, usize);
    type Query = ();
    type Answer = (Index, LogTime, u64, usize);

    fn apply(&mut self, at: &At, command: Do) -> (Index, usize) {
        match command {
            Do::Note(text) => self.notes.push((at.index, at.time, at.seed, text)),
            Do::SetTimer(due) => drop(self.timers.insert(due)),
            Do::Panic => panic!("asked to"),
        }
        (at.index, self.notes.len())
    }

    fn query(&self, at: &At, (): ()) -> (Index, LogTime, u64, usize) {
        (at.index, at.time, at.seed, self.notes.len())
    }

    fn deadline(&self) -> Option<LogTime> {
        self.timers.first().copied()
    }

    fn expire(&mut self, at: &At) {
        self.timers.retain(|due| *due > at.time);
        self.expired.push((at.index, at.time));
    }
}

/// A log that grows; hands out what was appended.
struct Chain {
    last: LogId,
    digest: Digest,
    time: u64,
    requests: u64,
}

impl Chain {
    fn new() -> Chain {
        Chain { last: LogId::ZERO, digest: Digest([7; 16]), time: 1000, requests: 0 }
    }

    fn append(&mut self, kind: EntryKind, payload: Bytes) -> Entry {
        let id = LogId::new(self.last.index.next(), Ballot(1));
        let entry = Entry::new(id, self.digest, Proposal::new(kind, LogTime(self.time), payload));
        (self.last, self.digest) = (id, entry.digest());
        entry
    }

    fn origin(&mut self, node: NodeId) -> Origin {
        self.requests += 1;
        Origin { node, request: request(self.requests) }
    }

    fn register(&mut self, node: NodeId, max_sessions: u32, window: u32) -> Entry {
        let origin = self.origin(node);
        self.append(EntryKind::Register, {
            let max_response_bytes = MAX_RESPONSE_BYTES;
            Register { origin, max_sessions, window, max_response_bytes }.encode()
        })
    }

    fn command(&mut self, node: NodeId, session: Option<InSession>, command: Do) -> Entry {
        let body = postcard::to_allocvec(&command).unwrap().into();
        let origin = self.origin(node);
        self.append(EntryKind::Command, Command { origin, session, body }.encode())
    }

    fn found(&mut self) -> Entry {
        let founders = postcard::to_allocvec(&founders()).unwrap();
        self.append(EntryKind::Membership, founders.into())
    }
}

/// Of which the responses of these tests take a small part.
const MAX_RESPONSE_BYTES: u64 = 1000;

fn request(number: u64) -> RequestId {
    RequestId { number, ..RequestId::default() }
}

fn founders() -> Membership {
    Membership::new([(ME, Incarnation(3)), (OTHER, Incarnation(4))])
}

fn in_session(session: u64, sequence: u64) -> Option<InSession> {
    Some(InSession { session: SessionId(session), sequence, first_unacknowledged: 0 })
}

fn applier() -> Applier<Journal> {
    Applier::new(ME, Journal::default())
}

/// What this one entry's request is answered.
fn apply<S: StateMachine>(applier: &mut Applier<S>, entry: Entry) -> Option<Outcome<S::Response>> {
    let batch = applier.apply(NOW, vec![entry]).unwrap();
    let requests: Vec<_> = batch.responses.iter().map(|(request, _)| *request).collect();
    assert_eq!(batch.applied.requests, requests);
    assert!(requests.len() <= 1);
    batch.responses.into_iter().next().map(|(_, outcome)| outcome)
}

fn snapshot<S: StateMachine>(applier: &Applier<S>) -> (SnapshotMeta, Vec<u8>) {
    let view = applier.view();
    let mut content = Vec::new();
    view.write(&mut content).unwrap();
    let meta = SnapshotMeta {
        last: view.last(),
        digest: view.digest(),
        membership: view.membership().clone(),
        time: view.time(),
        size_bytes: content.len() as u64,
        content: Digest::of(&content),
    };
    (meta, content)
}

fn restore(meta: &SnapshotMeta, content: &[u8]) -> Result<Applier<Journal>, RestoreError> {
    let mut applier = applier();
    applier.restore(NOW, meta, &mut &content[..]).map(|_| applier)
}

/// An applier with a bit of everything in it, and the log behind it.
fn eventful() -> (Applier<Journal>, Chain) {
    let (mut applier, mut chain) = (applier(), Chain::new());
    let entries = vec![
        chain.found(),
        chain.register(ME, 10, 4),
        chain.command(OTHER, in_session(2, 0), Do::Note(5)),
        chain.command(ME, None, Do::SetTimer(LogTime(2000))),
    ];
    applier.apply(NOW, entries).unwrap();
    (applier, chain)
}

#[test]
fn own_requests_are_answered_and_those_of_others_are_not() {
    let (mut applier, mut chain) = (applier(), Chain::new());
    let entries = vec![
        chain.found(),
        chain.command(ME, None, Do::Note(1)),
        chain.command(OTHER, None, Do::Note(2)),
        chain.register(OTHER, 10, 4),
        chain.register(ME, 10, 4),
        chain.command(ME, in_session(9, 1), Do::Note(3)),
    ];
    let batch = applier.apply(NOW, entries).unwrap();
    let expected = vec![
        (request(1), Outcome::Response((Index(2), 1))),
        (request(4), Outcome::Registered(SessionId(5))),
        (request(5), Outcome::NoSession),
    ];
    assert_eq!(batch.responses, expected);
    let requests = vec![request(1), request(4), request(5)];
    let applied = Applied { generation: NOW, through: Index(6), requests, deadline: None };
    assert_eq!(batch.applied, applied);
    assert_eq!(applier.applied(), Index(6));
    assert_eq!(applier.membership(), &founders());
}

#[test]
fn a_retry_whose_response_was_dropped_is_told_that_it_was_applied() {
    let (mut applier, mut chain) = (applier(), Chain::new());
    let origin = chain.origin(ME);
    let register = Register { origin, max_sessions: 10, window: 4, max_response_bytes: 3 };
    let entries = vec![
        chain.found(),
        chain.append(EntryKind::Register, register.encode()),
        chain.command(ME, in_session(2, 0), Do::Note(5)),
        chain.command(ME, in_session(2, 1), Do::Note(6)),
    ];
    applier.apply(NOW, entries).unwrap();
    let retry = chain.command(ME, in_session(2, 0), Do::Note(5));
    assert_eq!(apply(&mut applier, retry), Some(Outcome::ResponseDropped));
    let retry = chain.command(ME, in_session(2, 1), Do::Note(6));
    assert_eq!(apply(&mut applier, retry), Some(Outcome::Response((Index(4), 2))));
    assert_eq!(applier.machine().notes.len(), 2);
}

#[test]
fn nothing_to_apply_changes_nothing_and_names_the_index_and_the_deadline() {
    let (mut applier, _) = eventful();
    let batch = applier.apply(Generation(3), Vec::new()).unwrap();
    let (through, deadline) = (Index(4), Some(LogTime(2000)));
    let applied = Applied { generation: Generation(3), through, requests: Vec::new(), deadline };
    assert_eq!(batch.applied, applied);
}

#[test]
fn a_retry_through_another_node_is_answered_there_and_not_applied() {
    let (mut applier, mut chain) = (applier(), Chain::new());
    apply(&mut applier, chain.register(OTHER, 10, 2));
    assert_eq!(apply(&mut applier, chain.command(OTHER, in_session(1, 0), Do::Note(7))), None);
    let retry = chain.command(ME, in_session(1, 0), Do::Note(8));
    assert_eq!(apply(&mut applier, retry), Some(Outcome::Response((Index(2), 1))));
    assert_eq!(applier.machine().notes.len(), 1);
    let ahead = chain.command(ME, in_session(1, 2), Do::Note(8));
    assert_eq!(apply(&mut applier, ahead), Some(Outcome::WindowExceeded));
    let acknowledging = InSession { first_unacknowledged: 1, ..in_session(1, 0).unwrap() };
    let late = chain.command(ME, Some(acknowledging), Do::Note(8));
    assert_eq!(apply(&mut applier, late), Some(Outcome::Acknowledged));
    assert_eq!(applier.machine().notes.len(), 1);
}

#[test]
fn without_a_session_every_entry_takes_effect() {
    let (mut applier, mut chain) = (applier(), Chain::new());
    let entry = chain.command(ME, None, Do::Note(7));
    let again = chain.append(EntryKind::Command, entry.payload.clone());
    applier.apply(NOW, vec![entry, again]).unwrap();
    assert_eq!(applier.machine().notes.len(), 2);
}

#[test]
fn what_is_due_expires_before_the_entry_that_brings_the_time_whatever_its_kind() {
    let kinds = [
        |chain: &mut Chain| chain.append(EntryKind::Noop, Bytes::new()),
        |chain: &mut Chain| chain.append(EntryKind::Time, Bytes::new()),
        |chain: &mut Chain| chain.register(OTHER, 10, 4),
        |chain: &mut Chain| chain.found(),
        |chain: &mut Chain| chain.command(OTHER, in_session(2, 0), Do::Note(0)),
        |chain: &mut Chain| chain.command(OTHER, None, Do::SetTimer(LogTime(1500))),
    ];
    for (number, append) in kinds.iter().enumerate() {
        let (mut applier, mut chain) = eventful();
        chain.time = 1999;
        apply(&mut applier, append(&mut chain));
        assert_eq!(applier.machine().expired, [], "kind {number}: too early");
        chain.time = 2000;
        apply(&mut applier, append(&mut chain));
        let expired = &applier.machine().expired;
        assert_eq!(expired.last(), Some(&(Index(6), LogTime(2000))), "kind {number}");
        // What the entry itself set came after.
        let left = applier.machine().deadline();
        assert_eq!(left, (number == 5).then_some(LogTime(1500)), "kind {number}");
    }
}

#[test]
fn a_deadline_in_the_past_waits_for_the_next_entry_even_at_the_same_time() {
    let (mut applier, mut chain) = (applier(), Chain::new());
    apply(&mut applier, chain.command(ME, None, Do::SetTimer(LogTime(1))));
    assert_eq!(applier.machine().expired, []);
    apply(&mut applier, chain.append(EntryKind::Noop, Bytes::new()));
    assert_eq!(applier.machine().expired, [(Index(2), LogTime(1000))]);
}

#[test]
fn log_time_never_goes_back() {
    let (mut applier, mut chain) = (applier(), Chain::new());
    apply(&mut applier, chain.command(ME, None, Do::Note(0)));
    chain.time = 500;
    apply(&mut applier, chain.command(ME, None, Do::Note(0)));
    assert_eq!(applier.machine().notes[1].1, LogTime(1000));
    assert_eq!(applier.time(), LogTime(1000));
}

#[test]
fn a_query_is_asked_later_than_the_last_entry_but_never_when_something_is_due() {
    let (mut applier, mut chain) = (applier(), Chain::new());
    let after = |applier: &Applier<Journal>, micros| {
        applier.query_after(Duration::from_micros(micros), ()).1
    };
    apply(&mut applier, chain.command(ME, None, Do::Note(0)));
    assert_eq!(after(&applier, 500), LogTime(1500));
    apply(&mut applier, chain.command(ME, None, Do::SetTimer(LogTime(1200))));
    assert_eq!(after(&applier, 100), LogTime(1100));
    assert_eq!(after(&applier, 500), LogTime(1199));
    // The log's own time counts, though something was due before it.
    apply(&mut applier, chain.command(ME, None, Do::SetTimer(LogTime(900))));
    assert_eq!(after(&applier, 500), LogTime(1000));
}

#[test]
fn seeds_differ_from_entry_to_entry_and_agree_between_replicas() {
    let mut chain = Chain::new();
    let entries: Vec<_> = (0..3).map(|_| chain.command(ME, None, Do::Note(0))).collect();
    let mut here = applier();
    let mut there = Applier::new(OTHER, Journal::default());
    here.apply(NOW, entries.clone()).unwrap();
    for entry in entries {
        there.apply(NOW, vec![entry]).unwrap();
    }
    assert_eq!(here.machine(), there.machine());
    let seeds: BTreeSet<_> = here.machine().notes.iter().map(|note| note.2).collect();
    assert_eq!(seeds.len(), 3);
    // A query is answered under the last entry's.
    let (index, time, seed, notes) = here.query(());
    assert_eq!((index, time, notes), (Index(3), LogTime(1000), 3));
    assert_eq!(seed, here.machine().notes[2].2);
}

#[test]
fn an_entry_that_cannot_be_applied_is_named() {
    let garbage = Bytes::from_static(&[0xff; 3]);
    for kind in [EntryKind::Command, EntryKind::Register, EntryKind::Membership] {
        let (mut applier, mut chain) = eventful();
        let entry = chain.append(kind, garbage.clone());
        let error = applier.apply(NOW, vec![entry]).unwrap_err();
        assert_eq!(error, ApplyError::Payload { index: Index(5), kind });
        assert_eq!(error.index(), applier.applied().next());
    }
}

#[test]
fn a_body_that_is_no_command_of_the_machine_is_named_unless_its_session_refuses_it() {
    for body in [&[9][..], &[], &[0, 5, 1]] {
        let (mut applier, mut chain) = eventful();
        let refused = Command {
            origin: chain.origin(ME),
            session: in_session(77, 1),
            body: Bytes::copy_from_slice(body),
        };
        let entry = chain.append(EntryKind::Command, refused.encode());
        assert_eq!(apply(&mut applier, entry), Some(Outcome::NoSession));
        let bare = Command { session: None, ..refused };
        let entry = chain.append(EntryKind::Command, bare.encode());
        let error = applier.apply(NOW, vec![entry]).unwrap_err();
        assert_eq!(error, ApplyError::Command { index: Index(6) });
    }
}

#[test]
fn a_payload_that_changed_in_memory_is_not_applied() {
    let (mut applier, mut chain) = eventful();
    let mut entry = chain.command(ME, None, Do::Note(1));
    entry.payload = chain.command(ME, None, Do::Note(2)).payload;
    let error = applier.apply(NOW, vec![entry]).unwrap_err();
    assert_eq!(error, ApplyError::Damaged { index: Index(5) });
}

#[test]
#[should_panic(expected = "does not follow")]
fn entries_are_contiguous() {
    let (mut applier, mut chain) = eventful();
    chain.found();
    let _ = applier.apply(NOW, vec![chain.found()]);
}

#[test]
#[should_panic(expected = "does not follow")]
fn an_entry_is_applied_once() {
    let (mut applier, mut chain) = eventful();
    let entry = chain.found();
    let _ = applier.apply(NOW, vec![entry.clone(), entry]);
}

#[test]
#[should_panic(expected = "is not of the log")]
fn an_entry_of_another_history_is_noticed() {
    let (mut applier, mut chain) = eventful();
    chain.digest = Digest([1; 16]);
    let _ = applier.apply(NOW, vec![chain.found()]);
}

#[test]
#[should_panic(expected = "a state that is gone")]
fn a_request_of_an_earlier_generation_is_noticed() {
    let (mut applier, _) = eventful();
    applier.apply(Generation(2), Vec::new()).unwrap();
    let _ = applier.apply(Generation(1), Vec::new());
}

#[test]
fn a_state_in_the_middle_of_an_entry_is_not_used_until_it_is_replaced() {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    let (mut applier, mut chain) = eventful();
    let (meta, content) = snapshot(&applier);
    let entry = chain.command(ME, None, Do::Panic);
    assert!(catch_unwind(AssertUnwindSafe(|| applier.apply(NOW, vec![entry]))).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| applier.query(()))).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| applier.view())).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| applier.apply(NOW, Vec::new()))).is_err());
    assert_eq!(applier.applied(), Index(4), "the index of the error is the next one");
    applier.restore(NOW, &meta, &mut &content[..]).unwrap();
    assert_eq!(applier.query(()).0, Index(4));
}

/// Its responses cannot be read back, as a skipped field makes it, or not even be encoded.
#[derive(Default, Clone, Serialize, Deserialize)]
struct Forgetful {
    applied: u8,
}

#[derive(Debug, PartialEq)]
struct Skips {
    applied: u8,
}

impl Serialize for Skips {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.applied {
            1 => to.serialize_unit(),
            _ => Err(serde::ser::Error::custom("cannot be encoded")),
        }
    }
}

impl<'de> Deserialize<'de> for Skips {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Skips, D::Error> {
        u8::deserialize(from).map(|applied| Skips { applied })
    }
}

impl StateMachine for Forgetful {
    type Command = ();
    type Response = Skips;
    type Query = ();
    type Answer = u8;
    fn apply(&mut self, _: &At, (): ()) -> Skips {
        self.applied += 1;
        Skips { applied: self.applied }
    }
    fn query(&self, _: &At, (): ()) -> u8 {
        self.applied
    }
}

#[test]
fn a_response_that_cannot_be_kept_stops_nobody_and_its_command_takes_effect_once() {
    let (mut applier, mut chain) = (Applier::new(ME, Forgetful::default()), Chain::new());
    apply(&mut applier, chain.register(ME, 10, 4));
    for sequence in 0..2 {
        for again in [false, true] {
            let (origin, session) = (chain.origin(ME), in_session(1, sequence));
            let command = Command { origin, session, body: Bytes::new() };
            let entry = chain.append(EntryKind::Command, command.encode());
            let answered = applier.apply(NOW, vec![entry]).unwrap().responses.remove(0).1;
            let applied = sequence as u8 + 1;
            let expected = match again {
                false => Outcome::Response(Skips { applied }),
                true => Outcome::ResponseDropped,
            };
            assert_eq!(answered, expected);
            assert_eq!(applier.query(()), applied);
        }
    }
}
