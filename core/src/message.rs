//! What replicas send each other, and how one of them is addressed.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::entry::EntryKind;
use crate::founding::FoundingMessage;
use crate::protocol::ReadId;
use crate::snapshot::SnapshotMessage;
use crate::types::{Ballot, Incarnation, Index, NodeId, RequestId};

/// A message on its way from one replica to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Envelope<M> {
    /// The sender.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// The incarnation of the sender's disk.
    pub incarnation: Incarnation,
    /// What it says.
    pub message: PeerMessage<M>,
}

/// What replicas say to each other. `M` is the protocol's own messages; the rest is the same
/// under every protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PeerMessage<M> {
    /// Consensus.
    Protocol(M),
    /// A request on its way from the node that a client asked to the leader, or its answer.
    Forward(Forward),
    /// A snapshot on its way.
    Snapshot(SnapshotMessage),
    /// The founding of the cluster.
    Founding(FoundingMessage),
}

/// How a node that does not lead serves its clients: it asks the leader.
///
/// Every request names the ballot in which the sender believes the receiver to lead, and is taken
/// in that ballot or not at all. So once an entry of a later ballot is committed, a request which
/// was not applied by then is known never to be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Forward {
    /// Put this into the log. There is no positive answer: the sender sees its request committed.
    Propose {
        /// The ballot in which the receiver is to lead.
        ballot: Ballot,
        /// The request's name at the sender. The sender names its requests in ascending order.
        request: RequestId,
        /// What the payload is: a command or the registration of a session.
        kind: EntryKind,
        /// The entry's payload, which names sender and request.
        payload: Bytes,
    },
    /// The request was not put into the log, and never will be in this ballot.
    Refused {
        /// The ballot which the request named.
        ballot: Ballot,
        /// The request.
        request: RequestId,
        /// Why.
        reason: Refusal,
    },
    /// Find an index that covers everything acknowledged so far.
    Read {
        /// The ballot in which the receiver is to lead.
        ballot: Ballot,
        /// The read.
        read: ReadId,
    },
    /// Such an index.
    ReadReady {
        /// The read.
        read: ReadId,
        /// Any state that includes this index may answer it.
        index: Index,
    },
    /// The read could not be confirmed: ask again, or somebody else.
    ReadLost {
        /// The ballot which the read named.
        ballot: Ballot,
        /// The read.
        read: ReadId,
    },
}

/// Why a leader did not take a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// It does not lead, or not in this ballot, or is about to hand over.
    NotLeader,
    /// Too much is uncommitted already.
    Busy,
}
