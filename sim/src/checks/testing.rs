//! Small logs, and a small machine, for the tests of the checks.

use std::sync::Arc;

use bytes::Bytes;
use quorate_core::{
    At, Ballot, Digest, Entry, EntryKind, FoundingRecord, Identity, Incarnation, Index, Lineage,
    LogId, LogTime, NodeId, Origin, Proposal, Recovered, RecoveredLog, RequestId, Run,
    StateMachine, Write, WriteSeq,
};
use serde::{Deserialize, Serialize};

use super::Mirror;
use super::answers;
use super::commit::Commit;
use super::execution::Execution;
use super::fresh_machines::FreshMachines;
use super::logs::Logs;
use super::state_machine_safety::Effect;
use crate::clients::OpId;
use crate::value::Value;
use crate::witness::Change;
use crate::workload::{Draw, Workload};

/// A machine which holds what was put there last, and says what that replaces.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Held(u64);

impl StateMachine for Held {
    type Command = u64;
    type Response = u64;
    type Query = ();
    type Answer = u64;

    fn apply(&mut self, _: &At, put: u64) -> u64 {
        std::mem::replace(&mut self.0, put)
    }

    fn query(&self, _: &At, (): ()) -> u64 {
        self.0
    }
}

pub(super) struct Shelf;

impl Workload for Shelf {
    type Machine = Held;

    fn machine(&self) -> Held {
        Held::default()
    }

    fn command(&self, draw: &mut Draw<'_>) -> u64 {
        draw.number
    }

    fn query(&self, _: &mut Draw<'_>) {}
}

/// What request `op` does to a [`Held`] machine at `index`, if request `op - 1` was the one before; 7 is
/// the first.
pub(super) fn effect(index: u64, op: u64) -> Effect {
    let response = Some(Value::of(&if op == 7 { 0 } else { op - 1 }));
    let change = Change { index: Index(index), time: LogTime(0), seed: 0, response };
    Effect { change, op: OpId(op), body: Value::of(&op).bytes().clone() }
}

/// The digest of the entry at `index` of a log whose entries are all of `ballot`.
pub(super) fn digest(index: u64, ballot: u64) -> Digest {
    if index == 0 { Digest::ZERO } else { entry(index, ballot).digest() }
}

/// The entry at `index` of a log whose entries are all of `ballot`.
pub(super) fn entry(index: u64, ballot: u64) -> Entry {
    build(index, ballot, digest(index - 1, ballot))
}

fn build(index: u64, ballot: u64, parent: Digest) -> Entry {
    let proposal = Proposal::new(EntryKind::Noop, LogTime(0), Bytes::new());
    Entry::new(LogId::new(Index(index), Ballot(ballot)), parent, proposal)
}

/// What follows the entry at `previous`, by ballots.
pub(super) fn run(previous: u64, ballot: u64, previous_digest: Digest, ballots: &[u64]) -> Run {
    let mut parent = previous_digest;
    let mut entries = Vec::new();
    for (index, ballot) in (previous + 1..).zip(ballots) {
        let entry = build(index, *ballot, parent);
        parent = entry.digest();
        entries.push(entry);
    }
    Run { previous: LogId::new(Index(previous), Ballot(ballot)), previous_digest, entries }
}

pub(super) fn write(runs: Vec<Run>) -> Write {
    Write {
        runs,
        repairs: Vec::new(),
        pledge: [0; 64],
        promise: false,
        snapshot: None,
        founding: None,
        mute: false,
        peers: None,
    }
}

/// Logs with entries of these ballots, all of them on disk.
pub(super) fn logs(ballots: &[&[u64]]) -> Logs {
    let mut logs = Logs::new(ballots.len());
    for (node, ballots) in ballots.iter().enumerate() {
        logs.write(node, WriteSeq(1), &write(vec![run(0, 0, Digest::ZERO, ballots)]));
        logs.synced(node, WriteSeq(1));
    }
    logs
}

pub(super) fn mirror(ballots: &[u64]) -> Mirror {
    logs(&[ballots]).held.remove(0)
}

/// The logs, and all of the first of them committed in `ballot`.
pub(super) fn committed_on(ballots: &[&[u64]], ballot: Ballot) -> (Commit, Logs) {
    let logs = logs(ballots);
    let mut commit = Commit::default();
    let last = logs.held[0].last();
    commit.extend(0, ballot, last, &logs.held[0]).expect("the first log holds it");
    (commit, logs)
}

/// What is found on a disk that holds so many entries of ballot 1, and nothing else.
pub(super) fn found(last: u64) -> Recovered {
    let tail: Vec<_> = (1..=last).map(|index| entry(index, 1)).collect();
    Recovered {
        identity: Identity {
            node: NodeId(1),
            cluster: String::new(),
            protocol: String::new(),
            incarnation: Incarnation(1),
        },
        lineage: Lineage::default(),
        founding: FoundingRecord::default(),
        pledge: None,
        sworn: None,
        mute: false,
        peers: Default::default(),
        snapshot: None,
        log: RecoveredLog {
            last: tail.last().map_or(LogId::ZERO, |entry| entry.id),
            last_digest: digest(last, 1),
            ballots: vec![(Index(1), Ballot(1))],
            tail,
            ..RecoveredLog::default()
        },
    }
}

/// A disk to which three writes of an entry each went, of which the first was synced.
pub(super) fn after_three_writes() -> Logs {
    let mut logs = Logs::new(1);
    for index in 1..=3 {
        let previous = index - 1;
        let ballot = u64::from(previous > 0);
        let run = run(previous, ballot, digest(previous, 1), &[1]);
        logs.write(0, WriteSeq(index), &write(vec![run]));
    }
    logs.synced(0, WriteSeq(1));
    logs
}

/// Request number so many of the first process of a node.
pub(super) fn origin(number: u64) -> Origin {
    Origin { node: NodeId(1), request: RequestId { number, ..RequestId::default() } }
}

/// Three entries are committed, the last made by a clock that is behind; the only replica has
/// executed two.
pub(super) fn two_of_three() -> Execution {
    let mut check = Execution::new(1);
    for (index, time) in [(1, 400), (2, 500), (3, 300)] {
        check.committed(entry(index, 1).digest(), LogTime(time));
    }
    check.executes(0, &entry(1, 1)).unwrap();
    check.executes(0, &entry(2, 1)).unwrap();
    check
}

/// Two replicas; requests 7 and 8 happened on the first.
pub(super) fn two_effects() -> (FreshMachines, Vec<Effect>) {
    let mut fresh = FreshMachines::new(Arc::new(Shelf), 2);
    let effects = vec![effect(1, 7), effect(2, 8)];
    answers::happened(&mut fresh, 0, &effects[..1]).unwrap();
    answers::happened(&mut fresh, 0, &effects).unwrap();
    (fresh, effects)
}
