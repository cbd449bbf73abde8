//! How recordings end.

use std::fmt;

use quorate_core::Fatal;

use super::format::Last;

/// How a recording ends. Whatever stands before its end is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// The node stopped.
    Stopped,
    /// The replica did not start.
    NotStarted(Fatal),
    /// The thread of the replica panicked; if over a call of the replica, that is the last one.
    Panicked,
    /// The disk was too slow for it. The node went on.
    FellBehind,
    /// It became as large as it may. The node went on, or had panicked over what had no room.
    Full,
    /// The file just ends, as it does if the process was killed, still runs, or could not write.
    Cut {
        /// How many bytes stand there of a record that is not whole.
        torn_bytes: u64,
    },
}

impl From<Last> for Ending {
    fn from(last: Last) -> Ending {
        match last {
            Last::Stopped => Ending::Stopped,
            Last::Panicked => Ending::Panicked,
            Last::FellBehind => Ending::FellBehind,
            Last::Full => Ending::Full,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Stopped => f.write_str("the recording ends where the node stopped"),
            Ending::NotStarted(fatal) => write!(f, "the replica did not start: {fatal}"),
            Ending::Panicked => f.write_str("the recording ends where the node panicked"),
            Ending::FellBehind => f.write_str(
                "the recording ends before the node did: its disk was too slow for what it had to write",
            ),
            Ending::Full => f.write_str(
                "the recording ends before the node did: it had become as large as it may",
            ),
            Ending::Cut { torn_bytes } => write!(
                f,
                "the recording just ends, as after a kill, or while the node runs; {torn_bytes} bytes \
                 behind the last whole record were left out"
            ),
        }
    }
}
