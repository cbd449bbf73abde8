//! What a leader takes from others, and what it refuses.

use super::puppet::*;
use super::*;
use crate::command::{Command, Origin, Register};
use crate::event::Applied;
use crate::message::{Forward, Place, Refusal};
use crate::protocol::ReadId;

fn r(number: u64) -> RequestId {
    RequestId { start: Start { count: 1, nonce: 0 }, number }
}

fn command(bytes: usize) -> Bytes {
    let origin = Origin { node: PEER, request: r(1) };
    Command { origin, session: None, body: vec![7; bytes].into() }.encode()
}

fn forwarded(ballot: u64, attempt: u64, payload: Bytes) -> PeerMessage<Word> {
    let (ballot, kind) = (Ballot(ballot), EntryKind::Command);
    let place = Place { attempt: r(attempt), after: None, oldest: r(1) };
    PeerMessage::Forward(Forward::Propose { ballot, place, kind, payload })
}

fn refused(attempt: u64, reason: Refusal) -> Vec<Said> {
    let attempt = r(attempt);
    vec![(PEER, PeerMessage::Forward(Forward::Refused { attempt, reason }))]
}

/// Leads ballot 2, with nothing pending.
fn leader(settings: Settings) -> Stage {
    let mut stage = Stage::with(settings);
    stage.append(1);
    stage.commit();
    stage.lead(2);
    stage
}

fn taken(stage: &mut Stage) -> u64 {
    stage.log().last().index.0 - 1
}

#[test]
fn a_forwarded_command_is_taken_once_and_only_in_the_ballot_for_which_it_was_meant() {
    let mut stage = leader(Settings::default());
    for ballot in [1, 3] {
        assert_eq!(stage.answers(PEER, forwarded(ballot, 1, command(1))), []);
        assert_eq!(taken(&mut stage), 0, "ballot {ballot}");
    }
    stage.follow(THIRD, 2);
    assert_eq!(stage.answers(PEER, forwarded(2, 1, command(1))), []);
    assert_eq!((taken(&mut stage), stage.replica.status().ignored.untimely), (0, 3));
    stage.lead(2);
    for copy in 0..2 {
        assert_eq!(stage.answers(PEER, forwarded(2, 1, command(1))), []);
        assert_eq!(taken(&mut stage), 1);
        assert_eq!(stage.replica.status().ignored.untimely, 3 + copy);
    }
}

/// The attempt `number`, before which its sender waited for `after`, and waits for `oldest` now: a
/// command of as many bytes as its number.
fn placed(number: u64, after: Option<u64>, oldest: u64) -> PeerMessage<Word> {
    let (ballot, kind, payload) = (Ballot(2), EntryKind::Command, command(number as usize));
    let place = Place { attempt: r(number), after: after.map(r), oldest: r(oldest) };
    PeerMessage::Forward(Forward::Propose { ballot, place, kind, payload })
}

fn in_line(number: u64, after: u64) -> PeerMessage<Word> {
    placed(number, Some(after), 1)
}

/// How long the commands are that were taken, in this order.
fn lengths(stage: &mut Stage) -> Vec<usize> {
    let taken = stage.log().entries(Index(2), usize::MAX).unwrap();
    taken.iter().map(|entry| Command::decode(&entry.payload).unwrap().body.len()).collect()
}

#[test]
fn what_a_node_was_asked_is_taken_in_that_order_though_it_arrives_in_another() {
    let mut stage = leader(Settings::default());
    for early in [in_line(4, 3), in_line(2, 1), in_line(4, 3), in_line(5, 4)] {
        assert_eq!(stage.answers(PEER, early), []);
        assert_eq!(taken(&mut stage), 0);
    }
    assert_eq!(stage.answers(PEER, forwarded(2, 1, command(1))), []);
    assert_eq!(lengths(&mut stage), [1, 2]);
    assert_eq!(stage.answers(PEER, in_line(3, 2)), []);
    assert_eq!(lengths(&mut stage), [1, 2, 3, 4, 5]);
}

#[test]
fn what_its_sender_no_longer_waits_for_holds_up_nothing() {
    let mut stage = leader(Settings::default());
    assert_eq!(stage.answers(PEER, in_line(6, 5)), []);
    assert_eq!(taken(&mut stage), 0);
    // 5 never arrives. What comes next says that nobody waits for it.
    assert_eq!(stage.answers(PEER, placed(7, Some(6), 6)), []);
    assert_eq!(lengths(&mut stage), [6, 7]);
}

#[test]
fn behind_what_was_handed_back_nothing_is_taken_before_that_was_asked_again() {
    let mut stage = leader(Settings::default());
    stage.puppet().standing.serving = false;
    let first = forwarded(2, 1, command(1));
    assert_eq!(stage.answers(PEER, first), refused(1, Refusal::HandingOver));
    // The hand-over came to nothing.
    stage.puppet().standing.serving = true;
    assert_eq!(stage.answers(PEER, in_line(3, 2)), []);
    let both = [2, 3].map(|attempt| refused(attempt, Refusal::OutOfTurn)).concat();
    assert_eq!(stage.answers(PEER, in_line(2, 1)), both);
    assert_eq!(stage.answers(PEER, forwarded(2, 4, command(4))), []);
    assert_eq!(lengths(&mut stage), [4]);
}

#[test]
fn behind_what_was_refused_nothing_is_taken_before_its_sender_knows() {
    let mut stage = leader(Settings::default());
    stage.on(Event::Room(false));
    let lost = stage.answers(PEER, forwarded(2, 1, command(1)));
    assert_eq!(lost, refused(1, Refusal::DiskFull));
    stage.on(Event::Room(true));
    // Otherwise its sender, asking again in the next ballot, would get it behind the others.
    for attempt in [2, 3] {
        let out_of_turn = refused(attempt, Refusal::OutOfTurn);
        assert_eq!(stage.answers(PEER, in_line(attempt, attempt - 1)), out_of_turn);
    }
    assert_eq!(taken(&mut stage), 0);
}

#[test]
fn who_is_refused_behind_a_refused_one_is_told_why_and_so_is_whoever_is_behind_that() {
    let mut stage = leader(Settings::default());
    stage.on(Event::Room(false));
    assert_eq!(stage.answers(PEER, forwarded(2, 1, command(1))), refused(1, Refusal::DiskFull));
    assert_eq!(stage.answers(PEER, in_line(2, 1)), refused(2, Refusal::DiskFull));
    stage.on(Event::Room(true));
    assert_eq!(stage.answers(PEER, in_line(3, 2)), refused(3, Refusal::OutOfTurn));
    assert_eq!(taken(&mut stage), 0);
}

#[test]
fn behind_what_was_refused_for_good_nothing_is_taken_either_while_something_before_waits_again() {
    let mut stage = leader(Settings::default());
    stage.puppet().standing.serving = false;
    let first = forwarded(2, 1, command(1));
    assert_eq!(stage.answers(PEER, first), refused(1, Refusal::HandingOver));
    stage.puppet().standing.serving = true;
    stage.on(Event::Room(false));
    assert_eq!(stage.answers(PEER, in_line(2, 1)), refused(2, Refusal::DiskFull));
    stage.on(Event::Room(true));
    // Its sender knows what became of both, and has not asked for the first one again.
    let answer = stage.answers(PEER, placed(3, Some(2), 3));
    assert_eq!(answer, refused(3, Refusal::OutOfTurn));
}

#[test]
fn behind_what_waits_again_nothing_is_taken_before_its_sender_begins_anew() {
    let mut stage = leader(Settings::default());
    let ask = |stage: &mut Stage, has_room, message| {
        stage.on(Event::Room(has_room));
        stage.answers(PEER, message)
    };
    let answer = ask(&mut stage, false, placed(1, None, 1));
    assert_eq!(answer, refused(1, Refusal::DiskFull));
    let answer = ask(&mut stage, true, placed(2, Some(1), 1));
    assert_eq!(answer, refused(2, Refusal::OutOfTurn));
    let answer = ask(&mut stage, false, placed(3, Some(2), 1));
    assert_eq!(answer, refused(3, Refusal::DiskFull));
    // It knew of the third one when it sent this, and of all of them when it sent it again.
    let answer = ask(&mut stage, true, placed(4, Some(2), 4));
    assert_eq!(answer, refused(4, Refusal::OutOfTurn));
    assert_eq!(ask(&mut stage, true, placed(5, None, 5)), []);
    assert_eq!(ask(&mut stage, true, placed(6, Some(5), 5)), []);
    assert_eq!(lengths(&mut stage), [5, 6]);
}

#[test]
fn what_is_early_is_not_kept_by_who_leads_no_more() {
    let mut stage = leader(Settings::default());
    assert_eq!(stage.answers(PEER, in_line(2, 1)), []);
    stage.follow(THIRD, 2);
    stage.flush();
    stage.lead(2);
    assert_eq!(stage.answers(PEER, forwarded(2, 1, command(1))), []);
    assert_eq!(lengths(&mut stage), [1]);
}

#[test]
fn what_would_stop_every_replica_is_not_taken() {
    let mut stage = leader(Settings::default());
    let origin = Origin { node: PEER, request: r(1) };
    let register = Register { origin, max_sessions: 1, window: 1, max_response_bytes: 1 }.encode();
    let members = postcard::to_allocvec(&three()).unwrap();
    let not_taken = [
        (EntryKind::Command, register.clone()),
        (EntryKind::Register, Bytes::from_static(&[0xff; 9])),
        (EntryKind::Noop, Bytes::new()),
        (EntryKind::Time, Bytes::new()),
        (EntryKind::Membership, members.into()),
    ];
    for (attempt, (kind, payload)) in (1..).zip(not_taken) {
        let (ballot, attempt) = (Ballot(2), r(attempt));
        let place = Place { attempt, after: None, oldest: attempt };
        let propose = Forward::Propose { ballot, place, kind, payload };
        assert_eq!(stage.answers(PEER, PeerMessage::Forward(propose)), []);
        assert_eq!(taken(&mut stage), 0, "{kind:?}");
    }
    let (ballot, kind, payload) = (Ballot(2), EntryKind::Register, register);
    let place = Place { attempt: r(9), after: None, oldest: r(9) };
    let propose = Forward::Propose { ballot, place, kind, payload };
    assert_eq!(stage.answers(PEER, PeerMessage::Forward(propose)), []);
    assert_eq!(taken(&mut stage), 1);
}

#[test]
fn what_was_refused_stays_refused_when_the_reason_is_gone() {
    let settings = Settings { max_command_bytes: 1000, ..Settings::default() };
    let mut stage = leader(settings);
    assert_eq!(
        stage.answers(PEER, forwarded(2, 1, command(1000))),
        refused(1, Refusal::TooLarge),
        "with its origin it is larger"
    );
    stage.on(Event::Room(false));
    assert_eq!(stage.answers(PEER, forwarded(2, 2, command(1))), refused(2, Refusal::DiskFull));
    stage.on(Event::Room(true));
    stage.puppet().standing.serving = false;
    assert_eq!(stage.answers(PEER, forwarded(2, 3, command(1))), refused(3, Refusal::HandingOver));
    stage.puppet().standing.serving = true;
    let reasons = [Refusal::TooLarge, Refusal::DiskFull, Refusal::HandingOver];
    for (attempt, reason) in (1..).zip(reasons) {
        let again = stage.answers(PEER, forwarded(2, attempt, command(1)));
        assert_eq!(again, refused(attempt, reason));
    }
    assert_eq!(taken(&mut stage), 0);
    assert_eq!(stage.answers(PEER, forwarded(2, 4, command(1))), []);
    assert_eq!(taken(&mut stage), 1);
}

#[test]
fn a_leader_takes_so_many_bytes_that_are_not_committed_and_applied_and_one_command_always() {
    let one = Entry::OVERHEAD + command(10).len();
    let largest = command(10).len();
    let settings = |entries: usize, less| Settings {
        max_command_bytes: largest,
        uncommitted_bytes: entries * one - less,
        ..Settings::default()
    };
    for (less, fits) in [(0, 3), (1, 2)] {
        let mut stage = leader(settings(3, less));
        for attempt in 1..=fits {
            assert_eq!(stage.answers(PEER, forwarded(2, attempt, command(10))), []);
        }
        let next = fits + 1;
        let busy = refused(next, Refusal::Busy);
        assert_eq!(stage.answers(PEER, forwarded(2, next, command(10))), busy);
        // Committed, it counts until it is applied as well.
        let last = stage.log().last().index;
        stage.log().commit(last);
        let busy = refused(next + 1, Refusal::Busy);
        assert_eq!(stage.answers(PEER, forwarded(2, next + 1, command(10))), busy);
        stage.apply();
        assert_eq!(stage.answers(PEER, forwarded(2, next + 2, command(10))), []);
    }
    let mut stage = leader(settings(1, Entry::OVERHEAD));
    assert_eq!(stage.answers(PEER, forwarded(2, 1, command(10))), []);
    assert_eq!(stage.answers(PEER, forwarded(2, 2, command(0))), refused(2, Refusal::Busy));
}

#[test]
fn a_leader_takes_nothing_more_once_what_it_took_has_waited_for_half_as_long_as_requests_do() {
    let settings = Settings::default();
    let patience = settings.request_timeout / 2;
    let mut stage = leader(settings);
    assert_eq!(stage.answers(PEER, forwarded(2, 1, command(1))), []);
    stage.now.monotonic += patience;
    assert_eq!(stage.answers(PEER, forwarded(2, 2, command(1))), []);
    stage.now.monotonic += Duration::from_millis(1);
    assert_eq!(stage.answers(PEER, forwarded(2, 3, command(1))), refused(3, Refusal::Overdue));
    let own = stage.replica.name_request();
    let payload = command(1);
    let failed = stage.on(Event::Propose { request: own, kind: EntryKind::Command, payload });
    let is_overdue = |effect: &Effect<Word>| {
        matches!(effect, Effect::Failed { failure: crate::event::Failure::Overdue, .. })
    };
    assert!(failed.iter().any(is_overdue));
    // Committed, it still waits.
    let last = stage.log().last().index;
    stage.log().commit(last);
    assert_eq!(stage.answers(PEER, forwarded(2, 4, command(1))), refused(4, Refusal::Overdue));
    stage.apply();
    assert_eq!(stage.answers(PEER, forwarded(2, 5, command(1))), []);
    // What was taken a good while later has waited for less.
    let last = stage.log().last().index;
    stage.now.monotonic += patience / 2;
    assert_eq!(stage.answers(PEER, forwarded(2, 6, command(1))), []);
    stage.log().commit(last);
    stage.apply();
    stage.now.monotonic += patience;
    assert_eq!(stage.answers(PEER, forwarded(2, 7, command(1))), []);
    stage.now.monotonic += Duration::from_millis(1);
    assert_eq!(stage.answers(PEER, forwarded(2, 8, command(1))), refused(8, Refusal::Overdue));
}

#[test]
fn a_forwarded_read_is_for_who_leads_its_ballot() {
    let mut stage = leader(Settings::default());
    let read = |ballot| {
        let (ballot, request) = (Ballot(ballot), r(1));
        PeerMessage::Forward(Forward::Read { ballot, request })
    };
    for ballot in [1, 3] {
        stage.hear(PEER, read(ballot));
    }
    stage.puppet().standing.serving = false;
    stage.hear(PEER, read(2));
    assert_eq!(stage.puppet().reads, []);
    stage.puppet().standing.serving = true;
    stage.hear(PEER, read(2));
    let read = ReadId { origin: PEER, request: r(1) };
    assert_eq!(stage.puppet().reads, [read]);
    stage.effects().read_ready(read, Index(7));
    let ready = Forward::ReadReady { request: r(1), index: Index(7) };
    assert_eq!(said(stage.flush()), [(PEER, PeerMessage::Forward(ready))]);
}

fn propose(stage: &mut Stage, payload: Bytes) -> (RequestId, Vec<Effect<Word>>) {
    let request = stage.replica.name_request();
    let kind = EntryKind::Command;
    (request, stage.on(Event::Propose { request, kind, payload }))
}

fn proposals(said: &[Said]) -> Vec<(NodeId, u64, RequestId)> {
    let proposal = |(to, message): &Said| match message {
        PeerMessage::Forward(Forward::Propose { ballot, place, .. }) => {
            Some((*to, ballot.0, place.attempt))
        }
        _ => None,
    };
    said.iter().filter_map(proposal).collect()
}

fn failed(effects: &[Effect<Word>]) -> Vec<(RequestId, Failure)> {
    let failure = |effect: &_| match effect {
        Effect::Failed { request, failure } => Some((*request, *failure)),
        _ => None,
    };
    effects.iter().filter_map(failure).collect()
}

#[test]
fn a_request_waits_at_a_leader_that_does_not_serve_and_is_taken_once_it_does() {
    let mut stage = leader(Settings::default());
    stage.puppet().standing.serving = false;
    let (_, effects) = propose(&mut stage, command(1));
    assert_eq!(failed(&effects), []);
    assert_eq!(taken(&mut stage), 0);
    stage.puppet().standing.serving = true;
    stage.flush();
    assert_eq!(taken(&mut stage), 1);
}

#[test]
fn a_command_is_as_large_as_is_allowed_and_no_larger() {
    let largest = command(100).len();
    let settings = Settings { max_command_bytes: largest, ..Settings::default() };
    let mut stage = leader(settings);
    let (_, effects) = propose(&mut stage, command(100));
    assert_eq!((failed(&effects), taken(&mut stage)), (vec![], 1));
    let (request, effects) = propose(&mut stage, command(101));
    assert_eq!(failed(&effects), [(request, Failure::TooLarge)]);
    stage.on(Event::Room(false));
    let (request, effects) = propose(&mut stage, command(1));
    assert_eq!(failed(&effects), [(request, Failure::DiskFull)]);
    assert_eq!(taken(&mut stage), 1);
}

#[test]
fn what_was_sent_is_not_sent_to_the_next_leader_before_all_of_that_ballot_is_applied() {
    let mut stage = Stage::with_entries(2);
    stage.follow(PEER, 2);
    let (_, effects) = propose(&mut stage, command(1));
    assert_eq!(proposals(&said(effects)).len(), 1);
    // It was taken; and somebody else leads.
    stage.append(1);
    stage.follow(THIRD, 4);
    stage.append(1);
    let last = stage.log().last().index;
    stage.log().commit(last);
    stage.flush();
    let generation = stage.replica.applying.generation();
    let mut applied = |through: u64| {
        let (through, requests) = (Index(through), Vec::new());
        let applied = Applied { generation, through, requests, deadline: None };
        proposals(&said(stage.on(Event::Applied(applied))))
    };
    // What is committed behind what is applied may have it.
    for through in 1..=4 {
        assert_eq!(applied(through), [], "{through}");
    }
    // It was found nowhere: it never took effect.
    assert_eq!(applied(5).len(), 1);
}

/// What the leader of a ballot was sent may yet be committed, for as long as nothing of a later
/// ballot was applied. A snapshot does not say whether it contains it.
#[test]
fn what_was_sent_in_the_ballot_in_which_a_restored_snapshot_ends_is_of_unknown_outcome() {
    for (ends_in, is_unknown) in [(1, false), (2, true), (3, true)] {
        let mut stage = Stage::with_entries(1);
        stage.follow(PEER, 2);
        let (request, effects) = propose(&mut stage, command(1));
        assert_eq!(proposals(&said(effects)).len(), 1);
        stage.log().rebase(snapshot_at(9, ends_in));
        let mut out = Vec::new();
        stage.replica.restore_snapshot(&mut out);
        let generation = stage.replica.applying.generation();
        let effects = stage.on(Event::Restored { generation, deadline: None });
        let expected = is_unknown.then_some((request, Failure::Unknown));
        assert_eq!(failed(&effects), expected.into_iter().collect::<Vec<_>>(), "{ends_in}");
        // Nobody asks the next leader for what may have taken effect.
        stage.puppet().standing.leader = Some(THIRD);
        stage.puppet().standing.ballot = Ballot(4);
        assert_eq!(proposals(&said(stage.flush())), []);
    }
}

#[test]
fn no_more_is_forwarded_than_a_leader_is_to_be_sent_ahead_of_its_answers() {
    let settings = Settings { window_bytes: 4 * (Entry::OVERHEAD + 1000), ..Settings::default() };
    let mut stage = Stage::with(settings);
    stage.follow(PEER, 1);
    let sent = |stage: &mut Stage, bytes| {
        let (_, effects) = propose(stage, command(bytes));
        proposals(&said(effects))
    };
    let first = sent(&mut stage, 4000);
    assert_eq!(first.len(), 1, "one of any size");
    assert_eq!([sent(&mut stage, 10), sent(&mut stage, 2000), sent(&mut stage, 10)].concat(), []);
    // Those that wait are not to be answered when nobody waits any more.
    stage.now.monotonic += stage.replica.settings.request_timeout / 2 - Duration::from_millis(1);
    let (_, effects) = propose(&mut stage, command(10));
    assert_eq!(failed(&effects), []);
    stage.now.monotonic += Duration::from_millis(1);
    let (request, effects) = propose(&mut stage, command(10));
    assert_eq!(failed(&effects), [(request, Failure::Overdue)]);
    let refused = Forward::Refused { attempt: first[0].2, reason: Refusal::TooLarge };
    let then = stage.on(from_peer(PeerMessage::Forward(refused)));
    assert_eq!(proposals(&said(then)).len(), 2, "as many as it takes to fill the window");
}

#[test]
fn what_seems_lost_is_sent_again_in_its_ballot_and_not_before_it_may_be() {
    let mut stage = Stage::with_entries(1);
    stage.follow(PEER, 2);
    let (_, effects) = propose(&mut stage, command(1));
    let first = proposals(&said(effects));
    assert_eq!(first.len(), 1);
    assert_eq!(proposals(&said(stage.on(Event::Timeout(Timer::Requests)))), []);
    stage.now.monotonic += stage.replica.resend_interval().end;
    assert_eq!(proposals(&said(stage.on(Event::Timeout(Timer::Requests)))), first);
    // Of a later ballot, nothing has been applied.
    stage.now.monotonic += stage.replica.resend_interval().end;
    stage.follow(THIRD, 3);
    assert_eq!(proposals(&said(stage.on(Event::Timeout(Timer::Requests)))), []);
    stage.puppet().standing.ballot = Ballot(3);
    stage.append(1);
    stage.commit();
    stage.flush();
    stage.now.monotonic += stage.replica.resend_interval().end;
    let then = proposals(&said(stage.on(Event::Timeout(Timer::Requests))));
    assert!(then[0].2 > first[0].2, "another attempt, in the later ballot");
}

#[test]
fn a_leader_whose_disk_does_not_answer_for_longer_than_an_election_hands_over() {
    let mut stage = leader(Settings::default());
    let patience = Settings::default().election.end;
    stage.holds = true;
    stage.append(1);
    stage.now.monotonic += patience;
    stage.flush();
    assert_eq!(stage.puppet().hand_overs, 0);
    stage.now.monotonic += Duration::from_millis(1);
    (0..3).for_each(|_| drop(stage.flush()));
    assert_eq!(stage.puppet().hand_overs, 1);
    // It is asked again if nothing comes of it.
    stage.now.monotonic += patience + Duration::from_millis(1);
    (0..3).for_each(|_| drop(stage.flush()));
    assert_eq!(stage.puppet().hand_overs, 2);
    stage.save();
    stage.now.monotonic += 2 * patience;
    stage.flush();
    assert_eq!(stage.puppet().hand_overs, 2);
}

#[test]
fn a_leader_whose_disk_has_much_to_do_and_does_it_goes_on_leading() {
    let mut stage = leader(Settings::default());
    let patience = Settings::default().election.end;
    stage.holds = true;
    // Twice as much is to be written as the disk writes.
    for number in 1..=64 {
        stage.append(1);
        stage.now.monotonic += patience / 8;
        stage.flush();
        if number % 2 == 0 {
            let oldest = stage.unsaved.remove(0);
            stage.on(Event::Saved(oldest));
        }
    }
    assert_eq!(stage.puppet().hand_overs, 0);
    stage.now.monotonic += patience + Duration::from_millis(1);
    stage.flush();
    assert_eq!(stage.puppet().hand_overs, 1);
}

#[test]
fn a_leader_whose_disk_is_full_hands_over_if_a_majority_of_others_have_room_and_ever_more_rarely() {
    let says = |stage: &mut Stage, from, has_room| {
        let message = PeerMessage::Protocol(Word::Mention);
        stage.on(Event::Message(Envelope { has_room, ..Stage::envelope(from, message) }));
    };
    let patience = Settings::default().election.end;
    let mut stage = leader(Settings::default());
    let both_say = |stage: &mut Stage, has_room| {
        says(stage, PEER, true);
        says(stage, THIRD, has_room);
    };
    stage.on(Event::Room(false));
    stage.append(1);
    both_say(&mut stage, false);
    stage.now.monotonic += patience * 1000;
    both_say(&mut stage, false);
    assert_eq!(stage.puppet().hand_overs, 0, "the next one could not begin to lead");
    both_say(&mut stage, true);
    assert_eq!(stage.puppet().hand_overs, 0, "it may be full in a moment");
    stage.now.monotonic += patience;
    says(&mut stage, PEER, true);
    assert_eq!(stage.puppet().hand_overs, 0, "who says nothing may be gone");
    says(&mut stage, THIRD, true);
    assert_eq!(stage.puppet().hand_overs, 1);
    for wait in [2, 4, 8, 16, 32, 64, 64] {
        let before = stage.puppet().hand_overs;
        stage.now.monotonic += patience * wait;
        (0..3).for_each(|_| both_say(&mut stage, true));
        assert_eq!(stage.puppet().hand_overs, before, "not yet");
        stage.now.monotonic += Duration::from_millis(1);
        (0..3).for_each(|_| both_say(&mut stage, true));
        assert_eq!(stage.puppet().hand_overs, before + 1);
    }
    // Once there was room, it is soon done again: others may be as full in a moment.
    stage.on(Event::Room(true));
    stage.on(Event::Room(false));
    both_say(&mut stage, true);
    stage.now.monotonic += patience;
    both_say(&mut stage, true);
    assert_eq!(stage.puppet().hand_overs, 8);
    stage.now.monotonic += Duration::from_millis(1);
    both_say(&mut stage, true);
    assert_eq!(stage.puppet().hand_overs, 9);
    stage.puppet().standing.serving = false;
    stage.now.monotonic += patience * 1000;
    both_say(&mut stage, true);
    assert_eq!(stage.puppet().hand_overs, 9);
}

#[test]
fn what_was_never_sent_ends_as_overdue_if_somebody_leads_and_as_leaderless_if_nobody_does() {
    for (leads, why) in [(Some(ME), Failure::Overdue), (None, Failure::NoLeader)] {
        let mut stage = leader(Settings::default());
        stage.puppet().standing.serving = false;
        stage.puppet().standing.leader = leads;
        let (request, _) = propose(&mut stage, command(1));
        stage.now.monotonic += stage.replica.settings.request_timeout;
        let effects = stage.on(Event::Timeout(Timer::Requests));
        assert_eq!(failed(&effects), [(request, why)]);
    }
}

#[test]
fn what_was_surely_not_taken_ends_as_not_proposed_also_if_it_was_sent_once() {
    let mut requests = crate::replica::requests::Requests::default();
    let name = |number| RequestId { number, ..RequestId::default() };
    let (payload, ms) = (Bytes::from_static(b"x"), Duration::from_millis);
    for number in [1, 2] {
        requests.admit(name(number), EntryKind::Command, payload.clone(), ms(100));
        requests.mark_sent(name(number), name(10 + number), Ballot(1), ms(0));
    }
    requests.pause(name(11));
    let failed = [(name(1), Failure::NoLeader), (name(2), Failure::Unknown)];
    assert_eq!(requests.expire(ms(100), false), failed);
}

/// It is committed in the ballot in which it was sent, and another leader's opening follows.
#[test]
fn what_was_executed_is_ended_and_not_asked_for_again_under_the_next_leader() {
    let mut stage = Stage::with_entries(1);
    stage.follow(PEER, 2);
    let (request, effects) = propose(&mut stage, command(1));
    assert_eq!(proposals(&said(effects)).len(), 1);
    for (leader, ballot, requests) in [(PEER, 2, vec![request]), (THIRD, 4, Vec::new())] {
        stage.follow(leader, ballot);
        stage.append(1);
        let through = stage.log().last().index;
        stage.log().commit(through);
        stage.flush();
        let generation = stage.replica.applying.generation();
        let applied = Applied { generation, through, requests, deadline: None };
        assert_eq!(proposals(&said(stage.on(Event::Applied(applied)))), []);
        assert!(stage.replica.requests.is_empty());
    }
}

#[test]
fn the_clients_of_a_disk_that_is_not_listed_are_served() {
    let mut stage = leader(Settings::default());
    let from_new_disk = |message| {
        let incarnation = Incarnation(900);
        Event::Message(Envelope { incarnation, ..Stage::envelope(PEER, message) })
    };
    stage.on(from_new_disk(forwarded(2, 1, command(1))));
    assert_eq!(taken(&mut stage), 1);
    let (ballot, request) = (Ballot(2), r(2));
    stage.on(from_new_disk(PeerMessage::Forward(Forward::Read { ballot, request })));
    assert_eq!(stage.puppet().reads, [ReadId { origin: PEER, request }]);
}
