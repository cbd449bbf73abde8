//! Replicas that need what was compacted.

use std::time::Duration;

use quorate_core::{Ballot, Digest, Index, Input, LogId, Membership, Protocol, SnapshotMeta};

use super::cluster::{Cluster, Sent, n};
use crate::{Message, PeerFault};

fn compact(cluster: &mut Cluster, id: u64) -> SnapshotMeta {
    let snapshot = cluster.nodes.get_mut(&n(id)).unwrap().snapshot();
    cluster.batch(n(id), vec![]);
    cluster.save_all(id);
    cluster.nodes.get_mut(&n(id)).unwrap().compact();
    snapshot
}

fn acknowledges(sent: &Sent, index: u64) -> bool {
    matches!(sent.message, Message::PrepareOk { op, .. } if op == Index(index))
}

/// Node 1 leads view 3 and has compacted entries which node 3 lacks.
fn behind() -> (Cluster, SnapshotMeta) {
    let mut cluster = Cluster::led_by_1(3);
    cluster.crash(3);
    for text in ["a", "b", "c"] {
        cluster.propose(1, text);
        cluster.settle();
    }
    let snapshot = compact(&mut cluster, 1);
    cluster.propose(1, "d");
    cluster.settle();
    cluster.restart(3);
    (cluster, snapshot)
}

fn fetched(cluster: &mut Cluster, id: u64) {
    let (from, snapshot) = cluster.nodes.get_mut(&n(id)).unwrap().fetching.take().unwrap();
    cluster.input(id, Input::SnapshotFetched { from, snapshot });
}

#[test]
fn a_backup_that_is_too_far_behind_gets_a_snapshot_and_then_the_log() {
    let (mut cluster, snapshot) = behind();
    cluster.heartbeats(1);
    assert_eq!(cluster.node(3).fetching, Some((n(1), snapshot)));
    fetched(&mut cluster, 3);
    assert!(!cluster.network.iter().any(|sent| acknowledges(sent, 4)), "not before it is saved");
    cluster.save(3);
    assert!(cluster.network.iter().any(|sent| acknowledges(sent, 4)));
    cluster.settle();
    cluster.assert_log(3, &[3], 5);
    assert_eq!(cluster.node(3).log.base(), LogId::new(Index(4), Ballot(3)));
}

#[test]
fn an_installed_snapshot_survives_a_crash_with_the_log_behind_it() {
    let (mut cluster, _) = behind();
    cluster.heartbeats(1);
    fetched(&mut cluster, 3);
    cluster.settle();
    cluster.crash(3);
    cluster.restart(3);
    assert_eq!(cluster.last_index(3), Index(5));
    assert_eq!(cluster.node(3).log.committed(), Index(4));
}

#[test]
fn while_a_snapshot_is_fetched_the_backup_hears_its_primary_and_does_not_leave() {
    let (mut cluster, snapshot) = behind();
    let begun = cluster.now;
    while cluster.now < begun + Duration::from_secs(5) {
        cluster.heartbeats(1);
        cluster.fire_due_timers();
        cluster.settle();
    }
    assert_eq!((cluster.leader(), cluster.view(3)), (Some(n(1)), 3));
    assert_eq!(cluster.node(3).fetching, Some((n(1), snapshot)));
    // And it is one of the replicas that confirm a read.
    cluster.crash(2);
    let read = cluster.read(1);
    cluster.settle();
    assert!(cluster.node(1).ready.contains_key(&read));
}

#[test]
fn the_offer_stays_the_same_while_the_log_can_go_on_from_it() {
    let (mut cluster, first) = behind();
    cluster.heartbeats(1);
    let second = cluster.nodes.get_mut(&n(1)).unwrap().snapshot();
    cluster.batch(n(1), vec![]);
    cluster.settle();
    assert_ne!(first, second);
    cluster.heartbeats(7);
    assert_eq!(cluster.node(3).fetching, Some((n(1), first)), "it would never be finished");
    cluster.nodes.get_mut(&n(1)).unwrap().compact();
    cluster.heartbeats(3);
    assert_eq!(cluster.node(3).fetching, Some((n(1), second)), "the first one is of no use");
    fetched(&mut cluster, 3);
    cluster.settle();
    cluster.heartbeats(1);
    assert_eq!(cluster.committed(3), 5);
}

#[test]
fn a_snapshot_of_which_a_part_cannot_be_read_is_offered_no_longer() {
    let (mut cluster, first) = behind();
    cluster.heartbeats(1);
    let leader = cluster.nodes.get_mut(&n(1)).unwrap();
    let second = leader.snapshot();
    leader.log.set_unreadable(first.id());
    // The log could go on from it; but the backup would never have the whole.
    assert!(leader.log.base().index <= first.last.index);
    cluster.heartbeats(7);
    assert_eq!(cluster.node(3).fetching, Some((n(1), second)));
}

#[test]
fn a_lost_offer_is_repeated_at_the_backups_request() {
    let (mut cluster, _) = behind();
    cluster.heartbeats(1);
    cluster.nodes.get_mut(&n(3)).unwrap().fetching = None;
    cluster.heartbeats(3);
    assert!(cluster.node(3).fetching.is_some());
}

#[test]
fn a_conflicting_entry_at_the_snapshots_last_index_is_replaced() {
    let mut cluster = Cluster::of(3);
    cluster.set_log(1, 3, &[1, 1, 3, 3]);
    cluster.set_log(2, 3, &[1, 1, 3, 3]);
    cluster.set_log(3, 3, &[1, 1, 2, 2, 2, 2, 2]);
    cluster.isolate(3);
    cluster.lead(1);
    let snapshot = compact(&mut cluster, 1);
    assert_eq!(snapshot.last, LogId::new(Index(5), Ballot(6)));
    cluster.heal();
    cluster.heartbeats(2);
    fetched(&mut cluster, 3);
    cluster.settle();
    cluster.heartbeats(2);
    assert_eq!(cluster.node(3).fetching, None, "no endless loop");
    assert_eq!(cluster.node(3).last(), snapshot.last);
    cluster.propose(1, "a");
    cluster.settle();
    cluster.assert_log(3, &[6], 6);
}

#[test]
fn an_offer_that_entries_have_overtaken_commits_them_and_is_not_fetched() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    cluster.settle();
    cluster.propose(1, "b");
    cluster.deliver_to(2);
    cluster.take(|_| true);
    let snapshot = compact(&mut cluster, 1);
    let last = LogId::new(Index(3), Ballot(3));
    let offered = SnapshotMeta { last, ..snapshot };
    cluster.checks.forgive_forged_commits = true;
    cluster.forge(1, 2, Message::Checkpoint { view: Ballot(3), snapshot: offered });
    assert_eq!(cluster.node(2).fetching, None);
    assert_eq!(cluster.committed(2), 3);
}

#[test]
fn a_snapshot_that_comes_when_the_log_has_caught_up_changes_nothing() {
    let (mut cluster, snapshot) = behind();
    cluster.heartbeats(1);
    assert!(cluster.node(3).fetching.is_some());
    // Meanwhile node 2, which has not compacted, leads and sends the entries.
    cluster.isolate(1);
    cluster.lead(2);
    cluster.heartbeats(2);
    assert_eq!(cluster.committed(3), 6);
    let before = cluster.node(3).log.clone();
    let from = n(1);
    cluster.input(3, Input::SnapshotFetched { from, snapshot });
    assert_eq!(cluster.node(3).log, before);
}

#[test]
fn a_snapshot_of_entries_that_arrived_meanwhile_commits_them() {
    let (mut cluster, snapshot) = behind();
    cluster.set_log(3, 3, &[3, 3, 3, 3, 3]);
    let mut held = snapshot;
    held.last = LogId::new(Index(4), Ballot(3));
    let from = n(1);
    cluster.checks.forgive_forged_commits = true;
    cluster.input(3, Input::SnapshotFetched { from, snapshot: held });
    assert_eq!(cluster.committed(3), 4);
    assert_eq!(cluster.last_index(3), Index(5));
}

#[test]
fn who_has_installed_a_snapshot_asks_at_once_for_what_it_knows_to_follow_and_else_for_nothing() {
    let asks = |sent: &Sent| matches!(sent.message, Message::GetState { .. });
    let (mut cluster, snapshot) = behind();
    cluster.heartbeats(1);
    fetched(&mut cluster, 3);
    assert_eq!(cluster.take(asks).len(), 1, "the log goes on behind it");

    let mut cluster = Cluster::led_by_1(3);
    cluster.settle();
    cluster.set_log(3, 3, &[3]);
    let commit = Message::Commit { view: Ballot(3), probe: 9, op: Index(1), commit: Index(1) };
    cluster.forge(1, 3, commit);
    cluster.take(|_| true);
    cluster.checks.forgive_forged_commits = true;
    let (from, held) = (n(1), SnapshotMeta { last: LogId::new(Index(1), Ballot(3)), ..snapshot });
    cluster.input(3, Input::SnapshotFetched { from, snapshot: held });
    assert_eq!(cluster.take(asks), [], "nothing follows");

    // Whose primary is not known yet, asks nobody.
    let (mut cluster, snapshot) = behind();
    let from = n(1);
    cluster.checks.forgive_forged_commits = true;
    cluster.input(3, Input::SnapshotFetched { from, snapshot });
    assert_eq!(cluster.take(asks), []);
}

#[test]
fn a_primary_and_a_replica_in_a_view_change_install_no_snapshot() {
    let (mut cluster, snapshot) = behind();
    let other = SnapshotMeta { last: LogId::new(Index(9), Ballot(2)), ..snapshot };
    cluster.forge(2, 3, Message::StartViewChange { view: Ballot(4), target: Ballot(4) });
    for id in [1, 3] {
        let before = cluster.node(id).log.clone();
        let (from, snapshot) = (n(2), other.clone());
        cluster.input(id, Input::SnapshotFetched { from, snapshot });
        assert_eq!(cluster.node(id).log, before, "node {id}");
    }
}

#[test]
fn a_snapshot_of_a_view_that_the_replica_has_forgotten_is_not_installed() {
    let (mut cluster, snapshot) = behind();
    let last = LogId::new(Index(9), Ballot(4));
    let (from, snapshot) = (n(1), SnapshotMeta { last, ..snapshot });
    let before = cluster.node(3).log.clone();
    cluster.input(3, Input::SnapshotFetched { from, snapshot });
    assert_eq!(cluster.node(3).log, before);
}

#[test]
fn snapshots_that_cannot_be_are_faults_and_change_nothing() {
    let (mut cluster, good) = behind();
    cluster.heartbeats(1);
    fetched(&mut cluster, 3);
    cluster.settle();
    cluster.checks.faults_expected = true;
    let other = SnapshotMeta { content: Digest::of(b"other"), ..good };
    let contradicting = SnapshotMeta { last: LogId::new(Index(4), Ballot(0)), ..other.clone() };
    let future = SnapshotMeta { last: LogId::new(Index(9), Ballot(4)), ..other.clone() };
    let nobodys = SnapshotMeta {
        last: LogId::new(Index(9), Ballot(3)),
        membership: Membership::default(),
        ..other.clone()
    };
    let endless = SnapshotMeta { last: LogId::new(Index(u64::MAX), Ballot(3)), ..other };
    for (snapshot, fault) in [
        (endless, PeerFault::ImpossibleSnapshot),
        (contradicting, PeerFault::ImpossibleSnapshot),
        (future, PeerFault::FromTheFuture),
        (nobodys, PeerFault::ImpossibleSnapshot),
    ] {
        let before = cluster.node(3).log.clone();
        cluster.forge(1, 3, Message::Checkpoint { view: Ballot(3), snapshot });
        assert_eq!(cluster.vsr(3).peer_faults().1, Some((n(1), fault)));
        assert_eq!(cluster.node(3).log, before);
        assert_eq!(cluster.node(3).fetching, None);
    }
    assert_eq!(cluster.vsr(3).standing().leader, Some(n(1)));
}

#[test]
fn who_would_need_a_snapshot_to_lead_passes_the_turn_on_at_once() {
    let (mut cluster, _) = behind();
    compact(&mut cluster, 2);
    // In view 5 it is the turn of node 3, in view 6 that of node 1.
    for to in 1..=3 {
        let (view, target) = (Ballot(5), Ballot(5));
        cluster.forge(if to == 1 { 2 } else { 1 }, to, Message::StartViewChange { view, target });
    }
    cluster.settle();
    assert_eq!((cluster.leader(), cluster.view(3)), (Some(n(1)), 6));
    fetched(&mut cluster, 3);
    cluster.settle();
    cluster.heartbeats(1);
    assert_eq!(cluster.committed(3), 6);
}

#[test]
fn an_offer_that_the_next_primary_did_not_ask_for_changes_nothing() {
    let (mut cluster, snapshot) = behind();
    let (view, target) = (Ballot(5), Ballot(5));
    cluster.forge(1, 3, Message::StartViewChange { view, target });
    cluster.save(3);
    cluster.take(|_| true);
    cluster.forge(1, 3, Message::Checkpoint { view, snapshot });
    assert_eq!((cluster.view(3), cluster.network.len()), (5, 0));
}

/// What replica 3 reports for view 4, for which 2 has asked.
fn report(cluster: &mut Cluster) -> Message {
    cluster.heal();
    cluster.timeout(3, quorate_core::Timer::Heartbeat);
    let sent = cluster.take(|sent| matches!(sent.message, Message::DoViewChange(_)));
    cluster.take(|_| true);
    sent[0].message.clone()
}

fn ask_3_for_its_report(cluster: &mut Cluster) {
    cluster.isolate(1);
    cluster.isolate(3);
    let (view, target) = (Ballot(4), Ballot(4));
    cluster.forge(2, 3, Message::StartViewChange { view, target });
    cluster.settle();
}

#[test]
fn a_snapshot_and_a_compacted_log_do_not_change_what_a_view_change_reports() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    cluster.settle();
    ask_3_for_its_report(&mut cluster);
    let before = report(&mut cluster);
    compact(&mut cluster, 3);
    assert_eq!(report(&mut cluster), before);
    cluster.crash(3);
    cluster.restart(3);
    assert_eq!(cluster.node(3).views(), [0; 0]);
    assert_eq!(report(&mut cluster), before);
}

#[test]
fn a_restart_does_not_take_a_report_back_to_the_snapshot() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    cluster.settle();
    compact(&mut cluster, 3);
    cluster.propose(1, "b");
    cluster.settle();
    ask_3_for_its_report(&mut cluster);
    let end = |report: Message| match report {
        Message::DoViewChange(report) => (report.head, report.digest),
        other => panic!("{other:?}"),
    };
    let whole = (cluster.node(3).log.last(), cluster.node(3).log.last_digest());
    assert_eq!(end(report(&mut cluster)), whole);
    cluster.crash(3);
    cluster.restart(3);
    assert_eq!(end(report(&mut cluster)), whole);
}
