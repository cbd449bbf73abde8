//! Random histories with power cuts anywhere: what was said to be saved is there afterwards, and
//! what is there is the state after one of the writes, never anything between two.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use quorate_core::*;

use super::fixture::{Random, options, owner};
use crate::disk::{Keep, MemDisk};
use crate::error::StorageError;
use crate::snapshot::SnapshotError;
use crate::store::Store;

/// What a directory should say.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    base: LogId,
    base_digest: Digest,
    entries: Vec<Entry>,
    pledge: Option<PledgeBytes>,
    snapshot: Option<SnapshotMeta>,
    founding: FoundingRecord,
    mute: bool,
    peers: BTreeMap<NodeId, Disk>,
}

impl State {
    fn last(&self) -> (LogId, Digest) {
        let last = self.entries.last();
        last.map_or((self.base, self.base_digest), |entry| (entry.id, entry.digest()))
    }

    /// True if that is what was found, but for what stands beside the log, and for what was
    /// compacted. That a replica is mute is on disk no later than the write that makes it so.
    fn is(&self, found: &Recovered, read: &[Entry]) -> bool {
        let log = &found.log;
        let kept = self.entries.iter().position(|entry| entry.index() > log.base.index);
        let kept = kept.map_or(&[][..], |from| &self.entries[from..]);
        // Nothing is known of what stood before a log that never held anything.
        let is_empty = log.last == LogId::ZERO && self.last().0 == LogId::ZERO;
        (is_empty || (log.last, log.last_digest) == self.last())
            && kept == read
            && log.base.index >= self.base.index
            && self.pledge == found.pledge
            && self.snapshot == found.snapshot
            && read.ends_with(&log.tail)
            && log.gaps.is_empty()
            && found.mute >= self.mute
    }
}

struct Model {
    random: Random,
    disk: MemDisk,
    store: Store<MemDisk>,
    saved: State,
    pending: Vec<(WriteSeq, State)>,
    now: State,
    seq: WriteSeq,
    ballot: u64,
    cuts: u32,
    start: u64,
    is_untidy: bool,
    /// Pledges ascend: how often something was sworn, and how much of that is on disk.
    oaths: u64,
    sworn: u64,
    /// How often a pledge was sworn for which the log had no room.
    ahead: u32,
    /// How often it was found to be mute, while its log was that of a time when it was not.
    mute_beside: u32,
}

fn pledge(number: u64) -> PledgeBytes {
    let mut bytes = [0; 64];
    bytes[20..28].copy_from_slice(&number.to_le_bytes());
    bytes[44..52].copy_from_slice(&number.to_le_bytes());
    bytes
}

fn number(pledge: Option<PledgeBytes>) -> u64 {
    let bytes = pledge.map_or([0; 8], |bytes| bytes[20..28].try_into().unwrap());
    assert_eq!(pledge.unwrap_or([0; 64]), self::pledge(u64::from_le_bytes(bytes)));
    u64::from_le_bytes(bytes)
}

impl Model {
    fn new(seed: u64) -> Model {
        let disk = MemDisk::new();
        let (store, _) = open(&disk).unwrap();
        let empty = State {
            base: LogId::ZERO,
            base_digest: Digest([9; 16]),
            entries: Vec::new(),
            pledge: None,
            snapshot: None,
            founding: FoundingRecord::default(),
            mute: false,
            peers: BTreeMap::new(),
        };
        Model {
            random: Random(seed),
            disk,
            store,
            saved: empty.clone(),
            pending: Vec::new(),
            now: empty,
            seq: WriteSeq(0),
            ballot: 1,
            cuts: 0,
            start: 1,
            is_untidy: false,
            oaths: 0,
            sworn: 0,
            ahead: 0,
            mute_beside: 0,
        }
    }

    /// One thing that a replica does.
    fn act(&mut self) -> Result<(), StorageError> {
        match self.random.below(22) {
            0..8 => self.append(),
            8..10 => self.cut(),
            10 => self.swear(),
            11 => self.found(),
            12 => return self.take_snapshot(),
            13 if self.random.below(8) == 0 => return self.fetch_snapshot(),
            14 => return self.job(Store::attest),
            15 => self.enqueue(Vec::new()),
            16 => self.fill_or_make_room(),
            17 => self.hear(),
            18 => self.fall_mute_or_speak(),
            _ => return self.save(),
        }
        Ok(())
    }

    fn enqueue(&mut self, runs: Vec<Run>) {
        let write = self.write(runs);
        self.enqueue_write(write);
    }

    fn write(&mut self, runs: Vec<Run>) -> Write {
        Write {
            runs,
            repairs: Vec::new(),
            pledge: *self.now.pledge.get_or_insert([0; 64]),
            promise: false,
            snapshot: self.now.snapshot.clone(),
            founding: None,
            mute: self.now.mute,
            peers: None,
        }
    }

    fn enqueue_write(&mut self, write: Write) {
        self.seq = self.seq.next();
        self.store.enqueue(self.seq, write);
        self.pending.push((self.seq, self.now.clone()));
    }

    fn run(&mut self) -> Run {
        let (previous, previous_digest) = self.now.last();
        let mut entries = Vec::new();
        for _ in 0..self.random.below(4) {
            let (last, parent) = self.now.last();
            let len = [0, 10, 600, 5000, 30_000][self.random.below(5) as usize];
            let payload = Bytes::from(vec![self.random.next() as u8; len]);
            let id = LogId::new(last.index.next(), Ballot(self.ballot));
            let proposal = Proposal::new(EntryKind::Command, LogTime(id.index.0), payload);
            let entry = Entry::new(id, parent, proposal);
            self.now.entries.push(entry.clone());
            entries.push(entry);
        }
        Run { previous, previous_digest, entries }
    }

    fn append(&mut self) {
        let run = self.run();
        self.enqueue(vec![run]);
    }

    fn cut(&mut self) {
        let covered = self.now.snapshot.as_ref().map_or(Index(0), |snapshot| snapshot.last.index);
        let last = self.now.last().0.index;
        let keep = covered.0 + self.random.below(last.0.saturating_sub(covered.0) + 1);
        self.now.entries.retain(|entry| entry.index().0 <= keep);
        self.ballot += 1;
        let first = self.run();
        let second = self.run();
        self.enqueue(vec![first, second]);
    }

    fn swear(&mut self) {
        self.oaths += 1;
        self.now.pledge = Some(pledge(self.oaths));
        self.ballot += 1;
        self.swear_again();
    }

    fn swear_again(&mut self) {
        let write = self.write(Vec::new());
        self.enqueue_write(Write { promise: true, ..write });
    }

    /// Another member's process has started, or its disk was replaced.
    fn hear(&mut self) {
        let of = NodeId(2 + self.random.below(2));
        let unknown = Disk { incarnation: Incarnation(1), start: Start::default() };
        let disk = self.now.peers.entry(of).or_insert(unknown);
        disk.incarnation.0 += u64::from(self.random.below(3) == 0);
        disk.start.count += 1;
        let write = self.write(Vec::new());
        let peers = Some(self.now.peers.clone());
        self.enqueue_write(Write { peers, ..write });
    }

    /// It may have acknowledged what it now cuts off; or all of that is back.
    fn fall_mute_or_speak(&mut self) {
        self.now.mute = !self.now.mute;
        match self.now.mute {
            true => self.cut(),
            false => self.append(),
        }
    }

    /// The disk runs full, or has room again.
    fn fill_or_make_room(&mut self) {
        if self.random.below(3) > 0 {
            self.disk.set_capacity(None);
            self.store.retry_room();
        } else {
            let used: usize = self.disk.contents().values().map(Vec::len).sum();
            let spare = [0, 5000, 100_000][self.random.below(3) as usize];
            self.disk.set_capacity(Some(used as u64 + spare));
        }
    }

    fn found(&mut self) {
        self.now.founding.round += 1;
        let founding = Some(self.now.founding.clone());
        let write = self.write(Vec::new());
        self.enqueue_write(Write { founding, ..write });
    }

    fn take_snapshot(&mut self) -> Result<(), StorageError> {
        let covered = self.now.snapshot.as_ref().map_or(Index(0), |snapshot| snapshot.last.index);
        let saved = self.saved.last().0.index;
        let held = |entry: &&Entry| entry.index() > covered && entry.index() <= saved;
        let candidates = self.saved.entries.iter().filter(held).count() as u64;
        if candidates == 0 || !self.pending.is_empty() {
            return Ok(());
        }
        let chosen = self.random.below(candidates) as usize;
        let entry = self.saved.entries.iter().filter(held).nth(chosen).unwrap().clone();
        self.point_to(entry.id, entry.digest())?;
        self.enqueue(Vec::new());
        Ok(())
    }

    fn fetch_snapshot(&mut self) -> Result<(), StorageError> {
        self.ballot += 1;
        let last = self.now.last().0.index.0 + 1 + self.random.below(50);
        let id = LogId::new(Index(last), Ballot(self.ballot));
        if !self.point_to(id, Digest([self.ballot as u8; 16]))? {
            return Ok(());
        }
        let base_digest = Digest([self.ballot as u8; 16]);
        self.now = State { base: id, base_digest, entries: Vec::new(), ..self.now.clone() };
        let run = self.run();
        self.enqueue(vec![run]);
        Ok(())
    }

    /// False if there is no room for a snapshot.
    fn point_to(&mut self, last: LogId, digest: Digest) -> Result<bool, StorageError> {
        let build = || {
            let mut builder = self.store.snapshots().builder()?;
            // What goes wrong is told at the end.
            let _ = builder.write_all(format!("state at {last}").as_bytes());
            let members = Membership::new([(NodeId(1), Incarnation(77))]);
            builder.finish(last, digest, members, LogTime(last.index.0))
        };
        match build() {
            Err(SnapshotError::NoRoom { .. }) => Ok(false),
            built => {
                self.now.snapshot = Some(built.map_err(StorageError::Snapshots)?);
                Ok(true)
            }
        }
    }

    fn save(&mut self) -> Result<(), StorageError> {
        loop {
            if let Some(job) = self.store.prepare()? {
                let saved = self.carry_out(job)?;
                let done = self.pending.iter().take_while(|(seq, _)| Some(*seq) <= saved).count();
                if let Some((_, state)) = self.pending.drain(..done).next_back() {
                    self.saved = state;
                }
            } else if self.store.has_queued() || self.random.below(2) == 0 {
                match self.store.maintenance()? {
                    Some(job) => self.carry_out(job)?,
                    None => return Ok(()),
                };
            } else {
                return Ok(());
            }
        }
    }

    fn job(
        &mut self,
        of: impl Fn(&mut Store<MemDisk>) -> Result<Option<crate::Job>, StorageError>,
    ) -> Result<(), StorageError> {
        if let Some(job) = of(&mut self.store)? {
            self.carry_out(job)?;
        }
        Ok(())
    }

    /// Carries out a job; what is no longer needed is removed now, or some other time.
    fn carry_out(&mut self, job: crate::Job) -> Result<Option<WriteSeq>, StorageError> {
        let done = self.store.run(job)?;
        self.is_untidy |= done.is_untidy;
        let pledge_of = |seq| {
            let of_write = self.pending.iter().find(|(pending, _)| *pending == seq);
            number(of_write.unwrap().1.pledge)
        };
        for seq in done.sworn.into_iter().chain(done.saved) {
            self.sworn = self.sworn.max(pledge_of(seq));
        }
        self.ahead += u32::from(done.sworn.is_some());
        if self.is_untidy && self.random.below(2) == 0 {
            self.store.snapshots().tidy().map_err(StorageError::Snapshots)?;
            self.is_untidy = false;
        }
        Ok(done.saved)
    }

    /// Cuts the power, and starts again, perhaps with another cut on the way.
    fn restart(&mut self) {
        self.cuts += 1;
        loop {
            let names = self.random.below(self.disk.unsynced_names() as u64 + 1) as usize;
            let random = &mut self.random;
            self.disk = self.disk.crash(names, |_, _| match random.below(5) {
                0 => Keep::Torn(random.below(512) as usize),
                1 | 2 => Keep::Old,
                _ => Keep::New,
            });
            if self.random.below(3) == 0 {
                self.disk.stop_after(self.random.below(20));
            }
            match open(&self.disk) {
                Ok((store, found)) => {
                    self.disk.heal();
                    self.store = store;
                    return self.check(&found);
                }
                Err(error) => {
                    let is_power = error.to_string().contains("the power is gone");
                    assert!(is_power, "cut {}: {error:?}", self.cuts);
                }
            }
        }
    }

    fn check(&mut self, found: &Recovered) {
        let from = found.log.base.index.next();
        let read = self.store.reader().read_entries(from, usize::MAX).unwrap();
        let pending = self.pending.iter().map(|(_, state)| state);
        let possible: Vec<&State> = std::iter::once(&self.saved).chain(pending).collect();
        let Some(matching) = possible.iter().rposition(|state| state.is(found, &read)) else {
            panic!(
                "cut {}: found {:?}, expected one of {:#?}",
                self.cuts,
                found.log.last,
                possible.iter().map(|s| (s.last(), &s.pledge)).collect::<Vec<_>>()
            );
        };
        let state = possible[matching];
        // What stands beside the log is that of the same write, or of another one that was not
        // called saved.
        assert!(possible.iter().any(|state| state.founding == found.founding), "founding");
        assert!(possible.iter().any(|state| state.peers == found.peers), "{:?}", found.peers);
        // As long as something is sworn ahead of what made it mute, it stays so.
        let is_ahead = found.mute && found.sworn.is_some();
        let is_said = possible.iter().any(|state| state.mute == found.mute);
        assert!(is_said || is_ahead, "cut {}: mute: {}", self.cuts, found.mute);
        self.mute_beside += u32::from(found.mute && !state.mute);
        if let Some(ahead) = found.sworn {
            // What was sworn ahead was sworn knowing of all that came before it.
            let behind = &possible[matching + 1..];
            let oath = number(Some(ahead));
            let known = behind.iter().take_while(|other| number(other.pledge) < oath);
            let swore = behind.iter().find(|other| number(other.pledge) == oath);
            assert!(found.mute || !known.chain(swore).any(|other| other.mute), "{oath}");
        }
        let sworn = number(found.pledge).max(number(found.sworn));
        assert!((self.sworn..=self.oaths).contains(&sworn), "{sworn} was sworn: {}", self.sworn);
        self.sworn = sworn;
        let mut state = state.clone();
        state.founding = found.founding.clone();
        (state.mute, state.peers) = (found.mute, found.peers.clone());
        let start = found.lineage.latest().count;
        assert!(start > self.start, "a start is counted twice");
        self.start = start;
        self.saved = state.clone();
        self.now = state;
        self.pending.clear();
        if found.sworn.is_some() {
            // As a replica does: what stands beside the log only is sworn once more.
            self.now.pledge = Some(pledge(sworn));
            self.swear_again();
        }
    }
}

fn open(disk: &MemDisk) -> Result<(Store<MemDisk>, Recovered), StorageError> {
    Store::open(Arc::new(disk.clone()), &owner(), options(), Incarnation(77), 1)
}

#[test]
fn what_was_saved_is_there_after_any_power_cut() {
    let (mut cuts, mut compacted, mut ahead, mut mute_beside) = (0, 0, 0, 0);
    for seed in 0..40 {
        let mut model = Model::new(seed);
        for _ in 0..12 {
            model.disk.stop_after(20 + model.random.below(150));
            while model.act().is_ok() {}
            model.restart();
        }
        cuts += model.cuts;
        compacted += u32::from(model.saved.snapshot.is_some());
        ahead += model.ahead;
        mute_beside += model.mute_beside;
    }
    assert!(cuts >= 480 && compacted > 20 && ahead > 20, "{cuts} {compacted} {ahead}");
    assert!(mute_beside > 0);
}

#[test]
fn a_power_cut_between_any_two_steps_loses_nothing_that_was_saved() {
    // One history, cut after every single change of the disk.
    for cut in 0.. {
        let mut model = Model::new(7);
        model.disk.stop_after(cut);
        for _ in 0..120 {
            if model.act().is_err() {
                break;
            }
        }
        let total = model.disk.changes();
        model.restart();
        if total < cut {
            assert!(cut > 150, "{cut}");
            return;
        }
    }
}
