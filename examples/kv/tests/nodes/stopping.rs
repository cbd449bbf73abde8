//! Nodes that are asked to stop.

use std::time::Duration;

/// What a node that is asked to end is promised to take at most. A machine that stands still for a moment
/// adds to it, but not each time: one of a few ends has to keep to it.
const PROMISED: Duration = Duration::from_secs(5);
const ENDS: usize = 3;

use super::load::Load;
use super::processes::Nodes;

#[tokio::test(flavor = "multi_thread")]
async fn nodes_stop_one_after_the_other_under_load_and_a_leader_hands_over_first() {
    let mut nodes = Nodes::three(&[]).await;
    let load = Load::start(&nodes, 8);
    let mut fastest = Duration::MAX;
    for _ in 0..ENDS {
        load.progress(500).await;
        let leader = nodes.leader().await;
        let (status, took) = nodes.terminate(leader).await;
        assert!(status.success(), "{status}");
        fastest = fastest.min(took);
        let log = nodes.logged(leader);
        let (_, stopping) = log.rsplit_once("asked to stop").unwrap();
        assert!(stopping.contains("role=Follower"), "still led when it ended: {stopping}");
        load.progress(500).await;
        nodes.start(leader).await;
    }
    assert!(fastest <= PROMISED, "{fastest:?}");
    println!("{:?}", load.check(&nodes).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_majority_stops_too() {
    let mut nodes = Nodes::three(&[]).await;
    let leader = nodes.leader().await;
    for id in (1..=3).filter(|id| *id != leader) {
        nodes.kill(id).await;
    }
    let mut fastest = Duration::MAX;
    for _ in 0..ENDS {
        let mut client = nodes.client(leader).await;
        client.send(b"SET waits forever\r\n").await.unwrap();
        let (status, took) = nodes.terminate(leader).await;
        assert!(status.success(), "{status}");
        fastest = fastest.min(took);
        nodes.start(leader).await;
    }
    assert!(fastest <= PROMISED, "{fastest:?}");
}
