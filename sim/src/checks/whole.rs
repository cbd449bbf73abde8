//! A disk from which nothing was taken gives back everything that its replica says it has (Ongaro 2014,
//! section 3.8; Alagappan et al. 2018, section 3.4).

use quorate_core::Recovered;

use super::commit::Commit;
use super::{Property, Verdict};

const PROPERTY: Property = Property {
    name: "what a replica says it has is on its disk",
    stated_in: "Ongaro 2014, section 3.8; Alagappan et al. 2018, section 3.4",
};

/// `node` has found this on its disk, from which nothing was taken that it had not made good.
pub(super) fn has_no_gaps(node: usize, found: &Recovered) -> Verdict {
    PROPERTY.require(found.log.gaps.is_empty(), || {
        format!("replica {} found gaps {:?}; its disk is sound", node + 1, found.log.gaps)
    })
}

/// `node` counted, and lacked nothing that it had not saved, when its machine died.
pub(super) fn has_all(node: usize, found: &Recovered, commit: &Commit) -> Verdict {
    let Recovered { mute, log, .. } = found;
    let is_whole = !mute && log.gaps.is_empty() && log.last.index == commit.committed();
    PROPERTY.require(is_whole, || {
        format!(
            "replica {} found a log to {:?} with gaps {:?}, mute: {mute}; committed is {:?}",
            node + 1,
            log.last,
            log.gaps,
            commit.committed()
        )
    })
}

#[cfg(test)]
mod tests {
    use quorate_core::{Ballot, Digest, Gap, Index};

    use super::super::testing::{committed_on, found};
    use super::*;

    fn with_a_gap(last: u64) -> Recovered {
        let mut found = found(last);
        let (first, last, zero) = (Index(1), Index(1), Digest::ZERO);
        found.log.gaps.push(Gap { first, last, digest: zero, before: zero, ids_known: true });
        found
    }

    #[test]
    fn a_gap_on_a_sound_disk_is_found() {
        has_no_gaps(0, &found(2)).unwrap();
        assert_eq!(has_no_gaps(0, &with_a_gap(2)).unwrap_err().property, PROPERTY.name);
    }

    #[test]
    fn whatever_a_replica_at_rest_has_not_on_its_disk_is_found() {
        let (commit, _) = committed_on(&[&[1, 1]], Ballot(1));
        has_all(0, &found(2), &commit).unwrap();
        assert!(has_all(0, &found(1), &commit).is_err());
        assert!(has_all(0, &with_a_gap(2), &commit).is_err());
        assert!(has_all(0, &Recovered { mute: true, ..found(2) }, &commit).is_err());
    }
}
