//! The list of members changes by one disk at a time, so that quorums of two lists that follow each other
//! have a member in common (Ongaro 2014, section 4.1); and a disk takes the place only of an earlier one
//! of the same machine, which is gone.

use quorate_core::{Incarnation, Index, Membership, NodeId};

use super::{Property, Verdict};

const PROPERTY: Property = Property {
    name: "only a disk that is gone is replaced",
    stated_in: "Ongaro 2014, section 4.1",
};

/// The disks that each machine has had, the one that it has at the end; and the list that is committed.
#[derive(Debug)]
pub(super) struct Members {
    disks: Vec<Vec<Incarnation>>,
    listed: Membership,
}

impl Members {
    pub(super) fn new(nodes: usize) -> Members {
        Members { disks: vec![Vec::new(); nodes], listed: Membership::default() }
    }

    /// A machine has another disk from now on.
    pub(super) fn has_disk(&mut self, node: usize, incarnation: Incarnation) {
        self.disks[node].push(incarnation);
    }

    /// The entry at this index is committed, which says this of the members, if it does.
    pub(super) fn committed(&mut self, index: Index, list: Option<&Membership>) -> Verdict {
        let Some(list) = list else { return Ok(()) };
        let before = std::mem::replace(&mut self.listed, list.clone());
        let order = |id: NodeId, incarnation| {
            let disks = self.disks.get((id.0 as usize).checked_sub(1)?)?;
            disks.iter().position(|disk| Some(*disk) == incarnation)
        };
        let are_real = list.voters().all(|id| order(id, list.incarnation(id)).is_some());
        let changed = list.voters().filter(|id| before.incarnation(*id) != list.incarnation(*id));
        let changed: Vec<NodeId> = changed.collect();
        let is_founded = before.is_empty();
        let is_later =
            |id: &NodeId| order(*id, before.incarnation(*id)) < order(*id, list.incarnation(*id));
        let are_same = before.voters().eq(list.voters());
        let follows = are_same && changed.len() <= 1 && changed.iter().all(is_later);
        PROPERTY.require(are_real && (is_founded || follows), || {
            format!(
                "at {index:?} {list:?} takes the place of {before:?}; disks were {:?}",
                self.disks
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(disks: [u64; 3]) -> Membership {
        Membership::new((1..).map(NodeId).zip(disks.map(Incarnation)))
    }

    /// Machine 2 has had three disks, the others one.
    fn founded() -> Members {
        let mut check = Members::new(3);
        for (node, disk) in [(0, 10), (1, 20), (2, 30), (1, 21), (1, 22)] {
            check.has_disk(node, Incarnation(disk));
        }
        check.committed(Index(1), Some(&list([10, 20, 30]))).unwrap();
        check
    }

    fn is_found(disks: [u64; 3]) -> bool {
        founded().committed(Index(5), Some(&list(disks))).is_err()
    }

    #[test]
    fn a_disk_may_be_skipped_and_nothing_need_change() {
        assert!(!is_found([10, 22, 30]) && !is_found([10, 21, 30]) && !is_found([10, 20, 30]));
        founded().committed(Index(5), None).unwrap();
    }

    #[test]
    fn a_disk_that_nobody_has_two_at_once_and_an_earlier_one_are_found() {
        assert!(is_found([10, 23, 30]));
        let mut check = founded();
        check.committed(Index(5), Some(&list([10, 22, 30]))).unwrap();
        assert!(check.committed(Index(6), Some(&list([10, 21, 30]))).is_err());
        let mut check = founded();
        check.has_disk(2, Incarnation(31));
        assert!(check.committed(Index(5), Some(&list([10, 21, 31]))).is_err());
        let two = Membership::new([(NodeId(1), Incarnation(10)), (NodeId(2), Incarnation(20))]);
        assert!(founded().committed(Index(5), Some(&two)).is_err());
    }
}
