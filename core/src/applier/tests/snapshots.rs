use std::io::{Read, Write};

use super::*;
use crate::machine::Snapshottable;
use crate::settings::Settings;

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
fn a_registration_that_is_replayed_strands_nobody() {
    // At most two sessions; whoever is gone by then is told so, before and after.
    let mut chain = Chain::new();
    let before = vec![chain.found(), chain.register(OTHER, 2, 4)];
    let replayed = vec![
        chain.register(ME, 2, 4),
        chain.command(ME, in_session(3, 0), Do::Note(1)),
        chain.register(OTHER, 2, 4),
        chain.command(OTHER, in_session(2, 0), Do::Note(2)),
    ];
    let mut original = applier();
    original.apply(NOW, before).unwrap();
    let (meta, content) = snapshot(&original);
    let first = original.apply(NOW, replayed.clone()).unwrap().responses;
    // The process starts again, on the snapshot from before the registrations.
    let mut restarted = restore(&meta, &content).unwrap();
    assert_eq!(restarted.apply(NOW, replayed).unwrap().responses, first);
    assert_eq!(first[0].1, Outcome::Registered(SessionId(3)));
    for applier in [&mut original, &mut restarted] {
        let mut chain =
            Chain { requests: 100, last: chain.last, digest: chain.digest, ..Chain::new() };
        let retry = chain.command(ME, in_session(3, 0), Do::Note(1));
        assert_eq!(apply(applier, retry), Some(Outcome::Response((Index(4), 1))));
        let next = chain.command(ME, in_session(3, 1), Do::Note(3));
        assert_eq!(apply(applier, next), Some(Outcome::Response((Index(8), 2))));
        let evicted = chain.command(ME, in_session(2, 0), Do::Note(2));
        assert_eq!(apply(applier, evicted), Some(Outcome::NoSession));
    }
}

#[test]
fn a_snapshot_keeps_its_bytes() {
    let (applier, chain) = eventful();
    let (meta, content) = snapshot(&applier);
    assert_eq!((meta.last, meta.digest), (chain.last, chain.digest));
    let mut expected = vec![1]; // format version
    expected.extend_from_slice(&39_u64.to_le_bytes());
    expected.extend_from_slice(&[1, 4]); // last: ballot, index
    expected.extend_from_slice(&chain.digest.0);
    expected.extend_from_slice(&[0xe8, 0x07]); // log time 1000
    expected.extend_from_slice(&[2, 1, 3, 2, 4]); // two members, each with its incarnation
    expected.extend_from_slice(&[0xe8, 0x07]); // at most 1000 bytes of responses
    expected.extend_from_slice(&[1, 2, 3, 4, 0]); // one session: name, last use, window, first
    expected.extend_from_slice(&[1, 0, 3, 1, 2, 3, 1]); // one response: sequence, entry, (3, 1)
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
    assert_eq!((restored.sessions().len(), original.sessions().len()), (1, 1));
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

#[test]
fn what_failed_once_is_not_written_on() {
    /// Fails the first time, and would take everything after that.
    struct Wavering(Vec<usize>);
    impl Write for Wavering {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.len());
            if self.0.len() == 1 { Err(io::ErrorKind::TimedOut.into()) } else { Ok(bytes.len()) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut out = Wavering(Vec::new());
    let error = eventful().0.view().write(&mut out).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(out.0.len(), 1);
}

/// A state machine which writes its snapshots by hand.
struct ByHand;

impl Snapshottable for ByHand {
    type View = ();

    fn view(&self) {}

    fn write((): &(), out: &mut dyn Write) -> io::Result<()> {
        out.write_all(b"state")
    }

    fn restore(input: &mut dyn Read) -> io::Result<ByHand> {
        let mut state = [0; 5];
        input.read_exact(&mut state)?;
        if &state == b"state" { Ok(ByHand) } else { Err(io::ErrorKind::InvalidData.into()) }
    }
}

impl StateMachine for ByHand {
    type Command = ();
    type Response = ();
    type Query = ();
    type Answer = ();
    fn apply(&mut self, _: &At, (): ()) {}
    fn query(&self, _: &At, (): ()) {}
}

#[test]
fn a_state_machine_that_stops_reading_early_is_held_to_the_announced_length() {
    let mut applier = Applier::new(ME, ByHand);
    let (mut meta, mut content) = snapshot(&applier);
    applier.restore(NOW, &meta, &mut &content[..]).unwrap();
    content.push(b'!');
    meta.size_bytes += 1;
    let error = applier.restore(NOW, &meta, &mut &content[..]).unwrap_err();
    assert!(matches!(error, RestoreError::Trailing), "{error:?}");
    let error = applier.restore(NOW, &meta, &mut &content[..content.len() - 1]).unwrap_err();
    assert!(matches!(error, RestoreError::Truncated { .. }), "{error:?}");
}

/// All of it is in the bookkeeping.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct NoState;

impl StateMachine for NoState {
    type Command = ();
    type Response = ();
    type Query = ();
    type Answer = ();
    fn apply(&mut self, _: &At, (): ()) {}
    fn query(&self, _: &At, (): ()) {}
}

#[test]
fn a_state_of_no_bytes_has_a_snapshot_and_no_deadline() {
    let (meta, content) = snapshot(&Applier::new(ME, NoState));
    let mut restored = Applier::new(ME, NoState);
    let deadline = restored.restore(NOW, &meta, &mut &content[..]).unwrap();
    assert_eq!(deadline, None);
    assert!(content.len() > 9);
}

/// Answers much, and keeps nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Talkative;

/// Some of which make up [`Settings::max_response_bytes`](crate::Settings), as it is by default.
const MEBIBYTE: usize = 1 << 20;

impl StateMachine for Talkative {
    type Command = ();
    type Response = String;
    type Query = ();
    type Answer = ();
    fn apply(&mut self, _: &At, (): ()) -> String {
        "x".repeat(MEBIBYTE - 10)
    }
    fn query(&self, _: &At, (): ()) {}
}

#[test]
fn as_many_responses_as_may_be_kept_are_written_and_read_back() {
    let (mut applier, mut chain) = (Applier::new(ME, Talkative), Chain::new());
    let max_response_bytes = Settings::default().max_response_bytes;
    let responses = max_response_bytes / MEBIBYTE as u64;
    let (origin, max_sessions, window) = (chain.origin(ME), 1, responses as u32);
    let register = Register { origin, max_sessions, window, max_response_bytes };
    apply(&mut applier, chain.append(EntryKind::Register, register.encode()));
    let ask = |applier: &mut Applier<Talkative>, chain: &mut Chain, sequence| {
        let (origin, session) = (chain.origin(ME), in_session(1, sequence));
        let command = Command { origin, session, body: Bytes::new() };
        apply(applier, chain.append(EntryKind::Command, command.encode()))
    };
    for sequence in 0..responses {
        ask(&mut applier, &mut chain, sequence);
    }
    let (meta, content) = snapshot(&applier);
    assert!(content.len() as u64 > max_response_bytes / 100 * 99, "some of it was dropped");
    let mut restored = Applier::new(ME, Talkative);
    restored.restore(NOW, &meta, &mut &content[..]).unwrap();
    let first = ask(&mut restored, &mut chain, 0);
    assert!(matches!(first, Some(Outcome::Response(text)) if text.len() == MEBIBYTE - 10));
}

#[test]
fn a_snapshot_is_written_only_if_the_last_flush_says_so() {
    /// Can be flushed before the last bytes, but not after them.
    struct Unflushable(Vec<u8>);
    impl Write for Unflushable {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            let complete = self.0.ends_with(b"state");
            if complete { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
    }
    let view = Applier::new(ME, ByHand).view();
    let error = view.write(&mut Unflushable(Vec::new())).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn sessions_from_the_future_are_refused() {
    let (original, _) = eventful();
    let (meta, mut content) = snapshot(&original);
    // The session's last use, which is entry 3 of 4, behind its name, the number of sessions and
    // the most bytes of their responses.
    let last_use = 9 + 2 + 16 + 2 + 5 + 2 + 2;
    assert_eq!(content[last_use], 3);
    content[last_use] = 4;
    restore(&meta, &content).unwrap();
    content[last_use] = 5;
    let refused = |content: &[u8]| {
        let error = restore(&meta, content).unwrap_err();
        assert!(matches!(error, RestoreError::Malformed), "{error:?}");
    };
    refused(&content);
    // Nor is there one that no entry has opened.
    content[last_use] = 4;
    content[last_use - 1] = 0;
    refused(&content);
}
