//! A replicated key-value server that speaks the Redis protocol, built on quorate.
//!
//! Reading order: [`resp`] takes requests apart; a connection turns them into [`Op`]s and groups
//! these into [`Command`]s; the cluster puts commands into one order; [`Machine`] executes them.

mod blob;
mod buffers;
mod client;
mod cluster;
mod command;
mod connection;
mod glob;
mod info;
mod input;
mod limits;
mod local;
mod loopback;
mod machine;
mod node;
mod op;
mod pipeline;
mod replies;
pub mod resp;
#[cfg(test)]
mod semantics;
mod server;
mod snapshot;
mod store;

pub use blob::Blob;
pub use client::{Client, ClientError, encode_request};
pub use cluster::{Cluster, Level, ReadError, Standing, Status, WriteError};
pub use command::CommandError;
pub use limits::MAX_REQUEST_BYTES;
pub use loopback::Loopback;
pub use machine::{MAX_ANSWER_BYTES, MAX_RESPONSE_BYTES, MAX_VALUE_BYTES, Machine, parse_integer};
pub use op::{
    Command, Condition, Deadline, ExpireCondition, ExpireOrder, Expiry, Failure, KeyType, Op,
    Query, Read, Reply, SetAnswer, Write,
};
pub use server::{ServerOptions, serve};
