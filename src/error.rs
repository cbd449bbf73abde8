//! What can go wrong, and what to do then.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use quorate_core::{ApplyError, Failure, Fatal, Index, RestoreError, SettingsError};
use quorate_storage::StorageError;
use serde::{Deserialize, Serialize};

/// Why a builder's values do not describe a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No [`id`](crate::Builder::id).
    #[error("the node has no id: call id(..)")]
    NoId,
    /// No [`members`](crate::Builder::members).
    #[error("the cluster has no members: call members(..) with all of them, this node included")]
    NoMembers,
    /// Two members with the same id.
    #[error("node {0} is listed twice among the members: give each its own id")]
    DuplicateMember(u64),
    /// Two members at the same address.
    #[error("two members have the address {0}: give each its own")]
    DuplicateAddress(String),
    /// The node is not among the members.
    #[error("node {0} is not among the members: list it with the address that others dial")]
    NotAMember(u64),
    /// No [`data_dir`](crate::Builder::data_dir).
    #[error("the node has no data directory: call data_dir(..)")]
    NoDataDir,
    /// A cluster's name is empty or longer than 255 bytes.
    #[error("a cluster's name has 1 to 255 bytes")]
    ClusterName,
    /// See [`segment_bytes`](crate::Builder::segment_bytes).
    #[error("segment_bytes must be a multiple of 4096 from 65536 to 1073741824: it is {0}")]
    SegmentBytes(u64),
    /// See [`snapshot_rate`](crate::Builder::snapshot_rate).
    #[error("snapshot_rate must be at least 2 bytes per second: it is {0}")]
    SnapshotRate(u64),
    /// See [`SettingsError`].
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

/// Why a node did not start. Nothing listens then.
///
/// The text says what to do. What the operating system said is the error's
/// [`source`](std::error::Error::source): print both.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The builder's values do not go together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory can be neither opened nor created.
    #[error("the data directory {} cannot be opened", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The data directory cannot be used. It is as it was.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// This node must not take part.
    #[error(transparent)]
    Fatal(#[from] Fatal),
    /// The address cannot be listened at.
    #[error(
        "cannot listen at {address}; if the others dial this node at another address than its own, \
         give its own with listen(..)"
    )]
    Bind {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The [recording](crate::Builder::record_to) cannot be begun.
    #[error(
        "the recording {} cannot be created; a file that is there and is no recording is left alone",
        path.display()
    )]
    Recording {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another node, which runs, records there.
    #[error(
        "another node records into {}: give each node a recording of its own, or wait until that \
         one has ended",
        path.display()
    )]
    RecordingInUse {
        /// Where.
        path: PathBuf,
    },
    /// The process may not open as many files as a node needs. Raise the limit (`ulimit -n`).
    #[error(
        "the process may open {allowed} files, and a node needs {needed} at least: raise the limit"
    )]
    OpenFiles {
        /// How many it may open.
        allowed: u64,
        /// How many a node of this cluster needs.
        needed: u64,
    },
    /// The operating system gave no thread, no runtime or no randomness.
    #[error("the operating system refused what a node needs")]
    System(#[source] io::Error),
    /// It stopped again before it was ready.
    #[error("the node stopped while it started: {0}")]
    Stopped(StopReason),
}

/// Why a node has stopped. To stop takes nothing away that was acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StopReason {
    /// [`Node::shutdown`](crate::Node::shutdown) was called, or the node was dropped.
    #[error("it was shut down")]
    Shutdown,
    /// This node must not take part.
    #[error(transparent)]
    Fatal(#[from] Fatal),
    /// The disk failed. What was acknowledged before is safe as far as the disk is; nothing was
    /// acknowledged since. Check the disk, then restart.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// An entry cannot be applied: the program cannot read it, or memory is damaged. The entry is
    /// committed, and will be applied at the next start, by a program that can.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The user's state machine panicked. It will do so again at each start, on every replica,
    /// until the program is corrected: the entry is committed.
    #[error(
        "the state machine panicked while entry {index} was applied: {message}; correct the \
         program, then restart: the entry is committed and will be applied again"
    )]
    Panicked {
        /// The entry.
        index: Index,
        /// What the panic said.
        message: String,
    },
    /// The user's state machine panicked over a snapshot, at each start if it was to be restored from
    /// that, until the program is corrected.
    #[error("the state machine panicked {when}: {message}; correct the program, then restart")]
    PanickedOverSnapshot {
        /// What it was to do.
        when: &'static str,
        /// What the panic said.
        message: String,
    },
    /// The state cannot be restored from a snapshot.
    #[error(transparent)]
    Restore(Arc<RestoreError>),
    /// A thread of the node itself panicked: a bug in quorate, noticed by an assertion before it
    /// could do harm. Please report it.
    #[error("the {thread} thread panicked: {message}; this is a bug in quorate, please report it")]
    Internal {
        /// Which.
        thread: &'static str,
        /// What the panic said.
        message: String,
    },
}

/// Threads which had not ended when the time for a shutdown was over. They end as soon as they
/// can; the process may also exit without them: nothing acknowledged is lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "still running after the time for a shutdown: {running:?} (a slow state machine?); wait for \
     stopped(), or exit without them"
)]
pub struct ShutdownTimeout {
    /// The names of the threads.
    pub running: Vec<&'static str>,
}

/// What became of a proposal that was not answered with a response.
///
/// What is known of it is never mixed: it surely has no effect, it may have one, it was executed and
/// its response cannot be read, or its session has something to say about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// It surely has not taken effect, and never will: it is safe to send it again.
    #[error(transparent)]
    NotProposed(#[from] NotProposed),
    /// It may have been applied, or may still be. To propose it again could apply it twice, under a
    /// [`Session`](crate::Session) or by a [`Client`](crate::Client) as well: those have sent it again
    /// by themselves, under the same number, until their time was over, and would give it a new
    /// number. Read what the state is, or have commands carry names of their own by which the state
    /// machine knows them again.
    #[error(
        "the outcome is unknown: the command may have been applied, or may still be; read what the \
         state is before you propose it again"
    )]
    Unknown,
    /// The session does not let it pass.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A [`Client`](crate::Client)'s: the command was executed, once, and the client cannot read what it
    /// was answered. Its types are not those of the cluster, or the response is not plain serde data. To
    /// propose it again would execute it twice: give the client the cluster's types, and read what the
    /// command has done.
    #[error(
        "the command was executed, once, but its response cannot be read; the client's types must be \
         those of the cluster, and plain serde data; read what the command has done"
    )]
    ResponseUnreadable,
}

impl RequestError {
    /// True if the command surely has not taken effect and never will.
    #[must_use]
    pub fn surely_not_applied(self) -> bool {
        matches!(
            self,
            RequestError::NotProposed(_) | RequestError::Session(SessionError::WindowExceeded)
        )
    }

    /// True if it surely was not applied, and the same node is likely to take it a little later: there
    /// is no use in another node.
    #[must_use]
    pub fn is_transient(self) -> bool {
        match self {
            RequestError::NotProposed(why) => {
                matches!(why, NotProposed::Busy | NotProposed::Overdue | NotProposed::DiskFull)
            }
            RequestError::Session(why) => why == SessionError::WindowExceeded,
            RequestError::Unknown | RequestError::ResponseUnreadable => false,
        }
    }
}

/// Why a request surely has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum NotProposed {
    /// Too much is waiting already.
    #[error("not proposed: too many requests are waiting; send it again a little later")]
    Busy,
    /// The leader's disk is full.
    #[error("not proposed: the leader's disk is full; make room there, then send it again")]
    DiskFull,
    /// No leader was found in time. A [`Client`](crate::Client) says so, too, if it reached no node that
    /// serves. Whether no address answers or the cluster has another name, only the program's log
    /// (`tracing`) tells.
    #[error(
        "not proposed: no leader was found in time; send it again once a majority of the nodes is \
         up, or all of them if the cluster was never formed"
    )]
    NoLeader,
    /// It is larger than [`max_command_bytes`](crate::Settings::max_command_bytes).
    #[error(
        "not proposed: it is larger than max_command_bytes; split it, or raise that setting on all \
         nodes"
    )]
    TooLarge,
    /// It cannot be serialized, or not be read back.
    #[error(
        "not proposed: it cannot be serialized and read back; its type must be plain serde data, for \
         a format that does not describe itself (postcard)"
    )]
    Unencodable,
    /// The other end could not read it.
    #[error(
        "not proposed: the node cannot read it; the client's types must be those of the cluster"
    )]
    Unreadable,
    /// The node is being shut down, or has stopped.
    #[error("not proposed: the node is shutting down or has stopped; send it to another one")]
    ShuttingDown,
    /// What the leader took before waits too long for a majority to save it, or for the state machine.
    #[error(
        "not proposed: requests before it are overdue: the disks of a majority may be full or slow, \
         or the load too high; send it again a little later"
    )]
    Overdue,
}

/// What a session has to say about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The session is unknown: it was evicted because others were used more recently.
    #[error(
        "the session has expired; what was outstanding in it may or may not have been applied; \
         open another one"
    )]
    Expired,
    /// Too many requests of the session are outstanding; this one was not applied.
    #[error("too many requests of the session are outstanding; not applied; send it again later")]
    WindowExceeded,
    /// The session was told before that the response to this request is no longer wanted.
    #[error(
        "the response to this request was acknowledged before and is no longer kept; read what it \
         has done"
    )]
    Acknowledged,
    /// The request was executed, once. Its response was lost on the way and is no longer kept, since
    /// it, or what others were answered since, was too large; or its type cannot be encoded and read
    /// back, which takes plain serde data.
    #[error(
        "the request was executed, once, but its response is not to be had: it was lost and is no \
         longer kept, or its type cannot be encoded and read back; read what the request has done. \
         Raise max_response_bytes, or make the type plain serde data"
    )]
    ResponseDropped,
}

/// Why a read was not answered. A read has no effect: to ask again does no harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Too much is waiting already.
    #[error("too many requests are waiting; ask again a little later")]
    Busy,
    /// No leader confirmed in time that the state is current.
    #[error(
        "no leader confirmed in time that the state is current; ask again, or read locally if an \
         older state will do"
    )]
    NoLeader,
    /// The state machine panicked over this query. The node goes on.
    #[error("the state machine panicked over this query; correct the program")]
    Panicked,
    /// The query, or its answer, cannot be serialized.
    #[error("the query or its answer cannot be serialized; its type must be plain serde data")]
    Unencodable,
    /// The other end could not read it.
    #[error("the node cannot read the query; the client's types must be those of the cluster")]
    Unreadable,
    /// The node is being shut down, or has stopped.
    #[error("the node is shutting down or has stopped; ask another one")]
    ShuttingDown,
    /// The query is larger than [`max_command_bytes`](crate::Settings::max_command_bytes), or its
    /// answer is larger than can be sent.
    #[error("the query or its answer is too large; ask for less at once")]
    TooLarge,
    /// A [`Client`](crate::Client)'s: no node answered in time. Whether no address answers or the cluster
    /// has another name, only the program's log (`tracing`) tells.
    #[error(
        "no node answered in time; is one up, are the addresses and the cluster's name right (the \
         program's log says what came of each address), and was the cluster ever formed?"
    )]
    Unreachable,
    /// A [`Client`](crate::Client)'s: there is an answer, and the client cannot read it. Its types are
    /// not those of the cluster, or the answer is not plain serde data.
    #[error(
        "the answer cannot be read; the client's types must be those of the cluster, and plain serde \
         data"
    )]
    AnswerUnreadable,
}

impl ReadError {
    /// True if the same node is likely to answer a little later: there is no use in another node.
    #[must_use]
    pub fn is_transient(self) -> bool {
        self == ReadError::Busy
    }
}

impl From<Failure> for RequestError {
    fn from(failure: Failure) -> RequestError {
        RequestError::NotProposed(match failure {
            Failure::Busy => NotProposed::Busy,
            Failure::Overdue => NotProposed::Overdue,
            Failure::DiskFull => NotProposed::DiskFull,
            Failure::NoLeader => NotProposed::NoLeader,
            Failure::TooLarge => NotProposed::TooLarge,
            // What a later version of core may add is not known to be harmless.
            _ => return RequestError::Unknown,
        })
    }
}

impl From<Failure> for ReadError {
    fn from(failure: Failure) -> ReadError {
        match failure {
            Failure::Busy => ReadError::Busy,
            _ => ReadError::NoLeader,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_replica_refuses_surely_has_no_effect_and_keeps_its_reason() {
        for (failure, why, of_read) in [
            (Failure::Busy, NotProposed::Busy, ReadError::Busy),
            (Failure::Overdue, NotProposed::Overdue, ReadError::NoLeader),
            (Failure::DiskFull, NotProposed::DiskFull, ReadError::NoLeader),
            (Failure::NoLeader, NotProposed::NoLeader, ReadError::NoLeader),
            (Failure::TooLarge, NotProposed::TooLarge, ReadError::NoLeader),
        ] {
            assert_eq!(RequestError::from(failure), why.into());
            assert_eq!(ReadError::from(failure), of_read);
            assert!(RequestError::from(failure).surely_not_applied());
        }
        assert_eq!(RequestError::from(Failure::Unknown), RequestError::Unknown);
    }

    #[test]
    fn what_a_node_takes_a_little_later_is_transient_and_what_it_may_have_done_is_not() {
        for error in [
            RequestError::from(NotProposed::Busy),
            NotProposed::Overdue.into(),
            NotProposed::DiskFull.into(),
            SessionError::WindowExceeded.into(),
        ] {
            assert!(error.is_transient() && error.surely_not_applied(), "{error}");
        }
        for error in [
            RequestError::from(NotProposed::NoLeader),
            NotProposed::Unreadable.into(),
            RequestError::Unknown,
            RequestError::ResponseUnreadable,
            SessionError::Expired.into(),
        ] {
            assert!(!error.is_transient(), "{error}");
        }
        assert!(ReadError::Busy.is_transient());
        for error in [ReadError::NoLeader, ReadError::Unreachable, ReadError::AnswerUnreadable] {
            assert!(!error.is_transient(), "{error}");
        }
    }

    #[test]
    fn no_text_says_what_its_source_says() {
        fn is_said_twice(error: &dyn std::error::Error) -> bool {
            let text = error.to_string();
            let mut sources = std::iter::successors(error.source(), |&error| error.source());
            sources.any(|source| text.contains(&source.to_string()))
        }
        let source = || io::Error::from(io::ErrorKind::AddrInUse);
        let path = PathBuf::from("data");
        for error in [
            StartError::DataDir { path, source: source() },
            StartError::Bind { address: "a:1".to_owned(), source: source() },
            StartError::System(source()),
            StartError::Config(SettingsError::Election.into()),
            StartError::Stopped(StopReason::Fatal(Fatal::LostAlone)),
        ] {
            assert!(!is_said_twice(&error), "{error}");
        }
        for error in [RequestError::from(NotProposed::Busy), SessionError::Expired.into()] {
            assert!(!is_said_twice(&error), "{error}");
        }
        assert!(RequestError::from(NotProposed::Busy).to_string().starts_with("not proposed: "));
    }

    #[test]
    fn only_what_was_refused_surely_has_no_effect() {
        assert!(RequestError::from(SessionError::WindowExceeded).surely_not_applied());
        for error in [
            RequestError::Unknown,
            RequestError::ResponseUnreadable,
            SessionError::Expired.into(),
            SessionError::Acknowledged.into(),
            SessionError::ResponseDropped.into(),
        ] {
            assert!(!error.surely_not_applied(), "{error}");
        }
    }
}
