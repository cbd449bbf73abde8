//! What nodes do, and do not do, when the majority is gone.

use quorate_kv::Client;
use quorate_kv::resp::Value;
use tokio::task::JoinSet;

use super::processes::{Nodes, bulk, call, insist};

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_followers_neither_acknowledges_nor_serves_linearizable_reads() {
    let nodes = Nodes::three(&[]).await;
    let leader = nodes.leader().await;
    without_a_majority(nodes, &[leader]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_alone_neither_acknowledges_nor_serves_linearizable_reads() {
    let nodes = Nodes::three(&[]).await;
    let follower = nodes.leader().await % 3 + 1;
    without_a_majority(nodes, &[follower]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_with_one_follower_of_four_neither_acknowledges_nor_serves_linearizable_reads() {
    let nodes = Nodes::serving(5, &[]).await;
    let leader = nodes.leader().await;
    without_a_majority(nodes, &[leader, leader % 5 + 1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_followers_of_five_neither_acknowledge_nor_serve_linearizable_reads() {
    let nodes = Nodes::serving(5, &[]).await;
    let leader = nodes.leader().await;
    without_a_majority(nodes, &[leader % 5 + 1, (leader + 1) % 5 + 1]).await;
}

async fn without_a_majority(mut nodes: Nodes, left: &[usize]) {
    insist(&nodes, left[0], &["SET", "k", "before"]).await;
    nodes.converge().await;
    let others: Vec<usize> =
        (1..=nodes.addresses().len()).filter(|id| !left.contains(id)).collect();
    for id in &others {
        nodes.kill(*id).await;
    }
    let mut clients = JoinSet::new();
    for id in left {
        let [writer, reader, mut local] =
            [nodes.client(*id).await, nodes.client(*id).await, nodes.client(*id).await];
        assert_eq!(call(&mut local, &["READONLY"]).await, Value::Simple("OK".into()));
        clients.spawn(are_refused(writer, reader, local));
    }
    clients.join_all().await;
    for id in &others {
        nodes.spawn(*id);
    }
    for id in &others {
        nodes.wait_until_ready(*id).await;
    }
    insist(&nodes, left[0], &["SET", "k", "after"]).await;
    assert_eq!(insist(&nodes, others[0], &["GET", "k"]).await, bulk("after"));
}

/// A write and a linearizable read, though a local read is answered.
async fn are_refused(mut writer: Client, mut reader: Client, mut local: Client) {
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
}
