//! The loop: wait, step the replica, carry out its effects.
//!
//! It owns the replica, and with it everything that is decided. Each round takes all that has
//! gathered (work done by other threads, messages, timers, requests), steps the replica with each
//! of them, flushes it once, and hands what it asks for to whoever does it. Nothing here blocks.

mod gathering;
mod timers;
mod waiting;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_core::{
    Ballot, Command, Effect, Entry, EntryKind, Event, InSession, Index, NodeId, Now, Origin,
    Protocol, Register, Replica, Role, Settings, StateMachine,
};
use quorate_handoff::{Advancer, Producer, PushError};

use crate::apply_thread::Job;
use crate::completed::Completed;
use crate::error::{NotProposed, ReadError, StopReason};
use crate::helpers::{ReadJob, SnapshotJob};
use crate::net::peer::Link;
use crate::recording::RecordedReplica;
use crate::requests::{ReadAnswer, Request};
use crate::status::Board;
use crate::storage_thread::WriteJob;
use crate::threads::Stopper;
use gathering::Gathering;
pub(crate) use gathering::Inputs;
pub(crate) use timers::Clock;
use timers::Timers;
use waiting::{Awaited, Waiting};

/// How long a shutdown waits for another node to lead, and for what is outstanding.
const FAREWELL: Duration = Duration::from_secs(2);

/// Called once the node has recovered.
pub(crate) type Ready = Box<dyn FnOnce()>;

/// To whom the loop hands work.
pub(crate) struct Workers<S: StateMachine> {
    pub(crate) storage: Producer<WriteJob>,
    pub(crate) applier: Producer<Job<S>>,
    pub(crate) snapshots: Producer<SnapshotJob<S>>,
    pub(crate) reads: Producer<ReadJob>,
    /// The generation of the last restoration that was handed to the applier.
    pub(crate) newest_restore: Advancer,
}

/// The threads end once their queues are closed and empty. That must not be left to the last
/// producer: the node's handles live on.
impl<S: StateMachine> Drop for Workers<S> {
    fn drop(&mut self) {
        self.storage.close();
        self.applier.close();
        self.snapshots.close();
        self.reads.close();
    }
}

pub(crate) struct EventLoop<P: Protocol, S: StateMachine> {
    replica: RecordedReplica<P>,
    effects: Vec<Effect<P::Message>>,
    settings: Arc<Settings>,
    clock: Clock,
    timers: Timers,
    waiting: Waiting<S>,
    links: BTreeMap<NodeId, Link>,
    workers: Workers<S>,
    board: Board,
    stopper: Stopper,
    /// Set once the first restoration, if there is one, is over.
    ready: Option<Ready>,
    /// A shutdown was asked for. What was asked for before is still taken.
    is_leaving: bool,
    /// When a shutdown in good order no longer waits.
    farewell_until: Option<Duration>,
    seen: (Role, Ballot, Option<NodeId>),
    lost: Option<Index>,
}

impl<P: Protocol, S: StateMachine> EventLoop<P, S> {
    /// A loop around a replica that has just been recovered, with the effects of that.
    #[expect(clippy::too_many_arguments, reason = "what a loop has, given once")]
    pub(crate) fn new(
        replica: RecordedReplica<P>,
        effects: Vec<Effect<P::Message>>,
        settings: Arc<Settings>,
        clock: Clock,
        links: BTreeMap<NodeId, Link>,
        workers: Workers<S>,
        board: Board,
        stopper: Stopper,
        ready: Ready,
    ) -> EventLoop<P, S> {
        let status = replica.status();
        EventLoop {
            waiting: Waiting::new(settings.uncommitted_bytes),
            seen: (status.role, status.ballot, status.leader),
            lost: status.lost,
            replica,
            effects,
            settings,
            clock,
            timers: Timers::default(),
            links,
            workers,
            board,
            stopper,
            ready: Some(ready),
            is_leaving: false,
            farewell_until: None,
        }
    }

    /// Goes round until the node stops.
    pub(crate) async fn run(mut self, inputs: Inputs<P, S>) {
        let mut gathering = Gathering::new(inputs, self.stopper.signal().triggered());
        let restoring = self.effects.iter().any(|effect| matches!(effect, Effect::Restore { .. }));
        if !restoring {
            self.tell_ready();
        }
        self.end_round();
        while !self.stopper.is_stopping() {
            let deadline = self.clock.instant(self.timers.next());
            poll_fn(|cx| gathering.poll(cx, deadline)).await;
            self.round(&mut gathering);
            // Lets the connections' tasks have their turn, and what they bring gather.
            tokio::task::yield_now().await;
        }
        self.refuse_what_is_left(gathering);
    }

    fn round(&mut self, gathering: &mut Gathering<P, S>) {
        let now = self.clock.now();
        for completed in gathering.completed.drain(..) {
            self.on_completed(now, completed);
        }
        for received in gathering.messages.drain(..) {
            self.replica.step(now, Event::Message(received.envelope), &mut self.effects);
        }
        // A timer that was set anew by what was heard has not run out, however late it is: the leader was
        // there, only this loop was not.
        self.carry_out_effects();
        while let Some(timer) = self.timers.take_expired(now.monotonic) {
            self.replica.step(now, Event::Timeout(timer), &mut self.effects);
        }
        for request in gathering.requests.drain(..) {
            self.on_request(now, request);
        }
        self.say_farewell(now);
        self.replica.flush(now, &mut self.effects);
        self.end_round();
    }

    fn end_round(&mut self) {
        self.carry_out_effects();
        self.links.values_mut().for_each(Link::end_round);
        self.post_status();
    }

    /// Carries out what the replica asked for.
    fn carry_out_effects(&mut self) {
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            self.carry_out(effect);
        }
        self.effects = effects;
    }

    fn carry_out(&mut self, effect: Effect<P::Message>) {
        match effect {
            Effect::Persist { seq, write } => {
                let job = WriteJob { seq, write };
                let cost = job.cost_bytes();
                hand_over(&self.workers.storage, job, cost);
            }
            Effect::Send(envelope) => {
                if let Some(link) = self.links.get_mut(&envelope.to) {
                    link.put(&envelope);
                }
            }
            Effect::SetTimer(timer, range) => self.timers.set(timer, self.clock.elapsed(), &range),
            Effect::Apply { generation, entries } => {
                let cost = entries.iter().map(Entry::size_bytes).sum();
                hand_over(&self.workers.applier, Job::Apply { generation, entries }, cost);
            }
            Effect::Restore { generation, snapshot } => {
                self.workers.newest_restore.advance(generation.0);
                hand_over(&self.workers.applier, Job::Restore { generation, snapshot }, 0);
            }
            Effect::TakeSnapshot => hand_over(&self.workers.applier, Job::TakeSnapshot, 0),
            Effect::ReadEntries { reader, from, max_bytes } => {
                hand_over(&self.workers.reads, ReadJob::Entries { reader, from, max_bytes }, 0);
            }
            Effect::Scrub { from, max_bytes } => {
                hand_over(&self.workers.reads, ReadJob::Scrub { from, max_bytes }, 0);
            }
            Effect::ReadChunk { to, snapshot, chunk } => {
                hand_over(&self.workers.reads, ReadJob::Chunk { to, snapshot, chunk }, 0);
            }
            Effect::BeginFetch { snapshot } => {
                hand_over(&self.workers.snapshots, SnapshotJob::BeginFetch { snapshot }, 0);
            }
            Effect::WriteChunk { snapshot, chunk, bytes } => {
                let cost = bytes.len();
                let job = SnapshotJob::WriteChunk { snapshot, chunk, bytes };
                hand_over(&self.workers.snapshots, job, cost);
            }
            Effect::ReadReady { request } => {
                if let Some((query, cost, answer)) = self.waiting.take_read(request) {
                    ask(&self.workers.applier, query, cost, answer);
                }
            }
            Effect::Failed { request, failure } => self.waiting.fail(request, failure),
            Effect::Stop(fatal) => self.stopper.stop(StopReason::Fatal(fatal)),
        }
    }

    fn on_completed(&mut self, now: Now, completed: Completed<S>) {
        let event = match completed {
            Completed::Saved(seq) => Event::Saved(seq),
            Completed::Sworn(seq) => Event::Sworn(seq),
            Completed::Applied(batch) => {
                for (request, outcome) in batch.responses {
                    self.waiting.answer(request, outcome);
                }
                Event::Applied(batch.applied)
            }
            Completed::Restored { generation, deadline } => {
                self.tell_ready();
                Event::Restored { generation, deadline }
            }
            Completed::EntriesRead { reader, from, entries } => {
                Event::EntriesRead { reader, from, entries }
            }
            Completed::Damaged(gaps) => Event::Damaged(gaps),
            Completed::Scrubbed { next, gaps } => Event::Scrubbed { next, gaps },
            Completed::SnapshotBuilt(snapshot) => Event::SnapshotBuilt(snapshot),
            Completed::ChunkRead { to, snapshot, chunk, bytes } => {
                Event::ChunkRead { to, snapshot, chunk, bytes }
            }
            Completed::FetchProgress { snapshot, next } => Event::FetchProgress { snapshot, next },
            Completed::Room(room) => {
                self.board.post(|status| status.has_room = room);
                Event::Room(room)
            }
            Completed::ShutDown => {
                self.is_leaving = true;
                return;
            }
        };
        self.replica.step(now, event, &mut self.effects);
    }

    fn on_request(&mut self, now: Now, request: Request<S>) {
        if self.farewell_until.is_some() {
            return refuse(request, NotProposed::ShuttingDown);
        }
        if self.waiting.is_full_for(&request) {
            return refuse(request, NotProposed::Busy);
        }
        let name = self.replica.name_request();
        let origin = Origin { node: self.replica.id(), request: name };
        let cost = request.cost();
        let event = match request {
            Request::Propose { body, session, answer } => {
                self.waiting.admit(name, cost, Awaited::Proposal(answer));
                propose(origin, session, body)
            }
            Request::Register { answer } => {
                self.waiting.admit(name, cost, Awaited::Proposal(answer));
                register(origin, &self.settings)
            }
            Request::Read { query, answer, .. } => {
                self.waiting.admit(name, cost, Awaited::Read(query, answer));
                Event::Read { request: name }
            }
        };
        self.replica.step(now, event, &mut self.effects);
    }

    /// While the node shuts down: lets another one lead, waits for what is outstanding, and stops.
    fn say_farewell(&mut self, now: Now) {
        if !self.is_leaving {
            return;
        }
        let until = *self.farewell_until.get_or_insert(now.monotonic + FAREWELL);
        let status = self.replica.status();
        let alone = status.membership.len() <= 1;
        let leads = status.role == Role::Leader && !alone;
        if now.monotonic >= until || (!leads && self.waiting.is_empty()) {
            return self.stopper.stop(StopReason::Shutdown);
        }
        self.timers.set_farewell(until);
        if leads && status.serving {
            self.replica.step(now, Event::HandOver, &mut self.effects);
        }
    }

    /// The node has stopped: whoever waits is told what can be told.
    fn refuse_what_is_left(self, mut gathering: Gathering<P, S>) {
        gathering.inputs.requests.close();
        let _ = gathering.inputs.requests.try_pop_all(&mut gathering.requests);
        for request in gathering.requests.drain(..) {
            refuse(request, NotProposed::ShuttingDown);
        }
        // Whoever waits for the rest is told by its drop that nobody will answer.
    }

    fn tell_ready(&mut self) {
        if let Some(ready) = self.ready.take() {
            ready();
        }
    }

    fn post_status(&mut self) {
        let replica = self.replica.status();
        let seen = (replica.role, replica.ballot, replica.leader);
        if seen != self.seen {
            let (role, ballot, index) = (replica.role, replica.ballot, replica.last.index);
            let leader = replica.leader.map_or(0, |leader| leader.0);
            tracing::info!(%ballot, ?role, leader, %index, "role");
            self.seen = seen;
        }
        if replica.lost != self.lost {
            let (last, acknowledged) = (replica.last.index, replica.lost);
            tracing::error!(%last, ?acknowledged, "the disk has not kept what it said was saved: mute until it is back");
            self.lost = replica.lost;
        }
        let (identity, first) = (self.replica.cluster(), first_index(&self.replica));
        let waiting = self.waiting.len();
        self.board.post(|status| {
            status.follow(replica, identity, first);
            status.waiting = waiting;
        });
    }
}

/// The first index that is still in the log.
pub(crate) fn first_index<P: Protocol>(replica: &Replica<P>) -> Index {
    replica.log().map_or(Index(1), |log| log.base().index.next())
}

/// Hands over what was decided: it cannot be refused, and its sum is bounded by what the replica
/// has outstanding. Only a thread that has ended takes nothing, and then the node is stopping.
fn hand_over<T>(worker: &Producer<T>, job: T, cost: usize) {
    let _ = worker.push_unbounded(job, cost);
}

/// Hands a read over whose time has come. Unlike what was decided it can be refused, if too many
/// wait already for a state machine that answers slowly.
fn ask<S: StateMachine>(
    applier: &Producer<Job<S>>,
    query: S::Query,
    cost: usize,
    answer: ReadAnswer<S::Answer>,
) {
    let queued = applier.push(Job::Query { query, answer }, cost);
    let Err(error) = queued else { return };
    let why = match &error {
        PushError::Full(_) => ReadError::Busy,
        _ => ReadError::ShuttingDown,
    };
    if let Job::Query { answer, .. } = error.into_item() {
        // Whoever no longer waits need not be told.
        let _ = answer.complete(Err(why));
    }
}

fn propose<M>(origin: Origin, session: Option<InSession>, body: Bytes) -> Event<M> {
    let payload = Command { origin, session, body }.encode();
    Event::Propose { request: origin.request, kind: EntryKind::Command, payload }
}

fn register<M>(origin: Origin, settings: &Settings) -> Event<M> {
    let Settings { max_sessions, session_window: window, max_response_bytes, .. } = *settings;
    let payload = Register { origin, max_sessions, window, max_response_bytes }.encode();
    Event::Propose { request: origin.request, kind: EntryKind::Register, payload }
}

fn refuse<S: StateMachine>(request: Request<S>, reason: NotProposed) {
    // Whoever no longer waits need not be told.
    match request {
        Request::Propose { answer, .. } | Request::Register { answer } => {
            let _ = answer.complete(Err(reason.into()));
        }
        Request::Read { answer, .. } => {
            let busy = reason == NotProposed::Busy;
            let error = if busy { ReadError::Busy } else { ReadError::ShuttingDown };
            let _ = answer.complete(Err(error));
        }
    }
}

#[cfg(test)]
mod tests;
