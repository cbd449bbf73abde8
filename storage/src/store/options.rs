//! What can be set.

use crate::frame::BLOCK;

/// Sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// The size of every segment in bytes, at least 16 KiB and a multiple of 4 KiB. `None`: 1 MiB
    /// while the log is small, growing with it to 64 MiB.
    pub segment_bytes: Option<u64>,
    /// The most that is written and synced at once, in bytes, but for a single write that is
    /// larger; also the most that is taken for a torn tail.
    pub group_bytes: usize,
    /// How much of the log's end is read into memory when a directory is opened, in bytes by
    /// [`Entry::size_bytes`](quorate_core::Entry::size_bytes).
    pub tail_bytes: usize,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions { segment_bytes: None, group_bytes: 4 << 20, tail_bytes: 64 << 20 }
    }
}

impl StoreOptions {
    const SMALLEST: u64 = 1 << 20;
    const LARGEST: u64 = 64 << 20;

    pub(crate) fn first_segment_bytes(&self) -> u64 {
        self.segment_bytes_for(0)
    }

    /// The size of the next segment of a log that takes up so much.
    pub(crate) fn segment_bytes_for(&self, total_bytes: u64) -> u64 {
        match self.segment_bytes {
            Some(bytes) => bytes.max(4 * BLOCK).next_multiple_of(BLOCK),
            None => (total_bytes / 4 + 1).next_power_of_two().clamp(Self::SMALLEST, Self::LARGEST),
        }
    }
}
