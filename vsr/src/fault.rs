//! What a peer may get wrong.

use quorate_core::Rejected;

/// Why a message was ignored although it was current: its sender is broken, or it was damaged on
/// the way. Nothing was changed by it; it was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum PeerFault {
    /// The sender speaks as the primary of a view in which another one's turn it is.
    #[error("the word of a primary from a replica whose turn it is not")]
    NotThePrimary,
    /// A view that no cluster can have reached by changing views.
    #[error("an absurd view")]
    AbsurdView,
    /// Entries or a snapshot of a later view than the one in which they were sent.
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
    /// A `DoViewChange` that contradicts itself or another one.
    #[error("a report for a view change that cannot be")]
    ImpossibleReport,
}

impl PeerFault {
    /// True if the message would be right at another replica, or at another time.
    pub(crate) fn is_about_turns(self) -> bool {
        matches!(self, PeerFault::NotThePrimary | PeerFault::ImpossibleReply)
    }
}

impl From<Rejected> for PeerFault {
    fn from(_: Rejected) -> PeerFault {
        PeerFault::RejectedEntries
    }
}
