//! A number that only rises, and those who wait for it to reach theirs.
//!
//! The storage thread publishes how far its writes are durable, the apply thread how far it has
//! applied; a read waits for the latter to reach its index. What the number counts is the user's
//! affair: here it is a bare `u64`.
//!
//! It is raised and its waiters are found under one lock, which a waiter holds from its last look
//! at the number until it is registered or asleep: so none misses the step which concerns it. Only
//! the waiters that are reached are woken.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::sync::{Arc, AtomicU64, Condvar, Mutex, Ordering, lock, wait};
use crate::wakers::Key;

/// Makes a watermark that stands at `start`.
pub fn watermark(start: u64) -> (Advancer, Watermark) {
    let shared = Arc::new(Shared {
        mirror: AtomicU64::new(start),
        state: Mutex::new(State {
            current: start,
            halted: false,
            sleepers: 0,
            tasks: BTreeMap::new(),
            next_key: 0,
        }),
        risen: Condvar::new(),
    });
    (Advancer { shared: Arc::clone(&shared) }, Watermark { shared })
}

/// The end that raises the watermark. There is one; when it is dropped, the watermark stands for
/// ever and those above it are told so.
pub struct Advancer {
    shared: Arc<Shared>,
}

/// The end that observes the watermark. Clone it for each thread or task that does.
#[derive(Clone)]
pub struct Watermark {
    shared: Arc<Shared>,
}

/// Ready when the watermark has reached its target, or never will.
///
/// Made by [`Watermark::reached`]. Dropped before it is ready, it leaves nothing behind.
#[must_use = "does nothing unless awaited"]
pub struct Reached {
    shared: Arc<Shared>,
    target: u64,
    /// Set while a waker may be registered under (target, key).
    key: Option<Key>,
}

/// The watermark will not rise to what was waited for: who raised it has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the watermark stopped at {at}: its thread has ended, so stop waiting and shut down")]
pub struct Halted {
    /// Where it stands for ever.
    pub at: u64,
}

impl Advancer {
    /// Raises the watermark to `to` and wakes whom it reaches. A lower number changes nothing.
    /// Never blocks.
    ///
    /// What this thread did before is visible to whoever then sees the watermark at `to`.
    pub fn advance(&self, to: u64) {
        let mut reached = Vec::new();
        let sleepers = {
            let mut state = lock(&self.shared.state);
            if to <= state.current {
                return;
            }
            state.current = to;
            self.shared.mirror.store(to, Ordering::Release);
            while let Some(task) = state.tasks.first_entry()
                && task.key().0 <= to
            {
                reached.push(task.remove());
            }
            state.sleepers > 0
        };
        if sleepers {
            self.shared.risen.notify_all();
        }
        reached.into_iter().for_each(Waker::wake);
    }

    /// Where the watermark stands.
    pub fn current(&self) -> u64 {
        self.shared.current()
    }
}

impl Watermark {
    /// Where the watermark stands. It may be higher already, never lower. Takes no lock.
    pub fn current(&self) -> u64 {
        self.shared.current()
    }

    /// Waits until the watermark is at `target` or above, on any runtime.
    ///
    /// # Errors
    ///
    /// Its output is [`Halted`] if the watermark will never get there.
    pub fn reached(&self, target: u64) -> Reached {
        Reached { shared: Arc::clone(&self.shared), target, key: None }
    }

    /// Sleeps until the watermark is at `target` or above. Not for a thread that runs async tasks.
    ///
    /// # Errors
    ///
    /// [`Halted`] if the watermark will never get there.
    pub fn wait(&self, target: u64) -> Result<(), Halted> {
        if self.current() >= target {
            return Ok(());
        }
        let mut state = lock(&self.shared.state);
        loop {
            if let Some(outcome) = state.outcome(target) {
                return outcome;
            }
            state.sleepers += 1;
            state = wait(&self.shared.risen, state);
            state.sleepers -= 1;
        }
    }
}

impl Future for Reached {
    type Output = Result<(), Halted>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.shared.current() >= this.target {
            return Poll::Ready(Ok(()));
        }
        let replaced;
        {
            let mut state = lock(&this.shared.state);
            if let Some(outcome) = state.outcome(this.target) {
                return Poll::Ready(outcome);
            }
            let key = *this.key.get_or_insert_with(|| {
                state.next_key += 1;
                state.next_key
            });
            replaced = state.tasks.insert((this.target, key), cx.waker().clone());
        }
        // To drop a waker can free a whole task, whose destructors may use this watermark.
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Reached {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let waker = lock(&self.shared.state).tasks.remove(&(self.target, key));
            drop(waker);
        }
    }
}

impl Drop for Advancer {
    fn drop(&mut self) {
        let tasks = {
            let mut state = lock(&self.shared.state);
            state.halted = true;
            std::mem::take(&mut state.tasks)
        };
        self.shared.risen.notify_all();
        tasks.into_values().for_each(Waker::wake);
    }
}

impl fmt::Debug for Advancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Advancer").field("current", &self.current()).finish()
    }
}

impl fmt::Debug for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watermark").field("current", &self.current()).finish()
    }
}

impl fmt::Debug for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reached").field("target", &self.target).finish_non_exhaustive()
    }
}

struct Shared {
    /// `State::current`, for those who only look. Written under the lock, read without it.
    mirror: AtomicU64,
    state: Mutex<State>,
    risen: Condvar,
}

struct State {
    current: u64,
    /// The advancer was dropped.
    halted: bool,
    /// Threads inside a wait on `risen`.
    sleepers: usize,
    /// By target, so that a step finds those whom it reaches without a look at the others.
    tasks: BTreeMap<(u64, Key), Waker>,
    next_key: Key,
}

impl Shared {
    fn current(&self) -> u64 {
        self.mirror.load(Ordering::Acquire)
    }
}

impl State {
    /// What a wait for `target` comes to, if that is decided. If not, it stays so until the caller,
    /// who holds the lock, is asleep or registered.
    fn outcome(&self, target: u64) -> Option<Result<(), Halted>> {
        match self.current {
            at if at >= target => Some(Ok(())),
            at if self.halted => Some(Err(Halted { at })),
            _ => None,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::pin::pin;
    use std::thread;

    use super::*;
    use crate::testing::{CountedWaker, block_on};

    #[test]
    fn a_watermark_never_falls() {
        let (advancer, watermark) = watermark(5);
        advancer.advance(3);
        assert_eq!(watermark.current(), 5);
        advancer.advance(u64::MAX);
        advancer.advance(6);
        assert_eq!(watermark.current(), u64::MAX);
    }

    #[test]
    fn what_is_reached_already_is_not_waited_for() {
        let (_advancer, watermark) = watermark(5);
        assert_eq!(watermark.wait(5), Ok(()));
        assert_eq!(block_on(watermark.reached(4)), Ok(()));
    }

    #[test]
    fn threads_and_tasks_wait_for_their_own_targets() {
        let (advancer, watermark) = watermark(0);
        let (low, high) = (watermark.clone(), watermark.clone());
        let low = thread::spawn(move || low.wait(1));
        let high = thread::spawn(move || block_on(high.reached(3)));
        advancer.advance(1);
        assert_eq!(low.join().unwrap(), Ok(()));
        assert!(!high.is_finished());
        advancer.advance(10);
        assert_eq!(high.join().unwrap(), Ok(()));
    }

    #[test]
    fn only_tasks_that_are_reached_are_woken() {
        let (advancer, watermark) = watermark(0);
        let mut waits = [1, 2, 3].map(|target| (CountedWaker::new(), watermark.reached(target)));
        for (waker, reached) in &mut waits {
            assert!(pin!(reached).poll(&mut waker.context()).is_pending());
        }
        advancer.advance(2);
        assert_eq!(waits.each_ref().map(|(waker, _)| waker.wakes()), [1, 1, 0]);
        advancer.advance(3);
        assert_eq!(waits.each_ref().map(|(waker, _)| waker.wakes()), [1, 1, 1]);
    }

    #[test]
    fn tasks_with_one_target_are_all_woken() {
        let (advancer, watermark) = watermark(0);
        let mut waits = [1, 1].map(|target| (CountedWaker::new(), watermark.reached(target)));
        for (waker, reached) in &mut waits {
            assert!(pin!(reached).poll(&mut waker.context()).is_pending());
        }
        advancer.advance(1);
        assert_eq!(waits.each_ref().map(|(waker, _)| waker.wakes()), [1, 1]);
    }

    #[test]
    fn a_wait_that_moves_to_another_task_is_woken_there() {
        let (advancer, watermark) = watermark(0);
        let (first, second) = (CountedWaker::new(), CountedWaker::new());
        let mut reached = pin!(watermark.reached(1));
        assert!(reached.as_mut().poll(&mut first.context()).is_pending());
        assert!(reached.as_mut().poll(&mut second.context()).is_pending());
        assert_eq!(first.held(), 0);
        advancer.advance(1);
        assert_eq!((first.wakes(), second.wakes()), (0, 1));
    }

    #[test]
    fn a_dropped_wait_leaves_nothing_behind() {
        let (_advancer, watermark) = watermark(0);
        let waker = CountedWaker::new();
        let mut reached = watermark.reached(1);
        assert!(pin!(&mut reached).poll(&mut waker.context()).is_pending());
        assert_eq!(waker.held(), 1);
        drop(reached);
        assert_eq!(waker.held(), 0);
    }

    #[test]
    fn a_dropped_advancer_ends_the_waits_above_it_and_no_others() {
        let (advancer, watermark) = watermark(0);
        let above = watermark.clone();
        let above = thread::spawn(move || above.wait(3));
        advancer.advance(2);
        drop(advancer);
        assert_eq!(above.join().unwrap(), Err(Halted { at: 2 }));
        assert_eq!(block_on(watermark.reached(3)), Err(Halted { at: 2 }));
        assert_eq!(watermark.wait(2), Ok(()));
    }
}

/// Checked by loom over all interleavings within its bound on preemptions.
#[cfg(all(test, loom))]
mod models {
    use loom::cell::UnsafeCell;
    use loom::future::block_on;
    use loom::thread;

    use super::*;
    use crate::testing::Seen;

    /// A sleeping thread is woken by the step which reaches it, whatever steps come before.
    #[test]
    fn a_blocked_thread_sees_its_target_reached() {
        loom::model(|| {
            let (advancer, watermark) = watermark(0);
            let raiser = thread::spawn(move || {
                advancer.advance(1);
                advancer.advance(2);
                advancer
            });
            assert_eq!(watermark.wait(2), Ok(()));
            assert_eq!(watermark.current(), 2);
            raiser.join().unwrap();
        });
    }

    /// Tasks with different targets are each woken; neither takes the other's wake-up.
    #[test]
    fn tasks_see_their_targets_reached() {
        loom::model(|| {
            let (advancer, watermark) = watermark(0);
            let other = watermark.clone();
            let task = thread::spawn(move || block_on(other.reached(1)));
            let raiser = thread::spawn(move || {
                advancer.advance(1);
                advancer.advance(2);
                advancer
            });
            assert_eq!(block_on(watermark.reached(2)), Ok(()));
            assert_eq!(task.join().unwrap(), Ok(()));
            raiser.join().unwrap();
        });
    }

    /// A wait ends, with the right outcome, when the last step and the end of its thread race
    /// with it.
    #[test]
    fn the_end_of_the_advancer_ends_every_wait() {
        loom::model(|| {
            let (advancer, watermark) = watermark(0);
            let other = watermark.clone();
            let task = thread::spawn(move || block_on(other.reached(2)));
            let raiser = thread::spawn(move || advancer.advance(1));
            assert_eq!(watermark.wait(1), Ok(()));
            assert_eq!(task.join().unwrap(), Err(Halted { at: 1 }));
            raiser.join().unwrap();
        });
        loom::model(|| {
            let (advancer, watermark) = watermark(0);
            let raiser = thread::spawn(move || drop(advancer));
            assert_eq!(watermark.wait(1), Err(Halted { at: 0 }));
            raiser.join().unwrap();
        });
    }

    /// What was written before a step can be read by whoever saw the step, without a lock: the
    /// state that a read may use once the applied index is reached.
    #[test]
    fn a_step_publishes_what_came_before_it() {
        let seen = Seen::new();
        let log = seen.clone();
        loom::model(move || {
            let (advancer, watermark) = watermark(0);
            let applied = Arc::new(UnsafeCell::new(0));
            let state = Arc::clone(&applied);
            let raiser = thread::spawn(move || {
                // loom's cell reports an access that is not ordered after this one.
                state.with_mut(|_| ());
                advancer.advance(1);
                advancer
            });
            let risen = watermark.current() == 1;
            if risen {
                applied.with(|_| ());
            }
            log.note(risen);
            raiser.join().unwrap();
        });
        seen.assert_both();
    }

    /// A wait that is given up races with the step that reaches it; nobody else's is disturbed.
    #[test]
    fn a_wait_given_up_disturbs_no_other() {
        loom::model(|| {
            let (advancer, watermark) = watermark(0);
            let mut given_up = watermark.reached(1);
            let mut cx = Context::from_waker(Waker::noop());
            let _ = Pin::new(&mut given_up).poll(&mut cx);
            let raiser = thread::spawn(move || {
                advancer.advance(1);
                advancer
            });
            drop(given_up);
            assert_eq!(block_on(watermark.reached(1)), Ok(()));
            raiser.join().unwrap();
        });
    }
}
