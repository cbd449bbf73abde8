//! Who speaks: the first frame in each direction of a connection.
//!
//! The side that dialled says [`Hello`]; the other side judges it and says its own, or a
//! [`Refusal`] and hangs up. The dialler judges in turn. Both write one line to their log about a
//! refusal.
//!
//! A peer is whom its Hello says, wherever it calls from.

use std::time::Duration;

use bytes::BytesMut;
use quorate_core::{Digest, Incarnation, NodeId};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;

use super::frame::{self, Frame, FrameError, Kind};
use super::frame_reader::FrameReader;
use super::transport::Connection;

/// How long a handshake may take.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);

/// The versions of what replicas and clients say to each other that this program speaks.
const OLDEST_VERSION: u16 = 1;
const NEWEST_VERSION: u16 = 1;

/// A Hello is small: nobody gets more of our memory before it is judged.
const MAX_HELLO_BYTES: usize = 4 << 10;

/// What each side says of itself. Append fields only with a new frame format version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// The versions which are spoken; the newest that both speak is used.
    pub(crate) oldest_version: u16,
    pub(crate) newest_version: u16,
    /// The name that the operator gave to the cluster.
    pub(crate) cluster: String,
    /// The digest of the cluster's founders; zero before it is formed, and from clients.
    pub(crate) identity: Digest,
    pub(crate) role: Role,
}

/// In which capacity somebody speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// A replica.
    Peer {
        node: NodeId,
        incarnation: Incarnation,
        /// The name of its consensus protocol.
        protocol: String,
    },
    /// A client.
    Client,
}

/// Why a Hello was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(
        "it speaks versions {oldest} to {newest}, this program {OLDEST_VERSION} to {NEWEST_VERSION}: upgrade one step at a time"
    )]
    Version { oldest: u16, newest: u16 },
    #[error("it belongs to the cluster {theirs:?}, this node to {ours:?}: check the addresses")]
    ClusterName { theirs: String, ours: String },
    #[error(
        "it belongs to another cluster of the same name (founded as {theirs}, this one as \
         {ours}): check the addresses"
    )]
    Identity { theirs: Digest, ours: Digest },
    #[error("it runs the protocol {theirs:?}, this node runs {ours:?}")]
    Protocol { theirs: String, ours: String },
    #[error("it calls itself node {0}, which is not among this node's peers")]
    NotAPeer(NodeId),
    #[error("it is node {found}, where node {expected} was expected: check the addresses")]
    OtherNode { expected: NodeId, found: NodeId },
    #[error("a client answered, where a node was expected")]
    NotANode,
    #[error("this node has as many connections as it takes")]
    Full,
}

/// Why a connection came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("refused: {0}")]
    Refused(Refusal),
    #[error("the other side refused: {0}")]
    RefusedByThem(Refusal),
    #[error("no handshake within {HANDSHAKE_TIMEOUT:?}")]
    Timeout,
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Whom a node must be to be spoken to.
#[derive(Clone, Debug)]
pub(crate) struct Expected<'a> {
    pub(crate) cluster: &'a str,
    pub(crate) identity: Digest,
    pub(crate) protocol: &'a str,
    /// The nodes from which a Hello is accepted.
    pub(crate) peers: &'a [NodeId],
}

impl Hello {
    pub(crate) fn new(cluster: &str, identity: Digest, role: Role) -> Hello {
        Hello {
            oldest_version: OLDEST_VERSION,
            newest_version: NEWEST_VERSION,
            cluster: cluster.to_owned(),
            identity,
            role,
        }
    }

    /// Judges what a caller said.
    pub(crate) fn judge(&self, expected: &Expected<'_>) -> Result<(), Refusal> {
        self.judge_cluster(expected.cluster, expected.identity)?;
        let Role::Peer { node, protocol, .. } = &self.role else { return Ok(()) };
        if protocol != expected.protocol {
            let (theirs, ours) = (protocol.clone(), expected.protocol.to_owned());
            return Err(Refusal::Protocol { theirs, ours });
        }
        if !expected.peers.contains(node) {
            return Err(Refusal::NotAPeer(*node));
        }
        Ok(())
    }

    /// What everybody must have in common.
    pub(crate) fn judge_cluster(&self, cluster: &str, identity: Digest) -> Result<(), Refusal> {
        if self.newest_version < OLDEST_VERSION || self.oldest_version > NEWEST_VERSION {
            let (oldest, newest) = (self.oldest_version, self.newest_version);
            return Err(Refusal::Version { oldest, newest });
        }
        if self.cluster != cluster {
            let (theirs, ours) = (self.cluster.clone(), cluster.to_owned());
            return Err(Refusal::ClusterName { theirs, ours });
        }
        // Who is not formed yet has to hear of the founding from those who are.
        let known = [self.identity, identity].iter().all(|digest| *digest != Digest::ZERO);
        if known && self.identity != identity {
            return Err(Refusal::Identity { theirs: self.identity, ours: identity });
        }
        Ok(())
    }
}

/// A connection whose other end is known.
pub(crate) struct Greeted {
    pub(crate) hello: Hello,
    pub(crate) reader: FrameReader<Box<dyn tokio::io::AsyncRead + Send + Unpin>>,
    pub(crate) writer: Box<dyn tokio::io::AsyncWrite + Send + Unpin>,
}

/// The side that dialled.
pub(crate) async fn greet(
    connection: Connection,
    own: &Hello,
    judge: impl FnOnce(&Hello) -> Result<(), Refusal>,
) -> Result<Greeted, HandshakeError> {
    let talk = async {
        let Connection { reader, mut writer, .. } = connection;
        let mut reader = FrameReader::new(reader, MAX_HELLO_BYTES);
        send(&mut writer, Kind::Hello, own).await?;
        let frame = reader.next().await?.ok_or(FrameError::Closed)?;
        let hello = match frame.kind {
            Kind::Hello => frame.decode::<Hello>()?,
            Kind::Refusal => return Err(HandshakeError::RefusedByThem(frame.decode()?)),
            _ => return Err(FrameError::Unexpected.into()),
        };
        judge(&hello).map_err(HandshakeError::Refused)?;
        Ok(Greeted { hello, reader, writer })
    };
    tokio::time::timeout(HANDSHAKE_TIMEOUT, talk).await.unwrap_or(Err(HandshakeError::Timeout))
}

/// The side that was called. `own` is asked for only once the caller is accepted.
pub(crate) async fn answer(
    connection: Connection,
    own: impl FnOnce() -> Hello,
    judge: impl FnOnce(&Hello) -> Result<(), Refusal>,
) -> Result<Greeted, HandshakeError> {
    let talk = async {
        let Connection { reader, mut writer, .. } = connection;
        let mut reader = FrameReader::new(reader, MAX_HELLO_BYTES);
        let hello = match reader.next().await?.ok_or(FrameError::Closed)? {
            frame @ Frame { kind: Kind::Hello, .. } => frame.decode::<Hello>()?,
            _ => return Err(FrameError::Unexpected.into()),
        };
        if let Err(refusal) = judge(&hello) {
            // Best effort: the caller's log should say why.
            let _ = send(&mut writer, Kind::Refusal, &refusal).await;
            return Err(HandshakeError::Refused(refusal));
        }
        send(&mut writer, Kind::Hello, &own()).await?;
        Ok(Greeted { hello, reader, writer })
    };
    tokio::time::timeout(HANDSHAKE_TIMEOUT, talk).await.unwrap_or(Err(HandshakeError::Timeout))
}

async fn send<T: Serialize>(
    writer: &mut (dyn tokio::io::AsyncWrite + Send + Unpin),
    kind: Kind,
    body: &T,
) -> Result<(), FrameError> {
    let mut bytes = BytesMut::new();
    frame::encode(kind, body, &mut bytes);
    writer.write_all(&bytes).await?;
    writer.flush().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEERS: &[NodeId] = &[NodeId(2), NodeId(3)];

    fn hello(node: u64) -> Hello {
        let (node, incarnation) = (NodeId(node), Incarnation(9));
        Hello::new("c", Digest([1; 16]), Role::Peer { node, incarnation, protocol: "raft".into() })
    }

    fn expected() -> Expected<'static> {
        Expected { cluster: "c", identity: Digest([1; 16]), protocol: "raft", peers: PEERS }
    }

    fn pair() -> (Connection, Connection) {
        let (a, b) = tokio::io::duplex(1 << 16);
        let [a, b] = [a, b].map(|end| {
            let (reader, writer) = tokio::io::split(end);
            let remote = "test".to_owned();
            Connection { reader: Box::new(reader), writer: Box::new(writer), remote }
        });
        (a, b)
    }

    #[test]
    fn a_hello_keeps_its_bytes() {
        let mut golden = vec![1, 1, 1, b'c'];
        golden.extend([1; 16]);
        golden.extend([0, 2, 9, 4, b'r', b'a', b'f', b't']);
        assert_eq!(postcard::to_allocvec(&hello(2)).unwrap(), golden);
        let client = Hello::new("c", Digest::ZERO, Role::Client);
        assert_eq!(postcard::to_allocvec(&client).unwrap().last(), Some(&1));
    }

    #[test]
    fn strangers_are_refused_by_what_they_say() {
        assert_eq!(hello(2).judge(&expected()), Ok(()));
        let unformed = Hello { identity: Digest::ZERO, ..hello(2) };
        assert_eq!(unformed.judge(&expected()), Ok(()));
        assert!(matches!(hello(4).judge(&expected()), Err(Refusal::NotAPeer(NodeId(4)))));
        let other = Hello { identity: Digest([2; 16]), ..hello(2) };
        assert!(matches!(other.judge(&expected()), Err(Refusal::Identity { .. })));
        let other = Hello { cluster: "d".into(), ..hello(2) };
        assert!(matches!(other.judge(&expected()), Err(Refusal::ClusterName { .. })));
        let future = Hello { oldest_version: 2, newest_version: 3, ..hello(2) };
        assert!(matches!(future.judge(&expected()), Err(Refusal::Version { .. })));
        let (node, incarnation) = (NodeId(2), Incarnation(9));
        let role = Role::Peer { node, incarnation, protocol: "vsr".into() };
        let other = Hello { role, ..hello(2) };
        assert!(matches!(other.judge(&expected()), Err(Refusal::Protocol { .. })));
    }

    #[tokio::test]
    async fn both_sides_learn_who_the_other_is() {
        let (a, b) = pair();
        let (mine, theirs) = (hello(2), hello(3));
        let (a, b) = tokio::join!(
            greet(a, &mine, |hello| hello.judge(&expected())),
            answer(b, || theirs.clone(), |hello| hello.judge(&expected())),
        );
        assert_eq!(a.map(|greeted| greeted.hello).unwrap(), theirs);
        assert_eq!(b.map(|greeted| greeted.hello).unwrap(), mine);
    }

    #[tokio::test]
    async fn both_sides_learn_of_a_refusal() {
        let (a, b) = pair();
        let mine = Hello { cluster: "d".into(), ..hello(2) };
        let (a, b) = tokio::join!(
            greet(a, &mine, |_| Ok(())),
            answer(b, || unreachable!(), |hello| hello.judge(&expected())),
        );
        assert!(matches!(a.err(), Some(HandshakeError::RefusedByThem(_))));
        assert!(matches!(b.err(), Some(HandshakeError::Refused(Refusal::ClusterName { .. }))));
    }

    #[tokio::test]
    async fn a_hello_may_be_small_and_nothing_else() {
        let mut large = BytesMut::new();
        frame::encode(Kind::Hello, &vec![0_u8; 4 << 10], &mut large);
        // The length alone says it.
        let header = &large[..100];
        let is_refused = |error: Option<HandshakeError>| {
            let max = 4 << 10;
            let why = error.expect("it is refused");
            assert!(
                matches!(why, HandshakeError::Frame(FrameError::TooLong { max: m, .. }) if m == max)
            );
        };
        let (mut a, b) = pair();
        a.writer.write_all(header).await.unwrap();
        is_refused(answer(b, || unreachable!(), |_| unreachable!()).await.err());
        let (a, mut b) = pair();
        b.writer.write_all(header).await.unwrap();
        is_refused(greet(a, &hello(2), |_| unreachable!()).await.err());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_not_waited_for_for_ever() {
        let (_a, b) = pair();
        let began = tokio::time::Instant::now();
        let answered = answer(b, || unreachable!(), |_| Ok(())).await;
        assert!(matches!(answered.err(), Some(HandshakeError::Timeout)));
        let (a, _b) = pair();
        let greeted = greet(a, &hello(2), |_| unreachable!()).await;
        assert!(matches!(greeted.err(), Some(HandshakeError::Timeout)));
        assert_eq!(began.elapsed(), 2 * HANDSHAKE_TIMEOUT);
    }
}
