//! What a leader remembers of requests that other nodes forwarded to it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::message::Refusal;
use crate::types::{Ballot, NodeId, RequestId};

/// Which attempts were seen, so that one sent twice, or duplicated on the way, is taken once.
/// Remembered for one ballot: in another one, an attempt is not taken at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Forwarded {
    ballot: Ballot,
    seen: BTreeMap<NodeId, Seen>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Seen {
    /// Everything below was seen, or is no longer waited for.
    floor: RequestId,
    /// The others, each with the reason for which it was refused, if it was.
    attempts: BTreeMap<RequestId, Option<Refusal>>,
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
        let seen = self.seen.entry(from).or_default();
        if oldest > seen.floor {
            seen.floor = oldest;
            seen.attempts = seen.attempts.split_off(&oldest);
        }
        if attempt < seen.floor {
            return Attempt::Settled;
        }
        match seen.attempts.entry(attempt) {
            Entry::Vacant(unseen) => {
                unseen.insert(None);
                Attempt::First
            }
            Entry::Occupied(known) => known.get().map_or(Attempt::Settled, Attempt::Refused),
        }
    }

    /// An attempt that was just noted is refused: it is never taken later in this ballot.
    pub(super) fn refuse(&mut self, from: NodeId, attempt: RequestId, reason: Refusal) {
        if let Some(seen) = self.seen.get_mut(&from) {
            seen.attempts.insert(attempt, Some(reason));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_taken_once_however_often_and_late_it_arrives() {
        let mut forwarded = Forwarded::default();
        let mut first = |ballot, attempt, oldest| {
            let (ballot, from) = (Ballot(ballot), NodeId(2));
            let known = forwarded.note(ballot, from, RequestId(attempt), RequestId(oldest));
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
    fn a_refusal_is_repeated_to_a_sender_that_missed_it() {
        let mut forwarded = Forwarded::default();
        let (ballot, from, attempt) = (Ballot(1), NodeId(2), RequestId(11));
        assert_eq!(forwarded.note(ballot, from, attempt, attempt), Attempt::First);
        forwarded.refuse(from, attempt, Refusal::Busy);
        let again = forwarded.note(ballot, from, attempt, attempt);
        assert_eq!(again, Attempt::Refused(Refusal::Busy));
    }
}
