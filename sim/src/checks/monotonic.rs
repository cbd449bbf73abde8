//! What is committed and what is applied never goes back while a process lives, nor what is committed
//! behind the snapshot with which the process began; and applied ≤ committed ≤ last (Ongaro 2014,
//! figure 3.1 and section 3.8).

use quorate_core::{Index, Log};

use super::{Property, Verdict};

const PROPERTY: Property = Property {
    name: "committed and applied only move forward",
    stated_in: "Ongaro 2014, figure 3.1 and section 3.8",
};

/// How far each replica said it had come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Monotonic {
    before: Vec<(Index, Index)>,
}

impl Monotonic {
    /// Of so many replicas, none of which has said anything.
    #[must_use]
    pub fn new(nodes: usize) -> Monotonic {
        Monotonic { before: vec![(Index::ZERO, Index::ZERO); nodes] }
    }

    /// The process of `node` has died.
    pub fn forget(&mut self, node: usize) {
        self.before[node] = (Index::ZERO, Index::ZERO);
    }

    /// A process of `node` begins, on a disk with a snapshot of everything up to `snapshot`.
    pub fn started(&mut self, node: usize, snapshot: Index) {
        self.before[node] = (Index::ZERO, snapshot);
    }

    /// How `node` stands.
    ///
    /// # Errors
    /// If it went back.
    pub fn stepped(&mut self, node: usize, log: &Log) -> Verdict {
        self.moved(node, log.applied(), log.committed(), log.last().index)
    }

    fn moved(&mut self, node: usize, applied: Index, committed: Index, last: Index) -> Verdict {
        let before = std::mem::replace(&mut self.before[node], (applied, committed));
        let forward = before.0 <= applied && before.1 <= committed;
        PROPERTY.require(forward && applied <= committed && committed <= last, || {
            let (was_applied, was_committed) = before;
            format!(
                "replica {}: applied {was_applied} then {applied}, committed {was_committed} then \
                 {committed}, last {last}",
                node + 1
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn going_back_is_found_unless_the_process_died() {
        let mut check = Monotonic::new(1);
        check.moved(0, Index(1), Index(2), Index(3)).unwrap();
        assert!(check.moved(0, Index(1), Index(1), Index(3)).is_err());
        check.started(0, Index(1));
        assert!(check.clone().moved(0, Index(0), Index(0), Index(3)).is_err());
        check.moved(0, Index(0), Index(1), Index(3)).unwrap();
        check.forget(0);
        check.moved(0, Index(0), Index(1), Index(3)).unwrap();
        assert!(check.moved(0, Index(2), Index(1), Index(3)).is_err());
        assert!(check.moved(0, Index(2), Index(4), Index(3)).is_err());
    }
}
