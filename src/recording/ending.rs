//! How recordings end.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a recording ends. Whatever stands before its end is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Ending {
    /// The node stopped, or did not start.
    Stopped,
    /// The thread of the replica panicked; if over a call of the replica, that is the last one.
    Panicked,
    /// The disk was too slow for it. The node went on.
    FellBehind,
    /// It became as large as it may. The node went on.
    Full,
    /// The file just ends, as it does if the process was killed, still runs, or could not write.
    Cut {
        /// How many bytes stand there of a record that is not whole.
        torn_bytes: u64,
    },
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Stopped => f.write_str("the recording ends where the node stopped"),
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
