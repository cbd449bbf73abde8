//! What the loop waits for.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use quorate_core::{Protocol, StateMachine};
use quorate_handoff::{Consumer, ShutdownWait};
use tokio::time::Sleep;

use crate::completed::Completed;
use crate::net::inbox::Received;
use crate::requests::Request;

/// Where the loop is told things.
pub(crate) struct Inputs<P: Protocol, S: StateMachine> {
    pub(crate) completed: Consumer<Completed<S>>,
    pub(crate) messages: Consumer<Received<P::Message>>,
    pub(crate) requests: Consumer<Request<S>>,
}

/// What has gathered for the next round.
pub(super) struct Gathering<P: Protocol, S: StateMachine> {
    pub(super) inputs: Inputs<P, S>,
    pub(super) completed: VecDeque<Completed<S>>,
    pub(super) messages: VecDeque<Received<P::Message>>,
    pub(super) requests: VecDeque<Request<S>>,
    stop: ShutdownWait,
    alarm: Pin<Box<Sleep>>,
}

impl<P: Protocol, S: StateMachine> Gathering<P, S> {
    pub(super) fn new(inputs: Inputs<P, S>, stop: ShutdownWait) -> Gathering<P, S> {
        Gathering {
            inputs,
            completed: VecDeque::new(),
            messages: VecDeque::new(),
            requests: VecDeque::new(),
            stop,
            alarm: Box::pin(tokio::time::sleep(Duration::ZERO)),
        }
    }

    /// Ready once there is anything to do.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let inputs = &mut self.inputs;
        // None of the queues closes before the loop ends: the node's handles hold their ends.
        let mut ready = inputs.completed.poll_pop_all(cx, &mut self.completed).is_ready();
        ready |= inputs.messages.poll_pop_all(cx, &mut self.messages).is_ready();
        ready |= inputs.requests.poll_pop_all(cx, &mut self.requests).is_ready();
        if let Some(deadline) = deadline {
            let deadline = tokio::time::Instant::from_std(deadline);
            if self.alarm.deadline() != deadline {
                self.alarm.as_mut().reset(deadline);
            }
            ready |= self.alarm.as_mut().poll(cx).is_ready();
        }
        ready |= Pin::new(&mut self.stop).poll(cx).is_ready();
        if ready { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use quorate_core::Ballot;
    use quorate_handoff::{Shutdown, queue, slot};
    use quorate_raft::Raft;
    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::net::inbox::Inbox;
    use crate::net::testing::{Echo, envelope};

    #[tokio::test]
    async fn what_has_come_is_taken_from_everywhere_at_once() {
        let ((done, completed), (to_messages, messages)) = (queue(1 << 10), queue(1 << 10));
        let (asking, requests) = queue(1 << 10);
        let inputs: Inputs<Raft, Echo> = Inputs { completed, messages, requests };
        let shutdown = Shutdown::new();
        let mut gathering = Gathering::new(inputs, shutdown.triggered());
        assert!(done.push(Completed::Room(true), 0).is_ok());
        let message = quorate_raft::Message::RequestVoteReply { term: Ballot(1), granted: true };
        let inbox = Inbox::new(to_messages, 1 << 10);
        assert!(inbox.put(envelope(2, message), 1).await.is_ok());
        assert!(asking.push(Request::Register { answer: slot().0 }, 0).is_ok());
        poll_fn(|cx| gathering.poll(cx, None)).await;
        let Gathering { completed, messages, requests, .. } = gathering;
        assert_eq!((completed.len(), messages.len(), requests.len()), (1, 1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_becomes_due_earlier_than_was_waited_for_is_not_slept_over() {
        let ((_a, completed), (_b, messages), (_c, requests)) = (queue(1), queue(1), queue(1));
        let inputs: Inputs<Raft, Echo> = Inputs { completed, messages, requests };
        let shutdown = Shutdown::new();
        let mut gathering = Gathering::new(inputs, shutdown.triggered());
        let second = Duration::from_secs(1);
        let now = Instant::now().into_std();
        for (due, is_over) in [(3600 * second, false), (second, true)] {
            let wait = poll_fn(|cx| gathering.poll(cx, Some(now + due)));
            assert_eq!(timeout(2 * second, wait).await.is_ok(), is_over, "{due:?}");
        }
    }
}
