//! How a replica falls mute, and comes back.

use super::puppet::*;
use super::*;

/// Mute, and asking its leader, which leads in this ballot.
fn mute(ballot: u64) -> (Stage, RequestId) {
    let mut stage = Stage::with_entries(4);
    stage.follow(PEER, ballot);
    stage.replica.fall_mute();
    let asked = questions(&said(stage.flush()));
    (stage, asked[0])
}

fn questions(said: &[Said]) -> Vec<RequestId> {
    let question = |(to, message): &Said| match message {
        PeerMessage::Readmission(Readmission::Ask { request }) => {
            assert_eq!(*to, PEER);
            Some(*request)
        }
        _ => None,
    };
    said.iter().filter_map(question).collect()
}

fn catch_up(request: RequestId, through: LogId) -> PeerMessage<Word> {
    PeerMessage::Readmission(Readmission::CatchUp { request, through })
}

fn at(index: u64, ballot: u64) -> LogId {
    LogId::new(Index(index), Ballot(ballot))
}

#[test]
fn the_answer_to_any_question_since_it_fell_mute_says_how_far_it_has_to_get() {
    let (mut stage, first) = mute(1);
    let second = questions(&said(stage.on(Event::Timeout(Timer::Readmission))))[0];
    assert!(first < second);
    // The answers are slower than the questions.
    stage.hear(PEER, catch_up(first, at(5, 1)));
    assert!(!stage.replica.status().mute);
}

#[test]
fn who_has_nobody_to_ask_for_a_while_asks_on_later() {
    let (mut stage, _) = mute(1);
    stage.puppet().standing.leader = None;
    for _ in 0..2 {
        let effects = stage.on(Event::Timeout(Timer::Readmission));
        let again = Effect::SetTimer(Timer::Readmission, stage.replica.resend_interval());
        assert!(effects.contains(&again), "{effects:?}");
    }
    stage.follow(PEER, 2);
    assert_eq!(questions(&said(stage.on(Event::Timeout(Timer::Readmission)))).len(), 1);
}

#[test]
fn an_answer_from_before_it_fell_mute_or_to_another_start_says_nothing() {
    let (mut stage, earlier) = mute(1);
    stage.replica.fall_mute();
    let asked = questions(&said(stage.flush()))[0];
    stage.hear(PEER, catch_up(earlier, at(5, 1)));
    assert!(stage.replica.status().mute);
    let start = Start { count: asked.start.count, nonce: asked.start.nonce + 1 };
    stage.hear(PEER, catch_up(RequestId { start, number: asked.number + 1 }, at(5, 1)));
    assert!(stage.replica.status().mute);
    stage.hear(PEER, catch_up(asked, at(5, 1)));
    assert!(!stage.replica.status().mute);
}

#[test]
fn the_first_answer_in_a_ballot_counts_until_a_later_ballot_gives_another() {
    for is_replaced in [false, true] {
        let (mut stage, asked) = mute(2);
        stage.hear(PEER, catch_up(asked, at(6, 2)));
        for not_counted in [at(7, 2), at(5, 1), at(5, 2)] {
            stage.hear(PEER, catch_up(asked, not_counted));
            assert!(stage.replica.status().mute, "{not_counted}");
        }
        if is_replaced {
            stage.hear(PEER, catch_up(asked, at(7, 3)));
        }
        stage.append(1);
        assert_eq!(stage.replica.status().mute, is_replaced);
    }
}

#[test]
fn a_log_that_is_as_long_but_another_one_is_not_what_it_has_to_get() {
    let (mut stage, asked) = mute(2);
    stage.hear(PEER, catch_up(asked, at(4, 2)));
    assert!(stage.log().durable() >= Index(4));
    assert!(stage.replica.status().mute, "entry 4 is of ballot 1 here");
}

#[test]
fn whoever_has_lost_something_vouches_for_nothing_from_that_moment_on() {
    let mut stage = Stage::with_entries(1);
    assert!(stage.log().may_vouch());
    stage.replica.fall_mute();
    assert!(!stage.log().may_vouch(), "and not from when that is on disk");
}

#[test]
fn whoever_is_told_that_another_disk_was_listed_in_its_place_is_mute_from_that_write_on() {
    let list = three().with_replaced(ME, Incarnation(101), Incarnation(900));
    let record = FoundingRecord { round: 1, list, formed: true };
    let message = crate::founding::FoundingMessage { record: record.clone(), asks: false };
    let mut replica = started_anew::<Puppet>(Settings::default(), 7);
    let out = process(&mut replica, from_peer(PeerMessage::Founding(message)));
    let first = out.iter().find_map(|effect| match effect {
        Effect::Persist { write, .. } => Some((write.founding.clone(), write.mute)),
        _ => None,
    });
    assert_eq!(first, Some((Some(record), true)));
    assert!(replica.status().formed && replica.status().mute && !replica.stopped);
}

#[test]
fn a_replacement_is_mute_until_it_is_listed_in_what_is_committed() {
    let (mut stage, asked) = mute(1);
    // That another disk has the place is committed; that this one is put back is not, yet.
    stage.list(&three().with_replaced(ME, Incarnation(101), Incarnation(900)).unwrap());
    stage.commit();
    stage.list(&three());
    stage.hear(PEER, catch_up(asked, at(5, 1)));
    assert!(stage.replica.status().mute);
    stage.commit();
    assert!(!stage.replica.status().mute);
}

#[test]
fn whoever_is_listed_as_committed_and_not_any_more_in_its_log_stays_mute() {
    let (mut stage, asked) = mute(1);
    stage.commit();
    stage.list(&three().with_replaced(ME, Incarnation(101), Incarnation(900)).unwrap());
    stage.hear(PEER, catch_up(asked, at(5, 1)));
    assert!(stage.replica.status().mute);
}

#[test]
fn only_a_mute_replica_asks_for_the_place_of_another_incarnation() {
    let listed = |incarnation| {
        let incarnation = Incarnation(incarnation);
        PeerMessage::Readmission(Readmission::Listed { incarnation })
    };
    let mut stage = Stage::with_entries(1);
    stage.follow(PEER, 1);
    assert_eq!(stage.answers(PEER, listed(900)), []);
    let (mut stage, _) = mute(1);
    assert_eq!(stage.answers(PEER, listed(101)), [], "that is its own");
    let replaces = Incarnation(900);
    let rejoin = PeerMessage::Readmission(Readmission::Rejoin { replaces });
    assert_eq!(stage.answers(PEER, listed(900)), [(PEER, rejoin)]);
}

/// What the log lists of a member.
fn listed(stage: &mut Stage, id: NodeId) -> u64 {
    stage.log().membership().incarnation(id).unwrap().0
}

/// A quorum answers the leader.
fn confirm(stage: &mut Stage) {
    let reads = std::mem::take(&mut stage.puppet().reads);
    let effects = stage.effects();
    reads.into_iter().for_each(|read| effects.read_ready(read, Index(1)));
    stage.flush();
}

fn rejoins(stage: &mut Stage, id: NodeId, incarnation: u64, replaces: u64) {
    asks_to_rejoin(stage, id, incarnation, replaces);
    confirm(stage);
}

fn asks_to_rejoin(stage: &mut Stage, id: NodeId, incarnation: u64, replaces: u64) {
    let replaces = Incarnation(replaces);
    let message = PeerMessage::Readmission(Readmission::Rejoin { replaces });
    let incarnation = Incarnation(incarnation);
    let envelope = Envelope { incarnation, ..Stage::envelope(id, message) };
    stage.on(Event::Message(envelope));
}

#[test]
fn members_are_put_back_one_after_the_other_and_only_by_who_leads() {
    let mut stage = Stage::with_entries(1);
    stage.commit();
    rejoins(&mut stage, PEER, 900, 102);
    assert_eq!(listed(&mut stage, PEER), 102, "it does not lead");
    stage.lead(1);
    rejoins(&mut stage, PEER, 900, 102);
    assert_eq!(listed(&mut stage, PEER), 900);
    rejoins(&mut stage, THIRD, 901, 103);
    assert_eq!(listed(&mut stage, THIRD), 103, "the quorum may rest on the one put back before");
    stage.commit();
    rejoins(&mut stage, THIRD, 901, 103);
    assert_eq!(listed(&mut stage, THIRD), 901);
    stage.commit();
    // Who is listed already takes no entry.
    let last = stage.log().last();
    rejoins(&mut stage, THIRD, 901, 901);
    assert_eq!(stage.log().last(), last);
}

#[test]
fn a_disk_is_listed_once_a_quorum_has_answered_the_leader_after_the_request() {
    let mut stage = Stage::with_entries(1);
    stage.commit();
    stage.lead(1);
    asks_to_rejoin(&mut stage, PEER, 900, 102);
    assert_eq!(listed(&mut stage, PEER), 102);
    confirm(&mut stage);
    assert_eq!(listed(&mut stage, PEER), 900);
    // What was overtaken meanwhile has no effect.
    stage.commit();
    asks_to_rejoin(&mut stage, THIRD, 901, 103);
    let members = stage.log().membership().clone();
    stage.list(&members.with_replaced(THIRD, Incarnation(103), Incarnation(902)).unwrap());
    stage.commit();
    confirm(&mut stage);
    assert_eq!(listed(&mut stage, THIRD), 902);
    // Nor if the old disk turns out to be there, nor by who has stopped leading.
    asks_to_rejoin(&mut stage, THIRD, 903, 902);
    let message = PeerMessage::Repair(Repair::Entries { entries: Vec::new() });
    let alive = Envelope { incarnation: Incarnation(902), ..Stage::envelope(THIRD, message) };
    stage.on(Event::Message(alive));
    confirm(&mut stage);
    assert_eq!(listed(&mut stage, THIRD), 902);
    asks_to_rejoin(&mut stage, THIRD, 903, 902);
    stage.follow(PEER, 2);
    confirm(&mut stage);
    assert_eq!(listed(&mut stage, THIRD), 902);
}

#[test]
fn what_has_become_of_other_members_until_a_quorum_has_answered_stays_as_it_is() {
    let mut stage = Stage::with_entries(1);
    stage.commit();
    stage.lead(1);
    asks_to_rejoin(&mut stage, PEER, 900, 102);
    let members = stage.log().membership().clone();
    stage.list(&members.with_replaced(THIRD, Incarnation(103), Incarnation(901)).unwrap());
    stage.commit();
    confirm(&mut stage);
    assert_eq!((listed(&mut stage, PEER), listed(&mut stage, THIRD)), (900, 901));
}

#[test]
fn a_question_that_can_no_longer_be_confirmed_is_taken_when_it_is_asked_again() {
    let mut stage = Stage::with_entries(1);
    stage.commit();
    stage.lead(1);
    for _ in 0..2 {
        asks_to_rejoin(&mut stage, PEER, 900, 102);
        let reads = std::mem::take(&mut stage.puppet().reads);
        assert_eq!(reads.len(), 1);
        let effects = stage.effects();
        reads.into_iter().for_each(|read| effects.read_lost(read));
        stage.flush();
    }
    // Or that was lost and nobody says so, be it with an earlier leadership.
    for passed in [Duration::ZERO, stage.replica.settings.election.end] {
        stage.now.monotonic += passed;
        asks_to_rejoin(&mut stage, PEER, 900, 102);
        let reads = std::mem::take(&mut stage.puppet().reads);
        assert_eq!(reads.len(), 1);
        asks_to_rejoin(&mut stage, PEER, 900, 102);
        assert_eq!(stage.puppet().reads, []);
    }
    stage.now.monotonic += stage.replica.settings.election.end;
    rejoins(&mut stage, PEER, 900, 102);
    assert_eq!(listed(&mut stage, PEER), 900);
}

#[test]
fn of_two_members_neither_is_replaced_since_that_would_take_its_own_word() {
    let mut stage = Stage::with_entries(1);
    stage.list(&Membership::new([(ME, Incarnation(101)), (PEER, Incarnation(102))]));
    stage.commit();
    stage.lead(1);
    rejoins(&mut stage, PEER, 900, 102);
    assert_eq!(listed(&mut stage, PEER), 102);
}

#[test]
fn a_leader_says_where_its_log_ends_once_a_quorum_has_confirmed_it_after_the_question() {
    let mut stage = Stage::with_entries(1);
    stage.commit();
    let name = |number| RequestId { number, ..RequestId::default() };
    let ask = |number| PeerMessage::Readmission(Readmission::Ask { request: name(number) });
    stage.hear(PEER, ask(1));
    assert_eq!(stage.puppet().reads, [], "it does not lead");
    stage.lead(1);
    assert_eq!(stage.answers(PEER, ask(2)), [], "nobody has confirmed that it leads");
    stage.append(3);
    // However often it asks before the answer, the question is the first one.
    assert_eq!(stage.answers(PEER, ask(3)), []);
    let reads = stage.puppet().reads.clone();
    assert_eq!(reads.iter().map(|read| read.request).collect::<Vec<_>>(), [name(2)]);
    let effects = stage.effects();
    reads.into_iter().for_each(|read| effects.read_ready(read, Index(1)));
    let through = stage.log().last();
    assert!(through.index > stage.log().committed());
    let request = name(2);
    let answers: Vec<Said> = said(stage.flush())
        .into_iter()
        .filter(|(_, message)| matches!(message, PeerMessage::Readmission(_)))
        .collect();
    assert_eq!(answers, [(PEER, catch_up(request, through))]);
}

#[test]
fn a_disk_that_is_not_listed_is_told_which_one_is() {
    let mut stage = Stage::with_entries(1);
    stage.commit();
    stage.lead(1);
    let request = RequestId::default();
    let message = PeerMessage::Readmission(Readmission::Ask { request });
    let envelope = Envelope { incarnation: Incarnation(900), ..Stage::envelope(PEER, message) };
    let incarnation = Incarnation(102);
    let listed = PeerMessage::Readmission(Readmission::Listed { incarnation });
    assert_eq!(said(stage.on(Event::Message(envelope))), [(PEER, listed)]);
    assert_eq!(stage.puppet().reads, []);
}

fn is_stopped(stage: &Stage) -> bool {
    stage.replica.stopped
}

#[test]
fn a_disk_stops_once_another_has_its_place_for_good_unless_it_is_mute() {
    let replaced = three().with_replaced(ME, Incarnation(101), Incarnation(900)).unwrap();
    let mut stage = Stage::with_entries(1);
    stage.list(&replaced);
    assert!(!is_stopped(&stage), "that may be cut off");
    let last = stage.log().last().index;
    stage.log().commit(last);
    let by = Incarnation(900);
    let stop = Effect::Stop(Fatal::Superseded { node: ME, by });
    assert!(stage.flush().contains(&stop));
    assert!(is_stopped(&stage));

    let mut stage = Stage::with_entries(1);
    stage.replica.fall_mute();
    stage.list(&replaced);
    stage.commit();
    assert!(!is_stopped(&stage), "it is about to ask for the place");
}

#[test]
fn what_a_leader_was_told_in_another_ballot_or_holds_as_told_makes_nobody_mute() {
    let mut stage = Stage::with_entries(4);
    stage.follow(PEER, 2);
    let told = |acknowledged| {
        let start = Start { count: 1, nonce: 7 };
        let disk = crate::write::Disk { incarnation: Incarnation(101), start };
        let known = Some(crate::message::Known { disk, acknowledged });
        let message = PeerMessage::Protocol(Word::Mention);
        Event::Message(Envelope { known, ..Stage::envelope(PEER, message) })
    };
    for not_lost in [None, Some((Ballot(2), at(5, 1))), Some((Ballot(3), at(9, 3)))] {
        stage.on(told(not_lost));
        assert!(!stage.replica.status().mute, "{not_lost:?}");
        assert_eq!(stage.replica.status().lost, None);
    }
    stage.on(told(Some((Ballot(2), at(6, 2)))));
    assert!(stage.replica.status().mute);
    assert_eq!(stage.replica.lost(), Some(Index(6)));
    // Mute already, it begins nothing anew.
    let effects = stage.on(told(Some((Ballot(2), at(7, 2)))));
    assert_eq!(questions(&said(effects)), []);
    assert_eq!(stage.replica.lost(), Some(Index(6)));
}

/// The next message might come after a vote.
#[test]
fn what_the_message_says_is_lost_that_brings_the_ballot_is_lost_at_once() {
    let mut stage = Stage::with_entries(4);
    let start = Start { count: 1, nonce: 7 };
    let disk = crate::write::Disk { incarnation: Incarnation(101), start };
    let known = Some(crate::message::Known { disk, acknowledged: Some((Ballot(2), at(6, 2))) });
    let message = PeerMessage::Protocol(Word::Leads(2));
    stage.on(Event::Message(Envelope { known, ..Stage::envelope(PEER, message) }));
    assert!(stage.replica.status().mute);
}

#[test]
fn what_was_acknowledged_is_told_by_who_leads_and_by_nobody_else() {
    let mut stage = Stage::with_entries(3);
    stage.hear(PEER, PeerMessage::Protocol(Word::Mention));
    stage.puppet().acknowledged = Index(3);
    let envelope = |stage: &Stage| {
        let known = stage.replica.envelope(PEER, PeerMessage::Protocol(Word::Mention)).known;
        known.unwrap().acknowledged
    };
    assert_eq!(envelope(&stage), None);
    stage.lead(1);
    assert_eq!(envelope(&stage), Some((Ballot(1), at(3, 1))));
    stage.puppet().acknowledged = Index::ZERO;
    assert_eq!(envelope(&stage), None);
}

#[test]
fn a_replica_that_falls_mute_again_vouches_for_nothing_whatever_write_completes() {
    let mut stage = Stage::with_entries(1);
    stage.holds = true;
    stage.append(1);
    stage.replica.fall_mute();
    stage.flush();
    let (before, muteness) = (stage.unsaved[0], stage.unsaved[1]);
    stage.on(Event::Saved(before));
    assert!(!stage.log().may_vouch(), "that write was begun by one who was not mute");
    stage.on(Event::Saved(muteness));
    assert!(!stage.log().may_vouch());
}

#[test]
fn a_replica_vouches_for_nothing_until_it_is_on_disk_that_it_is_not_mute_any_more() {
    let (mut stage, asked) = mute(1);
    stage.holds = true;
    stage.append(1);
    stage.hear(PEER, catch_up(asked, at(5, 1)));
    assert!(!stage.replica.status().mute);
    assert_eq!(stage.writes.last().map(|write| write.mute), Some(false));
    let [before, unmute] = stage.unsaved[..] else { panic!("{:?}", stage.unsaved) };
    stage.on(Event::Saved(before));
    assert!(!stage.log().may_vouch());
    stage.on(Event::Saved(unmute));
    assert!(stage.log().may_vouch());
}

/// In a cluster that is otherwise idle, and needs its vote.
#[test]
fn that_a_replica_counts_again_is_written_though_there_is_nothing_else_to_write() {
    let (mut stage, asked) = mute(1);
    // Who it is that speaks is news, and is written by itself.
    stage.hear(PEER, PeerMessage::Protocol(Word::Mention));
    let last = stage.log().last();
    let before = stage.writes.len();
    stage.hear(PEER, catch_up(asked, last));
    let fresh: Vec<_> = stage.writes[before..].iter().map(|write| write.mute).collect();
    assert_eq!(fresh, [false]);
    assert!(stage.log().may_vouch());
}

/// It was put back once, and has restarted since.
#[test]
fn a_disk_that_lacks_the_entry_which_lists_it_is_not_superseded_and_has_that_repaired() {
    let mut stage = Stage::with_entries(0);
    let others = three().with_replaced(ME, Incarnation(101), Incarnation(900)).unwrap();
    stage.list(&others);
    stage.list(&three());
    stage.append(1);
    let entries = stage.log().entries(Index(1), usize::MAX).unwrap();
    let covered = SnapshotMeta { membership: others, ..snapshot_of(&entries[1]) };
    let found = RecoveredLog {
        base_digest: three().digest(),
        ballots: vec![(Index(1), Ballot(1))],
        tail: entries[3..].to_vec(),
        last: entries[3].id,
        last_digest: entries[3].digest(),
        gaps: vec![gap_of(&entries, 3, 3)],
        ..RecoveredLog::default()
    };
    let mut log = Log::recover(three(), Some(covered), found);
    log.set_owner(ME, Incarnation(101));
    *stage.log() = log;
    assert_eq!(listed(&mut stage, ME), 900);
    stage.flush();
    assert!(!is_stopped(&stage));
    let answer = Repair::Entries { entries: entries[2..3].to_vec() };
    stage.hear(PEER, PeerMessage::Repair(answer));
    assert!(!is_stopped(&stage) && stage.log().is_whole() && stage.log().may_vouch());
    assert_eq!(listed(&mut stage, ME), 101);
}

/// Where a majority says so, a leader without room hands over.
#[test]
fn only_a_disk_that_has_room_and_whose_word_counts_says_that_it_has_room() {
    let mut stage = Stage::with_entries(1);
    let says =
        |stage: &Stage| stage.replica.envelope(PEER, PeerMessage::Protocol(Word::Mention)).has_room;
    assert!(says(&stage));
    stage.on(Event::Room(false));
    assert!(!says(&stage));
    stage.on(Event::Room(true));
    assert!(says(&stage));
    stage.replica.fall_mute();
    assert!(!says(&stage));
}
