//! A session held within the process of a node.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quorate_core::{InSession, SessionId, StateMachine};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use crate::error::{NotProposed, RequestError};
use crate::requests::{Queued, Requests, encoded, outcome, response_of};

/// How long a request of unknown outcome is tried again.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait before a request is sent again that was refused.
const PAUSE: Duration = Duration::from_millis(50);

/// A session: each call of [`propose`](Session::propose) takes effect at most once, however often
/// its command has to be sent. Numbers and acknowledgements are kept here.
///
/// A request of unknown outcome (its leader died, say) is sent again, under the same number: until 30 s
/// after the first attempt was given up. Each attempt takes up to
/// [`request_timeout`](crate::Settings::request_timeout), the last one as well. An attempt that is refused
/// for now, as busy or for want of a leader, says nothing of those before it, and another one follows.
/// What is refused before it was ever sent is handed back at once instead, as without a session.
/// Commands proposed one after the other without waiting are executed in that order unless the outcome
/// of one of them was unknown and it was sent again.
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
    /// Where the node's own timers run: whoever awaits a proposal may have none.
    timers: Handle,
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
    pub(crate) async fn open(
        requests: Requests<S>,
        timers: Handle,
    ) -> Result<Session<S>, RequestError> {
        let id = requests.register().await?;
        let numbers = Mutex::new(Numbers::default());
        Ok(Session { inner: Arc::new(Inner { requests, id, numbers, timers }) })
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
    /// was over or the node stopped. To call `propose` once more is another command: read first what
    /// the state is.
    /// [`SessionError::WindowExceeded`](crate::SessionError::WindowExceeded) if more than
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

    /// Once it is unknown what became of an attempt, tries again until that is known.
    async fn see_through(
        &self,
        body: Bytes,
        first: Result<S::Response, RequestError>,
    ) -> Result<S::Response, RequestError> {
        let deadline = Instant::now() + PATIENCE;
        let mut result = first;
        if !matches!(result, Err(RequestError::Unknown)) {
            return result;
        }
        while let Err(error) = result
            && (error == RequestError::Unknown || passes(error))
            && Instant::now() < deadline
        {
            // To call an attempt unknown takes the loop a while by itself.
            if passes(error) {
                self.session.pause().await;
            }
            result = outcome(self.propose(body.clone())).await.and_then(response_of);
        }
        match result {
            // The last attempt had no effect, but one before it may have had.
            Err(error) if error.surely_not_applied() => Err(RequestError::Unknown),
            result => result,
        }
    }
}

impl<S: StateMachine> Drop for Number<S> {
    fn drop(&mut self) {
        self.session.lock().outstanding.remove(&self.sequence);
    }
}

/// Whether the same node may take it a little later.
fn passes(refusal: RequestError) -> bool {
    refusal.is_transient() || refusal == RequestError::NotProposed(NotProposed::NoLeader)
}

impl<S: StateMachine> Inner<S> {
    async fn pause(&self) {
        // It is cut short if the node stops. The next attempt finds that out.
        let _ = self.timers.spawn(async { sleep(PAUSE).await }).await;
    }

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
