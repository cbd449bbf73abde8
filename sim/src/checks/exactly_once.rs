//! A command takes effect because a client asked for it, and each request at most once: under a session however often it is tried (Ongaro 2014,
//! section 6.3), and without one because it is tried again only after "surely not proposed". That
//! an acknowledged one took effect at all is for [`acknowledged`](super::acknowledged).

use std::collections::BTreeMap;

use quorate_core::Index;

use super::{Property, Verdict, Violation};
use crate::clients::OpId;

const PROPERTY: Property = Property { name: "exactly once", stated_in: "Ongaro 2014, section 6.3" };

/// Which effect each request had.
#[derive(Default)]
pub(super) struct ExactlyOnce {
    effects: BTreeMap<OpId, u64>,
}

impl ExactlyOnce {
    /// An effect which no machine has had before, number `count`.
    pub(super) fn happened(&mut self, op: OpId, count: u64) -> Verdict {
        if op == OpId::default() {
            return Ok(());
        }
        let before = self.effects.insert(op, count);
        PROPERTY.require(before.is_none(), || {
            let first = before.unwrap_or_default();
            format!("{op:?} took effect as number {first} and as number {count}")
        })
    }

    /// Which effect a request had, from 1; `None` if it had none.
    pub(super) fn effect_of(&self, op: OpId) -> Option<u64> {
        self.effects.get(&op).copied()
    }
}

/// `op` is called acknowledged by its session, which then keeps no answer to it: so its client has had one,
/// and does not await it any more.
pub(super) fn is_answered(op: OpId, is_awaited: bool) -> Verdict {
    PROPERTY.require(!is_awaited, || format!("{op:?} has no answer yet and is called acknowledged"))
}

/// A command took effect at `index` for which nobody asked.
pub(super) fn of_nobody(index: Index) -> Violation {
    PROPERTY.violation(format!("nobody asked for the command that took effect at {index:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_takes_effect_twice_is_found() {
        let mut check = ExactlyOnce::default();
        check.happened(OpId(7), 1).unwrap();
        check.happened(OpId(0), 2).unwrap();
        check.happened(OpId(0), 3).unwrap();
        assert_eq!((check.effect_of(OpId(7)), check.effect_of(OpId(8))), (Some(1), None));
        assert!(check.happened(OpId(7), 4).is_err());
    }

    #[test]
    fn an_answer_that_is_gone_before_it_was_given_is_found() {
        is_answered(OpId(7), false).unwrap();
        assert_eq!(is_answered(OpId(7), true).unwrap_err().property, PROPERTY.name);
    }
}
