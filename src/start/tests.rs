//! Nodes on disks in memory, which fail when they are told to.

mod at_rest;
mod configured;
mod failing;
mod snapshots;

use std::time::{Duration, Instant};

use bytes::BytesMut;
use quorate_core::{At, Ballot, Envelope, Fatal, Index, LogId, PeerMessage};
use quorate_raft::Raft;
use quorate_storage::{Disk, MemDisk, Operation, StorageError};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use failing::{FATAL, Failing};

use super::*;
use crate::client::Client;
use crate::error::{NotProposed, ReadError, RequestError};
use crate::net::frame::{self, Kind};
use crate::net::handshake::{Hello, Role};
use crate::recording::{Ending, Recording};
use crate::requests::Read;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Sum(i64);

impl StateMachine for Sum {
    type Command = i64;
    type Response = i64;
    type Query = ();
    type Answer = i64;

    fn apply(&mut self, _: &At, add: i64) -> i64 {
        self.0 += add;
        self.0
    }

    fn query(&self, _: &At, (): ()) -> i64 {
        self.0
    }
}

type Member = Node<Raft, Sum>;

const PATIENCE: Duration = Duration::from_secs(60);

fn config(id: u64, addresses: &[String]) -> Config {
    let builder = Member::builder().id(id).members((1..).zip(addresses)).data_dir("in memory");
    let settings = Settings { request_timeout: PATIENCE, ..Settings::default() };
    let builder = builder.settings(settings).segment_bytes(256 << 10).bootstrap(true);
    builder.check().unwrap().0
}

async fn start_on_disk<D: Disk + Clone>(id: u64, addresses: &[String], disk: &D) -> Member {
    let disk = disk.clone();
    super::start_on(config(id, addresses), Sum::default(), move |_| Ok(disk)).await.unwrap()
}

async fn alone<D: Disk + Clone>(disk: &D) -> Member {
    start_on_disk(1, &["127.0.0.1:0".to_owned()], disk).await
}

/// Addresses at which nobody listens. While the sockets are held, the system gives the ports to nobody
/// else, but a node, which asks for this very one and lets it be used again, gets it.
fn hold_addresses<const COUNT: usize>() -> ([String; COUNT], [TcpSocket; COUNT]) {
    let held = [(); COUNT].map(|()| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket
    });
    (held.each_ref().map(|socket| socket.local_addr().unwrap().to_string()), held)
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "it did not come about that {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_disk_that_fails_once_stops_the_node_and_what_it_was_asked_is_of_unknown_outcome() {
    for operation in [Operation::Write, Operation::Sync] {
        let disk = Failing::default();
        let node = alone(&disk).await;
        assert_eq!(node.propose(1).await, Ok(1));
        disk.fail_at_fatal(operation);
        let (waiting, behind) = (node.propose(FATAL), node.propose(100));
        assert_eq!(waiting.await, Err(RequestError::Unknown), "{operation:?}");
        let refused = Err(RequestError::NotProposed(NotProposed::ShuttingDown));
        // The node may have stopped before this one was put into line.
        let behind = behind.await;
        assert!(behind == Err(RequestError::Unknown) || behind == refused, "{behind:?}");
        let reason = node.stopped().await;
        let failed = matches!(reason, StopReason::Storage(StorageError::WriteFailed { .. }));
        assert!(failed, "{operation:?}: {reason}");

        assert_eq!(node.propose(1000).await, refused);
        assert_eq!(node.read(Read::Local, ()).await, Err(ReadError::ShuttingDown));
        let changes = disk.memory.changes();
        node.shutdown().await.unwrap();
        assert_eq!(disk.memory.changes(), changes, "something was written after the failure");

        let again = alone(&disk.memory.crash_losing_all()).await;
        let total = again.read(Read::Linearizable, ()).await;
        assert_eq!(total, Ok(1), "{operation:?}");
        again.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_client_of_a_node_whose_disk_fails_is_told_that_the_outcome_is_unknown() {
    let disk = Failing::default();
    let node = alone(&disk).await;
    let client = Client::<Sum>::connect([node.local_address()], "quorate").unwrap();
    assert_eq!(client.with_patience(PATIENCE).propose(&1).await, Ok(1));
    disk.fail_at_fatal(Operation::Sync);
    let client = client.with_patience(Duration::from_secs(2));
    assert_eq!(client.propose(&FATAL).await, Err(RequestError::Unknown));
    assert!(matches!(node.stopped().await, StopReason::Storage(_)));
}

#[tokio::test]
async fn what_a_peer_gets_wrong_stands_in_the_status() {
    let (disks, (addresses, _held)) = ([(); 3].map(|()| MemDisk::new()), hold_addresses::<3>());
    let mut nodes = Vec::new();
    for (id, disk) in (1..).zip(&disks) {
        nodes.push(start_on_disk(id, &addresses, disk).await);
    }
    assert_eq!(nodes[0].propose(1).await, Ok(1));
    nodes[2].shutdown().await.unwrap();
    let (node, incarnation) = (NodeId(3), nodes[2].status().incarnation);
    let identity = nodes[0].status().identity.unwrap();
    let role = Role::Peer { node, incarnation, protocol: Raft::NAME.to_owned() };
    let term = Ballot::MAX;
    let message = PeerMessage::Protocol(quorate_raft::Message::PreVote {
        term,
        last: LogId::new(Index(1), term),
    });
    // Another start on its disk.
    let copy = disks[2].crash_keeping_all();
    let config = config(3, &addresses);
    let opened = storage_thread::open::<Raft, _>(&config, copy, incarnation, 1);
    let found = opened.unwrap().1;
    let (start, previous_nonce) = (found.lineage.latest(), found.lineage.previous_nonce());
    let to = NodeId(1);
    let known = None;
    let has_room = true;
    let envelope =
        Envelope { from: node, to, incarnation, start, previous_nonce, known, has_room, message };
    let mut bytes = BytesMut::new();
    frame::encode(Kind::Hello, &Hello::new("quorate", identity, role), &mut bytes);
    frame::encode(Kind::Message, &envelope, &mut bytes);
    let mut stream = TcpStream::connect(&addresses[0]).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    until("the fault is counted", || nodes[0].status().peer_faults.count == 1).await;
    let last = nodes[0].status().peer_faults.last;
    assert_eq!(last, Some((node, "an absurd term".to_owned())));
    assert_eq!(nodes[1].propose(1).await, Ok(2));
}

#[tokio::test]
async fn a_leader_whose_disk_fails_is_replaced_and_nothing_acknowledged_is_lost() {
    const SUM: i64 = 1 + FATAL;
    let (disks, (addresses, _held)) = ([(); 3].map(|()| Failing::default()), hold_addresses::<3>());
    let mut nodes = Vec::new();
    for (id, disk) in (1..).zip(&disks) {
        nodes.push(start_on_disk(id, &addresses, disk).await);
    }
    assert_eq!(nodes[0].propose(1).await, Ok(1));
    let mut leader = None;
    until("a node leads", || {
        leader = nodes.iter().position(|node| node.status().serving);
        leader.is_some()
    })
    .await;
    let leader = leader.unwrap();
    disks[leader].fail_at_fatal(Operation::Sync);
    // The other two may have it on their disks before this one finds out about its own.
    let told = nodes[leader].propose(FATAL).await;
    assert!(matches!(told, Ok(SUM) | Err(RequestError::Unknown)), "{told:?}");
    let reason = nodes[leader].stopped().await;
    assert!(matches!(reason, StopReason::Storage(_)), "{reason}");
    let others = nodes.iter().enumerate().filter(|(position, _)| *position != leader);
    for (_, other) in others {
        let total = other.propose(0).await.unwrap();
        assert!(total == SUM || (told.is_err() && total == 1), "{told:?}, then {total}");
    }
}

#[tokio::test]
async fn a_session_of_an_emptied_cluster_is_not_taken_for_one_of_the_next() {
    let (addresses, _held) = hold_addresses::<1>();
    let client = || Client::<Sum>::connect([addresses[0].clone()], "quorate").unwrap();
    let first = start_on_disk(1, &addresses, &MemDisk::new()).await;
    let old = client();
    assert_eq!(old.propose(&0).await, Ok(0));
    first.shutdown().await.unwrap();
    drop(first);
    // The cluster is wiped and founded anew, at the same address, by the same name: its first
    // session has the same number.
    let second = start_on_disk(1, &addresses, &MemDisk::new()).await;
    let new = client();
    assert_eq!(new.propose(&0).await, Ok(0));
    assert_eq!(old.propose(&1).await, Ok(1));
    assert_eq!(new.propose(&10).await, Ok(11));
    assert_eq!(second.read(Read::Linearizable, ()).await, Ok(11));
    second.shutdown().await.unwrap();
}

#[tokio::test]
async fn starts_of_one_count_on_a_disk_and_on_an_old_image_of_it_are_told_apart() {
    let image = MemDisk::new();
    alone(&image).await.shutdown().await.unwrap();
    let mut starts = Vec::new();
    for _ in 0..2 {
        let disk = image.crash_keeping_all();
        alone(&disk).await.shutdown().await.unwrap();
        let config = config(1, &["127.0.0.1:0".to_owned()]);
        let disk = disk.crash_keeping_all();
        let opened = storage_thread::open::<Raft, _>(&config, disk, Incarnation(9), 9);
        let lineage = opened.unwrap().1.lineage;
        starts.push((lineage.latest().count, lineage.previous_nonce()));
    }
    let [(count, nonce), (other_count, other_nonce)] = starts[..] else { unreachable!("two") };
    assert_eq!(count, other_count);
    assert_ne!(nonce, other_nonce);
}

/// What was to be written is there when the start has failed: the process may end then.
#[tokio::test]
async fn a_start_that_fails_is_recorded_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("recording");
    for _ in 0..2 {
        let config = Config {
            bootstrap: false,
            record_to: Some(path.clone()),
            ..config(1, &["127.0.0.1:0".to_owned()])
        };
        let started = super::start_on::<Raft, _, _>(config, Sum(0), |_| Ok(MemDisk::new())).await;
        let error = started.unwrap_err();
        assert!(matches!(error, StartError::Fatal(Fatal::NotBootstrapped)), "{error}");
        let (replayed, ending) = Recording::open(&path).unwrap().replay::<Raft>().unwrap();
        assert_eq!((replayed.events, ending), (0, Ending::NotStarted(Fatal::NotBootstrapped)));
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}
