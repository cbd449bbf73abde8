//! For how long a leader's proposals wait until they are executed.

use std::collections::VecDeque;
use std::time::Duration;

use crate::types::{Ballot, Index};

/// When a leader's proposals were taken, of those that are not executed yet.
///
/// A backlog that takes longer to work off than requests wait for an answer would answer none of
/// them, and would never get shorter: whoever has waited in vain asks again. A bound in bytes
/// does not see that, for it does not know how fast the cluster is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Backlog {
    /// Of proposals of an earlier ballot, nothing is known.
    ballot: Ballot,
    /// Only of some: those between two are as old as the earlier one.
    taken: VecDeque<(Index, Duration)>,
}

impl Backlog {
    /// The proposal with this index was taken. How old they are is known to `resolution`.
    pub(super) fn on_taken(
        &mut self,
        ballot: Ballot,
        index: Index,
        now: Duration,
        resolution: Duration,
    ) {
        if self.ballot != ballot {
            *self = Backlog { ballot, taken: VecDeque::new() };
        }
        let is_due = |(_, last): &(Index, Duration)| now.saturating_sub(*last) >= resolution;
        if self.taken.back().is_none_or(is_due) {
            self.taken.push_back((index, now));
        }
    }

    /// For how long the oldest proposal has waited of those behind `applied`.
    pub(super) fn age(&mut self, ballot: Ballot, applied: Index, now: Duration) -> Duration {
        if self.ballot != ballot {
            return Duration::ZERO;
        }
        // What stands before the next one that is known may still wait.
        while self.taken.get(1).is_some_and(|(next, _)| *next <= applied.next()) {
            self.taken.pop_front();
        }
        let Some((first, since)) = self.taken.front() else { return Duration::ZERO };
        let is_done = self.taken.len() == 1 && *first <= applied;
        if is_done { Duration::ZERO } else { now.saturating_sub(*since) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESOLUTION: Duration = Duration::from_millis(10);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_backlog_is_as_old_as_the_first_that_is_not_executed() {
        let mut backlog = Backlog::default();
        assert_eq!(backlog.age(Ballot(1), Index(0), ms(5)), ms(0));
        for (index, at) in [(1, 0), (2, 4), (3, 12), (4, 30)] {
            backlog.on_taken(Ballot(1), Index(index), ms(at), RESOLUTION);
        }
        let mut age = |applied| backlog.age(Ballot(1), Index(applied), ms(100));
        // What was taken shortly after another is taken to be as old.
        assert_eq!(
            [age(0), age(1), age(2), age(3), age(4)].map(|age| age.as_millis()),
            [100, 100, 88, 70, 0]
        );
        backlog.on_taken(Ballot(1), Index(5), ms(100), RESOLUTION);
        assert_eq!(backlog.age(Ballot(1), Index(4), ms(130)), ms(30));
    }

    #[test]
    fn the_backlog_of_an_earlier_ballot_is_not_this_ones() {
        let mut backlog = Backlog::default();
        backlog.on_taken(Ballot(1), Index(1), ms(0), RESOLUTION);
        assert_eq!(backlog.age(Ballot(2), Index(0), ms(100)), ms(0));
        backlog.on_taken(Ballot(2), Index(2), ms(90), RESOLUTION);
        assert_eq!(backlog.age(Ballot(2), Index(0), ms(100)), ms(10));
    }

    #[test]
    fn however_many_there_are_a_bounded_number_is_remembered() {
        let mut backlog = Backlog::default();
        for index in 1..=1000 {
            backlog.on_taken(Ballot(1), Index(index), ms(index / 10), RESOLUTION);
        }
        assert!(backlog.taken.len() <= 11, "{}", backlog.taken.len());
    }
}
