//! Keys that vanish by themselves.

use std::time::{Duration, Instant};

use quorate_kv::resp::Value;

use super::processes::{LOOK_AGAIN, Nodes, PATIENCE, call, insist, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_expires_on_every_node_without_a_further_write_and_never_early() {
    let mut nodes = Nodes::three(&[]).await;
    let written = Instant::now();
    insist(&nodes, 2, &["SET", "soon", "v", "PX", "400"]).await;
    insist(&nodes, 2, &["SET", "late", "v", "EX", "1000"]).await;
    let nodes_ref = &nodes;
    for id in 1..=3 {
        until("the key is gone", || async move {
            let mut client = nodes_ref.client(id).await;
            call(&mut client, &["READONLY"]).await;
            (call(&mut client, &["DBSIZE"]).await == Value::Integer(1)).then_some(())
        })
        .await;
    }
    // Log time follows the clock, at most a tenth faster than time passes.
    assert!(written.elapsed() > Duration::from_millis(350), "{:?}", written.elapsed());

    nodes.kill_all().await;
    nodes.start_all().await;
    let Value::Integer(ttl) = insist(&nodes, 1, &["TTL", "late"]).await else { panic!("no TTL") };
    assert!((900..=1000).contains(&ttl), "{ttl}");
    assert_eq!(insist(&nodes, 3, &["EXISTS", "soon"]).await, Value::Integer(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_key_has_left_becomes_less_on_every_node_though_nobody_writes() {
    until("nobody leads anew meanwhile", becomes_less_though_nobody_writes).await;
}

/// `None` if there was another leader in the end: the first that one does is to write. On nodes of its own:
/// where a key was to expire while nobody led, what is written next carries an earlier time.
async fn becomes_less_though_nobody_writes() -> Option<()> {
    let nodes = Nodes::three(&[]).await;
    let leader = nodes.leader().await;
    let term = nodes.info(leader, "term").await;
    let before = Instant::now();
    insist(&nodes, leader, &["SET", "k", "v", "PX", "100000"]).await;
    let written = Instant::now();
    nodes.converge().await;
    let last = nodes.info(leader, "last_index").await;
    for (id, mode) in [(1, "READWRITE"), (2, "READWRITE"), (3, "READWRITE"), (leader, "READONLY")] {
        let mut client = nodes.client(id).await;
        call(&mut client, &[mode]).await;
        let mut least = 100_000;
        while least > 98_500 {
            let left = match call(&mut client, &["PTTL", "k"]).await {
                Value::Integer(left) => left,
                Value::Error(text) if text.starts_with("CLUSTERDOWN ") => return None,
                other => panic!("{other:?}"),
            };
            assert!(left <= least, "node {id}: {left} after {least}");
            // Entries carry a time that has passed already when they are applied.
            let passed = i64::try_from(before.elapsed().as_millis()).unwrap();
            assert!(left + passed + 10 >= 100_000, "node {id}: {left} after {passed} ms");
            least = left;
            assert!(written.elapsed() < PATIENCE, "node {id}: {left} after {PATIENCE:?}");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
    let is_last = nodes.info(leader, "last_index").await == last;
    if nodes.info(leader, "term").await != term {
        return None;
    }
    assert!(is_last, "somebody wrote");
    Some(())
}
