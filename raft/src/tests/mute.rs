//! A server whose disk may not know what was promised on it: it follows, and nothing that it says
//! counts. Nor does what was said by a disk that was replaced.

use quorate_core::{
    Ballot, EntryKind, Incarnation, Index, Input, LogId, LogTime, Proposal, Protocol, Timer,
};

use super::cluster::{Cluster, n};
use crate::{Message, Raft};

fn fall_mute(cluster: &mut Cluster, id: u64) {
    cluster.nodes.get_mut(&n(id)).unwrap().log.set_mute(true);
}

/// What `id` has said that would count.
fn vouched_for(cluster: &Cluster, id: u64) -> Option<&Message> {
    let said = cluster.network.iter().filter(|sent| sent.from == n(id));
    said.map(|sent| &sent.message).find(|message| Raft::vouches(message))
}

#[test]
fn whoever_is_not_mute_vouches_for_what_it_has_saved() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    cluster.deliver_to(2);
    assert_eq!(vouched_for(&cluster, 2), None);
    cluster.save(2);
    assert!(vouched_for(&cluster, 2).is_some());
}

#[test]
fn a_mute_server_follows_and_vouches_for_nothing() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.isolate(3);
    for text in ["a", "b"] {
        cluster.propose(1, text);
        cluster.settle();
    }
    cluster.heal();
    fall_mute(&mut cluster, 3);
    for _ in 0..5 {
        cluster.timeout(1, Timer::Heartbeat);
        for _ in 0..5 {
            cluster.deliver_to(3);
            cluster.save_all(3);
            assert_eq!(vouched_for(&cluster, 3), None);
            cluster.deliver_to(1);
        }
    }
    cluster.settle();
    cluster.assert_log(3, &[1, 1, 1], 3);
    assert_eq!(cluster.raft(3).standing().leader, Some(n(1)));
}

#[test]
fn a_mute_server_is_sent_no_more_than_a_window_before_its_disk_has_it() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.heartbeats(1);
    fall_mute(&mut cluster, 3);
    cluster.slow.insert(n(3));
    let window = cluster.settings.window_bytes;
    let command = "x".repeat(window / 8);
    for _ in 0..24 {
        cluster.propose(1, &command);
        cluster.settle();
        cluster.timeout(1, Timer::Heartbeat);
        cluster.settle();
    }
    let held = |cluster: &Cluster| cluster.last_index(3).0;
    assert_eq!(cluster.last_index(1), Index(25));
    assert_eq!(held(&cluster), 2);
    // What it has saved makes room for more, of a window that opens; that is still nothing that counts.
    let mut batches = Vec::new();
    for _ in 0..8 {
        let before = held(&cluster);
        cluster.save_all(3);
        assert_eq!(vouched_for(&cluster, 3), None);
        cluster.settle();
        batches.push(held(&cluster) - before);
    }
    assert_eq!(batches, [2, 4, 8, 8, 1, 0, 0, 0], "never more than a window");
    assert_eq!(held(&cluster), 25);
}

#[test]
fn a_mute_server_has_no_vote_and_stands_for_nothing() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.heartbeats(1);
    fall_mute(&mut cluster, 3);
    cluster.forge(1, 3, Message::TimeoutNow { term: Ballot(1) });
    assert_eq!(cluster.network, []);
    cluster.now += cluster.settings.election.end;
    cluster.timeout(3, Timer::Election);
    let (term, last) = (Ballot(2), LogId::new(Index(9), Ballot(1)));
    for message in [
        Message::PreVote { term, last },
        Message::RequestVote { term, last, transfer: false },
        Message::RequestVote { term, last, transfer: true },
    ] {
        cluster.forge(2, 3, message);
        cluster.save_all(3);
        assert_eq!(cluster.network, []);
    }
    assert_eq!(cluster.term(3), 1, "where the leader reaches it");
}

#[test]
fn what_a_mute_server_holds_commits_nothing_until_another_has_it() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.heartbeats(1);
    let before = cluster.committed(1);
    cluster.isolate(2);
    fall_mute(&mut cluster, 3);
    cluster.propose(1, "a");
    cluster.settle();
    cluster.timeout(1, Timer::Heartbeat);
    cluster.settle();
    assert_eq!(cluster.last_index(3), cluster.last_index(1), "it has the entry");
    assert_eq!(cluster.committed(1), before);
    cluster.heal();
    cluster.heartbeats(2);
    assert_eq!(cluster.committed(1), before + 1);
}

#[test]
fn acknowledgements_of_a_disk_that_was_replaced_do_not_count() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.isolate(2);
    cluster.slow.insert(n(1));
    cluster.propose(1, "a");
    cluster.settle();
    // Node 3 has acknowledged a. Now its disk is replaced, through the log.
    cluster.isolate(3);
    let listed = cluster.founders.incarnation(n(3)).unwrap();
    let members = cluster.founders.with_replaced(n(3), listed, Incarnation(33)).unwrap();
    let payload = postcard::to_allocvec(&members).unwrap().into();
    let proposal = Proposal::new(EntryKind::Membership, LogTime(0), payload);
    cluster.input(1, Input::Propose(proposal));
    cluster.save_all(1);
    assert_eq!(cluster.node(1).log.durable(), Index(3));
    assert_eq!(cluster.committed(1), 1);
    cluster.heal();
    cluster.slow.clear();
    cluster.heartbeats(2);
    assert_eq!(cluster.committed(1), 3, "the disk that is listed says so itself");
}

#[test]
fn what_a_server_acknowledged_before_it_fell_mute_does_not_count() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.isolate(2);
    cluster.slow.insert(n(1));
    cluster.propose(1, "a");
    cluster.settle();
    // Node 3 has acknowledged a, and may not know of it any more.
    fall_mute(&mut cluster, 3);
    cluster.timeout(1, Timer::Heartbeat);
    cluster.settle();
    cluster.save_all(1);
    cluster.settle();
    assert_eq!(cluster.node(1).log.durable(), Index(2));
    assert_eq!(cluster.committed(1), 1);
}

#[test]
fn a_mute_server_confirms_no_read() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.heartbeats(1);
    cluster.isolate(2);
    fall_mute(&mut cluster, 3);
    let read = cluster.read(1);
    cluster.settle();
    cluster.timeout(1, Timer::Heartbeat);
    cluster.settle();
    assert_eq!(cluster.node(1).ready.get(&read), None);
    cluster.heal();
    cluster.heartbeats(1);
    assert_eq!(cluster.node(1).ready.get(&read), Some(&Index(1)));
}
