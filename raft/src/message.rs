//! What servers say to each other.

use quorate_core::{Ballot, Entry, Index, LogId, SnapshotMeta};
use serde::{Deserialize, Serialize};

/// The messages of Raft, under the names of Ongaro's dissertation (2014).
///
/// `term` is the sender's current term, except in [`PreVote`](Message::PreVote). A receiver in an
/// earlier term moves on to it; a receiver in a later one answers a request with its own term and
/// ignores a reply.
///
/// The encoding is golden: variants are only ever appended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Message {
    /// Would you vote for me? Asked before a server raises its term, so that one which cannot
    /// win disturbs nobody (section 9.6).
    PreVote {
        /// The term in which the sender would campaign: one more than its own.
        term: Ballot,
        /// The last entry of the sender's log.
        last: LogId,
    },
    /// The answer. It promises nothing.
    PreVoteReply {
        /// The voter's own term: a candidate that lags behind catches up with it.
        term: Ballot,
        /// The term in which the candidate would campaign.
        asked: Ballot,
        /// Whether the voter would vote for it.
        granted: bool,
    },
    /// Vote for me (section 3.4).
    RequestVote {
        /// The candidate's term.
        term: Ballot,
        /// The last entry of the candidate's log.
        last: LogId,
        /// True if the leader itself asked for the election: then it is no reason to refuse that
        /// the leader is alive (section 4.2.3).
        transfer: bool,
    },
    /// The answer. A granted vote is on the voter's disk.
    RequestVoteReply {
        /// The voter's term.
        term: Ballot,
        /// Whether the candidate has its vote in this term.
        granted: bool,
    },
    /// A leader's entries and its heartbeat (section 3.5).
    AppendEntries(AppendEntries),
    /// The answer.
    AppendEntriesReply(AppendEntriesReply),
    /// What the follower needs is compacted: here is a snapshot which it may fetch. Repeated
    /// until the follower has it (chapter 5; the chunks travel outside of the protocol).
    InstallSnapshot {
        /// The leader's term.
        term: Ballot,
        /// See [`AppendEntries::probe`].
        probe: u64,
        /// The snapshot.
        snapshot: SnapshotMeta,
    },
    /// The answer: at once that the offer was heard, and later that the snapshot is in place.
    InstallSnapshotReply {
        /// The follower's term.
        term: Ballot,
        /// The probe being answered.
        probe: u64,
        /// The follower's log agrees with the leader's up to here, on its disk. `None` as long
        /// as the snapshot is being fetched or saved.
        durable: Option<Index>,
    },
    /// Campaign at once: the leader hands over (section 3.10).
    TimeoutNow {
        /// The leader's term.
        term: Ballot,
    },
}

/// The probe of a reply that answers none: the follower does not vouch for what it says.
pub(crate) const MUTE: u64 = 0;

impl AppendEntriesReply {
    /// True if nothing follows from this reply but what to send next.
    pub(crate) fn is_mute(&self) -> bool {
        let tells_position = match self.outcome {
            Appended::Held(_) | Appended::Conflict { .. } | Appended::NoRoom { .. } => true,
            Appended::Durable(_) | Appended::Refused => false,
        };
        tells_position && self.probe == MUTE
    }
}

/// A leader's entries, possibly none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AppendEntries {
    /// The leader's term.
    pub term: Ballot,
    /// Numbers the leader's rounds of asking "do you still follow me?", from 1 in each term.
    /// Echoed in the answer, so that the leader knows after which moment that was said.
    pub probe: u64,
    /// The entry before the first of `entries`.
    pub previous: LogId,
    /// How far the leader has committed.
    pub commit: Index,
    /// What follows `previous`.
    pub entries: Vec<Entry>,
}

/// What became of an [`AppendEntries`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AppendEntriesReply {
    /// The follower's term.
    pub term: Ballot,
    /// The probe being answered; 0 if it was of an earlier term, or from a follower that is mute.
    pub probe: u64,
    /// What became of the entries.
    pub outcome: Appended,
}

/// What became of an [`AppendEntries`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Appended {
    /// The follower's log agrees with the leader's up to and including this index, on its disk.
    /// The only answer that counts towards commitment.
    Durable(Index),
    /// The same, but not on disk yet: a slow disk does not look like a lost message. From a mute
    /// follower, what would be durable if its word counted.
    Held(Index),
    /// The follower does not hold `previous`.
    Conflict {
        /// The index of the `previous` that is missing.
        previous: Index,
        /// The last entry of the follower's log which may be in the leader's: not behind
        /// `previous`, and not of a later term. So each exchange skips a whole term at least
        /// (section 3.5, "the follower can include the term of the conflicting entry").
        hint: LogId,
    },
    /// The message was of an earlier term: `term` is all that the answer tells.
    Refused,
    /// The follower holds `previous`, but its disk has no room for the entries.
    NoRoom {
        /// The index of that `previous`.
        previous: Index,
    },
}

impl Message {
    /// The term which the sender is in; `None` of a PreVote, whose sender is only asking.
    pub(crate) fn term(&self) -> Option<Ballot> {
        match self {
            Message::PreVote { .. } => None,
            Message::PreVoteReply { term, .. }
            | Message::RequestVote { term, .. }
            | Message::RequestVoteReply { term, .. }
            | Message::AppendEntries(AppendEntries { term, .. })
            | Message::AppendEntriesReply(AppendEntriesReply { term, .. })
            | Message::InstallSnapshot { term, .. }
            | Message::InstallSnapshotReply { term, .. }
            | Message::TimeoutNow { term } => Some(*term),
        }
    }

    /// True of replies which count: a vote, an acknowledgement, or a "yes, I follow you", on
    /// which a linearizable read rests. A follower that is mute only says where its log stands, so
    /// that it can be brought up to date.
    pub(crate) fn vouches(&self) -> bool {
        match self {
            Message::PreVoteReply { .. }
            | Message::RequestVoteReply { .. }
            | Message::InstallSnapshotReply { .. } => true,
            // Who refuses only says which term it is in.
            Message::AppendEntriesReply(reply) => {
                !reply.is_mute() && reply.outcome != Appended::Refused
            }
            Message::PreVote { .. }
            | Message::RequestVote { .. }
            | Message::AppendEntries(_)
            | Message::InstallSnapshot { .. }
            | Message::TimeoutNow { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate_core::{Digest, EntryKind, Incarnation, LogTime, Membership, NodeId, Proposal};

    use super::*;

    const LAST: LogId = LogId { ballot: Ballot(6), index: Index(300) };

    fn one_of_each() -> Vec<(Message, Vec<u8>)> {
        let term = Ballot(7);
        let proposal = Proposal {
            kind: EntryKind::Command,
            time: LogTime(5),
            checksum: Digest([2; 16]),
            payload: Bytes::from_static(b"hi"),
        };
        let append = AppendEntries {
            term,
            probe: 9,
            previous: LAST,
            commit: Index(4),
            entries: vec![Entry::new(LogId::new(Index(1), term), Digest([1; 16]), proposal)],
        };
        let entry: Vec<u8> = [&[7, 1, 1, 5], &[1; 16][..], &[2; 16], &[2, b'h', b'i']].concat();
        let snapshot = SnapshotMeta {
            last: LAST,
            digest: Digest([3; 16]),
            membership: Membership::new([(NodeId(1), Incarnation(8))]),
            time: LogTime(5),
            size_bytes: 1,
            content: Digest([4; 16]),
        };
        let meta: Vec<u8> = [&[6, 172, 2], &[3; 16][..], &[1, 1, 8, 5, 1], &[4; 16]].concat();
        let reply =
            |outcome| Message::AppendEntriesReply(AppendEntriesReply { term, probe: 9, outcome });
        let conflict = Appended::Conflict { previous: Index(4), hint: LAST };
        vec![
            (Message::PreVote { term, last: LAST }, vec![0, 7, 6, 172, 2]),
            (Message::PreVoteReply { term, asked: Ballot(8), granted: true }, vec![1, 7, 8, 1]),
            (Message::RequestVote { term, last: LAST, transfer: true }, vec![2, 7, 6, 172, 2, 1]),
            (Message::RequestVoteReply { term, granted: true }, vec![3, 7, 1]),
            (Message::AppendEntries(append), [&[4, 7, 9, 6, 172, 2, 4, 1][..], &entry].concat()),
            (reply(Appended::Durable(Index(4))), vec![5, 7, 9, 0, 4]),
            (reply(Appended::Held(Index(4))), vec![5, 7, 9, 1, 4]),
            (reply(conflict), vec![5, 7, 9, 2, 4, 6, 172, 2]),
            (reply(Appended::Refused), vec![5, 7, 9, 3]),
            (reply(Appended::NoRoom { previous: Index(4) }), vec![5, 7, 9, 4, 4]),
            (
                Message::InstallSnapshot { term, probe: 9, snapshot },
                [&[6, 7, 9][..], &meta].concat(),
            ),
            (
                Message::InstallSnapshotReply { term, probe: 9, durable: Some(Index(4)) },
                vec![7, 7, 9, 1, 4],
            ),
            (Message::TimeoutNow { term }, vec![8, 7]),
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
    fn replies_vouch_unless_they_are_mute_or_refuse_and_requests_do_not() {
        let vouching: Vec<bool> = one_of_each().iter().map(|(m, _)| m.vouches()).collect();
        let counted = [1, 3, 5, 6, 7, 9, 11];
        for (position, vouches) in vouching.into_iter().enumerate() {
            assert_eq!(vouches, counted.contains(&position), "message {position}");
        }
        let mute =
            AppendEntriesReply { term: Ballot(7), probe: MUTE, outcome: Appended::Held(Index(4)) };
        assert!(!Message::AppendEntriesReply(mute).vouches());
        let durable = AppendEntriesReply { outcome: Appended::Durable(Index(4)), ..mute };
        assert!(Message::AppendEntriesReply(durable).vouches());
    }
}
