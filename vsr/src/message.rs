//! What replicas say to each other.

use quorate_core::{Ballot, Digest, Entry, Index, LogId, SnapshotMeta};
use serde::{Deserialize, Serialize};

/// The messages of Viewstamped Replication, under the names of Liskov and Cowling (2012).
///
/// `view` is the view in which the sender is. What is of an earlier view than the receiver's is
/// ignored.
///
/// The encoding is golden: variants are only ever appended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Message {
    /// The primary's: new operations.
    Prepare(Stretch),
    /// A backup's: it is in this view, and this is how far its log is the primary's. Answers
    /// Prepare, StartView, NewState and Commit.
    PrepareOk {
        /// The backup's view.
        view: Ballot,
        /// The latest [`Stretch::probe`] which the backup has heard in this view.
        probe: u64,
        /// The backup's log is the primary's up to and including this index, on its disk. Zero
        /// as long as its log holds no entry of this view.
        op: Index,
    },
    /// The primary's, when it has nothing to prepare: it is alive, and has committed this far.
    Commit {
        /// The primary's view.
        view: Ballot,
        /// See [`Stretch::probe`].
        probe: u64,
        /// By now the receiver should hold everything up to this index.
        op: Index,
        /// How far the primary has committed.
        commit: Index,
    },
    /// I want to leave my view, or have just done so. It promises nothing. With `target` no later
    /// than `view` it is not even a wish, which is counted, but says only where the sender is.
    StartViewChange {
        /// The sender's view.
        view: Ballot,
        /// The latest view for which the sender would leave; it would for any one up to it.
        target: Ballot,
    },
    /// To the primary of a view that begins: I have left all earlier ones, and this is my log.
    DoViewChange(DoViewChange),
    /// The primary's: the view has begun. Carries the entry with which the primary opened it, and
    /// what follows that.
    StartView(Stretch),
    /// Send me what follows in your log. To the primary; from the primary of a view that begins,
    /// to the replica with the best log.
    GetState {
        /// The sender's view.
        view: Ballot,
        /// The last entry of the sender's log which may be in the receiver's.
        last: LogId,
    },
    /// The answer: what follows, from the last entry on which the two logs may agree.
    NewState(Stretch),
    /// The answer if what follows is compacted: here is a snapshot which the sender may fetch.
    /// The chunks travel outside of the protocol.
    Checkpoint {
        /// The sender's view.
        view: Ballot,
        /// The snapshot.
        snapshot: SnapshotMeta,
    },
    /// The answer if the best log cannot be shown as a whole: what follows is damaged on this
    /// disk.
    Missing {
        /// The sender's view.
        view: Ballot,
        /// The entry before the damage.
        previous: LogId,
        /// The name of the entry which cannot be shown.
        missing: LogId,
    },
    /// From the primary of a view that begins: who surely never had this entry?
    Sought {
        /// The view that begins.
        view: Ballot,
        /// The name of the entry.
        missing: LogId,
    },
    /// The sender has left all earlier views for this one, and its log does not hold the entry: it
    /// never acknowledged it, or the entry was found not to be committed; and it never will
    /// acknowledge it in an earlier view.
    Nack {
        /// The sender's view.
        view: Ballot,
        /// The name of the entry.
        missing: LogId,
    },
}

/// A stretch of the sender's log, possibly empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stretch {
    /// The sender's view.
    pub view: Ballot,
    /// Numbers the primary's rounds of asking "are you still in this view?", from 1 in each view.
    /// Echoed in the answer, so that the primary knows after which moment that was said. 0 from a
    /// sender that is not the primary.
    pub probe: u64,
    /// The entry before the first of `entries`.
    pub previous: LogId,
    /// How far the sender has committed.
    pub commit: Index,
    /// What follows `previous`.
    pub entries: Vec<Entry>,
}

/// What a replica reports to the primary of a view that begins.
///
/// The log need not be on disk, nor whole: what the sender has acknowledged is on its disk, and
/// only on that does anything rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DoViewChange {
    /// The view that begins.
    pub view: Ballot,
    /// The last entry of the sender's log. Its ballot is the paper's log_view.
    pub head: LogId,
    /// The digest of that entry, and so of the whole log.
    pub digest: Digest,
    /// How far the sender has committed.
    pub commit: Index,
}

impl Message {
    /// The view in which the sender is.
    pub(crate) fn view(&self) -> Ballot {
        match self {
            Message::Prepare(Stretch { view, .. })
            | Message::PrepareOk { view, .. }
            | Message::Commit { view, .. }
            | Message::StartViewChange { view, .. }
            | Message::DoViewChange(DoViewChange { view, .. })
            | Message::StartView(Stretch { view, .. })
            | Message::GetState { view, .. }
            | Message::NewState(Stretch { view, .. })
            | Message::Checkpoint { view, .. }
            | Message::Missing { view, .. }
            | Message::Sought { view, .. }
            | Message::Nack { view, .. } => *view,
        }
    }

    /// True of what is counted: acknowledgements, on which reads rest as well, votes, and nacks.
    pub(crate) fn vouches(&self) -> bool {
        match self {
            Message::StartViewChange { view, target } => target > view,
            Message::PrepareOk { .. } | Message::DoViewChange(_) | Message::Nack { .. } => true,
            Message::Prepare(_)
            | Message::Commit { .. }
            | Message::StartView(_)
            | Message::GetState { .. }
            | Message::NewState(_)
            | Message::Checkpoint { .. }
            | Message::Missing { .. }
            | Message::Sought { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate_core::{EntryKind, Incarnation, LogTime, Membership, NodeId, Proposal};

    use super::*;

    const LAST: LogId = LogId { ballot: Ballot(6), index: Index(300) };

    fn one_of_each() -> Vec<(Message, Vec<u8>)> {
        let view = Ballot(7);
        let proposal = Proposal {
            kind: EntryKind::Command,
            time: LogTime(5),
            checksum: Digest([2; 16]),
            payload: Bytes::from_static(b"hi"),
        };
        let stretch = Stretch {
            view,
            probe: 9,
            previous: LAST,
            commit: Index(4),
            entries: vec![Entry::new(LogId::new(Index(1), view), Digest([1; 16]), proposal)],
        };
        let entry: Vec<u8> = [&[7, 1, 1, 5], &[1; 16][..], &[2; 16], &[2, b'h', b'i']].concat();
        let bytes = |tag: u8| [&[tag, 7, 9, 6, 172, 2, 4, 1][..], &entry].concat();
        let snapshot = SnapshotMeta {
            last: LAST,
            digest: Digest([3; 16]),
            membership: Membership::new([(NodeId(1), Incarnation(8))]),
            time: LogTime(5),
            size_bytes: 1,
            content: Digest([4; 16]),
        };
        let meta: Vec<u8> = [&[6, 172, 2], &[3; 16][..], &[1, 1, 8, 5, 1], &[4; 16]].concat();
        let digest = Digest([3; 16]);
        let report = DoViewChange { view, head: LAST, digest, commit: Index(4) };
        let missing = LogId::new(Index(3), Ballot(2));
        vec![
            (Message::Prepare(stretch.clone()), bytes(0)),
            (Message::PrepareOk { view, probe: 9, op: Index(4) }, vec![1, 7, 9, 4]),
            (
                Message::Commit { view, probe: 9, op: Index(5), commit: Index(4) },
                vec![2, 7, 9, 5, 4],
            ),
            (Message::StartViewChange { view, target: Ballot(8) }, vec![3, 7, 8]),
            (Message::DoViewChange(report), [&[4, 7, 6, 172, 2], &[3; 16][..], &[4]].concat()),
            (Message::StartView(stretch.clone()), bytes(5)),
            (Message::GetState { view, last: LAST }, vec![6, 7, 6, 172, 2]),
            (Message::NewState(stretch), bytes(7)),
            (Message::Checkpoint { view, snapshot }, [&[8, 7][..], &meta].concat()),
            (Message::Missing { view, previous: LAST, missing }, vec![9, 7, 6, 172, 2, 2, 3]),
            (Message::Sought { view, missing }, vec![10, 7, 2, 3]),
            (Message::Nack { view, missing }, vec![11, 7, 2, 3]),
        ]
    }

    #[test]
    fn the_bytes_on_the_wire_are_golden() {
        for (message, golden) in one_of_each() {
            assert_eq!(postcard::to_allocvec(&message).unwrap(), golden, "{message:?}");
            assert_eq!(postcard::from_bytes::<Message>(&golden).unwrap(), message);
        }
    }

    #[test]
    fn acknowledgements_and_votes_vouch_and_the_rest_does_not() {
        let vouching: Vec<bool> = one_of_each().iter().map(|(m, _)| m.vouches()).collect();
        let counted = [1, 3, 4, 11];
        for (position, vouches) in vouching.into_iter().enumerate() {
            assert_eq!(vouches, counted.contains(&position), "message {position}");
        }
        let view = Ballot(7);
        assert!(!Message::StartViewChange { view, target: view }.vouches());
    }
}
