//! State-machine replication: write a state machine, get a replicated, durable, linearizable
//! service.
//!
//! Implement [`StateMachine`]: what a command does to the state, and what a query answers. Start a
//! [`Node`] for each member of the cluster. Every node takes commands and queries; each command is
//! put into one order by consensus, saved by a majority, and executed by all in that order.
//!
//! The first time, all members have to be up at once: they found the cluster together. From then on a
//! majority is enough.
//!
//! ```no_run
//! use quorate::{At, Node, Raft, Read, StateMachine};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Default, Clone, Serialize, Deserialize)]
//! struct Counter {
//!     value: i64,
//! }
//!
//! impl StateMachine for Counter {
//!     type Command = i64;
//!     type Response = i64;
//!     type Query = ();
//!     type Answer = i64;
//!
//!     fn apply(&mut self, _: &At, add: i64) -> i64 {
//!         self.value += add;
//!         self.value
//!     }
//!
//!     fn query(&self, _: &At, (): ()) -> i64 {
//!         self.value
//!     }
//! }
//!
//! # async fn one_of_three() -> Result<(), Box<dyn std::error::Error>> {
//! let node = Node::<Raft, Counter>::builder()
//!     .id(1)
//!     .members([(1, "10.0.0.1:7001"), (2, "10.0.0.2:7001"), (3, "10.0.0.3:7001")])
//!     .data_dir("data/1")
//!     .start()
//!     .await?;
//! let total = node.propose(5).await?;
//! let value = node.read(Read::Linearizable, ()).await?;
//! # let _ = (total, value);
//! node.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//!
//! - A command that was answered is on the disks of a majority and survives the loss of any
//!   minority. Three outcomes are never mixed: answered, [surely without
//!   effect](RequestError::NotProposed), [unknown](RequestError::Unknown).
//! - Each call of `propose`, at a [`Node`], under a [`Session`] or by a [`Client`] from outside, takes
//!   effect at most once, however often the command has to be sent. A process that has crashed does not
//!   know what became of its last calls: [`Client`](Client#exactly-once) says what to do then.
//! - A [linearizable](Read::Linearizable) read sees every write that was answered before it began,
//!   whichever nodes were asked.
//! - Disks tear and rot, networks lose and repeat, clocks jump: they lose nothing that was answered
//!   while a majority keeps its disks. `docs/VERIFICATION.md` and `docs/ARCHITECTURE.md` name the
//!   limits. A node whose disk fails [stops](StopReason), and says why.
//!
//! # Around the state machine
//!
//! - [`Settings`]: times and limits. [`Builder`]: everything else that is set.
//! - [`Node::status`]: who leads, how far everybody is. The crate `tracing` gets what is worth a
//!   line, in a span that names cluster and node.
//! - [`Client`]: for programs that are no members, as in `examples/locks.rs`, a lock service with leases.
//! - [`Builder::record_to`] and [`Recording`]: what a node was told, replayed effect by effect to find
//!   a bug.
//! - [`Transport`]: connections other than plain TCP.
//! - [`Raft`] and [`Vsr`] are implementations of [`Protocol`]. To implement a protocol of your own,
//!   use the crate `quorate-core`, which has all that the trait is made of.
//! - A state that is plain `Clone` and serde data is [`Snapshottable`] by itself; one that is large
//!   says how its snapshots are taken.

mod apply_thread;
mod client;
mod completed;
mod config;
mod error;
mod event_loop;
mod helpers;
mod net;
mod node;
mod open_files;
mod recording;
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
    ApplyError, At, Ballot, Difference, Digest, Divergence, EntryKind, Fatal, Ignored, Incarnation,
    Index, LogId, LogTime, Membership, NodeId, PeerFaults, Protocol, Replayed, RestoreError, Role,
    SessionId, Settings, SettingsError, SnapshotId, SnapshotMeta, Snapshottable, StateMachine,
};
pub use quorate_raft::Raft;
pub use quorate_storage::{Damage, SnapshotDamage, SnapshotError, StorageError};
pub use quorate_vsr::Vsr;
pub use recording::{Batches, Ending, Moment, Recording, RecordingError, ReplayError};
pub use requests::Read;
pub use session::Session;
pub use status::{LastElection, PeerStatus, Status};
