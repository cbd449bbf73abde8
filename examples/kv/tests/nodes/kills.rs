//! Nodes that die, or hang, at any moment.

use std::time::Duration;

use quorate_kv::resp::Value;

use super::dice::{Dice, number};
use super::load::Load;
use super::processes::{Nodes, bulk, call, lasted};

const WRITERS: usize = 8;

/// What writes take at most to resume when a node dies. An election begins within 0.4 s: the rest is for
/// a machine that is busy. How long it is exactly is not asked here; the figures are printed.
const RESUMED: Duration = Duration::from_secs(5);

/// Segments and snapshots come and go all the time.
const SMALL_FILES: [&str; 4] = ["--segment-bytes", "65536", "--snapshot-bytes", "100000"];

#[tokio::test(flavor = "multi_thread")]
async fn any_node_takes_writes_and_sees_those_of_the_others_at_once() {
    let nodes = Nodes::three(&[]).await;
    let mut expected = 0;
    for round in 0..20 {
        for id in 1..=3 {
            let mut client = nodes.client(id).await;
            let (key, value) = (format!("k{id}"), format!("{round}"));
            assert_eq!(call(&mut client, &["SET", &key, &value]).await, Value::Simple("OK".into()));
            expected += 1;
            assert_eq!(call(&mut client, &["INCR", "n"]).await, Value::Integer(expected));
            let mut other = nodes.client(id % 3 + 1).await;
            assert_eq!(call(&mut other, &["GET", &key]).await, bulk(&value));
            assert_eq!(call(&mut other, &["GET", "n"]).await, bulk(&expected.to_string()));
        }
    }
}

/// Every so many kills the leader is the victim, however the dice fall.
const LEADER_EVERY: u64 = 4;

/// KILLS=100 in the environment for more of them, SEED=7 for other victims.
async fn kill_one_after_the_other(count: usize) {
    let (kills, mut dice) = (number("KILLS", 20), Dice::seeded());
    let mut nodes = Nodes::serving(count, &SMALL_FILES).await;
    let load = Load::start(&nodes, WRITERS);
    let (mut of_leaders, mut of_others) = (Vec::new(), Vec::new());
    for kill in 0..kills {
        load.progress(300).await;
        let (any, leader) = (dice.throw(count) + 1, nodes.leader().await);
        let victim = if kill.is_multiple_of(LEADER_EVERY) { leader } else { any };
        nodes.kill(victim).await;
        let ((), pause) = lasted(load.progress(100)).await;
        let pauses = if victim == leader { &mut of_leaders } else { &mut of_others };
        pauses.push(pause);
        nodes.start(victim).await;
    }
    assert!(!of_leaders.is_empty());
    // A machine that is too busy for it is not so after most kills.
    for pauses in [&mut of_leaders, &mut of_others] {
        pauses.sort_unstable();
        let median = pauses.get(pauses.len() / 2);
        assert!(median.is_none_or(|median| *median < RESUMED), "writes resumed after {pauses:?}");
    }
    load.progress(500).await;
    let totals = load.check(&nodes).await;
    println!(
        "{kills} kills: {totals:?}; writes resumed after {of_leaders:.2?} where it was the leader"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_one_node_after_the_other_loses_nothing_and_repeats_nothing() {
    kill_one_after_the_other(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_one_of_five_nodes_after_the_other_loses_nothing_and_repeats_nothing() {
    kill_one_after_the_other(5).await;
}

async fn kill_all_at_once(count: usize) {
    let mut nodes = Nodes::serving(count, &[]).await;
    let load = Load::start(&nodes, WRITERS);
    for _ in 0..2 {
        load.progress(1000).await;
        nodes.kill_all().await;
        nodes.start_all().await;
    }
    load.progress(1000).await;
    println!("{:?}", load.check(&nodes).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_all_nodes_at_once_loses_nothing_and_repeats_nothing() {
    kill_all_at_once(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_all_of_five_nodes_at_once_loses_nothing_and_repeats_nothing() {
    kill_all_at_once(5).await;
}

async fn let_the_leader_hang(count: usize) {
    let nodes = Nodes::serving(count, &[]).await;
    let load = Load::start(&nodes, WRITERS);
    load.progress(1000).await;
    let leader = nodes.leader().await;
    nodes.pause(leader);
    let hanging = async {
        let successor = nodes.leader_but(&[leader]).await;
        assert_ne!(successor, leader);
        load.progress(500).await;
    };
    // Whether or not the others are faster: it hangs for 3 s.
    tokio::join!(hanging, tokio::time::sleep(Duration::from_secs(3)));
    nodes.resume(leader);
    load.progress(1000).await;
    println!("{:?}", load.check(&nodes).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_hangs_is_replaced_and_does_no_harm_when_it_goes_on() {
    let_the_leader_hang(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_of_five_that_hangs_is_replaced_and_does_no_harm_when_it_goes_on() {
    let_the_leader_hang(5).await;
}

/// ROUNDS=200 SEED=7 in the environment for more, and for others.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_which_die_hang_and_stop_in_any_order_lose_nothing_and_repeat_nothing() {
    let mut dice = Dice::seeded();
    let mut nodes = Nodes::three(&SMALL_FILES).await;
    let load = Load::start(&nodes, WRITERS);
    for _ in 0..number("ROUNDS", 10) {
        load.progress(dice.throw(600) as u64).await;
        let any = dice.throw(3) + 1;
        match dice.throw(5) {
            0 => {
                nodes.kill(any).await;
                // With or without time for the others to go on.
                load.progress(dice.throw(2) as u64 * 200).await;
                nodes.start(any).await;
            }
            1 => {
                let other = any % 3 + 1;
                nodes.kill(any).await;
                nodes.kill(other).await;
                nodes.start(other).await;
                load.progress(dice.throw(2) as u64 * 200).await;
                nodes.start(any).await;
            }
            2 => {
                nodes.kill_all().await;
                nodes.start_all().await;
            }
            3 => {
                nodes.terminate(any).await;
                load.progress(dice.throw(2) as u64 * 200).await;
                nodes.start(any).await;
            }
            _ => {
                nodes.pause(any);
                load.progress(dice.throw(300) as u64).await;
                nodes.resume(any);
            }
        }
    }
    load.progress(500).await;
    println!("{:?}", load.check(&nodes).await);
}
