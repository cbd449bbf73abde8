//! One line in the log for each connection that is turned away, within reason.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::status::Board;

/// How many lines the log gets in one period.
const COMPLAINTS: u32 = 10;
const PERIOD: Duration = Duration::from_secs(10);

/// Counts all of them, and writes a line about most.
pub(super) struct Complaints {
    board: Board,
    period: Mutex<Period>,
}

struct Period {
    began: Instant,
    written: u32,
    kept_back: u64,
}

impl Complaints {
    pub(super) fn new(board: Board) -> Complaints {
        Complaints { board, period: Mutex::new(Period::starting(Instant::now())) }
    }

    pub(super) fn complain(&self, remote: &str, why: &dyn std::fmt::Display) {
        self.board.refused_connection();
        let mut period = self.period.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept_back) = period.may_write(Instant::now()) {
            tracing::warn!(%remote, %why, kept_back, "connection refused");
        }
    }
}

impl Period {
    fn starting(began: Instant) -> Period {
        Period { began, written: 0, kept_back: 0 }
    }

    /// Whether a line may be written; if so, how many were kept back since the last one.
    fn may_write(&mut self, now: Instant) -> Option<u64> {
        if now.duration_since(self.began) >= PERIOD {
            (self.began, self.written) = (now, 0);
        }
        if self.written >= COMPLAINTS {
            self.kept_back += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.kept_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_does_not_flood_the_log() {
        let now = Instant::now();
        let mut period = Period::starting(now);
        let written = (0..1000).filter(|_| period.may_write(now).is_some()).count();
        assert_eq!(written, COMPLAINTS as usize);
        assert_eq!(period.may_write(now + PERIOD), Some(990));
        assert_eq!(period.may_write(now + PERIOD), Some(0));
    }
}
