//! What a node does, and does not do, when the majority is gone.

use quorate_kv::resp::Value;

use super::processes::{Nodes, bulk, call, insist};

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_followers_neither_acknowledges_nor_serves_linearizable_reads() {
    let nodes = Nodes::three(&[]).await;
    let leader = nodes.leader().await;
    without_a_majority(nodes, leader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_alone_neither_acknowledges_nor_serves_linearizable_reads() {
    let nodes = Nodes::three(&[]).await;
    let follower = nodes.leader().await % 3 + 1;
    without_a_majority(nodes, follower).await;
}

async fn without_a_majority(mut nodes: Nodes, left: usize) {
    insist(&nodes, left, &["SET", "k", "before"]).await;
    nodes.converge().await;
    let others: Vec<usize> = (1..=3).filter(|id| *id != left).collect();
    for id in &others {
        nodes.kill(*id).await;
    }
    let mut writer = nodes.client(left).await;
    let mut reader = nodes.client(left).await;
    let mut local = nodes.client(left).await;
    assert_eq!(call(&mut local, &["READONLY"]).await, Value::Simple("OK".into()));
    for round in 0..2 {
        let write = async { call(&mut writer, &["SET", "k", &format!("lost {round}")]).await };
        let read = async { call(&mut reader, &["GET", "k"]).await };
        let local = async { call(&mut local, &["GET", "k"]).await };
        let (write, read, local) = tokio::join!(write, read, local);
        let Value::Error(text) = write else { panic!("acknowledged: {write:?}") };
        assert!(text.starts_with("UNKNOWN ") || text.starts_with("CLUSTERDOWN "), "{text}");
        let Value::Error(text) = read else { panic!("read: {read:?}") };
        assert!(text.starts_with("CLUSTERDOWN "), "{text}");
        assert_eq!(local, bulk("before"));
    }
    for id in &others {
        nodes.spawn(*id);
    }
    for id in &others {
        nodes.wait_until_ready(*id).await;
    }
    insist(&nodes, left, &["SET", "k", "after"]).await;
    assert_eq!(insist(&nodes, others[0], &["GET", "k"]).await, bulk("after"));
}
