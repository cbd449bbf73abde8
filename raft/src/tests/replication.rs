//! How entries reach the followers.

use super::cluster::Cluster;

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
