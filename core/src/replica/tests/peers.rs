//! Who may say what to whom.

use super::puppet::*;
use super::*;

fn word(from: NodeId, incarnation: u64, word: Word) -> Envelope<Word> {
    let incarnation = Incarnation(incarnation);
    Envelope { incarnation, ..Stage::envelope(from, PeerMessage::Protocol(word)) }
}

#[test]
fn messages_for_somebody_else_from_oneself_and_from_strangers_are_counted_and_not_heard() {
    let mut stage = Stage::new();
    let mention = || word(PEER, 102, Word::Mention);
    let not_heard = [
        Envelope { to: THIRD, ..mention() },
        Envelope { from: ME, ..mention() },
        Envelope { from: NodeId(4), ..mention() },
    ];
    for (count, envelope) in (1..).zip(not_heard) {
        assert_eq!(said(stage.on(Event::Message(envelope))), []);
        assert_eq!(stage.replica.status().ignored.strangers, count);
    }
    assert_eq!(stage.puppet().heard, []);
    stage.on(Event::Message(mention()));
    assert_eq!(stage.puppet().heard, [(PEER, Word::Mention)]);
}

#[test]
fn before_the_cluster_is_formed_nothing_is_heard_but_the_founding() {
    let mut replica = started_anew::<Puppet>(Settings::default(), 7);
    let mention = word(PEER, 102, Word::Mention);
    assert_eq!(said(process(&mut replica, Event::Message(mention))), []);
    assert_eq!(replica.status().ignored, Ignored { untimely: 1, ..Ignored::default() });
}

#[test]
fn votes_count_only_from_the_disk_that_the_log_lists_committed_or_not() {
    let mut stage = Stage::with_entries(1);
    stage.commit();
    stage.on(Event::Message(word(PEER, 900, Word::Vote)));
    assert_eq!(stage.puppet().heard, []);
    assert_eq!(stage.replica.status().ignored.foreign_incarnations, 1);
    // Anything else is heard from any disk of a member.
    stage.on(Event::Message(word(PEER, 900, Word::Mention)));
    assert_eq!(stage.puppet().heard, [(PEER, Word::Mention)]);
    stage.list(&three().with_replaced(PEER, Incarnation(102), Incarnation(900)).unwrap());
    stage.on(Event::Message(word(PEER, 102, Word::Vote)));
    assert_eq!(stage.replica.status().ignored.foreign_incarnations, 2);
    stage.on(Event::Message(word(PEER, 900, Word::Vote)));
    assert_eq!(stage.puppet().heard.last(), Some(&(PEER, Word::Vote)));
}

/// What is known of a disk is what an old image of it is told by.
#[test]
fn what_a_disk_that_is_not_listed_says_changes_nothing_in_what_is_known_of_the_listed_one() {
    let mut stage = Stage::new();
    let started = |count, envelope| {
        let start = Start { count, nonce: count };
        Event::Message(Envelope { start, previous_nonce: count - 1, ..envelope })
    };
    stage.on(started(5, word(PEER, 102, Word::Mention)));
    stage.on(started(1, word(PEER, 900, Word::Mention)));
    let heard = stage.puppet().heard.len();
    let answers = said(stage.on(started(3, word(PEER, 102, Word::Vote))));
    assert_eq!(answers, [(PEER, PeerMessage::Readmission(Readmission::Doubt))]);
    assert_eq!(stage.puppet().heard.len(), heard);
    assert_eq!(stage.replica.status().ignored.outdated, 1);
}

#[test]
fn a_formed_replica_asks_nobody_about_the_founding_and_tells_whoever_asks() {
    let mut stage = Stage::new();
    assert_eq!(stage.on(Event::Timeout(Timer::Founding)), []);
    let record = FoundingRecord::default();
    let question = |asks| {
        let record = record.clone();
        PeerMessage::Founding(crate::founding::FoundingMessage { record, asks })
    };
    assert_eq!(stage.answers(THIRD, question(false)), []);
    let record = FoundingRecord { round: 1, list: Some(three()), formed: true };
    let told = crate::founding::FoundingMessage { record, asks: false };
    assert_eq!(stage.answers(THIRD, question(true)), [(THIRD, PeerMessage::Founding(told))]);
}

/// What somebody says who knows this disk from this start of it.
fn knows(incarnation: u64, start: Start, message: PeerMessage<Word>) -> Event<Word> {
    let disk = crate::write::Disk { incarnation: Incarnation(incarnation), start };
    let known = Some(crate::message::Known { disk, acknowledged: None });
    Event::Message(Envelope { known, ..Stage::envelope(PEER, message) })
}

#[test]
fn an_old_image_of_a_disk_stops_where_it_hears_of_a_later_start() {
    let mention = || PeerMessage::Protocol(Word::Mention);
    let later = Start { count: 2, nonce: 8 };
    let mut stage = Stage::new();
    stage.on(knows(101, stage.replica.lineage.latest(), mention()));
    stage.on(knows(900, later, mention()));
    assert_eq!(stage.puppet().heard.len(), 2, "that was said of this start, and of another disk");
    let stopped = stage.on(knows(101, later, mention()));
    assert!(stopped.contains(&Effect::Stop(Fatal::OldImage { node: ME })));
    assert_eq!(stage.puppet().heard.len(), 2);
}

#[test]
fn whoever_doubts_is_told_of_the_start_that_it_knows_if_that_was_an_earlier_one() {
    let mut stage = Stage::new();
    let earlier = stage.replica.lineage.latest();
    stage.replica.lineage.begin(8);
    let latest = stage.replica.lineage.latest();
    let doubt = || PeerMessage::Readmission(Readmission::Doubt);
    assert_eq!(stage.answers(PEER, doubt()), []);
    assert_eq!(said(stage.on(knows(101, latest, doubt()))), []);
    assert_eq!(said(stage.on(knows(900, earlier, doubt()))), []);
    let told = PeerMessage::Readmission(Readmission::Follows { start: earlier });
    assert_eq!(said(stage.on(knows(101, earlier, doubt()))), [(PEER, told)]);
}

#[test]
fn a_start_much_later_than_the_known_one_is_heard_once_it_has_said_that_it_follows_that() {
    let mut stage = Stage::new();
    stage.hear(PEER, PeerMessage::Protocol(Word::Mention));
    let (known, start) = (Start { count: 1, nonce: 0 }, Start { count: 5, nonce: 5 });
    let says = |message| {
        let envelope = Stage::envelope(PEER, message);
        Event::Message(Envelope { start, previous_nonce: 4, ..envelope })
    };
    let doubt = (PEER, PeerMessage::Readmission(Readmission::Doubt));
    // As often as it speaks: the question may be lost, and so may the answer.
    for _ in 0..3 {
        let said = said(stage.on(says(PeerMessage::Protocol(Word::Mention))));
        assert_eq!(said, std::slice::from_ref(&doubt));
    }
    assert_eq!(stage.puppet().heard.len(), 1);
    stage.on(says(PeerMessage::Readmission(Readmission::Follows { start: known })));
    stage.on(says(PeerMessage::Protocol(Word::Mention)));
    assert_eq!(stage.puppet().heard.len(), 2);
}

#[test]
fn a_list_that_is_recorded_forms_no_cluster_before_the_others_have_confirmed_it() {
    let mut replica = started_anew::<Puppet>(Settings::default(), 7);
    let nothing = FoundingRecord::default();
    let message = crate::founding::FoundingMessage { record: nothing, asks: false };
    let heard = Stage::envelope(PEER, PeerMessage::Founding(message));
    let asked = said(process(&mut replica, Event::Message(heard)));
    assert!(!replica.status().formed && replica.cluster().is_none());
    let record = FoundingRecord { round: 0, list: Some(founders()), formed: false };
    let message = crate::founding::FoundingMessage { record, asks: true };
    assert_eq!(asked, [(PEER, PeerMessage::Founding(message))]);
}

#[test]
fn what_is_known_of_the_founding_is_written_once() {
    let mut replica = started_anew::<Puppet>(Settings::default(), 7);
    let message =
        crate::founding::FoundingMessage { record: FoundingRecord::default(), asks: false };
    let heard = Stage::envelope(PEER, PeerMessage::Founding(message));
    let mut out = Vec::new();
    replica.step(Now::default(), Event::Message(heard), &mut out);
    (0..3).for_each(|_| replica.flush(Now::default(), &mut out));
    let writes = out.iter().filter(|effect| matches!(effect, Effect::Persist { .. }));
    assert_eq!(writes.count(), 1);
}

/// Who starts unformed from such a disk founds the cluster anew, and forgets its log.
#[test]
fn that_the_cluster_is_formed_is_written_by_who_is_told_so_and_by_who_finds_out() {
    let written = |out: &[Effect<Word>]| {
        out.iter().rev().find_map(|effect| match effect {
            Effect::Persist { write, .. } => write.founding.clone(),
            _ => None,
        })
    };
    let record = |list, formed| FoundingRecord { round: 0, list, formed };
    let formed = record(Some(founders()), true);
    let finds_out = vec![record(None, false), record(Some(founders()), false)];
    for heard in [vec![formed.clone()], finds_out] {
        let mut replica = started_anew::<Puppet>(Settings::default(), 7);
        let mut last = None;
        for record in heard {
            let message = crate::founding::FoundingMessage { record, asks: false };
            let out = process(&mut replica, from_peer(PeerMessage::Founding(message)));
            last = written(&out);
        }
        assert!(replica.status().formed);
        assert_eq!(last.as_ref(), Some(&formed));
    }
}

/// An old image of the peer's disk would not be noticed after a restart.
#[test]
fn a_start_of_a_peer_that_was_heard_of_is_written_at_once_and_known_after_a_restart() {
    let mut replica = started(Settings::default());
    be_told_that_the_cluster_is_formed(&mut replica);
    let heard = process(&mut replica, from_peer(PeerMessage::Protocol(Vec::new())));
    let written = heard.iter().find_map(|effect| match effect {
        Effect::Persist { write, .. } => write.peers.clone(),
        _ => None,
    });
    let peers = written.expect("it is news");
    let later = Start { count: 7, ..peers[&PEER].start };
    let peers = BTreeMap::from([(PEER, crate::write::Disk { start: later, ..peers[&PEER] })]);
    let list = Some(founders());
    let founding = FoundingRecord { round: 1, list, formed: true };
    let recovered = Recovered { peers, founding, ..empty_disk(7) };
    let members = [ME, PEER].into();
    let settings = Settings::default();
    let config = ReplicaConfig { me: ME, members, bootstrap: false, settings };
    let mut replica =
        Replica::<Stub>::recover(config, recovered, Now::default(), &mut Vec::new()).unwrap();
    process(&mut replica, from_peer(PeerMessage::Protocol(Vec::new())));
    assert_eq!(replica.status().ignored.outdated, 1);
}
