//! Local reads promise less than others: what they see was there at some time, and the same process never
//! goes back. (Not from a paper: the promise of `Read::Local`.)

use std::collections::BTreeMap;

use super::{Property, Verdict};

const PROPERTY: Property =
    Property { name: "local reads see what was there", stated_in: "quorate, Read::Local" };

/// How many effects each process has seen in its own state.
#[derive(Default)]
pub(super) struct LocalReads {
    seen: BTreeMap<usize, u64>,
}

impl LocalReads {
    /// A process looked at its own state, which takes `count` effects into account.
    pub(super) fn looked(&mut self, node: usize, count: u64) -> Verdict {
        let before = self.seen.insert(node, count).unwrap_or_default();
        PROPERTY.require(count >= before, || {
            format!("replica {} sees {count} effects after it saw {before}", node + 1)
        })
    }

    /// A process has died; the next one may begin earlier.
    pub(super) fn crashed(&mut self, node: usize) {
        self.seen.remove(&node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_reads_that_go_back_are_found() {
        let mut check = LocalReads::default();
        check.looked(0, 1).unwrap();
        check.looked(1, 2).unwrap();
        check.looked(0, 2).unwrap();
        assert!(check.looked(0, 1).is_err());
        check.crashed(0);
        check.looked(0, 1).unwrap();
    }
}
