//! Listens for clients and serves each in a task of its own.

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::buffers::Buffers;
use crate::cluster::{Cluster, Level};
use crate::connection::Connection;
use crate::info::{KeyCount, Surroundings};
use crate::op::{Query, Reply};
use crate::pipeline::Pipeline;

/// How a server treats its clients.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// How many clients may be connected at once; one more is sent away with an error.
    /// Default: 10,000.
    pub max_clients: usize,
    /// How many bytes of requests and of replies on their way, and of transactions that are not
    /// executed yet, may be held for all clients together. Beyond that, clients for which much is
    /// held are cut off. Default: 256 MiB.
    pub max_buffer_bytes: usize,
    /// How many bytes of requests are read from a client, and held, while it does not take the
    /// replies to those before them: one that pipelines more must take replies meanwhile, and is
    /// cut off after [`stall`](ServerOptions::stall) if it does not. Default: 64 MiB.
    pub max_ahead_bytes: usize,
    /// A client that takes nothing of its replies for so long is cut off. Default: 60 s.
    pub stall: Duration,
    /// How long clients have, once the server is told to stop, to take the replies to what they
    /// had asked by then. Default: 1 s.
    pub drain: Duration,
}

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions {
            max_clients: 10_000,
            max_buffer_bytes: 256 << 20,
            max_ahead_bytes: 64 << 20,
            stall: Duration::from_secs(60),
            drain: Duration::from_secs(1),
        }
    }
}

/// Serves the clients of `listener` until `stop` completes. Requests which have arrived by then are
/// still answered, as far as [`max_ahead_bytes`](ServerOptions::max_ahead_bytes) and
/// [`drain`](ServerOptions::drain) allow.
pub async fn serve<C: Cluster>(
    listener: TcpListener,
    cluster: C,
    options: ServerOptions,
    stop: impl Future<Output = ()>,
) {
    let (stop_clients, stopping) = watch::channel(false);
    let shared = Shared::new(&options);
    let counting = tokio::spawn(count_keys(cluster.clone(), Arc::clone(&shared)));
    let mut tasks = JoinSet::new();
    accept(&listener, &cluster, &shared, &stopping, &mut tasks, stop).await;
    drop(listener);
    counting.abort();
    stop_clients.send_replace(true);
    let drained = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(options.drain, drained).await.is_err() {
        tracing::info!("clients that do not take their replies are cut off");
    }
    tasks.shutdown().await;
}

/// Begins to serve whoever connects, until `stop` completes. Of clients that have left meanwhile
/// nothing is kept in `tasks`.
async fn accept<C: Cluster>(
    listener: &TcpListener,
    cluster: &C,
    shared: &Arc<Shared>,
    stopping: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
    stop: impl Future<Output = ()>,
) {
    tokio::pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(_) = tasks.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let Some(slot) = Slot::take(shared) else {
                        refuse(&stream);
                        continue;
                    };
                    let client = serve_one(stream, cluster.clone(), slot, stopping.clone());
                    tasks.spawn(client);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept clients");
                    // Out of file descriptors, most likely: accepting again at once would spin.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const COUNT_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Shared {
    started: Instant,
    max_clients: usize,
    stall: Duration,
    max_ahead_bytes: usize,
    clients: AtomicUsize,
    buffers: Buffers,
    last_id: AtomicU64,
    keys: Mutex<KeyCount>,
}

impl Shared {
    fn new(options: &ServerOptions) -> Arc<Shared> {
        Arc::new(Shared {
            started: Instant::now(),
            max_clients: options.max_clients,
            stall: options.stall,
            max_ahead_bytes: options.max_ahead_bytes,
            clients: AtomicUsize::new(0),
            buffers: Buffers::new(options.max_buffer_bytes, options.max_clients),
            last_id: AtomicU64::new(0),
            keys: Mutex::default(),
        })
    }
}

/// INFO must not wait for the state machine: it tells what was counted up to a second ago.
async fn count_keys<C: Cluster>(cluster: C, shared: Arc<Shared>) {
    loop {
        let counts = cluster.read(Query::Count, Level::Local).await;
        if let Ok([Reply::Integer(keys), Reply::Integer(expiring)]) = counts.as_deref() {
            let count = KeyCount { keys: *keys, expiring: *expiring };
            *shared.keys.lock().unwrap_or_else(PoisonError::into_inner) = count;
        }
        tokio::time::sleep(COUNT_EVERY).await;
    }
}

/// The right to be one of the clients.
struct Slot(Arc<Shared>);

impl Slot {
    fn take(shared: &Arc<Shared>) -> Option<Slot> {
        let slot = Slot(shared.clone());
        let before = shared.clients.fetch_add(1, Ordering::Relaxed);
        (before < shared.max_clients).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The error fits into an empty socket buffer; a client that it does not reach is cut off anyhow.
fn refuse(stream: &TcpStream) {
    let _ = stream.try_write(b"-ERR max number of clients reached\r\n");
}

async fn serve_one<C: Cluster>(
    stream: TcpStream,
    cluster: C,
    slot: Slot,
    stopping: watch::Receiver<bool>,
) {
    let shared = &*slot.0;
    let around = || Surroundings {
        status: cluster.status(),
        uptime: shared.started.elapsed(),
        clients: shared.clients.load(Ordering::Relaxed),
        max_clients: shared.max_clients,
        keys: *shared.keys.lock().unwrap_or_else(PoisonError::into_inner),
    };
    let connection = Connection::new(shared.last_id.fetch_add(1, Ordering::Relaxed) + 1);
    let id = connection.id;
    let served = match prepare(&stream) {
        Err(error) => Err(error),
        Ok(()) => {
            let (share, stall) = (shared.buffers.share(), shared.stall);
            let ahead = shared.max_ahead_bytes;
            let pipeline = Pipeline::new(cluster.clone(), connection, share, stall, ahead);
            pipeline.serve(stream, &around, stopping).await
        }
    };
    if let Err(error) = served {
        tracing::debug!(client = id, %error, "connection lost");
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // Clients may stay idle for ever, but those that are gone must not keep their places.
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    Ok(())
}

#[cfg(test)]
mod tests;
