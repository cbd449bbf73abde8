//! What is on disk of what was promised, and by whom.

use super::super::writes::{Pending, Waiting, Writes};
use super::puppet::*;
use super::*;
use crate::types::WriteSeq;

fn write(seq: u64, mute: bool) -> Pending<Word, Sworn> {
    Pending {
        seq: WriteSeq(seq),
        pledge: Some(Sworn(seq)),
        snapshot: None,
        mute,
        founding: None,
        begun: Duration::ZERO,
        waiting: Waiting { sworn: Vec::new(), saved: Vec::new() },
    }
}

fn begun(mute: [bool; 2]) -> Writes<Word, Sworn> {
    let mut writes = Writes::new();
    (1..).zip(mute).for_each(|(seq, mute)| writes.begin(write(seq, mute)));
    writes
}

#[test]
fn of_what_is_saved_and_committed_no_more_stays_in_memory_than_there_is_room_for() {
    let settings = Settings { log_cache_bytes: 0, ..Settings::default() };
    let mut stage = Stage::with(settings);
    stage.append(3);
    assert!(stage.log().entries(Index(1), usize::MAX).is_some(), "it is not committed");
    stage.commit();
    stage.flush();
    assert_eq!(stage.log().entries(Index(1), usize::MAX), None);
}

#[test]
fn whoever_was_mute_when_it_swore_is_known_to_be_until_a_write_says_otherwise() {
    let mut writes = begun([false, true]);
    assert!(!writes.may_speak_as(true));
    writes.sworn(WriteSeq(2));
    assert!(!writes.may_speak_as(true), "a write is on its way of one who was not");
    writes.saved(Duration::ZERO, WriteSeq(1));
    assert!(writes.may_speak_as(true) && writes.may_speak_under(Sworn(2)));

    let mut writes = begun([true, false]);
    writes.sworn(WriteSeq(1));
    writes.saved(Duration::ZERO, WriteSeq(1));
    writes.saved(Duration::ZERO, WriteSeq(2));
    assert!(!writes.may_speak_as(true));
    assert!(writes.may_speak_as(false) && writes.may_speak_under(Sworn(2)));
}
