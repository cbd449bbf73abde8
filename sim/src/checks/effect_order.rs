//! Linearizability in the order of the log (Herlihy and Wing 1990, section 2.2; Ongaro 2014, sections
//! 6.3 and 6.4).
//!
//! The log gives all effects one order, which must agree with real time, that is: whatever is asked
//! for after an answer was given takes into account what that answer did. That each answer is the one
//! which this order gives is for [`answers`](super::answers). Together that says more than
//! [`linearizability`](super::linearizability) does, which knows nothing but the clients' histories, and
//! says it at once. Local reads promise [less](super::local_reads).

use super::{Property, Verdict};
use crate::clients::OpId;

const PROPERTY: Property = Property {
    name: "linearizability in the order of the log",
    stated_in: "Herlihy and Wing 1990, section 2.2; Ongaro 2014, sections 6.3 and 6.4",
};

/// How much of all effects the clients have seen.
#[derive(Default)]
pub(super) struct EffectOrder {
    witnessed: u64,
}

impl EffectOrder {
    /// The latest effect which some answer has taken into account.
    pub(super) fn witnessed(&self) -> u64 {
        self.witnessed
    }

    /// A write, which was effect number `count`, was answered; `since` had been witnessed when it was
    /// asked for.
    pub(super) fn wrote(&mut self, op: OpId, count: u64, since: u64) -> Verdict {
        PROPERTY.require(count > since, || {
            format!("{op:?} was asked for after effect {since} was seen, and is effect {count}")
        })?;
        self.witnessed = self.witnessed.max(count);
        Ok(())
    }

    /// A read was answered from a state which takes `count` effects into account; `since` had been
    /// witnessed when it was asked for.
    pub(super) fn read(&mut self, op: OpId, count: u64, since: u64) -> Verdict {
        PROPERTY.require(count >= since, || {
            format!(
                "read {op:?} was asked for after effect {since} was seen, and sees effect {count}"
            )
        })?;
        self.witnessed = self.witnessed.max(count);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_read_is_found() {
        let mut check = EffectOrder::default();
        check.wrote(OpId(8), 2, 0).unwrap();
        assert_eq!(check.witnessed(), 2);
        check.read(OpId(9), 1, 0).unwrap();
        assert!(check.read(OpId(9), 1, 2).is_err());
        check.read(OpId(9), 2, 2).unwrap();
    }

    #[test]
    fn reads_that_go_back_in_real_time_are_found() {
        let mut check = EffectOrder::default();
        check.read(OpId(9), 2, 0).unwrap();
        let since = check.witnessed();
        assert!(check.read(OpId(10), 1, since).is_err());
    }

    #[test]
    fn a_write_ordered_before_what_was_seen_earlier_is_found() {
        let mut check = EffectOrder::default();
        assert!(check.wrote(OpId(7), 1, 1).is_err());
        check.wrote(OpId(8), 2, 1).unwrap();
    }
}
