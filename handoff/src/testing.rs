//! What the tests wait and look with: no runtime is among the dependencies.

#[cfg(loom)]
pub(crate) use models::Seen;
#[cfg(not(loom))]
pub(crate) use tests::{CountedWaker, block_on};

#[cfg(not(loom))]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};
    use std::thread::{self, Thread};

    /// Drives `future` to its end, asleep while it is pending.
    pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
        struct Unpark(Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut future = pin!(future);
        loop {
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(output) => return output,
                Poll::Pending => thread::park(),
            }
        }
    }

    /// A waker that counts how often it is woken, and how many clones of it are held elsewhere.
    pub(crate) struct CountedWaker {
        wakes: Arc<Wakes>,
        waker: Waker,
    }

    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl CountedWaker {
        pub(crate) fn new() -> Self {
            let wakes = Arc::new(Wakes(AtomicUsize::new(0)));
            let waker = Waker::from(Arc::clone(&wakes));
            Self { wakes, waker }
        }

        pub(crate) fn context(&self) -> Context<'_> {
            Context::from_waker(&self.waker)
        }

        pub(crate) fn wakes(&self) -> usize {
            self.wakes.0.load(Ordering::SeqCst)
        }

        pub(crate) fn held(&self) -> usize {
            Arc::strong_count(&self.wakes) - 2
        }
    }
}

#[cfg(loom)]
mod models {
    // Outside of what loom explores, hence std's.
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Which ways a race went, over all executions of a model: a model in which it always goes the
    /// same way proves nothing about the other.
    #[derive(Clone)]
    pub(crate) struct Seen(Arc<[AtomicBool; 2]>);

    impl Seen {
        pub(crate) fn new() -> Self {
            Self(Arc::new([AtomicBool::new(false), AtomicBool::new(false)]))
        }

        pub(crate) fn note(&self, outcome: bool) {
            self.0[usize::from(outcome)].store(true, Ordering::SeqCst);
        }

        pub(crate) fn assert_both(&self) {
            let seen = self.0.each_ref().map(|seen| seen.load(Ordering::SeqCst));
            assert_eq!(seen, [true, true], "the race went one way only: (lost, won)");
        }
    }
}
