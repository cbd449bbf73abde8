//! What can be set.

use crate::error::StorageError;
use crate::frame::BLOCK;
use crate::group;

/// Sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// The size of every segment in bytes, at least 16 KiB, at most
    /// [`MAX_BYTES`](StoreOptions::MAX_BYTES) and a multiple of 4 KiB. `None`: 1 MiB while the log
    /// is small, growing with it to 64 MiB.
    pub segment_bytes: Option<u64>,
    /// The most that is written and synced at once, in bytes, but for a single write that is
    /// larger; also the most that is taken for a torn tail. At most
    /// [`MAX_BYTES`](StoreOptions::MAX_BYTES).
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
    /// No segment and no write may be larger, in bytes: what is read back is bounded by this.
    pub const MAX_BYTES: u64 = group::MAX_LEN;

    const SMALLEST: u64 = 1 << 20;
    const LARGEST: u64 = 64 << 20;

    pub(crate) fn validate(&self) -> Result<(), StorageError> {
        let is_too_large = |bytes: u64| bytes > Self::MAX_BYTES;
        if self.segment_bytes.is_some_and(is_too_large) || is_too_large(self.group_bytes as u64) {
            return Err(StorageError::OptionsTooLarge { max_bytes: Self::MAX_BYTES });
        }
        Ok(())
    }

    /// How far what is torn reaches at most: no group is longer than a block more than what is
    /// written at once, in whole blocks.
    pub(crate) fn max_group_bytes(&self) -> u64 {
        (self.group_bytes as u64).next_multiple_of(BLOCK) + BLOCK
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_grow_with_the_log_unless_their_size_is_given() {
        let grown = |total_mib: u64| StoreOptions::default().segment_bytes_for(total_mib << 20);
        let sizes = [0, 3, 4, 8, 15, 16, 63, 64, 127, 128, 1000, 1 << 30].map(grown);
        let expected = [1, 1, 2, 4, 4, 8, 16, 32, 32, 64, 64, 64];
        assert_eq!(sizes, expected.map(|mib: u64| mib << 20));
        let given = |bytes| {
            let options = StoreOptions { segment_bytes: Some(bytes), ..StoreOptions::default() };
            [0, 1 << 40].map(|total| options.segment_bytes_for(total))
        };
        assert_eq!(given(1), [16 << 10; 2]);
        assert_eq!(given(20_000), [20_480; 2]);
        assert_eq!(given(1 << 20), [1 << 20; 2]);
    }

    #[test]
    fn the_largest_sizes_are_allowed() {
        let most = StoreOptions::MAX_BYTES;
        let group_bytes = usize::try_from(most).unwrap();
        let largest = StoreOptions { segment_bytes: Some(most), group_bytes, tail_bytes: 0 };
        assert!(largest.validate().is_ok());
    }
}
