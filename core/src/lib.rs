//! What quorate's consensus protocols share; pure.
mod applier;
mod command;
mod entry;
mod event;
mod founding;
mod log;
mod machine;
mod membership;
mod message;
mod protocol;
pub mod quorum;
mod session;
mod settings;
mod snapshot;
mod types;
mod write;

pub use applier::{Applier, ApplyError, Batch, Outcome, RestoreError, SnapshotView};
pub use command::{Command, InSession, Origin, Register};
pub use entry::{Entry, EntryKind, Proposal};
pub use event::{Applied, Effect, Event, Failure, Fatal, FetchNext, Generation, Reader};
pub use founding::{FoundingMessage, FoundingRecord};
pub use log::{Log, Rejected};
pub use machine::{At, Snapshottable, StateMachine};
pub use membership::Membership;
pub use message::{Envelope, Forward, PeerMessage, Refusal};
pub use protocol::{
    Effects, Input, Pledge, Protocol, ProtocolEffect, ReadId, Role, Standing, Timer,
};
pub use session::{Sessions, Slot, Verdict};
pub use settings::{Settings, SettingsError};
pub use snapshot::{SnapshotId, SnapshotMessage, SnapshotMeta};
pub use types::{
    Ballot, Digest, Incarnation, Index, LogId, LogTime, NodeId, Now, RequestId, SessionId, WriteSeq,
};
pub use write::{Identity, PledgeBytes, Recovered, RecoveredLog, Run, Write};
