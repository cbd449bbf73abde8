//! What the tests of this module share: connections in memory, and a state machine that echoes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quorate_core::{
    At, Digest, Envelope, Incarnation, NodeId, Outcome, PeerMessage, Settings, Start, StateMachine,
};
use quorate_handoff::{Consumer, queue};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};

use super::client_wire::{Answer, Ask, Reply, What};
use super::frame::{self, Kind};
use super::frame_reader::FrameReader;
use super::handshake::{Greeted, Hello, Role};
use super::transport::Connection;
use crate::apply_thread::Job;
use crate::net::{Local, TcpTransport};
use crate::requests::{Request, Requests};
use crate::status::Board;

/// Node 1 of three.
pub(crate) fn local(board: Board) -> Local {
    Local {
        me: NodeId(1),
        incarnation: Incarnation(1),
        cluster: "c".to_owned(),
        protocol: "raft",
        peers: vec![NodeId(2), NodeId(3)],
        board,
        transport: Arc::new(TcpTransport),
    }
}

/// Answers what it is given.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Echo;

impl StateMachine for Echo {
    type Command = Vec<u8>;
    type Response = Vec<u8>;
    type Query = Vec<u8>;
    type Answer = Vec<u8>;

    fn apply(&mut self, _: &At, command: Vec<u8>) -> Vec<u8> {
        command
    }

    fn query(&self, _: &At, query: Vec<u8>) -> Vec<u8> {
        query
    }
}

/// Every task goes on as far as it can. In a test in which time is paused: it moves only when nobody has
/// anything to do.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// One end of a connection in memory, for a test to speak at.
pub(crate) struct End {
    pub(crate) reader: FrameReader<ReadHalf<DuplexStream>>,
    pub(crate) writer: WriteHalf<DuplexStream>,
}

/// A connection, and its other end.
pub(crate) fn pair(remote: &str) -> (Connection, End) {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let (reader, writer) = tokio::io::split(ours);
    let remote = remote.to_owned();
    let connection = Connection { reader: Box::new(reader), writer: Box::new(writer), remote };
    let (reader, writer) = tokio::io::split(theirs);
    (connection, End { reader: FrameReader::new(reader, 1 << 30), writer })
}

/// The end at a node, once both sides know who the other is.
pub(crate) fn greeted(connection: Connection, hello: Hello) -> Greeted {
    let Connection { reader, writer, .. } = connection;
    Greeted { hello, reader: FrameReader::new(reader, 1 << 12), writer }
}

pub(crate) fn hello_of_peer(node: u64) -> Hello {
    let (node, incarnation) = (NodeId(node), Incarnation(9));
    Hello::new("c", Digest::ZERO, Role::Peer { node, incarnation, protocol: "raft".to_owned() })
}

/// What node `from` says to node 1.
pub(crate) fn envelope<M>(from: u64, message: M) -> Envelope<M> {
    let (from, to, incarnation) = (NodeId(from), NodeId(1), Incarnation(9));
    let start = Start { count: 1, nonce: 0 };
    let message = PeerMessage::Protocol(message);
    let (previous_nonce, known, has_room) = (0, None, true);
    Envelope { from, to, incarnation, start, previous_nonce, known, has_room, message }
}

pub(crate) fn hello_of_client() -> Hello {
    Hello::new("c", Digest::ZERO, Role::Client)
}

impl End {
    pub(crate) async fn send<T: Serialize + ?Sized>(&mut self, kind: Kind, body: &T) {
        let mut bytes = BytesMut::new();
        frame::encode(kind, body, &mut bytes);
        self.writer.write_all(&bytes).await.unwrap();
    }

    pub(crate) async fn receive<T: DeserializeOwned>(&mut self) -> (Kind, T) {
        let frame = self.reader.next().await.unwrap().expect("the other end has hung up");
        (frame.kind, frame.decode().unwrap())
    }

    pub(crate) async fn answer(&mut self, to: u64) -> Answer {
        let (kind, Reply { id, answer }) = self.receive().await;
        assert_eq!((kind, id), (Kind::Reply, to));
        answer
    }

    /// Waits until the other end hangs up.
    pub(crate) async fn ended(&mut self) {
        while let Ok(Some(_)) = self.reader.next().await {}
    }
}

/// A command of that many bytes.
pub(crate) fn propose(id: u64, length: usize) -> Ask {
    let command = postcard::to_allocvec(&vec![1_u8; length]).unwrap().into();
    Ask { id, what: What::Propose { session: None, command } }
}

/// What has been asked of a node whose loop and applier the test plays.
pub(crate) struct Played {
    pub(crate) requests: Requests<Echo>,
    to_loop: Consumer<Request<Echo>>,
    to_applier: Consumer<Job<Echo>>,
}

impl Played {
    pub(crate) fn new(settings: Settings) -> Played {
        let (to_loop, asked) = queue(1 << 30);
        let (to_applier, queries) = queue(1 << 30);
        let requests = Requests { to_loop, to_applier, settings: Arc::new(settings) };
        Played { requests, to_loop: asked, to_applier: queries }
    }

    /// Takes everything that has come to the loop.
    pub(crate) fn asked(&self) -> VecDeque<Request<Echo>> {
        let mut asked = VecDeque::new();
        let _ = self.to_loop.try_pop_all(&mut asked);
        asked
    }

    /// Takes everything that has come to the applier.
    pub(crate) fn asked_of_applier(&self) -> VecDeque<Job<Echo>> {
        let mut asked = VecDeque::new();
        let _ = self.to_applier.try_pop_all(&mut asked);
        asked
    }

    /// Answers everything that has come to the loop with so many bytes. How much that was.
    pub(crate) fn answer_all(&self, length: usize) -> usize {
        let asked = self.asked();
        let count = asked.len();
        for request in asked {
            match request {
                Request::Propose { answer, .. } => {
                    let _ = answer.complete(Ok(Outcome::Response(vec![2; length])));
                }
                Request::Read { answer, .. } => _ = answer.complete(Ok(vec![2; length])),
                Request::Register { .. } => panic!("no session was asked for"),
            }
        }
        count
    }
}

/// The bytes of an answer of that length.
pub(crate) fn done(length: usize) -> Answer {
    Answer::Done(Bytes::from(postcard::to_allocvec(&vec![2_u8; length]).unwrap()))
}
