//! What a shell tells a replica, and what a replica asks of its shell.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::entry::{Entry, EntryKind};
use crate::message::Envelope;
use crate::protocol::Timer;
use crate::snapshot::{SnapshotId, SnapshotMeta};
use crate::types::{Incarnation, Index, LogTime, NodeId, RequestId, WriteSeq};
use crate::write::{Gap, Write};

/// What a shell tells a [`Replica`](crate::Replica).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Event<M> {
    /// A message arrived.
    Message(Envelope<M>),
    /// A client of this node wants this put into the log. Ends with the request among
    /// [`Applied::requests`], or with [`Effect::Failed`].
    Propose {
        /// From [`Replica::name_request`](crate::Replica::name_request).
        request: RequestId,
        /// [`EntryKind::Command`] or [`EntryKind::Register`].
        kind: EntryKind,
        /// A [`Command`](crate::Command) or [`Register`](crate::Register), encoded, which names
        /// this node and this request as its origin.
        payload: Bytes,
    },
    /// A client of this node wants to read the latest state. Ends with [`Effect::ReadReady`] or
    /// with [`Effect::Failed`].
    Read {
        /// From [`Replica::name_request`](crate::Replica::name_request).
        request: RequestId,
    },
    /// This write, and with it every earlier one, is on disk.
    Saved(WriteSeq),
    /// The pledge of this write is on disk, though neither the rest of it nor all of the earlier
    /// ones: there is no room for them. [`Saved`](Event::Saved) comes once there is.
    Sworn(WriteSeq),
    /// A timer ran out that [`Effect::SetTimer`] had set.
    Timeout(Timer),
    /// Entries were applied: the answer to [`Effect::Apply`].
    Applied(Applied),
    /// The state was replaced: the answer to [`Effect::Restore`].
    Restored {
        /// As in the request.
        generation: Generation,
        /// The state machine's next deadline.
        deadline: Option<LogTime>,
    },
    /// The answer to [`Effect::ReadEntries`].
    EntriesRead {
        /// As in the request.
        reader: Reader,
        /// As in the request.
        from: Index,
        /// Contiguous entries from there on, verified; empty if they could not be had.
        entries: Vec<Entry>,
    },
    /// The answer to [`Effect::TakeSnapshot`]: on disk, complete and synced; `None` if it could
    /// not be written, say for want of room. It is tried again later.
    SnapshotBuilt(Option<SnapshotMeta>),
    /// The answer to [`Effect::ReadChunk`].
    ChunkRead {
        /// As in the request.
        to: NodeId,
        /// As in the request.
        snapshot: SnapshotId,
        /// As in the request.
        chunk: u64,
        /// The chunk, verified; `None` if the snapshot is no longer here, or cannot be read.
        bytes: Option<Bytes>,
    },
    /// The answer to [`Effect::BeginFetch`] and [`Effect::WriteChunk`].
    FetchProgress {
        /// As in the request.
        snapshot: SnapshotId,
        /// What comes next.
        next: FetchNext,
    },
    /// Parts of the log on this disk were found to be damaged when they were read.
    Damaged(Vec<Gap>),
    /// The answer to [`Effect::Scrub`].
    Scrubbed {
        /// Where to go on; behind the end of the log, there is nothing more.
        next: Index,
        /// What was found to be damaged.
        gaps: Vec<Gap>,
    },
    /// Whether the disk has room for more entries. Without, proposals are refused as busy; votes
    /// and what is in the log already go on. A replica starts out with room.
    Room(bool),
    /// The process is about to stop: let somebody else lead.
    HandOver,
}

/// What a snapshot that is being fetched needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FetchNext {
    /// This chunk.
    Chunk(u64),
    /// Nothing: it is complete, verified and synced.
    Complete,
    /// It cannot be stored, or what was fetched is not what was announced: give up.
    Failed,
}

/// Counts the restorations of an applier. Requests carry the generation to which they belong;
/// answers of an older one speak of a state that is gone.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Generation(pub u64);

/// For whom old entries are read from disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reader {
    /// For the applier.
    Applier,
    /// For a peer that is behind.
    Peer(NodeId),
    /// For a peer whose disk is damaged.
    Repair(NodeId),
}

/// The answer to [`Effect::Apply`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Applied {
    /// As in the request.
    pub generation: Generation,
    /// The last index which was applied.
    pub through: Index,
    /// Those requests of this node which were among the entries, whatever they were answered.
    pub requests: Vec<RequestId>,
    /// When the state machine wants log time to have moved on, if ever.
    pub deadline: Option<LogTime>,
}

/// What a [`Replica`](crate::Replica) asks of its shell. Effects are carried out in the order
/// given, but none waits for the completion of another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Effect<M> {
    /// Save this. Answered by [`Event::Saved`], in order, perhaps after [`Event::Sworn`]. What
    /// waits for it the replica holds back itself.
    Persist {
        /// The write's number; ascending.
        seq: WriteSeq,
        /// What to save.
        write: Write,
    },
    /// Send this, or lose it: messages may be dropped, delayed, duplicated and reordered.
    Send(Envelope<M>),
    /// Start this timer anew, with a duration drawn from the range.
    SetTimer(Timer, Range<Duration>),
    /// Hand these entries to the applier, behind what it was handed before.
    Apply {
        /// To be returned with the answer.
        generation: Generation,
        /// Committed entries, contiguous with those handed over before.
        entries: Vec<Entry>,
    },
    /// Have the applier replace its state with this snapshot, which is on disk. Comes before the
    /// write by which the log points to it: once that is saved, an earlier one may be gone under a
    /// restoration that is not over.
    Restore {
        /// To be returned with the answer.
        generation: Generation,
        /// The snapshot.
        snapshot: SnapshotMeta,
    },
    /// Read old entries from the log on disk.
    ReadEntries {
        /// To be returned with the answer.
        reader: Reader,
        /// The first of them.
        from: Index,
        /// How much of them, by [`Entry::size_bytes`]; at least one.
        max_bytes: usize,
    },
    /// Read a part of the log back from the medium, only to see that it is whole. Slowly: it may
    /// wait for everything else.
    Scrub {
        /// Where to begin.
        from: Index,
        /// How much to read, about.
        max_bytes: usize,
    },
    /// Have the applier take a view, and write it out as a snapshot beside everything else.
    TakeSnapshot,
    /// Read a chunk of a snapshot for a peer.
    ReadChunk {
        /// For whom.
        to: NodeId,
        /// Of which snapshot.
        snapshot: SnapshotId,
        /// Which chunk, from 0.
        chunk: u64,
    },
    /// Prepare to receive this snapshot, or go on where an earlier attempt stopped. Partial
    /// snapshots with other names may be dropped.
    BeginFetch {
        /// What will be received.
        snapshot: SnapshotMeta,
    },
    /// Store a chunk of the snapshot that is being received.
    WriteChunk {
        /// Of which snapshot.
        snapshot: SnapshotId,
        /// Which chunk, from 0.
        chunk: u64,
        /// Its bytes, checked.
        bytes: Bytes,
    },
    /// A read may be answered from the state as the applier has it now.
    ReadReady {
        /// The read.
        request: RequestId,
    },
    /// A request has come to nothing, or to nothing known.
    Failed {
        /// The request.
        request: RequestId,
        /// What that means for the client.
        failure: Failure,
    },
    /// Stop this replica: it cannot go on.
    Stop(Fatal),
}

/// Why a request was not answered. The difference matters: only what was surely not proposed can
/// be sent again without a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// Surely not proposed: too much is waiting already. Send again, later.
    #[error("not proposed: too many requests are waiting; try again later")]
    Busy,
    /// Surely not proposed: what the leader took before waits too long for a majority to save it, or
    /// for the state machine. Disks may be full or slow, the load too high. Send again, later.
    #[error(
        "not proposed: requests before it are overdue; are the disks of a majority full or slow? try again later"
    )]
    Overdue,
    /// Surely not proposed: the leader's disk is full. Make room there, then send again.
    #[error("not proposed: the leader's disk is full; make room and try again")]
    DiskFull,
    /// Surely not proposed: no leader was found in time. Send again, perhaps to another node.
    #[error("not proposed: no leader was found in time; try again")]
    NoLeader,
    /// Surely not proposed: larger than `max_command_bytes`. Do not send again.
    #[error("not proposed: the command is larger than max_command_bytes")]
    TooLarge,
    /// It may have been applied, or may still be. Send it again only under the same session and
    /// sequence number.
    #[error(
        "unknown: the request may or may not be applied; retry only under the same session and sequence number"
    )]
    Unknown,
}

impl Failure {
    /// True if the request surely never took and never will take effect.
    #[must_use]
    pub fn surely_not_proposed(self) -> bool {
        match self {
            Failure::Busy
            | Failure::Overdue
            | Failure::DiskFull
            | Failure::NoLeader
            | Failure::TooLarge => true,
            Failure::Unknown => false,
        }
    }
}

/// Why a replica cannot go on. It changes nothing on its disk from here on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Fatal {
    /// A cluster of a single member has lost what only this disk had.
    #[error(
        "acknowledged data on this disk is damaged or lost, and the cluster has no other member \
         that could have it: restore a backup, and accept what was written since it was made as lost"
    )]
    LostAlone,
    /// The disk was put back to an earlier state.
    #[error(
        "the disk of node {node} is an old image: other members know of later starts of it, so it \
         has forgotten what it promised since. Empty the directory and start again under the same \
         id: the others put it back"
    )]
    OldImage {
        /// This node.
        node: NodeId,
    },
    /// Another disk has taken this one's place in the cluster.
    #[error(
        "another disk (incarnation {by}) has taken the place of this one as node {node}: stop \
         this process. To use this disk again, empty the directory first"
    )]
    Superseded {
        /// This node.
        node: NodeId,
        /// The incarnation which the members list.
        by: Incarnation,
    },
    /// The cluster exists already, and this node is not in it.
    #[error(
        "node {node} is not a member of the cluster that its peers have formed: start it as one of \
         those, or found a cluster of its own"
    )]
    NotAMember {
        /// This node.
        node: NodeId,
    },
    /// An empty directory and a single member: a fresh start, or a lost disk?
    #[error(
        "the data directory is empty and the cluster has a single member: to found a new cluster, \
         ask for it explicitly (bootstrap); if there was data, restore a backup"
    )]
    NotBootstrapped,
    /// The node is not among the members it was configured with.
    #[error("node {node} is not among the configured members")]
    NotConfigured {
        /// This node.
        node: NodeId,
    },
    /// What is on disk cannot be what this protocol wrote.
    #[error(
        "the saved pledge cannot be read: the data is of another protocol or damaged. Start the \
         program and protocol that wrote it, or empty the directory and start again under the same id"
    )]
    UnreadablePledge,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_proposed_is_not_said_to_be_surely_not() {
        use Failure::{Busy, DiskFull, NoLeader, Overdue, TooLarge, Unknown};
        let all = [Busy, Overdue, DiskFull, NoLeader, TooLarge, Unknown];
        let not_proposed = all.map(Failure::surely_not_proposed);
        assert_eq!(not_proposed, [true, true, true, true, true, false]);
    }
}
