//! What is handed to the applier, and which of its answers count.

use super::super::applying::{Applying, Next};
use super::puppet::*;
use super::*;
use crate::event::Generation;
use crate::types::WriteSeq;

fn log_of(ballots: &[u64], text: &'static str) -> Log {
    let mut log = Log::founded_by(three());
    for ballot in ballots {
        let payload = Bytes::from_static(text.as_bytes());
        let proposal = crate::entry::Proposal::new(EntryKind::Command, LogTime(0), payload);
        log.append(Ballot(*ballot), proposal);
    }
    log
}

fn entries(log: &Log) -> Vec<Entry> {
    log.entries(Index(1), usize::MAX).unwrap()
}

fn indexes(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.index().0).collect()
}

/// What is read from disk beyond what is committed may be cut off before it arrives.
#[test]
fn what_was_read_before_it_was_cut_off_is_not_applied_in_the_place_of_what_is_committed() {
    let read = entries(&log_of(&[1, 1, 1, 1], "x"));
    let mut log = log_of(&[1, 1, 1, 1], "x");
    log.commit(Index(2));
    let mut applying = Applying::from(Index::ZERO);
    applying.set_reading();
    let mut other = log_of(&[1, 1], "x");
    other.append(Ballot(2), log.opening());
    log.splice(LogId::ZERO, entries(&other)).unwrap();
    log.commit(Index(3));
    assert_eq!(indexes(&applying.on_read(&log, Index(1), read)), [1, 2]);
}

#[test]
fn what_was_read_is_handed_over_as_far_as_it_is_committed_and_only_where_it_goes_on() {
    let mut log = log_of(&[1; 4], "x");
    log.commit(Index(3));
    let read = entries(&log);
    let mut applying = Applying::from(Index(1));
    assert_eq!(applying.on_read(&log, Index(2), read[1..].to_vec()), [], "nobody reads");
    applying.set_reading();
    assert_eq!(applying.on_read(&log, Index(1), read.clone()), []);
    assert_eq!(applying.next(&log, usize::MAX), Next::Nothing, "it is being read");
    assert_eq!(indexes(&applying.on_read(&log, Index(2), read[1..].to_vec())), [2, 3]);
    let Next::Entries(next) = applying.next(&log, usize::MAX) else { panic!() };
    assert_eq!(indexes(&next), [2, 3]);
}

/// It was damaged, or compacted meanwhile.
#[test]
fn what_could_not_be_read_for_the_applier_is_read_again() {
    let mut log = log_of(&[1; 3], "x");
    log.begin_write(WriteSeq(1));
    log.saved(WriteSeq(1));
    log.commit(Index(3));
    log.trim_cache(0);
    let mut applying = Applying::from(Index(1));
    applying.set_reading();
    assert_eq!(applying.next(&log, 1000), Next::Nothing, "it is being read");
    assert_eq!(applying.on_read(&log, Index(2), Vec::new()), []);
    assert_eq!(applying.next(&log, 1000), Next::Cold(Index(2), 1000));
}

/// To read it would fail, and be tried again at once, until somebody gives it back.
#[test]
fn what_is_missing_is_not_read_for_the_applier_before_it_is_back_on_disk() {
    let mut log = log_of(&[1; 6], "x");
    let all = entries(&log);
    log.begin_write(WriteSeq(1));
    log.saved(WriteSeq(1));
    log.commit(Index(6));
    log.trim_cache(0);
    log.note_damage(gap_of(&all, 3, 4));
    assert_eq!(Applying::from(Index(1)).next(&log, 1000), Next::Cold(Index(2), 1000));
    let applying = Applying::from(Index(2));
    assert_eq!(applying.next(&log, 1000), Next::Nothing);
    log.repair(all[2..4].to_vec()).unwrap();
    log.begin_repairs(WriteSeq(2));
    assert_eq!(applying.next(&log, 1000), Next::Nothing, "it is not on disk");
    log.saved(WriteSeq(2));
    assert_eq!(applying.next(&log, 1000), Next::Cold(Index(3), 1000));
}

#[test]
fn the_applier_is_handed_so_many_bytes_at_once_that_it_has_not_answered() {
    let mut log = log_of(&[1; 5], "x");
    log.commit(Index(5));
    let one = entries(&log)[0].size_bytes();
    let mut applying = Applying::from(Index::ZERO);
    let hand_over = |applying: &mut Applying| match applying.next(&log, 2 * one) {
        Next::Entries(next) => {
            applying.hand_over(&next);
            indexes(&next)
        }
        other => {
            assert_eq!(other, Next::Nothing);
            Vec::new()
        }
    };
    assert_eq!(hand_over(&mut applying), [1, 2]);
    assert_eq!(hand_over(&mut applying), [0; 0]);
    assert!(applying.on_applied(Generation(0), Index(1), None));
    assert_eq!(hand_over(&mut applying), [0; 0], "it has not answered for all of the batch");
    assert!(applying.on_applied(Generation(0), Index(2), None));
    assert_eq!(hand_over(&mut applying), [3, 4]);
    assert_eq!(applying.handed_over(), Index(4));
    // What was asked of an earlier state is not answered any more, nor what was read for it.
    applying.set_reading();
    applying.restore(snapshot_at(4, 1));
    assert_eq!(hand_over(&mut applying), [0; 0]);
    assert!(!applying.on_applied(Generation(0), Index(4), None));
    assert!(!applying.on_applied(Generation(1), Index(4), None), "it is being restored");
    assert_eq!(applying.on_restored(Generation(0), None), None);
    assert_eq!(applying.on_restored(Generation(1), Some(LogTime(9))), Some(snapshot_at(4, 1)));
    assert_eq!(applying.deadline(), Some(LogTime(9)));
    assert_eq!(hand_over(&mut applying), [5]);
    assert!(applying.on_applied(Generation(1), Index(5), None));
    assert_eq!(applying.deadline(), None);
}

#[test]
fn a_snapshot_is_taken_after_so_many_bytes_or_as_many_as_the_last_one_had_and_one_at_a_time() {
    let mut log = log_of(&[1; 9], "x");
    log.commit(Index(9));
    let one = entries(&log)[0].size_bytes() as u64;
    let mut applying = Applying::from(Index::ZERO);
    let apply = |applying: &mut Applying, log: &mut Log, count: usize| {
        let from = applying.handed_over().0 as usize;
        for entry in &entries(log)[from..from + count] {
            applying.hand_over(std::slice::from_ref(entry));
            assert!(applying.on_applied(Generation(0), entry.index(), None));
            log.set_applied(entry.index());
        }
    };
    let now = Duration::from_secs(1);
    apply(&mut applying, &mut log, 1);
    assert!(!applying.wants_snapshot(now, &log, 2 * one));
    apply(&mut applying, &mut log, 1);
    assert!(applying.wants_snapshot(now, &log, 2 * one));
    apply(&mut applying, &mut log, 2);
    assert!(!applying.wants_snapshot(now, &log, 2 * one), "one is being built");
    let built = SnapshotMeta { size_bytes: 3 * one, ..snapshot_at(2, 1) };
    applying.on_built(now, Some(&built));
    log.set_snapshot(built);
    assert!(!applying.wants_snapshot(now, &log, 2 * one), "the last one was larger");
    apply(&mut applying, &mut log, 1);
    assert!(applying.wants_snapshot(now, &log, 2 * one));
    applying.on_built(now, None);
    assert!(!applying.wants_snapshot(now, &log, 2 * one));
}

#[test]
fn a_snapshot_that_is_needed_and_cannot_be_built_is_tried_again_after_a_pause_unasked() {
    let mut log = log_of(&[1; 9], "x");
    log.commit(Index(9));
    log.set_applied(Index(4));
    let mut applying = Applying::from(Index(4));
    let mut now = Duration::from_secs(1);
    applying.renew_snapshot(Index(5));
    assert!(!applying.wants_snapshot(now, &log, 1000), "the state has not got that far");
    log.set_applied(Index(5));
    let mut attempts = 0;
    let end = now + Duration::from_secs(1);
    while now < end {
        if applying.wants_snapshot(now, &log, 1000) {
            attempts += 1;
            applying.on_built(now, None);
        }
        now += Duration::from_millis(10);
    }
    assert_eq!(attempts, 3, "at once, after 200 ms, and after 400 ms more");
    now += Duration::from_secs(1);
    assert!(applying.wants_snapshot(now, &log, 1000));
    applying.on_built(now, Some(&snapshot_at(4, 1)));
    assert!(applying.wants_snapshot(now, &log, 1000), "that does not cover it");
    applying.on_built(now, Some(&snapshot_at(5, 1)));
    now += Duration::from_secs(10);
    assert!(!applying.wants_snapshot(now, &log, 1000));
}
