//! Another replica leads on request.

use quorate_core::{Ballot, Input, Protocol, Timer};

use super::cluster::{Cluster, Sent, n};
use crate::Message;

fn is_wish(sent: &Sent) -> bool {
    matches!(sent.message, Message::StartViewChange { .. })
}

#[test]
fn the_most_advanced_backup_takes_over_although_the_primary_is_alive() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.heartbeats(1);
    cluster.slow.insert(n(2));
    cluster.propose(1, "a");
    cluster.settle();
    cluster.input(1, Input::HandOver);
    assert!(!cluster.vsr(1).standing().serving, "nothing is taken that might be lost");
    cluster.slow.clear();
    cluster.settle();
    for id in 1..=3 {
        let standing = cluster.vsr(id).standing();
        assert_eq!((standing.leader, standing.ballot), (Some(n(3)), Ballot(5)));
        cluster.assert_log(id, &[3, 3, 5], 3);
    }
}

#[test]
fn among_equals_the_one_takes_over_whose_turn_comes_first() {
    let mut cluster = Cluster::led_by_1(5);
    cluster.heartbeats(1);
    cluster.input(1, Input::HandOver);
    cluster.settle();
    assert_eq!((cluster.leader(), cluster.view(4)), (Some(n(2)), 6));
}

#[test]
fn the_turn_of_a_dead_one_is_skipped() {
    let mut cluster = Cluster::led_by_1(5);
    cluster.crash(2);
    cluster.heartbeats(4);
    cluster.input(1, Input::HandOver);
    cluster.settle();
    assert_eq!((cluster.leader(), cluster.view(4)), (Some(n(3)), 7));
}

#[test]
fn the_successor_is_brought_up_to_date_first() {
    let mut cluster = Cluster::led_by_1(2);
    cluster.heartbeats(1);
    cluster.slow.insert(n(2));
    cluster.propose(1, "a");
    cluster.input(1, Input::HandOver);
    cluster.settle();
    assert_eq!(cluster.leader(), Some(n(1)));
    cluster.deliver_to(2);
    cluster.save(2);
    assert!(!cluster.network.iter().any(is_wish));
    cluster.slow.clear();
    cluster.settle();
    assert_eq!(cluster.leader(), Some(n(2)));
}

#[test]
fn a_hand_over_that_comes_to_nothing_ends_after_an_election_timeout() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.heartbeats(1);
    cluster.propose(1, "a");
    cluster.cut.extend([(n(1), n(2)), (n(1), n(3))]);
    cluster.take(|_| true);
    cluster.input(1, Input::HandOver);
    let begun = cluster.now;
    while cluster.now < begun + cluster.settings.election.end {
        assert!(!cluster.vsr(1).standing().serving);
        cluster.heartbeats(1);
    }
    assert!(cluster.vsr(1).standing().serving);
    cluster.heal();
    cluster.heartbeats(1);
    assert_eq!(cluster.committed(3), 2);
}

#[test]
fn a_primary_that_has_asked_to_be_left_never_serves_in_its_view_again() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.heartbeats(1);
    cluster.input(1, Input::HandOver);
    cluster.isolate(1);
    cluster.take(|_| true);
    for _ in 0..30 {
        cluster.now += cluster.settings.heartbeat;
        for timer in [Timer::Heartbeat, Timer::Quorum, Timer::Election] {
            cluster.timeout(1, timer);
            cluster.settle();
        }
        assert!(!cluster.vsr(1).standing().serving && !cluster.node(1).leads());
    }
    assert_eq!(cluster.view(1), 3);
}

#[test]
fn a_lost_wish_is_repeated() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.heartbeats(1);
    cluster.input(1, Input::HandOver);
    let lost = cluster.take(is_wish);
    assert_eq!(lost.len(), 2);
    cluster.settle();
    assert_eq!(cluster.view(1), 3);
    cluster.timeout(1, Timer::Heartbeat);
    cluster.settle();
    assert_eq!(cluster.leader(), Some(n(2)));
}

#[test]
fn with_nobody_to_hand_over_to_a_primary_goes_on() {
    for size in [1, 3] {
        let mut cluster = Cluster::led_by_1(size);
        for id in 2..=size {
            cluster.crash(id);
        }
        cluster.heartbeats(3);
        cluster.input(1, Input::HandOver);
        assert!(cluster.vsr(1).standing().serving);
    }
}

#[test]
fn who_does_not_lead_has_nothing_to_hand_over() {
    let mut cluster = Cluster::led_by_1(3);
    let before = cluster.vsr(2).clone();
    cluster.input(2, Input::HandOver);
    assert_eq!(cluster.vsr(2), &before);
    assert_eq!(cluster.network, []);
}

#[test]
fn the_wish_of_another_than_the_primary_releases_nobody() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.heartbeats(1);
    let (view, target) = (Ballot(3), Ballot(4));
    cluster.forge(3, 2, Message::StartViewChange { view, target });
    cluster.settle();
    assert_eq!((cluster.leader(), cluster.view(2)), (Some(n(1)), 3));
    cluster.forge(1, 2, Message::StartViewChange { view, target });
    assert_eq!(cluster.view(2), 4);
}

#[test]
fn a_primary_that_hands_over_and_dies_is_replaced() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.heartbeats(1);
    cluster.input(1, Input::HandOver);
    cluster.take(|_| true);
    cluster.crash(1);
    cluster.now += cluster.settings.election.end;
    cluster.timeout(2, Timer::Election);
    cluster.settle();
    assert_eq!(cluster.leader(), Some(n(2)));
}
