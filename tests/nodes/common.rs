//! Clusters in one process, on free ports of the loopback and in a temporary directory.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use quorate::{At, Node, NodeId, Protocol, Raft, Read, Settings, StartError, StateMachine};
use serde::{Deserialize, Serialize, Serializer};
use tempfile::TempDir;
use tokio::net::TcpSocket;

use crate::gate;

pub type Member<P = Raft> = Node<P, Tally>;

/// Far longer than anything takes on a loaded machine: whatever is not there by then, never is.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Counts, and remembers how often it was given each note.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub total: i64,
    pub notes: BTreeMap<u64, u64>,
    pub ballast: Vec<Vec<u8>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Command {
    Add(i64),
    Note(u64),
    Keep(Vec<u8>),
    Sleep(Duration),
    /// To apply it waits at the gate of that number.
    Hold(u64),
    Panic,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Query {
    Total,
    All,
    /// For an answer that waits at the gate of that number when it is encoded.
    Hold(u64),
    Panic,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Total(i64),
    All(Tally),
    Held(#[serde(serialize_with = "encode_held")] u64),
}

fn encode_held<S: Serializer>(gate: &u64, to: S) -> Result<S::Ok, S::Error> {
    gate::pass(*gate);
    gate.serialize(to)
}

impl StateMachine for Tally {
    type Command = Command;
    type Response = i64;
    type Query = Query;
    type Answer = Answer;

    fn apply(&mut self, _: &At, command: Command) -> i64 {
        match command {
            Command::Add(n) => self.total += n,
            Command::Note(note) => *self.notes.entry(note).or_default() += 1,
            Command::Keep(bytes) => self.ballast.push(bytes),
            Command::Sleep(time) => std::thread::sleep(time),
            Command::Hold(gate) => gate::pass(gate),
            Command::Panic => panic!("the test said so"),
        }
        self.total
    }

    fn query(&self, _: &At, query: Query) -> Answer {
        match query {
            Query::Total => Answer::Total(self.total),
            Query::All => Answer::All(self.clone()),
            Query::Hold(gate) => Answer::Held(gate),
            Query::Panic => panic!("the test said so"),
        }
    }
}

/// A cluster whose nodes come and go. What does not depend on the protocol is tried under Raft.
pub struct Cluster<P: Protocol = Raft> {
    pub dir: TempDir,
    pub addresses: BTreeMap<u64, String>,
    pub nodes: BTreeMap<u64, Member<P>>,
    pub settings: Settings,
    _held: HeldPorts,
}

impl Cluster {
    /// Starts that many nodes, which call no request's outcome unknown because it takes long.
    pub async fn start(size: u64) -> Cluster {
        let settings = Settings { request_timeout: PATIENCE, ..Settings::default() };
        Cluster::start_with(size, settings).await
    }

    pub async fn start_with(size: u64, settings: Settings) -> Cluster {
        Cluster::of(size, settings).await
    }
}

impl<P: Protocol> Cluster<P> {
    pub async fn of(size: u64, settings: Settings) -> Cluster<P> {
        let mut cluster = Cluster::described(size, settings);
        for id in 1..=size {
            cluster.up(id).await;
        }
        cluster
    }

    /// A cluster of which no node runs yet.
    pub fn described(size: u64, settings: Settings) -> Cluster<P> {
        let held = HeldPorts::new(size);
        let addresses = (1..).zip(&held.ports).map(|(id, port)| (id, format!("127.0.0.1:{port}")));
        let addresses = addresses.collect();
        let dir = tempfile::tempdir().unwrap();
        Cluster { dir, addresses, nodes: BTreeMap::new(), settings, _held: held }
    }

    pub fn data_dir(&self, id: u64) -> PathBuf {
        self.dir.path().join(id.to_string())
    }

    pub fn builder(&self, id: u64) -> quorate::Builder<P, Tally> {
        Node::builder()
            .id(id)
            .members(self.addresses.clone())
            .data_dir(self.data_dir(id))
            .settings(self.settings.clone())
            .segment_bytes(1 << 20)
            .bootstrap(self.addresses.len() == 1)
    }

    /// Starts a node. One that was dropped a moment ago may still hold its directory.
    pub async fn up(&mut self, id: u64) {
        let deadline = Instant::now() + PATIENCE;
        let node = loop {
            match self.builder(id).start().await {
                Ok(node) => break node,
                Err(StartError::Storage(_) | StartError::Bind { .. })
                    if Instant::now() < deadline =>
                {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => panic!("node {id}: {error}"),
            }
        };
        self.nodes.insert(id, node);
    }

    /// Stops a node in good order.
    pub async fn down(&mut self, id: u64) {
        self.nodes.remove(&id).unwrap().shutdown().await.unwrap();
    }

    pub async fn all_down(&mut self) {
        for (_, node) in std::mem::take(&mut self.nodes) {
            node.shutdown().await.unwrap();
        }
    }

    /// The node that serves, once there is one that the others know.
    pub async fn leader(&self) -> u64 {
        eventually("a leader", || async {
            let leaders: BTreeSet<Option<NodeId>> =
                self.nodes.values().map(|node| node.status().leader).collect();
            let leader = leaders.first().copied().flatten()?;
            let node = self.nodes.get(&leader.0)?;
            (leaders.len() == 1 && node.status().serving).then_some(leader.0)
        })
        .await
    }

    /// A node that does not lead.
    pub async fn follower(&self) -> u64 {
        let leader = self.leader().await;
        *self.nodes.keys().find(|id| **id != leader).unwrap()
    }
}

/// Adds, however long there may be no leader.
pub async fn add<P: Protocol>(node: &Member<P>, n: i64) -> i64 {
    eventually("an addition", || async { node.propose(Command::Add(n)).await.ok() }).await
}

pub async fn total<P: Protocol>(node: &Member<P>) -> i64 {
    let read = || async { node.read(Read::Linearizable, Query::Total).await.ok() };
    match eventually("a read", read).await {
        Answer::Total(total) => total,
        Answer::All(_) | Answer::Held(_) => unreachable!(),
    }
}

pub async fn local<P: Protocol>(node: &Member<P>) -> Tally {
    match node.read(Read::Local, Query::All).await.unwrap() {
        Answer::All(tally) => tally,
        Answer::Total(_) | Answer::Held(_) => unreachable!(),
    }
}

/// Polls until there is an answer.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut attempt: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = attempt().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what} did not come about in {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Ports at which nobody listens. While the sockets are held, the system gives them to nobody who asks
/// for any, nor to a connection that goes out; a node, which asks for this very one and lets it be
/// used again, gets it.
pub struct HeldPorts {
    pub ports: Vec<u16>,
    _held: Vec<TcpSocket>,
}

impl HeldPorts {
    pub fn new(count: u64) -> HeldPorts {
        let held: Vec<TcpSocket> = (0..count).map(|_| hold_a_port()).collect();
        let ports = held.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
        HeldPorts { ports, _held: held }
    }
}

fn hold_a_port() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket
}
