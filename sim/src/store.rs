//! A disk reduced to its promises: writes are kept by their sequence, and a crash loses what was
//! not synced, whole writes at a time.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_core::{
    Digest, Entry, EntryKind, FetchNext, FoundingRecord, Identity, Index, LogId, Membership,
    PledgeBytes, Recovered, RecoveredLog, Run, SnapshotId, SnapshotMeta, Write,
};

/// What one replica's disk holds.
pub(crate) struct Store {
    identity: Identity,
    start: u64,
    founding: FoundingRecord,
    pledge: Option<PledgeBytes>,
    base: LogId,
    base_digest: Digest,
    entries: Vec<Entry>,
    /// The newest snapshot, and the one before it.
    pointers: Vec<SnapshotMeta>,
    snapshots: BTreeMap<SnapshotId, Bytes>,
    fetching: Option<(SnapshotMeta, Vec<u8>)>,
}

impl Store {
    pub(crate) fn new(identity: Identity) -> Store {
        Store {
            identity,
            start: 0,
            founding: FoundingRecord::default(),
            pledge: None,
            base: LogId::ZERO,
            base_digest: Digest::ZERO,
            entries: Vec::new(),
            pointers: Vec::new(),
            snapshots: BTreeMap::new(),
            fetching: None,
        }
    }

    /// Keeps a write.
    pub(crate) fn save(&mut self, write: &Write) {
        write.runs.iter().for_each(|run| self.append(run));
        self.pledge = Some(write.pledge);
        if let Some(founding) = &write.founding {
            self.founding = founding.clone();
        }
        if write.snapshot.as_ref().map(SnapshotMeta::id)
            != self.pointers.last().map(SnapshotMeta::id)
            && let Some(meta) = &write.snapshot
        {
            assert!(self.snapshots.contains_key(&meta.id()), "a pointer to what is not there");
            self.pointers.push(meta.clone());
            if self.pointers.len() > 2 {
                let dropped = self.pointers.remove(0);
                self.snapshots.retain(|id, _| id.last.index > dropped.last.index);
            }
            self.compact();
        }
    }

    fn append(&mut self, run: &Run) {
        let previous = run.previous.index;
        if self.id_at(previous) == Some(run.previous) {
            self.entries.truncate((previous.0 - self.base.index.0) as usize);
        } else {
            self.base = run.previous;
            self.entries.clear();
        }
        if self.entries.is_empty() {
            self.base_digest = run.previous_digest;
        }
        self.entries.extend_from_slice(&run.entries);
    }

    fn id_at(&self, index: Index) -> Option<LogId> {
        match index.0.checked_sub(self.base.index.0)? {
            0 => Some(self.base),
            n => self.entries.get(n as usize - 1).map(|entry| entry.id),
        }
    }

    /// Drops what precedes the older of two snapshots.
    fn compact(&mut self) {
        if let [older, _] = &self.pointers[..]
            && older.last.index > self.base.index
            && self.id_at(older.last.index) == Some(older.last)
        {
            self.entries.drain(..(older.last.index.0 - self.base.index.0) as usize);
            self.base = older.last;
            self.base_digest = older.digest;
        }
    }

    /// What a process finds when it opens the disk; about `tail_bytes` of entries are read.
    pub(crate) fn open(&mut self, tail_bytes: usize) -> Recovered {
        self.start += 1;
        self.fetching = None;
        let mut taken = 0;
        let tail = self.entries.iter().rev().take_while(|entry| {
            let first = taken == 0;
            taken += entry.size_bytes();
            first || taken <= tail_bytes
        });
        let tail = self.entries[self.entries.len() - tail.count()..].to_vec();
        let mut ballots = Vec::new();
        let mut memberships = Vec::new();
        for entry in &self.entries {
            if ballots.last().is_none_or(|(_, ballot)| *ballot != entry.ballot()) {
                ballots.push((entry.index(), entry.ballot()));
            }
            if entry.kind == EntryKind::Membership {
                let members: Membership =
                    postcard::from_bytes(&entry.payload).expect("was checked");
                memberships.push((entry.index(), members));
            }
        }
        Recovered {
            identity: self.identity.clone(),
            start: self.start,
            founding: self.founding.clone(),
            pledge: self.pledge,
            snapshot: self.pointers.last().cloned(),
            log: RecoveredLog {
                base: self.base,
                base_digest: self.base_digest,
                ballots,
                memberships,
                tail,
                last: self.entries.last().map_or(self.base, |entry| entry.id),
                last_digest: self.entries.last().map_or(self.base_digest, Entry::digest),
            },
        }
    }

    /// Entries from `from` on; none if they are not here.
    pub(crate) fn read_entries(&self, from: Index, max_bytes: usize) -> Vec<Entry> {
        let Some(position) = from.0.checked_sub(self.base.index.0 + 1) else { return Vec::new() };
        let mut taken = 0;
        let fits = |entry: &&Entry| {
            let first = taken == 0;
            taken += entry.size_bytes();
            first || taken <= max_bytes
        };
        self.entries.iter().skip(position as usize).take_while(fits).cloned().collect()
    }

    /// Keeps a complete snapshot.
    pub(crate) fn keep_snapshot(&mut self, meta: &SnapshotMeta, content: Bytes) {
        self.snapshots.insert(meta.id(), content);
    }

    /// A snapshot's content.
    pub(crate) fn snapshot(&self, id: SnapshotId) -> Option<&Bytes> {
        self.snapshots.get(&id)
    }

    /// A piece of a snapshot's content.
    pub(crate) fn read_chunk(&self, id: SnapshotId, chunk: u64) -> Option<Bytes> {
        let content = self.snapshots.get(&id)?;
        let start = chunk.checked_mul(SnapshotMeta::CHUNK_BYTES)? as usize;
        let end = content.len().min(start + SnapshotMeta::CHUNK_BYTES as usize);
        (start < end).then(|| content.slice(start..end))
    }

    /// Prepares for the pieces of a snapshot, or goes on with it.
    pub(crate) fn begin_fetch(&mut self, meta: SnapshotMeta) -> FetchNext {
        if self.snapshots.contains_key(&meta.id()) {
            return FetchNext::Complete;
        }
        if self.fetching.as_ref().is_none_or(|(fetching, _)| fetching.id() != meta.id()) {
            self.fetching = Some((meta, Vec::new()));
        }
        self.next_chunk()
    }

    /// Keeps a piece of a snapshot that is being fetched.
    pub(crate) fn write_chunk(&mut self, id: SnapshotId, chunk: u64, bytes: &Bytes) -> FetchNext {
        match &mut self.fetching {
            Some((meta, content)) if meta.id() == id => {
                if content.len() as u64 == chunk * SnapshotMeta::CHUNK_BYTES {
                    content.extend_from_slice(bytes);
                }
                self.next_chunk()
            }
            _ => FetchNext::Failed,
        }
    }

    fn next_chunk(&mut self) -> FetchNext {
        let Some((meta, content)) = &self.fetching else { return FetchNext::Failed };
        if (content.len() as u64) < meta.size_bytes {
            return FetchNext::Chunk(content.len() as u64 / SnapshotMeta::CHUNK_BYTES);
        }
        let (meta, content) = self.fetching.take().expect("just seen");
        if Digest::of(&content) != meta.content {
            return FetchNext::Failed;
        }
        self.snapshots.insert(meta.id(), content.into());
        FetchNext::Complete
    }
}
