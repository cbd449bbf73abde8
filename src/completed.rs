//! What the threads tell the loop.

use bytes::Bytes;
use quorate_core::{
    Batch, Entry, FetchNext, Gap, Generation, Index, LogTime, NodeId, Reader, SnapshotId,
    SnapshotMeta, StateMachine, WriteSeq,
};

/// Work that was done elsewhere. As [`Event`](quorate_core::Event), but for what is meant for the
/// shell itself.
pub(crate) enum Completed<S: StateMachine> {
    Saved(WriteSeq),
    Sworn(WriteSeq),
    Room(bool),
    Applied(Batch<S>),
    Restored {
        generation: Generation,
        deadline: Option<LogTime>,
    },
    EntriesRead {
        reader: Reader,
        from: Index,
        entries: Vec<Entry>,
    },
    /// What could not be read is damaged here.
    Damaged(Vec<Gap>),
    Scrubbed {
        next: Index,
        gaps: Vec<Gap>,
    },
    SnapshotBuilt(Option<SnapshotMeta>),
    ChunkRead {
        to: NodeId,
        snapshot: SnapshotId,
        chunk: u64,
        bytes: Option<Bytes>,
    },
    FetchProgress {
        snapshot: SnapshotId,
        next: FetchNext,
    },
    /// The user wants the node to shut down in good order.
    ShutDown,
}

impl<S: StateMachine> Completed<S> {
    /// What it takes of memory, in bytes, beyond a fixed part.
    pub(crate) fn cost_bytes(&self) -> usize {
        match self {
            Completed::EntriesRead { entries, .. } => entries.iter().map(Entry::size_bytes).sum(),
            Completed::ChunkRead { bytes, .. } => bytes.as_ref().map_or(0, Bytes::len),
            _ => 0,
        }
    }
}
