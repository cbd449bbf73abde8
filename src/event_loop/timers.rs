//! Time: what it is, and what is due.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant, SystemTime};

use quorate_core::{Now, Timer};

/// The replica's timers, on the process's monotonic clock.
#[derive(Default)]
pub(super) struct Timers {
    due: BTreeMap<Timer, Duration>,
    farewell: Option<Duration>,
}

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, now: Duration, range: &Range<Duration>) {
        let spread = range.end.saturating_sub(range.start);
        self.due.insert(timer, now + range.start + spread.mul_f64(fastrand::f64()));
    }

    pub(super) fn set_farewell(&mut self, until: Duration) {
        self.farewell = Some(until);
    }

    pub(super) fn next(&self) -> Option<Duration> {
        self.due.values().copied().chain(self.farewell).min()
    }

    pub(super) fn take_expired(&mut self, now: Duration) -> Option<Timer> {
        let (timer, _) = self.due.iter().find(|(_, due)| **due <= now)?;
        let timer = *timer;
        self.due.remove(&timer);
        Some(timer)
    }
}

/// Tells the time to the replica.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    pub(super) start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    pub(crate) fn now(&self) -> Now {
        // A clock before 1970 decides nothing: log time merely does not follow it.
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now { monotonic: self.elapsed(), wall }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    pub(super) fn instant(&self, at: Option<Duration>) -> Option<Instant> {
        self.start.checked_add(at?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_expire_in_their_range_and_once() {
        let mut timers = Timers::default();
        let (now, range) = (Duration::from_secs(1), Duration::from_secs(2)..Duration::from_secs(3));
        timers.set(Timer::Election, now, &range);
        let due = timers.next().unwrap();
        assert!((now + range.start..now + range.end).contains(&due), "{due:?}");
        assert_eq!(timers.take_expired(now + range.start - Duration::from_nanos(1)), None);
        assert_eq!(timers.take_expired(now + range.end), Some(Timer::Election));
        assert_eq!(timers.take_expired(now + range.end), None);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_timer_set_again_counts_from_then() {
        let mut timers = Timers::default();
        let one = Duration::from_secs(1);
        timers.set(Timer::Heartbeat, Duration::ZERO, &(one..one));
        timers.set(Timer::Heartbeat, one, &(one..one));
        assert_eq!(timers.take_expired(one), None);
        assert_eq!(timers.take_expired(2 * one), Some(Timer::Heartbeat));
    }
}
