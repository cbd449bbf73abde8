//! What the clients of a run want.

use std::time::Duration;

use quorate_core::{Settings, SnapshotMeta};

use super::{millis, sometimes};
use crate::rng::Rng;

/// What the clients do.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) clients: usize,
    pub(crate) keys: u64,
    /// Requests which one client has outstanding at most.
    pub(crate) window: usize,
    pub(crate) think: (Duration, Duration),
    pub(crate) payload_bytes: u64,
    /// How much state every snapshot carries beside what the clients wrote.
    pub(crate) ballast_bytes: u64,
    pub(crate) reads_ppm: u32,
    /// How many of the clients do nothing but read, and do not wait long before they read again:
    /// one that also writes has soon nothing but writes outstanding where a leader is cut off.
    pub(crate) readers: usize,
    pub(crate) sessionless_ppm: u32,
    pub(crate) expiring_ppm: u32,
    pub(crate) oversized_ppm: u32,
    /// How long a client waits before it asks another node.
    pub(crate) patience: Duration,
}

impl Load {
    pub(crate) fn draw(rng: &mut Rng, settings: &Settings) -> Load {
        let most = settings.session_window as u64;
        let ballast_bytes = rng.below(300);
        Load {
            clients: rng.between(3, 8) as usize,
            readers: rng.between(0, 2) as usize,
            keys: rng.between(1, 12),
            window: rng.between(1, most) as usize,
            think: (Duration::ZERO, millis(rng, 4..25)),
            payload_bytes: if rng.one_in(5) { 3000 } else { rng.between(10, 200) },
            ballast_bytes,
            reads_ppm: rng.between(50_000, 500_000) as u32,
            sessionless_ppm: sometimes(rng, 700_000),
            expiring_ppm: sometimes(rng, 300_000),
            oversized_ppm: sometimes(rng, 20_000),
            patience: millis(rng, 100..1500),
        }
    }

    /// A snapshot comes in several chunks, and what is written makes up for one before long.
    pub(crate) fn make_large(&mut self, rng: &mut Rng, settings: &mut Settings) {
        self.ballast_bytes = SnapshotMeta::CHUNK_BYTES + rng.below(SnapshotMeta::CHUNK_BYTES / 4);
        settings.max_command_bytes = 12 << 10;
        settings.uncommitted_bytes += settings.max_command_bytes;
        self.payload_bytes = settings.max_command_bytes as u64 - 200;
    }
}
