//! Why entries from a peer were not taken.

use crate::types::LogId;

/// Entries from outside that do not fit. The sender's fault, or a sign of damage on the way: the
/// message is ignored and counted, the log is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// The log does not hold the entry which they are to follow.
    #[error("the entry before them is not held")]
    PreviousMissing,
    /// An index is skipped, or a ballot or timestamp goes back.
    #[error("entry {0} is out of order")]
    OutOfOrder(LogId),
    /// The entry does not belong behind the one before it.
    #[error("entry {0} names another parent")]
    ParentDiffers(LogId),
    /// The payload is not the one that was proposed.
    #[error("the payload of entry {0} is damaged")]
    PayloadDamaged(LogId),
    /// The payload should be a membership and is not.
    #[error("the payload of entry {0} cannot be decoded")]
    Undecodable(LogId),
    /// The disk has no room for them. They will be sent again.
    #[error("the disk is full")]
    NoRoom,
    /// The log has a gap there, which is to be filled first.
    #[error("the log is damaged there; it is being repaired")]
    Gap,
    /// The entry is not the one that is missing.
    #[error("entry {0} is not what is missing")]
    NotMissing(LogId),
    /// The entry is what was missing, and does not follow what the log holds below it.
    #[error("entry {0} does not follow what is held below the gap")]
    Diverged(LogId),
    /// Something else is committed there. One of the two replicas is broken.
    #[error("entry {0} contradicts what is committed")]
    ContradictsCommitted(LogId),
}
