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

    #[test]
    fn a_timer_set_anew_for_an_earlier_moment_runs_out_then() {
        let mut timers = Timers::default();
        let (hour, second) = (Duration::from_secs(3600), Duration::from_secs(1));
        timers.set(Timer::Deadline, Duration::ZERO, &(hour..hour));
        timers.set(Timer::Deadline, Duration::ZERO, &(second..second));
        assert_eq!(timers.take_expired(second), Some(Timer::Deadline));
    }

    #[test]
    fn timers_of_the_same_range_run_out_all_over_it() {
        // Drawn as in every run of this test.
        fastrand::seed(1);
        let mut timers = Timers::default();
        let range = Duration::from_secs(1)..Duration::from_secs(2);
        let dues = (0..100).map(|_| {
            timers.set(Timer::Election, Duration::ZERO, &range);
            timers.next().unwrap()
        });
        let mut dues: Vec<_> = dues.collect();
        dues.sort_unstable();
        let tenth = (range.end - range.start) / 10;
        assert!(dues[0] < range.start + tenth && dues[99] > range.end - tenth, "{dues:?}");
        dues.dedup();
        assert_eq!(dues.len(), 100);
    }

    #[test]
    fn the_wall_clock_is_read_each_time_and_not_told_from_the_monotonic_one() {
        let minute = Duration::from_secs(60);
        let mut clock = Clock::start();
        // As if a minute had passed that the wall clock does not show.
        clock.start = clock.start.checked_sub(minute).expect("a machine that is up");
        let now = clock.now();
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert!(now.monotonic >= minute);
        assert!(now.wall.abs_diff(wall) < minute / 2, "{:?}, {wall:?}", now.wall);
    }
}
