//! What a peer may get wrong.

use quorate_core::Rejected;

/// Why a message was ignored although it was current: its sender is broken, or it was damaged on
/// the way. Nothing was changed by it; it was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum PeerFault {
    /// Two servers claim to lead in one term.
    #[error("a second leader in one term")]
    SecondLeader,
    /// A term that no cluster can have reached by electing leaders.
    #[error("an absurd term")]
    AbsurdTerm,
    /// Entries or a snapshot of a later term than the leader's own.
    #[error("entries or a snapshot from the future")]
    FromTheFuture,
    /// A snapshot without members, or one that contradicts what is committed here.
    #[error("a snapshot that cannot be")]
    ImpossibleSnapshot,
    /// Entries which the log did not take; its reason is [`Rejected`].
    #[error("entries which the log rejects")]
    RejectedEntries,
    /// An answer to a question which was not asked, or about entries that do not exist.
    #[error("an answer to what was not asked")]
    ImpossibleReply,
}

impl From<Rejected> for PeerFault {
    fn from(_: Rejected) -> PeerFault {
        PeerFault::RejectedEntries
    }
}
