//! A replica's account of itself.

use std::hash::{Hash, Hasher};

use serde::Serialize;

use crate::membership::Membership;
use crate::protocol::{PeerFaults, Role};
use crate::snapshot::SnapshotMeta;
use crate::types::{Ballot, Incarnation, Index, LogId, NodeId};

/// What a replica knows of itself at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The node.
    pub node: NodeId,
    /// The incarnation of its disk.
    pub incarnation: Incarnation,
    /// True once the cluster is formed; before, the node neither votes nor serves.
    pub formed: bool,
    /// True if nothing that it says counts: its disk was replaced, or lost something. That ends by
    /// itself when it has caught up with a leader that has a quorum without it.
    pub mute: bool,
    /// The index of the last entry which a leader was told is on this disk, if since this process
    /// began it was found not to be: the disk has not kept what it said was saved. It should be
    /// replaced.
    pub lost: Option<Index>,
    /// What it is in its protocol.
    pub role: Role,
    /// The term or view it is in.
    pub ballot: Ballot,
    /// The leader, if it knows one.
    pub leader: Option<NodeId>,
    /// True if it is the leader and takes requests.
    pub serving: bool,
    /// The last entry of its log.
    pub last: LogId,
    /// The last index up to which its log is on its disk.
    pub durable: Index,
    /// The last index it knows to be committed.
    pub committed: Index,
    /// The last index that its state machine has executed.
    pub applied: Index,
    /// Its newest snapshot.
    pub snapshot: Option<SnapshotMeta>,
    /// The members.
    pub membership: Membership,
    /// What it ignored, by reason.
    pub ignored: Ignored,
    /// What its protocol ignored.
    pub peer_faults: PeerFaults,
}

/// Messages that were ignored. Each is somebody else's fault, or an echo of the past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Ignored {
    /// Addressed to somebody else, or from somebody who is not a member.
    pub strangers: u64,
    /// Votes and acknowledgements from a disk which the membership does not list.
    pub foreign_incarnations: u64,
    /// From an earlier start of the sender's process, or from an old image of its disk; or from a
    /// start of which it is not known yet that it is neither.
    pub outdated: u64,
    /// What cannot be said in the phase which this node is in.
    pub untimely: u64,
}

/// What was only counted influences nothing: who tells states apart by their hashes, as a model checker
/// does, has one state where there is no other difference.
impl Hash for Ignored {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}
