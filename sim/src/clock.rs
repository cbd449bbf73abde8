//! Virtual time, and what is going to happen in it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::time::Duration;

/// A moment of virtual time: microseconds since the run began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// The moment at which a run begins.
    pub const ZERO: Time = Time(0);

    /// Time since the run began.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        Duration::from_micros(self.0)
    }
}

/// Something takes longer than usual for a while.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slowness {
    times: u32,
    until: Time,
}

impl Slowness {
    /// From now on, it takes `times` as long as usual, until `time`. If it does already, the worse of
    /// both holds until both are over.
    pub(crate) fn begin(&mut self, now: Time, times: u32, time: Time) {
        *self = Slowness { times: times.max(self.times(now)), until: time.max(self.until) };
    }

    /// How many times as long as usual it takes.
    pub(crate) fn times(self, now: Time) -> u32 {
        if now < self.until { self.times } else { 1 }
    }
}

/// The clocks of one machine, which may be wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeClock {
    /// By how much the wall clock is wrong, in microseconds, apart from its rate.
    pub(crate) wall_skew: i64,
    /// How much passes here in a second, in microseconds.
    rate: u64,
    /// From when on it goes at this rate, and what the monotonic clock said then.
    since: (Time, Duration),
}

impl NodeClock {
    const RIGHT: u64 = 1_000_000;

    pub(crate) fn new(wall_skew: i64) -> NodeClock {
        NodeClock { wall_skew, rate: NodeClock::RIGHT, since: (Time::ZERO, Duration::ZERO) }
    }

    /// What the monotonic clock says.
    pub(crate) fn monotonic(&self, now: Time) -> Duration {
        let (since, said) = self.since;
        said + Duration::from_micros((now.0 - since.0) * self.rate / NodeClock::RIGHT)
    }

    /// From now on, so many microseconds pass in a second.
    pub(crate) fn set_rate(&mut self, now: Time, rate: u64) {
        self.since = (now, self.monotonic(now));
        self.rate = rate;
    }

    pub(crate) fn set_right(&mut self, now: Time) {
        self.set_rate(now, NodeClock::RIGHT);
    }

    /// How long it takes until so much has passed by this clock.
    pub(crate) fn until(&self, passed: Duration) -> Duration {
        Duration::from_micros((passed.as_micros() as u64 * NodeClock::RIGHT).div_ceil(self.rate))
    }
}

impl std::ops::Add<Duration> for Time {
    type Output = Time;

    fn add(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(duration.as_micros() as u64))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06} s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// What is going to happen, in order of time; what is due at the same moment happens in the order
/// in which it was planned. That order is total, so a run has no choice but to repeat itself.
pub(crate) struct Agenda<T> {
    now: Time,
    planned: u64,
    queue: BinaryHeap<Reverse<(Time, u64, u32)>>,
    /// The things themselves, out of the heap, which then moves small items only.
    things: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Agenda<T> {
    pub(crate) fn new() -> Agenda<T> {
        Agenda {
            now: Time::ZERO,
            planned: 0,
            queue: BinaryHeap::new(),
            things: Vec::new(),
            free: Vec::new(),
        }
    }

    /// What time it is: when the last thing happened.
    pub(crate) fn now(&self) -> Time {
        self.now
    }

    /// Plans `thing` for `delay` from here.
    pub(crate) fn after(&mut self, delay: Duration, thing: T) {
        self.at(self.now + delay, thing);
    }

    /// Plans `thing` for a moment; at once if that has passed.
    pub(crate) fn at(&mut self, time: Time, thing: T) {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.things[slot as usize] = Some(thing);
                slot
            }
            None => {
                self.things.push(Some(thing));
                (self.things.len() - 1) as u32
            }
        };
        self.queue.push(Reverse((time.max(self.now), self.planned, slot)));
        self.planned += 1;
    }

    /// The next thing to happen; it is then that time. `None` if nothing is planned.
    pub(crate) fn next(&mut self) -> Option<T> {
        let Reverse((time, _, slot)) = self.queue.pop()?;
        self.now = time;
        self.free.push(slot);
        self.things[slot as usize].take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_happen_in_order_of_time_then_of_planning() {
        let mut agenda = Agenda::new();
        agenda.at(Time(5), "c");
        agenda.at(Time(3), "a");
        agenda.at(Time(3), "b");
        assert_eq!(agenda.next(), Some("a"));
        agenda.after(Duration::from_micros(2), "d");
        agenda.at(Time(1), "late");
        let rest: Vec<_> = std::iter::from_fn(|| agenda.next()).collect();
        assert_eq!(rest, ["b", "late", "c", "d"]);
        assert_eq!(agenda.now(), Time(5));
    }

    #[test]
    fn a_clock_that_changes_its_rate_goes_on_from_where_it_was() {
        let mut clock = NodeClock::new(0);
        clock.set_rate(Time(1_000_000), 2_000_000);
        let second = Duration::from_secs(1);
        assert_eq!(clock.monotonic(Time(1_000_000)), second);
        assert_eq!(clock.monotonic(Time(2_000_000)), second * 3);
        assert_eq!(clock.until(second), second / 2);
        clock.set_right(Time(2_000_000));
        assert_eq!(clock.monotonic(Time(3_000_000)), second * 4);
    }
}
