//! What a replica asks its disk to keep, and what the disk gives back after a restart.

mod pledge_bytes;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::entry::Entry;
use crate::founding::FoundingRecord;
use crate::lineage::Lineage;
use crate::membership::Membership;
use crate::snapshot::SnapshotMeta;
use crate::types::{Ballot, Digest, Incarnation, Index, LogId, LogTime, NodeId, Start};

/// A protocol's [`Pledge`](crate::Protocol::Pledge) as bytes of fixed size. The storage does not
/// look inside.
pub type PledgeBytes = [u8; 64];

/// Cut off everything after `previous`, then append `entries`. One step of a write.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Run {
    /// The entry after which the log goes on. Either the log holds it, or the write's snapshot
    /// pointer names it and the log starts anew behind that snapshot.
    pub previous: LogId,
    /// The digest of that entry.
    pub previous_digest: Digest,
    /// What follows: contiguous from `previous.index + 1`; may be empty.
    pub entries: Vec<Entry>,
}

/// A stretch of the log which this disk had and cannot give back: its payloads, or its headers
/// too, are damaged. What it held is not forgotten: the chain of digests that ends in `last` says
/// which entries belong there, and peers have them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Gap {
    /// The first index that is missing.
    pub first: Index,
    /// The last index that is missing.
    pub last: Index,
    /// The digest of the last entry that is missing.
    pub digest: Digest,
    /// The digest of what the log holds before the first; of what precedes index 1, a disk which
    /// lost that knows nothing: zero. If it turns out not to be the parent of the first missing
    /// entry, what is damaged had cut off more.
    pub before: Digest,
    /// True if the ballots of what is missing are known.
    pub ids_known: bool,
}

/// One atomic write: after a crash all of it is there or nothing of it. Two things are not of one
/// piece with the rest: that the replica falls mute is there before it, and that it speaks again after
/// it. What is heard of peers' disks comes after it, too.
///
/// Writes are saved in the order in which they were asked for, never another; several may share
/// one sync. While there is no room on the disk for the next one, the pledge of a later one with a
/// new promise is kept beside the log, so that a full disk does not keep a replica from voting:
/// that pledge is *sworn*, and the write is not saved. A write that changes nothing (no runs or repairs; pledge, snapshot pointer and
/// muteness as before) writes nothing, and is complete when the write before it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Write {
    /// Changes to the log, in this order.
    pub runs: Vec<Run>,
    /// Entries that stand in [`Gap`]s of the log as it is after `runs`, each a contiguous stretch.
    /// They take the place of what is damaged; nothing is cut off.
    pub repairs: Vec<Vec<Entry>>,
    /// What the protocol has sworn, as of this write.
    #[serde(serialize_with = "pledge_bytes::serialize")]
    pub pledge: PledgeBytes,
    /// True if the pledge differs from the write before in a promise proper (a term, a vote, a
    /// view), which must survive even the loss of the whole log: the storage keeps a second copy
    /// of it elsewhere before it calls the write complete.
    pub promise: bool,
    /// The newest snapshot as of this write: the authority on which snapshot counts.
    pub snapshot: Option<SnapshotMeta>,
    /// How far the founding of the cluster has come, if that changes with this write.
    pub founding: Option<FoundingRecord>,
    /// See [`Recovered::mute`], as of this write.
    pub mute: bool,
    /// See [`Recovered::peers`], if that changes with this write.
    pub peers: Option<BTreeMap<NodeId, Disk>>,
}

/// A member's disk, as others know it: which one it is, and the latest start of a process on it
/// that was heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Disk {
    /// Drawn when the directory was created.
    pub incarnation: Incarnation,
    /// The latest start that was heard of.
    pub start: Start,
}

/// Whose data a directory holds. Fixed when the directory is created.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The node.
    pub node: NodeId,
    /// The name that the operator gave to the cluster.
    pub cluster: String,
    /// The protocol's [`NAME`](crate::Protocol::NAME).
    pub protocol: String,
    /// Drawn at random when the directory was created.
    pub incarnation: Incarnation,
}

/// What a data directory says after a restart, verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// Whose data this is.
    pub identity: Identity,
    /// The starts of processes on this disk, this one included. Durable.
    pub lineage: Lineage,
    /// How far the founding of the cluster had come.
    pub founding: FoundingRecord,
    /// The pledge of the last write that was saved; `None` in a directory which never saw one.
    #[serde(with = "pledge_bytes::optional")]
    pub pledge: Option<PledgeBytes>,
    /// A pledge that was sworn without being saved, since the disk was full:
    /// [`Pledge::joined`](crate::Pledge::joined) says what the two of them come to.
    #[serde(with = "pledge_bytes::optional")]
    pub sworn: Option<PledgeBytes>,
    /// True if nothing that this replica says may count: it may have acknowledged what its disk
    /// does not know of any more. So it is from the moment when the storage, or the replica
    /// itself, finds that out, until a write says otherwise. Durable before anything else is.
    pub mute: bool,
    /// The disks of the other members. Whoever speaks from a start that does not come after the
    /// one known here is late, or runs on an old image of its disk, which has forgotten what it
    /// promised.
    pub peers: BTreeMap<NodeId, Disk>,
    /// The newest snapshot, present and verified.
    pub snapshot: Option<SnapshotMeta>,
    /// The log.
    pub log: RecoveredLog,
}

/// The log as found on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveredLog {
    /// What stands before the first entry: `LogId::ZERO`, or the last entry that was compacted
    /// away. Never above the snapshot's `last`.
    pub base: LogId,
    /// The digest of that entry. Where there is none, that of the founders counts instead, which the
    /// log knows: a disk that lost its first entries does not.
    pub base_digest: Digest,
    /// For each stretch of entries with the same ballot: the index of the first, and the ballot.
    /// Contiguous and ascending; the first stretch begins at `base.index + 1`.
    pub ballots: Vec<(Index, Ballot)>,
    /// Each membership that an entry of the log set, and that entry's index, ascending. Before the
    /// first of them the snapshot's or the founding's is in force. All of them are needed: where the
    /// end of the log is cut off, an earlier one is in force again.
    pub memberships: Vec<(Index, Membership)>,
    /// The last entries, as many as the storage chose to keep in memory; contiguous up to the
    /// log's end. Earlier ones are read on demand.
    pub tail: Vec<Entry>,
    /// The last entry's name; `base` if there is none.
    pub last: LogId,
    /// The last entry's digest.
    pub last_digest: Digest,
    /// No earlier than the timestamp of any entry of which more than its name is known. Counts if
    /// `tail` is empty: a damaged log has times to go by where payloads are lost and headers are
    /// not.
    pub last_time: LogTime,
    /// What is damaged, ascending, without overlaps; none below the snapshot's `last`. Within a
    /// gap `ballots` may be wrong, and `memberships` lacks what stands there; `tail` begins
    /// behind the last gap.
    pub gaps: Vec<Gap>,
    /// True if something stood behind the last entry that the disk did not keep whole, and it was
    /// cut off as a write which a crash had cut short. It was acknowledged to nobody, unless it
    /// decayed before it was vouched for.
    pub is_torn: bool,
}
