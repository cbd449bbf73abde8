//! Linearizable reads.

use quorate_core::{Index, Timer};

use super::cluster::{Cluster, n};

#[test]
fn a_read_is_answered_by_one_exchange_with_a_quorum() {
    let mut cluster = Cluster::led_by_1(5);
    cluster.crash(4);
    cluster.crash(5);
    let read = cluster.read(1);
    assert_eq!(cluster.node(1).ready.get(&read), None);
    cluster.deliver_to(2);
    cluster.deliver_to(1);
    assert_eq!(cluster.node(1).ready.get(&read), None, "two of five");
    cluster.deliver_to(3);
    cluster.deliver_to(1);
    assert_eq!(cluster.node(1).ready.get(&read), Some(&Index(1)));
}

#[test]
fn a_single_replica_answers_at_once() {
    let mut cluster = Cluster::led_by_1(1);
    let read = cluster.read(1);
    assert_eq!(cluster.node(1).ready.get(&read), Some(&Index(1)));
}

#[test]
fn a_read_waits_until_the_primary_has_committed_in_its_own_view() {
    let mut cluster = Cluster::led_by_1(3);
    // Nobody but node 1 knows that a is committed.
    cluster.propose(1, "a");
    cluster.deliver_to(2);
    cluster.deliver_to(3);
    (1..=3).for_each(|id| cluster.save(id));
    cluster.deliver_to(1);
    assert_eq!((cluster.committed(1), cluster.committed(2)), (2, 1));
    cluster.take(|_| true);
    cluster.crash(1);
    cluster.slow.insert(n(3));
    cluster.now += cluster.settings.election.end;
    cluster.timeout(3, Timer::Election);
    cluster.settle();
    cluster.until(
        |cluster| cluster.view(2) >= 4 && cluster.node(2).leads(),
        |cluster| {
            cluster.save(3);
            cluster.settle();
        },
    );
    let read = cluster.read(2);
    cluster.settle();
    assert_eq!(cluster.committed(2), 1);
    assert_eq!(cluster.node(2).ready.get(&read), None, "it is followed, but knows too little");
    cluster.slow.clear();
    cluster.settle();
    assert_eq!(cluster.node(2).ready.get(&read), Some(&Index(3)));
}

#[test]
fn reads_of_a_batch_share_a_round_and_those_after_it_need_another() {
    let mut cluster = Cluster::led_by_1(3);
    let first = cluster.read(1);
    assert_eq!(cluster.network.len(), 2);
    cluster.deliver_to(2);
    let answers = cluster.take(|sent| sent.to == n(1));
    // Registered after the round began: its answers say nothing about this one.
    let second = cluster.read(1);
    for sent in answers.iter().cycle().take(4).cloned() {
        cluster.deliver(sent);
    }
    assert_eq!(cluster.node(1).ready.get(&first), Some(&Index(1)));
    assert_eq!(cluster.node(1).ready.get(&second), None);
    cluster.settle();
    assert_eq!(cluster.node(1).ready.get(&second), Some(&Index(1)));
}

#[test]
fn a_primary_that_was_replaced_unawares_answers_no_read() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.isolate(1);
    cluster.now += cluster.settings.election.start;
    cluster.timeout(2, Timer::Election);
    cluster.settle();
    cluster.propose(2, "unknown to node 1");
    cluster.settle();
    assert!(cluster.node(1).leads());
    let read = cluster.read(1);
    cluster.timeout(1, Timer::Heartbeat);
    cluster.settle();
    assert_eq!(cluster.node(1).ready.get(&read), None);
    cluster.heal();
    cluster.timeout(1, Timer::Heartbeat);
    cluster.timeout(2, Timer::Heartbeat);
    cluster.settle();
    assert!(cluster.node(1).lost.contains(&read), "and says so once it knows");
}

#[test]
fn reads_are_given_up_when_the_primary_leaves_its_view_in_whatever_way() {
    let ways: [fn(&mut Cluster); 3] = [
        |cluster| {
            cluster.now += cluster.settings.election.end;
            cluster.timeout(1, Timer::Quorum);
        },
        |cluster| {
            for from in [2, 3] {
                let (view, target) = (quorate_core::Ballot(3), quorate_core::Ballot(4));
                cluster.forge(from, 1, crate::Message::StartViewChange { view, target });
            }
        },
        |cluster| {
            let (view, probe) = (quorate_core::Ballot(4), 1);
            let (op, commit) = (Index(1), Index(1));
            cluster.forge(2, 1, crate::Message::Commit { view, probe, op, commit });
        },
    ];
    for (number, leave) in ways.into_iter().enumerate() {
        let mut cluster = Cluster::led_by_1(3);
        cluster.isolate(1);
        let reads = [cluster.read(1), cluster.read(1)];
        leave(&mut cluster);
        assert!(!cluster.node(1).leads(), "way {number}");
        assert!(reads.iter().all(|read| cluster.node(1).lost.contains(read)), "way {number}");
    }
}

#[test]
fn a_primary_gives_up_an_election_timeout_after_it_last_heard_a_quorum() {
    let mut cluster = Cluster::led_by_1(3);
    let half = cluster.settings.election.end / 2;
    cluster.now += half;
    cluster.timeout(1, Timer::Heartbeat);
    cluster.settle();
    cluster.isolate(1);
    // It looks as soon as its timer has run out, and not before.
    cluster.now += half + std::time::Duration::from_millis(1);
    cluster.fire_due_timers();
    assert!(cluster.node(1).leads(), "it has heard one since the timer was set");
    cluster.now += half;
    cluster.fire_due_timers();
    assert!(!cluster.node(1).leads());
}

#[test]
fn a_lost_round_is_made_up_for_by_the_next_heartbeat() {
    let mut cluster = Cluster::led_by_1(3);
    let read = cluster.read(1);
    cluster.take(|_| true);
    cluster.heartbeats(1);
    assert_eq!(cluster.node(1).ready.get(&read), Some(&Index(1)));
}

#[test]
fn a_read_does_not_wait_for_the_disks() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.slow.extend([n(1), n(2), n(3)]);
    cluster.propose(1, "a");
    cluster.settle();
    let read = cluster.read(1);
    cluster.settle();
    assert_eq!(cluster.node(1).ready.get(&read), Some(&Index(1)));
}

#[test]
fn a_question_confirms_no_read_since_it_may_have_been_asked_before_that() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.crash(3);
    cluster.propose(1, "a");
    cluster.settle();
    cluster.restart(3);
    cluster.timeout(1, Timer::Heartbeat);
    cluster.deliver_to(3);
    let is_question =
        |sent: &super::cluster::Sent| matches!(sent.message, crate::Message::GetState { .. });
    let question = cluster.take(is_question).pop().unwrap();
    cluster.settle();
    cluster.isolate(1);
    let read = cluster.read(1);
    cluster.heal();
    cluster.deliver(question);
    assert_eq!(cluster.node(1).ready.get(&read), None);
    // What it is supplied with asks it once more whether it is still in the view.
    cluster.settle();
    assert_eq!(cluster.node(1).ready.get(&read), Some(&Index(2)));
}

#[test]
fn a_backup_that_lacks_the_log_of_the_view_confirms_that_it_is_in_it() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.crash(3);
    cluster.propose(1, "a");
    cluster.settle();
    cluster.crash(2);
    cluster.restart(3);
    cluster.timeout(1, Timer::Heartbeat);
    cluster.deliver_to(3);
    cluster.take(|sent| matches!(sent.message, crate::Message::GetState { .. }));
    let read = cluster.read(1);
    cluster.deliver_to(3);
    cluster.deliver_to(1);
    assert_eq!(cluster.node(1).ready.get(&read), Some(&Index(2)));
}

#[test]
fn answers_of_an_earlier_view_confirm_no_read_of_this_one() {
    let mut cluster = Cluster::led_by_1(3);
    // A long reign, whose last round is answered late.
    cluster.heartbeats(30);
    cluster.timeout(1, Timer::Heartbeat);
    cluster.deliver_to(2);
    cluster.deliver_to(3);
    let late = cluster.take(|sent| sent.to == n(1));
    assert_eq!(late.len(), 2);
    cluster.lead(1);
    assert_eq!(cluster.view(1), 6);
    cluster.isolate(1);
    let read = cluster.read(1);
    cluster.heal();
    for sent in late {
        cluster.deliver(sent);
    }
    assert_eq!(cluster.node(1).ready.get(&read), None);
}
