//! Raft and Viewstamped Replication in clusters that are small enough to look at all of them.

#[cfg(feature = "explorer")]
mod agreement;
mod canaries;
mod exhaustion;
