//! Keys that vanish by themselves.

use std::time::{Duration, Instant};

use quorate_kv::resp::Value;

use super::processes::{Nodes, call, insist, until};

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
