//! The protocol is a type parameter: nothing else changes with it.

use crate::common::{Cluster, PATIENCE, add, total};
use quorate::{Protocol, Raft, Role, Settings, Vsr};

/// Counts on every node, while one after the other is away, and after all have stopped.
async fn counts_under<P: Protocol>() {
    let settings = Settings { request_timeout: PATIENCE, ..Settings::default() };
    let mut cluster = Cluster::<P>::of(3, settings).await;
    let mut sum = 0;
    for (n, node) in (1..).zip(cluster.nodes.values()) {
        sum += n;
        assert_eq!(add(node, n).await, sum);
        for other in cluster.nodes.values() {
            assert_eq!(total(other).await, sum);
        }
    }
    let leader = cluster.leader().await;
    let status = cluster.nodes[&leader].status();
    assert_eq!((status.role, status.peers.len()), (Role::Leader, 2));

    cluster.down(leader).await;
    let next = cluster.leader().await;
    assert_ne!(next, leader);
    assert!(cluster.nodes[&next].status().ballot > status.ballot);
    assert_eq!(add(&cluster.nodes[&next], 1).await, sum + 1);
    cluster.up(leader).await;
    assert_eq!(total(&cluster.nodes[&leader]).await, sum + 1);

    cluster.all_down().await;
    for id in 1..=3 {
        cluster.up(id).await;
    }
    assert_eq!(total(&cluster.nodes[&2]).await, sum + 1);
}

#[tokio::test]
async fn a_counter_counts_under_raft() {
    counts_under::<Raft>().await;
}

#[tokio::test]
async fn the_same_counter_counts_under_viewstamped_replication() {
    counts_under::<Vsr>().await;
}
