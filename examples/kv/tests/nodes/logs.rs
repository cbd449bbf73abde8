//! Nodes whose log nobody reads.

use std::io::{PipeReader, Write, pipe};

use quorate_kv::resp::Value;

use super::processes::{Nodes, bulk, insist};

/// A change of leader, a restart, and an end in good order.
async fn is_unharmed(mut nodes: Nodes) {
    nodes.start_all().await;
    let leader = nodes.leader().await;
    assert_eq!(insist(&nodes, leader, &["SET", "k", "1"]).await, Value::Simple("OK".into()));
    nodes.kill(leader).await;
    let successor = nodes.leader_but(&[leader]).await;
    assert_eq!(insist(&nodes, successor, &["SET", "k", "2"]).await, Value::Simple("OK".into()));
    nodes.start(leader).await;
    assert_eq!(insist(&nodes, leader, &["GET", "k"]).await, bulk("2"));
    for id in 1..=3 {
        nodes.terminate(id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_whose_log_has_lost_its_reader_serve_on_and_end_in_good_order() {
    let mut nodes = Nodes::new(3, &[]);
    for id in 1..=3 {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        nodes.set_stderr(id, writer);
    }
    is_unharmed(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_whose_log_stands_still_serve_on_and_end_in_good_order() {
    let mut nodes = Nodes::new(3, &[]);
    let mut readers: Vec<PipeReader> = Vec::new();
    for id in 1..=3 {
        let (reader, mut writer) = pipe().unwrap();
        nodes.set_stderr(id, writer.try_clone().unwrap());
        readers.push(reader);
        // Keeps it full until the reader goes.
        std::thread::spawn(move || while writer.write_all(&[b'.'; 4096]).is_ok() {});
    }
    is_unharmed(nodes).await;
}
