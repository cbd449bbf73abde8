//! Small logs for the tests of the checks.

use bytes::Bytes;
use quorate_core::{
    Ballot, Digest, Entry, EntryKind, Index, LogId, LogTime, Proposal, Run, Write, WriteSeq,
};

use super::Mirror;
use super::commit::Commit;
use super::logs::Logs;

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
