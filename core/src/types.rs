//! The numbers that consensus is about, each with a type of its own.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name(pub u64);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl From<u64> for $name {
            fn from(value: u64) -> Self {
                Self(value)
            }
        }
    };
}

number!(
    /// A replica's name, chosen by the operator and never reused for another machine.
    NodeId, "n"
);
number!(
    /// A position in the log. The first entry has index 1; 0 means "before the first".
    Index, "i"
);
number!(
    /// The number of a leader's reign: Raft's *term*, Viewstamped Replication's *view*.
    Ballot, "b"
);
number!(
    /// The number of a durable write. Writes complete in the order of their numbers.
    ///
    /// Durability is tracked by this number and never by position: an index can be written,
    /// cut off and written again while the first write is still on its way to the disk.
    WriteSeq, "w"
);
number!(
    /// Drawn at random when a data directory is created: tells a disk from its replacement.
    Incarnation, "x"
);
number!(
    /// A client's session: the index of the log entry that registered it.
    SessionId, "s"
);
number!(
    /// Time as the log tells it, in microseconds since the Unix epoch. Never goes back.
    LogTime, "t"
);

impl Index {
    /// The position before the first entry.
    pub const ZERO: Index = Index(0);

    /// The following position.
    #[must_use]
    pub fn next(self) -> Index {
        Index(self.0 + 1)
    }

    /// The position before this one; `ZERO` has none before it and stays `ZERO`.
    #[must_use]
    pub fn previous(self) -> Index {
        Index(self.0.saturating_sub(1))
    }
}

impl Ballot {
    /// The following ballot.
    #[must_use]
    pub fn next(self) -> Ballot {
        Ballot(self.0 + 1)
    }
}

impl WriteSeq {
    /// The following write.
    #[must_use]
    pub fn next(self) -> WriteSeq {
        WriteSeq(self.0 + 1)
    }
}

/// One start of a node's process. No two starts of a node are the same, whatever becomes of its
/// disk.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Start {
    /// How many times a process has opened the data directory, this one included. A disk that was
    /// put back to an earlier state, or replaced by an empty one, counts anew.
    pub count: u64,
    /// Drawn at random at each start: tells those apart which count the same.
    pub nonce: u64,
}

impl Start {
    pub(crate) const FIRST: Start = Start { count: 0, nonce: 0 };
    pub(crate) const LAST: Start = Start { count: u64::MAX, nonce: u64::MAX };
}

/// Names one request of one process of one node. Never used twice by a node. Those of one start
/// are in the order in which they were given.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId {
    /// The start of the process.
    pub start: Start,
    /// The number which the request has among those of that start.
    pub number: u64,
}

impl RequestId {
    /// The name before the first of this start.
    #[must_use]
    pub fn before_first(start: Start) -> RequestId {
        RequestId { start, number: 0 }
    }

    /// The following name.
    #[must_use]
    pub fn next(self) -> RequestId {
        RequestId { number: self.number + 1, ..self }
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RequestId { start: Start { count, nonce }, number } = self;
        write!(f, "r{number} of start {count} ({nonce:x})")
    }
}

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "start {} ({:x})", self.count, self.nonce)
    }
}

impl LogTime {
    /// This moment, `duration` later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> LogTime {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        LogTime(self.0.saturating_add(micros))
    }

    /// Time from `earlier` to this moment; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: LogTime) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Whole milliseconds since the Unix epoch.
    #[must_use]
    pub fn as_millis(self) -> u64 {
        self.0 / 1000
    }
}

/// An entry's name: where it stands, and in whose reign it was first proposed.
///
/// Ordered by ballot, then index: Raft's "at least as up-to-date" (Ongaro 2014, section 3.6.1).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogId {
    /// The ballot in which the entry was first proposed.
    pub ballot: Ballot,
    /// Where the entry stands.
    pub index: Index,
}

impl LogId {
    /// The name of what stands before every entry.
    pub const ZERO: LogId = LogId { ballot: Ballot(0), index: Index::ZERO };

    /// An entry's name.
    #[must_use]
    pub fn new(index: Index, ballot: Ballot) -> LogId {
        LogId { ballot, index }
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.ballot)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A 128-bit identity of bytes (XXH3). Tells apart what differs by accident; it does not
/// protect against somebody who forges bytes on purpose.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// The digest of nothing-before: the parent of the first entry of an unformed cluster.
    pub const ZERO: Digest = Digest([0; 16]);

    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(xxhash_rust::xxh3::xxh3_128(bytes).to_le_bytes())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{self}")
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What time it is, as told by the shell with each input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Now {
    /// Time since some fixed moment of this process; never goes back. Decides timeouts.
    pub monotonic: Duration,
    /// Time since the Unix epoch as the machine's clock says; may jump. Decides nothing but
    /// where log time heads.
    pub wall: Duration,
}
