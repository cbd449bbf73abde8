//! What is committed never goes back while a process lives, nor behind the snapshot with which the process
//! began (Ongaro 2014, figure 3.1: commitIndex increases monotonically; section 3.8).

use quorate_core::Index;

use super::{Property, Verdict};

const PROPERTY: Property = Property {
    name: "committed only moves forward",
    stated_in: "Ongaro 2014, figure 3.1 and section 3.8",
};

/// `node` took everything up to `before` for committed, and takes everything up to `committed` for that.
pub(super) fn moved(node: usize, before: Index, committed: Index) -> Verdict {
    PROPERTY.require(before <= committed, || {
        format!("replica {}: committed {before}, then {committed}", node + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_no_more_is_found() {
        moved(0, Index(1), Index(1)).unwrap();
        assert_eq!(moved(0, Index(2), Index(1)).unwrap_err().property, PROPERTY.name);
    }
}
