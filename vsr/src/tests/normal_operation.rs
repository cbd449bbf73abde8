//! How operations are prepared and committed.

use super::cluster::{Cluster, n, stretch};

#[test]
fn what_a_primary_takes_is_committed_everywhere_without_waiting_for_a_heartbeat() {
    let mut cluster = Cluster::led_by_1(3);
    let view = cluster.view(1);
    cluster.propose(1, "a");
    cluster.propose(1, "b");
    cluster.settle();
    for id in 1..=3 {
        cluster.assert_log(id, &[view, view, view], 3);
    }
}

#[test]
fn a_dead_primary_is_replaced_and_a_write_committed() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.propose(1, "a");
    cluster.settle();
    cluster.crash(1);
    cluster.lead(2);
    cluster.propose(2, "b");
    cluster.settle();
    cluster.assert_log(2, &[3, 3, 4, 4], 4);
    cluster.assert_log(3, &[3, 3, 4, 4], 4);
    cluster.restart(1);
    cluster.heartbeats(1);
    cluster.assert_log(1, &[3, 3, 4, 4], 4);
    assert!(cluster.network.iter().all(|sent| stretch(&sent.message).is_none() && sent.to == n(1)));
}

#[test]
fn a_single_replica_serves() {
    let mut cluster = Cluster::led_by_1(1);
    cluster.propose(1, "a");
    assert_eq!(cluster.committed(1), 1);
    cluster.save(1);
    assert_eq!(cluster.committed(1), 2);
}
