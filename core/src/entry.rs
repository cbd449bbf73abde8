//! One entry of the log.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::types::{Ballot, Digest, Index, LogId, LogTime};

/// What an entry's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum EntryKind {
    /// Nothing. A new leader appends one to commit what earlier ballots left.
    Noop = 0,
    /// A command for the user's state machine: a [`Command`](crate::Command).
    Command = 1,
    /// Registers a client's session: a [`Register`](crate::Register).
    Register = 2,
    /// The members from here on: a [`Membership`](crate::Membership).
    Membership = 3,
    /// Nothing but its timestamp: log time moves on although nobody writes.
    Time = 4,
}

impl EntryKind {
    /// The kind with this number on disk and on the wire; `None` for a number of the future.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<EntryKind> {
        Some(match number {
            0 => EntryKind::Noop,
            1 => EntryKind::Command,
            2 => EntryKind::Register,
            3 => EntryKind::Membership,
            4 => EntryKind::Time,
            _ => return None,
        })
    }
}

/// What a leader is asked to put into the log. It adds the position, the ballot and the parent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proposal {
    /// What the payload is.
    pub kind: EntryKind,
    /// The leader's log time at the moment of proposing.
    pub time: LogTime,
    /// Digest of the payload: computed once, here, and checked wherever the payload is read.
    pub checksum: Digest,
    /// Opaque bytes. No protocol looks inside.
    pub payload: Bytes,
}

impl Proposal {
    /// A proposal with the payload's digest computed.
    #[must_use]
    pub fn new(kind: EntryKind, time: LogTime, payload: Bytes) -> Proposal {
        Proposal { kind, time, checksum: Digest::of(&payload), payload }
    }
}

/// One entry of the log.
///
/// Entries form a hash chain: [`Entry::digest`] covers everything in the entry, `parent` is the
/// digest of the entry before. Two logs which hold the same digest at an index are therefore the
/// same up to there (the Log Matching property, Ongaro 2014, section 3.5, as something that can
/// be checked).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// Position and ballot of origin.
    pub id: LogId,
    /// What the payload is.
    pub kind: EntryKind,
    /// Log time: when its leader proposed it. Never decreases along the log.
    pub time: LogTime,
    /// Digest of the entry before this one.
    pub parent: Digest,
    /// Digest of the payload.
    pub checksum: Digest,
    /// Opaque bytes; a reference-counted handle, cheap to clone.
    pub payload: Bytes,
}

impl Entry {
    /// What an entry costs in memory, in windows and on the wire beyond its payload, in bytes.
    pub const OVERHEAD: usize = 64;

    /// The entry that puts `proposal` at a position.
    #[must_use]
    pub fn new(id: LogId, parent: Digest, proposal: Proposal) -> Entry {
        let Proposal { kind, time, checksum, payload } = proposal;
        Entry { id, kind, time, parent, checksum, payload }
    }

    /// The position.
    #[must_use]
    pub fn index(&self) -> Index {
        self.id.index
    }

    /// The ballot in which the entry was first proposed.
    #[must_use]
    pub fn ballot(&self) -> Ballot {
        self.id.ballot
    }

    /// The identity of this entry and of everything before it. Covers the payload through its
    /// checksum, so it can be computed where the payload is damaged but the header is not.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Entry::digest_of(self.id, self.kind, self.time, self.parent, self.checksum)
    }

    /// [`Entry::digest`] from an entry's header alone.
    #[must_use]
    pub fn digest_of(
        id: LogId,
        kind: EntryKind,
        time: LogTime,
        parent: Digest,
        checksum: Digest,
    ) -> Digest {
        let mut header = [0; 57];
        header[0..8].copy_from_slice(&id.index.0.to_le_bytes());
        header[8..16].copy_from_slice(&id.ballot.0.to_le_bytes());
        header[16] = kind as u8;
        header[17..25].copy_from_slice(&time.0.to_le_bytes());
        header[25..41].copy_from_slice(&parent.0);
        header[41..57].copy_from_slice(&checksum.0);
        Digest::of(&header)
    }

    /// True if the payload is the one which was proposed.
    #[must_use]
    pub fn payload_is_intact(&self) -> bool {
        Digest::of(&self.payload) == self.checksum
    }

    /// What the entry counts for in byte-bounded windows.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        Entry::OVERHEAD + self.payload.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_covers_every_field() {
        let proposal = Proposal::new(EntryKind::Command, LogTime(7), Bytes::from_static(b"x"));
        let entry = Entry::new(LogId::new(Index(3), Ballot(2)), Digest([1; 16]), proposal);
        let mut others = vec![entry.clone(); 6];
        others[0].id.index = Index(4);
        others[1].id.ballot = Ballot(3);
        others[2].kind = EntryKind::Noop;
        others[3].time = LogTime(8);
        others[4].parent = Digest([2; 16]);
        others[5].checksum = Digest([3; 16]);
        for other in others {
            assert_ne!(entry.digest(), other.digest(), "{other:?}");
        }
    }

    #[test]
    fn kinds_keep_their_numbers() {
        for number in 0..=4 {
            assert_eq!(EntryKind::from_u8(number).map(|kind| kind as u8), Some(number));
        }
        assert_eq!(EntryKind::from_u8(5), None);
    }
}
