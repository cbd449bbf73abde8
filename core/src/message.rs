//! What replicas send each other, and how one of them is addressed.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::entry::EntryKind;
use crate::founding::FoundingMessage;
use crate::replica::{Readmission, Repair};
use crate::snapshot::SnapshotMessage;
use crate::types::{Ballot, Incarnation, Index, LogId, NodeId, RequestId, Start};
use crate::write::Disk;

/// A message on its way from one replica to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Envelope<M> {
    /// The sender.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// The incarnation of the sender's disk.
    pub incarnation: Incarnation,
    /// The start of the sender's process.
    pub start: Start,
    /// The nonce of the start before that one on the same disk; zero if there was none.
    pub previous_nonce: u64,
    /// What the sender knows of the receiver.
    pub known: Option<Known>,
    /// The sender's disk has room for entries, and what the sender vouches for counts.
    pub has_room: bool,
    /// What it says.
    pub message: PeerMessage<M>,
}

/// What the sender of a message knows of its receiver, who may have lost what it tells: then it learns
/// so from the very message that asks for its word, or lends it the sender's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Known {
    /// Its disk, as last heard of. A receiver that was never started so runs on an old image of it.
    pub disk: Disk,
    /// The last entry that it has acknowledged on that disk in the ballot which the sender leads. A
    /// receiver in that ballot whose log does not hold it has a disk that did not keep what it said
    /// was saved.
    pub acknowledged: Option<(Ballot, LogId)>,
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
    /// The repair of a damaged log.
    Repair(Repair),
    /// The return of a replica which lost something.
    Readmission(Readmission),
}

/// How a node that does not lead serves its clients: it asks the leader.
///
/// Every request names the ballot in which the sender believes the receiver to lead, and is taken
/// in that ballot or not at all. So once an entry of a later ballot is committed, a request which
/// was not applied by then is known never to be.
///
/// Requests may be sent again: an attempt is taken at most once, because its leader remembers the
/// attempts that are still outstanding, for as long as it leads. They are taken in the order in which
/// they were sent, whatever order they arrive in: each names the one before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Forward {
    /// Put this into the log. There is no positive answer: the sender sees its request committed.
    Propose {
        /// The ballot in which the receiver is to lead.
        ballot: Ballot,
        /// Which attempt this is, and whose turn comes before.
        place: Place,
        /// What the payload is: a command or the registration of a session.
        kind: EntryKind,
        /// The entry's payload, which names the sender and its request.
        payload: Bytes,
    },
    /// This attempt was not put into the log and never will be.
    Refused {
        /// The attempt.
        attempt: RequestId,
        /// Why.
        reason: Refusal,
    },
    /// Find an index that covers everything acknowledged so far.
    Read {
        /// The ballot in which the receiver is to lead.
        ballot: Ballot,
        /// The read.
        request: RequestId,
    },
    /// Such an index.
    ReadReady {
        /// The read.
        request: RequestId,
        /// Any state that includes this index may answer it.
        index: Index,
    },
}

/// Where an attempt stands in the line of its sender, that is among those it has sent in one ballot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Names the attempt at the sender; ascending. It is called the same however often it is sent.
    pub attempt: RequestId,
    /// The last attempt before it whose outcome the sender did not know when it sent this one first.
    /// It is taken, refused or given up before this one is looked at.
    pub after: Option<RequestId>,
    /// The oldest attempt whose outcome the sender does not know now.
    pub oldest: RequestId,
}

/// Why the leader of a ballot did not take a request in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// It is handing over to somebody else.
    HandingOver,
    /// What was before it in its sender's line was refused, and its sender may not know that yet.
    OutOfTurn,
    /// Too much is uncommitted already.
    Busy,
    /// Its disk is full.
    DiskFull,
    /// The command is larger than the leader allows.
    TooLarge,
    /// What it took before is overdue.
    Overdue,
}
