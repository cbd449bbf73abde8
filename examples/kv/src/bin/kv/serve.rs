//! `kv serve`: one node, from its start to its end.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use quorate::{Builder, Node, Raft, Settings, StartError, StopReason, Vsr};
use quorate_core::Protocol;
use quorate_kv::{Machine, ServerOptions, serve};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::cli::{self, ArgsError, ServeArgs};
use crate::log::Log;
use crate::signals::Signals;

/// Why a node did not start, or has stopped without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The arguments contradict each other.
    #[error(transparent)]
    Args(#[from] ArgsError),
    /// The node did not start.
    #[error("node {id} does not start")]
    Start {
        /// Which.
        id: u64,
        /// Why.
        source: StartError,
    },
    /// The address for clients cannot be listened at.
    #[error("cannot listen for clients at {address}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The node leaves no files for its clients' sockets.
    #[error("node {id} has no room for clients: raise the limit of open files (ulimit -n)")]
    OpenFiles {
        /// Which.
        id: u64,
    },
    /// The server for clients has ended by itself.
    #[error("node {id} serves its clients no more: its log says why")]
    Clients {
        /// Which.
        id: u64,
    },
    /// The node has stopped by itself.
    #[error("node {id} has stopped: {reason}")]
    Stopped {
        /// Which.
        id: u64,
        /// Why.
        reason: StopReason,
    },
    /// The operating system gave no threads or no signals.
    #[error("the operating system refused what a server needs")]
    System(#[from] io::Error),
}

/// A node that is asked to end has ended after that long, whatever its clients and peers do.
const GRACE: Duration = Duration::from_millis(4700);

/// How many [`quorate::Client`]s the node takes at its own port: clients of the server come to
/// another one.
const NODE_CLIENTS: usize = 64;

/// How many files the server opens besides its clients' sockets: its port, its runtime, whoever is
/// refused.
const OTHER_FILES: u64 = 16;

/// For how many files besides its clients' sockets the limit is raised: more than the node and the
/// server have.
const RAISED_BY: u64 = 1024;

/// Runs a node until it is told to stop.
pub fn run(args: &ServeArgs, log: &Log) -> Result<(), ServeError> {
    args.validate()?;
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into());
    tracing_subscriber::fmt()
        .with_env_filter(filter.from_env_lossy())
        .with_ansi(io::stderr().is_terminal())
        .with_writer(log.clone())
        // They would go to standard error, which is the log's.
        .log_internal_errors(false)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = match args.protocol {
        cli::Protocol::Raft => runtime.block_on(serve_node::<Raft>(args)),
        cli::Protocol::Vsr => runtime.block_on(serve_node::<Vsr>(args)),
    };
    // What is left are clients which do not take their replies.
    runtime.shutdown_background();
    outcome
}

async fn serve_node<P: Protocol>(args: &ServeArgs) -> Result<(), ServeError> {
    let mut signals = Signals::new()?;
    raise_open_files(args.max_clients);
    let id = args.id;
    let started = tokio::select! {
        started = builder::<P>(args).start() => started,
        // Recovery may take long, and is as good as any moment to be killed.
        _ = signals.next() => return Ok(()),
    };
    let node = started.map_err(|source| ServeError::Start { id, source })?;
    let Some(max_clients) = max_clients(args.max_clients, node.max_open_files()) else {
        let _ = node.shutdown().await;
        return Err(ServeError::OpenFiles { id });
    };
    let listening = TcpListener::bind(&args.listen).await;
    let listening = listening.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, listener) = match listening {
        Ok(listening) => listening,
        Err(source) => {
            // The others need not wait for an election.
            let _ = node.shutdown().await;
            return Err(ServeError::Listen { address: args.listen.clone(), source });
        }
    };
    announce(&format!(
        "node {id} of cluster {:?} is ready: clients at {address}, peers at {}",
        args.cluster,
        node.local_address()
    ));

    let (stop, stopped) = oneshot::channel::<()>();
    let options = ServerOptions { max_clients, ..ServerOptions::default() };
    let server = serve(listener, node.clone(), options, async { drop(stopped.await) });
    let mut server = tokio::spawn(server);
    tokio::select! {
        _ = &mut server => {
            // The others need not wait for an election.
            let _ = node.shutdown().await;
            return Err(ServeError::Clients { id });
        }
        signal = signals.next() => tracing::info!(signal, "asked to stop"),
        reason = node.stopped() => return Err(ServeError::Stopped { id, reason }),
    }
    let until = Instant::now() + GRACE;
    drop(stop);
    let ending = async {
        // Only a server that has panicked fails to end; the node is shut down all the same.
        let _ = server.await;
        node.shutdown().await
    };
    match timeout_at(until, ending).await {
        Ok(Ok(())) => tracing::info!("stopped"),
        Ok(Err(error)) => tracing::warn!(%error, "exiting all the same"),
        Err(_) => tracing::warn!("exiting before everything has ended"),
    }
    Ok(())
}

fn builder<P: Protocol>(args: &ServeArgs) -> Builder<P, Machine> {
    let members = args.peers.iter().map(|peer| (peer.id, peer.address.clone()));
    let builder = Node::<P, Machine>::builder()
        .id(args.id)
        .members(members)
        .data_dir(&args.data)
        .cluster(&args.cluster)
        .bootstrap(args.bootstrap)
        .max_clients(NODE_CLIENTS)
        .settings(settings(args));
    let builder = match args.segment_bytes {
        Some(bytes) => builder.segment_bytes(bytes),
        None => builder,
    };
    let builder = match &args.record {
        Some(path) => builder.record_to(path),
        None => builder,
    };
    let builder = match args.record_bytes {
        Some(bytes) => builder.record_bytes(bytes),
        None => builder,
    };
    match args.snapshot_rate {
        Some(bytes_per_second) => builder.snapshot_rate(bytes_per_second),
        None => builder,
    }
}

fn settings(args: &ServeArgs) -> Settings {
    let mut settings = Settings::default();
    if let Some(ms) = args.election_timeout_ms {
        let timeout = Duration::from_millis(ms);
        settings.election = timeout..timeout * 2;
        settings.heartbeat = timeout / 5;
    }
    if let Some(bytes) = args.snapshot_bytes {
        settings.snapshot_bytes = bytes;
    }
    settings
}

/// The line for whoever waits for the node, a person or a program: on standard output, which
/// may be closed without harm.
fn announce(line: &str) {
    let mut out = io::stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Raises the limit of open files, as far as that is allowed, to what so many clients need.
fn raise_open_files(clients: usize) {
    let needed = (clients as u64).saturating_add(RAISED_BY);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = maximum.map_or(needed, |maximum| maximum.min(needed));
    if current.is_some_and(|current| current < raised) {
        // As many clients as the limit has room for are served if it stays as it is.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum });
    }
}

/// As many clients as were asked for, or as many as the process may open files for. A node must
/// never find that its clients have left no file for its log. `None` if there is room for none.
fn max_clients(wanted: usize, of_node: usize) -> Option<usize> {
    let Some(allowed) = getrlimit(Resource::Nofile).current else { return Some(wanted) };
    let room = allowed.checked_sub(of_node as u64 + OTHER_FILES).filter(|room| *room > 0)?;
    let clients = usize::try_from(room).unwrap_or(usize::MAX);
    if clients < wanted {
        tracing::warn!(wanted, clients, "fewer clients: the limit of open files is too low");
    }
    Some(clients.min(wanted))
}
