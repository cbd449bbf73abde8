//! What is applied never goes back while a process lives (Ongaro 2014, figure 3.1: lastApplied increases
//! monotonically).

use quorate_core::Index;

use super::{Property, Verdict};

const PROPERTY: Property =
    Property { name: "applied only moves forward", stated_in: "Ongaro 2014, figure 3.1" };

/// `node` had applied everything up to `before`, and has everything up to `applied`.
pub(super) fn moved(node: usize, before: Index, applied: Index) -> Verdict {
    PROPERTY.require(before <= applied, || {
        format!("replica {}: applied {before}, then {applied}", node + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_applied_no_more_is_found() {
        moved(0, Index(1), Index(1)).unwrap();
        assert_eq!(moved(0, Index(2), Index(1)).unwrap_err().property, PROPERTY.name);
    }
}
