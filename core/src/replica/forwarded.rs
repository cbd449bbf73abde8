//! What a leader remembers of requests that other nodes forwarded to it.

use std::collections::{BTreeMap, BTreeSet};

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
    attempts: BTreeSet<RequestId>,
}

impl Forwarded {
    /// True if this attempt is seen for the first time in `ballot`. `oldest` is the oldest
    /// attempt whose outcome its sender does not know.
    pub(super) fn is_first(
        &mut self,
        ballot: Ballot,
        from: NodeId,
        attempt: RequestId,
        oldest: RequestId,
    ) -> bool {
        if self.ballot != ballot {
            *self = Forwarded { ballot, seen: BTreeMap::new() };
        }
        let seen = self.seen.entry(from).or_default();
        if oldest > seen.floor {
            seen.floor = oldest;
            seen.attempts = seen.attempts.split_off(&oldest);
        }
        attempt >= seen.floor && seen.attempts.insert(attempt)
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
            forwarded.is_first(ballot, from, RequestId(attempt), RequestId(oldest))
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
}
