//! Recordings of a node: what its replica was told, in a file, to be told to another one later.
//!
//! The loop encodes each call of the replica, and digests of what comes of it, into memory. At the
//! end of a batch it hands that to a thread that writes it. It never waits for that thread: should
//! it fall behind, or the file reach its limit, the recording ends, and the node goes on.

mod ending;
mod format;
#[cfg(test)]
mod golden;
mod place;
mod reader;
mod records;
mod tape;
#[cfg(test)]
mod tests;
mod writer;

pub use ending::Ending;
pub use reader::{Batches, Moment, Recording, RecordingError, ReplayError};
pub(crate) use tape::Tape;
pub(crate) use writer::{Writer, begin};

/// The replica as the loop has it: recorded, if that is wanted.
pub(crate) type RecordedReplica<P> = quorate_core::Recorded<P, Tape>;
