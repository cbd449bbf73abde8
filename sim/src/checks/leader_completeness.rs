//! Leader Completeness: if an entry is committed in a given term, then it is present in the logs
//! of the leaders of all higher-numbered terms (Ongaro 2014, figure 3.2; section 3.6.3).

use quorate_core::Ballot;

use super::commit::Commit;
use super::{Mirror, Property, Verdict};

const PROPERTY: Property = Property {
    name: "leader completeness",
    stated_in: "Ongaro 2014, figure 3.2 and section 3.6.3",
};

/// Compares each leader, when it is first seen, with what was committed before its ballot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaderCompleteness;

impl LeaderCompleteness {
    /// `node`, whose log is `held`, leads in `ballot`.
    ///
    /// # Errors
    /// If it lacks something that was committed before.
    pub fn elected(
        &mut self,
        node: usize,
        ballot: Ballot,
        held: &Mirror,
        commit: &Commit,
    ) -> Verdict {
        let Some((index, committed)) = commit.last_before(ballot) else { return Ok(()) };
        // Digests chain: a log which holds the last of these entries holds them all.
        let present = index < held.base() || held.at(index) == Some(committed);
        PROPERTY.require(present, || {
            format!(
                "replica {} leads in {ballot:?}; committed earlier at {index:?}: {committed:?}; \
                 it has {:?} there",
                node + 1,
                held.at(index)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{committed_on, mirror};
    use super::*;

    #[test]
    fn a_leader_without_a_committed_entry_is_found() {
        let (commit, _) = committed_on(&[&[1, 1], &[1, 1], &[1]], Ballot(1));
        let mut check = LeaderCompleteness;
        check.elected(1, Ballot(2), &mirror(&[1, 1]), &commit).unwrap();
        let lacking = check.elected(2, Ballot(2), &mirror(&[1]), &commit);
        assert_eq!(lacking.unwrap_err().property, PROPERTY.name);
        // What was committed in its own ballot or later need not be there.
        check.elected(2, Ballot(1), &mirror(&[1]), &commit).unwrap();
    }
}
