//! How fast snapshots are written.

use std::time::{Duration, Instant};

use crate::threads::Stopper;

/// After so many bytes it is time for a rest, if they were written too fast.
const PORTION_BYTES: u64 = 1 << 20;

/// The longest sleep from which a shutdown has to wait for this thread.
const NAP: Duration = Duration::from_millis(100);

/// Keeps writing at a steady rate: who writes the log, and whoever shares the disk, would be held up by
/// a snapshot that is written as fast as the disk allows.
pub(crate) struct Pace {
    bytes_per_second: u64,
    /// What was written since then.
    written: u64,
    since: Instant,
}

impl Pace {
    pub(crate) fn new(bytes_per_second: u64) -> Pace {
        Pace { bytes_per_second, written: 0, since: Instant::now() }
    }

    /// What was written since the last rest.
    #[cfg(test)]
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// So many bytes were written: rests, if that was too fast. Not while the node stops.
    pub(crate) fn wrote(&mut self, bytes: usize, stopper: &Stopper) {
        self.written += bytes as u64;
        if self.written < PORTION_BYTES {
            return;
        }
        let due = self.since + due_after(self.written, self.bytes_per_second);
        while let Some(rest) = due.checked_duration_since(Instant::now())
            && !rest.is_zero()
            && !stopper.is_stopping()
        {
            std::thread::sleep(rest.min(NAP));
        }
        self.written = 0;
        self.since = Instant::now();
    }
}

/// How long so many bytes take at this rate.
fn due_after(bytes: u64, bytes_per_second: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(bytes_per_second.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::StopReason;

    const MIB: usize = 1 << 20;

    #[test]
    fn what_is_written_takes_its_time() {
        let begun = Instant::now();
        let (mut pace, stopper) = (Pace::new(20 * MIB as u64), Stopper::default());
        for _ in 0..8 {
            pace.wrote(MIB / 2, &stopper);
        }
        assert!(begun.elapsed() >= Duration::from_millis(200));
    }

    #[test]
    fn a_rate_may_be_anything() {
        assert_eq!(due_after(MIB as u64, u64::MAX), Duration::ZERO);
        assert_eq!(due_after(1 << 20, 1 << 24), Duration::from_micros(62_500));
        assert_eq!(due_after(u64::MAX, 0), Duration::from_nanos(u64::MAX));
    }

    #[test]
    fn a_node_that_stops_does_not_rest() {
        let stopper = Stopper::default();
        stopper.stop(StopReason::Shutdown);
        let begun = Instant::now();
        Pace::new(1 << 18).wrote(2 * MIB, &stopper);
        assert!(begun.elapsed() < Duration::from_secs(8));
    }
}
