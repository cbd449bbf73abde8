//! The tests of real nodes, under Raft.
#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

mod nodes;

/// The protocol which the nodes run.
pub const PROTOCOL: &str = "raft";
