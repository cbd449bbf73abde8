//! A pledge may be sworn ahead of the log, in the meta file: from then on it is found by each start, until
//! the log holds it or a later one (Ongaro 2014, section 3.8: currentTerm and votedFor survive).

use quorate_core::{PledgeBytes, Recovered, WriteSeq};

use super::{Property, Verdict};

const PROPERTY: Property = Property {
    name: "what was sworn ahead of the log is found",
    stated_in: "Ongaro 2014, section 3.8",
};

/// `node`, which has sworn this ahead of its log, has found that on its disk; these were the pledges of
/// writes on their way, in order. Says what it has sworn ahead of its log from now on.
pub(super) fn is_found(
    node: usize,
    found: &Recovered,
    unsynced: &[(WriteSeq, PledgeBytes)],
    sworn: &mut Option<(WriteSeq, PledgeBytes)>,
) -> Verdict {
    let is_as_good = |found: Option<PledgeBytes>| {
        sworn.is_none_or(|(seq, pledge)| {
            let later = unsynced.iter().filter(|(later, _)| *later > seq).map(|(_, later)| *later);
            found.is_some_and(|found| std::iter::once(pledge).chain(later).any(|it| it == found))
        })
    };
    // The start that finds it in the log swears nothing ahead of the log any more.
    let is_in_log = sworn.is_some() && is_as_good(found.pledge);
    PROPERTY.require(is_in_log || is_as_good(found.sworn), || {
        let Recovered { sworn: found, pledge, .. } = found;
        format!(
            "replica {} has sworn {sworn:?}, and finds {found:?}, in the log {pledge:?}",
            node + 1
        )
    })?;
    // The first write of the next process swears it once more.
    let place = |pledge| unsynced.iter().rposition(|(_, it)| Some(*it) == pledge);
    let is_ahead = !is_in_log && place(found.sworn) >= place(found.pledge);
    *sworn = found.sworn.filter(|_| is_ahead).map(|pledge| (WriteSeq(0), pledge));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::starts::recovered;
    use super::super::testing::{after_three_writes, found};
    use super::*;

    #[test]
    fn the_loss_of_what_was_sworn_ahead_of_the_log_is_found() {
        let sworn = |pledge| {
            let mut logs = after_three_writes();
            logs.sworn(0, WriteSeq(3));
            recovered(0, &Recovered { sworn: pledge, ..found(1) }, &mut logs)
        };
        sworn(Some([0; 64])).unwrap();
        assert!(sworn(None).is_err());
        assert!(sworn(Some([1; 64])).is_err());
        // The next start finds it in the log, where the process between the two has written it again.
        let twice = |pledge| {
            let mut logs = after_three_writes();
            logs.sworn(0, WriteSeq(3));
            recovered(0, &Recovered { sworn: Some([0; 64]), ..found(1) }, &mut logs).unwrap();
            recovered(0, &Recovered { pledge, ..found(1) }, &mut logs)
        };
        twice(Some([0; 64])).unwrap();
        assert!(twice(None).is_err());
        // All of it has reached the disk, as nobody had noticed.
        let mut logs = after_three_writes();
        logs.sworn(0, WriteSeq(3));
        recovered(0, &found(3), &mut logs).unwrap();
    }
}
