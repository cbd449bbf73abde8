//! Logs that have gaps, and replicas that are mute.

use quorate_core::{
    Ballot, EntryKind, Incarnation, Index, LogId, LogTime, Proposal, Protocol, Role, Timer,
};

use super::cluster::{Cluster, Sent, n};
use crate::{Message, PeerFault, Vsr};

fn vouches(sent: &Sent) -> bool {
    Vsr::vouches(&sent.message)
}

/// Restarts `id` with what it has on disk, of which it cannot read these entries.
pub(super) fn damage(cluster: &mut Cluster, id: u64, first: u64, last: u64) {
    cluster.crash(id);
    cluster.nodes.get_mut(&n(id)).unwrap().disk.damaged = Some((Index(first), Index(last)));
    cluster.restart(id);
    assert!(!cluster.node(id).log.is_whole());
}

/// The same, and their names are lost with them.
fn damage_with_names(cluster: &mut Cluster, id: u64, first: u64, last: u64) {
    cluster.nodes.get_mut(&n(id)).unwrap().disk.names_are_lost = true;
    damage(cluster, id, first, last);
}

/// Everybody but node 1 leaves for `view`.
fn leave_without_1(cluster: &mut Cluster, view: u64) {
    cluster.crash(1);
    cluster.take(|_| true);
    cluster.now += cluster.settings.election.end;
    let target = Ballot(view);
    let others: Vec<_> = cluster.founders.peers_of(n(1)).map(|id| id.0).collect();
    for to in others {
        cluster.forge(1, to, Message::StartViewChange { view: target, target });
    }
}

#[test]
fn a_primary_to_be_whose_own_report_was_withdrawn_reports_again() {
    let mut cluster = Cluster::led_by_1(3);
    leave_without_1(&mut cluster, 4);
    cluster.nodes.get_mut(&n(2)).unwrap().withdraw();
    cluster.settle();
    assert_eq!(cluster.leader(), Some(n(2)));
}

#[test]
fn a_mute_replica_follows_asks_and_vouches_for_nothing() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.isolate(3);
    for text in ["a", "b"] {
        cluster.propose(1, text);
        cluster.settle();
    }
    cluster.heal();
    cluster.fall_mute(3);
    cluster.timeout(1, Timer::Heartbeat);
    for _ in 0..20 {
        cluster.deliver_to(3);
        cluster.save(3);
        let vouching = cluster.network.iter().find(|sent| sent.from == n(3) && vouches(sent));
        assert_eq!(vouching, None);
        cluster.deliver_to(1);
    }
    cluster.settle();
    cluster.assert_log(3, &[3, 3, 3], 3);
    assert_eq!(cluster.vsr(3).standing().leader, Some(n(1)));
    // Nor does it ask to leave, report, or nack. It says where it is.
    cluster.now += cluster.settings.election.end;
    cluster.timeout(3, Timer::Election);
    let said = cluster.take(|_| true).into_iter().map(|sent| sent.message);
    let view = Ballot(3);
    assert_eq!(said.collect::<Vec<_>>(), vec![Message::StartViewChange { view, target: view }; 2]);
    let id = LogId::new(Index(9), Ballot(3));
    for message in [
        Message::StartViewChange { view: Ballot(4), target: Ballot(4) },
        Message::StartViewChange { view: Ballot(3), target: Ballot(4) },
        Message::Sought { view: Ballot(4), missing: id },
    ] {
        cluster.forge(1, 3, message);
        cluster.save(3);
        assert_eq!(cluster.network, []);
    }
    assert_eq!(cluster.view(3), 3, "where the primary reaches it");
}

#[test]
fn a_mute_replica_is_kept_up_to_date_although_it_acknowledges_nothing() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.fall_mute(3);
    for _ in 0..300 {
        cluster.propose(1, &"x".repeat(100_000));
        cluster.settle();
    }
    // More than a window was sent by now, and much more than a heartbeat's worth.
    for _ in 0..100 {
        cluster.heartbeats(1);
    }
    assert_eq!(cluster.last_index(3), Index(301));
    assert_eq!(cluster.committed(3), 301);
}

#[test]
fn a_replica_that_falls_mute_between_views_reports_no_more() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.now += cluster.settings.election.end;
    let (view, target) = (Ballot(4), Ballot(4));
    cluster.forge(1, 3, Message::StartViewChange { view, target });
    cluster.save(3);
    cluster.take(|_| true);
    cluster.timeout(3, Timer::Heartbeat);
    assert!(cluster.take(|_| true).iter().any(vouches), "it repeats its report");
    cluster.fall_mute(3);
    cluster.timeout(3, Timer::Heartbeat);
    assert_eq!(cluster.network, []);
}

#[test]
fn a_mute_replica_in_a_later_view_than_the_others_has_them_move_on_to_it() {
    for later in [4, 5, 6] {
        let mut cluster = Cluster::led_by_1(3);
        cluster.set_log(3, later, &[3]);
        cluster.fall_mute(3);
        for text in ["a", "b"] {
            cluster.propose(1, text);
            cluster.settle();
        }
        assert_eq!((cluster.last_index(3), cluster.view(1)), (Index(1), 3), "it is stranded");
        for _ in 0..200 {
            cluster.now += cluster.settings.heartbeat;
            cluster.fire_due_timers();
            cluster.settle();
        }
        let leader = cluster.leader().unwrap().0;
        assert_ne!(leader, 3);
        assert!(cluster.view(leader) >= later);
        assert_eq!(cluster.vsr(3).standing().leader, Some(n(leader)));
        assert_eq!(cluster.committed(3), cluster.committed(leader));
        assert!(cluster.committed(leader) > 3);
    }
}

#[test]
fn a_mute_replica_lets_its_turn_pass() {
    let mut cluster = Cluster::led_by_1(5);
    cluster.fall_mute(2);
    leave_without_1(&mut cluster, 6);
    cluster.settle();
    assert_eq!((cluster.leader(), cluster.view(3)), (None, 6));
    cluster.now += cluster.settings.election.start;
    cluster.timeout(4, Timer::Election);
    cluster.settle();
    assert_eq!((cluster.leader(), cluster.view(3)), (Some(n(3)), 7));
}

#[test]
fn who_asks_for_what_it_had_acknowledged_has_lost_it_and_counts_no_more() {
    let mut cluster = Cluster::led_by_1(5);
    cluster.crash(4);
    cluster.crash(5);
    cluster.slow.insert(n(1));
    cluster.propose(1, "a");
    cluster.deliver_to(2);
    cluster.save(2);
    cluster.deliver_to(1);
    // Node 2 acknowledged; now it asks for just that.
    let last = LogId::new(Index(1), Ballot(5));
    cluster.forge(2, 1, Message::GetState { view: Ballot(5), last });
    cluster.isolate(2);
    cluster.settle();
    cluster.save(1);
    cluster.settle();
    assert_eq!(cluster.committed(1), 1, "nodes 1 and 3 are no quorum");
}

/// Appends a membership in which node 3 has a new disk.
pub(super) fn replace_disk_of_3(cluster: &mut Cluster) {
    let listed = cluster.founders.incarnation(n(3)).unwrap();
    let members = cluster.founders.with_replaced(n(3), listed, Incarnation(33)).unwrap();
    let payload = postcard::to_allocvec(&members).unwrap().into();
    let proposal = Proposal::new(EntryKind::Membership, LogTime(0), payload);
    cluster.input(1, quorate_core::Input::Propose(proposal));
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
    replace_disk_of_3(&mut cluster);
    cluster.save(1);
    cluster.save(1);
    assert_eq!(cluster.committed(1), 1);
    // The new disk says so itself.
    cluster.checks.forgive_forged_commits = true;
    let last = LogId::new(Index(3), Ballot(3));
    cluster.arrive(3, Incarnation(33), 1, Message::GetState { view: Ballot(3), last });
    let ok = Message::PrepareOk { view: Ballot(3), probe: 1, op: Index(3) };
    cluster.arrive(3, Incarnation(33), 1, ok);
    assert_eq!(cluster.committed(1), 3);
}

#[test]
fn a_late_question_of_a_disk_that_was_replaced_does_not_silence_the_one_in_its_place() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.isolate(2);
    cluster.isolate(3);
    replace_disk_of_3(&mut cluster);
    cluster.save(1);
    cluster.checks.forgive_forged_commits = true;
    let ask =
        |index| Message::GetState { view: Ballot(3), last: LogId::new(Index(index), Ballot(3)) };
    let ok = |index| Message::PrepareOk { view: Ballot(3), probe: 1, op: Index(index) };
    cluster.arrive(3, Incarnation(33), 1, ask(2));
    cluster.arrive(3, Incarnation(33), 1, ok(2));
    assert_eq!(cluster.committed(1), 2);
    cluster.arrive(3, Incarnation(3), 1, ask(1));
    cluster.propose(1, "a");
    cluster.save(1);
    cluster.arrive(3, Incarnation(33), 1, ok(3));
    assert_eq!(cluster.committed(1), 3);
}

#[test]
fn a_report_of_a_disk_that_was_replaced_according_to_the_best_log_does_not_count() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.isolate(3);
    replace_disk_of_3(&mut cluster);
    cluster.settle();
    assert_eq!(cluster.committed(2), 2);
    // Node 3 was wiped. What its old disk reported before is still on its way.
    let report = {
        let mut old = cluster.clone();
        old.heal();
        let (view, target) = (Ballot(4), Ballot(4));
        old.forge(1, 3, Message::StartViewChange { view, target });
        old.save(3);
        old.take(|sent| matches!(sent.message, Message::DoViewChange(_))).remove(0).message
    };
    leave_without_1(&mut cluster, 4);
    cluster.save(2);
    cluster.arrive(3, Incarnation(3), 2, report.clone());
    cluster.settle();
    assert!(!cluster.node(2).leads(), "by itself it is no quorum");
    cluster.take(|_| true);
    // Had its log not told of the replacement, it would have been.
    let mut unaware = Cluster::led_by_1(3);
    leave_without_1(&mut unaware, 4);
    unaware.save(2);
    unaware.isolate(3);
    unaware.arrive(3, Incarnation(3), 2, report);
    unaware.settle();
    assert!(unaware.node(2).leads());
}

#[test]
fn without_the_report_of_a_disk_that_was_replaced_a_log_that_is_not_shown_is_needed() {
    let mut cluster = Cluster::led_by_1(5);
    cluster.isolate(3);
    replace_disk_of_3(&mut cluster);
    cluster.settle();
    // Beside its old disk's report, which is late, node 3's new disk has had an entry of which only
    // node 4 is left to tell.
    let report = {
        let mut old = cluster.clone();
        old.heal();
        let (view, target) = (Ballot(6), Ballot(6));
        old.forge(1, 3, Message::StartViewChange { view, target });
        old.save(3);
        old.take(|sent| matches!(sent.message, Message::DoViewChange(_))).remove(0).message
    };
    cluster.cut.extend([(n(1), n(2)), (n(1), n(5))]);
    cluster.propose(1, "a");
    cluster.settle();
    assert_eq!(cluster.last_index(4), Index(3));
    leave_without_1(&mut cluster, 6);
    cluster.cut.insert((n(2), n(4)));
    cluster.save(2);
    cluster.arrive(3, Incarnation(3), 2, report);
    let be_patient = |cluster: &mut Cluster| {
        cluster.settle();
        cluster.now += cluster.settings.heartbeat * 3;
        cluster.timeout(2, Timer::Heartbeat);
        cluster.settle();
    };
    for _ in 0..3 {
        be_patient(&mut cluster);
        assert!(!cluster.node(2).leads());
    }
    cluster.cut.remove(&(n(2), n(4)));
    be_patient(&mut cluster);
    cluster.assert_log(2, &[5, 5, 5, 6], 4);
}

#[test]
fn who_has_a_damaged_log_reports_but_does_not_lead() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    cluster.settle();
    damage(&mut cluster, 2, 1, 1);
    leave_without_1(&mut cluster, 4);
    cluster.settle();
    assert_eq!((cluster.leader(), cluster.view(3)), (None, 4), "node 2 lets its turn pass");
    assert_eq!(cluster.last_index(2), Index(2), "and opens nothing");
    cluster.now += cluster.settings.election.start;
    cluster.timeout(3, Timer::Election);
    cluster.settle();
    assert_eq!((cluster.leader(), cluster.view(2)), (Some(n(3)), 5));
}

#[test]
fn nothing_is_acknowledged_behind_what_is_damaged() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    cluster.settle();
    damage(&mut cluster, 3, 1, 1);
    cluster.propose(1, "b");
    cluster.timeout(1, Timer::Heartbeat);
    cluster.deliver_to(3);
    cluster.save_all(3);
    let acknowledged = |sent: &Sent| match sent.message {
        Message::PrepareOk { op, .. } => Some(op),
        _ => None,
    };
    let said: Vec<_> = cluster.network.iter().filter_map(acknowledged).collect();
    assert_eq!(said, [Index(0); 2], "it is in the view; that is all");
    let asked =
        cluster.heartbeats_counting(30, |sent| matches!(sent.message, Message::GetState { .. }));
    assert!(asked <= 4, "and it does not insist: {asked}");
}

/// Five replicas; node 2 has entries 4 and 5 of view 5, whose primary is dead, and cannot show
/// entry 4. Node 3 is about to begin view 7.
fn best_log_is_damaged() -> Cluster {
    best_log_is_damaged_by(damage)
}

fn best_log_is_damaged_by(damage: fn(&mut Cluster, u64, u64, u64)) -> Cluster {
    let mut cluster = Cluster::led_by_1(5);
    cluster.propose(1, "a");
    cluster.propose(1, "b");
    cluster.settle();
    cluster.cut.extend([(n(1), n(3)), (n(1), n(4)), (n(1), n(5))]);
    cluster.propose(1, "c");
    cluster.propose(1, "d");
    cluster.settle();
    assert_eq!(cluster.last_index(2), Index(5));
    cluster.heal();
    damage(&mut cluster, 2, 4, 4);
    leave_without_1(&mut cluster, 7);
    cluster
}

#[test]
fn what_the_best_log_cannot_show_is_dropped_once_enough_never_had_it() {
    let mut cluster = best_log_is_damaged();
    cluster.crash(5);
    cluster.settle();
    assert!(!cluster.node(3).leads(), "two nacks of five: node 1 and node 5 may have it");
    cluster.restart(5);
    cluster.timeout(5, Timer::Heartbeat);
    cluster.now += cluster.settings.heartbeat * 3;
    cluster.timeout(3, Timer::Heartbeat);
    cluster.settle();
    assert!(cluster.node(3).leads());
    for id in 3..=5 {
        cluster.assert_log(id, &[5, 5, 5, 7], 4);
    }
}

#[test]
fn what_the_best_log_cannot_show_is_kept_if_somebody_may_have_it() {
    let mut cluster = best_log_is_damaged();
    cluster.crash(3);
    cluster.crash(5);
    // Node 4 is to begin view 8; node 1, which has everything, is slow to come back.
    for to in [2, 4] {
        let (view, target) = (Ballot(8), Ballot(8));
        cluster.forge(1, to, Message::StartViewChange { view, target });
    }
    cluster.restart(3);
    cluster.settle();
    assert!(!cluster.node(4).leads());
    cluster.restart(1);
    cluster.settle();
    for _ in 0..6 {
        cluster.now += cluster.settings.heartbeat;
        (1..=4).filter(|id| *id != 3).for_each(|id| cluster.timeout(id, Timer::Heartbeat));
        cluster.settle();
    }
    assert!(cluster.node(4).leads());
    assert_eq!(cluster.node(4).views(), [5, 5, 5, 5, 5, 8]);
}

#[test]
fn a_nack_counts_once_and_only_from_the_disk_that_is_listed() {
    let mut cluster = best_log_is_damaged();
    cluster.crash(5);
    cluster.settle();
    let nack = Message::Nack { view: Ballot(7), missing: LogId::new(Index(4), Ballot(5)) };
    for _ in 0..3 {
        cluster.forge(4, 3, nack.clone());
    }
    cluster.arrive(5, Incarnation(55), 3, nack.clone());
    for (index, view) in [(5, 5), (4, 4)] {
        let missing = LogId::new(Index(index), Ballot(view));
        cluster.forge(5, 3, Message::Nack { view: Ballot(7), missing });
    }
    let missing = LogId::new(Index(4), Ballot(5));
    for view in [6, 8] {
        cluster.forge(5, 3, Message::Nack { view: Ballot(view), missing });
    }
    cluster.settle();
    assert_eq!(cluster.node(3).views(), [5, 5, 5]);
    cluster.forge(5, 3, nack);
    cluster.settle();
    assert_eq!(cluster.node(3).views(), [5, 5, 5, 7]);
}

/// Of four, three are a quorum: two that never had it are enough.
#[test]
fn of_an_even_number_those_who_never_had_it_need_only_leave_less_than_a_quorum() {
    let mut cluster = Cluster::of(4);
    cluster.set_log(1, 1, &[1, 1]);
    cluster.set_log(2, 1, &[1]);
    cluster.set_log(3, 1, &[1]);
    damage(&mut cluster, 1, 2, 2);
    cluster.crash(4);
    // It is the turn of node 3.
    cluster.now += cluster.settings.election.end;
    for (from, to) in [(1, 2), (2, 1), (3, 1), (1, 3), (2, 3), (3, 2)] {
        let (view, target) = (Ballot(1), Ballot(6));
        cluster.forge(from, to, Message::StartViewChange { view, target });
    }
    for _ in 0..20 {
        cluster.settle();
        cluster.now += cluster.settings.heartbeat;
        (1..=3).for_each(|id| cluster.timeout(id, Timer::Heartbeat));
    }
    assert!(cluster.node(3).leads());
    assert_eq!(cluster.node(3).views(), [1, 6]);
}

#[test]
fn nacks_count_although_what_is_missing_is_told_again() {
    let mut cluster = best_log_is_damaged();
    cluster.crash(5);
    cluster.settle();
    let (previous, missing) = (LogId::new(Index(3), Ballot(5)), LogId::new(Index(4), Ballot(5)));
    cluster.forge(2, 3, Message::Missing { view: Ballot(7), previous, missing });
    // Nobody hears that it is sought again.
    cluster.take(|_| true);
    cluster.forge(5, 3, Message::Nack { view: Ballot(7), missing });
    cluster.settle();
    assert_eq!(cluster.node(3).views(), [5, 5, 5, 7]);
}

/// Five replicas, two of them down. Nodes 2 and 3 have the best log; it is the turn of node 1, which
/// asks node 3.
fn two_have_the_best_log() -> Cluster {
    let mut cluster = Cluster::of(5);
    for id in [1, 4, 5] {
        cluster.set_log(id, 5, &[1, 1]);
    }
    for id in [2, 3] {
        cluster.set_log(id, 5, &[1, 1, 2]);
    }
    cluster.crash(4);
    cluster.crash(5);
    cluster
}

fn leave_for_10(cluster: &mut Cluster) {
    cluster.now += cluster.settings.election.end;
    for to in 1..=3 {
        for from in [4, 5] {
            let (view, target) = (Ballot(5), Ballot(10));
            cluster.forge(from, to, Message::StartViewChange { view, target });
        }
    }
}

#[test]
fn of_two_with_the_best_log_the_other_is_asked_if_one_does_not_answer() {
    let mut cluster = two_have_the_best_log();
    cluster.cut.insert((n(1), n(3)));
    leave_for_10(&mut cluster);
    cluster.settle();
    assert!(!cluster.node(1).leads());
    cluster.now += cluster.settings.heartbeat * 3;
    cluster.timeout(1, Timer::Heartbeat);
    cluster.settle();
    assert_eq!(cluster.node(1).views(), [1, 1, 2, 10]);
}

#[test]
fn of_two_with_the_best_log_the_other_is_asked_at_once_if_one_cannot_show_it() {
    let mut cluster = two_have_the_best_log();
    damage(&mut cluster, 3, 3, 3);
    leave_for_10(&mut cluster);
    cluster.settle();
    assert_eq!(cluster.node(1).views(), [1, 1, 2, 10]);
}

#[test]
fn only_who_surely_never_had_it_nacks() {
    let mut cluster = best_log_is_damaged();
    cluster.take(|_| true);
    let sought = |index| {
        let missing = LogId::new(Index(index), Ballot(5));
        Message::Sought { view: Ballot(7), missing }
    };
    for id in [2, 4, 5] {
        cluster.save_all(id);
    }
    cluster.take(|_| true);
    let nacks = |cluster: &mut Cluster, from, to, message: Message| {
        cluster.forge(from, to, message);
        let sent = cluster.take(|_| true);
        sent.iter().filter(|sent| matches!(sent.message, Message::Nack { .. })).count()
    };
    assert_eq!(nacks(&mut cluster, 3, 4, sought(4)), 1);
    assert_eq!(nacks(&mut cluster, 3, 4, sought(3)), 0, "it has it");
    assert_eq!(nacks(&mut cluster, 3, 2, sought(4)), 0, "it has its name");
    assert_eq!(nacks(&mut cluster, 3, 2, sought(5)), 0, "it has it behind the damage");
    assert_eq!(nacks(&mut cluster, 5, 4, sought(4)), 0, "it is not the turn of node 5");
    let another_view = Message::Sought { view: Ballot(8), missing: LogId::ZERO };
    assert_eq!(nacks(&mut cluster, 4, 5, another_view), 0);
    let other_name = Message::Sought { view: Ballot(7), missing: LogId::new(Index(4), Ballot(4)) };
    assert_eq!(nacks(&mut cluster, 3, 2, other_name.clone()), 1, "it has another one there");
    // Whoever has lost the name knows only where its log ends.
    damage_with_names(&mut cluster, 2, 4, 4);
    assert_eq!(nacks(&mut cluster, 3, 2, sought(4)), 0);
    assert_eq!(nacks(&mut cluster, 3, 2, other_name), 0);
    assert_eq!(nacks(&mut cluster, 3, 2, sought(6)), 1);
}

/// Its names are lost, so that nobody can say to lack them; or it does not hear that it is asked. It
/// goes on reporting, which is no answer.
#[test]
fn a_log_that_is_not_shown_is_left_out_once_the_others_are_a_quorum() {
    for names_are_lost in [false, true] {
        let mut cluster = if names_are_lost {
            best_log_is_damaged_by(damage_with_names)
        } else {
            let mut cluster = best_log_is_damaged();
            cluster.cut.insert((n(3), n(2)));
            cluster
        };
        cluster.crash(5);
        cluster.settle();
        let be_patient = |cluster: &mut Cluster| {
            cluster.timeout(2, Timer::Heartbeat);
            cluster.settle();
            cluster.now += cluster.settings.heartbeat * 3;
            cluster.timeout(3, Timer::Heartbeat);
            cluster.settle();
        };
        be_patient(&mut cluster);
        be_patient(&mut cluster);
        assert!(!cluster.node(3).leads(), "node 1 and node 5 may have it");
        cluster.restart(5);
        be_patient(&mut cluster);
        assert!(cluster.node(3).leads());
        for id in 3..=5 {
            cluster.assert_log(id, &[5, 5, 5, 7], 4);
        }
    }
}

#[test]
fn a_log_that_is_shown_late_is_taken_if_the_others_are_no_quorum() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.isolate(3);
    cluster.propose(1, "a");
    cluster.settle();
    cluster.heal();
    // Node 3 is to begin view 5. Nothing that it asks reaches node 2 for a while.
    leave_without_1(&mut cluster, 5);
    cluster.cut.insert((n(3), n(2)));
    for _ in 0..3 {
        cluster.settle();
        cluster.now += cluster.settings.heartbeat * 3;
        cluster.timeout(3, Timer::Heartbeat);
    }
    assert!(!cluster.node(3).leads());
    cluster.heal();
    cluster.now += cluster.settings.heartbeat * 3;
    cluster.timeout(3, Timer::Heartbeat);
    cluster.settle();
    cluster.assert_log(3, &[3, 3, 5], 3);
}

#[test]
fn a_nack_in_vain_moves_nobody() {
    let mut cluster = Cluster::led_by_1(3);
    let id = LogId::new(Index(1), Ballot(3));
    for to in [1, 2] {
        let before = (cluster.vsr(to).clone(), cluster.node(to).log.clone());
        for message in [
            Message::Nack { view: Ballot(3), missing: id },
            Message::Missing { view: Ballot(3), previous: LogId::ZERO, missing: id },
        ] {
            cluster.forge(3, to, message);
        }
        assert_eq!((cluster.vsr(to), &cluster.node(to).log), (&before.0, &before.1));
        assert_eq!(cluster.network, []);
    }
}

#[test]
fn a_report_of_damage_that_cannot_be_is_a_fault() {
    let mut cluster = best_log_is_damaged();
    cluster.until(Cluster::asks_for_state, |cluster| {
        (2..=5).for_each(|id| cluster.save(id));
        cluster.deliver_to(3);
    });
    cluster.checks.faults_expected = true;
    let id = |index, view| LogId::new(Index(index), Ballot(view));
    for (count, (previous, missing)) in
        [(id(3, 5), id(5, 5)), (id(3, 5), id(4, 4)), (id(3, 5), id(4, 7))].into_iter().enumerate()
    {
        cluster.forge(2, 3, Message::Missing { view: Ballot(7), previous, missing });
        let fault = (n(2), PeerFault::ImpossibleReply);
        assert_eq!(cluster.vsr(3).peer_faults(), (count as u64 + 1, Some(fault)));
    }
    assert_eq!(cluster.vsr(3).standing().role, Role::Candidate);
}

#[test]
fn a_replica_whose_torn_end_was_cut_off_nacks_nothing_before_its_log_goes_on_in_a_later_view() {
    let nacks = |cluster: &mut Cluster, at: u64, index, view| {
        cluster.save_all(4);
        cluster.take(|_| true);
        let missing = LogId::new(Index(index), Ballot(view));
        cluster.forge(3, 4, Message::Sought { view: Ballot(at), missing });
        cluster.take(|sent| matches!(sent.message, Message::Nack { .. })).len() == 1
    };
    let mut cluster = best_log_is_damaged();
    assert_eq!(cluster.view(4), 7);
    assert!(nacks(&mut cluster, 7, 4, 5));
    // What was behind its end, or in place of it, may be what is sought.
    for torn in [true, false] {
        cluster.crash(4);
        cluster.nodes.get_mut(&n(4)).unwrap().disk.is_torn = torn;
        cluster.restart(4);
        cluster.timeout(4, Timer::Heartbeat);
        for (index, view) in [(4, 5), (3, 4), (3, 6), (9, 6), (4, 7)] {
            assert!(!nacks(&mut cluster, 7, index, view), "{index} of {view}, {torn}");
        }
        assert!(nacks(&mut cluster, 7, 4, 8), "of a view that it was in with that log");
    }
    // It nacks what is not in the log of a later view.
    cluster.crash(5);
    cluster.restart(5);
    cluster.crash(2);
    for to in [3, 4, 5] {
        for from in [1, 2] {
            let (view, target) = (Ballot(7), Ballot(8));
            cluster.forge(from, to, Message::StartViewChange { view, target });
        }
    }
    cluster.settle();
    assert_eq!(cluster.leader(), Some(n(4)));
    cluster.lead(5);
    cluster.now += cluster.settings.election.end;
    for from in [1, 2, 3] {
        let (view, target) = (Ballot(9), Ballot(12));
        cluster.forge(from, 4, Message::StartViewChange { view, target });
    }
    assert_eq!(cluster.view(4), 12);
    assert!(nacks(&mut cluster, 12, 8, 5));
}

#[test]
fn what_one_cannot_show_is_kept_as_long_as_it_says_so_if_another_one_may_have_had_it() {
    for torn in [None, Some(1), Some(3)] {
        let mut cluster = Cluster::of(3);
        cluster.set_log(1, 1, &[1]);
        cluster.set_log(2, 1, &[1, 1]);
        cluster.set_log(3, 1, &[1]);
        damage(&mut cluster, 2, 2, 2);
        if let Some(torn) = torn {
            cluster.crash(torn);
            cluster.nodes.get_mut(&n(torn)).unwrap().disk.is_torn = true;
            cluster.restart(torn);
        }
        // It is the turn of node 1, which never had the second entry.
        cluster.now += cluster.settings.election.end;
        for (from, to) in [(1, 2), (2, 1), (3, 1), (1, 3)] {
            let (view, target) = (Ballot(1), Ballot(3));
            cluster.forge(from, to, Message::StartViewChange { view, target });
        }
        for _ in 0..30 {
            cluster.settle();
            cluster.now += cluster.settings.heartbeat;
            (1..=3).for_each(|id| cluster.timeout(id, Timer::Heartbeat));
        }
        cluster.settle();
        assert_eq!(cluster.node(1).leads(), torn.is_none());
        if torn.is_some() {
            // Those who are left decide: as if it had never reported.
            cluster.crash(2);
            for _ in 0..100 {
                cluster.now += cluster.settings.heartbeat;
                cluster.fire_due_timers();
                cluster.settle();
            }
            assert!(cluster.leader().is_some());
        }
    }
}

#[test]
fn a_replica_that_falls_mute_between_views_nacks_nothing() {
    let mut cluster = best_log_is_damaged();
    cluster.save_all(4);
    let nacks = |cluster: &mut Cluster| {
        cluster.take(|_| true);
        let missing = LogId::new(Index(4), Ballot(5));
        cluster.forge(3, 4, Message::Sought { view: Ballot(7), missing });
        cluster.take(|sent| matches!(sent.message, Message::Nack { .. })).len()
    };
    assert_eq!(nacks(&mut cluster), 1);
    cluster.fall_mute(4);
    assert_eq!(nacks(&mut cluster), 0);
}

#[test]
fn who_falls_mute_while_its_opening_is_saved_does_not_begin_the_view() {
    let mut cluster = Cluster::led_by_1(3);
    leave_without_1(&mut cluster, 5);
    for _ in 0..20 {
        if cluster.node(3).has_writes() && cluster.last_index(3) == Index(2) {
            break;
        }
        cluster.deliver_to(2);
        cluster.save(2);
        cluster.deliver_to(3);
        if cluster.node(3).log.last().ballot < Ballot(5) {
            cluster.save(3);
        }
    }
    assert_eq!(cluster.node(3).log.last(), LogId::new(Index(2), Ballot(5)), "its opening");
    cluster.fall_mute(3);
    for _ in 0..5 {
        cluster.save(3);
    }
    assert_eq!(cluster.node(3).log.durable(), Index(2));
    assert!(!cluster.node(3).leads());
    assert_eq!(cluster.vsr(3).standing().role, Role::Candidate);
}
