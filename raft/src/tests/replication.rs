//! How entries reach the followers.

use quorate_core::{
    Ballot, Entry, Incarnation, Index, Input, LogId, Protocol as _, Settings, Timer,
};

use super::cluster::{Cluster, Sent, append, n};
use crate::{AppendEntries, AppendEntriesReply, Appended, Message, PeerFault};

fn entries_in(sent: &Sent) -> usize {
    append(&sent.message).map_or(0, |append| append.entries.len())
}

fn reply(term: u64, probe: u64, outcome: Appended) -> Message {
    Message::AppendEntriesReply(AppendEntriesReply { term: Ballot(term), probe, outcome })
}

/// Each entry of these tests has 65 bytes.
fn tight() -> Settings {
    Settings { append_bytes: 130, window_bytes: 260, ..Settings::default() }
}

#[test]
fn what_a_leader_takes_is_committed_everywhere_without_waiting_for_a_heartbeat() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    cluster.propose(1, "b");
    cluster.settle();
    for id in 1..=3 {
        cluster.assert_log(id, &[1, 1, 1], 3);
    }
}

#[test]
fn a_batch_of_proposals_travels_in_one_message_to_each_follower() {
    let mut cluster = Cluster::led_by_1(3);
    let proposals = ["a", "b", "c"].map(Cluster::proposal).to_vec();
    cluster.batch(n(1), proposals);
    assert_eq!(cluster.network.len(), 2);
    assert!(cluster.network.iter().all(|sent| entries_in(sent) == 3));
}

#[test]
fn messages_follow_one_another_unanswered_until_the_window_is_full() {
    let mut cluster = Cluster::with(2, tight());
    cluster.elect(1);
    let seven = || (0..7).map(|i| Cluster::proposal(&i.to_string())).collect();
    let sizes = |cluster: &Cluster| {
        cluster.network.iter().filter(|sent| sent.to == n(2)).map(entries_in).collect::<Vec<_>>()
    };
    cluster.batch(n(1), seven());
    assert_eq!(sizes(&cluster), [2], "of a window that opens slowly");
    cluster.settle();
    cluster.assert_log(2, &[1; 8], 8);
    cluster.batch(n(1), seven());
    assert_eq!(sizes(&cluster), [2, 2]);
    cluster.propose(1, "x");
    assert_eq!(sizes(&cluster), [2, 2], "the window is full");
    cluster.settle();
    cluster.assert_log(2, &[1; 16], 16);
}

#[test]
fn an_entry_larger_than_the_window_travels_alone() {
    let mut cluster = Cluster::with(3, tight());
    cluster.elect(1);
    cluster.propose(1, &"x".repeat(1000));
    cluster.propose(1, "y");
    cluster.settle();
    cluster.assert_log(3, &[1, 1, 1], 3);
}

#[test]
fn a_lost_message_is_missed_when_the_next_one_arrives() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "lost");
    cluster.take(|sent| sent.to == n(2));
    cluster.propose(1, "b");
    cluster.settle();
    cluster.assert_log(2, &[1, 1, 1], 3);
}

#[test]
fn a_lost_last_message_is_missed_at_the_next_heartbeat() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "lost");
    cluster.take(|_| true);
    cluster.settle();
    cluster.assert_log(2, &[1], 1);
    cluster.heartbeats(1);
    cluster.assert_log(2, &[1, 1], 2);
    cluster.assert_log(3, &[1, 1], 2);
}

#[test]
fn lost_answers_are_made_up_for_by_those_to_the_next_heartbeat() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    cluster.deliver_to(2);
    cluster.deliver_to(3);
    cluster.save(1);
    cluster.save(2);
    cluster.save(3);
    cluster.take(|_| true);
    cluster.settle();
    assert_eq!(cluster.committed(1), 1);
    cluster.heartbeats(1);
    assert_eq!(cluster.committed(1), 2);
}

#[test]
fn a_message_that_was_overtaken_cuts_nothing_off() {
    let mut cluster = Cluster::led_by_1(2);
    cluster.slow.insert(n(1));
    cluster.propose(1, "a");
    let first = cluster.take(|sent| sent.to == n(2));
    cluster.propose(1, "b");
    cluster.settle();
    // Acknowledged, and not known to be committed, which alone would keep it from being cut off.
    cluster.assert_log(2, &[1, 1, 1], 1);
    for sent in first {
        cluster.deliver(sent);
    }
    cluster.assert_log(2, &[1, 1, 1], 1);
    cluster.slow.clear();
    cluster.settle();
    cluster.assert_log(2, &[1, 1, 1], 3);
}

#[test]
fn a_purged_entry_before_a_stale_message_is_no_conflict() {
    let mut cluster = Cluster::led_by_1(2);
    cluster.propose(1, "a");
    cluster.propose(1, "b");
    let stale = cluster.network.clone();
    cluster.settle();
    let follower = cluster.nodes.get_mut(&n(2)).unwrap();
    follower.snapshot();
    cluster.batch(n(2), vec![]);
    cluster.settle();
    cluster.nodes.get_mut(&n(2)).unwrap().compact();
    for sent in stale {
        cluster.deliver(sent);
    }
    assert_eq!(cluster.last_index(2), Index(3));
    assert!(cluster.network.iter().all(|sent| !matches!(
        sent.message,
        Message::AppendEntriesReply(AppendEntriesReply { outcome: Appended::Conflict { .. }, .. })
    )));
}

#[test]
fn diverged_logs_meet_after_one_exchange_for_each_term() {
    logs_meet_after_few_exchanges(&[2, 4, 6], &[3, 5, 7], 4);
    logs_meet_after_few_exchanges(&[3, 5, 7], &[2, 4, 6], 4);
    logs_meet_after_few_exchanges(&[2], &[3, 5, 7], 2);
    logs_meet_after_few_exchanges(&[3, 5, 7], &[2], 2);
    logs_meet_after_few_exchanges(&[], &[2, 4, 6], 1);
    logs_meet_after_few_exchanges(&[2, 4, 6], &[], 2);
}

/// Nodes 1 and 2 have 40 entries of each of these terms; node 2 leads.
fn logs_meet_after_few_exchanges(mine: &[u64], leaders: &[u64], few: usize) {
    let mut cluster = Cluster::of(3);
    let terms = |of: &[u64]| -> Vec<u64> {
        std::iter::once(1).chain(of.iter().flat_map(|term| [*term; 40])).collect()
    };
    cluster.set_log(1, &terms(mine));
    cluster.set_log(2, &terms(leaders));
    cluster.isolate(1);
    let term = cluster.ballot(1).max(cluster.ballot(2));
    cluster.forge(3, 2, Message::RequestVoteReply { term, granted: false });
    cluster.elect(2);
    cluster.heal();
    cluster.timeout(2, Timer::Heartbeat);
    let mut conflicts = 0;
    for _ in 0..20 {
        cluster.deliver_to(1);
        cluster.save(1);
        conflicts += cluster
            .network
            .iter()
            .filter(|sent| sent.from == n(1))
            .filter(|sent| {
                matches!(
                    sent.message,
                    Message::AppendEntriesReply(AppendEntriesReply {
                        outcome: Appended::Conflict { .. },
                        ..
                    })
                )
            })
            .count();
        cluster.deliver_to(2);
    }
    cluster.settle();
    assert_eq!(cluster.node(1).terms(), cluster.node(2).terms());
    assert!(conflicts <= few, "{conflicts} exchanges");
}

#[test]
fn a_conflict_that_was_answered_already_changes_nothing() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    cluster.settle();
    let before = cluster.raft(1).clone();
    let stale = Appended::Conflict { previous: Index(1), hint: LogId::ZERO };
    cluster.forge(2, 1, reply(1, 1, stale));
    assert_eq!(cluster.raft(1), &before);
}

#[test]
fn what_a_follower_has_acknowledged_is_not_sent_again_whatever_it_claims_to_lack() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    cluster.settle();
    cluster.propose(1, "b");
    cluster.take(|_| true);
    let claim = Appended::Conflict { previous: Index(3), hint: LogId::ZERO };
    cluster.forge(2, 1, reply(1, 1, claim));
    let sent = cluster.take(|sent| sent.to == n(2));
    let previous = append(&sent[0].message).unwrap().previous;
    assert_eq!(previous, LogId::new(Index(2), Ballot(1)));
}

#[test]
fn a_silent_follower_is_sent_no_entries_until_it_answers() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.crash(3);
    cluster.heartbeats(4);
    cluster.propose(1, "a");
    assert!(cluster.take(|sent| sent.to == n(3)).is_empty());
    cluster.settle();
    cluster.timeout(1, Timer::Heartbeat);
    let beat = cluster.take(|sent| sent.to == n(3));
    assert_eq!(beat.iter().map(entries_in).collect::<Vec<_>>(), [0]);
    cluster.restart(3);
    cluster.heartbeats(1);
    cluster.assert_log(3, &[1, 1], 2);
}

#[test]
fn a_new_leader_probes_with_entries_and_repeats_them_only_while_the_follower_is_alive() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.crash(3);
    cluster.elect(2);
    let mut carried = 0;
    for _ in 0..20 {
        cluster.timeout(2, Timer::Heartbeat);
        carried += cluster.take(|sent| sent.to == n(3)).iter().map(entries_in).sum::<usize>();
        cluster.settle();
    }
    assert!(carried <= 3, "{carried} entries for a dead server");
    cluster.restart(3);
    cluster.heartbeats(1);
    cluster.assert_log(3, &[1, 2], 2);
}

#[test]
fn a_slow_disk_does_not_look_like_a_lost_message_or_a_lost_follower() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.crash(3);
    cluster.slow.insert(n(2));
    cluster.propose(1, "a");
    cluster.settle();
    let mut again = 0;
    for _ in 0..20 {
        cluster.now += cluster.settings.heartbeat;
        cluster.timeout(1, Timer::Heartbeat);
        again += cluster.network.iter().map(entries_in).sum::<usize>();
        cluster.settle();
        cluster.fire_due_timers();
    }
    assert_eq!(again, 0, "nothing is sent twice");
    assert!(cluster.node(1).leads());
    assert_eq!(cluster.committed(1), 1, "and nothing counts before it is saved");
    cluster.slow.clear();
    cluster.settle();
    assert_eq!(cluster.committed(1), 2);
}

#[test]
fn a_follower_converges_although_the_leaders_log_is_purged_completely() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    cluster.settle();
    for id in 1..=3 {
        cluster.nodes.get_mut(&n(id)).unwrap().snapshot();
        cluster.batch(n(id), vec![]);
        cluster.settle();
        cluster.nodes.get_mut(&n(id)).unwrap().compact();
        cluster.crash(id);
        cluster.restart(id);
    }
    cluster.elect(2);
    for id in 1..=3 {
        cluster.assert_log(id, &[2], 3);
    }
}

#[test]
fn a_follower_that_was_silent_hears_a_leader_whose_log_is_purged_completely() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    cluster.heartbeats(2);
    cluster.crash(3);
    cluster.heartbeats(10);
    cluster.nodes.get_mut(&n(1)).unwrap().snapshot();
    cluster.batch(n(1), vec![]);
    cluster.settle();
    cluster.nodes.get_mut(&n(1)).unwrap().compact();
    let leader = &cluster.node(1).log;
    assert_eq!(leader.base(), leader.last());
    cluster.restart(3);
    assert_eq!(cluster.raft(3).standing().leader, None);
    cluster.heartbeats(2);
    assert_eq!(cluster.raft(3).standing().leader, Some(n(1)));
}

#[test]
fn entries_that_are_on_disk_only_are_read_and_sent() {
    let mut cluster = Cluster::with(3, tight());
    cluster.elect(1);
    cluster.crash(3);
    for i in 0..6 {
        cluster.propose(1, &i.to_string());
        cluster.settle();
    }
    let leader = cluster.nodes.get_mut(&n(1)).unwrap();
    let committed = leader.log.committed();
    leader.log.set_applied(committed);
    leader.log.trim_cache(0);
    cluster.restart(3);
    cluster.heartbeats(1);
    let (from, max_bytes) = cluster.nodes.get_mut(&n(1)).unwrap().wanted.remove(&n(3)).unwrap();
    assert_eq!((from, max_bytes), (Index(2), 130));

    // The answer does not come. It is asked for again, but not at once.
    cluster.heartbeats(5);
    assert!(cluster.node(1).wanted.is_empty());
    cluster.heartbeats(10);
    while let Some((to, (from, max_bytes))) =
        cluster.nodes.get_mut(&n(1)).unwrap().wanted.pop_first()
    {
        let entries = cluster.node(1).disk.read(from, max_bytes);
        cluster.input(1, Input::EntriesRead { to, entries });
        cluster.settle();
    }
    cluster.assert_log(3, &[1; 7], 7);
}

#[test]
fn entries_read_that_are_not_what_the_follower_needs_next_are_dropped() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    cluster.settle();
    let read = cluster.node(1).disk.read(Index(2), 1000);
    let drops = |cluster: &mut Cluster, to: u64, entries: Vec<_>| {
        cluster.input(1, Input::EntriesRead { to: n(to), entries });
        assert_eq!(cluster.network, []);
    };
    // Nobody asked.
    drops(&mut cluster, 3, read.clone());
    drops(&mut cluster, 9, read.clone());
    cluster.input(2, Input::EntriesRead { to: n(3), entries: read });
    assert_eq!(cluster.network, []);

    // Asked for, but read before the log was cut and written anew.
    cluster.crash(3);
    cluster.propose(1, "b");
    cluster.propose(1, "c");
    cluster.settle();
    let leader = cluster.nodes.get_mut(&n(1)).unwrap();
    leader.log.set_applied(Index(4));
    leader.log.trim_cache(0);
    cluster.restart(3);
    cluster.heartbeats(1);
    assert_eq!(cluster.node(1).wanted[&n(3)].0, Index(3));
    cluster.nodes.get_mut(&n(1)).unwrap().wanted.clear();
    let mut other = cluster.node(1).disk.read(Index(3), 1000);
    other[1].id.ballot = Ballot(0);
    drops(&mut cluster, 3, Vec::new());
    drops(&mut cluster, 3, other);
    assert_eq!(cluster.node(1).wanted[&n(3)].0, Index(3), "asked for again");
    let late = cluster.node(1).disk.read(Index(4), 1000);
    drops(&mut cluster, 3, late);
}

#[test]
fn a_follower_without_room_keeps_following_and_is_not_flooded() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.nodes.get_mut(&n(3)).unwrap().log.set_room(false);
    let mut carried = 0;
    for _ in 0..60 {
        cluster.propose(1, "a");
        carried +=
            cluster.network.iter().filter(|sent| sent.to == n(3)).map(entries_in).sum::<usize>();
        cluster.settle();
        cluster.now += cluster.settings.heartbeat;
        cluster.timeout(1, Timer::Heartbeat);
        carried += usize::from(cluster.network.iter().any(|s| s.to == n(3) && entries_in(s) > 0));
        cluster.settle();
    }
    assert_eq!(cluster.committed(1), 61);
    assert!(carried <= 12, "{carried}");
    assert_eq!(cluster.committed(3), 1);
    cluster.nodes.get_mut(&n(3)).unwrap().log.set_room(true);
    cluster.heartbeats(7);
    assert_eq!(cluster.committed(3), 61);
}

#[test]
fn what_no_correct_leader_sends_is_a_fault_and_changes_nothing() {
    let mut cluster = Cluster::led_by_1(2);
    cluster.propose(1, "a");
    let sent = cluster.take(|sent| sent.to == n(2)).remove(0);
    let good = append(&sent.message).unwrap().clone();
    let mut damaged = good.clone();
    damaged.entries[0].checksum.0[0] ^= 1;
    let mut later = good.clone();
    later.entries[0].id.ballot = Ballot(2);
    let mut previous = good.clone();
    previous.previous.ballot = Ballot(2);
    cluster.checks.faults_expected = true;
    let mut faults = 0;
    for (append, fault) in [
        (damaged, PeerFault::RejectedEntries),
        (later, PeerFault::FromTheFuture),
        (previous, PeerFault::FromTheFuture),
    ] {
        let log = cluster.node(2).log.clone();
        cluster.forge(1, 2, Message::AppendEntries(append));
        faults += 1;
        assert_eq!(cluster.raft(2).peer_faults(), (faults, Some((n(1), fault))));
        assert_eq!(cluster.node(2).log, log);
        assert!(cluster.network.is_empty());
    }
    cluster.forge(1, 2, Message::AppendEntries(good));
    assert_eq!(cluster.last_index(2), Index(2));
}

#[test]
fn an_answer_to_what_was_not_asked_is_a_fault_and_changes_nothing() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.checks.faults_expected = true;
    let answers = [
        reply(1, 1, Appended::Durable(Index(2))),
        reply(1, 1, Appended::Held(Index(2))),
        reply(1, 2, Appended::Durable(Index(1))),
        reply(
            1,
            1,
            Appended::Conflict { previous: Index(1), hint: LogId::new(Index(1), Ballot(2)) },
        ),
        Message::InstallSnapshotReply { term: Ballot(1), probe: 1, durable: Some(Index(2)) },
        Message::InstallSnapshotReply { term: Ballot(1), probe: 2, durable: None },
    ];
    for (count, answer) in answers.into_iter().enumerate() {
        cluster.forge(2, 1, answer);
        let faults = cluster.raft(1).peer_faults();
        assert_eq!(faults, (count as u64 + 1, Some((n(2), PeerFault::ImpossibleReply))));
    }
    let (faults, _) = cluster.raft(1).peer_faults();
    cluster.forge(9, 1, reply(1, 1, Appended::Durable(Index(1))));
    assert_eq!(cluster.raft(1).peer_faults().0, faults + 1);
    cluster.propose(1, "a");
    cluster.settle();
    assert_eq!(cluster.committed(2), 2);
}

#[test]
fn a_leader_knows_how_far_each_disk_has_acknowledged_its_log_and_nobody_else_does() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    cluster.settle();
    let known = |of: u64, by: u64| cluster.raft(of).acknowledged(n(2), Incarnation(by));
    assert_eq!((known(1, 2), known(1, 9), known(3, 2)), (Index(2), Index::ZERO, Index::ZERO));
}

/// Its leader was given a larger limit already.
#[test]
fn a_follower_takes_more_at_once_than_it_would_send_itself() {
    let settings = Settings { append_bytes: 1, ..Settings::default() };
    let mut cluster = Cluster::with(3, settings);
    cluster.elect(1);
    cluster.isolate(2);
    (0..3).for_each(|_| cluster.propose(1, "a"));
    cluster.settle();
    let log = &cluster.node(1).log;
    let (previous, entries) = (LogId::new(Index(1), Ballot(1)), log.entries(Index(2), 1 << 20));
    let (probe, commit, entries) = (99, Index(1), entries.unwrap());
    assert_eq!(entries.len(), 3);
    let term = Ballot(1);
    let message = AppendEntries { term, probe, previous, commit, entries };
    cluster.forge(1, 2, Message::AppendEntries(message));
    assert_eq!((cluster.last_index(2), cluster.raft(2).faults().count), (Index(4), 0));
}

/// What it holds in memory only cannot leave that.
#[test]
fn a_follower_whose_disk_hangs_is_sent_its_window_and_no_more() {
    let one = Entry::OVERHEAD + 50;
    let settings =
        Settings { window_bytes: 20 * one, append_bytes: 5 * one, ..Settings::default() };
    let mut cluster = Cluster::with(3, settings);
    cluster.elect(1);
    cluster.slow.insert(n(3));
    for _ in 0..100 {
        cluster.propose(1, "a");
        cluster.settle();
        cluster.timeout(1, Timer::Heartbeat);
        cluster.settle();
    }
    assert_eq!(cluster.committed(1), 101);
    let held = cluster.last_index(3).0;
    assert!((5..40).contains(&held), "{held}");
}
