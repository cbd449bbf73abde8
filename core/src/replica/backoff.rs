//! How long to leave something alone that failed: a disk that is full, or a snapshot that is
//! damaged, will be so a moment later.

use std::time::Duration;

/// Keeps what failed from being tried again at each occasion.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Backoff<T> {
    failed: Option<Failed<T>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Failed<T> {
    what: T,
    pause: Duration,
    until: Duration,
}

/// How long to wait after the first failure, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

impl<T> Default for Backoff<T> {
    fn default() -> Self {
        Backoff { failed: None }
    }
}

impl<T: PartialEq> Backoff<T> {
    /// Whether it is time to try this one, again or for the first time.
    pub(super) fn allows(&self, now: Duration, what: T) -> bool {
        self.failed.as_ref().is_none_or(|last| last.what != what || last.until <= now)
    }

    /// This one could not be had.
    pub(super) fn failed(&mut self, now: Duration, what: T) {
        let again = self.failed.take().filter(|last| last.what == what);
        let pause = again.map_or(FIRST_PAUSE, |last| (last.pause * 2).min(LONGEST_PAUSE));
        self.failed = Some(Failed { what, pause, until: now + pause });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_tried_again_after_ever_longer_pauses_and_anything_else_at_once() {
        let mut backoff = Backoff::default();
        let (mut now, mut pauses) = (Duration::ZERO, Vec::new());
        for _ in 0..6 {
            assert!(backoff.allows(now, "this"));
            backoff.failed(now, "this");
            let failed_at = now;
            while !backoff.allows(now, "this") {
                assert!(backoff.allows(now, "another"));
                now += Duration::from_millis(100);
            }
            pauses.push((now - failed_at).as_millis());
        }
        assert_eq!(pauses, [200, 400, 800, 1600, 2000, 2000]);
        backoff.failed(now, "another");
        assert!(backoff.allows(now, "this"));
    }
}
