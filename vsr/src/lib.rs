//! Viewstamped Replication: how a group of replicas agrees on one log.
//!
//! The protocol is that of Liskov and Cowling, "Viewstamped Replication Revisited" (2012), with
//! its state on disk. It is written as a pure, deterministic state machine, [`Vsr`], an
//! implementation of [`quorate_core::Protocol`]: one input in, effects out.

mod backup;
mod departure;
mod fault;
mod message;
mod pledge;
mod primary;
mod progress;
mod server;
mod state_transfer;
mod succession;
mod view_change;
mod vsr;

pub use fault::PeerFault;
pub use message::{DoViewChange, Message, Stretch};
pub use pledge::Pledge;
pub use vsr::Vsr;

#[cfg(test)]
mod tests;
