//! Who the cluster is made of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::quorum;
use crate::types::{Digest, Incarnation, NodeId};

/// The members of a cluster, each with the incarnation of its disk.
///
/// Part of the replicated state: it stands in the log as an entry of its own and in every
/// snapshot. A node reads it from the log as held, committed or not. A vote or acknowledgement
/// counts only if its sender's incarnation is the one in the counter's own table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Membership {
    members: BTreeMap<NodeId, Incarnation>,
}

impl Membership {
    /// These members, all of them voters.
    #[must_use]
    pub fn new(members: impl IntoIterator<Item = (NodeId, Incarnation)>) -> Membership {
        Membership { members: members.into_iter().collect() }
    }

    /// The voters, in the order of their names.
    pub fn voters(&self) -> impl ExactSizeIterator<Item = NodeId> + Clone + '_ {
        self.members.keys().copied()
    }

    /// The voters other than `me`, in the order of their names.
    pub fn peers_of(&self, me: NodeId) -> impl Iterator<Item = NodeId> + Clone + '_ {
        self.voters().filter(move |&id| id != me)
    }

    /// True if `id` is a member.
    #[must_use]
    pub fn contains(&self, id: NodeId) -> bool {
        self.members.contains_key(&id)
    }

    /// The incarnation under which `id` is a member.
    #[must_use]
    pub fn incarnation(&self, id: NodeId) -> Option<Incarnation> {
        self.members.get(&id).copied()
    }

    /// The same members, with the incarnation `to` of `id` in the place of `from`. `None` if it is
    /// not `from` that is listed.
    #[must_use]
    pub fn with_replaced(
        &self,
        id: NodeId,
        from: Incarnation,
        to: Incarnation,
    ) -> Option<Membership> {
        let mut members = self.members.clone();
        members.get_mut(&id).filter(|listed| **listed == from).map(|listed| *listed = to)?;
        Some(Membership { members })
    }

    /// Number of voters.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// True of a membership which nobody has founded yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// How many voters make a majority.
    #[must_use]
    pub fn majority(&self) -> usize {
        quorum::majority(self.members.len())
    }

    /// True if these nodes include a majority of the voters. Names of strangers do not count,
    /// and a name given twice counts once.
    #[must_use]
    pub fn is_quorum(&self, nodes: impl IntoIterator<Item = NodeId>) -> bool {
        let distinct: std::collections::BTreeSet<NodeId> =
            nodes.into_iter().filter(|id| self.contains(*id)).collect();
        distinct.len() >= self.majority()
    }

    /// The greatest value that a majority of the voters has reached, given what each voter
    /// has reached (`None`: nothing). See [`quorum::reached`].
    pub fn reached<T: Ord + Copy>(&self, of: impl Fn(NodeId) -> Option<T>) -> Option<T> {
        quorum::reached(self.voters().map(of))
    }

    /// The digest of this table. That of the founding table is the cluster's identity.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut bytes = Vec::with_capacity(16 * self.members.len());
        for (id, incarnation) in &self.members {
            bytes.extend_from_slice(&id.0.to_le_bytes());
            bytes.extend_from_slice(&incarnation.0.to_le_bytes());
        }
        Digest::of(&bytes)
    }
}
