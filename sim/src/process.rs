//! One life of one replica's process: the machines that decide, and what stands for the threads
//! around them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use quorate_core::{
    Effect, Entry, Event, Generation, InSession, Incarnation, MemTape, NodeId, Protocol, Recorded,
    RequestId, SnapshotMeta, Timer,
};
use quorate_storage::{Job, LogReader, Owner, SnapshotStore, Store};

use crate::atlas::{Harm, Image};
use crate::clients::OpId;
use crate::clock::{NodeClock, Slowness, Time};
use crate::disk::SimDisk;
use crate::faults::SessionLimits;
use crate::subject::{Applying, View};
use crate::value::Value;
use crate::witness::Observed;

/// A replica's machine: its disk, which outlives crashes, and the process if it runs.
pub(crate) struct Node<P: Protocol> {
    pub(crate) id: NodeId,
    pub(crate) disk: Arc<SimDisk>,
    pub(crate) owner: Owner,
    /// Under which the disk is formatted when it is first opened.
    pub(crate) incarnation: Incarnation,
    /// Counts the lives of the process; what belongs to an earlier one is dropped.
    pub(crate) life: u64,
    pub(crate) process: Option<Process<P>>,
    /// While the process stands still: what has come for it.
    pub(crate) paused: Option<Vec<Local<P::Message>>>,
    /// Until when it does.
    pub(crate) paused_until: Time,
    /// What was sent up to this moment and has not arrived is lost.
    pub(crate) silent_until: Option<Time>,
    /// After so many steps of the storage thread the process dies.
    pub(crate) doomed_in: Option<u64>,
    /// After so many messages which the others may count on, likewise.
    pub(crate) last_words_in: Option<u64>,
    /// It dies when it next takes over a snapshot.
    pub(crate) dies_restoring: bool,
    /// It dies when it next writes a chunk of a snapshot that is not the first one.
    pub(crate) dies_fetching: bool,
    /// Its directory is to be emptied before anything is started on it again.
    pub(crate) is_given_up: bool,
    pub(crate) clock: NodeClock,
    /// Of all that its process does.
    pub(crate) sluggishness: Slowness,
    /// Which start of the process on this disk the current one is, or the last one was.
    pub(crate) start: u64,
    /// What the disk was once, to be put back.
    pub(crate) image: Option<Box<Image>>,
    /// What faults took from the disk, as long as it is not made good.
    pub(crate) harm: Harm,
    /// Of its disk.
    pub(crate) slowness: Slowness,
    /// Until then, the disk is full.
    pub(crate) full_until: Time,
    /// Until then, the disk is done with nothing.
    pub(crate) stalled_until: Time,
}

/// What lives and dies with the process.
pub(crate) struct Process<P: Protocol> {
    pub(crate) replica: Recorded<P, MemTape>,
    pub(crate) applier: Box<dyn Applying>,
    /// What has arrived since the loop last looked.
    pub(crate) inbox: Vec<Event<P::Message>>,
    pub(crate) wake_is_planned: bool,
    pub(crate) timers: BTreeMap<Timer, Alarm>,
    /// The storage thread, with what it is at.
    pub(crate) store: Store<SimDisk>,
    pub(crate) writing: Option<Writing>,
    pub(crate) rest: Rest,
    /// The last write is vouched for.
    pub(crate) is_attested: bool,
    /// A group was saved since things were last kept in order.
    pub(crate) order_is_due: bool,
    /// Whether the loop was told that there is room.
    pub(crate) has_room: bool,
    /// The apply thread.
    pub(crate) apply_queue: VecDeque<ApplyJob>,
    pub(crate) applying: bool,
    /// When the machine was last given something to execute, by the clock of its node.
    pub(crate) moved: Duration,
    /// The generation of the last restoration that was asked for.
    pub(crate) newest_restore: Generation,
    /// The helper threads, with what they are at.
    pub(crate) snapshots: SnapshotStore<SimDisk>,
    pub(crate) reader: LogReader<SimDisk>,
    pub(crate) helping: BTreeMap<u64, HelperJob<P::Message>>,
    pub(crate) last_help: u64,
    /// When the last report of each of these threads will arrive: their reports keep their order.
    pub(crate) last_saved: Time,
    pub(crate) last_applied: Time,
    /// What clients of this node wait for.
    pub(crate) asked: BTreeMap<RequestId, Asked>,
    pub(crate) effects: Vec<Effect<P::Message>>,
}

/// A timer: when it runs out, and when the loop looks at it next. The latter may be too early,
/// since timers are set anew much more often than they run out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alarm {
    pub(crate) due: Time,
    pub(crate) planned: Time,
}

/// A job of the storage thread, of which so many steps were done.
pub(crate) struct Writing {
    pub(crate) job: Job,
    pub(crate) done: usize,
}

/// The storage thread waits for writes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rest {
    /// Until then.
    pub(crate) until: Time,
    /// There are some which did not fit on the disk.
    pub(crate) unfit: bool,
}

/// Work for the apply thread, in order.
pub(crate) enum ApplyJob {
    Apply(Generation, Vec<Entry>),
    Restore(Generation, SnapshotMeta),
    TakeSnapshot,
    Answer(RequestId),
}

/// Work for the helper threads, in any order.
pub(crate) enum HelperJob<M> {
    WriteSnapshot(Box<dyn View>),
    /// An effect which only reads or writes files.
    Files(Box<Effect<M>>),
    /// Snapshots are removed to which the log no longer points.
    Tidy,
}

/// Things that happen inside one process.
pub(crate) enum Local<M> {
    /// The loop looks at its inbox.
    Wake,
    /// Something comes for the loop.
    Event(Event<M>),
    /// The loop looks at a timer.
    Alarm(Timer),
    /// The storage thread is done with a step.
    Written,
    /// The storage thread has had nothing to do for a while.
    Idle,
    /// The apply thread is done with its job.
    Applied,
    /// A helper is done with this job.
    Helped(u64),
    /// A client asks for something.
    Ask(Ask),
}

/// One attempt of a client's request.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Ask {
    pub(crate) client: usize,
    pub(crate) op: OpId,
    pub(crate) attempt: u64,
    pub(crate) what: Want,
}

/// What a client wants.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Want {
    Session {
        limits: SessionLimits,
        window: u32,
    },
    /// With what had been witnessed when it was first tried.
    Write {
        session: Option<InSession>,
        body: Value,
        since: u64,
    },
    Read {
        query: Value,
    },
}

/// What a node remembers of an attempt.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) client: usize,
    pub(crate) op: OpId,
    pub(crate) attempt: u64,
    /// What a read wants to know.
    pub(crate) query: Option<Value>,
    /// What had been witnessed when a read arrived, or a write was first tried.
    pub(crate) since: u64,
}

impl<P: Protocol> Process<P> {
    /// Asks the machine, now by the clock of its node.
    pub(crate) fn query(&self, now: Duration, query: &Value) -> Observed<Value> {
        self.applier.query(now.saturating_sub(self.moved), query)
    }

    pub(crate) fn new(
        replica: Recorded<P, MemTape>,
        applier: Box<dyn Applying>,
        store: Store<SimDisk>,
    ) -> Process<P> {
        Process {
            replica,
            applier,
            inbox: Vec::new(),
            wake_is_planned: false,
            timers: BTreeMap::new(),
            snapshots: store.snapshots().clone(),
            reader: store.reader(),
            store,
            writing: None,
            rest: Rest::default(),
            is_attested: false,
            order_is_due: false,
            has_room: true,
            apply_queue: VecDeque::new(),
            applying: false,
            newest_restore: Generation::default(),
            helping: BTreeMap::new(),
            last_help: 0,
            last_saved: Time::ZERO,
            last_applied: Time::ZERO,
            moved: Duration::ZERO,
            asked: BTreeMap::new(),
            effects: Vec::new(),
        }
    }
}
