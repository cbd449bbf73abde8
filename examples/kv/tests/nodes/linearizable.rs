//! Nodes that die or hang, and clients that compare notes.

use super::histories::Recording;
use super::processes::Nodes;

const SMALL_FILES: [&str; 4] = ["--segment-bytes", "65536", "--snapshot-bytes", "100000"];

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_are_told_while_nodes_are_killed_is_linearizable() {
    let mut nodes = Nodes::three(&SMALL_FILES).await;
    let recording = Recording::start(&nodes);
    for round in 0..4 {
        recording.progress(150).await;
        let leader = nodes.leader().await;
        let victim = if round % 2 == 0 { leader } else { leader % 3 + 1 };
        nodes.kill(victim).await;
        recording.progress(150).await;
        nodes.start(victim).await;
    }
    nodes.kill_all().await;
    nodes.start_all().await;
    recording.progress(150).await;
    nodes.converge().await;
    recording.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_are_told_while_a_leader_hangs_and_goes_on_is_linearizable() {
    let nodes = Nodes::three(&[]).await;
    let recording = Recording::start(&nodes);
    recording.progress(150).await;
    for _ in 0..3 {
        let leader = nodes.leader().await;
        nodes.pause(leader);
        // Longer than the election timeout: another one leads.
        let successor = nodes.leader_but(&[leader]).await;
        assert_ne!(successor, leader);
        recording.progress(150).await;
        nodes.resume(leader);
        recording.progress(150).await;
    }
    nodes.converge().await;
    recording.check().await;
}
