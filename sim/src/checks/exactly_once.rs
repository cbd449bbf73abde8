//! Each request takes effect at most once: under a session however often it is tried (Ongaro 2014,
//! section 6.3), and without one because it is tried again only after "surely not proposed". That
//! an acknowledged one took effect at all is for [`acknowledged`](super::acknowledged).

use std::collections::BTreeMap;

use super::{Property, Verdict};
use crate::machine::{Change, OpId};

const PROPERTY: Property = Property { name: "exactly once", stated_in: "Ongaro 2014, section 6.3" };

/// Which effect each request had.
#[derive(Default)]
pub(super) struct ExactlyOnce {
    effects: BTreeMap<OpId, u64>,
}

impl ExactlyOnce {
    /// An effect which no machine has had before.
    pub(super) fn changed(&mut self, change: &Change) -> Verdict {
        if change.op == OpId::default() {
            return Ok(());
        }
        let before = self.effects.insert(change.op, change.count);
        PROPERTY.require(before.is_none(), || {
            let (first, second) = (before.unwrap_or_default(), change.count);
            format!("{:?} took effect as number {first} and as number {second}", change.op)
        })
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::{Index, LogTime};

    use super::*;

    #[test]
    fn a_request_that_takes_effect_twice_is_found() {
        let change = |count, op| Change {
            count,
            index: Index(count),
            time: LogTime(0),
            seed: 0,
            op: OpId(op),
            key: 0,
        };
        let mut check = ExactlyOnce::default();
        check.changed(&change(1, 7)).unwrap();
        check.changed(&change(2, 0)).unwrap();
        check.changed(&change(3, 0)).unwrap();
        assert!(check.changed(&change(4, 7)).is_err());
    }
}
