//! What this replica knows of the others' disks, so that an old image of one is noticed.
//!
//! It is noticed if a process was started on the disk after the image was taken, and a member that
//! is asked to count its word had heard from that process.

use std::collections::BTreeMap;

use crate::types::{NodeId, Start};
use crate::write::Disk;

/// The disks of the other members, as last heard from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Acquaintances {
    disks: BTreeMap<NodeId, Disk>,
    are_news: bool,
}

impl From<BTreeMap<NodeId, Disk>> for Acquaintances {
    fn from(disks: BTreeMap<NodeId, Disk>) -> Acquaintances {
        Acquaintances { disks, are_news: false }
    }
}

impl Acquaintances {
    /// `node` speaks from this start of this disk, which is the one that the members list. If a
    /// later start of it is known, or another one of the same count: that one.
    pub(super) fn meet(&mut self, node: NodeId, disk: Disk) -> Option<Start> {
        if let Some(known) = self.disks.get(&node)
            && known.incarnation == disk.incarnation
        {
            let known = known.start;
            if known == disk.start {
                return None;
            }
            if known.count >= disk.start.count {
                return Some(known);
            }
        }
        self.disks.insert(node, disk);
        self.are_news = true;
        None
    }

    /// True if something is to be written.
    pub(super) fn are_news(&self) -> bool {
        self.are_news
    }

    /// What is to be written, if anything is.
    pub(super) fn take_news(&mut self) -> Option<BTreeMap<NodeId, Disk>> {
        std::mem::take(&mut self.are_news).then(|| self.disks.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Incarnation;

    #[test]
    fn an_earlier_start_and_another_one_of_the_same_count_are_noticed() {
        let mut known = Acquaintances::default();
        let node = NodeId(2);
        let disk =
            |count, nonce| Disk { incarnation: Incarnation(7), start: Start { count, nonce } };
        assert_eq!(known.meet(node, disk(3, 1)), None);
        assert_eq!(known.take_news().map(|disks| disks.len()), Some(1));
        assert_eq!(known.meet(node, disk(3, 1)), None);
        assert!(!known.are_news());
        assert_eq!(known.meet(node, disk(2, 9)), Some(disk(3, 1).start));
        assert_eq!(known.meet(node, disk(3, 2)), Some(disk(3, 1).start));
        assert_eq!(known.meet(node, disk(4, 2)), None);
        assert!(known.are_news());
        let replaced = Disk { incarnation: Incarnation(8), ..disk(1, 1) };
        assert_eq!(known.meet(node, replaced), None);
    }
}
