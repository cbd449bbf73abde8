//! Committed entries never change: what one replica calls committed stands in the log of every other that
//! calls it so, stays there, and is what is executed (Ongaro 2014, figure 3.2 and section 3.6.3).

use quorate_core::{Ballot, Digest, Index, LogId, Run};

use super::{Mirror, Property, Verdict, Violation};

const PROPERTY: Property = Property {
    name: "committed entries never change",
    stated_in: "Ongaro 2014, figure 3.2 and section 3.6.3",
};

/// What is committed, as the first replica that knew said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Commit {
    /// From index 1 on.
    entries: Vec<(Ballot, Digest)>,
    /// For each ballot in which something was committed, the last index which was: ascending in
    /// both, since later commits cover earlier ones.
    ballots: Vec<(Ballot, Index)>,
}

impl Commit {
    /// The last index which is committed.
    #[must_use]
    pub fn committed(&self) -> Index {
        Index(self.entries.len() as u64)
    }

    /// The entry at `index`, if that is committed.
    pub(super) fn at(&self, index: Index) -> Option<(Ballot, Digest)> {
        self.entries.get(usize::try_from(index.0.checked_sub(1)?).ok()?).copied()
    }

    /// The last entry which was committed in a ballot before `ballot`.
    #[must_use]
    pub fn last_before(&self, ballot: Ballot) -> Option<(Index, (Ballot, Digest))> {
        let earlier = self.ballots.iter().filter(|(b, _)| *b < ballot);
        let index = earlier.map(|(_, index)| *index).max()?;
        Some((index, self.at(index)?))
    }

    /// `node`, which is in `ballot` and holds this log, is the first to say that everything up to
    /// `committed` is. Gives the names of what is news.
    ///
    /// # Errors
    /// If it lacks some of that, or what was known before.
    pub fn extend(
        &mut self,
        node: usize,
        ballot: Ballot,
        committed: Index,
        held: &Mirror,
    ) -> Result<Vec<LogId>, Violation> {
        // What is news must stand on what was known.
        self.agrees(node, self.committed(), held)?;
        let mut fresh = Vec::new();
        for index in (self.committed().0 + 1..=committed.0).map(Index) {
            let Some(entry) = held.at(index) else {
                let details =
                    format!("replica {} calls {index:?} committed and lacks it", node + 1);
                return Err(PROPERTY.violation(details));
            };
            fresh.push(LogId::new(index, entry.0));
            self.entries.push(entry);
        }
        match self.ballots.last_mut() {
            Some((last, index)) if *last == ballot => *index = committed,
            _ => self.ballots.push((ballot, committed)),
        }
        Ok(fresh)
    }

    /// `node` says that everything up to `committed` is, and holds this log.
    ///
    /// # Errors
    /// If that is not what was known to be committed.
    pub fn agrees(&self, node: usize, committed: Index, held: &Mirror) -> Verdict {
        if committed == Index::ZERO || committed < held.base() {
            return Ok(());
        }
        // Digests chain: one comparison stands for everything before it.
        let (here, known) = (held.at(committed), self.at(committed));
        PROPERTY.require(here == known, || {
            format!("{committed:?} is {known:?}; replica {} has {here:?} there", node + 1)
        })
    }

    /// `node`, which was in `ballot` before, changes its log `held` so: that may end earlier and be of
    /// another ballot then, but what is committed in no later ballot than it does so in stays there. In an
    /// earlier one it may well be replaced: by a leader who was elected without it, is replaced by now, and
    /// of whose successors this replica has not heard.
    pub(super) fn keeps(&self, node: usize, ballot: Ballot, held: &Mirror, run: &Run) -> Verdict {
        let first = run.previous.index.next();
        let ballot = run.entries.last().map_or(ballot, |last| last.ballot().max(ballot));
        let committed = self.ballots.iter().rfind(|(b, _)| *b <= ballot);
        let last = held.last().min(committed.map_or(Index::ZERO, |(_, index)| *index));
        let replaced = run.entries.iter().map(|entry| Some((entry.ballot(), entry.digest())));
        let replaced = replaced.chain(std::iter::repeat(None));
        let both = (first.0..=last.0).map(Index).zip(replaced);
        let lost = both.map(|(index, new)| (index, new, self.at(index)));
        let lost = lost.filter(|(index, new, known)| held.at(*index) == *known && new != known);
        let lost = lost.map(|(index, ..)| index).next();
        PROPERTY.require(lost.is_none(), || {
            let known = lost.and_then(|index| self.at(index));
            format!("replica {} gives up {lost:?}, which is committed: {known:?}", node + 1)
        })
    }

    /// `node` has executed entries up to `index`.
    pub(super) fn covers(&self, node: usize, index: Index) -> Verdict {
        PROPERTY.require(index <= self.committed(), || {
            let committed = self.committed();
            format!("replica {} executed {index:?}; committed is {committed:?}", node + 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{committed_on, digest, logs, mirror, run};
    use super::*;

    #[test]
    fn a_committed_entry_that_changes_is_found() {
        let (check, _) = committed_on(&[&[1, 1], &[1, 1], &[1, 1]], Ballot(1));
        check.agrees(1, Index(2), &mirror(&[1, 1])).unwrap();
        let changed = check.agrees(2, Index(2), &mirror(&[1, 2]));
        assert_eq!(changed.unwrap_err().property, PROPERTY.name);
    }

    #[test]
    fn what_is_committed_on_another_past_is_found() {
        let logs = logs(&[&[1, 1], &[1, 2, 2], &[1, 2, 2]]);
        let mut check = Commit::default();
        check.extend(0, Ballot(1), Index(2), &logs.held[0]).unwrap();
        let other_past = check.extend(1, Ballot(2), Index(3), &logs.held[1]);
        assert_eq!(other_past.unwrap_err().property, PROPERTY.name);
    }

    #[test]
    fn a_committed_entry_that_a_replica_gives_up_is_found() {
        let (check, logs) = committed_on(&[&[1, 1], &[1, 1, 2], &[1, 3]], Ballot(1));
        let cut = |previous| run(previous, 1, digest(previous, 1), &[4]);
        check.keeps(1, Ballot(2), &logs.held[1], &cut(2)).unwrap();
        let given_up = check.keeps(1, Ballot(2), &logs.held[1], &cut(1));
        assert_eq!(given_up.unwrap_err().property, PROPERTY.name);
        check.keeps(2, Ballot(3), &logs.held[2], &cut(1)).unwrap();
        let again = run(1, 1, digest(1, 1), &[1]);
        check.keeps(1, Ballot(2), &logs.held[1], &again).unwrap();
    }

    #[test]
    fn what_is_committed_later_may_be_given_up_in_between() {
        // Entry 2 is of ballot 1, and committed in ballot 8, of which the third replica has not heard.
        let logs = logs(&[&[1, 1, 8], &[1, 1, 8], &[1, 1]]);
        let mut check = Commit::default();
        check.extend(0, Ballot(1), Index(1), &logs.held[0]).unwrap();
        check.extend(0, Ballot(8), Index(3), &logs.held[0]).unwrap();
        let cut = |ballot| run(1, 1, digest(1, 1), &[ballot]);
        check.keeps(2, Ballot(4), &logs.held[2], &cut(6)).unwrap();
        check.keeps(2, Ballot(4), &logs.held[2], &cut(9)).unwrap_err();
        check.keeps(2, Ballot(8), &logs.held[2], &cut(6)).unwrap_err();
        let first = run(0, 0, Digest::ZERO, &[6]);
        check.keeps(2, Ballot(4), &logs.held[2], &first).unwrap_err();
    }

    #[test]
    fn execution_of_what_nobody_committed_is_found() {
        let (check, _) = committed_on(&[&[1], &[1], &[]], Ballot(1));
        check.covers(0, Index(1)).unwrap();
        assert_eq!(check.covers(0, Index(2)).unwrap_err().property, PROPERTY.name);
    }

    #[test]
    fn what_a_replica_calls_committed_it_must_have() {
        let logs = logs(&[&[1], &[1], &[1]]);
        let lacking = Commit::default().extend(0, Ballot(1), Index(2), &logs.held[0]);
        assert_eq!(lacking.unwrap_err().property, PROPERTY.name);
    }
}
