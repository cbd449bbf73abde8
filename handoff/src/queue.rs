//! A queue bounded in bytes, whose consumer takes everything at once.
//!
//! The storage thread sleeps in [`Consumer::pop_all`]: what was pushed during one sync is the next
//! group, so that batching needs no timer. The loop awaits [`Consumer::drain`] among its sockets.
//! Helpers that share one queue take single jobs with [`Consumer::pop`].
//!
//! One mutex guards the queue. A push holds it for one insertion, `pop_all` into an empty batch for
//! a swap of two buffers, whatever the length; the two buffers are reused in turn. Only the push
//! into an empty queue wakes anybody, and it makes no system call if nobody sleeps.
//!
//! What keeps wake-ups from being lost:
//!
//! 1. A consumer goes to sleep, or leaves its waker, under the same lock under which it saw the
//!    queue empty and open.
//! 2. So no waker is registered while something is queued: the push into the empty queue takes
//!    them all, and wakes one of the sleeping threads besides.
//! 3. Whoever takes one item and leaves others wakes the next sleeper.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::mem::size_of;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::sync::{Arc, Condvar, Deadline, Mutex, lock, wait};
use crate::wakers::{Key, Wakers};

#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, not(loom)))]
mod tests;

/// Makes a queue that holds up to `bound_bytes`, and its first two handles.
///
/// The bound is on what is queued. A batch that a consumer took no longer counts, so the memory
/// held is up to twice the bound. An item whose cost exceeds the whole bound is accepted into an
/// empty queue: it could never be handed over otherwise.
///
/// The queue closes by [`Producer::close`] or [`Consumer::close`], with its last producer, or with
/// its last consumer; in the last case, what was queued is dropped.
pub fn queue<T>(bound_bytes: usize) -> (Producer<T>, Consumer<T>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            items: VecDeque::new(),
            costs: VecDeque::new(),
            queued_bytes: 0,
            closed: false,
            producers: 1,
            consumers: 1,
            sleepers: 0,
            wakers: Wakers::default(),
            next_key: 1,
        }),
        filled: Condvar::new(),
        bound_bytes,
    });
    (Producer { shared: Arc::clone(&shared) }, Consumer { shared, key: 0 })
}

/// The end that fills the queue. Clone it for each thread or task that does; none of its methods
/// ever waits for a consumer.
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
}

/// The end that empties the queue. Several may share the work: every item goes to exactly one.
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// Under which this handle's waker is registered.
    key: Key,
}

/// Why an item was not queued. It is handed back inside.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum PushError<T> {
    /// The queue holds its bound already: tell whoever sent the item to come back later.
    #[error("the queue is full: refuse the request as busy, or push again once some is taken")]
    Full(T),
    /// The queue was closed, or no consumer is left: no later push will succeed either.
    #[error("the queue is closed: stop producing")]
    Closed(T),
}

impl<T> PushError<T> {
    /// The item that was not queued.
    pub fn into_item(self) -> T {
        match self {
            PushError::Full(item) | PushError::Closed(item) => item,
        }
    }
}

impl<T> fmt::Debug for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PushError::Full(_) => "Full(..)",
            PushError::Closed(_) => "Closed(..)",
        })
    }
}

/// The queue was closed, and everything that had been queued was taken: stop consuming.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue is closed and drained: stop consuming")]
pub struct Closed;

/// Why nothing was taken by a call that does not wait for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PopError {
    /// Nothing was queued within the time given, if any was: ask again later.
    #[error("nothing is queued: ask again later")]
    Empty,
    /// See [`Closed`].
    #[error("the queue is closed and drained: stop consuming")]
    Closed,
}

impl<T> Producer<T> {
    /// Queues `item` unless that would exceed the bound. Never blocks.
    ///
    /// An item counts for `cost_bytes`, but never for less than its place in the queue takes
    /// (`size_of::<T>()`): items without payload cannot make the queue grow for ever either.
    ///
    /// # Errors
    ///
    /// [`PushError::Full`] and [`PushError::Closed`], with the item inside.
    pub fn push(&self, item: T, cost_bytes: usize) -> Result<(), PushError<T>> {
        self.shared.push(item, cost_bytes, self.shared.bound_bytes)
    }

    /// Queues `item` even beyond the bound. Never blocks.
    ///
    /// For what has been decided and cannot be refused any more, such as an effect of the protocol
    /// or the completion of a write. Who uses it bounds the sum elsewhere: by admitting no further
    /// input while the queue has no [room](Self::has_room).
    ///
    /// # Errors
    ///
    /// [`PushError::Closed`], with the item inside.
    pub fn push_unbounded(&self, item: T, cost_bytes: usize) -> Result<(), PushError<T>> {
        self.shared.push(item, cost_bytes, usize::MAX)
    }

    /// Whether a push of `cost_bytes` would be accepted, were it made at this instant.
    pub fn has_room(&self, cost_bytes: usize) -> bool {
        let cost = charge::<T>(cost_bytes);
        let state = lock(&self.shared.state);
        !state.closed && state.fits(cost, self.shared.bound_bytes)
    }

    /// The cost of all that is queued, in bytes.
    pub fn queued_bytes(&self) -> usize {
        lock(&self.shared.state).queued_bytes
    }

    /// Refuses every later push. What is queued can still be taken.
    pub fn close(&self) {
        self.shared.close();
    }
}

impl<T> Consumer<T> {
    /// Appends everything queued to `batch`, in the order of the pushes; sleeps while there is
    /// nothing. Fastest with an empty batch, which may keep the capacity of the last one.
    ///
    /// # Errors
    ///
    /// [`Closed`], once nothing will come any more.
    pub fn pop_all(&self, batch: &mut VecDeque<T>) -> Result<(), Closed> {
        self.shared.take(|state| state.take_all(batch))
    }

    /// [`pop_all`](Self::pop_all) that gives up after `timeout`.
    ///
    /// # Errors
    ///
    /// [`PopError::Empty`] after the timeout, [`PopError::Closed`] once nothing will come any more.
    pub fn pop_all_timeout(
        &self,
        batch: &mut VecDeque<T>,
        timeout: Duration,
    ) -> Result<(), PopError> {
        let deadline = Deadline::after(timeout);
        let mut expired = false;
        let mut state = lock(&self.shared.state);
        loop {
            match state.take_all(batch) {
                Err(PopError::Empty) if !expired => {}
                done => return done,
            }
            state.sleepers += 1;
            (state, expired) = deadline.wait(&self.shared.filled, &self.shared.state, state);
            state.sleepers -= 1;
        }
    }

    /// Appends what is queued at this instant to `batch`. Never waits.
    ///
    /// # Errors
    ///
    /// [`PopError::Empty`], or [`PopError::Closed`] once nothing will come any more.
    pub fn try_pop_all(&self, batch: &mut VecDeque<T>) -> Result<(), PopError> {
        lock(&self.shared.state).take_all(batch)
    }

    /// Whether nothing is queued at this instant.
    pub fn is_empty(&self) -> bool {
        lock(&self.shared.state).items.is_empty()
    }

    /// Takes the oldest item; sleeps while there is none.
    ///
    /// For consumers that share the work of one queue, each item a job of its own.
    ///
    /// # Errors
    ///
    /// [`Closed`], once nothing will come any more.
    pub fn pop(&self) -> Result<T, Closed> {
        let mut pass_on = false;
        let item = self.shared.take(|state| {
            let item = state.take_one()?;
            pass_on = !state.items.is_empty() && state.sleepers > 0;
            Ok(item)
        })?;
        if pass_on {
            self.shared.filled.notify_one();
        }
        Ok(item)
    }

    /// [`try_pop_all`](Self::try_pop_all) which, where that finds nothing, has the task of `cx`
    /// woken as soon as there is something, or the queue closes.
    ///
    /// Like every poll function it keeps the last waker only, of each handle.
    ///
    /// # Errors
    ///
    /// [`Closed`], once nothing will come any more.
    pub fn poll_pop_all(
        &mut self,
        cx: &mut Context<'_>,
        batch: &mut VecDeque<T>,
    ) -> Poll<Result<(), Closed>> {
        let replaced;
        {
            let mut state = lock(&self.shared.state);
            match state.take_all(batch) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(PopError::Closed) => return Poll::Ready(Err(Closed)),
                Err(PopError::Empty) => replaced = state.wakers.register(self.key, cx.waker()),
            }
        }
        drop(replaced);
        Poll::Pending
    }

    /// [`pop_all`](Self::pop_all) for an async task, of any runtime.
    ///
    /// Cancel-safe: dropped before it is ready, it has taken nothing.
    ///
    /// # Errors
    ///
    /// [`Closed`], once nothing will come any more.
    pub async fn drain(&mut self, batch: &mut VecDeque<T>) -> Result<(), Closed> {
        poll_fn(|cx| self.poll_pop_all(cx, batch)).await
    }

    /// Refuses every later push. What is queued can still be taken.
    pub fn close(&self) {
        self.shared.close();
    }
}

impl<T> Clone for Producer<T> {
    fn clone(&self) -> Self {
        lock(&self.shared.state).producers += 1;
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        let last = {
            let mut state = lock(&self.shared.state);
            state.producers -= 1;
            state.producers == 0
        };
        if last {
            self.shared.close();
        }
    }
}

impl<T> Clone for Consumer<T> {
    fn clone(&self) -> Self {
        let key = {
            let mut state = lock(&self.shared.state);
            state.consumers += 1;
            let key = state.next_key;
            state.next_key += 1;
            key
        };
        Self { shared: Arc::clone(&self.shared), key }
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        // Items left behind may hold completions, whose waiters must learn that nobody will
        // answer, however long the producers live.
        let mut orphans = VecDeque::new();
        let own_waker;
        {
            let mut state = lock(&self.shared.state);
            own_waker = state.wakers.remove(self.key);
            state.consumers -= 1;
            if state.consumers == 0 {
                state.closed = true;
                // Empty is as good as taken: there is nobody to tell the difference.
                let _ = state.take_all(&mut orphans);
            }
        }
        drop(own_waker);
        drop(orphans);
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("bound_bytes", &self.shared.bound_bytes).finish()
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("bound_bytes", &self.shared.bound_bytes).finish()
    }
}

struct Shared<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    bound_bytes: usize,
}

struct State<T> {
    items: VecDeque<T>,
    /// The cost of each item, kept apart so that all items can be taken by a swap.
    costs: VecDeque<usize>,
    /// The sum of `costs`.
    queued_bytes: usize,
    closed: bool,
    producers: usize,
    consumers: usize,
    /// Threads inside a wait on `filled`, notified or not.
    sleepers: usize,
    wakers: Wakers,
    next_key: Key,
}

impl<T> Shared<T> {
    fn push(&self, item: T, cost_bytes: usize, bound_bytes: usize) -> Result<(), PushError<T>> {
        let cost = charge::<T>(cost_bytes);
        let (sleeper, wakers) = {
            let mut state = lock(&self.state);
            if state.closed {
                return Err(PushError::Closed(item));
            }
            if !state.fits(cost, bound_bytes) {
                return Err(PushError::Full(item));
            }
            // Only a cost beyond the address space is cut, so that the sum stays exact.
            let cost = cost.min(usize::MAX - state.queued_bytes);
            let was_empty = state.items.is_empty();
            state.items.push_back(item);
            state.costs.push_back(cost);
            state.queued_bytes += cost;
            if !was_empty {
                return Ok(());
            }
            (state.sleepers > 0, state.wakers.take())
        };
        if sleeper {
            self.filled.notify_one();
        }
        wakers.wake();
        Ok(())
    }

    /// Repeats `attempt`, asleep in between, until it finds something or the queue is closed.
    fn take<R>(
        &self,
        mut attempt: impl FnMut(&mut State<T>) -> Result<R, PopError>,
    ) -> Result<R, Closed> {
        let mut state = lock(&self.state);
        loop {
            match attempt(&mut state) {
                Ok(taken) => return Ok(taken),
                Err(PopError::Closed) => return Err(Closed),
                Err(PopError::Empty) => {}
            }
            state.sleepers += 1;
            state = wait(&self.filled, state);
            state.sleepers -= 1;
        }
    }

    fn close(&self) {
        let wakers = {
            let mut state = lock(&self.state);
            state.closed = true;
            state.wakers.take()
        };
        self.filled.notify_all();
        wakers.wake();
    }
}

impl<T> State<T> {
    fn fits(&self, cost: usize, bound_bytes: usize) -> bool {
        self.items.is_empty() || self.queued_bytes.saturating_add(cost) <= bound_bytes
    }

    fn take_all(&mut self, batch: &mut VecDeque<T>) -> Result<(), PopError> {
        if self.items.is_empty() {
            return Err(self.nothing());
        }
        if batch.is_empty() {
            std::mem::swap(batch, &mut self.items);
        } else {
            batch.append(&mut self.items);
        }
        self.costs.clear();
        self.queued_bytes = 0;
        Ok(())
    }

    fn take_one(&mut self) -> Result<T, PopError> {
        let (Some(item), Some(cost)) = (self.items.pop_front(), self.costs.pop_front()) else {
            return Err(self.nothing());
        };
        self.queued_bytes -= cost;
        Ok(item)
    }

    /// Why there is nothing to take. Asked only once the queue was found empty: what was queued
    /// before the close is still to be taken.
    fn nothing(&self) -> PopError {
        if self.closed { PopError::Closed } else { PopError::Empty }
    }
}

/// What an item counts for.
fn charge<T>(cost_bytes: usize) -> usize {
    cost_bytes.max(size_of::<T>()).max(1)
}
