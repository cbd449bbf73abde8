//! How fast snapshots are written.

use std::time::{Duration, Instant};

/// After so many bytes it is time for a rest, if they were written too fast.
const PORTION_BYTES: u64 = 1 << 20;

/// The longest sleep: for so long, whatever is urgent waits for this thread.
const NAP: Duration = Duration::from_millis(100);

/// Keeps writing at a steady rate: who writes the log, and whoever shares the disk, would be held up by
/// a snapshot that is written as fast as the disk allows.
///
/// A large one is written faster, so that it does not take longer than it should: meanwhile the log
/// before it is kept, the memory of its state is too, and whoever fetches it does not count.
pub(crate) struct Pace {
    bytes_per_second: u64,
    /// What one snapshot should take at most.
    longest: Duration,
    /// How large this one is, as far as that is known.
    snapshot_bytes: u64,
    /// What was written of it.
    written_of_it: u64,
    /// What was written since then.
    written: u64,
    since: Instant,
}

impl Pace {
    pub(crate) fn new(bytes_per_second: u64, longest: Duration) -> Pace {
        let since = Instant::now();
        let (snapshot_bytes, written_of_it, written) = (0, 0, 0);
        Pace { bytes_per_second, longest, snapshot_bytes, written_of_it, written, since }
    }

    /// Another snapshot is written, of about that size.
    pub(crate) fn begin(&mut self, snapshot_bytes: u64) {
        self.snapshot_bytes = snapshot_bytes;
        self.written_of_it = 0;
    }

    /// So many bytes were written: rests, if that was too fast, until something else is urgent.
    pub(crate) fn wrote(&mut self, bytes: usize, is_urgent: impl Fn() -> bool) {
        self.written += bytes as u64;
        self.written_of_it += bytes as u64;
        if self.written < PORTION_BYTES {
            return;
        }
        let due = self.since + self.time_for(self.written);
        while let Some(rest) = due.checked_duration_since(Instant::now())
            && !rest.is_zero()
            && !is_urgent()
        {
            std::thread::sleep(rest.min(NAP));
        }
        self.written = 0;
        self.since = Instant::now();
    }

    /// What was written of this snapshot.
    #[cfg(test)]
    pub(super) fn written_of_it(&self) -> u64 {
        self.written_of_it
    }

    /// What so many bytes should take.
    fn time_for(&self, bytes: u64) -> Duration {
        let steady = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second.max(1));
        let share = self.longest.as_nanos().saturating_mul(u128::from(bytes));
        let at_most = share / u128::from(self.size().max(1));
        Duration::from_nanos(u64::try_from(steady.min(at_most)).unwrap_or(u64::MAX))
    }

    fn size(&self) -> u64 {
        self.snapshot_bytes.max(self.written_of_it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;
    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_written_takes_its_time() {
        let begun = Instant::now();
        let mut pace = Pace::new(20 * MIB as u64, MINUTE);
        for _ in 0..8 {
            pace.wrote(MIB / 2, || false);
        }
        assert!(begun.elapsed() >= Duration::from_millis(200));
    }

    #[test]
    fn a_large_snapshot_is_written_faster_and_takes_no_longer_than_it_should() {
        let mut pace = Pace::new(1 << 24, MINUTE);
        pace.begin(1 << 20);
        assert_eq!(pace.time_for(1 << 20), Duration::from_micros(62_500));
        pace.begin(60 << 24);
        assert_eq!(pace.time_for(1 << 20), Duration::from_micros(62_500));
        pace.begin(120 << 24);
        assert_eq!(pace.time_for(1 << 20), Duration::from_micros(31_250));
        assert_eq!(pace.time_for(120 << 24), MINUTE);
        // What is larger than it was thought to be shows while it is written.
        pace.begin(0);
        pace.written_of_it = 240 << 24;
        assert_eq!(pace.time_for(240 << 24), MINUTE);
    }

    #[test]
    fn a_rate_may_be_anything() {
        let mut pace = Pace::new(u64::MAX, MINUTE);
        pace.begin(1 << 30);
        assert_eq!(pace.time_for(1 << 20), Duration::ZERO);
        let mut pace = Pace::new(0, MINUTE);
        pace.begin(1 << 20);
        assert_eq!(pace.time_for(1 << 20), MINUTE);
        assert_eq!(Pace::new(1, Duration::MAX).time_for(u64::MAX), Duration::from_nanos(u64::MAX));
    }

    #[test]
    fn what_is_urgent_does_not_wait_for_the_pace() {
        let begun = Instant::now();
        let mut pace = Pace::new(1, MINUTE);
        pace.begin(2 * MIB as u64);
        pace.wrote(2 * MIB, || true);
        // It would take all of that otherwise.
        assert!(begun.elapsed() < MINUTE);
    }
}
