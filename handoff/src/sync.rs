//! std's primitives, or loom's under `--cfg loom`: the only file which knows that there are two.

#[cfg(not(loom))]
pub(crate) use std::sync::{
    Arc, Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

#[cfg(loom)]
pub(crate) use loom::sync::{
    Arc, Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use std::sync::PoisonError;
use std::time::Duration;

/// Locks, also after another thread panicked while it held the lock.
///
/// That is sound for every mutex of this crate: no user code runs under one but `Waker::clone` and
/// what compares keys or judges them, and each critical section leaves the state valid after each of
/// its statements. To pass the panic on would only turn one thread's failure into a second panic
/// inside somebody's `Drop`.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for a notification; may return without one, like every condition variable.
pub(crate) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// The end of a wait. Spurious wake-ups do not prolong it.
pub(crate) struct Deadline {
    /// `None`: so far off that no clock can name it.
    #[cfg(not(loom))]
    at: Option<std::time::Instant>,
    #[cfg(loom)]
    never: bool,
}

#[cfg(not(loom))]
impl Deadline {
    pub(crate) fn after(timeout: Duration) -> Self {
        Self { at: std::time::Instant::now().checked_add(timeout) }
    }

    /// Waits for a notification, and says whether the deadline had passed before the wait.
    ///
    /// The caller looks at its condition between two calls, so that what arrived at the last
    /// moment is seen and not reported as a timeout.
    pub(crate) fn wait<'a, T>(
        &self,
        condvar: &Condvar,
        _mutex: &'a Mutex<T>,
        guard: MutexGuard<'a, T>,
    ) -> (MutexGuard<'a, T>, bool) {
        let Some(at) = self.at else { return (wait(condvar, guard), false) };
        let left = at.saturating_duration_since(std::time::Instant::now());
        if left.is_zero() {
            return (guard, true);
        }
        let (guard, _) = condvar.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner);
        (guard, false)
    }
}

/// loom has no clock, and its `wait_timeout` never times out. Here every timed wait does, at
/// once, unless it is for `Duration::MAX`: what remains is the race between the timeout and
/// everything that others do meanwhile.
#[cfg(loom)]
impl Deadline {
    pub(crate) fn after(timeout: Duration) -> Self {
        Self { never: timeout == Duration::MAX }
    }

    pub(crate) fn wait<'a, T>(
        &self,
        condvar: &Condvar,
        mutex: &'a Mutex<T>,
        guard: MutexGuard<'a, T>,
    ) -> (MutexGuard<'a, T>, bool) {
        if self.never {
            return (wait(condvar, guard), false);
        }
        drop(guard);
        (lock(mutex), true)
    }
}
