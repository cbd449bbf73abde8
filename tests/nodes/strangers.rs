//! What comes to the port from elsewhere does no harm.

use std::time::Duration;

use crate::common::{Cluster, PATIENCE, Tally, add, eventually, total};
use quorate::{Client, Node, Raft, Read, ReadError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends bytes, and waits until the node hangs up.
async fn send(address: &str, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The node may hang up before it has read all of it.
    let _ = stream.write_all(bytes).await;
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the node did not hang up");
    assert!(rest.len() < 1024);
}

/// A frame's header with true checksums: a Hello of that length.
fn header(length: u32) -> Vec<u8> {
    let mut head = b"QRM1\x01\x01\0\0\0\0\0\0\0\0\0\0".to_vec();
    head.extend(length.to_le_bytes());
    head.extend([0; 4]);
    let checksum = crc32fast::hash(&head);
    head.extend(checksum.to_le_bytes());
    head
}

#[tokio::test]
async fn garbage_of_every_kind_is_turned_away_and_the_cluster_serves_on() {
    let cluster = Cluster::start(3).await;
    add(&cluster.nodes[&1], 1).await;
    let address = &cluster.addresses[&1];
    let mut random = vec![0; 1 << 20];
    let mut state = 1u64;
    for byte in &mut random {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        *byte = (state >> 56) as u8;
    }
    for bytes in [
        &random[..],
        b"GET / HTTP/1.1\r\nHost: quorate\r\n\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"QRM2",
        &header(u32::MAX),
        &header(5000),
        &[header(4), b"nope".to_vec()].concat(),
    ] {
        send(address, bytes).await;
    }
    add(&cluster.nodes[&1], 1).await;
    assert_eq!(total(&cluster.nodes[&2]).await, 2);
}

#[tokio::test]
async fn whoever_says_nothing_is_hung_up_on() {
    let cluster = Cluster::start(1).await;
    let address = &cluster.addresses[&1];
    let head = header(100);
    tokio::join!(send(address, b""), send(address, b"QRM1"), send(address, &head));
}

#[tokio::test]
async fn a_port_scanner_does_not_shut_the_others_out() {
    let cluster = Cluster::start(3).await;
    add(&cluster.nodes[&1], 1).await;
    let mut held = Vec::new();
    for _ in 0..300 {
        held.push(TcpStream::connect(&cluster.addresses[&1]).await.unwrap());
    }
    drop(TcpStream::connect(&cluster.addresses[&1]).await.unwrap());
    add(&cluster.nodes[&1], 1).await;
    // Places are free again once the silent ones are hung up on.
    let address = cluster.addresses[&1].clone();
    let client = Client::<Tally>::connect([address], "quorate").unwrap();
    let read = client.with_patience(PATIENCE).read(Read::Local, &crate::common::Query::Total).await;
    assert!(read.is_ok(), "{read:?}");
}

#[tokio::test]
async fn a_node_that_restarts_gets_in_however_many_say_nothing() {
    let mut cluster = Cluster::start(3).await;
    let (crowded, away) = (cluster.leader().await, cluster.follower().await);
    cluster.down(away).await;
    let address = cluster.addresses[&crowded].clone();
    let (say_it_is_there, is_there) = tokio::sync::oneshot::channel();
    // Whoever of the crowd is hung up on dials again at once: no place stays free.
    let crowd = tokio::spawn(async move {
        let (mut held, mut say_it_is_there) = (Vec::new(), Some(say_it_is_there));
        loop {
            held.retain(|one: &TcpStream| one.try_read(&mut [0]).is_err());
            while held.len() < 400 {
                held.push(TcpStream::connect(&address).await.unwrap());
            }
            say_it_is_there.take().map(|there| there.send(()));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    is_there.await.unwrap();
    cluster.up(away).await;
    eventually("a connection", || async {
        let status = cluster.nodes[&away].status();
        let to_crowded = status.peers.into_iter().find(|peer| peer.node.0 == crowded)?;
        to_crowded.connected.then_some(())
    })
    .await;
    add(&cluster.nodes[&away], 1).await;
    crowd.abort();
}

#[tokio::test]
async fn a_node_of_another_cluster_is_refused() {
    let cluster = Cluster::start(1).await;
    add(&cluster.nodes[&1], 1).await;
    let stranger = Node::<Raft, Tally>::builder()
        .id(2)
        .members([(1, cluster.addresses[&1].clone()), (2, "127.0.0.1:0".to_owned())])
        .data_dir(cluster.dir.path().join("stranger"))
        .cluster("another")
        .start()
        .await
        .unwrap();
    // It dials again and again, and each time is told why not.
    let before = cluster.nodes[&1].status().refused_connections;
    eventually("refusals", || async {
        let refused = cluster.nodes[&1].status().refused_connections - before;
        (refused >= 3).then_some(())
    })
    .await;
    assert!(!stranger.status().formed);
    assert!(!stranger.status().peers[0].connected);
    assert_eq!(total(&cluster.nodes[&1]).await, 1);
    assert_eq!(cluster.nodes[&1].status().membership.len(), 1);
}

#[tokio::test]
async fn a_client_of_another_cluster_is_refused() {
    let cluster = Cluster::start(1).await;
    let address = cluster.addresses[&1].clone();
    let client = Client::<Tally>::connect([address], "another").unwrap();
    let client = client.with_patience(Duration::from_millis(500));
    let refused = client.read(Read::Local, &crate::common::Query::Total).await;
    assert_eq!(refused, Err(ReadError::Unreachable));
}
