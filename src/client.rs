//! A cluster as seen from outside: find a node that serves, retry safely.

mod driver;
mod outgoing;

use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use quorate_core::StateMachine;
use quorate_handoff::{Attempts, GivenUp, fate};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::error::{NotProposed, ReadError, RequestError};
use crate::net::client_wire::MAX_BYTES;
use crate::net::{TcpTransport, Transport};
use crate::requests::{Read, decoded};
use driver::Driver;

/// How long a request is tried, if nothing else is said.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longer than anybody waits, and short enough to be added to any moment.
const LONGEST_PATIENCE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How many requests may wait for the connection; those beyond wait in their callers.
const QUEUE: usize = 1024;

/// A client of a cluster, under a session: it finds a node that serves, moves to another one when
/// that fails, and sends again what was not answered, so that each command is executed once at
/// most.
///
/// Open one for a process and clone it: each opens a session when it is first used, and a cluster keeps
/// [`max_sessions`](crate::Settings::max_sessions). With one for each request, those of others are
/// evicted, whose outstanding commands then end with
/// [`SessionError::Expired`](crate::SessionError::Expired).
///
/// Needs a tokio runtime, which drives the connection. Clones share the connection and the
/// session; the last one that is dropped ends them. Requests of several tasks are sent together,
/// and executed in no particular order; a task that awaits each answer sees its own effects in
/// linearizable reads. A local read answers from the node that the client is connected to, and
/// after it has moved that may be an older state than it has seen.
///
/// # Exactly once
///
/// What was not answered is sent again under the number which it had, and the cluster knows it again
/// by that. The session and its numbers are in this process's memory: with the process, exactly-once
/// ends. A program that has crashed cannot ask what became of its last commands, and to propose one of
/// them once more is another command. The same holds after [`RequestError::Unknown`].
///
/// Where that matters, have commands carry a key of your own, the number of an order, say. Save the key
/// before you propose the command, and propose it again under the same key. The state machine keeps the
/// keys that it has seen, in its state, and answers one that comes again without executing it.
pub struct Client<S> {
    orders: mpsc::Sender<Order>,
    patience: Duration,
    machine: PhantomData<fn() -> S>,
}

/// Why there is no client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No address was given.
    #[error("a client needs the address of at least one node")]
    NoAddresses,
    /// Called outside of a runtime.
    #[error("a client needs a tokio runtime: call connect within one")]
    NoRuntime,
}

/// A request on its way to the driver.
struct Order {
    what: Wanted,
    body: Bytes,
    /// Whether it may have reached a node: what its caller can say of it when the time is over.
    attempts: Attempts<NotProposed>,
    deadline: Instant,
    answer: oneshot::Sender<Result<Bytes, Failed>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Command,
    Query(Read),
}

/// Why the driver gave a request up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failed {
    Request(RequestError),
    Read(ReadError),
}

impl<S: StateMachine> Client<S> {
    /// A client of the cluster of that [name](crate::Builder::cluster) (`quorate`, if none was given),
    /// which has nodes at these addresses, those of its [members](crate::Builder::members), as
    /// `host:port`: some of them are enough, if they are up. Waits for nothing: requests do.
    ///
    /// # Errors
    /// See [`ConnectError`]. That nobody answers at an address, or that the cluster there has another
    /// name, is no error here: requests then find no node until their time is over, and why stands only
    /// in the program's log (`tracing`), once for each address.
    pub fn connect<A: Into<String>>(
        addresses: impl IntoIterator<Item = A>,
        cluster: impl Into<String>,
    ) -> Result<Client<S>, ConnectError> {
        Client::connect_over(addresses, cluster, TcpTransport)
    }

    /// [`connect`](Client::connect) over a transport other than plain TCP.
    ///
    /// # Errors
    /// As for [`connect`](Client::connect).
    pub fn connect_over<A: Into<String>>(
        addresses: impl IntoIterator<Item = A>,
        cluster: impl Into<String>,
        transport: impl Transport,
    ) -> Result<Client<S>, ConnectError> {
        let addresses: Vec<String> = addresses.into_iter().map(Into::into).collect();
        if addresses.is_empty() {
            return Err(ConnectError::NoAddresses);
        }
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| ConnectError::NoRuntime)?;
        let (orders, queue) = mpsc::channel(QUEUE);
        let driver = Driver::new(addresses, cluster.into(), Box::new(transport), queue);
        runtime.spawn(driver.run());
        Ok(Client { orders, patience: PATIENCE, machine: PhantomData })
    }

    /// The same client, whose requests are tried for that long. Default: 10 s.
    #[must_use]
    pub fn with_patience(&self, patience: Duration) -> Client<S> {
        Client { orders: self.orders.clone(), patience, machine: PhantomData }
    }

    /// Has the cluster execute a command, once.
    ///
    /// Nothing happens before the future is first polled. If it is dropped, the command is executed at
    /// most once, and not sent again.
    ///
    /// # Errors
    /// See [`RequestError`].
    ///
    /// - What passes with time is tried again until the client's patience ends. The error is then what the
    ///   last node said, or [`NotProposed::NoLeader`] if no node that serves was reached.
    /// - [`RequestError::Unknown`] if the patience ended before the outcome was known. The command is not
    ///   sent again after that, but may have been executed. To call `propose` once more is another
    ///   command: read first what the state is.
    /// - [`SessionError::Expired`](crate::SessionError::Expired) says the same of a command whose session
    ///   was evicted; the client opens another one by itself.
    /// - [`RequestError::ResponseUnreadable`] if the command was executed and `S::Response` is not what
    ///   the cluster answers.
    pub async fn propose(&self, command: &S::Command) -> Result<S::Response, RequestError> {
        let body = encode(command).ok_or(NotProposed::Unencodable)?;
        if body.len() > MAX_BYTES {
            return Err(NotProposed::TooLarge.into());
        }
        let (attempts, fate) = fate();
        match self.ask(Wanted::Command, body, attempts).await {
            // It was executed.
            Some(Ok(bytes)) => decoded(&bytes).ok_or(RequestError::ResponseUnreadable),
            Some(Err(Failed::Request(error))) => Err(error),
            Some(Err(Failed::Read(_))) => Err(RequestError::Unknown),
            None => Err(match fate.give_up() {
                GivenUp { is_unsent: true, refusal } => {
                    refusal.unwrap_or(NotProposed::NoLeader).into()
                }
                GivenUp { is_unsent: false, .. } => RequestError::Unknown,
            }),
        }
    }

    /// Has a node answer a query: the node that this client is connected to, from the state that
    /// `level` asks for.
    ///
    /// Nothing happens before the future is first polled. If it is dropped, the query is not sent again.
    ///
    /// # Errors
    /// See [`ReadError`].
    ///
    /// - What passes with time is tried again until the client's patience ends. The error is then
    ///   [`ReadError::Busy`] if a node said so; else [`ReadError::NoLeader`] of a linearizable read that
    ///   was sent to a node; else [`ReadError::Unreachable`].
    /// - [`ReadError::AnswerUnreadable`] if `S::Answer` is not what the cluster answers.
    pub async fn read(&self, level: Read, query: &S::Query) -> Result<S::Answer, ReadError> {
        let body = encode(query).ok_or(ReadError::Unencodable)?;
        if body.len() > MAX_BYTES {
            return Err(ReadError::TooLarge);
        }
        let (attempts, fate) = fate();
        match self.ask(Wanted::Query(level), body, attempts).await {
            Some(Ok(bytes)) => decoded(&bytes).ok_or(ReadError::AnswerUnreadable),
            Some(Err(Failed::Read(error))) => Err(error),
            Some(Err(Failed::Request(_))) => Err(ReadError::NoLeader),
            None => Err(match fate.give_up() {
                GivenUp { refusal: Some(NotProposed::Busy), .. } => ReadError::Busy,
                // What was never sent has reached no node, and a local read needs no leader.
                GivenUp { is_unsent: true, .. } => ReadError::Unreachable,
                _ if level == Read::Local => ReadError::Unreachable,
                _ => ReadError::NoLeader,
            }),
        }
    }

    /// `None` if the client's patience has ended, or the driver its runtime.
    async fn ask(
        &self,
        what: Wanted,
        body: Bytes,
        attempts: Attempts<NotProposed>,
    ) -> Option<Result<Bytes, Failed>> {
        let deadline = Instant::now() + self.patience.min(LONGEST_PATIENCE);
        let (answer, answered) = oneshot::channel();
        let order = Order { what, body, attempts, deadline, answer };
        let patient = async {
            self.orders.send(order).await.ok()?;
            answered.await.ok()
        };
        tokio::time::timeout_at(deadline, patient).await.ok().flatten()
    }
}

impl<S> Clone for Client<S> {
    fn clone(&self) -> Client<S> {
        let Client { orders, patience, machine } = self;
        Client { orders: orders.clone(), patience: *patience, machine: *machine }
    }
}

impl<S> std::fmt::Debug for Client<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("patience", &self.patience).finish_non_exhaustive()
    }
}

fn encode<T: Serialize>(value: &T) -> Option<Bytes> {
    postcard::to_allocvec(value).ok().map(Bytes::from)
}
