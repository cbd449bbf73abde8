//! What the best log cannot show, beside logs that went another way.

use quorate_core::{Ballot, Incarnation, Index, LogId, Timer};

use super::cluster::{Cluster, n};
use super::damage::{damage, replace_disk_of_3};
use super::state_transfer::answer_cold_reads;
use crate::Message;

/// `from` tells the others that it has left for `view`, and they follow.
fn leave(cluster: &mut Cluster, from: u64, view: u64, others: [u64; 2]) {
    let target = Ballot(view);
    for to in others {
        cluster.forge(from, to, Message::StartViewChange { view: target, target });
    }
}

#[test]
fn a_nack_counts_by_who_was_listed_where_the_entry_stood() {
    // Alone in view 3, node 1 lists another disk of node 3. Nobody else hears of that: node 2 opens
    // view 4, and then cannot show with what.
    let mut cluster = Cluster::led_by_1(3);
    cluster.isolate(1);
    replace_disk_of_3(&mut cluster);
    cluster.save_all(1);
    cluster.cut.insert((n(2), n(3)));
    leave(&mut cluster, 1, 4, [2, 3]);
    cluster.settle();
    let missing = LogId::new(Index(2), Ballot(4));
    assert_eq!((cluster.node(2).last(), cluster.last_index(1)), (missing, Index(2)));
    cluster.heal();
    cluster.crash(3);
    damage(&mut cluster, 2, 2, 2);
    // Node 1, in whose log the new disk is listed, is to begin view 6.
    leave(&mut cluster, 3, 6, [1, 2]);
    cluster.settle();
    let nack = Message::Nack { view: Ballot(6), missing };
    cluster.arrive(3, Incarnation(33), 1, nack.clone());
    cluster.settle();
    assert!(!cluster.node(1).leads(), "the disk before may have acknowledged it");
    cluster.arrive(3, Incarnation(3), 1, nack);
    cluster.settle();
    assert!(cluster.node(1).leads());
    assert_eq!(cluster.node(1).views(), [3, 3, 6]);
}

#[test]
fn a_log_that_parted_before_what_is_missing_is_followed_up_to_there() {
    // Node 1 has the best log, and cannot show its end. What precedes that is not what node 2 has
    // there, whose turn it is.
    let mut cluster = Cluster::of(3);
    cluster.set_log(1, 6, &[1, 3, 5]);
    cluster.set_log(2, 6, &[1, 4]);
    cluster.set_log(3, 6, &[1]);
    damage(&mut cluster, 1, 3, 3);
    leave(&mut cluster, 3, 7, [1, 2]);
    leave(&mut cluster, 2, 7, [1, 3]);
    for _ in 0..10 {
        cluster.settle();
        answer_cold_reads(&mut cluster, 1);
        cluster.now += cluster.settings.heartbeat;
        (1..=3).for_each(|id| cluster.timeout(id, Timer::Heartbeat));
    }
    cluster.settle();
    assert!(cluster.node(2).leads());
    assert_eq!(cluster.node(2).views(), [1, 3, 7]);
}
