//! Applied ≤ committed ≤ last: only what is committed is applied, and only what a log holds is committed
//! (Ongaro 2014, figure 3.1, rules for servers).

use quorate_core::Index;

use super::{Property, Verdict};

const PROPERTY: Property =
    Property { name: "applied ≤ committed ≤ last", stated_in: "Ongaro 2014, figure 3.1" };

/// `node`, whose log ends at `last`, has applied and takes for committed everything up to there.
pub(super) fn stands(node: usize, applied: Index, committed: Index, last: Index) -> Verdict {
    PROPERTY.require(applied <= committed && committed <= last, || {
        let node = node + 1;
        format!("replica {node}: applied {applied}, committed {committed}, last {last}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_applied_or_committed_beyond_the_log_is_found() {
        let stands = |applied, last| stands(0, Index(applied), Index(2), Index(last));
        stands(2, 2).unwrap();
        assert_eq!(stands(3, 3).unwrap_err().property, PROPERTY.name);
        assert_eq!(stands(1, 1).unwrap_err().property, PROPERTY.name);
    }
}
