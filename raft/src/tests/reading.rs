//! Linearizable reads.

use quorate_core::{Ballot, Index, Protocol, Timer};

use super::cluster::{Cluster, append, n};
use crate::Message;

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
fn a_single_server_answers_at_once() {
    let mut cluster = Cluster::led_by_1(1);
    let read = cluster.read(1);
    assert_eq!(cluster.node(1).ready.get(&read), Some(&Index(1)));
}

#[test]
fn a_read_waits_until_the_leader_has_committed_in_its_own_term() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    cluster.settle();
    // Nobody but node 1 knows yet that b is committed.
    cluster.propose(1, "b");
    for id in 2..=3 {
        cluster.deliver_to(id);
        cluster.save(id);
    }
    cluster.save(1);
    cluster.deliver_to(1);
    assert_eq!((cluster.committed(1), cluster.committed(2)), (3, 2));
    cluster.take(|_| true);
    cluster.crash(1);

    cluster.now += cluster.settings.election.end;
    cluster.slow.extend([n(2), n(3)]);
    cluster.timeout(2, Timer::Election);
    cluster.until_leads(2, |cluster| {
        cluster.save(3);
        cluster.save(2);
        cluster.settle();
    });
    let read = cluster.read(2);
    cluster.settle();
    assert_eq!(cluster.committed(2), 2);
    assert_eq!(cluster.node(2).ready.get(&read), None, "it is followed, but knows too little");
    cluster.slow.clear();
    cluster.settle();
    assert_eq!(cluster.node(2).ready.get(&read), Some(&Index(4)));
}

#[test]
fn reads_of_a_batch_share_a_round_and_those_after_it_need_another() {
    let mut cluster = Cluster::led_by_1(3);
    let first = cluster.read(1);
    assert_eq!(cluster.network.len(), 2);
    let answers = {
        cluster.deliver_to(2);
        cluster.take(|sent| sent.to == n(1))
    };
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
fn a_leader_that_was_replaced_unawares_answers_no_read() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.isolate(1);
    cluster.now += cluster.settings.election.start;
    cluster.timeout(2, Timer::Election);
    cluster.settle();
    cluster.propose(2, "unknown to node 1");
    cluster.settle();
    assert!(cluster.raft(1).standing().serving);
    let read = cluster.read(1);
    cluster.timeout(1, Timer::Heartbeat);
    cluster.settle();
    assert_eq!(cluster.node(1).ready.get(&read), None);
    cluster.heal();
    cluster.timeout(1, Timer::Heartbeat);
    cluster.settle();
    assert!(cluster.node(1).lost.contains(&read), "and says so once it knows");
}

#[test]
fn reads_are_given_up_when_the_leader_steps_down() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.isolate(1);
    let reads = [cluster.read(1), cluster.read(1)];
    cluster.now += cluster.settings.election.end;
    cluster.timeout(1, Timer::Quorum);
    assert!(!cluster.node(1).leads());
    assert!(reads.iter().all(|read| cluster.node(1).lost.contains(read)));
}

#[test]
fn a_leader_gives_up_an_election_timeout_after_it_last_heard_a_quorum() {
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
fn a_refusal_meant_for_an_earlier_term_confirms_no_read_of_this_one() {
    let mut cluster = Cluster::led_by_1(3);
    // A long reign, whose last round nobody hears in time.
    cluster.heartbeats(30);
    cluster.timeout(1, Timer::Heartbeat);
    let late = cluster.take(|sent| append(&sent.message).is_some());
    cluster.timeout(1, Timer::Quorum);
    cluster.now += cluster.settings.election.end;
    cluster.timeout(1, Timer::Quorum);
    cluster.elect(1);
    assert_eq!(cluster.term(1), 2);
    cluster.isolate(1);
    let read = cluster.read(1);
    let (term, probe) = (Ballot(1), append(&late[0].message).unwrap().probe);
    // Rounds are numbered anew, and by now there was one of this number in this term, too.
    for _ in 0..probe {
        cluster.timeout(1, Timer::Heartbeat);
    }
    cluster.take(|_| true);
    cluster.heal();
    let snapshot = cluster.nodes.get_mut(&n(1)).unwrap().snapshot();
    cluster.forge(1, 2, Message::InstallSnapshot { term, probe, snapshot });
    for sent in late {
        cluster.deliver(sent);
    }
    let refusals = cluster.take(|sent| sent.to == n(1));
    assert_eq!(refusals.len(), 3);
    for sent in refusals {
        cluster.deliver(sent);
    }
    assert_eq!(cluster.node(1).ready.get(&read), None);
}
