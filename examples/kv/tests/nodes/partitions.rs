//! Networks that are cut, wholly or in one direction, and come together again.

use super::histories::Recording;
use super::namespaces::Network;
use super::processes::Nodes;

/// How the leader is cut off: given the network, the leader and the others.
type Cut = fn(&Network, usize, [usize; 2]);

/// Cuts the leader off, which must not keep the others from going on; and heals the network.
fn cut_off(name: &'static str, cut: Cut) {
    let Some(network) = Network::new(3) else { return };
    network.run(|| async {
        let mut nodes = Nodes::new(3, &[]);
        network.settle(&mut nodes);
        nodes.start_all().await;
        nodes.leader().await;
        let recording = Recording::start(&nodes);
        recording.progress(100).await;
        for round in 0..2 {
            let leader = nodes.leader().await;
            cut(&network, leader, [leader % 3 + 1, (leader + 1) % 3 + 1]);
            recording.progress(150).await;
            println!("{name}, round {round}: {:?}", nodes.leader_but(&[leader]).await);
            network.heal();
            recording.progress(150).await;
            nodes.converge().await;
        }
        recording.check().await;
    });
}

#[test]
fn a_leader_that_reaches_nobody_and_hears_nobody_is_replaced() {
    cut_off("cut off", |network, leader, others| {
        for other in others {
            network.cut(leader, other);
            network.cut(other, leader);
        }
    });
}

#[test]
fn a_leader_that_nobody_hears_is_replaced() {
    cut_off("not heard", |network, leader, others| {
        others.into_iter().for_each(|other| network.cut(leader, other));
    });
}

#[test]
fn a_leader_that_hears_nobody_is_replaced() {
    cut_off("deaf", |network, leader, others| {
        others.into_iter().for_each(|other| network.cut(other, leader));
    });
}

#[test]
fn a_leader_whose_cable_is_pulled_is_replaced() {
    cut_off("unplugged", |network, leader, _| network.unplug(leader));
}

#[test]
fn two_nodes_that_lost_each_other_go_on_through_the_third() {
    let Some(network) = Network::new(3) else { return };
    network.run(|| async {
        let mut nodes = Nodes::new(3, &[]);
        network.settle(&mut nodes);
        nodes.start_all().await;
        let recording = Recording::start(&nodes);
        recording.progress(100).await;
        for between in [(1, 2), (2, 3), (3, 1)] {
            network.cut(between.0, between.1);
            recording.progress(150).await;
            network.cut(between.1, between.0);
            recording.progress(150).await;
            network.heal();
        }
        recording.progress(100).await;
        nodes.converge().await;
        recording.check().await;
    });
}
