//! Between processes: connections, frames, who may speak, and what is said.

mod budget;
mod client_port;
pub(crate) mod client_wire;
mod complaints;
pub(crate) mod frame;
pub(crate) mod frame_reader;
pub(crate) mod handshake;
pub(crate) mod inbox;
pub(crate) mod listener;
mod newcomers;
pub(crate) mod peer;
mod tcp;
#[cfg(test)]
pub(crate) mod testing;
mod transport;

use std::sync::Arc;

use quorate_core::{Incarnation, NodeId, Settings, SnapshotMeta};

pub use tcp::TcpTransport;
pub use transport::{Acceptor, Connection, Transport};

use crate::status::Board;
use handshake::{Expected, Hello, Role};

/// What a node's connections must know about it.
pub(crate) struct Local {
    pub(crate) me: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) cluster: String,
    pub(crate) protocol: &'static str,
    pub(crate) peers: Vec<NodeId>,
    pub(crate) board: Board,
    pub(crate) transport: Arc<dyn Transport>,
}

impl Local {
    /// What this node says of itself.
    fn hello(&self) -> Hello {
        let (node, incarnation) = (self.me, self.incarnation);
        let role = Role::Peer { node, incarnation, protocol: self.protocol.to_owned() };
        Hello::new(&self.cluster, self.board.identity(), role)
    }

    /// Whom this node speaks to.
    fn expected(&self) -> Expected<'_> {
        Expected {
            cluster: &self.cluster,
            identity: self.board.identity(),
            protocol: self.protocol,
            peers: &self.peers,
        }
    }
}

/// The largest message that a peer may send, in bytes. Members may differ in their settings, so
/// there is room for the largest command that any of them can allow, and for what surrounds it.
fn max_peer_frame(settings: &Settings) -> usize {
    let chunk = usize::try_from(SnapshotMeta::CHUNK_BYTES).expect("a chunk fits into memory");
    let largest = settings.append_bytes.max(chunk) + settings.max_command_bytes;
    (2 * largest).max(Settings::MAX_MESSAGE_BYTES) + (1 << 20)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use frame::Kind;
    use frame_reader::FrameReader;

    #[tokio::test]
    async fn the_largest_command_that_any_member_may_allow_fits_into_a_frame() {
        let mut bytes = BytesMut::new();
        frame::encode(Kind::Message, &vec![7_u8; Settings::MAX_MESSAGE_BYTES], &mut bytes);
        let mut reader = FrameReader::new(&bytes[..], max_peer_frame(&Settings::default()));
        let frame = reader.next().await.unwrap().unwrap();
        assert!(frame.body.len() > Settings::MAX_MESSAGE_BYTES);
    }
}
