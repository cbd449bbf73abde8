//! How operations are prepared and committed, and by whose word.

use quorate_core::{Ballot, Incarnation, Index, Protocol as _, Role, Settings, Timer};

use super::cluster::{Cluster, Sent, n, stretch};
use crate::{Message, PeerFault};

/// Each entry of these tests has 65 bytes.
fn tight() -> Settings {
    Settings { append_bytes: 130, window_bytes: 260, ..Settings::default() }
}

fn entries_in(sent: &Sent) -> usize {
    stretch(&sent.message).map_or(0, |stretch| stretch.entries.len())
}

fn acknowledges(sent: &Sent, index: u64) -> bool {
    matches!(sent.message, Message::PrepareOk { op, .. } if op == Index(index))
}

fn ok(view: u64, probe: u64, op: u64) -> Message {
    Message::PrepareOk { view: Ballot(view), probe, op: Index(op) }
}

#[test]
fn what_a_primary_takes_is_committed_everywhere_without_waiting_for_a_heartbeat() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    cluster.propose(1, "b");
    cluster.settle();
    for id in 1..=3 {
        cluster.assert_log(id, &[3, 3, 3], 3);
    }
}

#[test]
fn what_the_primarys_own_disk_commits_is_told_at_once() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.crash(3);
    cluster.slow.insert(n(1));
    cluster.propose(1, "a");
    cluster.settle();
    cluster.save(1);
    let tells = |sent: &Sent| match &sent.message {
        Message::Commit { commit, .. } => *commit == Index(2),
        _ => false,
    };
    assert_eq!(cluster.network.iter().filter(|sent| tells(sent)).count(), 2);
}

#[test]
fn of_several_probes_at_once_the_latest_is_answered_in_whatever_order_they_come() {
    for probes in [[5, 4], [4, 5]] {
        let mut cluster = Cluster::led_by_1(3);
        let (view, op, commit) = (Ballot(3), Index(1), Index(1));
        let commits = probes.map(|probe| Message::Commit { view, probe, op, commit });
        cluster.batch(n(2), commits.map(|message| Cluster::arriving(n(1), message)).to_vec());
        let answers = cluster.take(|sent| sent.from == n(2));
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0].message, ok(3, 5, 1));
    }
}

#[test]
fn a_batch_of_proposals_travels_in_one_message_to_each_backup() {
    let mut cluster = Cluster::led_by_1(3);
    let proposals = ["a", "b", "c"].map(Cluster::proposal).to_vec();
    cluster.batch(n(1), proposals);
    assert_eq!(cluster.network.len(), 2);
    assert!(cluster.network.iter().all(|sent| entries_in(sent) == 3));
}

#[test]
fn acknowledgements_of_a_batch_are_one_message() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    cluster.propose(1, "b");
    let prepares = cluster.take(|sent| sent.to == n(2));
    assert_eq!(prepares.len(), 2);
    let inputs = prepares.into_iter().map(|sent| Cluster::arriving(n(1), sent.message));
    cluster.batch(n(2), inputs.collect());
    cluster.save(2);
    let answers = cluster.take(|sent| sent.from == n(2));
    assert_eq!(answers.len(), 1);
    assert!(acknowledges(&answers[0], 3));
}

#[test]
fn a_primary_counts_its_own_entry_only_once_it_is_on_disk() {
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
fn two_backups_commit_before_the_primarys_own_disk_does() {
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
fn a_backup_that_is_ahead_of_the_others_does_not_count_for_them() {
    let mut cluster = Cluster::led_by_1(5);
    cluster.slow.extend([n(1), n(3), n(4), n(5)]);
    for text in ["a", "b", "c"] {
        cluster.propose(1, text);
        cluster.settle();
    }
    assert_eq!(cluster.node(2).log.durable(), Index(4));
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
    assert!(!cluster.network.iter().any(|sent| acknowledges(sent, 2)));
    cluster.save(2);
    assert!(cluster.network.iter().any(|sent| acknowledges(sent, 2)));
}

#[test]
fn a_retransmission_is_not_acknowledged_before_the_first_copy_is_on_disk() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.slow.insert(n(2));
    cluster.propose(1, "a");
    let first = cluster.take(|sent| sent.to == n(2));
    cluster.take(|_| true);
    let mut again = first.clone();
    if let Message::Prepare(prepare) = &mut again[0].message {
        prepare.probe += 1;
    }
    let beat = Message::Commit { view: Ballot(3), probe: 9, op: Index(2), commit: Index(1) };
    for sent in first.iter().cycle().take(3).cloned().chain(again) {
        cluster.deliver(sent);
    }
    cluster.forge(1, 2, beat);
    assert!(cluster.network.iter().any(|sent| acknowledges(sent, 1)), "the probe is answered");
    assert!(!cluster.network.iter().any(|sent| acknowledges(sent, 2)));
    cluster.save(2);
    assert!(cluster.network.iter().any(|sent| acknowledges(sent, 2)));
}

#[test]
fn an_acknowledged_entry_survives_the_backups_crash() {
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
    cluster.assert_log(2, &[3, 3, 3], 3);
}

#[test]
fn acknowledgements_count_replicas_and_not_messages() {
    let mut cluster = Cluster::led_by_1(5);
    (3..=5).for_each(|id| cluster.crash(id));
    cluster.propose(1, "a");
    cluster.settle();
    for _ in 0..5 {
        cluster.forge(2, 1, ok(5, 1, 2));
    }
    assert_eq!(cluster.committed(1), 1, "two of five");
    cluster.checks.forgive_forged_commits = true;
    cluster.forge(3, 1, ok(5, 1, 2));
    assert_eq!(cluster.committed(1), 2);
}

#[test]
fn lost_acknowledgements_are_made_up_for_by_those_to_the_next_heartbeat() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    cluster.deliver_to(2);
    cluster.deliver_to(3);
    (1..=3).for_each(|id| cluster.save(id));
    cluster.take(|_| true);
    cluster.settle();
    assert_eq!(cluster.committed(1), 1);
    cluster.heartbeats(1);
    assert_eq!(cluster.committed(1), 2);
}

#[test]
fn an_acknowledgement_that_comes_late_takes_nothing_back() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.crash(3);
    cluster.propose(1, "a");
    cluster.settle();
    cluster.slow.insert(n(1));
    cluster.propose(1, "b");
    cluster.settle();
    cluster.forge(2, 1, ok(3, 1, 2));
    cluster.forge(2, 1, ok(3, 1, 1));
    cluster.forge(2, 1, ok(3, 1, 0));
    cluster.save(1);
    assert_eq!(cluster.committed(1), 3);
}

#[test]
fn acknowledgements_of_an_earlier_view_count_for_nothing() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    cluster.settle();
    cluster.lead(1);
    cluster.isolate(2);
    cluster.isolate(3);
    cluster.propose(1, "b");
    cluster.settle();
    let committed = cluster.committed(1);
    for id in [2, 3] {
        cluster.forge(id, 1, ok(3, 1, 4));
    }
    assert_eq!(cluster.committed(1), committed);
}

#[test]
fn news_of_a_commit_is_not_repeated_or_answered() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    let before = cluster.delivered;
    cluster.settle();
    // To each backup: the entry, its acknowledgement, the news.
    assert_eq!(cluster.delivered - before, 6);
    assert_eq!(cluster.committed(3), 2);
}

#[test]
fn an_idle_primary_is_answered_once_in_each_heartbeat() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.heartbeats(1);
    let before = cluster.delivered;
    cluster.heartbeats(10);
    assert_eq!(cluster.delivered - before, 40);
}

#[test]
fn messages_follow_one_another_unanswered_until_the_window_is_full() {
    let mut cluster = Cluster::with(2, tight());
    cluster.lead(1);
    let seven = || (0..7).map(|i| Cluster::proposal(&i.to_string())).collect();
    let sizes = |cluster: &Cluster| {
        cluster.network.iter().filter(|sent| sent.to == n(2)).map(entries_in).collect::<Vec<_>>()
    };
    cluster.batch(n(1), seven());
    assert_eq!(sizes(&cluster), [2], "of a window that opens slowly");
    cluster.settle();
    cluster.assert_log(2, &[2; 8], 8);
    cluster.batch(n(1), seven());
    assert_eq!(sizes(&cluster), [2, 2]);
    cluster.propose(1, "x");
    assert_eq!(sizes(&cluster), [2, 2], "the window is full");
    cluster.settle();
    cluster.assert_log(2, &[2; 16], 16);
}

#[test]
fn who_is_sent_no_more_than_a_window_does_not_ask_for_the_rest() {
    let mut cluster = Cluster::with(2, tight());
    cluster.lead(1);
    cluster.slow.insert(n(2));
    let proposals = (0..7).map(|i| Cluster::proposal(&i.to_string())).collect();
    cluster.batch(n(1), proposals);
    cluster.settle();
    for _ in 0..10 {
        cluster.now += cluster.settings.heartbeat;
        cluster.timeout(1, Timer::Heartbeat);
        assert!(cluster.network.iter().all(|sent| entries_in(sent) == 0));
        cluster.deliver_to(2);
        assert!(cluster.network.iter().all(|s| !matches!(s.message, Message::GetState { .. })));
        cluster.settle();
    }
    assert_eq!(cluster.last_index(2), Index(3));
    cluster.slow.clear();
    cluster.settle();
    cluster.assert_log(2, &[2; 8], 8);
}

#[test]
fn an_entry_larger_than_the_window_travels_alone() {
    let mut cluster = Cluster::with(3, tight());
    cluster.lead(1);
    cluster.propose(1, &"x".repeat(1000));
    cluster.propose(1, "y");
    cluster.settle();
    cluster.assert_log(3, &[3, 3, 3], 3);
}

#[test]
fn a_dead_backup_costs_no_more_than_its_window() {
    let mut cluster = Cluster::with(3, tight());
    cluster.lead(1);
    cluster.crash(3);
    let mut carried = 0;
    for i in 0..20 {
        cluster.propose(1, &i.to_string());
        carried += cluster.network.iter().filter(|s| s.to == n(3)).map(entries_in).sum::<usize>();
        cluster.settle();
        cluster.heartbeats(1);
    }
    assert!((1..=4).contains(&carried), "{carried} entries");
    cluster.restart(3);
    cluster.heartbeats(1);
    cluster.assert_log(3, &[3; 21], 21);
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
    cluster.assert_log(2, &[2, 2, 2], 1);
    for sent in first {
        cluster.deliver(sent);
    }
    cluster.assert_log(2, &[2, 2, 2], 1);
    cluster.slow.clear();
    cluster.settle();
    cluster.assert_log(2, &[2, 2, 2], 3);
}

#[test]
fn a_backup_commits_no_further_than_it_has_verified() {
    let mut cluster = Cluster::of(3);
    cluster.set_log(2, 3, &[1, 2, 2, 2]);
    cluster.set_log(1, 3, &[1, 2, 3, 3]);
    let entries = cluster.node(1).log.entries(Index(2), 1).unwrap();
    // The primary of view 3 has committed up to 4; of what node 2 holds it vouches for two.
    let commit = Message::Commit { view: Ballot(3), probe: 1, op: Index(4), commit: Index(4) };
    cluster.forge(1, 2, commit.clone());
    assert_eq!(cluster.committed(2), 0);
    let previous = cluster.node(1).log.id_at(Index(1)).unwrap();
    let stretch = crate::Stretch { view: Ballot(3), probe: 1, previous, commit: Index(4), entries };
    cluster.checks.forgive_forged_commits = true;
    cluster.forge(1, 2, Message::Prepare(stretch));
    assert_eq!(cluster.node(2).views(), [1, 2, 2, 2], "nothing here conflicts");
    assert_eq!(cluster.committed(2), 2, "no further than this message goes");
    cluster.forge(1, 2, commit);
    assert_eq!(cluster.committed(2), 2, "what follows is of an earlier view");
}

#[test]
fn a_backup_without_room_keeps_following_and_is_not_flooded() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.nodes.get_mut(&n(3)).unwrap().log.set_room(false);
    let mut asked = 0;
    for _ in 0..60 {
        cluster.propose(1, "a");
        cluster.settle();
        cluster.now += cluster.settings.heartbeat;
        cluster.timeout(1, Timer::Heartbeat);
        cluster.deliver_to(3);
        let asks = |s: &&Sent| matches!(s.message, Message::GetState { .. });
        asked += cluster.network.iter().filter(asks).count();
        cluster.settle();
    }
    assert_eq!(cluster.committed(1), 61);
    assert!(asked <= 7, "{asked}");
    assert_eq!(cluster.committed(3), 1);
    cluster.nodes.get_mut(&n(3)).unwrap().log.set_room(true);
    cluster.heartbeats(11);
    assert_eq!(cluster.committed(3), 61);
}

#[test]
fn what_no_correct_primary_sends_is_a_fault_and_changes_nothing() {
    let mut cluster = Cluster::led_by_1(2);
    cluster.propose(1, "a");
    let sent = cluster.take(|sent| sent.to == n(2)).remove(0);
    let good = stretch(&sent.message).unwrap().clone();
    let mut damaged = good.clone();
    damaged.entries[0].checksum.0[0] ^= 1;
    let mut later = good.clone();
    later.entries[0].id.ballot = Ballot(3);
    let mut previous = good.clone();
    previous.previous.ballot = Ballot(3);
    cluster.checks.faults_expected = true;
    let mut faults = 0;
    for (stretch, fault) in [
        (damaged, PeerFault::RejectedEntries),
        (later, PeerFault::FromTheFuture),
        (previous, PeerFault::FromTheFuture),
    ] {
        let log = cluster.node(2).log.clone();
        for message in [Message::Prepare, Message::StartView, Message::NewState] {
            cluster.forge(1, 2, message(stretch.clone()));
            faults += 1;
            assert_eq!(cluster.vsr(2).peer_faults(), (faults, Some((n(1), fault))));
            assert_eq!(cluster.node(2).log, log);
            assert!(cluster.network.is_empty());
        }
    }
    cluster.forge(1, 2, Message::Prepare(good));
    assert_eq!(cluster.last_index(2), Index(2));
}

#[test]
fn only_the_replica_whose_turn_it_is_is_heard_as_the_primary() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.checks.faults_expected = true;
    let beat = |view| {
        let (view, probe, op, commit) = (Ballot(view), 1, Index(1), Index(1));
        Message::Commit { view, probe, op, commit }
    };
    for (count, (from, to, view)) in [(3, 2, 3), (2, 3, 5), (2, 1, 3)].into_iter().enumerate() {
        let before = cluster.node(to).timers.clone();
        cluster.now += cluster.settings.heartbeat;
        cluster.forge(from, to, beat(view));
        let (faults, last) = cluster.vsr(to).peer_faults();
        assert_eq!(last, Some((n(from), PeerFault::NotThePrimary)), "case {count}");
        assert_eq!((faults, cluster.view(to)), (1, 3));
        assert_eq!(cluster.node(to).timers, before, "it is no word of a primary");
    }
}

#[test]
fn an_answer_to_what_was_asked_by_the_disk_before_its_own_is_no_fault() {
    let mut cluster = Cluster::led_by_1(3);
    let view = cluster.view(3);
    cluster.fall_mute(3);
    // As the primary of a view whose turn it was, or as the next one.
    cluster.forge(2, 3, ok(view + 2, 1, 7));
    let beat = Message::Commit { view: Ballot(view + 2), probe: 1, op: Index(1), commit: Index(1) };
    cluster.forge(2, 3, beat);
    assert_eq!(cluster.vsr(3).peer_faults(), (0, None));
    assert_eq!(cluster.view(3), view);
    cluster.checks.faults_expected = true;
    cluster.forge(2, 3, ok(1 << 62, 1, 7));
    assert_eq!(cluster.vsr(3).peer_faults(), (1, Some((n(2), PeerFault::AbsurdView))));
}

#[test]
fn an_answer_to_what_was_not_asked_is_a_fault_and_changes_nothing() {
    let mut cluster = Cluster::of(3);
    cluster.set_log(1, 0, &[]);
    cluster.lead(1);
    cluster.propose(1, "a");
    cluster.settle();
    cluster.lead(1);
    cluster.checks.faults_expected = true;
    // The log is [3, 3, 6].
    let answers = [ok(6, 1, 4), ok(6, 2, 3), ok(6, 1, 2), ok(9, 1, 3)];
    for (count, answer) in answers.into_iter().enumerate() {
        cluster.forge(2, 1, answer);
        let faults = cluster.vsr(1).peer_faults();
        assert_eq!(faults, (count as u64 + 1, Some((n(2), PeerFault::ImpossibleReply))));
    }
    cluster.forge(9, 1, ok(6, 1, 3));
    assert_eq!(cluster.vsr(1).peer_faults().0, 5);
    cluster.propose(1, "a");
    cluster.settle();
    assert_eq!(cluster.committed(2), 4);
}

#[test]
fn a_primary_knows_how_far_each_disk_has_acknowledged_its_log_and_nobody_else_does() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    cluster.settle();
    let known = |cluster: &Cluster| {
        let known = |of: u64, by: u64| cluster.vsr(of).acknowledged(n(2), Incarnation(by));
        (known(1, 2), known(1, 9), known(3, 2))
    };
    assert_eq!(known(&cluster), (Index(2), Index::ZERO, Index::ZERO));
    // What is on its way to it may be lost, and is not held against it.
    cluster.propose(1, "b");
    cluster.propose(1, "c");
    assert_eq!(known(&cluster), (Index(2), Index::ZERO, Index::ZERO));
}

/// It missed the view change as a whole: it was a backup in the view before, and is one in this.
#[test]
fn what_a_backup_answered_in_an_earlier_view_is_forgotten_with_it() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.heartbeats(20);
    for text in ["a", "b", "c"] {
        cluster.propose(1, text);
    }
    cluster.settle();
    cluster.isolate(3);
    cluster.crash(1);
    cluster.restart(1);
    cluster.now += cluster.settings.election.start;
    cluster.timeout(2, Timer::Election);
    cluster.timeout(1, Timer::Election);
    cluster.settle();
    let leader = cluster.leader().expect("the other two have one").0;
    cluster.heal();
    assert_eq!(cluster.vsr(3).standing().role, Role::Follower);
    let before = cluster.view(3);
    // The third is needed for a quorum, and answers the first question.
    cluster.isolate(if leader == 2 { 1 } else { 2 });
    cluster.timeout(leader, Timer::Heartbeat);
    let read = cluster.read(leader);
    cluster.settle();
    assert!(cluster.view(3) > before);
    assert!(cluster.node(leader).ready.contains_key(&read), "not confirmed");
}
