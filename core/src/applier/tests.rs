use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use bytes::Bytes;
use proptest::prelude::*;
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
        Origin { node, request: RequestId(self.requests) }
    }

    fn register(&mut self, node: NodeId, max_sessions: u32, window: u32) -> Entry {
        let origin = self.origin(node);
        self.append(EntryKind::Register, Register { origin, max_sessions, window }.encode())
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
        (RequestId(1), Outcome::Response((Index(2), 1))),
        (RequestId(4), Outcome::Registered(SessionId(5))),
        (RequestId(5), Outcome::NoSession),
    ];
    assert_eq!(batch.responses, expected);
    let requests = vec![RequestId(1), RequestId(4), RequestId(5)];
    let applied = Applied { generation: NOW, through: Index(6), requests, deadline: None };
    assert_eq!(batch.applied, applied);
    assert_eq!(applier.applied(), Index(6));
    assert_eq!(applier.membership(), &founders());
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

/// A response which cannot be read back, as a skipped field makes it.
#[derive(Default, Clone, Serialize, Deserialize)]
struct Forgetful;

#[derive(Debug, Serialize, Deserialize)]
struct Skips {
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<u8>,
}

impl StateMachine for Forgetful {
    type Command = ();
    type Response = Skips;
    type Query = ();
    type Answer = ();
    fn apply(&mut self, _: &At, (): ()) -> Skips {
        Skips { value: None }
    }
    fn query(&self, _: &At, (): ()) {}
}

#[test]
fn a_response_that_cannot_be_kept_stops_the_replica_rather_than_being_lost() {
    let (mut applier, mut chain) = (Applier::new(ME, Forgetful), Chain::new());
    apply(&mut applier, chain.register(ME, 10, 4));
    let (origin, session) = (chain.origin(ME), in_session(1, 0));
    let command = Command { origin, session, body: Bytes::new() };
    let entry = chain.append(EntryKind::Command, command.encode());
    let error = applier.apply(NOW, vec![entry]).unwrap_err();
    assert_eq!(error, ApplyError::Response { index: Index(2) });
}

#[test]
fn a_view_can_be_sent_elsewhere_and_does_not_see_what_happens_later() {
    fn sendable<T: Send + 'static>(value: T) -> T {
        value
    }
    let (mut applier, mut chain) = eventful();
    let (_, before) = snapshot(&applier);
    let view = sendable(applier.view());
    let entries = vec![chain.command(ME, in_session(2, 1), Do::Note(6)), chain.register(ME, 10, 4)];
    applier.apply(NOW, entries).unwrap();
    drop(applier);
    for _ in 0..2 {
        let mut content = Vec::new();
        view.write(&mut content).unwrap();
        assert_eq!(content, before);
    }
}

#[test]
fn a_snapshot_keeps_its_bytes() {
    let (applier, chain) = eventful();
    let (meta, content) = snapshot(&applier);
    assert_eq!((meta.last, meta.digest), (chain.last, chain.digest));
    let mut expected = vec![1]; // format version
    expected.extend_from_slice(&35_u64.to_le_bytes());
    expected.extend_from_slice(&[1, 4]); // last: ballot, index
    expected.extend_from_slice(&chain.digest.0);
    expected.extend_from_slice(&[0xe8, 0x07]); // log time 1000
    expected.extend_from_slice(&[2, 1, 3, 2, 4]); // two members, each with its incarnation
    expected.extend_from_slice(&[1, 2, 3, 4, 0]); // one session: name, last use, window, first
    expected.extend_from_slice(&[1, 0, 2, 3, 1]); // one response: sequence, length, (3, 1)
    expected.extend(postcard::to_allocvec(applier.machine()).unwrap());
    assert_eq!(content, expected);
}

#[test]
fn a_restored_applier_goes_on_where_the_other_stood() {
    let (original, mut chain) = eventful();
    let (meta, content) = snapshot(&original);
    let mut restored = applier();
    let deadline = restored.restore(Generation(1), &meta, &mut &content[..]).unwrap();
    assert_eq!(deadline, Some(LogTime(2000)));
    assert_eq!(restored.query(()), original.query(()));
    let retry = chain.command(ME, in_session(2, 0), Do::Note(9));
    let batch = restored.apply(Generation(1), vec![retry]).unwrap();
    assert_eq!(batch.responses[0].1, Outcome::Response((Index(3), 1)));
}

#[test]
fn an_empty_state_has_a_snapshot_too() {
    let (meta, content) = snapshot(&applier());
    let restored = restore(&meta, &content).unwrap();
    assert_eq!(restored.applied(), Index::ZERO);
    assert!(restored.sessions().is_empty());
}

#[test]
#[should_panic(expected = "would take the state back")]
fn a_snapshot_of_the_past_is_noticed() {
    let (mut applier, mut chain) = eventful();
    let (meta, content) = snapshot(&applier);
    apply(&mut applier, chain.found());
    let _ = applier.restore(NOW, &meta, &mut &content[..]);
}

#[test]
fn content_cut_off_anywhere_is_refused_as_truncated() {
    let (original, _) = eventful();
    let (meta, content) = snapshot(&original);
    for length in 0..content.len() {
        let error = restore(&meta, &content[..length]).unwrap_err();
        assert!(matches!(error, RestoreError::Truncated { .. }), "{length}: {error:?}");
        // Announced as short as it is, it makes no sense either.
        let shorter = SnapshotMeta { size_bytes: length as u64, ..meta.clone() };
        restore(&shorter, &content[..length]).unwrap_err();
        restore(&shorter, &content).unwrap_err();
    }
}

#[test]
fn content_that_goes_on_behind_its_end_is_refused() {
    let (original, _) = eventful();
    let (meta, mut content) = snapshot(&original);
    content.push(0);
    let error = restore(&meta, &content).unwrap_err();
    assert!(matches!(error, RestoreError::Trailing), "{error:?}");
    let longer = SnapshotMeta { size_bytes: content.len() as u64, ..meta };
    let error = restore(&longer, &content).unwrap_err();
    assert!(matches!(error, RestoreError::State(_)), "{error:?}");
}

#[test]
fn content_of_another_snapshot_or_format_is_refused() {
    let (original, _) = eventful();
    let (meta, content) = snapshot(&original);
    let others = [
        SnapshotMeta { last: LogId::new(Index(4), Ballot(2)), ..meta.clone() },
        SnapshotMeta { digest: Digest::ZERO, ..meta.clone() },
        SnapshotMeta { time: LogTime(999), ..meta.clone() },
        SnapshotMeta { membership: Membership::default(), ..meta.clone() },
    ];
    for (other, expected) in
        others.iter().zip(["last entry", "entry digest", "log time", "membership"])
    {
        match restore(other, &content).unwrap_err() {
            RestoreError::Differs { field, .. } => assert_eq!(field, expected),
            error => panic!("{expected}: {error:?}"),
        }
    }
    let mut later = content.clone();
    later[0] = 2;
    let error = restore(&meta, &later).unwrap_err();
    assert!(matches!(error, RestoreError::Version { found: 2, supported: 1 }), "{error:?}");
    let mut endless = content;
    endless[1..9].copy_from_slice(&u64::MAX.to_le_bytes());
    let error = restore(&meta, &endless).unwrap_err();
    assert!(matches!(error, RestoreError::Malformed), "{error:?}");
}

#[test]
fn no_flipped_bit_makes_restoring_panic_and_a_refusal_leaves_the_state_alone() {
    let (mut applier, _) = eventful();
    let (meta, content) = snapshot(&applier);
    // Up to here only what the meta tells as well: last, digest, time, membership.
    let told = 9 + 2 + 16 + 2 + 5;
    for bit in 0..content.len() * 8 {
        let mut flipped = content.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let result = applier.restore(NOW, &meta, &mut &flipped[..]);
        assert!(result.is_err() || bit / 8 >= told, "bit {bit}");
        if result.is_err() {
            assert_eq!(snapshot(&applier).1, content, "bit {bit}");
        } else {
            applier = restore(&meta, &content).unwrap();
        }
    }
}

/// A disk that gives and takes little at a time, and fails after so many bytes.
struct Failing {
    content: Vec<u8>,
    position: usize,
    fails_at: usize,
    kind: io::ErrorKind,
    interrupted: bool,
}

impl Failing {
    fn at(fails_at: usize, kind: io::ErrorKind, content: Vec<u8>) -> Failing {
        Failing { content, position: 0, fails_at, kind, interrupted: false }
    }

    fn allowed(&mut self, wanted: usize) -> io::Result<usize> {
        self.interrupted = !self.interrupted;
        if self.interrupted {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.position == self.fails_at {
            return Err(self.kind.into());
        }
        let allowed = wanted.min(3).min(self.fails_at - self.position);
        Ok(allowed)
    }
}

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let allowed = self.allowed(buffer.len())?.min(self.content.len() - self.position);
        buffer[..allowed].copy_from_slice(&self.content[self.position..][..allowed]);
        self.position += allowed;
        Ok(allowed)
    }
}

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let allowed = self.allowed(bytes.len())?;
        self.content.extend_from_slice(&bytes[..allowed]);
        self.position += allowed;
        Ok(allowed)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_disk_that_fails_is_told_from_content_that_is_wrong() {
    let (original, _) = eventful();
    let (meta, content) = snapshot(&original);
    for at in 0..=content.len() {
        let mut input = Failing::at(at, io::ErrorKind::TimedOut, content.clone());
        match applier().restore(NOW, &meta, &mut input).unwrap_err() {
            RestoreError::Read(error) => assert_eq!(error.kind(), io::ErrorKind::TimedOut),
            error => panic!("{at}: {error:?}"),
        }
    }
    let mut input = Failing::at(usize::MAX, io::ErrorKind::TimedOut, content);
    applier().restore(NOW, &meta, &mut input).unwrap();
}

#[test]
fn a_full_disk_is_recognised_wherever_it_strikes() {
    let (applier, _) = eventful();
    let (_, content) = snapshot(&applier);
    for at in 0..content.len() {
        let mut out = Failing::at(at, io::ErrorKind::StorageFull, Vec::new());
        let error = applier.view().write(&mut out).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{at}");
        assert_eq!(out.content, content[..at]);
    }
    let mut out = Failing::at(usize::MAX, io::ErrorKind::StorageFull, Vec::new());
    applier.view().write(&mut out).unwrap();
    assert_eq!(out.content, content);
}

/// Something that happens to a cluster with clients that retry, through two nodes.
#[derive(Clone, Debug)]
struct Step {
    what: u8,
    node: NodeId,
    session: usize,
    sequence: u64,
    first_unacknowledged: u64,
    micros: u64,
    limit: u32,
    snapshot_here: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step =
        (0_u8..16, 1_u64..3, 0_usize..6, 0_u64..8, 0_u64..5, 0_u64..40, 1_u32..4, any::<bool>());
    let step = step.prop_map(|(what, node, session, sequence, first, micros, limit, here)| Step {
        what,
        node: NodeId(node),
        session,
        sequence,
        first_unacknowledged: first,
        micros,
        limit,
        snapshot_here: here,
    });
    prop::collection::vec(step, 1..100)
}

/// The entries, and for each the session request that it carries, if any.
fn log_of(steps: &[Step]) -> Vec<(Entry, Option<InSession>)> {
    let mut chain = Chain::new();
    let mut sessions = vec![SessionId(99)];
    let mut log = vec![(chain.found(), None)];
    for step in steps {
        chain.time += step.micros;
        let note = Do::Note(log.len() as u32);
        log.push(match step.what {
            0 => (chain.append(EntryKind::Noop, Bytes::new()), None),
            1 => (chain.append(EntryKind::Time, Bytes::new()), None),
            2 => (chain.command(step.node, None, note), None),
            3 => {
                let due = LogTime(chain.time + step.sequence * 8);
                (chain.command(step.node, None, Do::SetTimer(due)), None)
            }
            4 | 5 => {
                let entry = chain.register(step.node, step.limit, step.limit);
                sessions.push(SessionId(entry.index().0));
                (entry, None)
            }
            _ => {
                // The youngest sessions most of the time, so that they are not all evicted.
                let session = sessions[sessions.len() - 1 - step.session % sessions.len()];
                let request = InSession {
                    session,
                    sequence: step.sequence,
                    first_unacknowledged: step.first_unacknowledged,
                };
                (chain.command(step.node, Some(request), note), Some(request))
            }
        });
    }
    log
}

proptest! {
    #[test]
    fn snapshots_on_the_way_change_neither_responses_nor_state(steps in steps()) {
        let log = log_of(&steps);
        let entries: Vec<_> = log.iter().map(|(entry, _)| entry.clone()).collect();
        let mut straight = applier();
        let whole = straight.apply(NOW, entries.clone()).unwrap();

        let (mut hopping, mut responses, mut deadline) = (applier(), Vec::new(), None);
        let hops = std::iter::once(false).chain(steps.iter().map(|step| step.snapshot_here));
        for (entry, hop) in entries.into_iter().zip(hops) {
            let batch = hopping.apply(NOW, vec![entry]).unwrap();
            responses.extend(batch.responses);
            deadline = batch.applied.deadline;
            if hop {
                let (meta, content) = snapshot(&hopping);
                hopping = restore(&meta, &content).unwrap();
            }
        }
        prop_assert_eq!(responses, whole.responses);
        prop_assert_eq!(deadline, whole.applied.deadline);
        prop_assert_eq!(snapshot(&hopping), snapshot(&straight));
    }

    #[test]
    fn a_session_request_takes_effect_once_and_is_answered_alike_for_ever(steps in steps()) {
        let log = log_of(&steps);
        let mut applier = applier();
        let mut first_answers: BTreeMap<(SessionId, u64), (Index, usize)> = BTreeMap::new();
        for (entry, request) in log {
            let before = applier.machine().notes.len();
            let index = entry.index();
            let own = Command::decode(&entry.payload).is_some_and(|it| it.origin.node == ME);
            let outcome = apply(&mut applier, entry);
            let Some(InSession { session, sequence, .. }) = request else { continue };
            prop_assert_eq!(outcome.is_some(), own);
            let effects = applier.machine().notes.len() - before;
            let known = first_answers.get(&(session, sequence)).copied();
            if effects > 0 {
                prop_assert_eq!((effects, known), (1, None), "applied twice");
                first_answers.insert((session, sequence), (index, before + 1));
            }
            match outcome {
                Some(Outcome::Response(response)) => {
                    prop_assert_eq!(first_answers.get(&(session, sequence)), Some(&response));
                }
                Some(_) => prop_assert_eq!(effects, 0),
                None => {}
            }
        }
    }
}
