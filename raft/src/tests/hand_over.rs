//! Leadership changes hands on request.

use quorate_core::{Ballot, Input, Protocol, Role, Timer};

use super::cluster::{Cluster, n};
use crate::Message;

#[test]
fn the_most_advanced_follower_takes_over_although_the_leader_is_alive() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.slow.insert(n(2));
    cluster.propose(1, "a");
    cluster.settle();
    cluster.input(1, Input::HandOver);
    assert!(!cluster.raft(1).standing().serving, "nothing is taken that might be lost");
    cluster.slow.clear();
    cluster.settle();
    for id in 1..=3 {
        let standing = cluster.raft(id).standing();
        assert_eq!((standing.leader, standing.ballot), (Some(n(3)), Ballot(2)));
        cluster.assert_log(id, &[1, 1, 2], 3);
    }
}

/// As much was sent to one as to the other.
#[test]
fn whoever_takes_over_has_acknowledged_most_be_it_the_first_or_the_last() {
    for (hangs, takes_over) in [(2, 3), (3, 2)] {
        let mut cluster = Cluster::led_by_1(3);
        cluster.heartbeats(1);
        cluster.slow.insert(n(hangs));
        cluster.propose(1, "a");
        cluster.settle();
        cluster.input(1, Input::HandOver);
        cluster.settle();
        cluster.slow.clear();
        cluster.settle();
        assert_eq!(cluster.leader(), Some(n(takes_over)));
    }
}

#[test]
fn the_successor_is_brought_up_to_date_before_it_campaigns() {
    let mut cluster = Cluster::led_by_1(2);
    cluster.slow.insert(n(2));
    cluster.propose(1, "a");
    cluster.input(1, Input::HandOver);
    let timeout_now = Message::TimeoutNow { term: Ballot(1) };
    assert!(cluster.network.iter().all(|sent| sent.message != timeout_now));
    cluster.settle();
    assert_eq!(cluster.leader(), Some(n(1)));
    cluster.save(2);
    assert!(cluster.network.iter().all(|sent| sent.message != timeout_now));
    cluster.slow.clear();
    cluster.settle();
    assert_eq!(cluster.leader(), Some(n(2)));
}

#[test]
fn a_hand_over_that_comes_to_nothing_ends_after_an_election_timeout() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.input(1, Input::HandOver);
    cluster.cut.extend([(n(1), n(2)), (n(1), n(3))]);
    cluster.take(|_| true);
    let begun = cluster.now;
    while cluster.now < begun + cluster.settings.election.end {
        assert!(!cluster.raft(1).standing().serving);
        cluster.heartbeats(1);
    }
    assert!(cluster.raft(1).standing().serving);
    cluster.heal();
    cluster.propose(1, "a");
    cluster.heartbeats(1);
    assert_eq!(cluster.committed(3), 2);
}

#[test]
fn a_hand_over_does_not_outlive_the_term() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.input(1, Input::HandOver);
    cluster.take(|_| true);
    cluster.elect(1);
    assert_eq!(cluster.term(1), 2);
    assert!(cluster.raft(1).standing().serving);
}

#[test]
fn a_lost_word_to_the_successor_is_repeated() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.input(1, Input::HandOver);
    let lost = cluster.take(|sent| sent.message == Message::TimeoutNow { term: Ballot(1) });
    assert_eq!(lost.len(), 1);
    cluster.settle();
    assert_eq!(cluster.leader(), Some(n(1)));
    cluster.heartbeats(1);
    assert_eq!(cluster.leader(), Some(lost[0].to));
}

#[test]
fn with_nobody_to_hand_over_to_a_leader_goes_on() {
    for size in [1, 3] {
        let mut cluster = Cluster::led_by_1(size);
        for id in 2..=size {
            cluster.crash(id);
        }
        cluster.heartbeats(3);
        cluster.input(1, Input::HandOver);
        assert!(cluster.raft(1).standing().serving);
    }
}

#[test]
fn who_does_not_lead_has_nothing_to_hand_over() {
    let mut cluster = Cluster::led_by_1(3);
    let before = cluster.raft(2).clone();
    cluster.input(2, Input::HandOver);
    assert_eq!(cluster.raft(2), &before);
    assert_eq!(cluster.network, []);
}

#[test]
fn only_the_leader_of_the_term_can_make_somebody_campaign() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.elect(2);
    for (from, term) in [(1, 1), (2, 1), (1, 2)] {
        cluster.forge(from, 3, Message::TimeoutNow { term: Ballot(term) });
        assert_eq!(cluster.raft(3).standing().role, Role::Follower, "{from} {term}");
    }
    cluster.forge(2, 3, Message::TimeoutNow { term: Ballot(2) });
    assert_eq!(cluster.raft(3).standing().role, Role::Candidate);
}

#[test]
fn a_leader_that_hands_over_in_vain_and_dies_is_replaced() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.input(1, Input::HandOver);
    cluster.take(|_| true);
    cluster.crash(1);
    cluster.now += cluster.settings.election.end;
    cluster.timeout(2, Timer::Election);
    cluster.settle();
    assert_eq!(cluster.leader(), Some(n(2)));
}
