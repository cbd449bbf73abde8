//! A running node, as its user holds it.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use quorate_core::{Protocol, StateMachine};
use quorate_handoff::{Producer, slot};
use tokio::runtime::Handle;

use crate::completed::Completed;
use crate::config::Builder;
use crate::error::{ReadError, RequestError, ShutdownTimeout, StopReason};
use crate::requests::{Read, Requests};
use crate::session::Session;
use crate::status::{Board, Status};
use crate::threads::Stopper;

/// How long a shutdown may take in all. Leadership and what is outstanding get less than half.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(4500);

/// One replica of the state machine `S`, kept in line by the protocol `P`.
///
/// A node runs on threads of its own; its methods can be called from any thread and awaited on any
/// runtime. Clones are handles on the same node. End it with [`shutdown`](Node::shutdown): that
/// loses no time to an election. Dropping the last handle stops its threads, too, but waits for
/// nothing and hands nothing over: the node holds its data directory and its port a moment longer. To
/// start it again in the same process, await `shutdown` first.
pub struct Node<P, S: StateMachine> {
    inner: Arc<Inner<S>>,
    protocol: PhantomData<fn() -> P>,
}

/// What all handles on a node share.
pub(crate) struct Inner<S: StateMachine> {
    pub(crate) requests: Requests<S>,
    pub(crate) to_loop: Producer<Completed<S>>,
    pub(crate) board: Board,
    pub(crate) stopper: Stopper,
    pub(crate) threads: Mutex<Vec<JoinHandle<()>>>,
    pub(crate) address: String,
    pub(crate) max_open_files: usize,
    /// Where the node's clients are served, and its sessions have their timers.
    pub(crate) clients_at: Handle,
}

impl<P: Protocol, S: StateMachine> Node<P, S> {
    /// Describes a node: see [`Builder`].
    pub fn builder() -> Builder<P, S> {
        Builder::new()
    }

    pub(crate) fn new(inner: Inner<S>) -> Node<P, S> {
        Node { inner: Arc::new(inner), protocol: PhantomData }
    }

    /// Replicates and executes a command. Any node will do: the request finds the leader, and is
    /// answered by this node once it has executed the command itself.
    ///
    /// It is put into line at once, not when the future is first polled, and dropping the future does
    /// not take it back. Commands that one task proposes at one node, one after the other and without
    /// waiting in between, are executed in that order, as far as they are executed: if one of them is
    /// refused, later ones may still be executed.
    ///
    /// # Errors
    /// See [`RequestError`], which tells what surely has no effect from what may have one. Under a
    /// [`session`](Node::session) what was lost with a leader is sent again, and applied once.
    pub fn propose(
        &self,
        command: S::Command,
    ) -> impl Future<Output = Result<S::Response, RequestError>> + Send + use<P, S> + 'static {
        self.inner.requests.propose(&command)
    }

    /// Answers a query from the state that `level` asks for. Like a
    /// [proposal](Node::propose), it is put into line at once, not when the future is first polled. If
    /// the future is dropped, the leader may still be asked, but the state machine is not, unless its
    /// turn has come already.
    ///
    /// # Errors
    /// See [`ReadError`]. A read has no effect and can always be tried again.
    pub fn read(
        &self,
        level: Read,
        query: S::Query,
    ) -> impl Future<Output = Result<S::Answer, ReadError>> + Send + use<P, S> + 'static {
        self.inner.requests.read(level, query)
    }

    /// Opens a session, under which retries are applied once. Sessions end by being evicted: beyond
    /// [`max_sessions`](crate::Settings::max_sessions), the one that was not used for longest. So open one
    /// for a process, not for a request.
    ///
    /// It is asked for once, when the future is first polled, and takes up to
    /// [`request_timeout`](crate::Settings::request_timeout). If the future is dropped after that, the
    /// session may be opened all the same. Nobody uses it then, and it is evicted in its turn.
    ///
    /// # Errors
    /// See [`RequestError`]. To ask again does no harm: a session whose registration is of unknown
    /// outcome is never used.
    pub async fn session(&self) -> Result<Session<S>, RequestError> {
        Session::open(self.inner.requests.clone(), self.inner.clients_at.clone()).await
    }

    /// How the node stands. Cheap; never blocks.
    #[must_use]
    pub fn status(&self) -> Status {
        self.inner.board.status()
    }

    /// The address at which the node listens, with the port that was chosen if it was asked to
    /// listen at port 0.
    #[must_use]
    pub fn local_address(&self) -> &str {
        &self.inner.address
    }

    /// How many files and sockets the node has open at most, the process's standard streams
    /// included. Whoever has connections of their own in the same process leaves it as many of
    /// those that the process may open: a node whose log gets no file stops.
    #[must_use]
    pub fn max_open_files(&self) -> usize {
        self.inner.max_open_files
    }

    /// Stops the node in good order: it takes no more requests, lets another node lead if it
    /// leads, waits a little for what is outstanding, and ends every thread. Takes up to five
    /// seconds, usually much less. Afterwards its data directory and its port are free.
    ///
    /// Begins when the future is first polled, and then goes on if the future is dropped. It may be
    /// called several times, and at several handles: each call waits for the same end.
    ///
    /// # Errors
    /// If threads are still running after that. They hold the data directory until they end.
    pub async fn shutdown(&self) -> Result<(), ShutdownTimeout> {
        // Refused only if the loop has ended already.
        let _ = self.inner.to_loop.push_unbounded(Completed::ShutDown, 0);
        let (completion, waiter) = slot();
        let inner = Arc::clone(&self.inner);
        let wait = move || _ = completion.complete(inner.wait_stopped());
        // A thread, since the caller's runtime may have no timers.
        match std::thread::Builder::new().name("quorate-shutdown".to_owned()).spawn(wait) {
            Ok(_) => waiter.await.unwrap_or(Ok(())),
            Err(_) => self.inner.wait_stopped(),
        }
    }

    /// Waits until the node has stopped and all of its threads have ended; says why. Dropping the future
    /// changes nothing.
    pub async fn stopped(&self) -> StopReason {
        self.inner.stopper.signal().stopped().await;
        self.inner.stopper.reason().unwrap_or(StopReason::Shutdown)
    }
}

impl<S: StateMachine> Inner<S> {
    /// Waits for all threads, for a limited time.
    fn wait_stopped(&self) -> Result<(), ShutdownTimeout> {
        let stopped = self.stopper.signal().wait_stopped(SHUTDOWN_TIMEOUT);
        stopped.map_err(|still| ShutdownTimeout { running: still.running })?;
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // What it had to say, it has said to the stopper.
            let _ = thread.join();
        }
        Ok(())
    }
}

impl<S: StateMachine> Drop for Inner<S> {
    fn drop(&mut self) {
        self.stopper.stop(StopReason::Shutdown);
    }
}

impl<P, S: StateMachine> Clone for Node<P, S> {
    fn clone(&self) -> Node<P, S> {
        Node { inner: Arc::clone(&self.inner), protocol: PhantomData }
    }
}

impl<P, S: StateMachine> std::fmt::Debug for Node<P, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let status = self.inner.board.status();
        f.debug_struct("Node")
            .field("id", &status.node)
            .field("role", &status.role)
            .field("ballot", &status.ballot)
            .finish_non_exhaustive()
    }
}
