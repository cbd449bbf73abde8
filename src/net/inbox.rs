//! The way of messages from the connections of peers into the loop.

use std::sync::Arc;

use quorate_core::Envelope;
use quorate_handoff::{Closed, Producer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Where the connections of peers put messages, within a bound in bytes.
pub(crate) struct Inbox<M> {
    queue: Producer<Received<M>>,
    room: Arc<Semaphore>,
    bound_bytes: u32,
}

/// A message, with the room it takes until the loop is done with it.
pub(crate) struct Received<M> {
    pub(crate) envelope: Envelope<M>,
    _room: OwnedSemaphorePermit,
}

impl<M> Inbox<M> {
    /// In front of this queue. Messages of at most `bound_bytes` are on their way at once.
    pub(crate) fn new(queue: Producer<Received<M>>, bound_bytes: u32) -> Inbox<M> {
        let room = Arc::new(Semaphore::new(bound_bytes as usize));
        Inbox { queue, room, bound_bytes }
    }

    /// Puts a message of that size there once there is room. A message larger than all of it
    /// waits until it is the only one.
    ///
    /// # Errors
    /// Once the loop has ended.
    pub(crate) async fn put(&self, envelope: Envelope<M>, bytes: usize) -> Result<(), Closed> {
        let wanted = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bound_bytes);
        let room = Arc::clone(&self.room).acquire_many_owned(wanted).await;
        let _room = room.map_err(|_| Closed)?;
        self.queue.push_unbounded(Received { envelope, _room }, bytes).map_err(|_| Closed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::future::Future;
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake, Waker};

    use quorate_handoff::queue;

    use super::*;
    use crate::net::testing::envelope;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_message_for_which_there_is_no_room_waits_asleep_until_there_is() {
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut cx = Context::from_waker(&waker);
        let (producer, consumer) = queue(usize::MAX);
        let inbox = Inbox::new(producer, 100);
        assert!(pin!(inbox.put(envelope(2, ()), 60)).poll(&mut cx).is_ready());
        let mut waiting = pin!(inbox.put(envelope(2, ()), 1000));
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        let mut batch = VecDeque::new();
        consumer.try_pop_all(&mut batch).unwrap();
        assert_eq!(batch.len(), 1);
        // The loop has taken it, and is not done with it.
        assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
        batch.clear();
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        assert!(waiting.as_mut().poll(&mut cx).is_ready());
        consumer.try_pop_all(&mut batch).unwrap();
        assert_eq!(batch.len(), 1);
    }

    #[test]
    fn nothing_is_put_before_a_loop_that_has_ended() {
        let mut cx = Context::from_waker(Waker::noop());
        let (producer, consumer) = queue(usize::MAX);
        let inbox = Inbox::new(producer, 100);
        drop(consumer);
        let put = pin!(inbox.put(envelope(2, ()), 1)).poll(&mut cx);
        assert!(matches!(put, std::task::Poll::Ready(Err(Closed))));
    }
}
