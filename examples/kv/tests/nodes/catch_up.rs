//! A node that was away while the others wrote much and dropped the log of it.

use std::time::{Duration, Instant};

use quorate_kv::resp::Value;
use quorate_kv::{Client, encode_request};

use super::processes::{Nodes, bulk, call, insist};
use super::pulse::Pulse;

const AT_ONCE: usize = 1000;

/// How long the leader is looked at before the node is back.
const CALM: Duration = Duration::from_secs(2);

/// What catching up takes at most.
const BACK: Duration = Duration::from_secs(60);

/// What a machine with other work makes a write wait, whatever the leader does.
const HICCUP: Duration = Duration::from_millis(100);

/// KEYS=1000000 in the environment for more of them.
async fn catches_up(count: usize) {
    let keys = std::env::var("KEYS").map_or(200_000, |keys| keys.parse().unwrap());
    let mut nodes = Nodes::serving(count, &["--snapshot-bytes", "1000000"]).await;
    insist(&nodes, 1, &["SET", "first", "1"]).await;
    nodes.converge().await;
    let leader = nodes.leader().await;
    let away = leader % count + 1;
    nodes.kill(away).await;
    let mut client = nodes.client(leader).await;
    for first in (0..keys).step_by(AT_ONCE) {
        write(&mut client, first).await;
    }
    assert!(nodes.logged(leader).contains("snapshot written"), "nothing was compacted");

    // What is written meanwhile is not in the snapshot.
    let pulse = Pulse::start(&nodes, leader).await;
    let calm = Instant::now();
    tokio::time::sleep(CALM).await;
    let back = Instant::now();
    nodes.start(away).await;
    nodes.converge().await;
    let level = Instant::now();
    let took = level - back;
    let beats = pulse.stop().await;
    let (before, meanwhile) = (beats.p99(calm..back), beats.p99(back..level));
    println!(
        "{keys} keys, {count} nodes: caught up within {took:?}; p99 of SET at the leader {before:?} \
         before, {meanwhile:?} meanwhile"
    );
    assert!(nodes.logged(away).contains("restored"), "not from a snapshot");
    assert!(took < BACK, "{took:?}");
    // Whoever stands still for the transfer answers what was sent in its first half after the second.
    let allowed = (3 * before).max(took / 2).max(HICCUP);
    assert!(
        meanwhile <= allowed,
        "p99 of {meanwhile:?} while a node catches up, {before:?} before"
    );

    nodes.converge().await;
    let mut client = nodes.client(away).await;
    call(&mut client, &["READONLY"]).await;
    let all = Value::Integer((keys + beats.writes() + 1) as i64);
    assert_eq!(call(&mut client, &["DBSIZE"]).await, all);
    for number in (0..keys).step_by(997) {
        let found = call(&mut client, &["GET", &format!("key:{number}")]).await;
        assert_eq!(found, bulk(&number.to_string()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_catches_up_from_a_snapshot_and_the_log_while_the_leader_serves_on() {
    catches_up(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_five_that_was_away_catches_up_from_a_snapshot_and_the_log_while_the_leader_serves_on()
 {
    catches_up(5).await;
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
