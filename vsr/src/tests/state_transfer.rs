//! How a replica gets what its log lacks.

use quorate_core::{Ballot, Index, Input, LogId, Settings, Timer};

use super::cluster::{Cluster, Sent, n, stretch};
use crate::Message;
use crate::message::Stretch;

/// Each entry of these tests has 65 bytes.
fn tight() -> Settings {
    Settings { append_bytes: 130, window_bytes: 260, ..Settings::default() }
}

fn asks(sent: &Sent) -> bool {
    matches!(sent.message, Message::GetState { .. })
}

fn answers(sent: &Sent) -> bool {
    matches!(sent.message, Message::NewState(_))
}

#[test]
fn a_lost_message_is_missed_when_the_next_one_arrives() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "lost");
    cluster.take(|sent| sent.to == n(2));
    cluster.propose(1, "b");
    cluster.settle();
    cluster.assert_log(2, &[3, 3, 3], 3);
}

#[test]
fn a_lost_last_message_is_missed_at_the_next_heartbeat() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "lost");
    cluster.take(|_| true);
    cluster.settle();
    cluster.assert_log(2, &[3], 1);
    cluster.heartbeats(1);
    cluster.assert_log(2, &[3, 3], 2);
    cluster.assert_log(3, &[3, 3], 2);
}

#[test]
fn what_is_lacking_is_asked_for_once_and_again_only_after_a_while() {
    let mut cluster = Cluster::led_by_1(2);
    cluster.propose(1, "lost");
    cluster.take(|_| true);
    cluster.slow.insert(n(2));
    let mut asked = Vec::new();
    for beat in 0..8 {
        cluster.propose(1, "not fitting");
        cluster.now += cluster.settings.heartbeat;
        cluster.timeout(1, Timer::Heartbeat);
        cluster.deliver_to(2);
        if !cluster.take(asks).is_empty() {
            asked.push(beat);
        }
    }
    assert_eq!(asked, [0, 3, 6]);
}

#[test]
fn who_was_far_behind_is_sent_everything_and_then_prepares_again() {
    let mut cluster = Cluster::with(3, tight());
    cluster.lead(1);
    cluster.isolate(3);
    for i in 0..20 {
        cluster.propose(1, &i.to_string());
        cluster.settle();
    }
    cluster.heal();
    cluster.heartbeats(1);
    cluster.assert_log(3, &[3; 21], 21);
    cluster.propose(1, "a");
    let to_3 = cluster.take(|sent| sent.to == n(3));
    assert!(matches!(&to_3[..], [Sent { message: Message::Prepare(_), .. }]), "{to_3:?}");
}

#[test]
fn who_has_asked_has_still_what_it_had_and_counts_for_no_more_than_that() {
    let mut cluster = Cluster::of(3);
    cluster.set_log(1, 8, &[1, 1, 3]);
    cluster.set_log(2, 8, &[1, 1, 2, 2, 2]);
    cluster.set_log(3, 8, &[1, 1, 3]);
    cluster.isolate(2);
    cluster.lead(1);
    cluster.heal();
    cluster.timeout(1, Timer::Heartbeat);
    cluster.deliver_to(2);
    cluster.save(2);
    assert_eq!(cluster.take(asks).len(), 1);
    assert_eq!((cluster.view(2), cluster.node(2).views()), (9, vec![1, 1, 2, 2, 2]));
    cluster.crash(2);
    cluster.restart(2);
    assert_eq!((cluster.view(2), cluster.node(2).views()), (9, vec![1, 1, 2, 2, 2]));
    // It is in view 9, and lacks what was committed in it: it does not win by that.
    assert_eq!(cluster.committed(3), 4);
    cluster.crash(1);
    cluster.lead(2);
    cluster.assert_log(2, &[1, 1, 3, 9, 10], 5);
}

#[test]
fn diverged_logs_meet_after_one_exchange_for_each_view() {
    logs_meet_after_few_exchanges(&[2, 4, 6], &[3, 5, 7], 4);
    logs_meet_after_few_exchanges(&[3, 5, 7], &[2, 4, 6, 8], 4);
    logs_meet_after_few_exchanges(&[2], &[3, 5, 7], 2);
    logs_meet_after_few_exchanges(&[3, 5, 7], &[8], 2);
    logs_meet_after_few_exchanges(&[], &[2, 4, 6], 1);
    logs_meet_after_few_exchanges(&[2, 4, 6], &[2, 4, 6, 7], 1);
}

/// Node 1 follows node 2; they have 40 entries of each of these views behind the first.
fn logs_meet_after_few_exchanges(mine: &[u64], primarys: &[u64], few: usize) {
    let mut cluster = Cluster::of(3);
    let views = |of: &[u64]| -> Vec<u64> {
        std::iter::once(1).chain(of.iter().flat_map(|view| [*view; 40])).collect()
    };
    cluster.set_log(1, 9, &views(mine));
    cluster.set_log(2, 9, &views(primarys));
    cluster.isolate(1);
    cluster.lead(2);
    cluster.heal();
    cluster.timeout(2, Timer::Heartbeat);
    let mut exchanges = 0;
    for _ in 0..20 {
        cluster.deliver_to(1);
        cluster.save(1);
        exchanges += cluster.network.iter().filter(|sent| asks(sent)).count();
        cluster.deliver_to(2);
    }
    cluster.settle();
    assert_eq!(cluster.node(1).views(), cluster.node(2).views());
    assert!(exchanges <= few, "{exchanges} exchanges");
}

#[test]
fn a_question_of_another_view_or_to_a_backup_is_not_answered() {
    let mut cluster = Cluster::led_by_1(3);
    for (to, view) in [(1, 2), (1, 4), (2, 3)] {
        cluster.forge(3, to, Message::GetState { view: Ballot(view), last: LogId::ZERO });
        assert_eq!(cluster.network, []);
    }
    cluster.forge(3, 1, Message::GetState { view: Ballot(3), last: LogId::ZERO });
    assert_eq!(cluster.take(answers).len(), 1);
}

#[test]
fn an_answer_of_an_earlier_view_is_ignored() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "lost");
    cluster.take(|_| true);
    cluster.timeout(1, Timer::Heartbeat);
    cluster.deliver_to(3);
    cluster.deliver_to(1);
    let late = cluster.take(|sent| sent.to == n(3) && answers(sent));
    assert_eq!(late.len(), 1);
    cluster.isolate(1);
    cluster.lead(2);
    let before = cluster.vsr(3).clone();
    cluster.heal();
    for sent in late {
        cluster.deliver(sent);
    }
    assert_eq!(cluster.vsr(3), &before);
    cluster.assert_log(3, &[3, 4], 2);
}

#[test]
fn an_earlier_word_that_comes_late_does_not_make_what_is_lacking_forgotten() {
    let mut cluster = Cluster::led_by_1(3);
    let commit =
        |probe, op| Message::Commit { view: Ballot(3), probe, op: Index(op), commit: Index(1) };
    cluster.forge(1, 2, commit(2, 4));
    assert_eq!(cluster.take(asks).len(), 1);
    cluster.now += cluster.settings.heartbeat * 10;
    cluster.forge(1, 2, commit(1, 1));
    assert_eq!(cluster.take(asks).len(), 1);
}

#[test]
fn a_part_of_what_is_lacking_has_the_rest_asked_for_at_once() {
    let mut cluster = Cluster::led_by_1(3);
    for text in ["a", "b"] {
        cluster.propose(1, text);
    }
    cluster.take(|_| true);
    let (view, previous) = (Ballot(3), LogId::new(Index(1), Ballot(3)));
    cluster.forge(1, 2, Message::Commit { view, probe: 2, op: Index(3), commit: Index(1) });
    assert_eq!(cluster.take(asks).len(), 1);
    let entries = cluster.node(1).log.entries(Index(2), 1).unwrap();
    assert_eq!(entries.len(), 1);
    let part = Stretch { view, probe: 2, previous, commit: Index(1), entries };
    cluster.forge(1, 2, Message::NewState(part));
    let last = LogId::new(Index(2), view);
    let sent = cluster.take(asks);
    assert_eq!(sent[0].message, Message::GetState { view, last });
}

#[test]
fn a_lost_question_or_answer_is_made_up_for() {
    for lost in [asks, answers] {
        let mut cluster = Cluster::led_by_1(3);
        cluster.propose(1, "lost");
        cluster.take(|_| true);
        cluster.timeout(1, Timer::Heartbeat);
        cluster.deliver_to(3);
        cluster.deliver_to(1);
        cluster.take(lost);
        cluster.take(answers);
        cluster.settle();
        cluster.assert_log(3, &[3], 1);
        cluster.heartbeats(4);
        cluster.assert_log(3, &[3, 3], 2);
    }
}

#[test]
fn an_answer_that_comes_twice_leads_to_no_second_question() {
    let mut cluster = Cluster::with(3, tight());
    cluster.lead(1);
    cluster.isolate(3);
    for i in 0..9 {
        cluster.propose(1, &i.to_string());
        cluster.settle();
    }
    cluster.heal();
    cluster.timeout(1, Timer::Heartbeat);
    cluster.deliver_to(3);
    cluster.deliver_to(1);
    let first = cluster.take(answers);
    assert_eq!(first.len(), 1);
    for sent in first.iter().cycle().take(5).cloned() {
        cluster.deliver(sent);
    }
    assert_eq!(cluster.network.iter().filter(|sent| asks(sent)).count(), 1);
}

#[test]
fn a_backup_that_does_not_hold_what_is_committed_before_an_answer_counts_a_fault() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    cluster.settle();
    let mut wrong = crate::Stretch {
        view: Ballot(3),
        probe: 1,
        previous: LogId::new(Index(2), Ballot(1)),
        commit: Index(2),
        entries: Vec::new(),
    };
    cluster.checks.faults_expected = true;
    cluster.forge(1, 3, Message::NewState(wrong.clone()));
    assert_eq!(cluster.vsr(3).peer_faults().0, 1);
    assert_eq!(cluster.network, [], "no endless asking");
    wrong.previous = LogId::new(Index(9), Ballot(1));
    cluster.forge(1, 3, Message::NewState(wrong));
    assert_eq!(cluster.take(asks).len(), 1);
}

/// Node 1 leads, has nothing but the end of its log in memory, and node 3 lacks most of it.
fn cold() -> Cluster {
    let mut cluster = Cluster::with(3, tight());
    cluster.lead(1);
    cluster.crash(3);
    for i in 0..6 {
        cluster.propose(1, &i.to_string());
        cluster.settle();
    }
    cluster.nodes.get_mut(&n(1)).unwrap().forget_cache();
    cluster.restart(3);
    cluster
}

pub(super) fn answer_cold_reads(cluster: &mut Cluster, id: u64) {
    while let Some((to, (from, max_bytes))) =
        cluster.nodes.get_mut(&n(id)).unwrap().wanted.pop_first()
    {
        let entries = cluster.node(id).disk.read(from, max_bytes);
        cluster.input(id, Input::EntriesRead { to, entries });
        cluster.settle();
    }
}

#[test]
fn entries_that_are_on_disk_only_are_read_and_sent() {
    let mut cluster = cold();
    cluster.heartbeats(1);
    let (from, max_bytes) = cluster.nodes.get_mut(&n(1)).unwrap().wanted.remove(&n(3)).unwrap();
    assert_eq!((from, max_bytes), (Index(2), 130));

    // The answer does not come. It is asked for again, but not at once.
    cluster.heartbeats(8);
    assert!(cluster.node(1).wanted.is_empty());
    cluster.heartbeats(6);
    answer_cold_reads(&mut cluster, 1);
    cluster.assert_log(3, &[3; 7], 7);
}

#[test]
fn who_had_no_room_until_the_next_entry_was_on_disk_only_asks_for_it() {
    let mut cluster = Cluster::with(3, tight());
    cluster.lead(1);
    cluster.slow.insert(n(3));
    for i in 0..20 {
        cluster.propose(1, &i.to_string());
        cluster.settle();
    }
    assert!(cluster.last_index(3) < Index(10), "its window is full");
    cluster.nodes.get_mut(&n(1)).unwrap().forget_cache();
    cluster.slow.clear();
    cluster.settle();
    cluster.heartbeats(1);
    answer_cold_reads(&mut cluster, 1);
    cluster.assert_log(3, &[3; 21], 21);
}

#[test]
fn entries_read_that_are_not_what_was_asked_for_are_dropped() {
    let mut cluster = cold();
    let read = cluster.node(1).disk.read(Index(2), 1000);
    let drops = |cluster: &mut Cluster, id: u64, to: u64, entries: Vec<_>| {
        cluster.input(id, Input::EntriesRead { to: n(to), entries });
        assert_eq!(cluster.network, []);
    };
    // Nobody asked.
    drops(&mut cluster, 1, 3, read.clone());
    drops(&mut cluster, 1, 9, read.clone());
    drops(&mut cluster, 2, 3, read.clone());

    // Asked for, but read before the log was cut and written anew.
    cluster.heartbeats(1);
    assert_eq!(cluster.node(1).wanted[&n(3)].0, Index(2));
    let mut other = read.clone();
    other[1].id.ballot = Ballot(0);
    let mut gap = read.clone();
    gap.remove(1);
    drops(&mut cluster, 1, 3, Vec::new());
    drops(&mut cluster, 1, 3, other);
    drops(&mut cluster, 1, 3, gap);
    drops(&mut cluster, 1, 3, read[1..].to_vec());
    cluster.input(1, Input::EntriesRead { to: n(3), entries: read });
    assert_eq!(cluster.take(answers).len(), 1);
}

#[test]
fn the_primary_of_a_new_view_is_sent_cold_entries_too() {
    let mut cluster = cold();
    // Node 3 is to lead; nodes 1 and 2 have everything.
    cluster.nodes.get_mut(&n(2)).unwrap().forget_cache();
    cluster.crash(1);
    cluster.now += cluster.settings.election.end;
    let target = Ballot(5);
    for (from, to) in [(2, 3), (3, 2)] {
        cluster.forge(from, to, Message::StartViewChange { view: target, target });
    }
    cluster.settle();
    let wanted = cluster.node(2).wanted.clone();
    assert_eq!(wanted[&n(3)], (Index(2), 130));
    // What was read for the primary of an earlier view is not sent.
    let read = cluster.node(2).disk.read(Index(4), 1000);
    cluster.input(2, Input::EntriesRead { to: n(3), entries: read });
    let read = cluster.node(2).disk.read(Index(2), 1000);
    cluster.input(2, Input::EntriesRead { to: n(1), entries: read });
    assert_eq!(cluster.network, []);
    answer_cold_reads(&mut cluster, 2);
    cluster.assert_log(3, &[3, 3, 3, 3, 3, 3, 3, 5], 8);
    assert!(cluster.node(3).leads());
    // Once is enough.
    let read = cluster.node(2).disk.read(Index(2), 1000);
    cluster.input(2, Input::EntriesRead { to: n(3), entries: read });
    assert!(cluster.network.iter().all(|sent| stretch(&sent.message).is_none()));
}
