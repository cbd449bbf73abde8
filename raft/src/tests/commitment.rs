//! When an entry is committed, and by whose word.

use quorate_core::{Ballot, Gap, Index, LogId, Timer};

use super::cluster::{Cluster, Sent, append, n};
use crate::{AppendEntries, AppendEntriesReply, Appended, Message};

fn durable(term: u64, index: u64) -> Message {
    let outcome = Appended::Durable(Index(index));
    Message::AppendEntriesReply(AppendEntriesReply { term: Ballot(term), probe: 1, outcome })
}

fn acknowledges(message: &Message, index: u64) -> bool {
    match message {
        Message::AppendEntriesReply(reply) => reply.outcome == Appended::Durable(Index(index)),
        _ => false,
    }
}

#[test]
fn a_leader_counts_its_own_entry_only_once_it_is_on_disk() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.crash(3);
    cluster.slow.insert(n(1));
    cluster.propose(1, "a");
    cluster.settle();
    assert_eq!(cluster.node(2).log.durable(), Index(2));
    assert_eq!(cluster.committed(1), 1);
    cluster.save(1);
    assert_eq!(cluster.committed(1), 2);
}

#[test]
fn what_the_leaders_own_disk_commits_is_told_at_once() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.crash(3);
    cluster.slow.insert(n(1));
    cluster.propose(1, "a");
    cluster.settle();
    cluster.save(1);
    let tells = |sent: &Sent| match &sent.message {
        Message::AppendEntries(append) => append.commit == Index(2),
        _ => false,
    };
    assert_eq!(cluster.network.iter().filter(|sent| tells(sent)).count(), 2);
}

#[test]
fn a_single_server_commits_only_what_is_on_its_disk() {
    let mut cluster = Cluster::led_by_1(1);
    cluster.propose(1, "a");
    assert_eq!(cluster.committed(1), 1);
    cluster.save(1);
    assert_eq!(cluster.committed(1), 2);
}

#[test]
fn two_followers_commit_before_the_leaders_own_disk_does() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.slow.insert(n(1));
    cluster.propose(1, "a");
    cluster.settle();
    assert_eq!(cluster.node(1).log.durable(), Index(1));
    for id in 1..=3 {
        assert_eq!(cluster.committed(id), 2);
    }
}

#[test]
fn a_follower_that_is_ahead_of_the_leaders_disk_does_not_count_for_others() {
    let mut cluster = Cluster::led_by_1(5);
    cluster.slow.extend([n(1), n(3), n(4), n(5)]);
    for text in ["a", "b", "c"] {
        cluster.propose(1, text);
        cluster.settle();
    }
    assert_eq!(cluster.node(2).log.durable(), Index(4));
    // One is far ahead, a second has one entry more: no quorum but for the opening.
    cluster.save(3);
    cluster.settle();
    assert_eq!(cluster.committed(1), 1);
    cluster.save(1);
    cluster.settle();
    assert_eq!(cluster.committed(1), 2);
}

#[test]
fn an_acknowledgement_leaves_with_the_write_that_it_speaks_of() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.slow.insert(n(2));
    cluster.propose(1, "a");
    cluster.deliver_to(2);
    assert!(!cluster.network.iter().any(|sent| acknowledges(&sent.message, 2)));
    cluster.save(2);
    assert!(cluster.network.iter().any(|sent| acknowledges(&sent.message, 2)));
}

#[test]
fn a_retransmission_is_not_acknowledged_before_the_first_copy_is_on_disk() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.slow.insert(n(2));
    cluster.propose(1, "a");
    let first = cluster.take(|sent| sent.to == n(2));
    let mut again = first.clone();
    // With a probe of its own, as a heartbeat would carry.
    if let Message::AppendEntries(append) = &mut again[0].message {
        append.probe += 1;
    }
    let mut empty = again.clone();
    if let Message::AppendEntries(append) = &mut empty[0].message {
        append.previous = append.entries.remove(0).id;
        append.probe += 1;
    }
    cluster.take(|_| true);
    for sent in first.iter().cycle().take(3).cloned().chain(again).chain(empty) {
        cluster.deliver(sent);
    }
    assert!(!cluster.network.iter().any(|sent| acknowledges(&sent.message, 2)));
    cluster.save(2);
    assert!(cluster.network.iter().any(|sent| acknowledges(&sent.message, 2)));
}

#[test]
fn an_acknowledged_entry_survives_the_followers_crash() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.slow.insert(n(2));
    cluster.propose(1, "a");
    cluster.deliver_to(2);
    cluster.save(2);
    cluster.propose(1, "b");
    cluster.deliver_to(2);
    cluster.crash(2);
    cluster.restart(2);
    assert_eq!(cluster.last_index(2), Index(2), "b was not acknowledged, and is lost");
    cluster.slow.clear();
    cluster.settle();
    cluster.heartbeats(5);
    cluster.assert_log(2, &[1, 1, 1], 3);
}

#[test]
fn copies_of_an_earlier_terms_entry_on_a_quorum_do_not_commit_it() {
    // Figure 3.7 of the dissertation, step (c): node 1 has replicated its entry of term 2, but
    // nothing of term 4 yet; node 5 with its entry of term 3 can still be elected.
    let mut cluster = Cluster::of(5);
    cluster.set_log(1, &[1, 2]);
    cluster.set_log(2, &[1, 2]);
    cluster.set_log(3, &[1]);
    cluster.set_log(4, &[1]);
    cluster.set_log(5, &[1, 3]);
    cluster.settle();
    cluster.forge(
        4,
        1,
        Message::AppendEntriesReply(AppendEntriesReply {
            term: Ballot(3),
            probe: 0,
            outcome: Appended::Refused,
        }),
    );
    cluster.isolate(5);
    cluster.isolate(4);
    cluster.slow.insert(n(1));
    cluster.timeout(1, Timer::Election);
    cluster.until_leads(1, |cluster| {
        cluster.save(1);
        cluster.settle();
    });
    assert_eq!(cluster.term(1), 4);
    // Node 3 gets the entry of term 2, and nothing more.
    let sent = cluster.nodes[&n(1)].log.entries(Index(2), 1).unwrap();
    cluster.cut.extend([(n(1), n(2)), (n(1), n(3))]);
    cluster.take(|_| true);
    let copy = AppendEntries {
        term: Ballot(4),
        probe: 1,
        previous: LogId::new(Index(1), Ballot(1)),
        commit: Index(0),
        entries: sent,
    };
    cluster.forge(1, 3, Message::AppendEntries(copy));
    cluster.forge(2, 1, durable(4, 2));
    cluster.settle();
    assert!(cluster.node(3).disk.holds(LogId::new(Index(2), Ballot(2))));
    assert_eq!(cluster.committed(1), 0, "a quorum holds the entry, and that proves nothing");

    // Once the opening of term 4 is on a quorum, all before it is committed with it.
    cluster.cut.remove(&(n(1), n(2)));
    cluster.cut.remove(&(n(1), n(3)));
    cluster.slow.clear();
    cluster.settle();
    cluster.heartbeats(2);
    assert_eq!(cluster.committed(1), 3);
}

#[test]
fn acknowledgements_of_an_earlier_term_count_for_nothing() {
    // Node 2 held three entries of term 2 durably and said so; then its log went back.
    let mut cluster = Cluster::of(3);
    cluster.set_log(1, &[1, 2, 2, 2]);
    cluster.set_log(2, &[1, 2]);
    cluster.crash(3);
    cluster.cut.insert((n(1), n(2)));
    cluster.forge(2, 1, durable(2, 4));
    cluster.cut.clear();
    cluster.elect(1);
    cluster.isolate(2);
    cluster.propose(1, "a");
    cluster.settle();
    let committed = cluster.committed(1);
    for _ in 0..3 {
        cluster.forge(2, 1, durable(2, 6));
    }
    assert_eq!(cluster.committed(1), committed);
}

#[test]
fn an_acknowledgement_that_comes_late_takes_nothing_back() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.crash(3);
    cluster.propose(1, "a");
    cluster.propose(1, "b");
    cluster.settle();
    assert_eq!(cluster.committed(1), 3);
    cluster.slow.insert(n(1));
    cluster.propose(1, "c");
    cluster.settle();
    cluster.forge(2, 1, durable(1, 2));
    cluster.forge(2, 1, durable(1, 1));
    cluster.save(1);
    assert_eq!(cluster.committed(1), 4);
}

#[test]
fn a_follower_commits_no_further_than_it_has_verified() {
    let mut cluster = Cluster::of(3);
    cluster.set_log(2, &[1, 2, 2, 2]);
    // The leader of term 5 has committed up to 4; of node 2's entries it vouches for the first.
    let append = |previous, commit: u64, entries| {
        let (term, commit) = (Ballot(5), Index(commit));
        Message::AppendEntries(AppendEntries { term, probe: 1, previous, commit, entries })
    };
    cluster.set_log(1, &[1, 3, 3, 3]);
    cluster.forge(1, 2, append(LogId::new(Index(1), Ballot(1)), 4, Vec::new()));
    assert_eq!(cluster.node(2).log.committed(), Index(1));
}

#[test]
fn news_of_a_commit_is_not_repeated_or_answered() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    let before = cluster.delivered;
    cluster.settle();
    // To each follower: the entry, its acknowledgement, the news.
    assert_eq!(cluster.delivered - before, 6);
    assert_eq!(cluster.committed(3), 2);
}

#[test]
fn news_of_commits_wait_for_the_batch_to_end() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    cluster.propose(1, "b");
    cluster.save(1);
    cluster.save(1);
    cluster.deliver_to(2);
    cluster.save(2);
    cluster.save(2);
    let acks = cluster.take(|sent| sent.to == n(1));
    let inputs = acks.into_iter().map(|sent| quorate_core::Input::Message {
        from: sent.from,
        incarnation: quorate_core::Incarnation(0),
        message: sent.message,
    });
    cluster.take(|_| true);
    cluster.batch(n(1), inputs.collect());
    let news: Vec<_> = cluster.network.iter().filter(|sent| sent.to == n(2)).collect();
    assert_eq!(news.len(), 1);
    assert_eq!(append(&news[0].message).unwrap().commit, Index(3));
}

#[test]
fn nothing_is_acknowledged_behind_what_is_damaged() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    cluster.settle();
    let log = &mut cluster.nodes.get_mut(&n(3)).unwrap().log;
    let lost = log.entries(Index(1), 1).unwrap().remove(0);
    let (first, digest, before) = (lost.index(), lost.digest(), lost.parent);
    log.note_damage(Gap { first, last: first, digest, before, ids_known: true });
    assert!(!log.is_whole());
    cluster.propose(1, "b");
    cluster.deliver_to(3);
    // This disk never gets to what is repaired: there is always something left to be written.
    for _ in 0..3 {
        cluster.save(3);
    }
    let said = cluster.take(|sent| sent.from == n(3));
    assert!(!said.iter().any(|sent| acknowledges(&sent.message, 3)), "{said:?}");
    let holds = |sent: &Sent| match sent.message {
        Message::AppendEntriesReply(reply) => reply.outcome == Appended::Held(Index(3)),
        _ => false,
    };
    assert!(said.iter().any(holds), "but it follows, and says so: {said:?}");

    // So it does if it cannot take what is sent.
    let (term, previous, commit) = (Ballot(1), LogId::ZERO, Index(1));
    let message = AppendEntries { term, probe: 9, previous, commit, entries: Vec::new() };
    cluster.forge(1, 3, Message::AppendEntries(message));
    let outcome = Appended::Held(Index(0));
    let answer = Message::AppendEntriesReply(AppendEntriesReply { term, probe: 9, outcome });
    let said = cluster.take(|sent| sent.from == n(3));
    assert_eq!(said.iter().map(|sent| &sent.message).collect::<Vec<_>>(), [&answer]);
}
