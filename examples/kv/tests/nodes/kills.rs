//! Nodes that die, or hang, at any moment.

use std::time::Duration;

use quorate_kv::resp::Value;

use crate::load::Load;
use crate::nodes::{Nodes, bulk, call};

const WRITERS: usize = 8;

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

/// KILLS=20 in the environment for more of them.
#[tokio::test(flavor = "multi_thread")]
async fn killing_one_node_after_the_other_loses_nothing_and_repeats_nothing() {
    let kills = std::env::var("KILLS").map_or(6, |kills| kills.parse().unwrap());
    let mut nodes = Nodes::three(&["--snapshot-bytes", "100000"]).await;
    let load = Load::start(&nodes, WRITERS);
    for kill in 0..kills {
        load.progress(500).await;
        // Every other time the leader; else each in turn, whatever it is.
        let victim = if kill % 2 == 0 { nodes.leader().await } else { (kill / 2) % 3 + 1 };
        nodes.kill(victim).await;
        load.progress(200).await;
        nodes.start(victim).await;
    }
    load.progress(500).await;
    let totals = load.check(&nodes).await;
    println!("{kills} kills: {totals:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_all_nodes_at_once_loses_nothing_and_repeats_nothing() {
    let mut nodes = Nodes::three(&[]).await;
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
async fn a_leader_that_hangs_is_replaced_and_does_no_harm_when_it_goes_on() {
    let nodes = Nodes::three(&[]).await;
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
