//! What a protocol wants, and who does it.

use super::puppet::*;
use super::*;
use crate::message::{Forward, Refusal};
use crate::protocol::ReadId;

fn leader() -> Stage {
    let mut stage = Stage::new();
    stage.append(1);
    stage.commit();
    stage.lead(2);
    stage
}

#[test]
fn timers_old_entries_and_snapshots_are_asked_of_the_shell() {
    let mut stage = Stage::new();
    let range = Duration::from_millis(3)..Duration::from_millis(5);
    stage.effects().set_timer(Timer::Election, range.clone());
    stage.effects().read_entries(PEER, Index(3), 100);
    stage.effects().fetch_snapshot(PEER, snapshot_at(9, 1));
    let out = stage.flush();
    let reader = Reader::Peer(PEER);
    for wanted in [
        Effect::SetTimer(Timer::Election, range),
        Effect::ReadEntries { reader, from: Index(3), max_bytes: 100 },
        Effect::BeginFetch { snapshot: snapshot_at(9, 1) },
    ] {
        assert!(out.contains(&wanted), "{wanted:?} of {out:?}");
    }
}

#[test]
fn what_was_asked_for_is_drained_in_order() {
    let mut effects = Effects::<Word>::default();
    let read = ReadId { origin: ME, request: RequestId::default() };
    effects.send(PEER, Word::Mention);
    effects.read_lost(read);
    let drained: Vec<_> = effects.drain().collect();
    let sent = ProtocolEffect::Send { to: PEER, message: Word::Mention };
    assert_eq!(drained, [sent, ProtocolEffect::ReadLost(read)]);
    assert_eq!(effects.drain().count(), 0);
}

#[test]
fn a_read_of_ones_own_is_answered_and_asked_for_again_if_it_is_lost() {
    let mut stage = leader();
    let request = stage.replica.name_request();
    stage.on(Event::Read { request });
    let read = ReadId { origin: ME, request };
    assert_eq!(stage.puppet().reads, [read]);
    // That of another node is that node's business, be it called the same.
    stage.effects().read_lost(ReadId { origin: PEER, request });
    stage.flush();
    stage.flush();
    assert_eq!(stage.puppet().reads.len(), 1);
    stage.effects().read_lost(read);
    stage.flush();
    stage.flush();
    assert_eq!(stage.puppet().reads, [read, read]);
    let ready = Forward::ReadReady { request, index: Index(1) };
    stage.effects().read_ready(ReadId { origin: PEER, request }, Index(1));
    let out = stage.flush();
    assert!(!out.contains(&Effect::ReadReady { request }));
    assert_eq!(said(out), [(PEER, PeerMessage::Forward(ready))]);
    stage.effects().read_ready(read, Index(1));
    assert!(stage.flush().contains(&Effect::ReadReady { request }));
}

#[test]
fn a_log_that_was_put_behind_another_snapshot_has_its_state_restored() {
    let mut stage = Stage::with_entries(2);
    let is_restoration = |effect: &Effect<_>| matches!(effect, Effect::Restore { .. });
    let heard = stage.hear(PEER, PeerMessage::Protocol(Word::Mention));
    assert!(!heard.iter().any(is_restoration));
    let heard = stage.hear(PEER, PeerMessage::Protocol(Word::Rebase(snapshot_at(9, 1))));
    let generation = stage.replica.applying.generation();
    let restore = Effect::Restore { generation, snapshot: snapshot_at(9, 1) };
    let points_there = |effect: &Effect<_>| match effect {
        Effect::Persist { write, .. } => write.snapshot == Some(snapshot_at(9, 1)),
        _ => false,
    };
    // Once the write is saved the snapshot before may be gone, which is no error once this is known.
    let order = heard.iter().filter(|effect| **effect == restore || points_there(effect));
    assert!(order.map(is_restoration).eq([true, false]));
    let heard = stage.hear(PEER, PeerMessage::Protocol(Word::Mention));
    assert!(!heard.iter().any(is_restoration));
}

#[test]
fn requests_that_wait_are_looked_at_again_later_by_one_timer() {
    let heartbeat = Settings::default().heartbeat;
    let timers = |out: Vec<Effect<Word>>| {
        let timer = Effect::SetTimer(Timer::Requests, heartbeat * 4..heartbeat * 5);
        out.iter().filter(|effect| **effect == timer).count()
    };
    let read = |request| Event::Read { request };
    let proposal = |request| {
        let (kind, payload) = (EntryKind::Command, Bytes::from_static(b"x"));
        Event::Propose { request, kind, payload }
    };
    let kinds: [&dyn Fn(RequestId) -> Event<Word>; 2] = [&read, &proposal];
    for kind in kinds {
        let mut stage = leader();
        assert_eq!(timers(stage.flush()), 0, "nothing waits");
        let request = stage.replica.name_request();
        assert_eq!(timers(stage.on(kind(request))), 1);
        assert_eq!(timers(stage.flush()), 0, "it is set");
        for _ in 0..3 {
            let again = stage.on(Event::Timeout(Timer::Requests));
            assert_eq!(timers(again), 1, "it has run out, and the request still waits");
            assert_eq!(timers(stage.flush()), 0);
        }
    }
}

#[test]
fn a_request_that_cannot_be_taken_ends_at_once_and_says_why() {
    let mut stage = Stage::with(Settings { max_command_bytes: 10, ..Settings::default() });
    let request = stage.replica.name_request();
    let payload = vec![0; 11].into();
    let out = stage.on(Event::Propose { request, kind: EntryKind::Command, payload });
    assert!(out.contains(&Effect::Failed { request, failure: Failure::TooLarge }));
}

#[test]
fn a_replica_says_who_it_is_and_of_which_cluster() {
    assert_eq!(started(Settings::default()).cluster(), None, "it is not formed");
    let stage = Stage::new();
    assert_eq!((stage.replica.id(), stage.replica.cluster()), (ME, Some(three().digest())));
}

#[test]
fn one_request_waits_however_large_and_the_next_one_only_within_the_bound() {
    let mut stage = Stage::with(Settings { uncommitted_bytes: 10, ..Settings::default() });
    let mut failed = || {
        let request = stage.replica.name_request();
        let payload = vec![0; 20].into();
        let out = stage.on(Event::Propose { request, kind: EntryKind::Command, payload });
        out.contains(&Effect::Failed { request, failure: Failure::Busy })
    };
    assert!(!failed());
    assert!(failed());
}

#[test]
fn what_is_said_to_oneself_comes_back_and_does_not_leave() {
    let mut stage = Stage::with_entries(0);
    stage.effects().send(ME, Word::Vote);
    assert_eq!(said(stage.flush()), []);
    assert_eq!(stage.puppet().heard, [(ME, Word::Vote)]);
}

#[test]
fn a_read_is_forwarded_to_the_leader() {
    let mut stage = Stage::with_entries(0);
    stage.follow(PEER, 2);
    let request = stage.replica.name_request();
    let read = Forward::Read { ballot: Ballot(2), request };
    let asked = [(PEER, PeerMessage::Forward(read))];
    assert_eq!(said(stage.on(Event::Read { request })), asked);
    assert_eq!(stage.puppet().reads, []);
    // The question, or its answer, may be lost.
    assert_eq!(said(stage.on(Event::Timeout(Timer::Requests))), []);
    stage.now.monotonic += stage.replica.resend_interval().end;
    assert_eq!(said(stage.on(Event::Timeout(Timer::Requests))), asked);
    stage.hear(PEER, PeerMessage::Forward(Forward::ReadReady { request, index: Index(0) }));
    stage.now.monotonic += stage.replica.resend_interval().end;
    assert_eq!(said(stage.on(Event::Timeout(Timer::Requests))), []);
}

#[test]
fn a_request_that_the_leader_refuses_ends_with_its_reason() {
    let mut stage = Stage::with_entries(0);
    stage.follow(PEER, 2);
    let request = stage.replica.name_request();
    let payload = vec![0; 5].into();
    let forwarded = said(stage.on(Event::Propose { request, kind: EntryKind::Command, payload }));
    let [(PEER, PeerMessage::Forward(Forward::Propose { place, .. }))] = &forwarded[..] else {
        panic!("{forwarded:?}")
    };
    let refused = Forward::Refused { attempt: place.attempt, reason: Refusal::Busy };
    let out = stage.hear(PEER, PeerMessage::Forward(refused));
    assert!(out.contains(&Effect::Failed { request, failure: Failure::Busy }));
}

#[test]
fn a_leader_that_hands_over_is_asked_again_only_after_a_while_and_one_out_of_turn_at_once() {
    let sent = |out| {
        let attempt = |(_, message): Said| match message {
            PeerMessage::Forward(Forward::Propose { place, .. }) => Some(place.attempt),
            _ => None,
        };
        said(out).into_iter().filter_map(attempt).collect::<Vec<_>>()
    };
    for (reason, at_once) in [(Refusal::HandingOver, 0), (Refusal::OutOfTurn, 1)] {
        let mut stage = Stage::with_entries(0);
        stage.follow(PEER, 2);
        let request = stage.replica.name_request();
        let (kind, payload) = (EntryKind::Command, Bytes::from_static(b"x"));
        let first = sent(stage.on(Event::Propose { request, kind, payload }));
        let refused = Forward::Refused { attempt: first[0], reason };
        assert_eq!(sent(stage.hear(PEER, PeerMessage::Forward(refused))).len(), at_once);
        assert_eq!(sent(stage.flush()), []);
        stage.now.monotonic += stage.replica.resend_interval().end;
        assert_eq!(sent(stage.on(Event::Timeout(Timer::Requests))).len(), 1);
    }
}

#[test]
fn the_protocol_is_told_of_each_write_once_the_log_knows_of_it() {
    let mut stage = Stage::with_entries(0);
    stage.puppet().saved.clear();
    stage.holds = true;
    // No message waits for that.
    stage.append(2);
    assert_eq!(stage.puppet().saved, []);
    stage.save();
    assert_eq!(stage.puppet().saved, [Index(3)]);
}

/// It sets the next one when one has run out.
#[test]
fn the_timers_of_the_protocol_reach_it_whatever_it_is_doing() {
    let timers = [Timer::Election, Timer::Heartbeat, Timer::Quorum];
    for serving in [false, true] {
        let mut stage = leader();
        stage.puppet().standing.serving = serving;
        for timer in timers {
            stage.on(Event::Timeout(timer));
        }
        assert_eq!(stage.puppet().timeouts, timers, "serving: {serving}");
    }
}
