//! Damage is never taken for the end of the log: what lies behind it was promised, and cutting it off would
//! forget that (Alagappan et al. 2018, section 3.3).

use quorate_core::Recovered;

use super::logs::Logs;
use super::{Property, Verdict};

const PROPERTY: Property = Property {
    name: "damage is never taken for the end of the log",
    stated_in: "Alagappan et al. 2018, section 3.3",
};

/// `node` has found this on its disk, parts of which are damaged: its log ends where it ended, or
/// the replica knows that it does not.
pub(super) fn settles(node: usize, found: &Recovered, logs: &mut Logs) -> Verdict {
    let synced = logs.disks[node].in_words();
    let is_end = logs.settle_damaged(node, found);
    PROPERTY.require(is_end, || {
        let (log, gaps) = (&found.log, &found.log.gaps);
        let (base, last) = (log.base, log.last);
        format!(
            "replica {} found a log of {base:?} to {last:?} with gaps {gaps:?}, and is not mute; \
             synced was {synced}",
            node + 1
        )
    })
}

#[cfg(test)]
mod tests {
    use quorate_core::WriteSeq;

    use super::super::testing::{after_three_writes, found};
    use super::*;

    #[test]
    fn an_end_that_is_not_there_is_found_unless_the_replica_knows() {
        let mut logs = after_three_writes();
        logs.synced(0, WriteSeq(2));
        settles(0, &found(2), &mut logs.clone()).unwrap();
        settles(0, &found(3), &mut logs.clone()).unwrap();
        settles(0, &Recovered { mute: true, ..found(1) }, &mut logs.clone()).unwrap();
        assert_eq!(settles(0, &found(1), &mut logs).unwrap_err().property, PROPERTY.name);
    }
}
