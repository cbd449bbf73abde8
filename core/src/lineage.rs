//! The starts of processes on one disk, in which an old image of it differs from the disk.

use serde::{Deserialize, Serialize};

use crate::types::Start;

/// How many times a process was started on a disk, and which the last of these starts were.
/// Durable before the process speaks.
///
/// An image shares with its disk the starts up to the moment when it was taken. Whatever is
/// started on it afterwards has other nonces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lineage {
    count: u64,
    /// Of the last starts, latest last.
    nonces: Vec<u64>,
}

impl Lineage {
    /// How many starts are known by name. An image which is started more often than that before
    /// anybody hears from it is not told from a disk.
    pub const KEPT: usize = 64;

    /// Another start, with a nonce drawn at random.
    pub fn begin(&mut self, nonce: u64) {
        self.count += 1;
        if self.nonces.len() == Lineage::KEPT {
            self.nonces.remove(0);
        }
        self.nonces.push(nonce);
    }

    /// The start that is underway; `Start::default()` on a disk on which none ever was.
    #[must_use]
    pub fn latest(&self) -> Start {
        Start { count: self.count, nonce: self.nonces.last().copied().unwrap_or_default() }
    }

    /// The nonce of the start before that; zero if there was none.
    #[must_use]
    pub fn previous_nonce(&self) -> u64 {
        self.nonces.iter().rev().nth(1).copied().unwrap_or_default()
    }

    /// False if `start`, which was on this disk or on one of which this is an image, is not among
    /// the starts here: then this is an old image. True if it is, or is too long ago to tell.
    #[must_use]
    pub fn may_include(&self, start: Start) -> bool {
        let Some(ago) = self.count.checked_sub(start.count) else { return false };
        let known = usize::try_from(ago).ok().and_then(|ago| self.nonces.iter().rev().nth(ago));
        known.is_none_or(|nonce| *nonce == start.nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(nonces: impl IntoIterator<Item = u64>) -> Lineage {
        let mut lineage = Lineage::default();
        nonces.into_iter().for_each(|nonce| lineage.begin(nonce));
        lineage
    }

    fn start(count: u64, nonce: u64) -> Start {
        Start { count, nonce }
    }

    #[test]
    fn a_disk_knows_its_own_starts_and_no_others() {
        let disk = of([11, 12, 13]);
        assert_eq!((disk.latest(), disk.previous_nonce()), (start(3, 13), 12));
        assert!(disk.may_include(start(1, 11)) && disk.may_include(start(3, 13)));
        assert!(!disk.may_include(start(3, 99)), "another one of the same count");
        assert!(!disk.may_include(start(2, 99)), "an image that was started more often");
        assert!(!disk.may_include(start(4, 14)), "a later one");
        assert_eq!((of([]).latest(), of([5]).previous_nonce()), (Start::default(), 0));
    }

    #[test]
    fn of_what_is_long_ago_nobody_can_tell() {
        let kept = Lineage::KEPT as u64;
        let disk = of(1..=kept + 1);
        assert_eq!(disk.latest(), start(kept + 1, kept + 1));
        assert!(disk.may_include(start(1, 99)));
        assert!(disk.may_include(start(2, 2)) && !disk.may_include(start(2, 99)));
    }
}
