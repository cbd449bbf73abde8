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

#[cfg(test)]
mod tests {
    use super::*;

    fn of(members: &[(u64, u64)]) -> Membership {
        Membership::new(members.iter().map(|(id, disk)| (NodeId(*id), Incarnation(*disk))))
    }

    #[test]
    fn a_quorum_is_of_members_each_of_whom_counts_once() {
        let three = of(&[(1, 11), (2, 12), (3, 13)]);
        let is_quorum = |ids: &[u64]| three.is_quorum(ids.iter().copied().map(NodeId));
        assert!(is_quorum(&[1, 3]) && is_quorum(&[3, 2, 1]));
        assert!(
            !is_quorum(&[]) && !is_quorum(&[2]) && !is_quorum(&[2, 2]) && !is_quorum(&[2, 4, 5])
        );
        let four = of(&[(1, 11), (2, 12), (3, 13), (4, 14)]);
        assert_eq!((three.majority(), four.majority()), (2, 3));
        let reached = |id: NodeId| Some(id.0).filter(|id| *id != 2);
        assert_eq!((three.reached(reached), four.reached(reached)), (Some(1), Some(1)));
        assert!(Membership::default().is_empty() && !three.is_empty());
    }

    #[test]
    fn a_disk_is_replaced_by_name_and_only_if_it_is_the_one_that_is_listed() {
        let before = of(&[(1, 11), (2, 12)]);
        let replaced =
            |id, from, to| before.with_replaced(NodeId(id), Incarnation(from), Incarnation(to));
        assert_eq!(replaced(2, 12, 22), Some(of(&[(1, 11), (2, 22)])));
        assert_eq!(replaced(2, 11, 22), None);
        assert_eq!(replaced(3, 12, 22), None);
        assert_eq!(before.peers_of(NodeId(1)).collect::<Vec<_>>(), [NodeId(2)]);
    }

    #[test]
    fn the_identity_of_a_cluster_covers_its_members_and_their_disks() {
        let one = of(&[(1, 11), (2, 12)]);
        for other in [&[(1, 11)][..], &[(1, 11), (2, 13)], &[(1, 11), (3, 12)], &[(1, 12), (2, 11)]]
        {
            assert_ne!(one.digest(), of(other).digest(), "{other:?}");
        }
        assert_eq!(one.digest(), of(&[(2, 12), (1, 11)]).digest());
    }
}
