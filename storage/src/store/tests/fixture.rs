//! A store over a disk in memory, and somebody who writes a log into it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use quorate_core::*;

use crate::disk::{Disk, MemDisk};
use crate::error::StorageError;
use crate::job::Job;
use crate::segment;
use crate::store::{Owner, Store, StoreOptions};

pub(crate) fn owner() -> Owner {
    Owner { node: NodeId(1), cluster: "test".to_owned(), protocol: "raft".to_owned() }
}

pub(crate) fn identity() -> Identity {
    let Owner { node, cluster, protocol } = owner();
    Identity { node, cluster, protocol, incarnation: Incarnation(77) }
}

/// An entry of ballot 1 which follows nothing, with a payload of this length.
pub(crate) fn entry(index: u64, len: usize) -> Entry {
    let id = LogId::new(Index(index), Ballot(1));
    let proposal = Proposal::new(EntryKind::Command, LogTime(index), vec![0; len].into());
    Entry::new(id, Digest::ZERO, proposal)
}

pub(crate) fn options() -> StoreOptions {
    StoreOptions { segment_bytes: Some(64 << 10), group_bytes: 64 << 10, tail_bytes: 1 << 20 }
}

pub(crate) fn open(disk: &MemDisk) -> Result<(Store<MemDisk>, Recovered), StorageError> {
    Store::open(Arc::new(disk.clone()), &owner(), options(), Incarnation(77), 1)
}

/// What the author of the log knows of it.
pub(crate) struct Author {
    pub(crate) disk: MemDisk,
    pub(crate) store: Store<MemDisk>,
    pub(crate) seq: WriteSeq,
    pub(crate) entries: Vec<Entry>,
    pub(crate) pledge: PledgeBytes,
    pub(crate) snapshot: Option<SnapshotMeta>,
    pub(crate) mute: bool,
    /// The last write that is saved, and the last one of which only the pledge is.
    pub(crate) saved: Option<WriteSeq>,
    pub(crate) sworn: Option<WriteSeq>,
}

pub(crate) fn pledge(number: u8) -> PledgeBytes {
    [number; 64]
}

impl Author {
    pub(crate) fn new() -> Author {
        Author::on(&MemDisk::new())
    }

    pub(crate) fn on(disk: &MemDisk) -> Author {
        Author::with(disk, options())
    }

    pub(crate) fn with(disk: &MemDisk, options: StoreOptions) -> Author {
        let opened = Store::open(Arc::new(disk.clone()), &owner(), options, Incarnation(77), 1);
        let (store, recovered) = opened.unwrap();
        let reader = store.reader();
        let from = recovered.log.base.index.next();
        let entries = reader.read_entries(from, usize::MAX).unwrap();
        Author {
            disk: disk.clone(),
            store,
            seq: WriteSeq(0),
            entries,
            pledge: recovered.pledge.unwrap_or(pledge(0)),
            snapshot: recovered.snapshot,
            mute: recovered.mute,
            saved: None,
            sworn: None,
        }
    }

    pub(crate) fn last(&self) -> (LogId, Digest) {
        match (self.entries.last(), &self.snapshot) {
            (Some(entry), _) => (entry.id, entry.digest()),
            (None, Some(snapshot)) => (snapshot.last, snapshot.digest),
            (None, None) => (LogId::ZERO, Digest([9; 16])),
        }
    }

    /// A write with these entries behind the last one.
    pub(crate) fn appending(&mut self, ballot: u64, payloads: &[&[u8]]) -> Write {
        let (previous, previous_digest) = self.last();
        let mut run = Run { previous, previous_digest, entries: Vec::new() };
        for payload in payloads {
            let (last, parent) = self.last();
            let id = LogId::new(last.index.next(), Ballot(ballot));
            let payload = Bytes::copy_from_slice(payload);
            let proposal = Proposal::new(EntryKind::Command, LogTime(id.index.0), payload);
            let entry = Entry::new(id, parent, proposal);
            self.entries.push(entry.clone());
            run.entries.push(entry);
        }
        self.write(vec![run])
    }

    /// A write with one entry more, which says who is a member.
    pub(crate) fn appending_members(&mut self, ballot: u64, members: &Membership) -> Write {
        let payload = postcard::to_allocvec(members).unwrap();
        self.appending_kind(ballot, EntryKind::Membership, payload)
    }

    pub(crate) fn appending_kind(
        &mut self,
        ballot: u64,
        kind: EntryKind,
        payload: Vec<u8>,
    ) -> Write {
        let (previous, previous_digest) = self.last();
        let id = LogId::new(previous.index.next(), Ballot(ballot));
        let proposal = Proposal::new(kind, LogTime(id.index.0), payload.into());
        let entry = Entry::new(id, previous_digest, proposal);
        self.entries.push(entry.clone());
        self.write(vec![Run { previous, previous_digest, entries: vec![entry] }])
    }

    /// A write which cuts off everything behind `index`, then appends.
    pub(crate) fn cutting(&mut self, index: u64, ballot: u64, payloads: &[&[u8]]) -> Write {
        self.entries.retain(|entry| entry.index().0 <= index);
        self.appending(ballot, payloads)
    }

    pub(crate) fn swearing(&mut self, number: u8) -> Write {
        self.pledge = pledge(number);
        Write { promise: true, ..self.write(Vec::new()) }
    }

    pub(crate) fn write(&self, runs: Vec<Run>) -> Write {
        Write {
            runs,
            repairs: Vec::new(),
            pledge: self.pledge,
            promise: false,
            snapshot: self.snapshot.clone(),
            founding: None,
            mute: self.mute,
            peers: None,
        }
    }

    pub(crate) fn enqueue(&mut self, write: Write) -> WriteSeq {
        self.seq = self.seq.next();
        self.store.enqueue(self.seq, write);
        self.seq
    }

    /// Carries out a job, and all that it asks for.
    pub(crate) fn run(&mut self, job: Job) -> Result<Option<WriteSeq>, StorageError> {
        let done = self.store.run(job)?;
        if done.is_untidy {
            self.store.snapshots().tidy().map_err(StorageError::Snapshots)?;
        }
        self.saved = done.saved.or(self.saved);
        self.sworn = done.sworn.or(self.sworn);
        Ok(done.saved)
    }

    /// Saves everything that is queued.
    pub(crate) fn flush(&mut self) -> Result<Option<WriteSeq>, StorageError> {
        let mut saved = None;
        loop {
            if let Some(job) = self.store.prepare()? {
                saved = self.run(job)?.or(saved);
            } else if let Some(job) = self.store.maintenance()? {
                self.run(job)?;
            } else {
                return Ok(saved);
            }
        }
    }

    pub(crate) fn save(&mut self, write: Write) {
        let seq = self.enqueue(write);
        assert_eq!(self.flush().unwrap(), Some(seq));
    }

    pub(crate) fn append(&mut self, ballot: u64, payloads: &[&[u8]]) {
        let write = self.appending(ballot, payloads);
        self.save(write);
    }

    pub(crate) fn attest(&mut self) {
        if let Some(job) = self.store.attest().unwrap() {
            self.run(job).unwrap();
        }
    }

    /// The files that have the name of a segment.
    pub(crate) fn segments(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = self.disk.contents();
        files.retain(|name, _| segment::parse_name(name).is_some());
        files
    }

    /// Where the group stands that holds an entry: file and offset.
    pub(crate) fn place_of(&self, index: u64) -> (String, usize) {
        let inspection = crate::inspect(&Arc::new(self.disk.clone())).unwrap();
        for segment in inspection.segments {
            for group in segment.groups {
                let mut entries = group.runs.iter().flat_map(|run| &run.entries);
                if entries.any(|(id, _)| id.index.0 == index) {
                    return (segment.file, usize::try_from(group.offset).unwrap());
                }
            }
        }
        panic!("no group holds entry {index}");
    }

    /// Takes a snapshot of everything up to `index`, and points to it.
    pub(crate) fn take_snapshot(&mut self, index: u64) {
        let meta = self.build_snapshot(index);
        self.snapshot = Some(meta);
        let write = self.write(Vec::new());
        self.save(write);
    }

    pub(crate) fn build_snapshot(&mut self, index: u64) -> SnapshotMeta {
        let entry = self.entries.iter().find(|entry| entry.index().0 == index).unwrap();
        build_snapshot(&self.store, entry.id, entry.digest())
    }
}

pub(crate) fn build_snapshot<D: Disk>(
    store: &Store<D>,
    last: LogId,
    digest: Digest,
) -> SnapshotMeta {
    let mut builder = store.snapshots().builder().unwrap();
    std::io::Write::write_all(&mut builder, format!("state at {last}").as_bytes()).unwrap();
    let members = Membership::new([(NodeId(1), Incarnation(77))]);
    builder.finish(last, digest, members, LogTime(last.index.0)).unwrap()
}

/// An author whose log goes on in a segment that was used before: what stands behind its end is
/// not zeros but what an earlier life of the segment left.
pub(crate) fn author_in_a_used_segment() -> Author {
    let mut author = Author::new();
    for round in 1..=8u64 {
        for i in 0..20u8 {
            author.append(1, &[&[i; 3000]]);
        }
        author.take_snapshot(round * 20);
    }
    let segments = author.segments();
    let stale = segments.values().filter(|bytes| bytes[60_000..].iter().any(|byte| *byte != 0));
    assert!(stale.count() > 3, "segments are used again");
    author
}

/// Entries as they are found by somebody who opens the directory.
pub(crate) fn found(disk: &MemDisk) -> Result<Recovered, StorageError> {
    open(&disk.crash_keeping_all()).map(|(_, recovered)| recovered)
}

/// Opens, and says how: everything there, everything but the last `torn` entries, or a stop that
/// changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Opens { last: Index, pledge: Option<PledgeBytes> },
    Damaged { file: String, damage: crate::error::Damage },
    Stops(String),
}

pub(crate) fn outcome(disk: &MemDisk) -> Found {
    outcome_with(disk, options())
}

pub(crate) fn outcome_with(disk: &MemDisk, options: StoreOptions) -> Found {
    let disk = disk.crash_keeping_all();
    let before = disk.contents();
    match Store::open(Arc::new(disk.clone()), &owner(), options, Incarnation(77), 1) {
        Ok((_, Recovered { log, pledge, mute, .. })) => {
            assert!(log.gaps.is_empty() && !mute, "what is torn is no loss: {:?}", log.gaps);
            Found::Opens { last: log.last.index, pledge }
        }
        Err(error) => {
            assert!(disk.contents() == before, "{error}: and yet something was changed");
            match error {
                StorageError::Damaged { file, damage, .. } => Found::Damaged { file, damage },
                other => Found::Stops(other.to_string()),
            }
        }
    }
}

/// Numbers that look random and are the same in every run (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
