//! How a replica gets what its log lacks: it asks, and is sent what follows.

use quorate_core::{Entry, Index, Log, LogId, NodeId};

use crate::message::{Message, Stretch};
use crate::server::{Context, Server};

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
    /// The names are lost of what stands where the two may part.
    Nameless,
}

/// What follows in `log`, for a replica whose log ends with `last`.
pub(crate) fn look_up(log: &Log, last: LogId, max_bytes: usize) -> Found {
    let Some(previous) = log.last_common_with(last) else {
        let parts_behind_base = last.index > log.base().index && last >= log.base();
        return if parts_behind_base { Found::Nameless } else { Found::Compacted };
    };
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
    log.last_common_with(unknown).unwrap_or(committed).max(committed)
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

#[cfg(test)]
mod tests {
    use quorate_core::{
        Ballot, Digest, EntryKind, Gap, Incarnation, LogTime, Membership, Proposal, RecoveredLog,
    };

    use super::*;

    /// A log of four entries of view 1, as found on a disk which lost the second and third with
    /// their names.
    fn nameless() -> Log {
        let members = Membership::new((1..=3).map(|id| (NodeId(id), Incarnation(id))));
        let mut whole = Log::founded_by(members.clone());
        for _ in 0..4 {
            whole
                .append(Ballot(1), Proposal::new(EntryKind::Noop, LogTime(0), bytes::Bytes::new()));
        }
        let entries = whole.entries(Index(1), usize::MAX).unwrap();
        let digest = |index: usize| entries[index - 1].digest();
        let gap = Gap {
            first: Index(2),
            last: Index(3),
            digest: digest(3),
            before: digest(1),
            ids_known: false,
        };
        let found = RecoveredLog {
            base: LogId::ZERO,
            base_digest: members.digest(),
            ballots: vec![(Index(1), Ballot(1))],
            memberships: Vec::new(),
            tail: vec![entries[3].clone()],
            last: whole.last(),
            last_digest: whole.last_digest(),
            last_time: whole.last_time(),
            gaps: vec![gap],
            is_torn: false,
        };
        Log::recover(members, None, found)
    }

    #[test]
    fn a_log_whose_names_are_lost_has_nothing_to_show_and_says_so() {
        let log = nameless();
        assert!(log.snapshot().is_none(), "nothing is compacted");
        let at = |index| LogId::new(Index(index), Ballot(1));
        for index in [2, 3] {
            assert_eq!(look_up(&log, at(index), 1000), Found::Nameless);
        }
        assert_eq!(look_up(&log, at(1), 1000), Found::Damaged { previous: at(1), missing: None });
        let Found::Entries { previous, entries } = look_up(&log, at(4), 1000) else { panic!() };
        assert_eq!((previous, entries.len()), (at(4), 0));
        assert_ne!(log.last_digest(), Digest::ZERO);
    }
}
