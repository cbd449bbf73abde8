//! What a backup's words make of what a primary knows.

use bytes::Bytes;
use quorate_core::{Ballot, Digest, EntryKind, LogId, LogTime, Membership, Proposal};

use super::*;

const DISK: Incarnation = Incarnation(1);
const OTHER_DISK: Incarnation = Incarnation(2);
const LAST: Index = Index(9);

fn nine() -> Log {
    let mut log = Log::founded_by(Membership::default());
    for _ in 0..9 {
        log.append(Ballot(1), Proposal::new(EntryKind::Noop, LogTime(0), Bytes::new()));
    }
    assert_eq!(log.last().index, LAST);
    log
}

fn entries(from: u64, to: u64) -> Vec<Entry> {
    let log = nine();
    (from..=to).flat_map(|index| log.entries(Index(index), 1).expect("in memory")).collect()
}

/// The backup has the first three, and was sent the next two.
fn streaming() -> Progress {
    let mut progress = Progress::starting_at(Index(4), Some(DISK));
    progress.on_prepare_ok(DISK, Index(3), 1, LAST);
    progress.on_streamed(&entries(4, 4));
    progress.on_streamed(&entries(5, 5));
    assert_eq!((progress.matched, sent_up_to(&progress)), (Index(3), Some(5)));
    progress
}

/// Up to where entries were sent to a backup which does not ask for them.
fn sent_up_to(progress: &Progress) -> Option<u64> {
    let streams = progress.clone().room(&Settings::default()).is_some();
    streams.then(|| progress.should_hold(LAST).0)
}

#[test]
fn who_answered_a_probe_is_alive_for_three_heartbeats() {
    let mut progress = Progress::starting_at(Index(4), Some(DISK));
    assert!(!progress.is_live());
    progress.on_prepare_ok(DISK, Index(3), 0, LAST);
    assert!(!progress.is_live(), "this view has not heard from it");
    for probe in [1, 2] {
        progress.on_prepare_ok(DISK, Index(3), probe, LAST);
        let lives = std::iter::repeat_with(|| {
            progress.on_heartbeat();
            progress.is_live()
        });
        assert_eq!(lives.take(4).collect::<Vec<_>>(), [true, true, false, false]);
    }
}

#[test]
fn who_pulls_is_sent_nothing_unasked_and_should_hold_everything() {
    let mut progress = streaming();
    progress.leave_to_pull();
    assert_eq!((sent_up_to(&progress), progress.should_hold(LAST)), (None, LAST));
}

#[test]
fn a_question_makes_void_what_it_contradicts_and_nothing_else() {
    let known = |last, disk| {
        let mut progress = streaming();
        progress.on_asked(Index(last), disk);
        (progress.matched.0, progress.heard, progress.counts_under(Some(disk)))
    };
    assert_eq!(known(4, DISK), (3, 1, true));
    assert_eq!(known(3, DISK), (3, 1, true));
    assert_eq!(known(2, DISK), (0, 0, true), "what it had acknowledged is gone");
    assert_eq!(known(3, OTHER_DISK), (0, 0, true), "it was on another disk");
}

#[test]
fn a_snapshot_is_offered_again_until_the_backup_has_it() {
    let last = |index| LogId::new(Index(index), Ballot(1));
    let snapshot = |index| SnapshotMeta {
        last: last(index),
        digest: Digest([0; 16]),
        membership: Membership::default(),
        time: LogTime(0),
        size_bytes: 0,
        content: Digest([0; 16]),
    };
    let mut log = nine();
    log.commit(LAST);
    log.set_applied(LAST);
    log.set_snapshot(snapshot(5));
    let mut progress = streaming();
    assert_eq!(progress.offer(&log).last, last(5));
    assert_eq!(sent_up_to(&progress), None);
    log.set_snapshot(snapshot(7));
    progress.on_asked(Index(4), DISK);
    assert_eq!(progress.offer(&log).last, last(5), "it may have half of it");
    progress.on_asked(Index(5), DISK);
    assert_eq!(progress.offer(&log).last, last(7));
}

#[test]
fn who_was_supplied_with_all_there_is_is_streamed_to_again() {
    let supplied = |from: u64, to| {
        let mut progress = streaming();
        progress.leave_to_pull();
        progress.on_supplied(Index(from - 1), &entries(from, to), LAST);
        sent_up_to(&progress)
    };
    assert_eq!(supplied(4, 8), None);
    assert_eq!(supplied(4, 9), Some(9));
    assert_eq!(supplied(9, 9), Some(9));
    assert_eq!(supplied(10, 9), Some(9), "it has all there is");
}

#[test]
fn who_pulls_and_has_everything_is_streamed_to_again() {
    let told = |op| {
        let mut progress = streaming();
        progress.leave_to_pull();
        progress.on_prepare_ok(DISK, Index(op), 2, LAST);
        (progress.matched.0, sent_up_to(&progress))
    };
    assert_eq!(told(8), (8, None));
    assert_eq!(told(9), (9, Some(9)));
}

#[test]
fn an_acknowledgement_from_another_disk_starts_over() {
    let mut progress = streaming();
    progress.on_prepare_ok(OTHER_DISK, Index(2), 0, LAST);
    assert_eq!((progress.matched.0, progress.heard, progress.is_live()), (2, 0, false));
}

#[test]
fn a_read_is_asked_for_once_and_again_after_ten_heartbeats_without_an_answer() {
    let mut progress = streaming();
    assert!(progress.start_reading(Index(2)));
    assert!(progress.awaits(Index(2)) && !progress.awaits(Index(3)));
    assert_eq!(sent_up_to(&progress), None);
    for _ in 1..READ_PATIENCE {
        progress.on_heartbeat();
        assert!(!progress.start_reading(Index(2)));
    }
    progress.on_heartbeat();
    assert!(!progress.awaits(Index(2)));
    assert!(progress.start_reading(Index(2)));
    assert!(progress.start_reading(Index(3)), "of another place it was not asked");
    progress.on_supplied(Index(2), &entries(3, 3), LAST);
    assert!(!progress.awaits(Index(3)), "it was answered");
}
