//! What a snapshot is called, and the messages with which one replica pulls it from another.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::membership::Membership;
use crate::types::{Digest, LogId, LogTime};

/// Everything about a snapshot but its content: the base on which a log can stand.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SnapshotMeta {
    /// The last entry whose effects the snapshot contains.
    pub last: LogId,
    /// Digest of that entry, so that the parent of the next one can be checked.
    pub digest: Digest,
    /// The members as of that entry.
    pub membership: Membership,
    /// Log time as of that entry.
    pub time: LogTime,
    /// Length of the content in bytes.
    pub size_bytes: u64,
    /// Digest of the content. Two replicas may write the same state as different bytes, so only
    /// snapshots with the same digest can be fetched in pieces from several peers.
    pub content: Digest,
}

impl SnapshotMeta {
    /// The content is checksummed, sent and stored in pieces of this many bytes; only the last
    /// one may be shorter.
    pub const CHUNK_BYTES: u64 = 1 << 20;

    /// How many chunks the content has. An empty content has none.
    #[must_use]
    pub fn chunks(&self) -> u64 {
        self.size_bytes.div_ceil(Self::CHUNK_BYTES)
    }

    /// The length that chunk number `chunk` must have, in bytes; 0 behind the end.
    #[must_use]
    pub fn chunk_bytes(&self, chunk: u64) -> u64 {
        let start = chunk.saturating_mul(Self::CHUNK_BYTES);
        self.size_bytes.saturating_sub(start).min(Self::CHUNK_BYTES)
    }

    /// What names this snapshot among all others.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        SnapshotId { last: self.last, content: self.content }
    }
}

/// Names a snapshot: what it covers, and which bytes it is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SnapshotId {
    /// The last entry whose effects the snapshot contains.
    pub last: LogId,
    /// Digest of the content.
    pub content: Digest,
}

/// Snapshot transfer: the receiver pulls chunk after chunk at its own pace, so a transfer
/// survives a broken connection or a change of leader where it stood.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SnapshotMessage {
    /// Please send this chunk.
    Fetch {
        /// The snapshot.
        snapshot: SnapshotId,
        /// Which of its chunks, from 0.
        chunk: u64,
    },
    /// Here it is.
    Chunk {
        /// The snapshot.
        snapshot: SnapshotId,
        /// Which of its chunks, from 0.
        chunk: u64,
        /// Digest of the bytes.
        checksum: Digest,
        /// The bytes.
        bytes: Bytes,
    },
    /// The snapshot is not here (any more): ask the leader which one to fetch.
    Gone {
        /// The snapshot.
        snapshot: SnapshotId,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(size_bytes: u64) -> SnapshotMeta {
        SnapshotMeta {
            last: LogId::ZERO,
            digest: Digest::ZERO,
            membership: Membership::default(),
            time: LogTime(0),
            size_bytes,
            content: Digest::ZERO,
        }
    }

    #[test]
    fn a_content_is_cut_into_full_chunks_and_a_rest() {
        let full = SnapshotMeta::CHUNK_BYTES;
        for (size_bytes, chunks) in [
            (0, vec![]),
            (1, vec![1]),
            (full, vec![full]),
            (full + 1, vec![full, 1]),
            (3 * full, vec![full; 3]),
        ] {
            let meta = of(size_bytes);
            assert_eq!(meta.chunks(), chunks.len() as u64, "{size_bytes}");
            let cut = (0..meta.chunks()).map(|chunk| meta.chunk_bytes(chunk));
            assert_eq!(cut.collect::<Vec<_>>(), chunks);
            assert_eq!((meta.chunk_bytes(meta.chunks()), meta.chunk_bytes(u64::MAX)), (0, 0));
        }
    }

    #[test]
    fn a_content_may_be_larger_than_32_bits_can_say() {
        let meta = of((5 << 30) + 3);
        let full = SnapshotMeta::CHUNK_BYTES;
        let ends = [(5 << 10) - 1, 5 << 10, (5 << 10) + 1].map(|chunk| meta.chunk_bytes(chunk));
        assert_eq!((meta.chunks(), ends), ((5 << 10) + 1, [full, 3, 0]));
    }
}
