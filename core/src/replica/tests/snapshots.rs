//! Snapshots of one's own, of others, and what each of them makes of the log.

use super::puppet::*;
use super::*;
use crate::event::Applied;
use crate::snapshot::SnapshotMessage;

/// Entries 1 to 6, all of them committed, saved and applied.
fn six() -> Stage {
    let mut stage = Stage::new();
    stage.append(6);
    stage.commit();
    stage
}

fn meta(stage: &mut Stage, index: u64) -> SnapshotMeta {
    let entry = stage.log().entries(Index(index), 1).unwrap().remove(0);
    SnapshotMeta { size_bytes: 3, content: Digest::of(b"sta"), ..snapshot_of(&entry) }
}

fn built(stage: &mut Stage, snapshot: &SnapshotMeta) -> Vec<Effect<Word>> {
    stage.on(Event::SnapshotBuilt(Some(snapshot.clone())))
}

fn newest(stage: &mut Stage) -> Option<u64> {
    stage.log().snapshot().map(|snapshot| snapshot.last.index.0)
}

fn base(stage: &mut Stage) -> u64 {
    stage.log().base().index.0
}

#[test]
fn a_log_goes_behind_the_older_snapshot_once_the_newer_one_is_pointed_to_on_disk() {
    let mut stage = six();
    let (first, second) = (meta(&mut stage, 3), meta(&mut stage, 5));
    built(&mut stage, &first);
    assert_eq!((newest(&mut stage), base(&mut stage)), (Some(3), 0));
    assert_eq!(stage.writes.last().unwrap().snapshot.as_ref(), Some(&first));
    stage.holds = true;
    built(&mut stage, &second);
    assert_eq!((newest(&mut stage), base(&mut stage)), (Some(5), 0));
    assert_eq!(stage.writes.last().unwrap().snapshot.as_ref(), Some(&second));
    stage.save();
    assert_eq!((newest(&mut stage), base(&mut stage)), (Some(5), 3));
}

/// Whoever lags, or is gone for good, gets a snapshot.
#[test]
fn a_leader_keeps_no_log_for_those_who_have_not_acknowledged_it() {
    let mut stage = six();
    stage.lead(1);
    assert_eq!(stage.puppet().acknowledged, Index::ZERO);
    for index in [3, 5] {
        let snapshot = meta(&mut stage, index);
        built(&mut stage, &snapshot);
    }
    assert_eq!((newest(&mut stage), base(&mut stage)), (Some(5), 3));
}

#[test]
fn a_snapshot_that_the_log_has_moved_past_does_not_count() {
    let mut stage = six();
    let [older, newer] = [3, 5].map(|index| meta(&mut stage, index));
    built(&mut stage, &newer);
    built(&mut stage, &older);
    assert_eq!(newest(&mut stage), Some(5));
}

#[test]
fn a_snapshot_counts_only_once_it_is_said_that_the_state_is_as_far() {
    let mut stage = Stage::new();
    stage.append(6);
    stage.commit();
    stage.append(2);
    let ahead = meta(&mut stage, 8);
    stage.log().commit(Index(8));
    built(&mut stage, &ahead);
    assert_eq!(newest(&mut stage), None);
    let generation = stage.replica.applying.generation();
    for (through, counts) in [(7, None), (8, Some(8))] {
        let (through, requests) = (Index(through), Vec::new());
        stage.on(Event::Applied(Applied { generation, through, requests, deadline: None }));
        stage.flush();
        assert_eq!(newest(&mut stage), counts);
    }
}

/// What is done when a chunk cannot be read that `PEER` asked for.
fn unreadable(stage: &mut Stage, snapshot: &SnapshotMeta, chunk: u64) -> bool {
    let (to, id) = (PEER, snapshot.id());
    let out = stage.on(Event::ChunkRead { to, snapshot: id, chunk, bytes: None });
    let gone = SnapshotMessage::Gone { snapshot: id };
    assert_eq!(said(out), [(PEER, PeerMessage::Snapshot(gone))]);
    stage.log().is_unreadable(snapshot)
}

#[test]
fn a_snapshot_that_cannot_be_read_is_replaced_by_one_of_the_same_state() {
    let mut stage = six();
    let snapshot = meta(&mut stage, 5);
    let again = SnapshotMeta { content: Digest::of(b"again"), ..snapshot.clone() };
    built(&mut stage, &snapshot);
    built(&mut stage, &again);
    assert_eq!(stage.log().snapshot(), Some(&snapshot), "it can be read");
    assert!(!unreadable(&mut stage, &snapshot, 1), "it has one chunk only");
    assert!(unreadable(&mut stage, &snapshot, 0));
    stage.now.monotonic += Duration::from_secs(3600);
    assert!(stage.flush().contains(&Effect::TakeSnapshot));
    built(&mut stage, &again);
    assert_eq!(stage.log().snapshot(), Some(&again));
}

#[test]
fn a_snapshot_that_could_not_be_written_is_tried_again_after_a_while() {
    let mut stage = six();
    assert!(!stage.on(Event::SnapshotBuilt(None)).contains(&Effect::TakeSnapshot));
    stage.now.monotonic += Duration::from_secs(3600);
    assert!(stage.flush().contains(&Effect::TakeSnapshot));
    let snapshot = meta(&mut stage, 6);
    built(&mut stage, &snapshot);
    stage.now.monotonic += Duration::from_secs(3600);
    assert!(!stage.flush().contains(&Effect::TakeSnapshot));
}

#[test]
fn of_an_older_snapshot_that_cannot_be_read_the_newest_takes_the_place() {
    let mut stage = six();
    let [older, newer] = [3, 5].map(|index| meta(&mut stage, index));
    built(&mut stage, &older);
    built(&mut stage, &newer);
    assert!(unreadable(&mut stage, &older, 0));
    stage.now.monotonic += Duration::from_secs(3600);
    assert!(!stage.flush().contains(&Effect::TakeSnapshot));
    assert!(unreadable(&mut stage, &newer, 0));
    assert!(!unreadable(&mut stage, &older, 0), "the newest is to be replaced itself");
}

#[test]
fn chunks_are_read_for_whoever_asks() {
    let mut stage = six();
    let snapshot = meta(&mut stage, 5).id();
    let question = SnapshotMessage::Fetch { snapshot, chunk: 0 };
    let out = stage.hear(PEER, PeerMessage::Snapshot(question));
    assert!(out.contains(&Effect::ReadChunk { to: PEER, snapshot, chunk: 0 }));
    let bytes = Bytes::from_static(b"sta");
    let (to, read) = (PEER, Some(bytes.clone()));
    let out = stage.on(Event::ChunkRead { to, snapshot, chunk: 0, bytes: read });
    let checksum = Digest::of(&bytes);
    let chunk = SnapshotMessage::Chunk { snapshot, chunk: 0, checksum, bytes };
    assert_eq!(said(out), [(PEER, PeerMessage::Snapshot(chunk))]);
}

#[test]
fn however_often_a_peer_asks_one_chunk_is_read_for_it_at_a_time() {
    let mut stage = six();
    let snapshot = meta(&mut stage, 5).id();
    let read_for = |stage: &mut Stage, peer, chunk| {
        let question = PeerMessage::Snapshot(SnapshotMessage::Fetch { snapshot, chunk });
        let out = stage.hear(peer, question);
        out.contains(&Effect::ReadChunk { to: peer, snapshot, chunk })
    };
    for bytes in [Some(Bytes::from_static(b"sta")), None] {
        assert!(read_for(&mut stage, PEER, 0));
        assert!(!read_for(&mut stage, PEER, 0));
        assert!(!read_for(&mut stage, PEER, 1));
        assert!(read_for(&mut stage, THIRD, 1));
        for (to, chunk) in [(PEER, 0), (THIRD, 1)] {
            stage.on(Event::ChunkRead { to, snapshot, chunk, bytes: bytes.clone() });
        }
    }
}

/// Fetching this snapshot from `PEER`.
fn fetching(snapshot: &SnapshotMeta) -> Stage {
    let mut stage = Stage::new();
    stage.append(2);
    stage.effects().fetch_snapshot(PEER, snapshot.clone());
    let begun = Effect::BeginFetch { snapshot: snapshot.clone() };
    assert!(stage.flush().contains(&begun));
    // Offered once more, it is not begun anew.
    stage.effects().fetch_snapshot(PEER, snapshot.clone());
    assert!(!stage.flush().contains(&begun));
    stage
}

fn progress(stage: &mut Stage, snapshot: &SnapshotMeta, next: FetchNext) -> Vec<Effect<Word>> {
    stage.on(Event::FetchProgress { snapshot: snapshot.id(), next })
}

#[test]
fn a_snapshot_is_fetched_chunk_by_chunk_and_told_to_the_protocol() {
    let snapshot = meta(&mut six(), 6);
    let mut stage = fetching(&snapshot);
    let id = snapshot.id();
    let asked = [(PEER, PeerMessage::Snapshot(SnapshotMessage::Fetch { snapshot: id, chunk: 0 }))];
    let out = progress(&mut stage, &snapshot, FetchNext::Chunk(0));
    let waits = |out: &[Effect<Word>]| {
        let wait = |effect: &Effect<_>| match effect {
            Effect::SetTimer(Timer::Fetch, range) => Some(range.start),
            _ => None,
        };
        out.iter().find_map(wait).unwrap()
    };
    let patience = waits(&out);
    assert_eq!(said(out), asked);
    let out = stage.on(Event::Timeout(Timer::Fetch));
    assert_eq!(waits(&out), 2 * patience, "on a slow line it takes longer");
    assert_eq!(said(out), asked, "it seems lost");
    let bytes = Bytes::from_static(b"sta");
    let checksum = Digest::of(&bytes);
    let chunk = SnapshotMessage::Chunk { snapshot: id, chunk: 0, checksum, bytes: bytes.clone() };
    let out = stage.hear(PEER, PeerMessage::Snapshot(chunk));
    assert!(out.contains(&Effect::WriteChunk { snapshot: id, chunk: 0, bytes }));
    progress(&mut stage, &snapshot, FetchNext::Complete);
    assert_eq!(stage.puppet().fetched, [(PEER, snapshot.clone())]);
    // Needed once more, it is fetched once more.
    stage.effects().fetch_snapshot(PEER, snapshot.clone());
    assert!(stage.flush().contains(&Effect::BeginFetch { snapshot }));
}

#[test]
fn a_snapshot_that_could_not_be_had_is_not_begun_again_at_once() {
    let snapshot = meta(&mut six(), 6);
    let mut stage = fetching(&snapshot);
    progress(&mut stage, &snapshot, FetchNext::Failed);
    assert_eq!(stage.puppet().fetched, []);
    let mut begun = |waits: Duration| {
        stage.now.monotonic += waits;
        stage.effects().fetch_snapshot(PEER, snapshot.clone());
        stage.flush().contains(&Effect::BeginFetch { snapshot: snapshot.clone() })
    };
    assert!(!begun(Duration::ZERO));
    assert!(begun(Duration::from_secs(3600)));
}

/// The log lacks entries 3 and 4; the state has executed so many. A snapshot of all up to `covered`
/// arrives.
fn is_restored(applied: u64, covered: u64) -> bool {
    let mut stage = Stage::new();
    stage.append(6);
    let snapshot = meta(&mut stage, covered);
    let entries = stage.log().entries(Index(1), usize::MAX).unwrap();
    stage.log().commit(Index(applied));
    stage.apply();
    stage.log().trim_cache(0);
    stage.on(Event::Damaged(vec![gap_of(&entries, 3, 4)]));
    assert_eq!(stage.log().gaps().len(), 1);
    let offer = Repair::Compacted { snapshot: snapshot.clone() };
    stage.hear(PEER, PeerMessage::Repair(offer));
    let out = progress(&mut stage, &snapshot, FetchNext::Complete);
    assert!(stage.log().is_whole());
    assert_eq!(newest(&mut stage), Some(covered));
    out.iter().any(|effect| matches!(effect, Effect::Restore { .. }))
}

#[test]
fn the_state_follows_a_snapshot_that_mends_the_log_only_if_it_has_not_got_as_far() {
    assert!(is_restored(4, 5));
    assert!(!is_restored(5, 5));
    assert!(!is_restored(6, 5));
}

#[test]
fn what_is_not_in_memory_is_read_for_the_applier() {
    let mut stage = Stage::new();
    stage.append(6);
    let entries = stage.log().entries(Index(1), usize::MAX).unwrap();
    stage.log().trim_cache(0);
    let found = RecoveredLog {
        last: entries[5].id,
        last_digest: entries[5].digest(),
        ballots: vec![(Index(1), Ballot(1))],
        ..RecoveredLog::default()
    };
    *stage.log() = Log::recover(three(), None, found);
    stage.log().commit(Index(6));
    let wanted = |effect: &Effect<_>| match effect {
        Effect::ReadEntries { reader: Reader::Applier, from, .. } => Some(*from),
        _ => None,
    };
    assert_eq!(stage.flush().iter().find_map(wanted), Some(Index(1)));
    let (reader, from) = (Reader::Applier, Index(1));
    let out = stage.on(Event::EntriesRead { reader, from, entries: entries.clone() });
    let generation = stage.replica.applying.generation();
    assert!(out.contains(&Effect::Apply { generation, entries }));
}

#[test]
fn what_was_restored_counts_as_applied_and_answers_the_reads_that_waited_for_it() {
    let mut stage = Stage::with_entries(2);
    stage.follow(PEER, 1);
    let request = stage.replica.name_request();
    stage.on(Event::Read { request });
    stage.hear(PEER, PeerMessage::Protocol(Word::Rebase(snapshot_at(9, 1))));
    let ready = crate::message::Forward::ReadReady { request, index: Index(9) };
    let answer = Effect::ReadReady { request };
    assert!(!stage.hear(PEER, PeerMessage::Forward(ready)).contains(&answer));
    let generation = stage.replica.applying.generation();
    let out = stage.on(Event::Restored { generation, deadline: None });
    assert_eq!(stage.log().applied(), Index(9));
    // Nothing may ever follow that would have to be applied first.
    assert!(out.contains(&answer));
}
