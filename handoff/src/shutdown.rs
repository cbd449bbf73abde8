//! The signal to stop, given once, and the wait until everybody has.
//!
//! Each thread registers as a [`Worker`] before it starts, and holds that guard until it ends. Who
//! ordered the shutdown waits for [`stopped`](Shutdown::stopped) and then joins the threads, whose
//! `JoinHandle`s cannot be awaited, without a wait worth mentioning. A thread that panics orders
//! the shutdown itself: a replica whose parts partly live is of no use.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::sync::{Arc, AtomicBool, Condvar, Deadline, Mutex, Ordering, lock, wait};
use crate::wakers::{Key, Wakers};

/// A handle on the signal. Clone it for everybody who orders the shutdown, obeys it, or waits for
/// its end.
#[derive(Clone)]
pub struct Shutdown {
    shared: Arc<Shared>,
}

/// Held by a thread or task that must end before the shutdown is complete. Its drop says that it
/// did; during a panic, it orders the shutdown first.
#[must_use = "dropping it says that the worker has ended"]
pub struct Worker {
    shared: Arc<Shared>,
    name: &'static str,
}

/// Ready at the state of the shutdown that it waits for. Made by [`Shutdown::triggered`] and
/// [`Shutdown::stopped`]. Dropped before it is ready, it leaves nothing behind.
#[must_use = "does nothing unless awaited"]
pub struct ShutdownWait {
    shared: Arc<Shared>,
    until: Until,
    /// Set while a waker may be registered.
    key: Option<Key>,
}

/// Workers that were still running when the time allowed for the shutdown was over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not stopped in time: {running:?}; wait longer, or end the process without them")]
pub struct StillRunning {
    /// Their names, in the order in which they registered.
    pub running: Vec<&'static str>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// A signal that has not been given, with no workers.
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                mirror: AtomicBool::new(false),
                state: Mutex::new(State {
                    triggered: false,
                    running: Vec::new(),
                    wakers: Wakers::default(),
                    next_key: 0,
                }),
                changed: Condvar::new(),
            }),
        }
    }

    /// Gives the signal. Only the first call has an effect, and returns true. Never blocks.
    pub fn trigger(&self) -> bool {
        self.shared.trigger()
    }

    /// Whether the signal was given. Takes no lock, so that it can be asked in a loop.
    pub fn is_triggered(&self) -> bool {
        self.shared.mirror.load(Ordering::Acquire)
    }

    /// Registers a worker, named in errors about those which do not end.
    ///
    /// `None` once the signal was given: then it must not start, and nobody would wait for it.
    pub fn worker(&self, name: &'static str) -> Option<Worker> {
        let mut state = lock(&self.shared.state);
        if state.triggered {
            return None;
        }
        state.running.push(name);
        Some(Worker { shared: Arc::clone(&self.shared), name })
    }

    /// Waits for the signal, on any runtime.
    pub fn triggered(&self) -> ShutdownWait {
        self.until(Until::Triggered)
    }

    /// Waits, on any runtime, until the signal was given and every worker has ended.
    pub fn stopped(&self) -> ShutdownWait {
        self.until(Until::Stopped)
    }

    /// Sleeps until the signal is given. Not for a thread that runs async tasks.
    pub fn wait_triggered(&self) {
        let mut state = lock(&self.shared.state);
        while !state.is(Until::Triggered) {
            state = wait(&self.shared.changed, state);
        }
    }

    /// Sleeps until the signal was given and every worker has ended, for at most `timeout`. Not for
    /// a thread that runs async tasks, nor for a worker.
    ///
    /// # Errors
    ///
    /// [`StillRunning`] after the timeout. It names nobody if it was the signal that did not come.
    pub fn wait_stopped(&self, timeout: Duration) -> Result<(), StillRunning> {
        let deadline = Deadline::after(timeout);
        let mut expired = false;
        let mut state = lock(&self.shared.state);
        while !state.is(Until::Stopped) {
            if expired {
                return Err(StillRunning { running: state.running.clone() });
            }
            (state, expired) = deadline.wait(&self.shared.changed, &self.shared.state, state);
        }
        Ok(())
    }

    /// The workers which have not ended, in the order in which they registered.
    pub fn running(&self) -> Vec<&'static str> {
        lock(&self.shared.state).running.clone()
    }

    fn until(&self, until: Until) -> ShutdownWait {
        ShutdownWait { shared: Arc::clone(&self.shared), until, key: None }
    }
}

impl Future for ShutdownWait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let replaced;
        {
            let mut state = lock(&this.shared.state);
            if state.is(this.until) {
                return Poll::Ready(());
            }
            let key = *this.key.get_or_insert_with(|| {
                state.next_key += 1;
                state.next_key
            });
            replaced = state.wakers.register(key, cx.waker());
        }
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for ShutdownWait {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let waker = lock(&self.shared.state).wakers.remove(key);
            drop(waker);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.trigger();
        }
        let last = {
            let mut state = lock(&self.shared.state);
            if let Some(place) = state.running.iter().position(|name| *name == self.name) {
                state.running.remove(place);
            }
            state.running.is_empty().then(|| state.wakers.take())
        };
        if let Some(wakers) = last {
            self.shared.changed.notify_all();
            wakers.wake();
        }
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown").field("triggered", &self.is_triggered()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for ShutdownWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShutdownWait").field("until", &self.until).finish_non_exhaustive()
    }
}

struct Shared {
    /// `State::triggered`, for those who only look. Written under the lock, read without it.
    mirror: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    triggered: bool,
    running: Vec<&'static str>,
    /// Of both kinds of waits. All look again at each event; there are but two in a life.
    wakers: Wakers,
    next_key: Key,
}

#[derive(Debug, Clone, Copy)]
enum Until {
    Triggered,
    Stopped,
}

impl Shared {
    fn trigger(&self) -> bool {
        let wakers = {
            let mut state = lock(&self.state);
            if state.triggered {
                return false;
            }
            state.triggered = true;
            self.mirror.store(true, Ordering::Release);
            state.wakers.take()
        };
        self.changed.notify_all();
        wakers.wake();
        true
    }
}

impl State {
    fn is(&self, until: Until) -> bool {
        match until {
            Until::Triggered => self.triggered,
            Until::Stopped => self.triggered && self.running.is_empty(),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::pin::pin;
    use std::thread;

    use super::*;
    use crate::testing::{CountedWaker, block_on};

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn the_signal_is_given_once_and_seen_by_all() {
        let shutdown = Shutdown::new();
        let (thread, task) = (shutdown.clone(), shutdown.clone());
        let thread = thread::spawn(move || thread.wait_triggered());
        let task = thread::spawn(move || block_on(task.triggered()));
        assert!(!shutdown.is_triggered());
        assert!(shutdown.trigger());
        assert!(!shutdown.trigger());
        thread.join().unwrap();
        task.join().unwrap();
        assert!(shutdown.is_triggered());
        block_on(shutdown.triggered());
    }

    #[test]
    fn stopped_means_signalled_and_without_workers() {
        let shutdown = Shutdown::new();
        let worker = shutdown.worker("apply").unwrap();
        let timeout = Duration::ZERO;
        shutdown.trigger();
        let running = vec!["apply"];
        assert_eq!(shutdown.wait_stopped(timeout), Err(StillRunning { running }));
        let ended = shutdown.clone();
        let task = thread::spawn(move || block_on(ended.stopped()));
        drop(worker);
        task.join().unwrap();
        assert_eq!(shutdown.wait_stopped(timeout), Ok(()));
    }

    #[test]
    fn workers_that_end_early_do_not_make_it_stopped() {
        let shutdown = Shutdown::new();
        drop(shutdown.worker("helper"));
        let running = vec![];
        assert_eq!(shutdown.wait_stopped(Duration::ZERO), Err(StillRunning { running }));
        shutdown.trigger();
        assert_eq!(shutdown.wait_stopped(LONG), Ok(()));
    }

    #[test]
    fn no_worker_starts_after_the_signal() {
        let shutdown = Shutdown::new();
        shutdown.trigger();
        assert!(shutdown.worker("late").is_none());
    }

    #[test]
    fn workers_are_told_apart_though_they_share_a_name() {
        let shutdown = Shutdown::new();
        let (first, storage, second) = (
            shutdown.worker("helper").unwrap(),
            shutdown.worker("storage").unwrap(),
            shutdown.worker("helper").unwrap(),
        );
        drop(second);
        assert_eq!(shutdown.running(), ["storage", "helper"]);
        drop((first, storage));
        assert_eq!(shutdown.running(), [""; 0]);
    }

    #[test]
    fn a_worker_that_panics_orders_the_shutdown() {
        let shutdown = Shutdown::new();
        let worker = shutdown.worker("apply").unwrap();
        let thread = thread::spawn(move || {
            let _worker = worker;
            std::panic::resume_unwind(Box::new("apply failed"));
        });
        assert!(thread.join().is_err());
        assert!(shutdown.is_triggered());
        assert_eq!(shutdown.wait_stopped(LONG), Ok(()));
    }

    #[test]
    fn all_that_wait_are_woken_each_in_its_place() {
        let shutdown = Shutdown::new();
        let worker = shutdown.worker("storage").unwrap();
        let wakers = [CountedWaker::new(), CountedWaker::new(), CountedWaker::new()];
        let mut waits = [shutdown.triggered(), shutdown.triggered(), shutdown.stopped()];
        for (wait, waker) in waits.iter_mut().zip(&wakers) {
            assert!(pin!(wait).poll(&mut waker.context()).is_pending());
        }
        shutdown.trigger();
        assert_eq!(wakers.each_ref().map(CountedWaker::wakes), [1, 1, 1]);
        let [first, second, stopped] = &mut waits;
        assert!(pin!(first).poll(&mut wakers[0].context()).is_ready());
        assert!(pin!(second).poll(&mut wakers[1].context()).is_ready());
        assert!(pin!(&mut *stopped).poll(&mut wakers[2].context()).is_pending());
        drop(worker);
        assert_eq!(wakers.each_ref().map(CountedWaker::wakes), [1, 1, 2]);
        assert!(pin!(stopped).poll(&mut wakers[2].context()).is_ready());
    }

    #[test]
    fn a_wait_that_is_polled_again_and_again_holds_one_waker() {
        let waker = CountedWaker::new();
        let mut triggered = Shutdown::new().triggered();
        for _ in 0..3 {
            assert!(pin!(&mut triggered).poll(&mut waker.context()).is_pending());
            assert_eq!(waker.held(), 1);
        }
    }

    #[test]
    fn a_dropped_wait_leaves_nothing_behind() {
        let shutdown = Shutdown::new();
        let waker = CountedWaker::new();
        let mut triggered = shutdown.triggered();
        assert!(pin!(&mut triggered).poll(&mut waker.context()).is_pending());
        assert_eq!(waker.held(), 1);
        drop(triggered);
        assert_eq!(waker.held(), 0);
    }
}

/// Checked by loom over all interleavings within its bound on preemptions.
#[cfg(all(test, loom))]
mod models {
    use loom::future::block_on;
    use loom::thread;

    use super::*;
    use crate::testing::Seen;

    /// The signal reaches a thread and a task which may be just about to sleep.
    #[test]
    fn every_observer_sees_the_signal() {
        loom::model(|| {
            let shutdown = Shutdown::new();
            let (thread, task) = (shutdown.clone(), shutdown.clone());
            let thread = thread::spawn(move || thread.wait_triggered());
            let task = thread::spawn(move || block_on(task.triggered()));
            assert!(shutdown.trigger());
            thread.join().unwrap();
            task.join().unwrap();
        });
    }

    /// Of two that give the signal at once, one is told that it was the first.
    #[test]
    fn one_caller_is_the_first() {
        loom::model(|| {
            let shutdown = Shutdown::new();
            let other = shutdown.clone();
            let other = thread::spawn(move || other.trigger());
            let first = shutdown.trigger();
            assert_ne!(first, other.join().unwrap());
        });
    }

    /// The wait for the end returns, and only after the last worker did its last work, whether the
    /// signal or the workers' ends come last.
    #[test]
    fn stopped_comes_after_every_worker() {
        loom::model(|| {
            let shutdown = Shutdown::new();
            let work = Arc::new(loom::cell::UnsafeCell::new(()));
            let threads = ["storage", "apply"].map(|name| {
                let worker = shutdown.worker(name).unwrap();
                let work = (name == "apply").then(|| Arc::clone(&work));
                thread::spawn(move || {
                    if let Some(work) = work {
                        work.with_mut(|_| ());
                    }
                    drop(worker);
                })
            });
            shutdown.trigger();
            block_on(shutdown.stopped());
            // loom's cell reports an access that is not ordered after the worker's.
            work.with(|_| ());
            assert_eq!(shutdown.running(), [""; 0]);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }

    /// The same for a thread asleep.
    #[test]
    fn a_sleeping_thread_sees_the_last_worker_end() {
        loom::model(|| {
            let shutdown = Shutdown::new();
            let worker = shutdown.worker("storage").unwrap();
            let thread = thread::spawn(move || drop(worker));
            let signaller = shutdown.clone();
            let signaller = thread::spawn(move || signaller.trigger());
            assert_eq!(shutdown.wait_stopped(Duration::MAX), Ok(()));
            thread.join().unwrap();
            signaller.join().unwrap();
        });
    }

    /// And for several of them.
    #[test]
    fn every_sleeping_thread_sees_the_last_worker_end() {
        loom::model(|| {
            let shutdown = Shutdown::new();
            let worker = shutdown.worker("storage").unwrap();
            shutdown.trigger();
            let threads = [(); 2].map(|()| {
                let shutdown = shutdown.clone();
                thread::spawn(move || shutdown.wait_stopped(Duration::MAX))
            });
            drop(worker);
            threads.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), Ok(())));
        });
    }

    /// A wait that times out while the last worker ends tells no lie about it.
    #[test]
    fn a_timeout_names_the_workers_that_run() {
        let seen = Seen::new();
        let log = seen.clone();
        loom::model(move || {
            let shutdown = Shutdown::new();
            let worker = shutdown.worker("storage").unwrap();
            shutdown.trigger();
            let thread = thread::spawn(move || drop(worker));
            let outcome = shutdown.wait_stopped(Duration::from_secs(5));
            let running = vec!["storage"];
            assert!(outcome == Ok(()) || outcome == Err(StillRunning { running }));
            log.note(outcome.is_ok());
            thread.join().unwrap();
        });
        seen.assert_both();
    }

    /// What was done before the signal can be read by whoever saw it, without a lock.
    #[test]
    fn the_signal_publishes_what_came_before_it() {
        let seen = Seen::new();
        let log = seen.clone();
        loom::model(move || {
            let shutdown = Shutdown::new();
            let reason = Arc::new(loom::cell::UnsafeCell::new(()));
            let (signaller, written) = (shutdown.clone(), Arc::clone(&reason));
            let signaller = thread::spawn(move || {
                written.with_mut(|_| ());
                signaller.trigger();
            });
            let triggered = shutdown.is_triggered();
            if triggered {
                // loom's cell reports an access that is not ordered after the signaller's.
                reason.with(|_| ());
            }
            log.note(triggered);
            signaller.join().unwrap();
        });
        seen.assert_both();
    }

    /// A worker that registers while the signal is given is either refused or waited for.
    #[test]
    fn a_worker_that_comes_late_is_refused_or_waited_for() {
        let seen = Seen::new();
        let log = seen.clone();
        loom::model(move || {
            let shutdown = Shutdown::new();
            let (starter, signaller) = (shutdown.clone(), shutdown.clone());
            let starter = thread::spawn(move || starter.worker("late").is_some());
            let signaller = thread::spawn(move || signaller.trigger());
            block_on(shutdown.stopped());
            assert_eq!(shutdown.running(), [""; 0]);
            assert!(shutdown.worker("later").is_none());
            log.note(starter.join().unwrap());
            signaller.join().unwrap();
        });
        seen.assert_both();
    }
}
