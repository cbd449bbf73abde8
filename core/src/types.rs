//! The numbers that consensus is about, each with a type of its own.

use std::fmt;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        number!($(#[$doc])* $name, $prefix, u64::MAX);
    };
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub struct $name(pub u64);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let number = u64::deserialize(from)?;
                let is_possible = number <= $max;
                is_possible.then_some($name(number)).ok_or_else(|| D::Error::custom(ABSURD))
            }
        }

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

/// No log and no cluster gets there. Whoever speaks of a higher one is not understood: so what is
/// counted up from a number that somebody else has said does not overflow.
const HIGHEST: u64 = 1 << 62;
const ABSURD: &str = "a number that is never reached";

number!(
    /// A replica's name, chosen by the operator: its machine or disk may be replaced, the name stays.
    NodeId, "n"
);
number!(
    /// A position in the log. The first entry has index 1; 0 means "before the first".
    /// [`Index::MAX`] is the highest that is decoded.
    Index, "i", HIGHEST
);
number!(
    /// The number of a leader's reign: Raft's *term*, Viewstamped Replication's *view*.
    /// [`Ballot::MAX`] is the highest that is decoded.
    Ballot, "b", HIGHEST
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

    /// No log gets there.
    pub const MAX: Index = Index(HIGHEST);

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
    /// No cluster gets there.
    pub const MAX: Ballot = Ballot(HIGHEST);

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Now {
    /// Time since some fixed moment of this process; never goes back. Decides timeouts.
    pub monotonic: Duration,
    /// Time since the Unix epoch as the machine's clock says; may jump. Decides nothing but
    /// where log time heads.
    pub wall: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_time_counts_microseconds() {
        assert_eq!(LogTime(1_234_567).as_millis(), 1234);
    }

    #[test]
    fn positions_and_ballots_that_could_overflow_are_not_understood() {
        let encoded = |number: u64| postcard::to_allocvec(&number).unwrap();
        for number in [0, 1, 1 << 62] {
            let bytes = encoded(number);
            assert_eq!(postcard::from_bytes(&bytes), Ok(Index(number)));
            assert_eq!(postcard::from_bytes(&bytes), Ok(Ballot(number)));
        }
        for number in [(1 << 62) + 1, u64::MAX] {
            let bytes = encoded(number);
            assert!(postcard::from_bytes::<Index>(&bytes).is_err());
            assert!(postcard::from_bytes::<Ballot>(&bytes).is_err());
            assert_eq!(postcard::from_bytes(&bytes), Ok(Incarnation(number)));
        }
    }
}
