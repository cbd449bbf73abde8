//! A recorded replica by itself, and a disk that is as slow as the test wants.

use std::fs;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use quorate_core::{
    Applied, Call, CameOut, Difference, Digest, EntryKind, Event, FoundingRecord, Generation,
    Incarnation, Index, Membership, NodeId, Now, Protocol, RecordedCall, RecordedStart, Recovered,
    ReplicaConfig, Settings, Timer,
};
use quorate_handoff::{Consumer, queue};
use quorate_raft::Raft;
use quorate_storage::{MemDisk, Owner, Store, StoreOptions};
use tempfile::TempDir;

use super::format::{About, Kind, Last, Record, file_header};
use super::*;

/// A node alone on an empty disk.
fn replica(tape: Tape) -> RecordedReplica<Raft> {
    let owner = Owner { node: NodeId(1), cluster: "c".to_owned(), protocol: "raft".to_owned() };
    let disk = std::sync::Arc::new(MemDisk::new());
    let opened = Store::open(disk, &owner, StoreOptions::default(), Incarnation(1), 1);
    let config = ReplicaConfig {
        me: NodeId(1),
        members: [NodeId(1)].into(),
        bootstrap: true,
        settings: Settings::default(),
    };
    // By itself it is done with that at once.
    let founding = FoundingRecord {
        round: 1,
        list: Some(Membership::new([(NodeId(1), Incarnation(1))])),
        formed: true,
    };
    let (recovered, now) = (Recovered { founding, ..opened.unwrap().1 }, Now::default());
    RecordedReplica::recover(config, recovered, now, &mut Vec::new(), Some(tape)).unwrap()
}

/// So many batches of one event.
fn run(replica: &mut RecordedReplica<Raft>, batches: u64) {
    for batch in 1..=batches {
        let now = Now { monotonic: Duration::from_secs(batch), wall: Duration::ZERO };
        let mut out = Vec::new();
        replica.step(now, Event::Timeout(Timer::Election), &mut out);
        replica.name_request();
        replica.flush(now, &mut out);
    }
}

/// What `life` leaves in a file of at most so many bytes.
fn recorded(max_bytes: u64, life: impl FnOnce(RecordedReplica<Raft>)) -> (TempDir, Recording) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("recording");
    let (tape, writer) = begin::<Raft>(&path, max_bytes).unwrap().unwrap();
    life(replica(tape));
    drop(writer);
    let recording = Recording::open(&path).unwrap();
    (dir, recording)
}

fn unreadable(recording: Recording) -> RecordingError {
    match recording.replay::<Raft>().unwrap_err() {
        ReplayError::Recording { source, .. } => source,
        error => panic!("{error}"),
    }
}

fn length(dir: &TempDir) -> u64 {
    fs::metadata(dir.path().join("recording")).unwrap().len()
}

#[test]
fn a_replica_that_stops_leaves_all_that_it_was_told() {
    let (dir, recording) = recorded(1 << 20, |mut replica| run(&mut replica, 9));
    assert_eq!((recording.protocol(), recording.package()), ("raft", env!("CARGO_PKG_VERSION")));
    let mut batches = recording.batches::<Raft>().unwrap();
    for number in 1..=9 {
        let calls = batches.next_batch().unwrap().unwrap();
        let [step, name, flush] = &calls[..] else { panic!("{calls:?}") };
        assert!(matches!(step.call, Call::Step(_, Event::Timeout(Timer::Election))));
        assert!(matches!(name.call, Call::NameRequest(name) if name.number == number));
        assert!(matches!(flush.call, Call::Flush(_)));
    }
    assert!(batches.next_batch().unwrap().is_none());
    let recording = Recording::open(dir.path().join("recording")).unwrap();
    let (replayed, ending) = recording.replay::<Raft>().unwrap();
    assert_eq!((replayed.batches, replayed.events, ending), (9, 9, Ending::Stopped));
    assert!(replayed.effects > 1, "{replayed:?}");
}

#[test]
fn a_file_that_is_as_large_as_it_may_be_ends_with_a_word_and_the_replica_goes_on() {
    for max_bytes in [0, 4 << 10, 5000] {
        let (dir, recording) = recorded(max_bytes, |mut replica| run(&mut replica, 1000));
        if max_bytes == 0 {
            let error = unreadable(recording);
            let is_said = matches!(error, RecordingError::NoStart { ending: Ending::Full });
            assert!(is_said && error.to_string().contains("as large as it may"), "{error}");
            continue;
        }
        let (replayed, ending) = recording.replay::<Raft>().unwrap();
        assert_eq!(ending, Ending::Full);
        assert!((1..1000).contains(&replayed.batches), "{replayed:?}");
        assert!((max_bytes - 200..=max_bytes).contains(&length(&dir)), "{}", length(&dir));
    }
}

#[test]
fn a_panic_leaves_all_that_came_before_it() {
    let (_dir, recording) = recorded(1 << 20, |mut replica| {
        let panic = catch_unwind(AssertUnwindSafe(move || {
            run(&mut replica, 3);
            replica.step(Now::default(), Event::Room(false), &mut Vec::new());
            std::panic::resume_unwind(Box::new("enough"));
        }));
        assert!(panic.is_err());
    });
    let (replayed, ending) = recording.replay::<Raft>().unwrap();
    assert_eq!((replayed.batches, replayed.events, ending), (3, 4, Ending::Panicked));
}

#[test]
fn what_came_before_a_panic_and_has_no_room_is_left_out() {
    let max_bytes = 20_000;
    let (dir, recording) = recorded(max_bytes, |mut replica| {
        let request = replica.name_request();
        let payload = vec![7; 30_000].into();
        let event = Event::Propose { request, kind: EntryKind::Command, payload };
        let panic = catch_unwind(AssertUnwindSafe(move || {
            replica.step(Now::default(), event, &mut Vec::new());
            std::panic::resume_unwind(Box::new("enough"));
        }));
        assert!(panic.is_err());
    });
    let (replayed, ending) = recording.replay::<Raft>().unwrap();
    assert_eq!((replayed.events, ending), (0, Ending::Full));
    assert!(length(&dir) <= max_bytes, "{}", length(&dir));
}

/// What a test lets the writer have.
fn tape(bound_bytes: usize) -> (Tape, Consumer<Record>) {
    let (to_writer, records) = queue(bound_bytes);
    (Tape::new(to_writer, u64::MAX), records)
}

#[test]
fn a_disk_that_is_too_slow_ends_the_recording_and_holds_nobody_up() {
    let (tape, records) = tape(2000);
    let mut replica = replica(tape);
    run(&mut replica, 1000);
    assert_eq!(replica.name_request().number, 1001);
    let mut file = Vec::new();
    writer::write(&mut file, &records);
    let end = Record::end(Last::FellBehind);
    let mut last = Vec::new();
    end.write_to(&mut last).unwrap();
    assert!(file.ends_with(&last) && file.len() < 4000, "{}", file.len());
}

/// A disk without room.
struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_disk_that_takes_no_more_ends_the_recording_and_nothing_else() {
    let (tape, records) = tape(1 << 20);
    let mut replica = replica(tape);
    run(&mut replica, 1);
    writer::write(Full, &records);
    run(&mut replica, 10);
    drop(replica);
    assert!(records.is_empty());
}

/// A disk that does nothing until it is let go.
struct Hanging(mpsc::Receiver<()>);

impl Write for Hanging {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_disk_that_hangs_is_not_waited_for_for_long() {
    let (held, hanging) = mpsc::channel();
    let (tape, records) = tape(1 << 20);
    let writer = Writer::spawn(Hanging(hanging), records).unwrap();
    let mut replica = replica(tape);
    run(&mut replica, 10);
    drop(replica);
    let began = Instant::now();
    drop(writer);
    assert!((1..30).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    drop(held);
}

/// A disk whose driver is broken.
struct Panicking;

impl Write for Panicking {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        std::panic::resume_unwind(Box::new("enough"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_panic_of_the_thread_that_writes_ends_the_recording_and_nothing_else() {
    let (tape, records) = tape(1 << 20);
    let writer = Writer::spawn(Panicking, records).unwrap();
    let mut replica = replica(tape);
    run(&mut replica, 1);
    drop(writer);
    run(&mut replica, 10);
    assert_eq!(replica.name_request().number, 12);
}

fn error(path: &Path) -> RecordingError {
    Recording::open(path).unwrap_err()
}

#[test]
fn what_is_no_recording_of_this_format_and_protocol_is_told_apart() {
    let (dir, recording) = recorded(1 << 20, |mut replica| run(&mut replica, 1));
    let asked = recording.batches::<quorate_vsr::Vsr>().unwrap_err();
    assert!(matches!(asked, RecordingError::Protocol { asked: "vsr", .. }), "{asked}");

    let path = dir.path().join("recording");
    let whole = fs::read(&path).unwrap();
    assert!(matches!(error(&dir.path().join("nothing")), RecordingError::Io(_)));
    fs::write(&path, "something else, and long enough").unwrap();
    assert!(matches!(error(&path), RecordingError::NotARecording));
    for length in [0, 7, 15, 16, 30] {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(matches!(error(&path), RecordingError::NotARecording), "{length}");
    }
    let mut newer = whole.clone();
    newer[8] += 1;
    let checksum = crc32fast::hash(&newer[..12]);
    newer[12..16].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&path, &newer).unwrap();
    assert!(matches!(error(&path), RecordingError::Version { found: 3 }));
    newer[13] ^= 1;
    fs::write(&path, &newer).unwrap();
    assert!(matches!(error(&path), RecordingError::Damaged { offset: 0 }));
}

#[test]
fn wherever_a_file_is_cut_what_stands_before_is_replayed_and_wherever_a_bit_flips_that_is_said() {
    let (dir, _) = recorded(1 << 20, |mut replica| run(&mut replica, 5));
    let path = dir.path().join("recording");
    let whole = fs::read(&path).unwrap();
    let start = 16 + 20 + 5 + 6;
    let (mut batches, mut torn) = (0, 0);
    for length in start..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        match Recording::open(&path).unwrap().replay::<Raft>() {
            Ok((replayed, Ending::Cut { torn_bytes })) => {
                batches = replayed.batches.max(batches);
                torn += u64::from(torn_bytes > 0);
            }
            Err(ReplayError::Recording { source, .. }) => {
                let ending = Ending::Cut { torn_bytes: (length - start) as u64 };
                let RecordingError::NoStart { ending: said } = source else { panic!("{source}") };
                assert_eq!((said, batches), (ending, 0));
            }
            other => panic!("cut at {length}: {other:?}"),
        }
    }
    assert_eq!(batches, 5);
    assert!(torn > 100, "{torn}");
    for at in start..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        let error = unreadable(Recording::open(&path).unwrap());
        let RecordingError::Damaged { offset } = error else { panic!("byte {at}: {error}") };
        assert!(offset <= at as u64 && offset >= start as u64, "byte {at}: {offset}");
    }
}

/// Written by a program that knows more than this one.
#[test]
fn what_is_whole_and_not_understood_is_not_taken_for_damage() {
    let (dir, _) = recorded(1 << 20, |mut replica| run(&mut replica, 1));
    let path = dir.path().join("recording");
    let whole = fs::read(&path).unwrap();
    let about = 16..16 + 20 + 5 + 6;
    let mut unknown = Vec::new();
    Record::end(Last::Stopped).write_to(&mut unknown).unwrap();
    let end = whole.len() - unknown.len();
    unknown[0] = 9;
    let checksum = crc32fast::hash(&unknown[..16]);
    unknown[16..20].copy_from_slice(&checksum.to_le_bytes());
    for at in [about.end, end] {
        fs::write(&path, [&whole[..at], &unknown].concat()).unwrap();
        let error = unreadable(Recording::open(&path).unwrap());
        let RecordingError::Unreadable { offset, package } = error else { panic!("{error}") };
        assert_eq!((offset, package.as_deref()), (at as u64, Some(env!("CARGO_PKG_VERSION"))));
    }
    let mut other = Vec::new();
    Record { kind: Kind::About, body: "?".into() }.write_to(&mut other).unwrap();
    for first in [other, unknown] {
        fs::write(&path, [&whole[..about.start], &first].concat()).unwrap();
        let error = error(&path);
        let is_unreadable = RecordingError::Unreadable { offset: 16, package: None };
        assert_eq!(error.to_string(), is_unreadable.to_string());
    }
}

/// A recording of a replica that starts so and is called so.
fn written(dir: &TempDir, start: &RecordedStart, batches: &[Vec<OfRaft>]) -> Recording {
    let mut file = file_header().to_vec();
    let about = About { protocol: "raft".to_owned(), package: "0".to_owned() };
    let write = |kind, body: Vec<u8>, file: &mut Vec<u8>| {
        Record { kind, body: body.into() }.write_to(file).unwrap();
    };
    Record::about(&about).write_to(&mut file).unwrap();
    write(Kind::Start, postcard::to_allocvec(start).unwrap(), &mut file);
    for calls in batches {
        let body = calls.iter().flat_map(|call| postcard::to_allocvec(call).unwrap());
        write(Kind::Batch, body.collect(), &mut file);
    }
    let path = dir.path().join("another");
    fs::write(&path, file).unwrap();
    Recording::open(&path).unwrap()
}

type OfRaft = RecordedCall<<Raft as Protocol>::Message>;

/// What was recorded.
fn contents(recording: Recording) -> (RecordedStart, Vec<Vec<OfRaft>>) {
    let mut batches = recording.batches::<Raft>().unwrap();
    let start = batches.start().clone();
    let calls = std::iter::from_fn(|| batches.next_batch().unwrap());
    (start, calls.collect())
}

/// A recording that is whole, and not of this replica.
#[test]
fn where_something_else_was_recorded_the_replay_says_so() {
    let (dir, recording) = recorded(1 << 20, |mut replica| run(&mut replica, 9));
    let (start, mut batches) = contents(recording);
    for calls in &mut batches {
        let flushed = calls.last_mut().unwrap().effects.as_mut().unwrap();
        flushed.push(Digest::ZERO);
    }
    let error = written(&dir, &start, &batches).replay::<Raft>().unwrap_err();
    let ReplayError::Diverged(divergence) = error else { panic!("{error}") };
    assert_eq!((divergence.batch, divergence.call), (1, 3));
    let Difference::Effect { recorded, came_out, .. } = divergence.difference else {
        panic!("{divergence}")
    };
    assert_eq!((recorded, came_out), (Some(Digest::ZERO), CameOut::Nothing));
}

#[test]
fn where_the_replica_panics_the_replay_says_over_what_and_whether_the_recorded_one_did() {
    let (dir, recording) = recorded(1 << 20, |mut replica| {
        run(&mut replica, 2);
        // No such entry was to be applied.
        let (generation, through) = (Generation::default(), Index(1000));
        let applied = Applied { generation, through, requests: Vec::new(), deadline: None };
        let panic = catch_unwind(AssertUnwindSafe(move || {
            replica.step(Now::default(), Event::Applied(applied), &mut Vec::new());
        }));
        assert!(panic.is_err());
    });
    let (mut start, mut batches) = contents(recording);
    let said = |start: &RecordedStart, batches: &[Vec<OfRaft>]| match written(&dir, start, batches)
        .replay::<Raft>()
        .unwrap_err()
    {
        ReplayError::Panicked { batch, during, recorded } => (batch, during, recorded),
        error => panic!("{error}"),
    };
    let (batch, during, recorded) = said(&start, &batches);
    assert!(during.contains("Applied") && (batch, recorded) == (3, true), "{batch}, {during}");
    batches[2][0].effects = Some(Vec::new());
    assert!(!said(&start, &batches).2);
    // No storage has such a log.
    start.recovered.log.base.index = Index(5);
    assert_eq!(said(&start, &batches), (0, "the start".to_owned(), false));
    start.outcome = None;
    assert!(said(&start, &batches).2);
}
