//! What a view takes along from those before it.

use quorate_core::{Ballot, Digest, Index, LogId, Protocol, Timer};

use super::cluster::{Cluster, Sent, n};
use crate::{DoViewChange, Message, PeerFault, Stretch};

fn report_of(sent: &Sent) -> Option<DoViewChange> {
    match sent.message {
        Message::DoViewChange(report) => Some(report),
        _ => None,
    }
}

fn begins(sent: &Sent) -> bool {
    matches!(sent.message, Message::StartView(_))
}

/// What somebody reports whose log ends with `head`.
fn report(cluster: &Cluster, view: u64, head: (u64, u64), commit: u64) -> Message {
    let (view, head) = (Ballot(view), LogId::new(Index(head.0), Ballot(head.1)));
    let such = cluster.nodes.values().find(|node| node.last() == head);
    let digest = such.map_or(Digest::ZERO, |node| node.log.last_digest());
    Message::DoViewChange(DoViewChange { view, head, digest, commit: Index(commit) })
}

/// `from` reports to node 2; see [`report`].
fn forge_report(cluster: &mut Cluster, from: u64, (view, head, commit): (u64, (u64, u64), u64)) {
    let report = report(cluster, view, head, commit);
    cluster.forge(from, 2, report);
}

/// Node 2 enters view 4, in which it is its turn, by itself.
fn enter_4(cluster: &mut Cluster) {
    cluster.now += cluster.settings.election.end;
    let view = cluster.vsr(2).standing().ballot;
    for from in [1, 3] {
        cluster.forge(from, 2, Message::StartViewChange { view, target: Ballot(4) });
    }
    assert_eq!(cluster.view(2), 4);
}

#[test]
fn a_log_of_a_later_view_is_worth_more_than_a_longer_one() {
    let mut cluster = Cluster::of(3);
    cluster.set_log(1, 5, &[1, 1]);
    cluster.set_log(2, 5, &[1, 1, 2, 2, 2]);
    cluster.set_log(3, 5, &[1, 1, 3]);
    cluster.lead(1);
    for id in 1..=3 {
        cluster.assert_log(id, &[1, 1, 3, 6], 4);
    }
}

#[test]
fn of_logs_of_the_same_view_the_longest_is_taken() {
    let mut cluster = Cluster::of(3);
    cluster.set_log(1, 5, &[1, 2]);
    cluster.set_log(2, 5, &[1, 2, 2, 2]);
    cluster.set_log(3, 5, &[1, 2, 2]);
    cluster.lead(1);
    for id in 1..=3 {
        cluster.assert_log(id, &[1, 2, 2, 2, 6], 5);
    }
}

#[test]
fn a_primary_that_has_the_best_log_itself_asks_nobody() {
    let mut cluster = Cluster::of(3);
    cluster.set_log(1, 5, &[1, 2]);
    cluster.set_log(2, 3, &[1, 3]);
    cluster.set_log(3, 5, &[1, 2]);
    enter_4(&mut cluster);
    cluster.save(2);
    forge_report(&mut cluster, 3, (4, (2, 2), 0));
    assert!(cluster.network.iter().all(|s| !matches!(s.message, Message::GetState { .. })));
    cluster.save(2);
    assert!(cluster.node(2).leads());
    assert_eq!(cluster.node(2).views(), [1, 3, 4]);
}

#[test]
fn a_report_leaves_with_the_write_that_leaves_the_earlier_views() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.isolate(1);
    cluster.slow.insert(n(3));
    cluster.now += cluster.settings.election.end;
    cluster.timeout(3, Timer::Election);
    cluster.deliver_to(2);
    cluster.save(2);
    cluster.deliver_to(3);
    assert_eq!((cluster.view(3), cluster.last_index(3)), (4, Index(1)));
    cluster.timeout(3, Timer::Heartbeat);
    assert!(!cluster.network.iter().any(|sent| report_of(sent).is_some()));
    cluster.save(3);
    assert!(cluster.network.iter().any(|sent| report_of(sent).is_some()));
}

#[test]
fn a_report_is_the_same_each_time_and_is_repeated_until_the_view_begins() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    cluster.deliver_to(3);
    cluster.crash(1);
    cluster.crash(2);
    cluster.take(|_| true);
    cluster.forge(1, 3, Message::StartViewChange { view: Ballot(4), target: Ballot(4) });
    cluster.save_all(3);
    let mut reports: Vec<_> = cluster.take(|_| true).iter().filter_map(report_of).collect();
    for round in 0..4 {
        if round == 2 {
            cluster.crash(3);
            cluster.restart(3);
        }
        cluster.timeout(3, Timer::Heartbeat);
        cluster.save(3);
        reports.extend(cluster.take(|_| true).iter().filter_map(report_of));
    }
    assert_eq!(reports.len(), 5);
    assert!(reports.iter().all(|report| report.head == LogId::new(Index(2), Ballot(3))));
    cluster.restart(2);
    cluster.lead(2);
    cluster.take(|_| true);
    cluster.timeout(3, Timer::Heartbeat);
    assert!(!cluster.network.iter().any(|sent| report_of(sent).is_some()));
}

#[test]
fn a_view_does_not_begin_by_the_reports_of_a_minority() {
    let mut cluster = Cluster::of(5);
    cluster.set_log(1, 0, &[]);
    cluster.timeout(1, Timer::Election);
    // In view 1 it is the turn of node 2.
    forge_report(&mut cluster, 3, (1, (0, 0), 0));
    cluster.save(2);
    for _ in 0..3 {
        forge_report(&mut cluster, 3, (1, (0, 0), 0));
    }
    forge_report(&mut cluster, 9, (1, (0, 0), 0));
    cluster.save_all(2);
    assert!(!cluster.node(2).leads(), "two of five");
    forge_report(&mut cluster, 4, (1, (0, 0), 0));
    cluster.save(2);
    assert!(cluster.node(2).leads());
}

#[test]
fn the_primarys_own_report_counts_only_once_it_is_on_disk() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.slow.insert(n(2));
    enter_4(&mut cluster);
    for from in [1, 3] {
        forge_report(&mut cluster, from, (4, (1, 3), 1));
    }
    assert_eq!(cluster.node(2).views(), [3]);
    cluster.save(2);
    assert_eq!(cluster.node(2).views(), [3, 4]);
}

#[test]
fn nobody_hears_of_a_view_before_its_first_entry_is_on_disk() {
    let mut cluster = Cluster::led_by_1(3);
    enter_4(&mut cluster);
    cluster.save(2);
    forge_report(&mut cluster, 3, (4, (1, 3), 1));
    assert_eq!(cluster.node(2).views(), [3, 4]);
    cluster.timeout(2, Timer::Heartbeat);
    assert!(!cluster.network.iter().any(begins) && !cluster.node(2).leads());
    // A crash forgets the entry; the view can never begin then.
    let mut crashed = cluster.clone();
    crashed.crash(2);
    crashed.restart(2);
    for from in [1, 3] {
        forge_report(&mut crashed, from, (4, (1, 3), 1));
    }
    crashed.settle();
    assert!(!crashed.node(2).leads());

    cluster.save(2);
    assert_eq!(cluster.network.iter().filter(|sent| begins(sent)).count(), 2);
    assert!(cluster.node(2).leads());
}

#[test]
fn a_single_replica_serves_only_once_its_view_and_its_first_entry_are_on_disk() {
    let mut cluster = Cluster::of(1);
    cluster.fire_immediate_timers();
    assert_eq!((cluster.view(1), cluster.node(1).leads()), (1, false));
    cluster.save(1);
    assert!(!cluster.node(1).leads());
    cluster.save(1);
    assert!(cluster.node(1).leads());
    cluster.assert_log(1, &[1], 1);
    cluster.propose(1, "a");
    assert_eq!(cluster.committed(1), 1, "it is not on the disk");
    cluster.save(1);
    cluster.assert_log(1, &[1, 1], 2);
    for view in 2..5 {
        cluster.crash(1);
        cluster.restart(1);
        assert!(!cluster.node(1).leads());
        cluster.fire_immediate_timers();
        cluster.settle();
        assert_eq!(cluster.view(1), view, "it never resumes a view");
    }
}

#[test]
fn what_was_committed_is_known_when_a_view_begins() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    cluster.settle();
    cluster.crash(1);
    cluster.crash(2);
    cluster.restart(2);
    assert_eq!(cluster.committed(2), 0);
    enter_4(&mut cluster);
    cluster.save(2);
    forge_report(&mut cluster, 3, (4, (2, 3), 2));
    assert_eq!(cluster.committed(2), 2, "by what node 3 reported");
}

#[test]
fn entries_of_earlier_views_commit_together_with_the_first_of_this_one() {
    let mut cluster = Cluster::of(3);
    cluster.set_log(1, 5, &[1, 2, 2]);
    cluster.set_log(2, 5, &[1, 2, 2]);
    cluster.set_log(3, 5, &[1]);
    cluster.slow.insert(n(3));
    cluster.crash(2);
    cluster.now += cluster.settings.election.end;
    let (view, target) = (Ballot(5), Ballot(6));
    cluster.forge(3, 1, Message::StartViewChange { view, target });
    cluster.forge(2, 1, Message::StartViewChange { view, target });
    cluster.settle();
    cluster.until(
        |cluster| cluster.node(1).leads(),
        |cluster| {
            cluster.save(3);
            cluster.settle();
        },
    );
    assert_eq!(cluster.committed(1), 0, "copies of another view prove nothing");
    let acknowledged = |sent: &Sent| match sent.message {
        Message::PrepareOk { op, .. } => Some(op),
        _ => None,
    };
    cluster.timeout(1, Timer::Heartbeat);
    cluster.deliver_to(3);
    assert!(cluster.network.iter().filter_map(acknowledged).all(|op| op == Index(0)));
    cluster.slow.clear();
    cluster.settle();
    cluster.assert_log(1, &[1, 2, 2, 6], 4);
    cluster.assert_log(3, &[1, 2, 2, 6], 4);
}

#[test]
fn a_backup_of_the_view_that_holds_only_its_older_part_acknowledges_nothing() {
    let settings =
        quorate_core::Settings { append_bytes: 130, ..quorate_core::Settings::default() };
    let mut cluster = Cluster::with(3, settings);
    cluster.set_log(1, 5, &[1, 2, 2, 2, 2, 2]);
    cluster.set_log(2, 5, &[1, 2, 2, 2, 2, 2]);
    cluster.set_log(3, 5, &[1, 1, 1]);
    cluster.isolate(3);
    cluster.lead(1);
    cluster.heal();
    cluster.timeout(1, Timer::Heartbeat);
    let mut older = 0;
    cluster.until(
        |cluster| cluster.last_index(3) >= Index(7),
        |cluster| {
            cluster.deliver_to(3);
            cluster.save_all(3);
            let held = cluster.node(3).last();
            for sent in &cluster.network {
                if let Message::PrepareOk { op, .. } = sent.message {
                    assert!(op == Index(0) || held.ballot == Ballot(6), "{op:?} of {held:?}");
                    older += u64::from(op == Index(0));
                }
            }
            cluster.deliver_to(1);
        },
    );
    assert!(older > 0);
    cluster.settle();
    cluster.assert_log(3, &[1, 2, 2, 2, 2, 2, 6], 7);
}

#[test]
fn a_crash_in_the_middle_of_taking_over_a_log_leaves_nothing_that_claims_to_be_more_than_it_is() {
    // Node 2 holds what view 3 committed, node 1 was in view 2, node 3 in view 1.
    let settings = quorate_core::Settings { append_bytes: 65, ..quorate_core::Settings::default() };
    for steps in 0..8 {
        let mut cluster = Cluster::with(3, settings.clone());
        cluster.set_log(1, 5, &[1, 2, 2, 2, 2, 2, 2]);
        cluster.set_log(2, 5, &[1, 1, 1, 3, 3]);
        cluster.set_log(3, 5, &[1, 1, 1, 3, 3]);
        cluster.crash(3);
        // Node 1 takes over the log of node 2, and dies after so many steps.
        cluster.now += cluster.settings.election.end;
        let (view, target) = (Ballot(6), Ballot(6));
        cluster.forge(3, 1, Message::StartViewChange { view, target });
        cluster.forge(3, 2, Message::StartViewChange { view, target });
        for _ in 0..steps {
            (1..=2).for_each(|id| cluster.save(id));
            (1..=2).for_each(|id| cluster.deliver_to(id));
        }
        cluster.crash(1);
        cluster.take(|_| true);
        // Node 2 is lost for a while. Node 1 and node 3 must find what view 3 committed.
        cluster.restart(1);
        cluster.crash(2);
        cluster.restart(3);
        cluster.lead(3);
        cluster.settle();
        let held = cluster.node(3).views();
        assert_eq!(held[..5], [1, 1, 1, 3, 3], "after {steps} steps");
    }
}

#[test]
fn a_lost_part_of_the_log_is_asked_for_again() {
    let mut cluster = Cluster::of(3);
    cluster.set_log(1, 5, &[1, 1]);
    cluster.set_log(2, 5, &[1, 1, 2]);
    cluster.set_log(3, 5, &[1]);
    cluster.crash(3);
    cluster.now += cluster.settings.election.end;
    let (view, target) = (Ballot(6), Ballot(6));
    cluster.forge(3, 1, Message::StartViewChange { view, target });
    cluster.forge(3, 2, Message::StartViewChange { view, target });
    (1..=2).for_each(|id| cluster.save(id));
    cluster.deliver_to(1);
    let lost = cluster.take(|sent| matches!(sent.message, Message::GetState { .. }));
    assert_eq!(lost.len(), 1);
    cluster.settle();
    for _ in 0..3 {
        assert!(!cluster.node(1).leads());
        cluster.now += cluster.settings.heartbeat;
        cluster.timeout(1, Timer::Heartbeat);
        cluster.settle();
    }
    assert!(cluster.node(1).leads());
    cluster.assert_log(1, &[1, 1, 2, 6], 4);
}

#[test]
fn the_log_of_whom_nobody_asked_is_not_taken() {
    let mut cluster = Cluster::of(5);
    for id in 1..=5 {
        cluster.set_log(id, 5, &[1, 1]);
    }
    cluster.set_log(2, 5, &[1, 1, 2, 2]);
    cluster.set_log(3, 5, &[1, 1, 3, 3]);
    let other = cluster.node(2).log.entries(Index(3), 1000).unwrap();
    cluster.isolate(2);
    cluster.now += cluster.settings.election.end;
    for id in [1, 3, 4] {
        for from in (1..=5).filter(|from| *from != id) {
            let (view, target) = (Ballot(5), Ballot(10));
            cluster.forge(from, id, Message::StartViewChange { view, target });
        }
    }
    cluster.until(Cluster::asks_for_state, |cluster| {
        [1, 3, 4].into_iter().for_each(|id| cluster.save(id));
        cluster.deliver_to(1);
    });
    let stretch = Stretch {
        view: Ballot(10),
        probe: 0,
        previous: LogId::new(Index(2), Ballot(1)),
        commit: Index(0),
        entries: other,
    };
    cluster.forge(2, 1, Message::NewState(stretch));
    assert_eq!(cluster.node(1).views(), [1, 1]);
    cluster.settle();
    assert_eq!(cluster.node(1).views(), [1, 1, 3, 3, 10]);
}

#[test]
fn reports_that_cannot_be_are_faults_and_count_for_nothing() {
    let mut cluster = Cluster::led_by_1(3);
    enter_4(&mut cluster);
    cluster.save(2);
    cluster.checks.faults_expected = true;
    let impossible = [
        (2, report(&cluster, 4, (5, 4), 1)), // An entry of the view that has not begun.
        (2, report(&cluster, 4, (5, 3), 6)), // Committed behind its end.
        (3, report(&cluster, 4, (1, 3), 1)), // It is the turn of node 2.
    ];
    for (count, (to, message)) in impossible.into_iter().enumerate() {
        let faults = cluster.vsr(to).peer_faults().0;
        cluster.forge(1, to, message);
        let fault = (n(1), PeerFault::ImpossibleReport);
        assert_eq!(cluster.vsr(to).peer_faults(), (faults + 1, Some(fault)), "case {count}");
    }
    assert_eq!(cluster.node(2).views(), [3]);
    assert!(cluster.network.iter().all(|s| !matches!(s.message, Message::GetState { .. })));
    // More is said to be committed than the best log holds: somebody has lost something.
    forge_report(&mut cluster, 1, (4, (7, 2), 7));
    assert_eq!(cluster.vsr(2).peer_faults().0, 3);
    assert_eq!(cluster.node(2).views(), [3], "the view does not begin");
}

#[test]
fn logs_that_end_alike_and_differ_in_their_digests_begin_no_view() {
    let mut cluster = Cluster::led_by_1(3);
    enter_4(&mut cluster);
    cluster.save(2);
    cluster.checks.faults_expected = true;
    let (view, head, commit) = (Ballot(4), LogId::new(Index(1), Ballot(3)), Index(1));
    let digest = Digest::of(b"another log");
    cluster.forge(1, 2, Message::DoViewChange(DoViewChange { view, head, digest, commit }));
    let fault = (n(1), PeerFault::ImpossibleReport);
    assert_eq!(cluster.vsr(2).peer_faults(), (1, Some(fault)));
    assert_eq!(cluster.node(2).views(), [3]);
}

#[test]
fn a_log_that_contradicts_what_is_committed_is_a_fault_and_is_not_asked_for_again() {
    let mut cluster = Cluster::led_by_1(3);
    enter_4(&mut cluster);
    cluster.save(2);
    forge_report(&mut cluster, 1, (4, (2, 3), 1));
    assert!(cluster.asks_for_state());
    assert_eq!(cluster.committed(2), 1);
    cluster.take(|_| true);
    cluster.checks.faults_expected = true;
    let stretch = Stretch {
        view: Ballot(4),
        probe: 0,
        previous: LogId::new(Index(1), Ballot(2)),
        commit: Index(0),
        entries: Vec::new(),
    };
    cluster.forge(1, 2, Message::NewState(stretch));
    assert_eq!(cluster.vsr(2).peer_faults().0, 1);
    assert_eq!(Protocol::faults(cluster.vsr(2)).count, 1);
    assert_eq!(cluster.network, []);
}

#[test]
fn only_the_primary_is_shown_a_log_while_a_view_begins() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.now += cluster.settings.election.end;
    for from in [1, 2] {
        let (view, target) = (Ballot(3), Ballot(4));
        cluster.forge(from, 3, Message::StartViewChange { view, target });
    }
    cluster.save(3);
    cluster.take(|_| true);
    let question = Message::GetState { view: Ballot(4), last: LogId::ZERO };
    cluster.forge(1, 3, question.clone());
    assert_eq!(cluster.network, []);
    cluster.forge(2, 3, question);
    assert_eq!(cluster.take(|sent| matches!(sent.message, Message::NewState(_))).len(), 1);
}

#[test]
fn a_report_that_comes_when_the_view_has_begun_changes_nothing() {
    let mut cluster = Cluster::led_by_1(3);
    let before = cluster.vsr(1).clone();
    let log = cluster.node(1).log.clone();
    let report = report(&cluster, 3, (0, 0), 0);
    cluster.forge(2, 1, report);
    assert_eq!((cluster.vsr(1), &cluster.node(1).log), (&before, &log));
    assert_eq!(cluster.network, []);
}

#[test]
fn nothing_is_acknowledged_in_a_view_that_was_left() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    let late = cluster.take(|sent| sent.to == n(3));
    cluster.forge(2, 3, Message::StartViewChange { view: Ballot(4), target: Ballot(4) });
    assert_eq!(cluster.view(3), 4);
    for sent in late {
        cluster.deliver(sent);
    }
    cluster.take(|sent| sent.from != n(3));
    cluster.save_all(3);
    let ok = |sent: &Sent| matches!(sent.message, Message::PrepareOk { .. });
    assert!(!cluster.network.iter().any(ok));
    assert_eq!(cluster.last_index(3), Index(1));
}
