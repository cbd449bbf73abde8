//! What an answer makes of what a leader knows, state by state.

use bytes::Bytes;
use quorate_core::{Ballot, Digest, EntryKind, LogTime, Membership, Proposal};

use super::*;

/// A log of nine entries of this term.
fn nine() -> Log {
    let mut log = Log::founded_by(Membership::default());
    for _ in 0..9 {
        log.append(Ballot(1), Proposal::new(EntryKind::Noop, LogTime(0), Bytes::new()));
    }
    assert_eq!(log.last().index, Index(9));
    log
}

/// The follower has acknowledged the first three, and was sent the next two.
fn replicating() -> Progress {
    let mut progress = Progress::starting_at(Index(4), None);
    progress.on_durable(Index(3), Index(1));
    for index in [4, 5] {
        let entries = nine().entries(Index(index), 1).expect("it is in memory");
        assert_eq!(entries.len(), 1);
        progress.on_sent(&entries);
    }
    assert_eq!((progress.matched, progress.next), (Index(3), Index(6)));
    progress
}

/// The follower is offered a snapshot of all up to the seventh.
fn offered() -> Progress {
    let last = LogId::new(Index(7), Ballot(1));
    let snapshot = SnapshotMeta {
        last,
        digest: Digest([0; 16]),
        membership: Membership::default(),
        time: LogTime(0),
        size_bytes: 0,
        content: Digest([0; 16]),
    };
    let mut progress = replicating();
    progress.state = State::Snapshot(snapshot);
    progress
}

/// What `act` changes about it.
fn after(before: &Progress, act: impl FnOnce(&mut Progress)) -> Option<(u64, State)> {
    let mut progress = before.clone();
    act(&mut progress);
    (progress != *before).then_some((progress.next.0, progress.state))
}

/// Nothing is on its way.
fn replicates() -> State {
    State::Replicate(Window::default())
}

const RESTS: State = State::Full { rest: REST };

#[test]
fn a_full_disk_is_believed_of_what_was_sent_and_is_not_known_to_be_saved() {
    let progress = replicating();
    let after = |previous| after(&progress, |it| it.on_no_room(Index(previous)));
    assert_eq!(after(2), None, "it has saved more since");
    assert_eq!(after(3), Some((4, RESTS)));
    assert_eq!(after(5), Some((6, RESTS)));
    assert_eq!(after(6), None, "nothing was sent behind that");
}

#[test]
fn a_full_disk_is_believed_of_the_latest_question_only() {
    let probing = Progress::starting_at(Index(6), None);
    for (previous, expected) in [(4, None), (5, Some((6, RESTS))), (6, None)] {
        assert_eq!(after(&probing, |it| it.on_no_room(Index(previous))), expected);
    }
    let mut resting = probing;
    resting.on_no_room(Index(5));
    resting.on_heartbeat();
    assert_eq!(after(&resting, |it| it.on_no_room(Index(5))), None, "it rests already");
    assert_eq!(after(&offered(), |it| it.on_no_room(Index(5))), None);
}

#[test]
fn a_conflict_behind_what_was_sent_is_none() {
    let (progress, log) = (replicating(), nine());
    let hint = LogId::new(Index(3), Ballot(1));
    let after = |previous| after(&progress, |it| it.on_conflict(Index(previous), hint, &log));
    assert_eq!(after(6), None);
    assert_eq!(after(5), Some((4, State::Probe { paused: false })));
}

#[test]
fn an_offer_stands_until_the_log_goes_on_from_what_the_follower_has() {
    let offered = offered();
    assert_eq!(after(&offered, |it| it.on_held(Index(6))), None);
    assert_eq!(after(&offered, |it| it.on_held(Index(7))), Some((8, replicates())));
    let durable = |index, base| after(&offered, |it| it.on_durable(Index(index), Index(base)));
    assert_eq!(durable(5, 6).map(|(_, state)| state), Some(offered.state.clone()), "compacted");
    assert_eq!(durable(5, 5), Some((6, replicates())));
    assert_eq!(durable(7, 8), Some((8, replicates())), "it has what it was offered");
}

#[test]
fn what_a_follower_holds_answers_a_probe_from_where_that_asks_on() {
    let probing = Progress::starting_at(Index(6), None);
    assert_eq!(after(&probing, |it| it.on_held(Index(4))), None);
    assert_eq!(after(&probing, |it| it.on_held(Index(5))), Some((6, replicates())));
    assert_eq!(after(&probing, |it| it.on_held(Index(8))), Some((9, replicates())));
}

#[test]
fn a_follower_is_alive_if_it_has_spoken_in_this_term_and_not_long_ago() {
    let mut progress = Progress::starting_at(Index(6), None);
    assert!(!progress.is_live());
    progress.on_heard(1);
    for _ in 0..PATIENCE {
        assert!(progress.is_live());
        progress.on_heartbeat();
    }
    assert!(!progress.is_live());
}

#[test]
fn a_follower_that_is_silent_for_too_long_is_probed() {
    let mut progress = replicating();
    for _ in 0..PATIENCE {
        progress.on_heartbeat();
    }
    assert!(matches!(progress.state, State::Replicate(_)));
    progress.on_heartbeat();
    assert_eq!((progress.next, &progress.state), (Index(6), &State::Probe { paused: true }));
    let mut silent = replicating();
    silent.silence = PATIENCE + 1;
    silent.on_heartbeat();
    assert_eq!(silent.state, State::Probe { paused: true });
}

#[test]
fn a_read_that_is_not_answered_is_asked_for_again() {
    let mut progress = replicating();
    assert!(progress.start_reading());
    for _ in 0..READ_PATIENCE - 1 {
        progress.on_heartbeat();
        assert!(!progress.start_reading());
    }
    progress.on_heartbeat();
    assert!(progress.start_reading());
}

#[test]
fn a_mute_follower_that_took_all_of_a_window_gets_the_next_one() {
    let settings = Settings { window_bytes: 1000, append_bytes: 1000, ..Settings::default() };
    let mut log = Log::founded_by(Membership::default());
    let payload = Bytes::from(vec![0; 1000]);
    let proposal = Proposal::new(EntryKind::Command, LogTime(0), payload);
    let last = log.append(Ballot(1), proposal).index;
    let mut progress = Progress::starting_at(last, None);
    progress.on_held(last.previous());
    progress.on_sent(&log.entries(last, usize::MAX).expect("it is in memory"));
    progress.on_held(last);
    assert_eq!(progress.room(&settings), None, "what it has not saved it may lose");
    progress.on_held_by_mute(last);
    assert_eq!(progress.room(&settings), Some(1000));
}

#[test]
fn an_answer_to_anything_but_the_latest_question_does_not_move_a_probe() {
    let mut log = Log::founded_by(Membership::default());
    for _ in 0..9 {
        log.append(Ballot(1), Proposal::new(EntryKind::Noop, LogTime(0), Bytes::new()));
    }
    let mut progress = Progress::starting_at(Index(10), None);
    let refuse = |progress: &mut Progress, previous| {
        progress.on_conflict(Index(previous), LogId::new(Index(previous - 2), Ballot(1)), &log);
    };
    refuse(&mut progress, 9);
    assert_eq!(progress.next, Index(8));
    let asked = progress.clone();
    refuse(&mut progress, 9);
    refuse(&mut progress, 5);
    assert_eq!(progress, asked);
    refuse(&mut progress, 7);
    assert_eq!(progress.next, Index(6));
}
