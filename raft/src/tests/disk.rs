//! What survives a crash of a node: writes that were completed.

use quorate_core::{
    Digest, Entry, EntryKind, Index, Log, LogId, LogTime, Membership, RecoveredLog, Run,
    SnapshotMeta,
};

use crate::Pledge;

#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    /// Of the last write.
    pledge: Option<Pledge>,
    /// Kept beside the log, since there was no room in it.
    sworn: Option<Pledge>,
    pub(super) snapshot: Option<SnapshotMeta>,
    base: LogId,
    base_digest: Digest,
    entries: Vec<Entry>,
}

impl Disk {
    pub(super) fn founded_by(founders: &Membership) -> Disk {
        Disk { base_digest: founders.digest(), ..Disk::default() }
    }

    pub(super) fn save(&mut self, runs: &[Run], pledge: Pledge, snapshot: Option<SnapshotMeta>) {
        for run in runs {
            if self.id_at(run.previous.index) == Some(run.previous) {
                let kept = usize::try_from(run.previous.index.0 - self.base.index.0).unwrap();
                self.entries.truncate(kept);
            } else {
                let last = snapshot.as_ref().map(|meta| meta.last);
                assert_eq!(last, Some(run.previous), "a log starts anew only behind a snapshot");
                self.base = run.previous;
                self.base_digest = run.previous_digest;
                self.entries.clear();
            }
            self.entries.extend(run.entries.iter().cloned());
        }
        self.pledge = Some(pledge);
        self.snapshot = snapshot;
    }

    /// Keeps a pledge without the write that carries it.
    pub(super) fn swear(&mut self, pledge: Pledge) {
        self.sworn = Some(pledge);
    }

    pub(super) fn pledge(&self) -> Option<Pledge> {
        let joined = self.sworn.map(|sworn| quorate_core::Pledge::joined(self.pledge, sworn));
        joined.or(self.pledge)
    }

    pub(super) fn compact(&mut self, to: &SnapshotMeta) {
        let gone = usize::try_from(to.last.index.0 - self.base.index.0).unwrap();
        self.entries.drain(..gone);
        self.base = to.last;
        self.base_digest = to.digest;
    }

    pub(super) fn id_at(&self, index: Index) -> Option<LogId> {
        if index == self.base.index {
            return Some(self.base);
        }
        let behind = index.0.checked_sub(self.base.index.0 + 1)?;
        self.entries.get(usize::try_from(behind).ok()?).map(|entry| entry.id)
    }

    /// True if the entry survives a crash here, in the log or in a snapshot.
    pub(super) fn holds(&self, id: LogId) -> bool {
        let covered = self.snapshot.as_ref().map_or(Index::ZERO, |meta| meta.last.index);
        id.index <= covered.max(self.base.index) || self.id_at(id.index) == Some(id)
    }

    pub(super) fn entry(&self, index: Index) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.index() == index)
    }

    pub(super) fn read(&self, from: Index, max_bytes: usize) -> Vec<Entry> {
        let mut bytes = 0;
        let wanted = self.entries.iter().skip_while(|entry| entry.index() < from);
        let fits = |entry: &&Entry| {
            let first = bytes == 0;
            bytes += entry.size_bytes();
            first || bytes <= max_bytes
        };
        let read: Vec<Entry> = wanted.take_while(fits).cloned().collect();
        if read.first().is_some_and(|entry| entry.index() == from) { read } else { Vec::new() }
    }

    pub(super) fn recover(&self, founders: &Membership, tail: usize) -> Log {
        let mut ballots = Vec::new();
        let mut memberships = Vec::new();
        for entry in &self.entries {
            if ballots.last().is_none_or(|(_, ballot)| *ballot != entry.ballot()) {
                ballots.push((entry.index(), entry.ballot()));
            }
            if entry.kind == EntryKind::Membership {
                let members = postcard::from_bytes(&entry.payload).unwrap();
                memberships = vec![(entry.index(), members)];
            }
        }
        let last = self.entries.last();
        let found = RecoveredLog {
            base: self.base,
            base_digest: self.base_digest,
            ballots,
            memberships,
            tail: self.entries[self.entries.len().saturating_sub(tail)..].to_vec(),
            last: last.map_or(self.base, |entry| entry.id),
            last_digest: last.map_or(self.base_digest, Entry::digest),
            last_time: last.map_or(LogTime(0), |entry| entry.time),
            gaps: Vec::new(),
            is_torn: false,
        };
        Log::recover(founders.clone(), self.snapshot.clone(), found)
    }
}
