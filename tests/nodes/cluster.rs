//! Three nodes: every one serves, and what was acknowledged outlives each of them.

use std::time::Duration;

use crate::common::{Answer, Cluster, Command, Query, add, eventually, local, total};
use quorate::{NotProposed, Read, ReadError, RequestError, Role, Settings};

#[tokio::test]
async fn every_node_takes_writes_and_linearizable_reads() {
    let cluster = Cluster::start(3).await;
    let mut sum = 0;
    for (n, node) in (1..).zip(cluster.nodes.values()) {
        sum += n;
        assert_eq!(add(node, n).await, sum);
        for other in cluster.nodes.values() {
            assert_eq!(total(other).await, sum);
        }
    }
}

#[tokio::test]
async fn commands_submitted_in_a_row_are_applied_in_a_row() {
    let cluster = Cluster::start(3).await;
    cluster.leader().await;
    for node in cluster.nodes.values() {
        let before = total(node).await;
        let submitted: Vec<_> = (0..2000).map(|_| node.propose(Command::Add(1))).collect();
        for (n, response) in (1..).zip(submitted) {
            assert_eq!(response.await, Ok(before + n));
        }
    }
}

#[tokio::test]
async fn a_dropped_future_does_not_take_its_command_back() {
    let cluster = Cluster::start(3).await;
    cluster.leader().await;
    let node = &cluster.nodes[&1];
    drop(node.propose(Command::Add(7)));
    assert_eq!(node.propose(Command::Add(1)).await, Ok(8));
}

#[tokio::test]
async fn a_node_that_was_away_catches_up() {
    let mut cluster = Cluster::start(3).await;
    let away = cluster.follower().await;
    cluster.down(away).await;
    let other = cluster.leader().await;
    for _ in 0..100 {
        add(&cluster.nodes[&other], 1).await;
    }
    cluster.up(away).await;
    assert_eq!(total(&cluster.nodes[&away]).await, 100);
}

#[tokio::test]
async fn a_node_that_was_away_for_long_catches_up_by_snapshot() {
    let settings =
        Settings { snapshot_bytes: 256 << 10, log_cache_bytes: 64 << 10, ..Settings::default() };
    let mut cluster = Cluster::start_with(3, settings).await;
    let away = cluster.follower().await;
    cluster.down(away).await;
    let leader = cluster.leader().await;
    let mut kept = 0;
    let first = eventually("compaction", || {
        kept += 1;
        let (node, bytes) = (&cluster.nodes[&leader], vec![7; 16 << 10]);
        async move {
            node.propose(Command::Keep(bytes)).await.unwrap();
            let first = node.status().first;
            (first.0 > 20).then_some(first)
        }
    })
    .await;
    cluster.up(away).await;
    let node = &cluster.nodes[&away];
    assert_eq!(total(node).await, 0);
    assert_eq!(local(node).await.ballast.len(), kept);
    assert!(node.status().first >= first);
    add(node, 3).await;
    assert_eq!(total(&cluster.nodes[&leader]).await, 3);
}

#[tokio::test]
async fn a_leader_that_shuts_down_hands_over() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    add(&cluster.nodes[&leader], 1).await;
    let ballot = cluster.nodes[&leader].status().ballot;
    cluster.down(leader).await;
    let next = cluster.leader().await;
    assert_ne!(next, leader);
    assert_eq!(total(&cluster.nodes[&next]).await, 1);
    assert!(cluster.nodes[&next].status().ballot > ballot);
}

#[tokio::test]
async fn a_leader_that_shuts_down_is_succeeded_before_it_has_stopped() {
    let mut cluster = Cluster::start(3).await;
    let (begun, mut succeeded) = (std::time::Instant::now(), false);
    // A machine that stands still for a moment prevents it, but not each time.
    while !succeeded {
        assert!(begun.elapsed() < crate::common::PATIENCE, "nobody was handed the lead");
        let leader = cluster.leader().await;
        add(&cluster.nodes[&leader], 1).await;
        let ballot = cluster.nodes[&leader].status().ballot;
        cluster.down(leader).await;
        succeeded = cluster.nodes.values().any(|node| node.status().ballot > ballot);
        cluster.up(leader).await;
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_all_have_stopped() {
    let mut cluster = Cluster::start(3).await;
    add(&cluster.nodes[&2], 5).await;
    let before = cluster.nodes[&1].status();
    cluster.all_down().await;
    for id in 1..=3 {
        cluster.up(id).await;
    }
    assert_eq!(total(&cluster.nodes[&3]).await, 5);
    let after = cluster.nodes[&1].status();
    assert_eq!(after.identity, before.identity);
    assert_eq!(after.incarnation, before.incarnation);
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_all_were_dropped() {
    let mut cluster = Cluster::start(3).await;
    add(&cluster.nodes[&2], 5).await;
    cluster.nodes.clear();
    for id in 1..=3 {
        cluster.up(id).await;
    }
    assert_eq!(total(&cluster.nodes[&3]).await, 5);
}

#[tokio::test]
async fn a_minority_acknowledges_nothing_and_still_reads_locally() {
    let settings = Settings { request_timeout: Duration::from_millis(500), ..Settings::default() };
    let mut cluster = Cluster::start_with(3, settings).await;
    // More than 5 if the outcome of an attempt was unknown.
    let sum = add(&cluster.nodes[&1], 5).await;
    assert_eq!(total(&cluster.nodes[&1]).await, sum);
    cluster.down(2).await;
    cluster.down(3).await;
    let node = &cluster.nodes[&1];
    let write = node.propose(Command::Add(1)).await;
    assert!(
        matches!(
            write,
            Err(RequestError::Unknown | RequestError::NotProposed(NotProposed::NoLeader))
        ),
        "{write:?}"
    );
    let read = node.read(Read::Linearizable, Query::Total).await;
    assert_eq!(read, Err(ReadError::NoLeader));
    assert_eq!(node.read(Read::Local, Query::Total).await, Ok(Answer::Total(sum)));
}

#[tokio::test]
async fn a_single_node_serves_alone() {
    let mut cluster = Cluster::start(1).await;
    add(&cluster.nodes[&1], 5).await;
    cluster.down(1).await;
    cluster.up(1).await;
    assert_eq!(total(&cluster.nodes[&1]).await, 5);
}

#[tokio::test]
async fn a_status_tells_who_leads_and_how_far_everybody_is() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    add(&cluster.nodes[&leader], 5).await;
    let status = eventually("contact with all", || async {
        let status = cluster.nodes[&leader].status();
        let all = status.peers.iter().all(|peer| {
            peer.connected && peer.contact.is_some() && peer.durable == status.committed
        });
        all.then_some(status)
    })
    .await;
    assert_eq!((status.role, status.peers.len()), (Role::Leader, 2));
    assert!(status.formed && status.serving && status.has_room);
    assert_eq!(status.membership.len(), 3);
    assert!(status.peers.iter().all(|peer| peer.lag_entries == 0 && peer.lag_time.is_none()));
    let election = status.last_election.unwrap();
    assert_eq!((election.leader.0, election.ballot), (leader, status.ballot));
}

#[tokio::test]
async fn a_node_that_is_down_refuses_and_says_so() {
    let mut cluster = Cluster::start(1).await;
    let node = cluster.nodes[&1].clone();
    add(&node, 1).await;
    cluster.down(1).await;
    let refused = Err(RequestError::NotProposed(NotProposed::ShuttingDown));
    assert_eq!(node.propose(Command::Add(1)).await, refused);
    for level in [Read::Linearizable, Read::Local] {
        assert_eq!(node.read(level, Query::Total).await, Err(ReadError::ShuttingDown));
    }
    assert!(matches!(node.stopped().await, quorate::StopReason::Shutdown));
}
