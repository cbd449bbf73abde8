//! Raft.

mod candidate;
mod fault;
mod follower;
mod leader;
mod message;
mod pledge;
mod progress;
mod raft;
mod read;
mod server;

pub use fault::PeerFault;
pub use message::{AppendEntries, AppendEntriesReply, Appended, Message};
pub use pledge::Pledge;
pub use raft::Raft;

#[cfg(test)]
mod tests;
