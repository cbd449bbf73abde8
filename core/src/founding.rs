//! How a cluster comes into being, and how a wiped disk is noticed.

use serde::{Deserialize, Serialize};

use crate::membership::Membership;

/// How far a member has come with the founding of its cluster. Durable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FoundingRecord {
    /// Which attempt this is. A member that has moved on never confirms an earlier one.
    pub round: u64,
    /// The incarnations of all members as recorded in this round.
    pub list: Option<Membership>,
    /// True once every member has confirmed that it recorded that same list.
    pub formed: bool,
}

/// What members tell each other until the cluster is formed, and what a formed member answers to
/// one that is not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FoundingMessage {
    /// How far the sender has come, durably.
    pub record: FoundingRecord,
    /// True if the sender wants to be told the receiver's.
    pub asks: bool,
}
