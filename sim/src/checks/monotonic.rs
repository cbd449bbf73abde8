//! How far each replica says that it has come, from one step to the next: what is applied and what is
//! committed never goes back while a process lives, and both are in its log. Each of that is a property in a
//! file of its own.

use quorate_core::{Index, Log};

use super::{Verdict, applied_in_log, applied_monotonic, commit_monotonic};

/// How far each replica said it had come: what was applied, and what was committed.
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
    /// If it went back, or is beyond its log.
    pub fn stepped(&mut self, node: usize, log: &Log) -> Verdict {
        self.moved(node, log.applied(), log.committed(), log.last().index)
    }

    fn moved(&mut self, node: usize, applied: Index, committed: Index, last: Index) -> Verdict {
        let before = std::mem::replace(&mut self.before[node], (applied, committed));
        let (was_applied, was_committed) = before;
        applied_monotonic::moved(node, was_applied, applied)?;
        commit_monotonic::moved(node, was_committed, committed)?;
        applied_in_log::stands(node, applied, committed, last)
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
