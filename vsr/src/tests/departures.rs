//! Who asks to leave a view, who joins, and when nobody moves.

use std::time::Duration;

use quorate_core::{Ballot, Protocol, Role, Timer};

use super::cluster::{Cluster, Sent, n};
use super::node::Node;
use crate::{DoViewChange, Message, PeerFault};

fn wish(view: u64, target: u64) -> Message {
    Message::StartViewChange { view: Ballot(view), target: Ballot(target) }
}

fn is_wish(sent: &Sent) -> bool {
    matches!(sent.message, Message::StartViewChange { .. })
}

#[test]
fn a_new_cluster_gets_its_first_primary_as_soon_as_a_quorum_is_there() {
    let mut cluster = Cluster::of(3);
    cluster.crash(3);
    cluster.fire_immediate_timers();
    cluster.settle();
    for id in 1..=2 {
        let standing = cluster.vsr(id).standing();
        assert_eq!((standing.leader, standing.ballot), (Some(n(2)), Ballot(1)));
        assert_eq!(standing.serving, id == 2);
        cluster.assert_log(id, &[1], 1);
    }
}

#[test]
fn nobody_leads_before_the_first_view() {
    let cluster = Cluster::of(3);
    for id in 1..=3 {
        let standing = cluster.vsr(id).standing();
        assert_eq!((standing.role, standing.leader), (Role::Follower, None));
    }
}

#[test]
fn one_replica_that_hears_nothing_moves_nobody_not_even_itself() {
    let mut cluster = Cluster::led_by_1(3);
    // Node 3 is deaf.
    cluster.cut.extend([(n(1), n(3)), (n(2), n(3))]);
    for _ in 0..40 {
        cluster.heartbeats(1);
        cluster.fire_due_timers();
        cluster.settle();
    }
    assert!(cluster.node(1).leads());
    for id in 1..=3 {
        assert_eq!(cluster.view(id), 3);
    }
    cluster.heal();
    cluster.propose(1, "a");
    cluster.heartbeats(4);
    assert_eq!(cluster.committed(3), 2);
    assert_eq!(cluster.vsr(3).standing().leader, Some(n(1)));
}

#[test]
fn whoever_hears_the_primary_again_forgets_that_it_wanted_to_leave() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.isolate(3);
    cluster.timeout(3, Timer::Election);
    cluster.heal();
    cluster.heartbeats(1);
    cluster.timeout(3, Timer::Heartbeat);
    assert_eq!(cluster.network, [], "it does not repeat its wish");
    // And does not count for it.
    cluster.forge(2, 3, wish(3, 4));
    assert_eq!(cluster.view(3), 3);
}

#[test]
fn a_backup_joins_at_once_if_it_has_heard_nothing_for_as_long_as_anybody_waits() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.crash(1);
    let heard = cluster.now;
    cluster.now = heard + cluster.settings.election.start - Duration::from_millis(1);
    cluster.timeout(3, Timer::Election);
    cluster.settle();
    assert_eq!(cluster.view(3), 3, "node 2 still counts on the primary");
    cluster.now = heard + cluster.settings.election.start;
    cluster.timeout(3, Timer::Heartbeat);
    cluster.settle();
    assert_eq!(cluster.leader(), Some(n(2)), "its own timer has not run out");
    assert!(cluster.node(2).timers[&Timer::Election] > cluster.now);
}

#[test]
fn a_wish_is_repeated_until_it_is_granted() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.crash(1);
    cluster.now += cluster.settings.election.end;
    cluster.timeout(3, Timer::Election);
    cluster.take(|_| true);
    for _ in 0..3 {
        cluster.timeout(3, Timer::Heartbeat);
        assert_eq!(cluster.take(is_wish).len(), 2);
    }
    cluster.timeout(3, Timer::Heartbeat);
    cluster.settle();
    assert_eq!(cluster.leader(), Some(n(2)));
    // And not any longer.
    cluster.timeout(3, Timer::Heartbeat);
    assert!(!cluster.network.iter().any(is_wish));
}

#[test]
fn the_wishes_of_a_quorum_move_even_a_primary() {
    let mut cluster = Cluster::led_by_1(5);
    for from in 2..=4 {
        assert_eq!(cluster.view(1), 5);
        cluster.forge(from, 1, wish(5, 6));
    }
    let standing = cluster.vsr(1).standing();
    assert_eq!((standing.role, standing.ballot), (Role::Candidate, Ballot(6)));
    assert!(!standing.serving);
}

#[test]
fn wishes_for_different_views_count_for_the_earliest_of_them() {
    let mut cluster = Cluster::led_by_1(5);
    for (from, target) in [(2, 8), (3, 6), (4, 7)] {
        cluster.forge(from, 1, wish(5, target));
    }
    assert_eq!(cluster.view(1), 6);
}

#[test]
fn who_wants_to_leave_for_a_later_view_than_it_enters_wants_to_still() {
    let mut cluster = Cluster::led_by_1(5);
    cluster.now += cluster.settings.election.end;
    cluster.forge(3, 2, wish(5, 8));
    cluster.take(|_| true);
    cluster.forge(4, 2, wish(5, 6));
    assert_eq!(cluster.view(2), 6);
    cluster.save(2);
    let wishes = cluster.take(is_wish);
    let (view, target) = (Ballot(6), Ballot(8));
    assert!(wishes.iter().all(|sent| sent.message == Message::StartViewChange { view, target }));
    assert_eq!(wishes.len(), 4);
}

#[test]
fn who_gives_a_view_the_time_to_begin_does_not_answer_a_wish() {
    let mut cluster = Cluster::led_by_1(5);
    cluster.heartbeats(1);
    cluster.forge(3, 5, wish(6, 6));
    assert_eq!(cluster.view(5), 6);
    cluster.save(5);
    cluster.take(|_| true);
    cluster.forge(4, 5, wish(6, 7));
    assert_eq!(cluster.network, []);
}

#[test]
fn an_old_wish_does_not_count() {
    let mut cluster = Cluster::led_by_1(5);
    cluster.forge(2, 1, wish(5, 6));
    cluster.forge(3, 1, wish(5, 6));
    cluster.now += cluster.settings.election.end;
    cluster.forge(4, 1, wish(5, 6));
    assert_eq!(cluster.view(1), 5);
    cluster.forge(2, 1, wish(5, 6));
    cluster.forge(3, 1, wish(5, 6));
    assert_eq!(cluster.view(1), 6);
}

#[test]
fn a_wish_from_before_the_view_began_does_not_count_in_it() {
    let mut cluster = Cluster::led_by_1(5);
    cluster.heartbeats(1);
    // Two ask for view 7 while view 6 is about to begin.
    for (from, to) in [(3, 2), (4, 2), (3, 5), (4, 5)] {
        cluster.forge(from, to, wish(5, 7));
    }
    for (from, to) in [(1, 2), (3, 2), (1, 5), (3, 5), (1, 4), (3, 4)] {
        cluster.forge(from, to, wish(6, 6));
    }
    cluster.settle();
    assert!(cluster.node(2).leads());
    for to in [2, 5] {
        cluster.forge(1, to, wish(6, 7));
        assert_eq!(cluster.view(to), 6);
    }
}

#[test]
fn a_view_that_does_not_begin_is_left_for_the_next_one() {
    let mut cluster = Cluster::led_by_1(5);
    // In view 6 it is the turn of node 2.
    cluster.crash(1);
    cluster.crash(2);
    cluster.now += cluster.settings.election.end;
    cluster.timeout(4, Timer::Election);
    cluster.settle();
    assert_eq!((cluster.view(3), cluster.leader()), (6, None));
    cluster.now += cluster.settings.election.start;
    cluster.timeout(5, Timer::Election);
    cluster.settle();
    assert_eq!((cluster.view(4), cluster.leader()), (7, Some(n(3))));
}

#[test]
fn a_view_gets_the_time_to_begin() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.crash(1);
    cluster.now += cluster.settings.election.end;
    cluster.slow.insert(n(2));
    cluster.timeout(3, Timer::Election);
    cluster.settle();
    cluster.save(2);
    cluster.settle();
    assert_eq!((cluster.view(2), cluster.view(3)), (4, 4));
    cluster.timeout(3, Timer::Election);
    cluster.settle();
    assert_eq!(cluster.view(2), 4, "node 2 is at work");
    cluster.slow.clear();
    cluster.settle();
    assert_eq!(cluster.leader(), Some(n(2)));
    assert_eq!(cluster.vsr(3).standing().leader, Some(n(2)));
}

#[test]
fn who_has_left_takes_the_others_along() {
    let mut cluster = Cluster::led_by_1(5);
    cluster.heartbeats(1);
    // Node 1, whose turn it is in view 10, leaves for it; those who wanted that have changed
    // their minds.
    cluster.isolate(1);
    for from in 2..=4 {
        cluster.forge(from, 1, wish(5, 10));
    }
    cluster.save(1);
    assert_eq!(cluster.view(1), 10);
    cluster.lead(2);
    assert_eq!(cluster.view(2), 11);
    cluster.heal();
    cluster.heartbeats(1);
    assert_eq!(cluster.vsr(1).standing().leader, Some(n(2)));

    // Now the same, but to a view behind that of the others.
    cluster.isolate(1);
    for from in 2..=4 {
        cluster.forge(from, 1, wish(11, 15));
    }
    cluster.settle();
    assert_eq!((cluster.view(1), cluster.view(2)), (15, 11));
    cluster.heal();
    cluster.timeout(1, Timer::Heartbeat);
    cluster.settle();
    assert_eq!(cluster.leader(), Some(n(1)), "it could not have returned");
    for id in 1..=5 {
        assert_eq!(cluster.view(id), 15);
    }
}

#[test]
fn a_report_takes_the_primary_of_the_view_along() {
    let mut cluster = Cluster::led_by_1(5);
    let head = cluster.node(3).last();
    let digest = cluster.node(3).log.last_digest();
    let report = DoViewChange { view: Ballot(6), head, digest, commit: head.index };
    cluster.heartbeats(1);
    cluster.forge(3, 2, Message::DoViewChange(report));
    assert_eq!((cluster.view(2), cluster.vsr(2).standing().role), (6, Role::Candidate));
}

#[test]
fn a_primary_whose_heartbeats_arrive_but_who_hears_no_quorum_is_replaced_at_once() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.cut.extend([(n(2), n(1)), (n(3), n(1))]);
    let mut waited = Duration::ZERO;
    while cluster.node(1).leads() {
        cluster.heartbeats(1);
        waited += cluster.settings.heartbeat;
        cluster.fire_due_timers();
        assert!(waited <= cluster.settings.election.end + cluster.settings.heartbeat);
    }
    // The others have just heard from it: but it has asked them to leave.
    cluster.settle();
    assert_eq!(cluster.leader(), Some(n(2)));
}

#[test]
fn a_primary_that_hears_a_quorum_stays() {
    let mut cluster = Cluster::led_by_1(5);
    cluster.isolate(4);
    cluster.isolate(5);
    for _ in 0..100 {
        cluster.heartbeats(1);
        cluster.fire_due_timers();
        assert!(cluster.node(1).leads());
    }
}

#[test]
fn a_primary_of_the_past_learns_from_the_heartbeat_of_its_successor() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.isolate(1);
    cluster.now += cluster.settings.election.start;
    cluster.timeout(2, Timer::Election);
    cluster.settle();
    cluster.heal();
    assert!(cluster.node(1).leads() && cluster.node(2).leads());
    cluster.timeout(2, Timer::Heartbeat);
    cluster.settle();
    let standing = cluster.vsr(1).standing();
    assert_eq!((standing.role, standing.leader), (Role::Follower, Some(n(2))));
    assert!(cluster.node(1).timers.contains_key(&Timer::Election));
}

#[test]
fn a_primary_that_restarts_never_resumes_its_view_and_is_replaced_at_once() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.heartbeats(1);
    cluster.crash(1);
    cluster.restart(1);
    assert!(!cluster.node(1).leads());
    // The others have just heard from it.
    cluster.fire_immediate_timers();
    cluster.settle();
    assert_eq!((cluster.leader(), cluster.view(1)), (Some(n(2)), 4));
}

#[test]
fn a_replica_that_entered_its_own_view_and_restarts_does_not_begin_it() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.crash(1);
    cluster.now += cluster.settings.election.end;
    cluster.timeout(3, Timer::Election);
    cluster.deliver_to(2);
    cluster.save(2);
    assert_eq!(cluster.view(2), 4);
    cluster.crash(2);
    cluster.restart(2);
    cluster.settle();
    let (head, commit) = (cluster.node(3).last(), cluster.node(3).log.committed());
    for from in [1, 3] {
        let digest = cluster.node(3).log.last_digest();
        let report = DoViewChange { view: Ballot(4), head, digest, commit };
        cluster.forge(from, 2, Message::DoViewChange(report));
    }
    cluster.settle();
    assert!(!cluster.node(2).leads());
    cluster.fire_immediate_timers();
    cluster.settle();
    assert_eq!(cluster.view(3), 5);
}

#[test]
fn a_backup_that_restarts_goes_on_where_it_was() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.crash(3);
    cluster.restart(3);
    let standing = cluster.vsr(3).standing();
    assert_eq!((standing.role, standing.leader, standing.ballot.0), (Role::Follower, None, 3));
    cluster.heartbeats(1);
    assert_eq!(cluster.vsr(3).standing().leader, Some(n(1)));
}

#[test]
fn who_restarts_in_a_view_change_goes_on_with_it() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.crash(1);
    cluster.isolate(2);
    cluster.now += cluster.settings.election.end;
    cluster.forge(2, 3, wish(3, 4));
    cluster.timeout(3, Timer::Election);
    cluster.settle();
    assert_eq!(cluster.view(3), 4);
    cluster.crash(3);
    cluster.restart(3);
    assert_eq!(cluster.vsr(3).standing().role, Role::Candidate);
    cluster.heal();
    cluster.timeout(3, Timer::Heartbeat);
    cluster.settle();
    assert_eq!(cluster.leader(), Some(n(2)));
}

#[test]
fn who_is_not_a_member_never_asks_to_leave() {
    let mut cluster = Cluster::of(3);
    let stranger = Node::new(n(9), &cluster.founders, &cluster.settings);
    cluster.nodes.insert(n(9), stranger);
    cluster.timeout(9, Timer::Election);
    assert_eq!(cluster.network, []);
    assert!(cluster.node(9).timers.contains_key(&Timer::Election));
}

#[test]
fn an_absurd_view_is_a_fault_and_moves_nobody() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.now += cluster.settings.election.end;
    cluster.checks.faults_expected = true;
    let far = u64::MAX;
    let head = cluster.node(2).last();
    let digest = cluster.node(2).log.last_digest();
    let report = DoViewChange { view: Ballot(far), head, digest, commit: head.index };
    let messages = [wish(3, far), wish(far, far), Message::DoViewChange(report)];
    for (count, message) in messages.into_iter().enumerate() {
        for from in [1, 3] {
            cluster.forge(from, 2, message.clone());
        }
        let faults = 2 * (count as u64 + 1);
        assert_eq!(cluster.vsr(2).peer_faults(), (faults, Some((n(3), PeerFault::AbsurdView))));
        assert_eq!(cluster.view(2), 3);
    }
}
