//! What quorate's consensus protocols share.
//!
//! State-machine replication needs much more than consensus: a log whose durability is tracked
//! exactly, snapshots, sessions that make retries harmless, a way to found a cluster so that a
//! wiped disk cannot vote, forwarding, reads, log time. All of that is the same for Raft and for
//! Viewstamped Replication, and lives here, in two pure machines:
//!
//! - [`Replica`] orders. It joins a [`Protocol`] to a [`Log`], takes one [`Event`] at a time and
//!   answers with [`Effect`]s.
//! - [`Applier`] executes. It joins a user's [`StateMachine`] to the session table and log time.
//!
//! What a replica is told can be kept ([`Recorded`]), and told to another one, which is compared with
//! the first ([`Replay`]).
//!
//! Neither knows a clock, a thread, a socket or a file. A shell feeds them events and carries the
//! effects out; the real one and the simulated one do so with the same code inside.

mod applier;
mod command;
mod entry;
mod event;
mod founding;
mod lineage;
mod log;
mod machine;
mod membership;
mod message;
mod protocol;
pub mod quorum;
mod reads;
mod recorded;
mod recording;
mod replay;
mod replica;
mod session;
mod settings;
mod snapshot;
mod types;
mod window;
mod write;

pub use applier::{Applier, ApplyError, Batch, Outcome, RestoreError, SnapshotView};
pub use command::{Command, InSession, Origin, Register};
pub use entry::{Entry, EntryKind, Proposal};
pub use event::{Applied, Effect, Event, Failure, Fatal, FetchNext, Generation, Reader};
pub use founding::{FoundingMessage, FoundingRecord};
pub use lineage::Lineage;
pub use log::{Log, Rejected};
pub use machine::{At, Snapshottable, StateMachine};
pub use membership::Membership;
pub use message::{Envelope, Forward, Known, PeerMessage, Place, Refusal};
pub use protocol::{
    Effects, Input, PeerFaults, Pledge, Protocol, ProtocolEffect, ReadId, Role, Standing, Timer,
};
pub use reads::{Reads, Rounds};
pub use recorded::{MemTape, Recorded, Tape};
pub use recording::{Call, RecordedCall, RecordedStart, Recorder};
pub use replay::{CameOut, Difference, Divergence, Replay, Replayed, Started};
pub use replica::{Ignored, Readmission, Repair, Replica, ReplicaConfig, Status};
pub use session::{Sessions, Slot, Verdict};
pub use settings::{Settings, SettingsError};
pub use snapshot::{SnapshotId, SnapshotMessage, SnapshotMeta};
pub use types::{
    Ballot, Digest, Incarnation, Index, LogId, LogTime, NodeId, Now, RequestId, SessionId, Start,
    WriteSeq,
};
pub use window::Window;
pub use write::{Disk, Gap, Identity, PledgeBytes, Recovered, RecoveredLog, Run, Write};
