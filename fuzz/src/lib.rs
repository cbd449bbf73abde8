//! Fuzz targets: each a function from bytes to nothing, which panics when a promise is broken.
//!
//! `cargo +nightly fuzz run NAME` searches for such bytes; `cargo test --no-default-features`
//! needs no nightly and replays the seeds, the regressions, and some thousand pseudo-random and
//! mutated inputs.
//!
//! | target | what is promised |
//! | --- | --- |
//! | `frames` | frames and requests are the same however the stream is cut; damage is noticed |
//! | `handshake` | either side of a handshake survives whatever the other one says |
//! | `messages` | what peers and clients say decodes to something that keeps its bytes, or not at all |
//! | `resp` | requests to the key-value server are the same however they are cut |
//! | `sessions` | the session table does what a naive one does, also across snapshots |
//! | `formats` | headers of what is on disk, under checksums that fit, keep what they say |
//! | `recovery` | a directory of arbitrary files opens, or an error says why not |
//! | `damage` | a damaged log yields what was written, gaps, or an error |
//! | `meta` | no damage to the meta file takes back what it vouched for |
//! | `wal_actions` | the log is that of one of the writes, and of none before the last saved one |
//! | `snapshot_files` | every byte that a snapshot yields is one that was written |
//! | `snapshot_transfer` | whatever chunks come in whichever order, what is complete is whole |
//! | `replica_raft`, `replica_vsr` | no peer's messages make a replica panic |

pub mod damage;
pub mod formats;
pub mod frames;
pub mod handshake;
pub mod messages;
pub mod meta;
mod net;
pub mod random;
pub mod recovery;
pub mod replica;
pub mod resp;
pub mod sessions;
pub mod snapshot_files;
pub mod snapshot_transfer;
pub mod storage;
pub mod wal_actions;

/// A target, with its name and the seeds from which its corpus starts.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "formats", run: formats::run, seeds: formats::seeds },
    Target { name: "frames", run: frames::run, seeds: frames::seeds },
    Target { name: "handshake", run: handshake::run, seeds: handshake::seeds },
    Target { name: "messages", run: messages::run, seeds: messages::seeds },
    Target { name: "resp", run: resp::run, seeds: resp::seeds },
    Target { name: "sessions", run: sessions::run, seeds: random::seeds },
    Target { name: "recovery", run: recovery::run, seeds: recovery::seeds },
    Target { name: "damage", run: damage::run, seeds: random::seeds },
    Target { name: "meta", run: meta::run, seeds: random::seeds },
    Target { name: "wal_actions", run: wal_actions::run, seeds: random::seeds },
    Target { name: "snapshot_files", run: snapshot_files::run, seeds: random::seeds },
    Target { name: "snapshot_transfer", run: snapshot_transfer::run, seeds: random::seeds },
    Target { name: "replica_raft", run: replica::run::<quorate_raft::Raft>, seeds: random::seeds },
    Target { name: "replica_vsr", run: replica::run::<quorate_vsr::Vsr>, seeds: random::seeds },
];

/// For the files of the network layer.
mod error {
    pub use quorate::{ReadError, RequestError};
}

/// For the files of the network layer.
mod requests {
    pub use quorate::Read;
}
