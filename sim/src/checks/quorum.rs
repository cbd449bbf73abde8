//! Committed entries are durable on a quorum: an entry is committed once it is stored on a majority (Ongaro
//! 2014, section 3.6.2), on disk (section 3.8), and stays there.

use super::commit::Commit;
use super::{Mirror, Property, Verdict};

const PROPERTY: Property = Property {
    name: "committed entries are durable on a quorum",
    stated_in: "Ongaro 2014, sections 3.6.2 and 3.8",
};

/// Demands that a majority of the disks holds everything that is committed.
///
/// # Errors
/// If it does not.
pub fn on_a_quorum<'a>(
    commit: &Commit,
    disks: impl ExactSizeIterator<Item = &'a Mirror>,
) -> Verdict {
    let index = commit.committed();
    let Some(entry) = commit.at(index) else { return Ok(()) };
    let holds = |log: &Mirror| index < log.base() || log.at(index) == Some(entry);
    let all = disks.len();
    let holding = disks.filter(|log| holds(log)).count();
    PROPERTY.require(2 * holding > all, || {
        format!("{index:?} is committed and on {holding} of {all} disks")
    })
}

#[cfg(test)]
mod tests {
    use quorate_core::{Ballot, Index};

    use super::super::testing::logs;
    use super::*;

    #[test]
    fn an_entry_on_a_minority_is_found() {
        let logs = logs(&[&[1, 1], &[1], &[1]]);
        let mut commit = Commit::default();
        commit.extend(0, Ballot(1), Index(1), &logs.held[0]).unwrap();
        on_a_quorum(&commit, logs.on_disk()).unwrap();
        commit.extend(0, Ballot(1), Index(2), &logs.held[0]).unwrap();
        let found = on_a_quorum(&commit, logs.on_disk());
        assert_eq!(found.unwrap_err().property, PROPERTY.name);
    }
}
