//! What a replica does to its log, with power cuts anywhere, against a list of states: after a
//! start the log is that of one of the writes, whole, and of none before the last one that was
//! called saved.

use std::io::Write as _;

use arbitrary::{Result, Unstructured};
use quorate_core::{
    Ballot, Digest, Entry, Incarnation, Index, LogId, LogTime, Membership, NodeId, PledgeBytes,
    Recovered, Run, SnapshotMeta, Write, WriteSeq,
};
use quorate_storage::{Job, Keep, MemDisk, Store};

use crate::storage::{entry, open, write};

const STEPS: usize = 100;

/// What a directory should say.
#[derive(Clone, Debug)]
struct State {
    base: LogId,
    base_digest: Digest,
    entries: Vec<Entry>,
    pledge: u64,
    snapshot: Option<SnapshotMeta>,
}

impl State {
    fn last(&self) -> (LogId, Digest) {
        let last = self.entries.last();
        last.map_or((self.base, self.base_digest), |entry| (entry.id, entry.digest()))
    }

    /// True if that is what was found, but for what was compacted.
    fn is(&self, found: &Recovered, read: &[Entry]) -> bool {
        let log = &found.log;
        let kept = self.entries.iter().position(|entry| entry.index() > log.base.index);
        let kept = kept.map_or(&[][..], |from| &self.entries[from..]);
        let is_empty = log.last == LogId::ZERO && self.last().0 == LogId::ZERO;
        (is_empty || (log.last, log.last_digest) == self.last())
            && kept == read
            && self.snapshot == found.snapshot
            && found.pledge.map_or(0, number) == self.pledge
            && !found.mute
            && log.gaps.is_empty()
    }
}

fn pledge(number: u64) -> PledgeBytes {
    let mut bytes = [0; 64];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}

fn number(pledge: PledgeBytes) -> u64 {
    u64::from_le_bytes(*pledge.first_chunk().expect("a pledge is longer"))
}

struct Model {
    disk: MemDisk,
    store: Store<MemDisk>,
    /// The last state that was called saved, and those of later writes.
    saved: State,
    pending: Vec<(WriteSeq, State)>,
    now: State,
    seq: WriteSeq,
    ballot: u64,
}

/// An empty directory that was opened once: where every run begins.
fn fresh() -> MemDisk {
    thread_local! {
        static FRESH: MemDisk = {
            let disk = MemDisk::new();
            drop(open(&disk).expect("an empty directory opens"));
            disk.crash_keeping_all()
        };
    }
    FRESH.with(MemDisk::crash_keeping_all)
}

impl Model {
    fn start() -> Model {
        let disk = fresh();
        let (store, _) = open(&disk).expect("it was opened before");
        let (base, base_digest) = (LogId::ZERO, Digest([9; 16]));
        let now = State { base, base_digest, entries: Vec::new(), pledge: 0, snapshot: None };
        let (saved, pending) = (now.clone(), Vec::new());
        Model { disk, store, saved, pending, now, seq: WriteSeq(0), ballot: 1 }
    }

    fn act(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        match u.int_in_range(0..=15)? {
            0..=4 => {
                let run = self.run(u)?;
                self.enqueue(vec![run], false);
            }
            5 => {
                let covered =
                    self.now.snapshot.as_ref().map_or(0, |snapshot| snapshot.last.index.0);
                let last = self.now.last().0.index.0;
                let keep = u.int_in_range(covered..=last.max(covered))?;
                self.now.entries.retain(|entry| entry.index().0 <= keep);
                self.ballot += 1;
                let run = self.run(u)?;
                self.enqueue(vec![run], false);
            }
            6 => {
                self.now.pledge += 1;
                self.ballot += 1;
                self.enqueue(Vec::new(), true);
            }
            7 => self.take_snapshot(u)?,
            8 if u.ratio(1_u8, 4_u8)? => self.install_snapshot(u)?,
            9 => {
                let job = self.store.attest().expect("the disk works");
                self.carry_out(job);
            }
            10 => {
                let job = self.store.maintenance().expect("the disk works");
                self.carry_out(job);
            }
            11 => self.restart(u)?,
            _ => {
                let job = self.store.prepare().expect("the disk works");
                let job = job.or_else(|| self.store.maintenance().expect("the disk works"));
                self.carry_out(job);
            }
        }
        Ok(())
    }

    fn run(&mut self, u: &mut Unstructured<'_>) -> Result<Run> {
        let (previous, previous_digest) = self.now.last();
        let mut entries = Vec::new();
        for _ in 0..u.int_in_range(0..=3)? {
            let (last, parent) = self.now.last();
            let length = [0, 10, 600, 5000, 9000][u.choose_index(5)?];
            let entry = entry(last, parent, self.ballot, vec![u.arbitrary()?; length]);
            self.now.entries.push(entry.clone());
            entries.push(entry);
        }
        Ok(Run { previous, previous_digest, entries })
    }

    fn enqueue(&mut self, runs: Vec<Run>, promise: bool) {
        self.seq = self.seq.next();
        let (pledge, snapshot) = (pledge(self.now.pledge), self.now.snapshot.clone());
        self.store.enqueue(self.seq, Write { promise, ..write(runs, pledge, snapshot) });
        self.pending.push((self.seq, self.now.clone()));
    }

    fn carry_out(&mut self, job: Option<Job>) {
        let Some(job) = job else { return };
        let done = self.store.run(job).expect("the disk works");
        if let Some(saved) = done.saved {
            let count = self.pending.iter().take_while(|(seq, _)| *seq <= saved).count();
            if let Some((_, state)) = self.pending.drain(..count).next_back() {
                self.saved = state;
            }
        }
        if done.is_untidy {
            self.store.snapshots().tidy().expect("the disk works");
        }
    }

    /// The log is covered as far as an entry that is saved, so that segments are used again.
    fn take_snapshot(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let covered = self.now.snapshot.as_ref().map_or(Index(0), |snapshot| snapshot.last.index);
        let later = self.saved.entries.iter().filter(|entry| entry.index() > covered);
        let later: Vec<(LogId, Digest)> = later.map(|entry| (entry.id, entry.digest())).collect();
        if later.is_empty() || !self.pending.is_empty() {
            return Ok(());
        }
        let (last, digest) = *u.choose(&later)?;
        self.point_to(last, digest);
        self.enqueue(Vec::new(), false);
        Ok(())
    }

    /// A snapshot comes from elsewhere, and the log starts anew behind it.
    fn install_snapshot(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        self.ballot += 1;
        let last = self.now.last().0.index.0 + u.int_in_range(1..=50)?;
        let id = LogId::new(Index(last), Ballot(self.ballot));
        let base_digest = Digest([self.ballot as u8; 16]);
        self.point_to(id, base_digest);
        self.now = State { base: id, base_digest, entries: Vec::new(), ..self.now.clone() };
        let run = self.run(u)?;
        self.enqueue(vec![run], false);
        Ok(())
    }

    fn point_to(&mut self, last: LogId, digest: Digest) {
        let mut builder = self.store.snapshots().builder().expect("the disk works");
        builder.write_all(format!("state at {last}").as_bytes()).expect("the disk works");
        let members = Membership::new([(NodeId(1), Incarnation(7))]);
        let built = builder.finish(last, digest, members, LogTime(last.index.0));
        self.now.snapshot = Some(built.expect("the disk works"));
    }

    /// Cuts the power, perhaps in the middle of a job, and starts again.
    fn restart(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let job = self.store.prepare().expect("the disk works");
        let job = job.or_else(|| self.store.maintenance().expect("the disk works"));
        if let Some(job) = job {
            let steps = u.int_in_range(0..=job.steps().len())?;
            for step in &job.steps()[..steps] {
                self.store.run_step(step).expect("the disk works");
            }
        }
        let names = u.int_in_range(0..=self.disk.unsynced_names())?;
        let how = u.int_in_range(0..=3)?;
        let disk = self.disk.crash(names, |_, _| match how {
            0 => Keep::Old,
            1 => Keep::New,
            _ => match u.arbitrary::<u8>().unwrap_or(0) {
                byte if byte % 4 == 0 && how == 3 => Keep::Torn(usize::from(byte) * 2),
                byte if byte % 2 == 0 => Keep::New,
                _ => Keep::Old,
            },
        });
        let (store, found) = open(&disk).unwrap_or_else(|error| panic!("{error}"));
        let from = found.log.base.index.next();
        let read = store.reader().read_entries(from, usize::MAX).expect("what opened can be read");
        let mut candidates =
            std::iter::once(&self.saved).chain(self.pending.iter().map(|(_, s)| s));
        let state = candidates.find(|state| state.is(&found, &read)).cloned();
        let Some(state) = state else {
            panic!("neither saved nor written: {found:?}\nsaved: {:?}", self.saved);
        };
        // What it was opened with stands, whatever becomes of it next.
        (self.saved, self.now) = (state.clone(), state);
        (self.disk, self.store) = (disk, store);
        self.pending.clear();
        self.seq = WriteSeq(0);
        self.ballot += 1;
        Ok(())
    }
}

fn play(u: &mut Unstructured<'_>) -> Result<()> {
    if u.is_empty() {
        return Ok(());
    }
    let mut model = Model::start();
    for _ in 0..STEPS {
        if u.is_empty() {
            break;
        }
        model.act(u)?;
    }
    model.restart(u)
}

pub fn run(data: &[u8]) {
    // It ends with its input.
    let _ = play(&mut Unstructured::new(data));
}
