//! A disk: what of a replica survives a crash.

use std::collections::BTreeMap;

use quorate_core::{
    Disk as Acquaintance, Entry, EntryKind, FoundingRecord, Identity, Incarnation, Lineage, LogId,
    LogTime, Membership, NodeId, Pledge, PledgeBytes, Recovered, RecoveredLog, Run, Start, Write,
    WriteSeq,
};
use quorate_sim::Simulated;
use quorate_sim::oracles::Mirror;

use crate::settled::Settled;

/// What is durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Disk {
    pledge: Option<PledgeBytes>,
    /// The pledge of a write that is not here otherwise.
    sworn: Option<(WriteSeq, PledgeBytes)>,
    entries: Vec<Entry>,
    peers: BTreeMap<NodeId, Acquaintance>,
    /// The starts of processes on it.
    lineage: Lineage,
    log: Mirror,
}

impl Disk {
    /// The disk of a member which has met all the others, and done nothing since.
    pub(crate) fn of_a_founder(node: NodeId, members: &Membership) -> Disk {
        let first = |incarnation| Acquaintance { incarnation, start: start_number(1) };
        let peers = members.peers_of(node).map(|id| (id, first(incarnation_of(id)))).collect();
        let (entries, log) = (Vec::new(), Mirror::default());
        Disk { pledge: None, sworn: None, entries, peers, lineage: Lineage::default(), log }
    }

    pub(crate) fn log(&self) -> &Mirror {
        &self.log
    }

    /// This write is durable.
    pub(crate) fn save(&mut self, seq: WriteSeq, write: &Write) {
        assert!(write.repairs.is_empty() && write.snapshot.is_none(), "nothing is damaged here");
        for run in &write.runs {
            let keep = usize::try_from(run.previous.index.0).unwrap_or(usize::MAX);
            self.entries.truncate(keep);
            self.entries.extend(run.entries.iter().cloned());
            self.log.change(run);
        }
        self.pledge = Some(write.pledge);
        self.sworn.take_if(|(sworn, _)| *sworn <= seq);
        if let Some(peers) = &write.peers {
            self.peers = peers.clone();
        }
    }

    /// The pledge of this write is durable, ahead of the write itself.
    pub(crate) fn swear(&mut self, seq: WriteSeq, write: &Write) {
        self.sworn = Some((seq, write.pledge));
    }

    /// The disk breaks its word: the last entry is gone.
    pub(crate) fn lose_last_entry(&mut self) {
        let Some(lost) = self.entries.pop() else { return };
        let previous = self.entries.last().map_or(LogId::ZERO, |entry| entry.id);
        let cut = Run { previous, previous_digest: lost.parent, entries: Vec::new() };
        self.log.change(&cut);
    }

    /// The number of the write whose pledge is ahead of the log.
    pub(crate) fn sworn(&self) -> Option<WriteSeq> {
        self.sworn.map(|(seq, _)| seq)
    }

    /// What has been promised: in the log, and ahead of it.
    pub(crate) fn pledges(&self) -> (Option<PledgeBytes>, Option<PledgeBytes>) {
        (self.pledge, self.sworn.map(|(_, pledge)| pledge))
    }

    /// What decides on which messages are moot. A promise ahead of the log is not counted.
    pub(crate) fn settled<P: Simulated>(&self) -> Settled<P> {
        let pledge = self.pledge.and_then(|bytes| P::Pledge::from_bytes(&bytes));
        Settled { pledge, peers: self.peers.clone(), starts: self.lineage.latest().count }
    }

    /// A process starts. Says what it finds.
    pub(crate) fn open(&mut self, node: NodeId, members: &Membership, protocol: &str) -> Recovered {
        let count = self.lineage.latest().count + 1;
        self.lineage.begin(start_number(count).nonce);
        // The numbers of writes begin anew.
        self.sworn = self.sworn.map(|(_, pledge)| (WriteSeq(0), pledge));
        let identity = Identity {
            node,
            cluster: String::new(),
            protocol: protocol.to_owned(),
            incarnation: incarnation_of(node),
        };
        let founding =
            FoundingRecord { list: Some(members.clone()), formed: true, ..Default::default() };
        let (pledge, sworn) = self.pledges();
        Recovered {
            identity,
            lineage: self.lineage.clone(),
            founding,
            pledge,
            sworn,
            mute: false,
            peers: self.peers.clone(),
            snapshot: None,
            log: self.recovered_log(members),
        }
    }

    fn recovered_log(&self, founders: &Membership) -> RecoveredLog {
        let mut ballots = Vec::new();
        let mut memberships = Vec::new();
        for entry in &self.entries {
            if ballots.last().is_none_or(|(_, ballot)| *ballot != entry.ballot()) {
                ballots.push((entry.index(), entry.ballot()));
            }
            if entry.kind == EntryKind::Membership {
                memberships.push((entry.index(), founders.clone()));
            }
        }
        let last = self.entries.last();
        RecoveredLog {
            base: LogId::ZERO,
            base_digest: founders.digest(),
            ballots,
            memberships,
            last: last.map_or(LogId::ZERO, |entry| entry.id),
            last_digest: last.map_or(founders.digest(), Entry::digest),
            last_time: last.map_or(LogTime(0), |entry| entry.time),
            tail: self.entries.clone(),
            gaps: Vec::new(),
            is_torn: false,
        }
    }
}

/// The incarnation of a node's disk.
pub(crate) fn incarnation_of(node: NodeId) -> Incarnation {
    Incarnation(100 + node.0)
}

/// A name for the start of that number: each node counts its own.
fn start_number(count: u64) -> Start {
    Start { count, nonce: count }
}
