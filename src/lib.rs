//! quorate.

mod apply_thread;
mod client;
mod completed;
mod config;
mod error;
mod event_loop;
mod helpers;
mod net;
mod node;
mod requests;
mod session;
mod start;
mod status;
mod storage_thread;
mod threads;

pub use client::{Client, ConnectError};
pub use config::{Builder, DefaultMachine, GivenMachine, MachineSource};
pub use error::{
    ConfigError, NotProposed, ReadError, RequestError, SessionError, ShutdownTimeout, StartError,
    StopReason,
};
pub use net::{Acceptor, Connection, TcpTransport, Transport};
pub use node::Node;
pub use quorate_core::{
    ApplyError, At, Ballot, Digest, Fatal, Ignored, Incarnation, Index, LogId, LogTime, Membership,
    NodeId, RestoreError, Role, SessionId, Settings, SettingsError, SnapshotMeta, Snapshottable,
    StateMachine,
};
pub use quorate_raft::Raft;
pub use quorate_storage::StorageError;
pub use requests::Read;
pub use session::Session;
pub use status::{LastElection, PeerStatus, Status};
