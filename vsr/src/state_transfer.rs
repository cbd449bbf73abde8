//! How a replica gets what its log lacks: it asks, and is sent what follows.

use quorate_core::{Entry, Index, Log, LogId, NodeId, SnapshotMeta};

use crate::message::{Message, Stretch};
use crate::server::{Context, Server};

/// No log gets there: one entry in each nanosecond would take 292 years.
pub(crate) const ABSURD_INDEX: Index = Index(1 << 63);

/// For how many heartbeats an answer is waited for.
pub(crate) const PATIENCE: u32 = 3;

/// After how many heartbeats a replica whose disk was full asks again.
pub(crate) const REST: u32 = 10;

/// What a replica finds in its log for one whose log ends differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// These entries follow the last one on which the two may agree.
    Entries { previous: LogId, entries: Vec<Entry> },
    /// They are on disk only, from this index on.
    Cold(Index),
    /// They are compacted.
    Compacted,
    /// The first of them is damaged on this disk; `missing` is its name, if that is known.
    Damaged { previous: LogId, missing: Option<LogId> },
}

/// What follows in `log`, for a replica whose log ends with `last`.
pub(crate) fn look_up(log: &Log, last: LogId, max_bytes: usize) -> Found {
    let Some(previous) = log.last_common_with(last) else { return Found::Compacted };
    let from = previous.index.next();
    if log.is_missing(from) {
        return Found::Damaged { previous, missing: log.id_at(from) };
    }
    match log.entries(from, max_bytes) {
        Some(entries) => Found::Entries { previous, entries },
        None => Found::Cold(from),
    }
}

/// From where to ask on, if `unknown` is not held: what is committed is in every log.
pub(crate) fn fall_back(log: &Log, unknown: LogId) -> LogId {
    let committed = log.id_at(log.committed()).unwrap_or(log.base());
    let common = log.last_common_with(unknown);
    common.filter(|common| common.index > committed.index).unwrap_or(committed)
}

/// Entries that were read from disk, as a stretch of the log; `None` if they are not in it any
/// more, or never were.
pub(crate) fn stretch_of(log: &Log, entries: &[Entry]) -> Option<LogId> {
    let first = entries.first()?.index();
    let indexes = std::iter::successors(Some(first), |index| Some(index.next()));
    let held = |(entry, index): (&Entry, Index)| entry.index() == index && log.holds(entry.id);
    // Of what is compacted the log cannot tell: so the one before has to be there.
    let previous = log.id_at(first.previous())?;
    entries.iter().zip(indexes).all(held).then_some(previous)
}

/// Sends `entries`, which follow `previous`, in answer to GetState.
pub(crate) fn send_new_state(
    server: &Server,
    cx: &mut Context<'_>,
    to: NodeId,
    probe: u64,
    previous: LogId,
    entries: Vec<Entry>,
) {
    let (view, commit) = (server.view, cx.log.committed());
    cx.out.send(to, Message::NewState(Stretch { view, probe, previous, commit, entries }));
}

/// True of a snapshot that no correct primary offers: of nobody, or of something else than is
/// committed here.
pub(crate) fn is_impossible(log: &Log, snapshot: &SnapshotMeta) -> bool {
    let contradicts = snapshot.last.index <= log.committed() && !log.holds(snapshot.last);
    contradicts || snapshot.last.index >= ABSURD_INDEX || snapshot.membership.is_empty()
}
