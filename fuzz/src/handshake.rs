//! Both sides of a handshake, with anybody at the other end.

use bytes::BytesMut;
use quorate_core::{Digest, Incarnation, NodeId};
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::net::frame::{self, Kind};
use crate::net::frame_reader::FrameReader;
use crate::net::handshake::{
    Expected, Greeted, HandshakeError, Hello, Refusal, Role, answer, greet,
};
use crate::net::transport::Connection;
use crate::net::{Pieces, Written, ready};

const PEERS: &[NodeId] = &[NodeId(2), NodeId(3)];

fn expected() -> Expected<'static> {
    Expected { cluster: "c", identity: Digest([1; 16]), protocol: "raft", peers: PEERS }
}

fn own() -> Hello {
    hello(1, Digest([1; 16]))
}

fn hello(node: u64, identity: Digest) -> Hello {
    let (node, incarnation) = (NodeId(node), Incarnation(9));
    Hello::new("c", identity, Role::Peer { node, incarnation, protocol: "raft".to_owned() })
}

fn framed<T: Serialize>(kind: Kind, body: &T) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    frame::encode(kind, body, &mut bytes);
    bytes.to_vec()
}

/// A body as it is.
struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeTuple;
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        for byte in self.0 {
            tuple.serialize_element(byte)?;
        }
        tuple.end()
    }
}

thread_local! {
    static RUNTIME: Runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
}

fn connection(heard: Vec<u8>, piece: usize) -> (Connection, Written) {
    let written = Written::default();
    let reader = Box::new(Pieces::new(heard, piece));
    let writer = Box::new(written.clone());
    (Connection { reader, writer, remote: String::new() }, written)
}

/// What the other end says: arbitrary bytes, arbitrary bytes in a sound frame, or a Hello that is
/// about right.
fn speech(how: u8, data: &[u8]) -> Vec<u8> {
    let kind = [Kind::Hello, Kind::Refusal, Kind::Message, Kind::Ping][usize::from(how >> 4) % 4];
    match how % 4 {
        0 => data.to_vec(),
        1 => framed(kind, &Raw(data)),
        2 => {
            let [node, identity, rest @ ..] = data else { return Vec::new() };
            let said = hello(u64::from(*node), Digest([*identity; 16]));
            [framed(Kind::Hello, &said), rest.to_vec()].concat()
        }
        _ => {
            let name = String::from_utf8_lossy(data).into_owned();
            let (node, incarnation) = (NodeId(2), Incarnation(9));
            let role = match how >> 6 {
                0 => Role::Client,
                1 => Role::Peer { node, incarnation, protocol: "raft".to_owned() },
                _ => Role::Peer { node, incarnation, protocol: name.clone() },
            };
            let cluster = if how >> 6 == 3 { name } else { "c".to_owned() };
            framed(Kind::Hello, &Hello::new(&cluster, Digest::ZERO, role))
        }
    }
}

/// The one frame that was said.
fn said(written: &Written) -> Option<frame::Frame> {
    let bytes = written.0.lock().expect("one thread").clone();
    let mut reader = FrameReader::new(&bytes[..], 1 << 20);
    let frame = ready(reader.next()).expect("what is said is well-formed");
    assert!(ready(reader.next()).expect("what is said is well-formed").is_none());
    frame
}

/// Whoever is spoken to has said who it is, and is acceptable.
fn check(outcome: Result<Greeted, HandshakeError>) -> Option<Result<(), Refusal>> {
    match outcome {
        Ok(greeted) => {
            assert_eq!(greeted.hello.judge(&expected()), Ok(()));
            Some(Ok(()))
        }
        Err(HandshakeError::Refused(refusal)) => Some(Err(refusal)),
        Err(HandshakeError::Timeout) => panic!("nobody was slow"),
        Err(_) => None,
    }
}

pub fn run(data: &[u8]) {
    let [piece, how, rest @ ..] = data else { return };
    let heard = speech(*how, rest);
    let piece = usize::from(*piece);
    RUNTIME.with(|runtime| {
        let (called, written) = connection(heard.clone(), piece);
        let judge = |hello: &Hello| hello.judge(&expected());
        let outcome = check(runtime.block_on(answer(called, own, judge)));
        let reply = said(&written);
        match outcome {
            Some(Ok(())) => {
                let reply = reply.expect("whoever is accepted is told so");
                assert_eq!(reply.kind, Kind::Hello);
                assert_eq!(reply.decode::<Hello>().expect("it is one"), own());
            }
            Some(Err(refusal)) => {
                let reply = reply.expect("whoever is refused is told so");
                assert_eq!(reply.kind, Kind::Refusal);
                assert_eq!(reply.decode::<Refusal>().expect("it is one"), refusal);
            }
            None => assert_eq!(reply, None),
        }
        let (dialled, written) = connection(heard, piece);
        let own = own();
        check(runtime.block_on(greet(dialled, &own, judge)));
        let hello = said(&written).expect("whoever dials speaks first");
        assert_eq!(hello.decode::<Hello>().expect("it is one"), own);
    });
}

pub fn seeds() -> Vec<Vec<u8>> {
    let hello = framed(Kind::Hello, &hello(2, Digest([1; 16])));
    let refusal = framed(Kind::Refusal, &Refusal::Full);
    let body = &hello[frame::HEADER_BYTES..];
    vec![
        [&[9, 0], &hello[..]].concat(),
        [&[1, 0], &refusal[..]].concat(),
        [&[200, 1], body].concat(),
        vec![3, 2, 2, 1],
        vec![3, 2, 4, 0],
        [&[3, 0xc3][..], b"another cluster"].concat(),
        vec![3, 3],
    ]
}
