//! A node that was away while the others wrote much and dropped the log of it.

use std::time::Instant;

use quorate_kv::resp::Value;
use quorate_kv::{Client, encode_request};

use super::processes::{Nodes, bulk, call, insist};

const AT_ONCE: usize = 1000;

/// KEYS=1000000 in the environment for more of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_catches_up_from_a_snapshot_and_the_log_behind_it() {
    let keys = std::env::var("KEYS").map_or(200_000, |keys| keys.parse().unwrap());
    let mut nodes = Nodes::three(&["--snapshot-bytes", "1000000"]).await;
    insist(&nodes, 1, &["SET", "first", "1"]).await;
    nodes.converge().await;
    let leader = nodes.leader().await;
    let away = leader % 3 + 1;
    nodes.kill(away).await;
    let mut client = nodes.client(leader).await;
    for first in (0..keys).step_by(AT_ONCE) {
        write(&mut client, first).await;
    }
    assert!(nodes.logged(leader).contains("snapshot written"), "nothing was compacted");

    let began = Instant::now();
    nodes.start(away).await;
    // Whatever is written meanwhile is not in the snapshot.
    write(&mut client, keys).await;
    nodes.converge().await;
    println!("{keys} keys: caught up within {:?}", began.elapsed());
    assert!(nodes.logged(away).contains("restored"), "not from a snapshot");
    let mut client = nodes.client(away).await;
    call(&mut client, &["READONLY"]).await;
    let all = Value::Integer((keys + AT_ONCE + 1) as i64);
    assert_eq!(call(&mut client, &["DBSIZE"]).await, all);
    for number in (0..keys + AT_ONCE).step_by(997) {
        let found = call(&mut client, &["GET", &format!("key:{number}")]).await;
        assert_eq!(found, bulk(&number.to_string()));
    }
}

async fn write(client: &mut Client, first: usize) {
    let mut requests = Vec::new();
    for number in first..first + AT_ONCE {
        encode_request(&["SET", &format!("key:{number}"), &number.to_string()], &mut requests);
    }
    client.send(&requests).await.unwrap();
    for _ in 0..AT_ONCE {
        assert_eq!(client.receive().await.unwrap(), Value::Simple("OK".into()));
    }
}
