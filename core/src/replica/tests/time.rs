//! How a leader keeps log time.

use super::puppet::*;
use super::*;
use crate::entry::Proposal;
use crate::event::Applied;

fn deadline_at(stage: &mut Stage, deadline: Option<LogTime>) -> Vec<Effect<Word>> {
    let last = stage.log().last().index;
    stage.log().commit(last);
    stage.flush();
    let generation = stage.replica.applying.generation();
    stage.on(Event::Applied(Applied { generation, through: last, requests: Vec::new(), deadline }))
}

fn timers(effects: &[Effect<Word>]) -> Vec<Duration> {
    let timer = |effect: &_| match effect {
        Effect::SetTimer(Timer::Deadline, range) => {
            assert!(range.end > range.start);
            Some(range.start)
        }
        _ => None,
    };
    effects.iter().filter_map(timer).collect()
}

fn kinds(stage: &mut Stage) -> Vec<EntryKind> {
    let entries = stage.log().entries(Index(2), usize::MAX).unwrap();
    entries.iter().map(|entry| entry.kind).collect()
}

fn pass(stage: &mut Stage, time: Duration) {
    stage.now.monotonic += time;
    stage.now.wall += time;
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_leader_puts_time_into_the_log_once_when_a_deadline_is_due() {
    let mut stage = Stage::with_entries(0);
    stage.lead(1);
    let deadline = LogTime(3_000_000);
    // Drawn on by that of the wall, its clock may run faster by a tenth.
    let [wait] = timers(&deadline_at(&mut stage, Some(deadline)))[..] else { panic!("one") };
    assert_eq!((wait * 11 / 10).as_micros(), 2_999_999);
    assert_eq!(timers(&stage.flush()), [], "that timer runs");
    pass(&mut stage, 2 * SECOND);
    let effects = stage.on(Event::Timeout(Timer::Deadline));
    assert!(timers(&effects)[0] < SECOND);
    assert_eq!(kinds(&mut stage), []);
    pass(&mut stage, SECOND);
    stage.on(Event::Timeout(Timer::Deadline));
    assert_eq!(kinds(&mut stage), [EntryKind::Time]);
    assert!(stage.log().last_time() >= deadline);
    // It is on its way, and asked for no more.
    stage.flush();
    assert_eq!(kinds(&mut stage), [EntryKind::Time]);
    // What it has not made expire is due again; and nothing is, once it has.
    deadline_at(&mut stage, Some(deadline));
    assert_eq!(kinds(&mut stage), [EntryKind::Time; 2]);
    deadline_at(&mut stage, None);
    assert_eq!(kinds(&mut stage), [EntryKind::Time; 2]);
}

#[test]
fn a_time_entry_that_was_cut_off_is_not_waited_for() {
    let mut stage = Stage::with_entries(0);
    stage.lead(1);
    let due = Some(LogTime(0));
    deadline_at(&mut stage, due);
    assert_eq!(kinds(&mut stage), [EntryKind::Time]);
    // The next leader has another entry in its place.
    let opening = stage.log().entries(Index(1), usize::MAX).unwrap()[0].clone();
    let id = LogId::new(Index(2), Ballot(2));
    let noop = Proposal::new(EntryKind::Noop, opening.time, Bytes::new());
    let noop = Entry::new(id, opening.digest(), noop);
    stage.follow(PEER, 2);
    stage.hear(PEER, PeerMessage::Protocol(Word::Entries(vec![opening, noop])));
    assert_eq!(kinds(&mut stage), [EntryKind::Noop]);
    stage.lead(3);
    assert_eq!(kinds(&mut stage), [EntryKind::Noop, EntryKind::Time]);
}

#[test]
fn a_deadline_that_is_set_later_and_comes_first_is_not_waited_for_until_the_other() {
    let mut stage = Stage::with_entries(0);
    stage.lead(1);
    let at = |seconds: u64| Some(LogTime(seconds * 1_000_000));
    let [far] = timers(&deadline_at(&mut stage, at(100)))[..] else { panic!("one") };
    let [near] = timers(&deadline_at(&mut stage, at(3)))[..] else { panic!("one") };
    assert!(far > 80 * SECOND && near < 3 * SECOND, "{far:?} {near:?}");
    pass(&mut stage, 3 * SECOND);
    stage.on(Event::Timeout(Timer::Deadline));
    assert_eq!(kinds(&mut stage), [EntryKind::Time]);
}

#[test]
fn whoever_does_not_serve_or_has_no_room_leaves_deadlines_to_others() {
    for serves in [false, true] {
        let mut stage = Stage::with_entries(0);
        stage.lead(1);
        stage.puppet().standing.serving = serves;
        stage.on(Event::Room(!serves));
        assert_eq!(timers(&deadline_at(&mut stage, Some(LogTime(0)))), []);
        assert_eq!(kinds(&mut stage), []);
    }
}

/// It hands over, say, which comes to nothing.
#[test]
fn a_leader_that_served_nobody_when_its_timer_ran_out_sets_another_one() {
    let mut stage = Stage::with_entries(0);
    stage.lead(1);
    assert_eq!(timers(&deadline_at(&mut stage, Some(LogTime(3_000_000)))).len(), 1);
    pass(&mut stage, 2 * SECOND);
    stage.puppet().standing.serving = false;
    assert_eq!(timers(&stage.on(Event::Timeout(Timer::Deadline))), []);
    stage.puppet().standing.serving = true;
    assert_eq!(timers(&stage.flush()).len(), 1);
}

#[test]
fn log_time_steps_to_the_wall_clock_only_while_nothing_depends_on_it() {
    let propose = |stage: &mut Stage| {
        let request = stage.replica.name_request();
        let (kind, payload) = (EntryKind::Command, Bytes::from_static(b"x"));
        stage.on(Event::Propose { request, kind, payload });
        stage.log().last_time()
    };
    let hour = LogTime(3600 * 1_000_000);
    let jumped = |stage: &mut Stage| {
        stage.now.monotonic += SECOND;
        stage.now.wall = Duration::from_secs(3600);
        propose(stage)
    };
    let mut stage = Stage::with_entries(0);
    stage.commit();
    stage.lead(1);
    assert_eq!(jumped(&mut stage), hour);
    // What is not applied may set a deadline, too, be it committed or not.
    for (committed, applied) in [(false, false), (true, false), (true, true)] {
        let mut stage = Stage::with_entries(0);
        stage.commit();
        stage.lead(1);
        propose(&mut stage);
        if committed {
            let last = stage.log().last().index;
            stage.log().commit(last);
            stage.flush();
        }
        if applied {
            deadline_at(&mut stage, Some(LogTime(u64::MAX)));
        }
        assert!(jumped(&mut stage) < LogTime(3_000_000), "{:?}", stage.log().last_time());
    }
}

#[test]
fn the_clock_of_a_leader_starts_anew_with_its_ballot_and_never_behind_its_log() {
    let mut stage = Stage::with_entries(0);
    stage.commit();
    stage.lead(1);
    let last = |stage: &mut Stage| {
        let now = stage.now;
        stage.replica.propose(now, EntryKind::Noop, Bytes::new(), &mut Vec::new());
        stage.flush();
        stage.log().last_time()
    };
    deadline_at(&mut stage, Some(LogTime(u64::MAX)));
    let before = last(&mut stage);
    stage.follow(PEER, 2);
    // Somebody else led for ten seconds, and put nothing into the log.
    pass(&mut stage, 10 * SECOND);
    stage.lead(3);
    assert_eq!(last(&mut stage), before);
    pass(&mut stage, SECOND);
    assert!(last(&mut stage) >= before.plus(SECOND * 9 / 10));
}
