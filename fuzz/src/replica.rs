//! One replica, with peers that may say anything and a shell that keeps to the rules: what was
//! asked for completes in the order that is promised, or the process dies. Then whatever the peers
//! say, the replica does not panic, and what it writes fits on what it wrote before.

mod disk;
mod peers;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use quorate_core::{
    Applied, Command, Digest, Effect, Entry, EntryKind, Envelope, Event, FetchNext, Gap,
    Generation, Incarnation, Index, LogTime, Membership, NodeId, Now, Origin, Reader, Register,
    Replica, ReplicaConfig, Settings, SnapshotMeta, Timer, Write, WriteSeq,
};

use disk::Disk;
pub use peers::{Spoken, envelopes};

const ME: NodeId = NodeId(1);
const MEMBERS: [u64; 3] = [1, 2, 3];
const STEPS: usize = 200;

fn membership() -> Membership {
    Membership::new(MEMBERS.map(|id| (NodeId(id), incarnation(id))))
}

fn incarnation(id: u64) -> Incarnation {
    Incarnation(100 + id)
}

/// What the applier was asked to do.
enum Apply {
    Entries(Generation, Vec<Entry>),
    Restore(Generation),
}

/// A process, and the disk that outlives it.
struct Shell<P: Spoken> {
    replica: Replica<P>,
    /// What is durable, and what will be once all writes are.
    durable: Disk,
    held: Disk,
    unsaved: VecDeque<(WriteSeq, Write)>,
    timers: BTreeSet<Timer>,
    apply: VecDeque<Apply>,
    applied: Option<Entry>,
    /// Effects that are answered from files, in any order.
    files: Vec<Effect<P::Message>>,
    wants_snapshot: bool,
    fetching: Option<(SnapshotMeta, u64)>,
    /// What was sent lately.
    sent: Vec<Envelope<P::Message>>,
    now: Duration,
    is_damaged: bool,
    is_stopped: bool,
}

impl<P: Spoken> Shell<P> {
    fn start(durable: Disk, now: Duration) -> Option<Shell<P>> {
        let mut durable = durable;
        let recovered = durable.open(P::NAME);
        let config = ReplicaConfig {
            me: ME,
            members: MEMBERS.map(NodeId).into_iter().collect(),
            bootstrap: false,
            settings: Settings { log_cache_bytes: 300, snapshot_bytes: 500, ..Settings::default() },
        };
        let mut effects = Vec::new();
        let wall = Duration::from_secs(1000);
        let at = Now { monotonic: now, wall };
        let replica = Replica::recover(config, recovered, at, &mut effects).ok()?;
        let mut shell = Shell {
            replica,
            held: durable.clone(),
            durable,
            unsaved: VecDeque::new(),
            timers: BTreeSet::new(),
            apply: VecDeque::new(),
            applied: None,
            files: Vec::new(),
            wants_snapshot: false,
            fetching: None,
            sent: Vec::new(),
            now,
            is_damaged: false,
            is_stopped: false,
        };
        shell.carry_out(effects);
        Some(shell)
    }

    fn at(&self) -> Now {
        Now { monotonic: self.now, wall: self.now + Duration::from_secs(1000) }
    }

    fn step(&mut self, event: Event<P::Message>, flush: bool) {
        let (now, mut effects) = (self.at(), Vec::new());
        self.replica.step(now, event, &mut effects);
        if flush {
            self.replica.flush(now, &mut effects);
        }
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect<P::Message>>) {
        for effect in effects {
            match effect {
                Effect::Persist { seq, write } => {
                    self.held.save(&write);
                    self.unsaved.push_back((seq, write));
                }
                Effect::Send(envelope) => self.sent.push(envelope),
                Effect::SetTimer(timer, _) => _ = self.timers.insert(timer),
                Effect::Apply { generation, entries } => {
                    self.apply.push_back(Apply::Entries(generation, entries));
                }
                Effect::Restore { generation, .. } => {
                    self.apply.push_back(Apply::Restore(generation));
                }
                Effect::TakeSnapshot => self.wants_snapshot = true,
                effect @ (Effect::ReadEntries { .. }
                | Effect::Scrub { .. }
                | Effect::ReadChunk { .. }
                | Effect::BeginFetch { .. }
                | Effect::WriteChunk { .. }) => self.files.push(effect),
                Effect::ReadReady { .. } | Effect::Failed { .. } => {}
                Effect::Stop(_) => self.is_stopped = true,
            }
        }
        let spare = self.sent.len().saturating_sub(16);
        self.sent.drain(..spare);
    }

    /// One thing that happens.
    fn act(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let flush = u.ratio(7_u8, 8_u8)?;
        self.now += Duration::from_millis([0, 1, 10, 300][u.choose_index(4)?]);
        match u.int_in_range(0..=19)? {
            0..=7 => {
                let envelope = self.message(u)?;
                self.step(Event::Message(envelope), flush);
            }
            8..=10 => self.save(u, flush)?,
            11 | 12 => {
                let timers: Vec<Timer> = self.timers.iter().copied().collect();
                if !timers.is_empty() {
                    let timer = *u.choose(&timers)?;
                    self.timers.remove(&timer);
                    self.step(Event::Timeout(timer), flush);
                }
            }
            13 => self.propose(u, flush)?,
            14 | 15 => self.apply(u, flush)?,
            16 => self.file(u, flush)?,
            17 => self.snapshot_built(u, flush)?,
            18 => match u.int_in_range(0..=5)? {
                0 => self.step(Event::Room(u.arbitrary()?), flush),
                1 => self.step(Event::HandOver, flush),
                2 => self.damage(u, flush)?,
                _ => {
                    let request = self.replica.name_request();
                    self.step(Event::Read { request }, flush);
                }
            },
            _ => self.die(u)?,
        }
        Ok(())
    }

    fn save(&mut self, u: &mut Unstructured<'_>, flush: bool) -> Result<()> {
        if let Some((seq, write)) = self.unsaved.iter().rfind(|(_, write)| write.promise)
            && u.ratio(1_u8, 8_u8)?
        {
            let seq = *seq;
            self.durable.swear(write);
            self.step(Event::Sworn(seq), flush);
            return Ok(());
        }
        let count = u.int_in_range(1..=3)?.min(self.unsaved.len());
        let mut last = None;
        for (seq, write) in self.unsaved.drain(..count) {
            self.durable.save(&write);
            last = Some(seq);
        }
        if let Some(seq) = last {
            self.step(Event::Saved(seq), flush);
        }
        Ok(())
    }

    fn propose(&mut self, u: &mut Unstructured<'_>, flush: bool) -> Result<()> {
        let request = self.replica.name_request();
        let origin = Origin { node: ME, request };
        let (kind, payload) = if u.ratio(1_u8, 4_u8)? {
            let (max_sessions, window, max_response_bytes) = (3, 3, 100);
            let register = Register { origin, max_sessions, window, max_response_bytes };
            (EntryKind::Register, register.encode())
        } else {
            let body = Bytes::from(vec![1; u.int_in_range(0..=60)?]);
            (EntryKind::Command, Command { origin, session: None, body }.encode())
        };
        self.step(Event::Propose { request, kind, payload }, flush);
        Ok(())
    }

    fn apply(&mut self, u: &mut Unstructured<'_>, flush: bool) -> Result<()> {
        let deadline = u.ratio(1_u8, 4_u8)?.then(|| u.arbitrary().map(LogTime)).transpose()?;
        match self.apply.pop_front() {
            Some(Apply::Entries(generation, entries)) => {
                let Some(last) = entries.last().cloned() else { return Ok(()) };
                if let Some(before) = &self.applied {
                    assert!(entries[0].index() <= before.index().next(), "entries are left out");
                }
                let of_me = |entry: &Entry| {
                    let command = Command::decode(&entry.payload).map(|command| command.origin);
                    let register = || Register::decode(&entry.payload).map(|asked| asked.origin);
                    let origin = match entry.kind {
                        EntryKind::Command => command,
                        EntryKind::Register => register(),
                        _ => None,
                    };
                    origin.filter(|origin| origin.node == ME).map(|origin| origin.request)
                };
                let requests = entries.iter().filter_map(of_me).collect();
                let through = last.index();
                self.applied = Some(last);
                let applied = Applied { generation, through, requests, deadline };
                self.step(Event::Applied(applied), flush);
            }
            Some(Apply::Restore(generation)) => {
                self.applied = None;
                self.step(Event::Restored { generation, deadline }, flush);
            }
            None => {}
        }
        Ok(())
    }

    /// A helper is done with something.
    fn file(&mut self, u: &mut Unstructured<'_>, flush: bool) -> Result<()> {
        if self.files.is_empty() {
            return Ok(());
        }
        let at = u.choose_index(self.files.len())?;
        let event = match self.files.remove(at) {
            Effect::ReadEntries { reader, from, max_bytes } => {
                let some = u.ratio(7_u8, 8_u8)? || reader == Reader::Applier;
                let entries = if some { self.held.entries_from(from, max_bytes) } else { vec![] };
                Event::EntriesRead { reader, from, entries }
            }
            Effect::Scrub { from, .. } => Event::Scrubbed { next: from.next(), gaps: Vec::new() },
            Effect::ReadChunk { to, snapshot, chunk } => {
                let bytes = u.arbitrary::<bool>()?.then(|| Bytes::from_static(b"chunk"));
                Event::ChunkRead { to, snapshot, chunk, bytes }
            }
            Effect::BeginFetch { snapshot } => {
                let (id, chunks) = (snapshot.id(), snapshot.chunks());
                self.fetching = Some((snapshot, 0));
                let next = match u.int_in_range(0..=3)? {
                    0 => FetchNext::Failed,
                    1 if chunks > 0 => FetchNext::Chunk(0),
                    _ => FetchNext::Complete,
                };
                Event::FetchProgress { snapshot: id, next }
            }
            Effect::WriteChunk { snapshot, chunk, .. } => {
                let next = match &mut self.fetching {
                    Some((meta, next)) if meta.id() == snapshot => {
                        *next += u64::from(*next == chunk);
                        if *next >= meta.chunks() {
                            FetchNext::Complete
                        } else {
                            FetchNext::Chunk(*next)
                        }
                    }
                    _ => FetchNext::Failed,
                };
                Event::FetchProgress { snapshot, next }
            }
            _ => unreachable!("nothing else is put there"),
        };
        self.step(event, flush);
        Ok(())
    }

    fn snapshot_built(&mut self, u: &mut Unstructured<'_>, flush: bool) -> Result<()> {
        if !std::mem::take(&mut self.wants_snapshot) {
            return Ok(());
        }
        let membership = self.replica.status().membership;
        let meta = self.applied.as_ref().map(|last| SnapshotMeta {
            last: last.id,
            digest: last.digest(),
            membership,
            time: last.time,
            size_bytes: 5,
            content: Digest::of(&last.id.index.0.to_le_bytes()),
        });
        let meta = if u.ratio(7_u8, 8_u8)? { meta } else { None };
        self.step(Event::SnapshotBuilt(meta), flush);
        Ok(())
    }

    /// Something that is durable turns out to be damaged.
    fn damage(&mut self, u: &mut Unstructured<'_>, flush: bool) -> Result<()> {
        let (Some(first), Some(last)) = (self.durable.first(), self.durable.last_index()) else {
            return Ok(());
        };
        let snapshot = self.held.snapshot.as_ref().map_or(0, |snapshot| snapshot.last.index.0);
        let first = first.max(snapshot + 1);
        if !self.unsaved.is_empty() || first > last {
            return Ok(());
        }
        let first = u.int_in_range(first..=last)?;
        let last = u.int_in_range(first..=last)?;
        let digest = self.durable.digest(Index(last)).expect("it is there");
        let before = self.durable.digest(Index(first - 1)).unwrap_or(Digest::ZERO);
        let gap = Gap { first: Index(first), last: Index(last), digest, before, ids_known: true };
        self.is_damaged = true;
        self.step(Event::Damaged(vec![gap]), flush);
        Ok(())
    }

    fn die(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if self.is_damaged || !u.ratio(1_u8, 4_u8)? {
            return Ok(());
        }
        let arrived = u.int_in_range(0..=self.unsaved.len())?;
        for (_, write) in self.unsaved.drain(..arrived) {
            self.durable.save(&write);
        }
        match Shell::start(self.durable.clone(), self.now) {
            Some(shell) => *self = shell,
            None => self.is_stopped = true,
        }
        Ok(())
    }
}

fn play<P: Spoken>(u: &mut Unstructured<'_>) -> Result<()> {
    let founded = u.ratio(7_u8, 8_u8)?;
    let Some(mut shell) = Shell::<P>::start(Disk::new(founded), Duration::from_secs(1)) else {
        return Ok(());
    };
    for _ in 0..STEPS {
        if shell.is_stopped || u.is_empty() {
            break;
        }
        shell.act(u)?;
    }
    Ok(())
}

pub fn run<P: Spoken>(data: &[u8]) {
    // It ends with its input.
    let _ = play::<P>(&mut Unstructured::new(data));
}
