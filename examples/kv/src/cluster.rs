//! The boundary to consensus: all that a connection asks of the cluster.

use std::future::Future;

use quorate_core::Role;

use crate::op::{Command, Query, Reply};

/// A node of a cluster, as seen by the connections it serves. Cheap to clone.
pub trait Cluster: Clone + Send + Sync + 'static {
    /// Replicates and executes `command`.
    ///
    /// The command takes its place in line when this returns, before the future is polled:
    /// commands are applied in the order of the calls, as far as they are applied. Dropping the
    /// future does not take the command back.
    fn write(
        &self,
        command: Command,
    ) -> impl Future<Output = Result<Vec<Reply>, WriteError>> + Send + 'static;

    /// Answers `query` from the state that `level` asks for.
    fn read(
        &self,
        query: Query,
        level: Level,
    ) -> impl Future<Output = Result<Vec<Reply>, ReadError>> + Send + 'static;

    /// How this node stands at the moment.
    fn status(&self) -> Status;
}

/// What a read promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// It sees every write that was acknowledged before it began, to whomever.
    Linearizable,
    /// It sees what this node has applied. Needs no quorum.
    Local,
}

/// Why a write was not acknowledged. The text is the error reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// Surely not proposed: a queue or a disk is full.
    #[error("BUSY the write was not proposed: {0}")]
    Busy(String),
    /// Surely not proposed, nor would it be if it were repeated as it is.
    #[error("ERR the write was not proposed: {0}")]
    Refused(String),
    /// Surely not proposed: there is no leader to propose it to, or it cannot be reached.
    #[error("CLUSTERDOWN the write was not proposed: {0}; it is safe to repeat it")]
    NotProposed(String),
    /// It may have been applied, or may yet be.
    #[error("UNKNOWN the write may or may not be applied: {0}; read before you repeat it")]
    Unknown(String),
}

/// Why a read was not answered. The text is the error reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A queue is full.
    #[error("BUSY the read was not answered: {0}; try again later")]
    Busy(String),
    /// It would not be answered if it were repeated as it is, either.
    #[error("ERR the read was not answered: {0}")]
    Refused(String),
    /// No quorum confirmed that what this node has is up to date.
    #[error("CLUSTERDOWN the read could not be confirmed: {0}; try again, or READONLY first")]
    Unconfirmed(String),
}

/// A read that took its place among writes has shared their fate.
impl From<WriteError> for ReadError {
    fn from(error: WriteError) -> ReadError {
        match error {
            WriteError::Busy(why) => ReadError::Busy(why),
            WriteError::Refused(why) => ReadError::Refused(why),
            WriteError::NotProposed(why) | WriteError::Unknown(why) => ReadError::Unconfirmed(why),
        }
    }
}

/// How a node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub node: u64,
    /// The name of the cluster.
    pub cluster: String,
    /// The consensus protocol.
    pub protocol: &'static str,
    /// What this node is at the moment.
    pub role: Role,
    /// The leader, if known.
    pub leader: Option<u64>,
    /// Where the leader listens for the other nodes.
    pub leader_address: Option<String>,
    /// Raft's term.
    pub term: u64,
    /// Number of members.
    pub members: usize,
    /// To how many of the other members this node has a connection.
    pub connected: usize,
    /// The first entry of this node's log: what precedes it is in snapshots only.
    pub first_index: u64,
    /// The last entry of this node's log.
    pub last_index: u64,
    /// The last entry which is on this node's disk.
    pub durable_index: u64,
    /// The last entry which this node knows to be committed.
    pub committed_index: u64,
    /// The last entry which this node has executed.
    pub applied_index: u64,
    /// False while this node's disk is full.
    pub has_room: bool,
    /// What this node's word is worth among the members.
    pub standing: Standing,
}

/// What a node's word is worth among the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The cluster is not formed, as far as this node knows; or it is, and the node's disk is empty.
    Unformed,
    /// Nothing that this node says counts: its disk was replaced, or lost something.
    Mute,
    /// It counts.
    Member,
}
