//! What a leader remembers of requests that other nodes forwarded to it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::message::Refusal;
use crate::types::{Ballot, NodeId, RequestId, Start};

/// Which attempts were seen, so that one sent twice, or duplicated on the way, is taken once.
/// Remembered for one ballot: in another one, an attempt is not taken at all.
///
/// Each start of a node is a sender of its own. Which of two was first cannot be told: a disk that
/// was put back or replaced counts its starts anew, and what an earlier start has sent may arrive,
/// or arrive again, after a later one has spoken. So no start is forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Forwarded {
    ballot: Ballot,
    seen: BTreeMap<(NodeId, Start), Seen>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Seen {
    /// Everything below was seen, or is no longer waited for.
    floor: u64,
    /// The others, each with the reason for which it was refused, if it was.
    attempts: BTreeMap<u64, Option<Refusal>>,
}

/// What is known of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// It is seen for the first time.
    First,
    /// It was refused, and is still not taken: its sender may have missed the answer.
    Refused(Refusal),
    /// It was taken, or its sender no longer waits for it.
    Settled,
}

impl Forwarded {
    /// Notes an attempt in `ballot`, and tells what was known of it. `oldest` is the oldest
    /// attempt whose outcome its sender does not know.
    pub(super) fn note(
        &mut self,
        ballot: Ballot,
        from: NodeId,
        attempt: RequestId,
        oldest: RequestId,
    ) -> Attempt {
        if self.ballot != ballot {
            *self = Forwarded { ballot, seen: BTreeMap::new() };
        }
        let RequestId { start, number } = attempt;
        if !self.seen.contains_key(&(from, start)) {
            // Its other processes are dead: nobody misses an answer to what they have sent.
            let others = (from, Start::FIRST)..=(from, Start::LAST);
            self.seen.range_mut(others).for_each(|(_, dead)| dead.settle());
        }
        let seen = self.seen.entry((from, start)).or_default();
        if oldest.start == start {
            seen.raise(oldest.number);
        }
        if number < seen.floor {
            return Attempt::Settled;
        }
        match seen.attempts.entry(number) {
            Entry::Vacant(unseen) => {
                unseen.insert(None);
                Attempt::First
            }
            Entry::Occupied(known) => known.get().map_or(Attempt::Settled, Attempt::Refused),
        }
    }

    /// An attempt that was just noted is refused: it is never taken later in this ballot.
    pub(super) fn refuse(&mut self, from: NodeId, attempt: RequestId, reason: Refusal) {
        if let Some(seen) = self.seen.get_mut(&(from, attempt.start)) {
            seen.attempts.insert(attempt.number, Some(reason));
        }
    }
}

impl Seen {
    /// Nothing that was seen is waited for any more.
    fn settle(&mut self) {
        if let Some((last, _)) = self.attempts.last_key_value() {
            self.raise(last.saturating_add(1));
        }
    }

    /// Nothing below this number is waited for any more.
    fn raise(&mut self, floor: u64) {
        if floor > self.floor {
            self.floor = floor;
            self.attempts = self.attempts.split_off(&floor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(count: u64, nonce: u64, number: u64) -> RequestId {
        RequestId { start: Start { count, nonce }, number }
    }

    fn r(number: u64) -> RequestId {
        attempt(1, 1, number)
    }

    fn is_first(forwarded: &mut Forwarded, attempt: RequestId) -> bool {
        forwarded.note(Ballot(1), NodeId(2), attempt, attempt) == Attempt::First
    }

    #[test]
    fn an_attempt_is_taken_once_however_often_and_late_it_arrives() {
        let mut forwarded = Forwarded::default();
        let mut first = |ballot, attempt, oldest| {
            let (ballot, from) = (Ballot(ballot), NodeId(2));
            let known = forwarded.note(ballot, from, r(attempt), r(oldest));
            known == Attempt::First
        };
        assert!(first(1, 11, 10));
        assert!(first(1, 10, 10));
        assert!(!first(1, 10, 10));
        assert!(!first(1, 11, 10));
        assert!(first(1, 13, 12));
        assert!(!first(1, 10, 10));
        assert!(!first(1, 13, 12));
        assert!(first(2, 13, 12));
    }

    #[test]
    fn what_a_dead_process_waits_for_says_nothing_of_what_the_next_one_does() {
        let mut forwarded = Forwarded::default();
        let (oldest, from) = (attempt(1, 1, 1000), NodeId(2));
        for number in [6, 5] {
            let known = forwarded.note(Ballot(1), from, attempt(2, 2, number), oldest);
            assert_eq!(known, Attempt::First);
        }
    }

    #[test]
    fn a_refusal_is_repeated_to_a_sender_that_missed_it() {
        let mut forwarded = Forwarded::default();
        let (ballot, from, attempt) = (Ballot(1), NodeId(2), r(11));
        assert_eq!(forwarded.note(ballot, from, attempt, attempt), Attempt::First);
        forwarded.refuse(from, attempt, Refusal::Busy);
        let again = forwarded.note(ballot, from, attempt, attempt);
        assert_eq!(again, Attempt::Refused(Refusal::Busy));
    }

    #[test]
    fn a_node_whose_disk_counts_its_starts_anew_is_served_in_the_same_ballot() {
        let mut forwarded = Forwarded::default();
        assert!(is_first(&mut forwarded, attempt(7, 70, 1000)));
        for (count, nonce) in [(8, 1), (2, 5), (1, 9), (8, 0), (3, 3)] {
            assert!(is_first(&mut forwarded, attempt(count, nonce, 1)), "start {count}");
            assert!(is_first(&mut forwarded, attempt(count, nonce, 2)), "start {count}");
        }
    }

    #[test]
    fn what_an_earlier_start_sent_is_taken_once_though_a_later_one_has_spoken() {
        let mut forwarded = Forwarded::default();
        let starts = [(3, 30), (4, 40), (2, 20), (4, 4)];
        for (count, nonce) in starts {
            assert!(is_first(&mut forwarded, attempt(count, nonce, 10)));
        }
        for (count, nonce) in starts {
            assert!(!is_first(&mut forwarded, attempt(count, nonce, 10)), "start {count}");
        }
        // Whichever of them lives on is not held up by what arrived of the others.
        for (count, nonce) in starts {
            assert!(is_first(&mut forwarded, attempt(count, nonce, 11)));
        }
    }

    #[test]
    fn the_highest_number_is_settled_like_any_other() {
        let mut forwarded = Forwarded::default();
        assert!(is_first(&mut forwarded, attempt(1, 10, u64::MAX)));
        assert!(is_first(&mut forwarded, attempt(2, 20, 1)));
        assert!(!is_first(&mut forwarded, attempt(1, 10, u64::MAX)));
    }

    #[test]
    fn a_start_of_which_nobody_waits_for_anything_takes_little_memory() {
        let mut forwarded = Forwarded::default();
        for start in 1..100 {
            for number in 1..100 {
                let (from, oldest) = (NodeId(2), attempt(start, 0, 1));
                forwarded.note(Ballot(1), from, attempt(start, 0, number), oldest);
            }
        }
        let remembered: usize = forwarded.seen.values().map(|seen| seen.attempts.len()).sum();
        assert!(remembered < 100, "{remembered}");
    }
}
