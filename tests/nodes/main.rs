//! Nodes in one process, with real sockets and files. One program: what takes long to build is what
//! a node is made of, and that is the same for all of them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cluster;
mod common;
mod data_dir;
mod gate;
mod overload;
mod protocols;
mod proxies;
mod recording;
mod sessions;
mod state_machine;
mod strangers;
