//! The way of requests from the tasks of a user, or of a client's connection, into the loop, and
//! of the answers back.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use quorate_core::{InSession, Outcome, SessionId, Settings, StateMachine};
use quorate_handoff::{Completion, Producer, PushError, Waiter, slot};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::apply_thread::Job;
use crate::error::{NotProposed, ReadError, RequestError, SessionError};

/// What a read promises. Every level shows a consistent prefix of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Read {
    /// It sees every write that was acknowledged before it began, to whomever and by whichever
    /// node. Costs one round trip between the leader and a majority, shared by all reads that
    /// begin meanwhile, and no disk write.
    #[default]
    Linearizable,
    /// It sees what this node has applied, however old that is. Works without a majority.
    Local,
}

/// What a request of this node costs in queues beyond its own bytes.
pub(crate) const OVERHEAD_BYTES: usize = 256;

/// The answer to a proposal, for the loop to give.
pub(crate) type Answer<R> = Completion<Result<Outcome<R>, RequestError>>;

/// The answer to a read, for the apply thread to give.
pub(crate) type ReadAnswer<A> = Completion<Result<A, ReadError>>;

/// A proposal that was put into line, or not.
pub(crate) type Queued<S> =
    Result<Waiter<Result<Outcome<<S as StateMachine>::Response>, RequestError>>, RequestError>;

/// A request on its way to the loop.
pub(crate) enum Request<S: StateMachine> {
    Propose {
        body: Bytes,
        session: Option<InSession>,
        answer: Answer<S::Response>,
    },
    Register {
        answer: Answer<S::Response>,
    },
    /// A query that costs so much until it is answered.
    Read {
        query: S::Query,
        cost: usize,
        answer: ReadAnswer<S::Answer>,
    },
}

impl<S: StateMachine> Request<S> {
    /// How much room it takes until it is answered, in bytes.
    pub(crate) fn cost(&self) -> usize {
        match self {
            Request::Propose { body, .. } => body.len() + OVERHEAD_BYTES,
            Request::Register { .. } => OVERHEAD_BYTES,
            Request::Read { cost, .. } => *cost,
        }
    }
}

/// Takes requests, from any thread and on any runtime.
pub(crate) struct Requests<S: StateMachine> {
    pub(crate) to_loop: Producer<Request<S>>,
    pub(crate) to_applier: Producer<Job<S>>,
    pub(crate) settings: Arc<Settings>,
}

impl<S: StateMachine> Clone for Requests<S> {
    fn clone(&self) -> Requests<S> {
        Requests {
            to_loop: self.to_loop.clone(),
            to_applier: self.to_applier.clone(),
            settings: Arc::clone(&self.settings),
        }
    }
}

impl<S: StateMachine> Requests<S> {
    /// Queues a command at once.
    pub(crate) fn propose(
        &self,
        command: &S::Command,
    ) -> impl Future<Output = Result<S::Response, RequestError>> + Send + use<S> + 'static {
        let queued = encoded::<S>(command)
            .map_err(RequestError::from)
            .and_then(|body| self.propose_encoded(body, None));
        async move { response_of(outcome(queued).await?) }
    }

    /// Queues a command, encoded, at once.
    pub(crate) fn propose_encoded(&self, body: Bytes, session: Option<InSession>) -> Queued<S> {
        if body.len() > self.settings.max_command_bytes {
            return Err(NotProposed::TooLarge.into());
        }
        let cost = body.len() + OVERHEAD_BYTES;
        let (answer, waiter) = slot();
        self.push(Request::Propose { body, session, answer }, cost)?;
        Ok(waiter)
    }

    /// Opens a session.
    pub(crate) async fn register(&self) -> Result<SessionId, RequestError> {
        let (answer, waiter) = slot();
        let queued = self.push(Request::Register { answer }, OVERHEAD_BYTES).map(|()| waiter);
        match outcome(queued).await? {
            Outcome::Registered(session) => Ok(session),
            _ => Err(RequestError::Unknown),
        }
    }

    /// Queues a query at once.
    pub(crate) fn read(
        &self,
        level: Read,
        query: S::Query,
    ) -> impl Future<Output = Result<S::Answer, ReadError>> + Send + use<S> + 'static {
        let (answer, waiter) = slot();
        // Of a query that cannot be encoded nobody knows how large it is.
        let cost = postcard::experimental::serialized_size(&query).unwrap_or(0) + OVERHEAD_BYTES;
        let queued = match level {
            Read::Linearizable => {
                let request = Request::Read { query, cost, answer };
                self.to_loop.push(request, cost).map_err(|error| kind_of(&error))
            }
            Read::Local => {
                let job = Job::Query { query, answer };
                self.to_applier.push(job, cost).map_err(|error| kind_of(&error))
            }
        };
        async move {
            match queued {
                Ok(()) => waiter.await.unwrap_or(Err(ReadError::ShuttingDown)),
                Err(NotProposed::Busy) => Err(ReadError::Busy),
                Err(_) => Err(ReadError::ShuttingDown),
            }
        }
    }

    fn push(&self, request: Request<S>, cost: usize) -> Result<(), RequestError> {
        self.to_loop.push(request, cost).map_err(|error| kind_of(&error).into())
    }
}

/// The bytes of a command. What cannot be read back from them must not get into the log: every
/// replica would stop there.
pub(crate) fn encoded<S: StateMachine>(command: &S::Command) -> Result<Bytes, NotProposed> {
    let body = postcard::to_allocvec(command).map_err(|_| NotProposed::Unencodable)?;
    match decoded::<S::Command>(&body) {
        Some(_) => Ok(body.into()),
        None => Err(NotProposed::Unencodable),
    }
}

/// What these bytes are, if they are nothing else besides.
pub(crate) fn decoded<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (value, rest) = postcard::take_from_bytes(bytes).ok()?;
    rest.is_empty().then_some(value)
}

/// What was asked came to this.
pub(crate) fn response_of<R>(outcome: Outcome<R>) -> Result<R, RequestError> {
    Err(match outcome {
        Outcome::Response(response) => return Ok(response),
        Outcome::NoSession => SessionError::Expired,
        Outcome::WindowExceeded => SessionError::WindowExceeded,
        Outcome::Acknowledged => SessionError::Acknowledged,
        Outcome::ResponseDropped => SessionError::ResponseDropped,
        // That is no answer to a command: nothing is known of it.
        Outcome::Registered(_) => return Err(RequestError::Unknown),
    }
    .into())
}

/// An answer that never comes says that the node has stopped, and nothing about the request.
pub(crate) async fn outcome<R>(
    queued: Result<Waiter<Result<Outcome<R>, RequestError>>, RequestError>,
) -> Result<Outcome<R>, RequestError> {
    queued?.await.unwrap_or(Err(RequestError::Unknown))
}

fn kind_of<T>(error: &PushError<T>) -> NotProposed {
    match error {
        PushError::Full(_) => NotProposed::Busy,
        _ => NotProposed::ShuttingDown,
    }
}

#[cfg(test)]
mod tests {
    use quorate_handoff::queue;

    use super::*;
    use crate::net::testing::Echo;

    #[test]
    fn a_command_that_is_answered_with_a_session_is_of_unknown_outcome() {
        let answered = response_of::<()>(Outcome::Registered(SessionId(7)));
        assert_eq!(answered, Err(RequestError::Unknown));
    }

    #[test]
    fn a_command_that_cannot_be_read_back_is_refused_and_not_put_into_line() {
        #[derive(serde::Serialize, serde::Deserialize)]
        #[serde(untagged)]
        enum Untagged {
            Number(u64),
        }
        #[derive(Clone, serde::Serialize, serde::Deserialize)]
        struct Machine;
        impl StateMachine for Machine {
            type Command = Untagged;
            type Response = ();
            type Query = ();
            type Answer = ();
            fn apply(&mut self, _: &quorate_core::At, _: Untagged) {}
            fn query(&self, _: &quorate_core::At, (): ()) {}
        }
        let (to_loop, asked) = queue(10_000);
        let (to_applier, _queries) = queue(10_000);
        let requests: Requests<Machine> =
            Requests { to_loop, to_applier, settings: Arc::default() };
        let mut answer = Box::pin(requests.propose(&Untagged::Number(7)));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let refused = std::task::Poll::Ready(Err(NotProposed::Unencodable.into()));
        assert_eq!(answer.as_mut().poll(&mut cx), refused);
        assert_eq!(
            asked.try_pop_all(&mut Default::default()),
            Err(quorate_handoff::PopError::Empty)
        );
    }

    #[test]
    fn a_read_takes_as_much_room_as_it_is_large() {
        for level in [Read::Linearizable, Read::Local] {
            let (to_loop, _asked) = queue(10_000);
            let (to_applier, _queries) = queue(10_000);
            let settings = Arc::default();
            let requests: Requests<Echo> = Requests { to_loop, to_applier, settings };
            let read = |length: usize| {
                let mut answer = Box::pin(requests.read(level, vec![0; length]));
                let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
                answer.as_mut().poll(&mut cx)
            };
            assert!(read(6_000).is_pending());
            assert!(read(1_000).is_pending());
            assert_eq!(read(6_000), std::task::Poll::Ready(Err(ReadError::Busy)));
        }
    }
}
