//! What a node says of the cluster.

use super::processes::{Nodes, until};

/// Waits until a leader has so many followers.
async fn counts(nodes: &Nodes, leader: usize, followers: &str) {
    until("a leader counts its followers", || async move {
        let counted = nodes.info(leader, "connected_slaves").await;
        counted.filter(|counted| counted == followers)
    })
    .await;
}

/// Waits until a node follows this leader, or is it, and says where it is.
async fn names(nodes: &Nodes, id: usize, leader: usize) {
    let role = if id == leader { "master" } else { "slave" };
    let address = nodes.peer_address(leader).to_string();
    let expected = [
        ("role", role.to_owned()),
        ("leader", leader.to_string()),
        ("leader_address", address),
        ("master_link_status", "up".to_owned()),
    ];
    let expected = &expected;
    until("a node names the leader", || async move {
        for (field, value) in expected {
            if nodes.info(id, field).await.as_ref() != Some(value) {
                return None;
            }
        }
        Some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_names_the_leader_and_where_it_is_and_the_leader_counts_who_is_there() {
    let mut nodes = Nodes::three(&[]).await;
    let leader = nodes.leader().await;
    for id in 1..=3 {
        names(&nodes, id, leader).await;
    }
    counts(&nodes, leader, "2").await;
    nodes.kill(leader).await;
    let next = nodes.leader_but(&[leader]).await;
    for id in (1..=3).filter(|id| *id != leader) {
        names(&nodes, id, next).await;
    }
    counts(&nodes, next, "1").await;
}
