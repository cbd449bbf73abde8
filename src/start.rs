//! How a node comes to life: in which order, and what is undone if something fails.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quorate_core::{
    Applier, Effect, Incarnation, NodeId, Protocol, Recovered, Replica, ReplicaConfig, Settings,
    StateMachine,
};
use quorate_handoff::{Completion, Producer, queue, slot, watermark};
use quorate_storage::{Disk, Store};
use tokio::runtime::{Builder, Handle};

use crate::apply_thread::ApplyThread;
use crate::completed::Completed;
use crate::config::Config;
use crate::error::{StartError, StopReason};
use crate::event_loop::{Clock, EventLoop, Inputs, Workers, first_index};
use crate::helpers::{Pace, ReadHelper, SnapshotHelper};
use crate::net::Local;
use crate::net::inbox::Inbox;
use crate::net::listener::{Port, listen};
use crate::net::peer::Link;
use crate::node::{Inner, Node};
use crate::open_files::OpenFiles;
use crate::recording::{self, RecordedReplica, Tape, Writer};
use crate::requests::Requests;
use crate::status::{Board, Status};
use crate::storage_thread::{self, StorageThread};
use crate::threads::Stopper;

/// How many bytes of requests may wait for the loop, and of messages.
const REQUESTS_BYTES: usize = 16 << 20;
const MESSAGES_BYTES: u32 = 16 << 20;

/// How many bytes of entries and local reads may wait for the applier before a read is refused.
const APPLIER_BYTES: usize = 32 << 20;

/// Work that was decided is handed over whatever a queue holds: see the loop.
const DECIDED_BYTES: usize = 64 << 20;

/// What it takes at most to fetch a snapshot, if the disk and the other member are fast enough.
const LONGEST_FETCH: Duration = Duration::from_secs(60);

/// Starts a node on its data directory.
pub(crate) async fn start<P: Protocol, S: StateMachine>(
    config: Config,
    machine: S,
) -> Result<Node<P, S>, StartError> {
    start_on(config, machine, storage_thread::data_dir).await
}

/// Starts the loop's thread, which does the rest, on the disk that is opened there.
async fn start_on<P: Protocol, S: StateMachine, D: Disk>(
    config: Config,
    machine: S,
    open: impl FnOnce(&Config) -> Result<D, StartError> + Send + 'static,
) -> Result<Node<P, S>, StartError> {
    let span = tracing::info_span!("node", cluster = %config.cluster, node = %config.me);
    let stopper = Stopper::default();
    let (outcome, started) = slot();
    let of_thread = stopper.clone();
    let body = move || run::<P, S, D>(config, machine, open, &of_thread, outcome);
    let thread = span.in_scope(|| stopper.spawn("loop", body)).map_err(StartError::System)?;
    let Ok(started) = started.await else {
        stopper.signal().stopped().await;
        return Err(StartError::Stopped(stopper.reason().unwrap_or(StopReason::Shutdown)));
    };
    let inner: Inner<S> = started?;
    inner.threads.lock().expect("nobody else has it yet").push(thread);
    Ok(Node::new(inner))
}

/// What the start comes to, for whoever waits for it.
type Outcome<S> = Completion<Result<Inner<S>, StartError>>;

/// The loop's thread.
fn run<P: Protocol, S: StateMachine, D: Disk>(
    config: Config,
    machine: S,
    open: impl FnOnce(&Config) -> Result<D, StartError>,
    stopper: &Stopper,
    outcome: Outcome<S>,
) {
    // Dropped last: it waits for what the loop, however that has ended, has left to be written.
    let mut writer = None;
    let build = |mut builder: Builder| builder.enable_all().build();
    let of_clients = || {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("quorate-clients");
        build(builder)
    };
    let runtimes = build(Builder::new_current_thread()).and_then(|own| Ok((own, of_clients()?)));
    let (runtime, of_clients) = match runtimes {
        Ok(runtimes) => runtimes,
        Err(error) => {
            let _ = outcome.complete(Err(StartError::System(error)));
            return;
        }
    };
    let clients_at = of_clients.handle().clone();
    let preparing = prepare::<P, S, D>(config, machine, open, stopper, clients_at, &mut writer);
    let prepared = runtime.block_on(preparing);
    let failed = match prepared {
        Ok(prepared) => {
            runtime.block_on(prepared.run(stopper, outcome));
            None
        }
        Err(error) => {
            stopper.stop(StopReason::Shutdown);
            Some((outcome, error))
        }
    };
    // A look-up of a name may hang: nobody waits for it any more.
    runtime.shutdown_background();
    of_clients.shutdown_background();
    drop(writer);
    if let Some((outcome, error)) = failed {
        let _ = outcome.complete(Err(error));
    }
}

/// A node whose disk has been read and whose port is open.
struct Prepared<P: Protocol, S: StateMachine> {
    event_loop: Parts<P, S>,
    inner: Inner<S>,
}

struct Parts<P: Protocol, S: StateMachine> {
    replica: RecordedReplica<P>,
    effects: Vec<Effect<P::Message>>,
    settings: Arc<Settings>,
    clock: Clock,
    links: BTreeMap<NodeId, Link>,
    workers: Workers<S>,
    inputs: Inputs<P, S>,
}

impl<P: Protocol, S: StateMachine> Prepared<P, S> {
    async fn run(self, stopper: &Stopper, outcome: Outcome<S>) {
        let Prepared { event_loop, inner } = self;
        let Parts { replica, effects, settings, clock, links, workers, inputs } = event_loop;
        let board = inner.board.clone();
        let ready = Box::new(move || {
            tracing::info!(address = %inner.address, "ready");
            // If the start was given up, the node stops with its only handle.
            let _ = outcome.complete(Ok(inner));
        });
        let stopper = stopper.clone();
        EventLoop::new(replica, effects, settings, clock, links, workers, board, stopper, ready)
            .run(inputs)
            .await;
    }
}

async fn prepare<P: Protocol, S: StateMachine, D: Disk>(
    config: Config,
    machine: S,
    open: impl FnOnce(&Config) -> Result<D, StartError>,
    stopper: &Stopper,
    clients_at: Handle,
    writer: &mut Option<Writer>,
) -> Result<Prepared<P, S>, StartError> {
    let peers = others(&config).count();
    let places = OpenFiles::of_this_process().places(peers, config.max_clients)?;
    let disk = open(&config)?;
    let (incarnation, nonce) = (Incarnation(random()?), random()?);
    let (store, recovered) = storage_thread::open::<P, D>(&config, disk, incarnation, nonce)?;
    let newest_bytes = recovered.snapshot.as_ref().map_or(0, |newest| newest.size_bytes);
    let clock = Clock::start();
    let mut effects = Vec::new();
    let acceptor = config
        .transport
        .bind(&config.listen)
        .await
        .map_err(|source| StartError::Bind { address: config.listen.clone(), source })?;
    let address = acceptor.local_address();
    // Behind all that fails at each start again.
    let recording = match &config.record_to {
        Some(path) => recording::begin::<P>(path, config.record_bytes)?,
        None => None,
    };
    let tape;
    (tape, *writer) = recording.unzip();
    let replica = recover::<P>(&config, recovered, clock, tape, &mut effects)?;

    let settings = Arc::new(config.settings.clone());
    let board = board(&config, &replica);
    let local = Arc::new(Local {
        me: config.me,
        incarnation: replica.status().incarnation,
        cluster: config.cluster.clone(),
        protocol: P::NAME,
        peers: others(&config).map(|(id, _)| id).collect(),
        board: board.clone(),
        transport: Arc::clone(&config.transport),
    });
    let (to_loop, completed) = queue(DECIDED_BYTES);
    let (to_messages, messages) = queue(DECIDED_BYTES);
    let (to_requests, requests) = queue(REQUESTS_BYTES);
    let applier = Applier::new(config.me, machine);
    let (workers, threads) =
        spawn_threads(&config, store, newest_bytes, applier, &to_loop, stopper)?;
    let handle = Requests {
        to_loop: to_requests,
        to_applier: workers.applier.clone(),
        settings: Arc::clone(&settings),
    };
    let port = Port {
        local: Arc::clone(&local),
        messages: Inbox::new(to_messages, MESSAGES_BYTES),
        requests: handle.clone(),
        places,
        client_bytes: config.client_bytes,
        clients_at: clients_at.clone(),
    };
    stopper.spawn_task("listener", listen(acceptor, port));
    let links = dial_others(&config, &local, stopper);
    warn_of_unknown_addresses(&config, &replica);

    let threads = Mutex::new(threads);
    let inner = Inner {
        requests: handle,
        to_loop,
        board,
        stopper: stopper.clone(),
        threads,
        address,
        max_open_files: places.open_files(peers),
        clients_at,
    };
    let inputs = Inputs { completed, messages, requests };
    let event_loop = Parts { replica, effects, settings, clock, links, workers, inputs };
    Ok(Prepared { event_loop, inner })
}

fn recover<P: Protocol>(
    config: &Config,
    recovered: Recovered,
    clock: Clock,
    tape: Option<Tape>,
    effects: &mut Vec<Effect<P::Message>>,
) -> Result<RecordedReplica<P>, StartError> {
    let of_replica = ReplicaConfig {
        me: config.me,
        members: config.members.keys().copied().collect(),
        bootstrap: config.bootstrap,
        settings: config.settings.clone(),
    };
    Ok(RecordedReplica::recover(of_replica, recovered, clock.now(), effects, tape)?)
}

fn spawn_threads<S: StateMachine, D: Disk>(
    config: &Config,
    store: Store<D>,
    newest_bytes: u64,
    applier: Applier<S>,
    done: &Producer<Completed<S>>,
    stopper: &Stopper,
) -> Result<(Workers<S>, Vec<JoinHandle<()>>), StartError> {
    let (snapshots, entries) = (store.snapshots().clone(), store.reader());
    let (announced_restore, newest_restore) = watermark(0);
    let (to_storage, writes) = queue(DECIDED_BYTES);
    let (to_applier, jobs) = queue(APPLIER_BYTES);
    let (to_snapshots, snapshot_jobs) = queue(DECIDED_BYTES);
    let (to_reads, read_jobs) = queue(DECIDED_BYTES);
    let workers = Workers {
        storage: to_storage,
        applier: to_applier,
        snapshots: to_snapshots.clone(),
        reads: to_reads.clone(),
        newest_restore: announced_restore,
    };
    let storage = StorageThread::new(store, writes, to_reads, done.clone(), stopper.clone());
    let apply = ApplyThread {
        applier,
        moved: Instant::now(),
        jobs,
        done: done.clone(),
        snapshots: snapshots.clone(),
        builder: to_snapshots,
        newest_restore,
        stopper: stopper.clone(),
    };
    let building = SnapshotHelper {
        snapshots: snapshots.clone(),
        jobs: snapshot_jobs,
        // Twice as fast as they are taken: whoever fetches one, of a cluster that takes one after the
        // other, has it before the log that follows it is dropped.
        own: Pace::new(config.snapshot_rate / 2, 2 * LONGEST_FETCH),
        fetched: Pace::new(config.snapshot_rate, LONGEST_FETCH),
        newest_bytes,
        done: done.clone(),
        stopper: stopper.clone(),
    };
    let reading = ReadHelper {
        snapshots,
        entries,
        jobs: read_jobs,
        done: done.clone(),
        stopper: stopper.clone(),
    };
    let threads = [
        stopper.spawn("storage", move || storage.run()),
        stopper.spawn("apply", move || apply.run()),
        stopper.spawn("snapshots", move || building.run()),
        stopper.spawn("reads", move || reading.run()),
    ];
    let threads: Result<Vec<_>, _> = threads.into_iter().collect();
    Ok((workers, threads.map_err(StartError::System)?))
}

fn dial_others(config: &Config, local: &Arc<Local>, stopper: &Stopper) -> BTreeMap<NodeId, Link> {
    let Settings { window_bytes, append_bytes, max_command_bytes, .. } = config.settings;
    let bound_bytes = 2 * (window_bytes + append_bytes + max_command_bytes);
    let link = |(id, address): (NodeId, &String)| {
        let (link, task) = Link::new(id, address.clone(), bound_bytes, Arc::clone(local));
        stopper.spawn_task("link", task);
        (id, link)
    };
    others(config).map(link).collect()
}

/// Once a cluster is formed, its own list of members counts. Their addresses do not stand there.
fn warn_of_unknown_addresses<P: Protocol>(config: &Config, replica: &Replica<P>) {
    for member in replica.status().membership.voters() {
        if !config.members.contains_key(&member) {
            tracing::warn!(%member, "a member of the cluster has no address in the configuration");
        }
    }
}

fn board<P: Protocol>(config: &Config, replica: &Replica<P>) -> Board {
    let mut status = Status::new(config.me, config.cluster.clone(), P::NAME);
    status.follow(replica.status(), replica.cluster(), first_index(replica));
    Board::new(status, others(config).map(|(id, address)| (id, address.clone())))
}

fn others(config: &Config) -> impl Iterator<Item = (NodeId, &String)> {
    config.members.iter().filter(|(id, _)| **id != config.me).map(|(id, at)| (*id, at))
}

fn random() -> Result<u64, StartError> {
    getrandom::u64().map_err(|error| StartError::System(std::io::Error::other(error)))
}

#[cfg(test)]
mod tests;
