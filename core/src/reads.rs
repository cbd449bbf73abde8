//! Linearizable reads without writing to the log: ReadIndex (Ongaro 2014, section 6.4).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::protocol::ReadId;
use crate::types::{Index, NodeId, RequestId};

/// The rounds in which a leader asks its followers "do you still follow me?".
///
/// Every message to a follower carries the number of the latest round, and the answer echoes it.
/// A quorum of echoes of round `n` or later proves that when round `n` began, no later term had
/// a leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rounds {
    latest: u64,
    /// When the latest round began that a quorum has answered; at first, when the term began.
    confirmed_at: Duration,
    /// The number of each later round, and when it began. Ascending.
    open: VecDeque<(u64, Duration)>,
}

impl Rounds {
    /// The ballot of a leader began at `now`.
    #[must_use]
    pub fn since(now: Duration) -> Rounds {
        Rounds { latest: 0, confirmed_at: now, open: VecDeque::new() }
    }

    /// The number of the round that began last; 0 if none has.
    #[must_use]
    pub fn latest(&self) -> u64 {
        self.latest
    }

    /// A round begins.
    pub fn begin(&mut self, now: Duration) {
        self.latest += 1;
        self.open.push_back((self.latest, now));
    }

    /// A quorum has answered `round` or a later one.
    pub fn confirm(&mut self, round: u64) {
        while let Some((number, began)) = self.open.front().copied() {
            if number > round {
                break;
            }
            self.confirmed_at = began;
            self.open.pop_front();
        }
    }

    /// A moment at which a quorum surely followed.
    #[must_use]
    pub fn confirmed_at(&self) -> Duration {
        self.confirmed_at
    }
}

/// Reads that wait for the proof that their leader still led when they arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reads {
    /// Each read, the index that covers everything acknowledged before it, and the first round
    /// that begins after it arrived. Rounds ascend.
    waiting: VecDeque<(ReadId, Index, u64)>,
    /// The same, by node.
    by_origin: BTreeMap<NodeId, BTreeSet<RequestId>>,
}

/// So many reads of one node wait at most. A leader that cannot commit the entry which opens its
/// ballot answers none, and is asked again and again.
const MOST_OF_A_NODE: usize = 1 << 16;

impl Reads {
    /// A read arrived. `index` covers everything that was acknowledged before. Nothing changes if
    /// it waits already, or too many do: whoever still waits for it asks again.
    pub fn register(&mut self, read: ReadId, index: Index, rounds: &Rounds) {
        let of_its_node = self.by_origin.entry(read.origin).or_default();
        if of_its_node.len() < MOST_OF_A_NODE && of_its_node.insert(read.request) {
            self.waiting.push_back((read, index, rounds.latest() + 1));
        }
    }

    /// True if a read waits for a round that has not begun.
    #[must_use]
    pub fn need_round(&self, rounds: &Rounds) -> bool {
        self.waiting.back().is_some_and(|(_, _, round)| *round > rounds.latest())
    }

    /// Takes out the first read if `round` proves it.
    pub fn pop_confirmed(&mut self, round: u64) -> Option<(ReadId, Index)> {
        let (read, index, _) = *self.waiting.front().filter(|(_, _, needs)| *needs <= round)?;
        self.waiting.pop_front();
        if let Entry::Occupied(mut of_its_node) = self.by_origin.entry(read.origin) {
            of_its_node.get_mut().remove(&read.request);
            if of_its_node.get().is_empty() {
                of_its_node.remove();
            }
        }
        Some((read, index))
    }

    /// All reads that were not confirmed.
    pub fn into_lost(self) -> impl Iterator<Item = ReadId> {
        self.waiting.into_iter().map(|(read, _, _)| read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn read(number: u64) -> ReadId {
        let request = RequestId { number, ..RequestId::default() };
        ReadId { origin: NodeId(1), request }
    }

    #[test]
    fn a_read_that_is_asked_for_again_and_again_waits_once_and_a_node_has_so_many_at_most() {
        let (mut rounds, mut reads) = (Rounds::since(at(0)), Reads::default());
        for round in 0..3 {
            rounds.begin(at(round));
            for number in 0..MOST_OF_A_NODE as u64 + 10 {
                reads.register(read(number), Index(7 + round), &rounds);
            }
        }
        let other = ReadId { origin: NodeId(2), ..read(0) };
        reads.register(other, Index(7), &rounds);
        assert_eq!(reads.waiting.len(), MOST_OF_A_NODE + 1);
        // As it was asked for first. Once it is answered, there is room for another one.
        assert_eq!(reads.pop_confirmed(4), Some((read(0), Index(7))));
        reads.register(read(0), Index(9), &rounds);
        assert_eq!(reads.waiting.len(), MOST_OF_A_NODE + 1);
        let mut rest = std::iter::from_fn(|| reads.pop_confirmed(4)).skip(MOST_OF_A_NODE - 1);
        assert_eq!(rest.next(), Some((other, Index(7))));
        assert_eq!(rest.next(), Some((read(0), Index(9))));
        assert_eq!(reads, Reads::default());
    }

    #[test]
    fn contact_is_as_old_as_the_beginning_of_the_round_that_was_answered() {
        let mut rounds = Rounds::since(at(1));
        (2..=4).for_each(|second| rounds.begin(at(second)));
        assert_eq!(rounds.confirmed_at(), at(1));
        rounds.confirm(0);
        assert_eq!(rounds.confirmed_at(), at(1));
        rounds.confirm(2);
        assert_eq!(rounds.confirmed_at(), at(3));
        rounds.confirm(1);
        assert_eq!(rounds.confirmed_at(), at(3));
        rounds.confirm(3);
        assert_eq!((rounds.confirmed_at(), rounds.open.len()), (at(4), 0));
    }

    #[test]
    fn a_read_needs_a_round_that_begins_after_it() {
        let (mut rounds, mut reads) = (Rounds::since(at(0)), Reads::default());
        rounds.begin(at(1));
        reads.register(read(1), Index(7), &rounds);
        assert!(reads.need_round(&rounds));
        assert_eq!(reads.pop_confirmed(1), None);
        rounds.begin(at(2));
        assert!(!reads.need_round(&rounds));
        reads.register(read(2), Index(8), &rounds);
        assert_eq!(reads.pop_confirmed(2), Some((read(1), Index(7))));
        assert_eq!(reads.pop_confirmed(2), None);
        assert_eq!(reads.into_lost().collect::<Vec<_>>(), [read(2)]);
    }
}
