//! Followers that need what was compacted.

use std::time::Duration;

use quorate_core::{
    Ballot, Digest, Gap, Index, Input, LogId, Membership, Protocol, SnapshotMeta, Timer,
};

use super::cluster::{Cluster, Sent, n};
use crate::{Message, PeerFault, Raft};

fn compact(cluster: &mut Cluster, id: u64) -> SnapshotMeta {
    let snapshot = cluster.nodes.get_mut(&n(id)).unwrap().snapshot();
    cluster.batch(n(id), vec![]);
    cluster.save_all(id);
    cluster.nodes.get_mut(&n(id)).unwrap().compact();
    snapshot
}

fn is_offer(sent: &Sent) -> bool {
    matches!(sent.message, Message::InstallSnapshot { .. })
}

fn is_installed(sent: &Sent, index: u64) -> bool {
    match sent.message {
        Message::InstallSnapshotReply { durable, .. } => durable == Some(Index(index)),
        _ => false,
    }
}

/// Node 1 leads and has compacted entries which node 3 lacks.
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

/// Node 1 leads and has taken a snapshot; node 2 is saving the entry behind that.
fn saving() -> (Cluster, SnapshotMeta) {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    cluster.settle();
    let snapshot = compact(&mut cluster, 1);
    cluster.slow.insert(n(2));
    cluster.propose(1, "b");
    cluster.settle();
    (cluster, snapshot)
}

fn fetched(cluster: &mut Cluster, id: u64) {
    let (from, snapshot) = cluster.nodes.get_mut(&n(id)).unwrap().fetching.take().unwrap();
    cluster.input(id, Input::SnapshotFetched { from, snapshot });
}

#[test]
fn a_follower_that_is_too_far_behind_gets_a_snapshot_and_then_the_log() {
    let (mut cluster, snapshot) = behind();
    cluster.heartbeats(1);
    assert_eq!(cluster.node(3).fetching, Some((n(1), snapshot)));
    fetched(&mut cluster, 3);
    assert!(!cluster.network.iter().any(|sent| is_installed(sent, 4)), "not before it is saved");
    cluster.save(3);
    assert!(cluster.network.iter().any(|sent| is_installed(sent, 4)));
    cluster.settle();
    cluster.assert_log(3, &[1], 5);
    assert_eq!(cluster.node(3).log.base(), LogId::new(Index(4), Ballot(1)));
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
fn while_a_snapshot_is_fetched_the_follower_hears_its_leader_and_does_not_campaign() {
    let (mut cluster, snapshot) = behind();
    let begun = cluster.now;
    while cluster.now < begun + Duration::from_secs(5) {
        cluster.heartbeats(1);
        cluster.fire_due_timers();
        cluster.settle();
    }
    assert_eq!((cluster.leader(), cluster.term(3)), (Some(n(1)), 1));
    assert_eq!(cluster.raft(3).standing().leader, Some(n(1)));
    assert_eq!(cluster.node(3).fetching, Some((n(1), snapshot)));
    // And it is one of the followers that confirm a read.
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
    cluster.heartbeats(3);
    assert_eq!(cluster.node(3).fetching, Some((n(1), first)), "it would never be finished");
    cluster.nodes.get_mut(&n(1)).unwrap().compact();
    cluster.heartbeats(1);
    assert_eq!(cluster.node(3).fetching, Some((n(1), second)), "the first one is of no use");
    fetched(&mut cluster, 3);
    cluster.settle();
    assert_eq!(cluster.committed(3), 5);
}

#[test]
fn a_snapshot_of_which_a_part_cannot_be_read_is_offered_no_longer() {
    let (mut cluster, first) = behind();
    cluster.heartbeats(1);
    let leader = cluster.nodes.get_mut(&n(1)).unwrap();
    let second = leader.snapshot();
    leader.log.set_unreadable(first.id());
    // The log could go on from it; but the follower would never have the whole.
    assert!(leader.log.base().index <= first.last.index);
    cluster.heartbeats(3);
    assert_eq!(cluster.node(3).fetching, Some((n(1), second)));
}

#[test]
fn a_lost_offer_is_repeated() {
    let (mut cluster, _) = behind();
    cluster.timeout(1, Timer::Heartbeat);
    cluster.deliver_to(3);
    cluster.deliver_to(1);
    assert_eq!(cluster.take(is_offer).len(), 1, "offered without waiting for a heartbeat");
    cluster.settle();
    assert_eq!(cluster.node(3).fetching, None);
    cluster.heartbeats(1);
    assert!(cluster.node(3).fetching.is_some());
}

#[test]
fn a_conflicting_entry_at_the_snapshots_last_index_is_replaced() {
    let mut cluster = Cluster::of(3);
    cluster.set_log(1, &[1, 1, 3, 3]);
    cluster.set_log(2, &[1, 1, 3, 3]);
    cluster.set_log(3, &[1, 1, 2, 2, 2, 2, 2]);
    cluster.isolate(3);
    cluster.elect(1);
    let snapshot = compact(&mut cluster, 1);
    assert_eq!(snapshot.last, LogId::new(Index(5), Ballot(4)));
    cluster.heal();
    cluster.heartbeats(2);
    fetched(&mut cluster, 3);
    cluster.settle();
    cluster.heartbeats(2);
    assert_eq!(cluster.node(3).fetching, None, "no endless loop");
    assert_eq!(cluster.node(3).last(), snapshot.last);
    cluster.propose(1, "a");
    cluster.settle();
    cluster.assert_log(3, &[4], 6);
}

#[test]
fn an_uncommitted_membership_does_not_outlive_the_snapshot_that_replaces_it() {
    let (mut cluster, snapshot) = behind();
    // Node 3 holds a membership which never got committed.
    let stale = Membership::new([(n(3), quorate_core::Incarnation(3))]);
    let payload = postcard::to_allocvec(&stale).unwrap().into();
    let kind = quorate_core::EntryKind::Membership;
    let time = quorate_core::LogTime(0);
    let node = cluster.nodes.get_mut(&n(3)).unwrap();
    let entry = quorate_core::Proposal::new(kind, time, payload);
    node.log.append(Ballot(1), entry);
    assert_eq!(node.log.membership(), &stale);
    let from = n(1);
    cluster.input(3, Input::SnapshotFetched { from, snapshot });
    assert_eq!(cluster.node(3).log.membership(), &cluster.founders);
}

#[test]
fn a_snapshot_of_what_is_held_already_is_acknowledged_and_not_fetched() {
    let (mut cluster, snapshot) = saving();
    for (last, durable) in [(snapshot.last, true), (LogId::new(Index(3), Ballot(1)), false)] {
        let offered = SnapshotMeta { last, ..snapshot.clone() };
        let offer = Message::InstallSnapshot { term: Ballot(1), probe: 1, snapshot: offered };
        cluster.take(|_| true);
        cluster.forge(1, 2, offer);
        let at_once = cluster.take(|sent| is_installed(sent, last.index.0));
        assert_eq!(at_once.len(), usize::from(durable), "no more than what is on disk");
        assert_eq!(cluster.node(2).fetching, None);
        assert!(cluster.node(2).log.committed() >= last.index);
    }
    cluster.save_all(2);
    assert_eq!(cluster.take(|sent| is_installed(sent, 3)).len(), 1);
}

#[test]
fn a_snapshot_of_what_is_held_by_name_only_is_not_acknowledged_with_the_next_write() {
    let mut cluster = Cluster::led_by_1(3);
    for text in ["a", "b", "c"] {
        cluster.propose(1, text);
        cluster.settle();
    }
    cluster.heartbeats(1);
    let snapshot = compact(&mut cluster, 1);
    let log = &mut cluster.nodes.get_mut(&n(2)).unwrap().log;
    let lost = log.entries(Index(2), 1).unwrap().remove(0);
    log.trim_cache(0);
    let (first, digest, before) = (lost.index(), lost.digest(), lost.parent);
    log.note_damage(Gap { first, last: first, digest, before, ids_known: true });
    assert_eq!((log.gaps().len(), log.durable()), (1, Index(1)));
    cluster.slow.insert(n(2));
    cluster.propose(1, "d");
    cluster.settle();
    let offer = Message::InstallSnapshot { term: Ballot(1), probe: 1, snapshot: snapshot.clone() };
    cluster.take(|_| true);
    cluster.forge(1, 2, offer);
    cluster.input(2, Input::SnapshotFetched { from: n(1), snapshot });
    cluster.save_all(2);
    assert!(!cluster.network.iter().any(|sent| is_installed(sent, 4)));
}

#[test]
fn a_snapshot_that_comes_when_the_log_has_caught_up_changes_nothing() {
    let (mut cluster, snapshot) = behind();
    cluster.heartbeats(1);
    assert!(cluster.node(3).fetching.is_some());
    // Meanwhile node 2, which has not compacted, leads and sends the entries.
    cluster.isolate(1);
    cluster.elect(2);
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
    cluster.set_log(3, &[1, 1, 1, 1, 1]);
    let from = n(1);
    let last = LogId::new(Index(4), Ballot(1));
    assert_eq!(snapshot.last, last);
    cluster.input(3, Input::SnapshotFetched { from, snapshot });
    assert_eq!(cluster.committed(3), 4);
    assert_eq!(cluster.last_index(3), Index(5));
}

#[test]
fn a_snapshot_offered_by_one_leader_is_acknowledged_to_the_next() {
    let (mut cluster, snapshot) = behind();
    compact(&mut cluster, 2);
    cluster.heartbeats(1);
    cluster.isolate(1);
    cluster.elect(2);
    let from = n(1);
    cluster.input(3, Input::SnapshotFetched { from, snapshot });
    cluster.save(3);
    assert!(cluster.network.iter().any(|sent| sent.to == n(2) && is_installed(sent, 4)));
    assert_eq!(cluster.last_index(3), Index(4));
}

#[test]
fn a_leader_installs_no_snapshot() {
    let mut cluster = Cluster::led_by_1(3);
    let mut snapshot = compact(&mut cluster, 1);
    cluster.propose(1, "a");
    cluster.propose(1, "b");
    snapshot.last = LogId::new(Index(2), Ballot(0));
    let before = cluster.node(1).log.clone();
    let from = n(2);
    cluster.input(1, Input::SnapshotFetched { from, snapshot });
    assert_eq!(cluster.node(1).last(), before.last());
}

#[test]
fn a_snapshot_of_a_term_that_the_server_has_forgotten_is_not_installed() {
    let (mut cluster, snapshot) = behind();
    let last = LogId::new(Index(9), Ballot(2));
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
    let future = SnapshotMeta { last: LogId::new(Index(9), Ballot(2)), ..other.clone() };
    let nobodys = SnapshotMeta {
        last: LogId::new(Index(9), Ballot(1)),
        membership: Membership::default(),
        ..other.clone()
    };
    let endless = SnapshotMeta { last: LogId::new(Index(u64::MAX), Ballot(1)), ..other };
    for (snapshot, fault) in [
        (endless, PeerFault::ImpossibleSnapshot),
        (contradicting, PeerFault::ImpossibleSnapshot),
        (future, PeerFault::FromTheFuture),
        (nobodys, PeerFault::ImpossibleSnapshot),
    ] {
        let before = cluster.node(3).log.clone();
        let probe = 1;
        cluster.forge(1, 3, Message::InstallSnapshot { term: Ballot(1), probe, snapshot });
        assert_eq!(cluster.raft(3).peer_faults().1, Some((n(1), fault)));
        assert_eq!(cluster.node(3).log, before);
        assert_eq!(cluster.node(3).fetching, None);
    }
    assert_eq!(cluster.raft(3).standing().leader, Some(n(1)));
}

#[test]
fn a_mute_server_that_is_too_far_behind_gets_a_snapshot_and_the_log_and_vouches_for_nothing() {
    let (mut cluster, snapshot) = behind();
    cluster.nodes.get_mut(&n(3)).unwrap().log.set_mute(true);
    let vouches = |sent: &Sent| sent.from == n(3) && Raft::vouches(&sent.message);
    cluster.timeout(1, Timer::Heartbeat);
    for _ in 0..4 {
        cluster.deliver_to(3);
        assert!(!cluster.network.iter().any(vouches));
        cluster.deliver_to(1);
    }
    assert_eq!(cluster.node(3).fetching, Some((n(1), snapshot)));
    fetched(&mut cluster, 3);
    cluster.until(
        |cluster| !cluster.node(3).has_writes(),
        |cluster| {
            cluster.save(3);
            assert!(!cluster.network.iter().any(vouches));
        },
    );
    cluster.settle();
    cluster.heartbeats(1);
    cluster.assert_log(3, &[1], 5);
}

#[test]
fn a_snapshot_that_is_offered_again_and_again_is_acknowledged_once_when_it_is_saved() {
    let (mut cluster, snapshot) = saving();
    let offered = SnapshotMeta { last: LogId::new(Index(3), Ballot(1)), ..snapshot };
    for _ in 0..50 {
        let snapshot = offered.clone();
        cluster.forge(1, 2, Message::InstallSnapshot { term: Ballot(1), probe: 1, snapshot });
    }
    assert!(cluster.node(2).writes() <= 3, "answers pile up");
    cluster.take(|_| true);
    cluster.save_all(2);
    assert_eq!(cluster.take(|sent| is_installed(sent, 3)).len(), 1);
}
