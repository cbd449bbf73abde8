//! A slot for one answer: filled once on one thread, awaited on another.
//!
//! The loop answers a proposal, or a helper a read of old entries, without knowing whether its
//! caller sleeps on a thread of its own or awaits on some runtime. Either side may vanish: a
//! dropped [`Completion`] tells the waiter that no answer will come, and a dropped [`Waiter`] takes
//! nothing back that was asked for; the answer is merely handed back to who gives it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::sync::{Arc, Condvar, Mutex, lock, wait};

/// Makes the two ends of an empty slot.
pub fn slot<T>() -> (Completion<T>, Waiter<T>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            outcome: None,
            spent: false,
            waiter_gone: false,
            sleeping: false,
            waker: None,
        }),
        settled: Condvar::new(),
    });
    (Completion { shared: Some(Arc::clone(&shared)) }, Waiter { shared })
}

/// The end that gives the answer.
///
/// Dropped without one, it answers [`Dropped`].
pub struct Completion<T> {
    /// `None` once used.
    shared: Option<Arc<Shared<T>>>,
}

/// The end that gets the answer: await it on any runtime, or [`wait`](Self::wait) for it.
///
/// # Panics
///
/// Polled again after it was ready: the answer is gone.
#[must_use = "an answer that nobody waits for is thrown away"]
pub struct Waiter<T> {
    shared: Arc<Shared<T>>,
}

/// The completing end was dropped without an answer. Whether what was asked for has been done is
/// unknown: treat it as neither done nor refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("dropped without an answer: the outcome is unknown")]
pub struct Dropped;

impl<T> Completion<T> {
    /// Gives the answer and wakes the waiter. Never blocks.
    ///
    /// # Errors
    ///
    /// The answer comes back if the waiter was dropped. Usually there is nothing to do about it.
    pub fn complete(mut self, answer: T) -> Result<(), T> {
        let Some(shared) = self.shared.take() else {
            unreachable!("a completion is consumed by its first use")
        };
        match shared.settle(Ok(answer)) {
            Err(Ok(unwanted)) => Err(unwanted),
            Ok(()) | Err(Err(Dropped)) => Ok(()),
        }
    }

    /// Whether the waiter was dropped, so that the work for an answer can be spared.
    pub fn is_abandoned(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| lock(&shared.state).waiter_gone)
    }
}

impl<T> Waiter<T> {
    /// Sleeps until there is an answer. Not for a thread that runs async tasks.
    ///
    /// # Errors
    ///
    /// [`Dropped`] if none will come.
    pub fn wait(self) -> Result<T, Dropped> {
        let mut state = lock(&self.shared.state);
        loop {
            if let Some(outcome) = state.take() {
                return outcome;
            }
            state.sleeping = true;
            state = wait(&self.shared.settled, state);
        }
    }

    /// The answer, if there is one already. Afterwards the waiter is spent, as after being ready.
    ///
    /// # Errors
    ///
    /// [`Dropped`], if there will be none.
    pub fn try_take(&mut self) -> Option<Result<T, Dropped>> {
        lock(&self.shared.state).take()
    }
}

impl<T> Future for Waiter<T> {
    type Output = Result<T, Dropped>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let replaced;
        {
            let mut state = lock(&self.shared.state);
            if let Some(outcome) = state.take() {
                return Poll::Ready(outcome);
            }
            match &state.waker {
                Some(waker) if waker.will_wake(cx.waker()) => return Poll::Pending,
                _ => replaced = state.waker.replace(cx.waker().clone()),
            }
        }
        // To drop a waker can free a whole task, whose destructors may use this slot.
        drop(replaced);
        Poll::Pending
    }
}

impl<T> Drop for Completion<T> {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            // Handed back only if there is no waiter left to tell.
            let _ = shared.settle(Err(Dropped));
        }
    }
}

impl<T> Drop for Waiter<T> {
    fn drop(&mut self) {
        let waker = {
            let mut state = lock(&self.shared.state);
            state.waiter_gone = true;
            state.waker.take()
        };
        drop(waker);
    }
}

impl<T> fmt::Debug for Completion<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Waiter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter").finish_non_exhaustive()
    }
}

struct Shared<T> {
    state: Mutex<State<T>>,
    settled: Condvar,
}

struct State<T> {
    outcome: Option<Result<T, Dropped>>,
    /// The outcome was taken.
    spent: bool,
    waiter_gone: bool,
    sleeping: bool,
    waker: Option<Waker>,
}

impl<T> Shared<T> {
    /// Leaves the waiter its outcome; hands it back if there is no waiter.
    fn settle(&self, outcome: Result<T, Dropped>) -> Result<(), Result<T, Dropped>> {
        let (sleeping, waker) = {
            let mut state = lock(&self.state);
            if state.waiter_gone {
                return Err(outcome);
            }
            state.outcome = Some(outcome);
            (state.sleeping, state.waker.take())
        };
        if sleeping {
            self.settled.notify_one();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }
}

impl<T> State<T> {
    fn take(&mut self) -> Option<Result<T, Dropped>> {
        assert!(!self.spent, "a waiter was used again after it had given its answer");
        self.spent = self.outcome.is_some();
        self.outcome.take()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::pin::pin;
    use std::thread;

    use super::*;
    use crate::testing::{CountedWaker, block_on};

    #[test]
    fn an_answer_reaches_a_blocked_thread_and_a_task() {
        let (completion, waiter) = slot();
        let sleeper = thread::spawn(move || waiter.wait());
        completion.complete(7).unwrap();
        assert_eq!(sleeper.join().unwrap(), Ok(7));

        let (completion, waiter) = slot();
        let task = thread::spawn(move || block_on(waiter));
        completion.complete(8).unwrap();
        assert_eq!(task.join().unwrap(), Ok(8));
    }

    #[test]
    fn a_completion_dropped_unused_says_so() {
        let (completion, waiter) = slot::<u8>();
        drop(completion);
        assert_eq!(waiter.wait(), Err(Dropped));
    }

    #[test]
    fn an_answer_nobody_waits_for_comes_back() {
        let (completion, waiter) = slot();
        assert!(!completion.is_abandoned());
        drop(waiter);
        assert!(completion.is_abandoned());
        assert_eq!(completion.complete("late"), Err("late"));
    }

    #[test]
    fn try_take_does_not_wait() {
        let (completion, mut waiter) = slot();
        assert_eq!(waiter.try_take(), None);
        completion.complete(1).unwrap();
        assert_eq!(waiter.try_take(), Some(Ok(1)));
    }

    #[test]
    #[should_panic(expected = "used again")]
    fn an_answer_is_given_once() {
        let (completion, mut waiter) = slot();
        completion.complete(1).unwrap();
        let _ = waiter.try_take();
        let _ = waiter.try_take();
    }

    #[test]
    fn only_the_last_waker_is_woken_and_none_is_kept() {
        let (first, second) = (CountedWaker::new(), CountedWaker::new());
        let (completion, waiter) = slot();
        {
            let mut waiter = pin!(waiter);
            assert!(waiter.as_mut().poll(&mut first.context()).is_pending());
            assert!(waiter.as_mut().poll(&mut second.context()).is_pending());
            completion.complete(()).unwrap();
            assert_eq!((first.wakes(), second.wakes()), (0, 1));
        }
        assert_eq!((first.held(), second.held()), (0, 0));

        let (completion, mut waiter) = slot::<()>();
        assert!(Pin::new(&mut waiter).poll(&mut first.context()).is_pending());
        drop(waiter);
        assert_eq!(first.held(), 0, "a slot without waiter must not keep the task alive");
        drop(completion);
    }
}

/// Checked by loom over all interleavings within its bound on preemptions.
#[cfg(all(test, loom))]
mod models {
    use loom::future::block_on;
    use loom::thread;

    use super::*;
    use crate::testing::Seen;

    /// A sleeping waiter always gets the answer: it is never stored without a wake-up.
    #[test]
    fn a_blocked_waiter_gets_the_answer() {
        loom::model(|| {
            let (completion, waiter) = slot();
            let giver = thread::spawn(move || completion.complete(7));
            assert_eq!(waiter.wait(), Ok(7));
            assert_eq!(giver.join().unwrap(), Ok(()));
        });
    }

    /// The same for a task, between whose look at the slot and its sleep the answer may come.
    #[test]
    fn an_awaiting_task_gets_the_answer() {
        loom::model(|| {
            let (completion, waiter) = slot();
            let giver = thread::spawn(move || completion.complete(7));
            assert_eq!(block_on(waiter), Ok(7));
            assert_eq!(giver.join().unwrap(), Ok(()));
        });
    }

    /// No waiter sleeps for ever on a completion that was dropped.
    #[test]
    fn a_dropped_completion_ends_both_kinds_of_wait() {
        loom::model(|| {
            let (completion, waiter) = slot::<u8>();
            let giver = thread::spawn(move || drop(completion));
            assert_eq!(waiter.wait(), Err(Dropped));
            giver.join().unwrap();
        });
        loom::model(|| {
            let (completion, waiter) = slot::<u8>();
            let giver = thread::spawn(move || drop(completion));
            assert_eq!(block_on(waiter), Err(Dropped));
            giver.join().unwrap();
        });
    }

    /// A waiter that moves to another task between two polls is woken there: the answer may come
    /// before, between and after them.
    #[test]
    fn a_waiter_that_changes_tasks_gets_the_answer() {
        loom::model(|| {
            let (completion, mut waiter) = slot();
            let giver = thread::spawn(move || completion.complete(7));
            let mut first = Context::from_waker(Waker::noop());
            let outcome = match Pin::new(&mut waiter).poll(&mut first) {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => block_on(waiter),
            };
            assert_eq!(outcome, Ok(7));
            giver.join().unwrap().unwrap();
        });
    }

    /// When both ends end at once, the answer is dropped exactly once: it comes back, or it goes
    /// with the slot (loom fails the model if the slot itself leaks).
    #[test]
    fn an_answer_racing_with_a_dropped_waiter_is_not_lost() {
        let seen = Seen::new();
        let log = seen.clone();
        loom::model(move || {
            let (completion, mut waiter) = slot();
            let answer = Arc::new(());
            let given = Arc::clone(&answer);
            let giver = thread::spawn(move || completion.complete(given).is_err());
            let taken = waiter.try_take().is_some();
            drop(waiter);
            let came_back = giver.join().unwrap();
            assert!(!(taken && came_back));
            assert_eq!(Arc::strong_count(&answer), 1);
            log.note(came_back);
        });
        seen.assert_both();
    }
}
