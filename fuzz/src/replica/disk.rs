//! What of a replica survives a crash.

use std::collections::BTreeMap;

use quorate_core::{
    Digest, Entry, EntryKind, FoundingRecord, Identity, Incarnation, Index, Lineage, LogId,
    LogTime, Membership, NodeId, PledgeBytes, Recovered, RecoveredLog, SnapshotMeta, Write,
};

use super::{ME, incarnation, membership};

#[derive(Clone)]
pub(super) struct Disk {
    base: LogId,
    base_digest: Digest,
    entries: Vec<Entry>,
    pledge: Option<PledgeBytes>,
    sworn: Option<PledgeBytes>,
    founding: FoundingRecord,
    mute: bool,
    peers: BTreeMap<NodeId, quorate_core::Disk>,
    pub(super) snapshot: Option<SnapshotMeta>,
    lineage: Lineage,
}

impl Disk {
    pub(super) fn new(founded: bool) -> Disk {
        let list = founded.then(membership);
        Disk {
            base: LogId::ZERO,
            base_digest: membership().digest(),
            entries: Vec::new(),
            pledge: None,
            sworn: None,
            founding: FoundingRecord { round: 0, list, formed: founded },
            mute: false,
            peers: BTreeMap::new(),
            snapshot: None,
            lineage: Lineage::default(),
        }
    }

    pub(super) fn save(&mut self, write: &Write) {
        let snapshot = write.snapshot.as_ref();
        for run in &write.runs {
            let previous = run.previous;
            let kept = previous.index.0.checked_sub(self.base.index.0);
            let is_held = self.digest(previous.index) == Some(run.previous_digest)
                || previous == LogId::ZERO && self.base == LogId::ZERO;
            match kept {
                Some(kept) if is_held => self.entries.truncate(kept as usize),
                _ => {
                    assert!(
                        snapshot.is_some_and(|snapshot| snapshot.last == previous),
                        "a write that does not fit: behind {previous}"
                    );
                    (self.base, self.base_digest) = (previous, run.previous_digest);
                    self.entries.clear();
                }
            }
            for entry in &run.entries {
                let last = self.entries.last().map_or(self.base, |entry| entry.id);
                assert_eq!(entry.index(), last.index.next(), "entries are left out");
                self.entries.push(entry.clone());
            }
        }
        self.pledge = Some(write.pledge);
        self.sworn = None;
        self.snapshot = write.snapshot.clone();
        self.mute = write.mute;
        if let Some(founding) = &write.founding {
            self.founding = founding.clone();
        }
        if let Some(peers) = &write.peers {
            self.peers = peers.clone();
        }
    }

    /// The pledge of this write is durable, ahead of the write itself.
    pub(super) fn swear(&mut self, write: &Write) {
        self.sworn = Some(write.pledge);
    }

    pub(super) fn first(&self) -> Option<u64> {
        self.entries.first().map(|entry| entry.index().0)
    }

    pub(super) fn last_index(&self) -> Option<u64> {
        self.entries.last().map(|entry| entry.index().0)
    }

    pub(super) fn entry(&self, index: Index) -> Option<&Entry> {
        let position = index.0.checked_sub(self.base.index.0 + 1)?;
        self.entries.get(usize::try_from(position).ok()?)
    }

    pub(super) fn digest(&self, index: Index) -> Option<Digest> {
        if index == self.base.index {
            return Some(self.base_digest);
        }
        self.entry(index).map(Entry::digest)
    }

    pub(super) fn id(&self, index: Index) -> Option<LogId> {
        if index == self.base.index {
            return Some(self.base);
        }
        self.entry(index).map(|entry| entry.id)
    }

    pub(super) fn last(&self) -> LogId {
        self.entries.last().map_or(self.base, |entry| entry.id)
    }

    pub(super) fn entries_from(&self, from: Index, max_bytes: usize) -> Vec<Entry> {
        let (mut read, mut bytes) = (Vec::new(), 0);
        let mut at = from;
        while let Some(entry) = self.entry(at)
            && (read.is_empty() || bytes < max_bytes)
        {
            bytes += entry.size_bytes();
            read.push(entry.clone());
            at = at.next();
        }
        read
    }

    /// A process starts. What it finds.
    pub(super) fn open(&mut self, protocol: &str) -> Recovered {
        self.lineage.begin(self.lineage.latest().count + 1);
        let mut ballots = Vec::new();
        let mut memberships = Vec::new();
        for entry in &self.entries {
            if ballots.last().is_none_or(|(_, ballot)| *ballot != entry.ballot()) {
                ballots.push((entry.index(), entry.ballot()));
            }
            if entry.kind == EntryKind::Membership
                && let Ok(found) = postcard::from_bytes::<Membership>(&entry.payload)
            {
                memberships.push((entry.index(), found));
            }
        }
        let last = self.entries.last();
        let log = RecoveredLog {
            base: self.base,
            base_digest: self.base_digest,
            ballots,
            memberships,
            tail: self.entries.clone(),
            last: self.last(),
            last_digest: last.map_or(self.base_digest, Entry::digest),
            last_time: last.map_or(LogTime(0), |entry| entry.time),
            gaps: Vec::new(),
            is_torn: false,
        };
        let identity = Identity {
            node: ME,
            cluster: String::new(),
            protocol: protocol.to_owned(),
            incarnation: Incarnation(incarnation(ME.0).0),
        };
        Recovered {
            identity,
            lineage: self.lineage.clone(),
            founding: self.founding.clone(),
            pledge: self.pledge,
            sworn: self.sworn,
            mute: self.mute,
            peers: self.peers.clone(),
            snapshot: self.snapshot.clone(),
            log,
        }
    }
}
