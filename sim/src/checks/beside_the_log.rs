//! What stands beside the log, in the meta file, is what the disk was told: whether the replica is mute, and
//! the latest starts of the others. (Not from a paper: the promise of `Recovered`.)

use quorate_core::Recovered;

use super::logs::Logs;
use super::{Property, Verdict};

const PROPERTY: Property = Property {
    name: "a disk knows of muteness and of the others what it was told",
    stated_in: "quorate, Recovered",
};

/// `node` has found this on its disk. To be asked before it is settled which of the writes that were on
/// their way have arrived: of one that has not, this may be there.
pub(super) fn was_told(node: usize, found: &Recovered, logs: &Logs) -> Verdict {
    let Recovered { peers, mute, .. } = found;
    let may_be = logs.may_know_of_peers(node, peers) && logs.may_say_of_muteness(node, *mute);
    PROPERTY.require(may_be, || {
        format!("replica {} found that it is mute: {mute}; of others {peers:?}", node + 1)
    })
}

#[cfg(test)]
mod tests {
    use quorate_core::WriteSeq;

    use super::super::starts::recovered;
    use super::super::testing::{after_three_writes, digest, found, run, write};
    use super::*;

    #[test]
    fn muteness_that_nobody_asked_for_or_that_is_forgotten_is_found() {
        let mute = |mute, last| Recovered { mute, ..found(last) };
        let mut logs = after_three_writes();
        assert!(recovered(0, &mute(true, 1), &mut logs).is_err());
        let mut logs = after_three_writes();
        let of = |mute, index: u64| {
            let run = run(index - 1, 1, digest(index - 1, 1), &[1]);
            quorate_core::Write { mute, ..write(vec![run]) }
        };
        logs.write(0, WriteSeq(4), &of(true, 4));
        logs.synced(0, WriteSeq(4));
        assert!(recovered(0, &mute(false, 4), &mut logs.clone()).is_err());
        // Of a write that ended it, the entries may be there, and not that.
        logs.write(0, WriteSeq(5), &of(false, 5));
        recovered(0, &mute(false, 5), &mut logs.clone()).unwrap();
        recovered(0, &mute(true, 5), &mut logs).unwrap();
        recovered(0, &mute(true, 5), &mut logs).unwrap();
        assert!(recovered(0, &mute(false, 5), &mut logs).is_err());
    }
}
