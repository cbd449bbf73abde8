//! A session held within the process of a node.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_core::{InSession, SessionId, StateMachine};

use crate::error::{RequestError, SessionError};
use crate::requests::{Queued, Requests, encoded, outcome, response_of};

/// How long a request of unknown outcome is tried again.
const PATIENCE: Duration = Duration::from_secs(30);

/// A session: each call of [`propose`](Session::propose) takes effect at most once, however often
/// its command has to be sent. Numbers and acknowledgements are kept here.
///
/// A request of unknown outcome (its leader died, say) is sent again, under the same number: until 30 s
/// after the first attempt was given up. Each attempt takes up to
/// [`request_timeout`](crate::Settings::request_timeout), the last one as well. What is refused before
/// it was ever sent is handed back at once instead, as without a session. Commands proposed one after
/// the other without waiting are executed in that order unless the outcome of one of them was unknown
/// and it was sent again.
///
/// That ends with this handle's process: see [`Client`](crate::Client#exactly-once) for what to do then.
///
/// The session lives in the replicated state and is not tied to this node: but this handle is.
/// A client outside uses [`Client`](crate::Client), which moves from node to node.
///
/// Clones are handles on the same session.
pub struct Session<S: StateMachine> {
    inner: Arc<Inner<S>>,
}

struct Inner<S: StateMachine> {
    requests: Requests<S>,
    id: SessionId,
    numbers: Mutex<Numbers>,
}

/// The sequence numbers of a session.
#[derive(Default)]
struct Numbers {
    next: u64,
    outstanding: BTreeSet<u64>,
}

/// A number that was given out. Dropping it says that the response is here, or not wanted.
struct Number<S: StateMachine> {
    session: Arc<Inner<S>>,
    sequence: u64,
}

impl<S: StateMachine> Session<S> {
    pub(crate) async fn open(requests: Requests<S>) -> Result<Session<S>, RequestError> {
        let id = requests.register().await?;
        let numbers = Mutex::new(Numbers::default());
        Ok(Session { inner: Arc::new(Inner { requests, id, numbers }) })
    }

    /// The session's name: the index of the log entry that opened it.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.inner.id
    }

    /// Replicates and executes a command, once. It is put into line at once, not when the future
    /// is first polled; it is sent again only while the future is polled. Dropping the future gives up
    /// its retries: the command may be executed or not, but once at most.
    ///
    /// # Errors
    /// See [`RequestError`]. [`RequestError::Unknown`] if the outcome was still unknown when the time
    /// was over. To call `propose` once more is another command: read first what the state is.
    /// [`SessionError::WindowExceeded`] if more than
    /// [`session_window`](crate::Settings::session_window) commands are outstanding: await some.
    pub fn propose(
        &self,
        command: S::Command,
    ) -> impl Future<Output = Result<S::Response, RequestError>> + Send + use<S> + 'static {
        let number = self.number();
        let begun = encoded::<S>(&command).map(|body| (body.clone(), number.propose(body)));
        async move {
            let (body, queued) = begun?;
            number.see_through(body, outcome(queued).await.and_then(response_of)).await
        }
    }

    fn number(&self) -> Number<S> {
        let mut numbers = self.inner.lock();
        let sequence = numbers.next;
        numbers.next += 1;
        numbers.outstanding.insert(sequence);
        drop(numbers);
        Number { session: Arc::clone(&self.inner), sequence }
    }
}

impl<S: StateMachine> Number<S> {
    fn propose(&self, body: Bytes) -> Queued<S> {
        self.session.requests.propose_encoded(body, Some(self.in_session()))
    }

    fn in_session(&self) -> InSession {
        let numbers = self.session.lock();
        let first = numbers.outstanding.first().copied().unwrap_or(numbers.next);
        InSession { session: self.session.id, sequence: self.sequence, first_unacknowledged: first }
    }

    /// Tries again while it is unknown what became of the last attempt.
    async fn see_through(
        &self,
        body: Bytes,
        first: Result<S::Response, RequestError>,
    ) -> Result<S::Response, RequestError> {
        let deadline = Instant::now() + PATIENCE;
        let mut result = first;
        let mut was_unknown = false;
        // Each attempt takes as long as the loop takes to call it unknown: no need to pause.
        while matches!(result, Err(RequestError::Unknown)) && Instant::now() < deadline {
            was_unknown = true;
            result = outcome(self.propose(body.clone())).await.and_then(response_of);
        }
        match result {
            // The last attempt had no effect, but one before it may have had.
            Err(RequestError::NotProposed(_)) if was_unknown => Err(RequestError::Unknown),
            Err(RequestError::Session(SessionError::WindowExceeded)) if was_unknown => {
                Err(RequestError::Unknown)
            }
            result => result,
        }
    }
}

impl<S: StateMachine> Drop for Number<S> {
    fn drop(&mut self) {
        self.session.lock().outstanding.remove(&self.sequence);
    }
}

impl<S: StateMachine> Inner<S> {
    fn lock(&self) -> std::sync::MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: StateMachine> Clone for Session<S> {
    fn clone(&self) -> Session<S> {
        Session { inner: Arc::clone(&self.inner) }
    }
}

impl<S: StateMachine> std::fmt::Debug for Session<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("id", &self.inner.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
