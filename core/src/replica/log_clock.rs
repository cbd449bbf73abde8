//! What a leader stamps its entries with.

use std::time::Duration;

use crate::types::{LogTime, Now};

/// Log time as it passes at a leader: it follows the monotonic clock from the last entry's
/// timestamp on, and drifts towards the wall clock by at most a tenth of the time that passes.
/// While no deadline depends on it, it steps forward to the wall clock at once.
///
/// So a wall clock that jumps cannot make everything expire, and an outage lengthens deadlines
/// rather than shortening them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LogClock {
    time: Duration,
    read_at: Duration,
}

impl LogClock {
    /// The clock of one who begins to lead with a log that ends at `last`.
    pub(super) fn starting_at(last: LogTime, now: Now) -> LogClock {
        LogClock { time: Duration::from_micros(last.0), read_at: now.monotonic }
    }

    /// Log time now. Never earlier than what was read before.
    pub(super) fn read(&mut self, now: Now, deadline_is_pending: bool) -> LogTime {
        let passed = now.monotonic.saturating_sub(self.read_at);
        self.read_at = now.monotonic;
        let uncorrected = self.time + passed;
        let drift = passed / 10;
        self.time = if now.wall < uncorrected {
            uncorrected - (uncorrected - now.wall).min(drift)
        } else if deadline_is_pending {
            uncorrected + (now.wall - uncorrected).min(drift)
        } else {
            now.wall
        };
        LogTime(u64::try_from(self.time.as_micros()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(monotonic_s: u64, wall_s: u64) -> Now {
        Now { monotonic: Duration::from_secs(monotonic_s), wall: Duration::from_secs(wall_s) }
    }

    const SECOND: u64 = 1_000_000;

    #[test]
    fn a_wall_clock_that_jumps_ahead_moves_pending_deadlines_by_a_tenth_at_most() {
        let mut clock = LogClock::starting_at(LogTime(100 * SECOND), now(0, 100));
        assert_eq!(clock.read(now(10, 100_000), true), LogTime(111 * SECOND));
        assert_eq!(clock.read(now(20, 100_000), false), LogTime(100_000 * SECOND));
    }

    #[test]
    fn a_wall_clock_that_jumps_back_slows_log_time_and_never_turns_it() {
        let mut clock = LogClock::starting_at(LogTime(100 * SECOND), now(0, 100));
        assert_eq!(clock.read(now(10, 5), false), LogTime(109 * SECOND));
        assert_eq!(clock.read(now(10, 5), false), LogTime(109 * SECOND));
    }

    #[test]
    fn log_time_meets_the_wall_clock_and_does_not_pass_it() {
        for (wall, pending) in [(195, false), (195, true), (205, true), (200, true)] {
            let mut clock = LogClock::starting_at(LogTime(100 * SECOND), now(0, 100));
            assert_eq!(clock.read(now(100, wall), pending), LogTime(wall * SECOND));
        }
    }

    #[test]
    fn time_without_a_leader_does_not_count_against_pending_deadlines() {
        let mut clock = LogClock::starting_at(LogTime(100 * SECOND), now(1000, 5000));
        assert_eq!(clock.read(now(1000, 5000), true), LogTime(100 * SECOND));
    }

    #[test]
    fn however_often_it_is_read_the_clock_is_drawn_towards_that_of_the_wall() {
        let mut clock = LogClock::starting_at(LogTime(100 * SECOND), now(0, 100));
        for ms in 1..10_000 {
            let monotonic = Duration::from_millis(ms);
            clock.read(Now { monotonic, wall: Duration::from_secs(100_000) }, true);
        }
        assert_eq!(clock.read(now(10, 100_000), true), LogTime(111 * SECOND));
    }
}
