//! A node that was away while the others wrote much and dropped the log of it.

use std::time::{Duration, Instant};

use quorate_kv::resp::Value;
use quorate_kv::{Client, encode_request};

use super::processes::{Nodes, bulk, call, insist, until};
use super::pulse::Pulse;

const AT_ONCE: usize = 1000;

/// How many times the keys are written again at most until a log no longer has what was written first.
const MORE: usize = 4;

/// How long the leader is looked at before the node is back.
const CALM: Duration = Duration::from_secs(2);

/// What catching up takes at most.
const BACK: Duration = Duration::from_secs(60);

/// How many times as long as before a write may take while a node catches up.
const SLOWER: u32 = 3;

/// What six processes on two cores wait for their turn: a p99 below this says how idle the machine
/// was. The figures are printed; this is a wide limit.
const SCHEDULING: Duration = Duration::from_millis(10);

/// How often is looked at most. What else the machine does disturbs some of the rounds, before or while
/// the node catches up.
const TRIES: usize = 5;

/// In how many rounds writes must not be slower than that.
const ENOUGH: usize = 2;

/// The 99th percentile of what a SET took at the leader.
struct Seen {
    before: Duration,
    meanwhile: Duration,
    /// How many of them there were.
    writes: usize,
}

/// KEYS=1000000 in the environment for more of them.
fn keys() -> usize {
    std::env::var("KEYS").map_or(200_000, |keys| keys.parse().unwrap())
}

/// One node misses a value of each key, of which there are so many, and comes back.
async fn catches_up(nodes: &mut Nodes, away: usize, keys: usize, value: usize) -> Seen {
    let applied = index(nodes, away, "applied_index").await;
    nodes.kill(away).await;
    let leader = nodes.leader().await;
    let mut client = nodes.client(leader).await;
    for first in (0..keys).step_by(AT_ONCE) {
        write(&mut client, first, value).await;
    }
    // A log may reach back to the last snapshot but one, which may take more than these.
    let mut more = (0..MORE * keys).step_by(AT_ONCE);
    while index(nodes, leader, "first_index").await <= applied + 1 {
        let first = more.next().expect("what it misses is compacted");
        write(&mut client, first % keys, value).await;
    }

    // What is written meanwhile is not in the snapshot.
    let pulse = Pulse::start(nodes, leader, value).await;
    let calm = Instant::now();
    tokio::time::sleep(CALM).await;
    let back = Instant::now();
    nodes.start(away).await;
    nodes.converge().await;
    let level = Instant::now();
    let beats = pulse.stop().await;
    assert!(last_restored(&nodes.logged(away)) > applied, "not from a snapshot");
    assert!(level - back < BACK, "{:?}", level - back);

    nodes.converge().await;
    let all = call(&mut client, &["DBSIZE"]).await;
    let mut client = nodes.client(away).await;
    call(&mut client, &["READONLY"]).await;
    assert_eq!(call(&mut client, &["DBSIZE"]).await, all);
    for number in (0..keys).step_by(997) {
        let found = call(&mut client, &["GET", &format!("key:{number}")]).await;
        assert_eq!(found, bulk(&(number + value).to_string()));
    }
    let (before, meanwhile) = (beats.p99(calm..back), beats.p99(back..level));
    println!(
        "{keys} keys: caught up within {:?}; p99 of SET at the leader {before:?} before, {meanwhile:?} meanwhile",
        level - back
    );
    Seen { before, meanwhile, writes: beats.writes() }
}

async fn index(nodes: &Nodes, id: usize, field: &str) -> u64 {
    until("a node tells how far it is", || nodes.info(id, field)).await.parse().unwrap()
}

/// Up to where the last snapshot goes that a node says it has restored.
fn last_restored(log: &str) -> u64 {
    let line = log.lines().rfind(|line| line.contains("restored")).expect("it restored one");
    let index = line.split_once("index=").expect("it says which").1;
    let digits = index.split(|c: char| !c.is_ascii_digit()).find(|part| !part.is_empty());
    digits.expect("an index is a number").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_five_that_was_away_catches_up_from_a_snapshot_and_the_log() {
    let mut nodes = Nodes::serving(5, &["--snapshot-bytes", "1000000"]).await;
    insist(&nodes, 1, &["SET", "first", "1"]).await;
    nodes.converge().await;
    let away = nodes.leader().await % 5 + 1;
    catches_up(&mut nodes, away, keys(), 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_catches_up_from_a_snapshot_and_the_log_while_the_leader_serves_on() {
    let mut nodes = Nodes::alone(3, &["--snapshot-bytes", "1000000"]);
    nodes.start_all().await;
    insist(&nodes, 1, &["SET", "first", "1"]).await;
    nodes.converge().await;
    let away = nodes.leader().await % 3 + 1;
    let (mut within, mut writes) = (0, 0);
    for value in 0..TRIES {
        let seen = catches_up(&mut nodes, away, keys(), value).await;
        writes += seen.writes;
        let mut client = nodes.client(away).await;
        call(&mut client, &["READONLY"]).await;
        let all = Value::Integer((keys() + writes + 1) as i64);
        assert_eq!(call(&mut client, &["DBSIZE"]).await, all);
        within += usize::from(seen.meanwhile <= SLOWER * seen.before.max(SCHEDULING));
        if within == ENOUGH {
            return;
        }
    }
    panic!("the leader was at most {SLOWER} times as slow in {within} of {TRIES} rounds");
}

async fn write(client: &mut Client, first: usize, value: usize) {
    let mut requests = Vec::new();
    for number in first..first + AT_ONCE {
        let value = (number + value).to_string();
        encode_request(&["SET", &format!("key:{number}"), &value], &mut requests);
    }
    client.send(&requests).await.unwrap();
    for _ in 0..AT_ONCE {
        assert_eq!(client.receive().await.unwrap(), Value::Simple("OK".into()));
    }
}
