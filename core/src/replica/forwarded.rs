//! What a leader remembers of requests that other nodes forwarded to it, and whose turn it is.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::Bytes;

use super::requests::Requests;
use crate::entry::EntryKind;
use crate::message::{Place, Refusal};
use crate::types::{Ballot, NodeId, RequestId, Start};

/// Which attempts were seen, so that one sent twice, or duplicated on the way, is taken once; and what
/// arrived ahead of its turn.
/// Remembered for one ballot: in another one, an attempt is not taken at all.
///
/// Each start of a node is a sender of its own. Which of two was first cannot be told: a disk that
/// was put back or replaced counts its starts anew, and what an earlier start has sent may arrive,
/// or arrive again, after a later one has spoken. So no start is forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Forwarded {
    ballot: Ballot,
    seen: BTreeMap<(NodeId, Start), Seen>,
    early_bytes: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Seen {
    /// Everything below was seen, or is no longer waited for.
    floor: u64,
    /// The others, each with the reason for which it was refused, if it was.
    attempts: BTreeMap<u64, Option<Refusal>>,
    /// The first of those that were refused and will be asked for again. Of what has been sent since,
    /// nothing is taken before the sender, which knows of all that, begins a new line.
    put_back: Option<u64>,
    /// What arrived before that was seen which is to come before it, by the latter.
    early: BTreeMap<u64, ForwardedProposal>,
}

/// What another node asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ForwardedProposal {
    pub(super) place: Place,
    pub(super) kind: EntryKind,
    pub(super) payload: Bytes,
}

/// What is known of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// It is seen for the first time.
    First,
    /// Its turn has not come: something that was sent before has not been seen.
    Early,
    /// What was sent before it was refused, and its sender may not know that or will ask for that again:
    /// it must be refused, too.
    Behind,
    /// It was refused, and is still not taken: its sender may have missed the answer.
    Refused(Refusal),
    /// It was taken, or its sender no longer waits for it.
    Settled,
}

impl Forwarded {
    /// Notes an attempt in `ballot`, unless it is early, and tells what was known of it.
    pub(super) fn note(&mut self, ballot: Ballot, from: NodeId, place: Place) -> Attempt {
        if self.ballot != ballot {
            *self = Forwarded { ballot, ..Forwarded::default() };
        }
        let RequestId { start, number } = place.attempt;
        if !self.seen.contains_key(&(from, start)) {
            // Its other processes are dead: nobody misses an answer to what they have sent.
            let others = (from, Start::FIRST)..=(from, Start::LAST);
            for (_, dead) in self.seen.range_mut(others) {
                self.early_bytes -= dead.settle();
            }
        }
        let seen = self.seen.entry((from, start)).or_default();
        if place.oldest.start == start {
            seen.raise(place.oldest.number);
        }
        if number < seen.floor {
            return Attempt::Settled;
        }
        let after = place.after.filter(|after| after.start == start).map(|after| after.number);
        if after.is_none() {
            seen.put_back.take_if(|first| *first < number);
        }
        let is_next = after.is_none_or(|after| seen.is_dealt_with(after));
        let is_behind_a_refused = after.is_some_and(|after| seen.is_refused(after));
        match seen.attempts.entry(number) {
            Entry::Occupied(known) => known.get().map_or(Attempt::Settled, Attempt::Refused),
            Entry::Vacant(_) if !is_next => Attempt::Early,
            Entry::Vacant(_) if is_behind_a_refused => Attempt::Behind,
            Entry::Vacant(unseen) => {
                unseen.insert(None);
                Attempt::First
            }
        }
    }

    /// An attempt that was just noted, or is behind a refused one, is refused: it is never taken later
    /// in this ballot.
    pub(super) fn refuse(&mut self, from: NodeId, attempt: RequestId, reason: Refusal) {
        if let Some(seen) = self.seen.get_mut(&(from, attempt.start)) {
            seen.attempts.insert(attempt.number, Some(reason));
            if matches!(reason, Refusal::HandingOver | Refusal::OutOfTurn) {
                seen.note_put_back(attempt.number);
            }
        }
    }

    /// This replica does not lead: nothing that is early will be taken.
    pub(super) fn drop_early(&mut self) {
        if self.early_bytes > 0 {
            self.seen.values_mut().for_each(|seen| seen.early.clear());
            self.early_bytes = 0;
        }
    }

    /// Keeps a proposal whose attempt is early until its turn comes, as long as all of them together
    /// are no more than `max_bytes`. One that is not kept is sent again.
    pub(super) fn keep(&mut self, from: NodeId, early: ForwardedProposal, max_bytes: usize) {
        let Place { attempt: RequestId { start, .. }, after: Some(after), .. } = early.place else {
            return;
        };
        let bytes = self.early_bytes + early.cost_bytes();
        if let Some(seen) = self.seen.get_mut(&(from, start))
            && bytes <= max_bytes
            && let Entry::Vacant(free) = seen.early.entry(after.number)
        {
            free.insert(early);
            self.early_bytes = bytes;
        }
    }

    /// Whose turn it is after `attempt`, if that was noted, or because what was to come before is no
    /// longer waited for. It is not early any more.
    pub(super) fn next_in_line(
        &mut self,
        from: NodeId,
        attempt: RequestId,
    ) -> Option<ForwardedProposal> {
        let seen = self.seen.get_mut(&(from, attempt.start))?;
        let first = seen.early.first_key_value().map(|(after, _)| *after)?;
        let next = [first, attempt.number].into_iter().find(|next| seen.is_dealt_with(*next))?;
        let next = seen.early.remove(&next)?;
        self.early_bytes -= next.cost_bytes();
        Some(next)
    }
}

impl Seen {
    /// An attempt was noted, or is no longer waited for.
    fn is_dealt_with(&self, attempt: u64) -> bool {
        attempt < self.floor || self.attempts.contains_key(&attempt)
    }

    /// An attempt was refused, and its sender may not know that, or will ask again.
    fn is_refused(&self, attempt: u64) -> bool {
        self.put_back.is_some_and(|first| first <= attempt)
            || self.attempts.get(&attempt).is_some_and(Option::is_some)
    }

    fn note_put_back(&mut self, attempt: u64) {
        self.put_back = Some(self.put_back.map_or(attempt, |first| first.min(attempt)));
    }

    /// Nothing of it is waited for any more. Gives what was kept, in bytes.
    fn settle(&mut self) -> usize {
        // Whether its sender knows of what was refused is forgotten here.
        if let Some((refused, _)) = self.attempts.iter().find(|(_, refusal)| refusal.is_some()) {
            self.note_put_back(*refused);
        }
        if let Some((last, _)) = self.attempts.last_key_value() {
            self.raise(last.saturating_add(1));
        }
        std::mem::take(&mut self.early).values().map(ForwardedProposal::cost_bytes).sum()
    }

    /// Nothing below this number is waited for any more.
    fn raise(&mut self, floor: u64) {
        if floor > self.floor {
            self.floor = floor;
            self.attempts = self.attempts.split_off(&floor);
        }
    }
}

impl ForwardedProposal {
    fn cost_bytes(&self) -> usize {
        Requests::cost_bytes(&self.payload)
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

    fn place(attempt: RequestId, oldest: RequestId) -> Place {
        Place { attempt, after: None, oldest }
    }

    fn is_first(forwarded: &mut Forwarded, attempt: RequestId) -> bool {
        forwarded.note(Ballot(1), NodeId(2), place(attempt, attempt)) == Attempt::First
    }

    #[test]
    fn an_attempt_is_taken_once_however_often_and_late_it_arrives() {
        let mut forwarded = Forwarded::default();
        let mut first = |ballot, attempt, oldest| {
            let place = place(r(attempt), r(oldest));
            forwarded.note(Ballot(ballot), NodeId(2), place) == Attempt::First
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
            let place = place(attempt(2, 2, number), oldest);
            let known = forwarded.note(Ballot(1), from, place);
            assert_eq!(known, Attempt::First);
        }
    }

    #[test]
    fn a_refusal_is_repeated_to_a_sender_that_missed_it() {
        let mut forwarded = Forwarded::default();
        let (ballot, from, attempt) = (Ballot(1), NodeId(2), r(11));
        let place = place(attempt, attempt);
        assert_eq!(forwarded.note(ballot, from, place), Attempt::First);
        forwarded.refuse(from, attempt, Refusal::Busy);
        let again = forwarded.note(ballot, from, place);
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
    fn what_is_kept_until_its_turn_comes_is_bounded_and_gone_with_its_process() {
        let mut forwarded = Forwarded::default();
        let (ballot, from) = (Ballot(1), NodeId(2));
        let early = |number| {
            let after = Some(r(number - 1));
            let place = Place { attempt: r(number), after, oldest: r(1) };
            ForwardedProposal { place, kind: EntryKind::Command, payload: Bytes::from("payload") }
        };
        let cost = Requests::cost_bytes(&early(2).payload);
        let room = 2 * cost;
        let arrive = |forwarded: &mut Forwarded, number| {
            assert_eq!(forwarded.note(ballot, from, early(number).place), Attempt::Early);
            forwarded.keep(from, early(number), room);
        };
        for number in [3, 3, 2, 5] {
            arrive(&mut forwarded, number);
        }
        assert_eq!(forwarded.early_bytes, room);
        assert!(is_first(&mut forwarded, r(1)));
        for (number, left) in [(2, cost), (3, 0)] {
            assert_eq!(forwarded.next_in_line(from, r(number - 1)), Some(early(number)));
            assert_eq!(forwarded.early_bytes, left);
            assert_eq!(forwarded.note(ballot, from, early(number).place), Attempt::First);
        }
        assert_eq!((forwarded.next_in_line(from, r(3)), forwarded.early_bytes), (None, 0));
        arrive(&mut forwarded, 9);
        assert!(is_first(&mut forwarded, attempt(2, 2, 1)));
        assert_eq!((forwarded.next_in_line(from, r(8)), forwarded.early_bytes), (None, 0));
        assert_eq!(forwarded.note(ballot, from, early(8).place), Attempt::Early);
    }

    #[test]
    fn what_names_itself_or_what_names_it_as_the_one_before_is_never_its_own_turn() {
        let mut forwarded = Forwarded::default();
        let (ballot, from) = (Ballot(1), NodeId(2));
        for (number, after) in [(5, 5), (7, 8), (8, 7)] {
            let place = Place { attempt: r(number), after: Some(r(after)), oldest: r(1) };
            let kind = EntryKind::Command;
            let early = ForwardedProposal { place, kind, payload: Bytes::from("payload") };
            assert_eq!(forwarded.note(ballot, from, place), Attempt::Early);
            forwarded.keep(from, early, usize::MAX);
            assert_eq!(forwarded.next_in_line(from, r(number)), None);
        }
    }

    #[test]
    fn what_was_refused_is_known_to_have_been_though_its_start_was_thought_dead() {
        let mut forwarded = Forwarded::default();
        let (ballot, from) = (Ballot(1), NodeId(2));
        assert!(is_first(&mut forwarded, r(1)));
        forwarded.refuse(from, r(1), Refusal::Busy);
        // Something that an earlier process sent arrives late.
        assert!(is_first(&mut forwarded, attempt(0, 9, 1)));
        let behind = Place { attempt: r(2), after: Some(r(1)), oldest: r(1) };
        assert_eq!(forwarded.note(ballot, from, behind), Attempt::Behind);
    }

    #[test]
    fn what_was_put_back_begins_no_new_line_though_it_arrives_once_more() {
        let mut forwarded = Forwarded::default();
        let (ballot, from) = (Ballot(1), NodeId(2));
        assert!(is_first(&mut forwarded, r(1)));
        forwarded.refuse(from, r(1), Refusal::HandingOver);
        let again = forwarded.note(ballot, from, place(r(1), r(1)));
        assert_eq!(again, Attempt::Refused(Refusal::HandingOver));
        // Its sender knows, and will ask for that again; this one it had sent before.
        let behind = Place { attempt: r(2), after: Some(r(1)), oldest: r(2) };
        assert_eq!(forwarded.note(ballot, from, behind), Attempt::Behind);
    }

    #[test]
    fn a_start_of_which_nobody_waits_for_anything_takes_little_memory() {
        let mut forwarded = Forwarded::default();
        for start in 1..100 {
            for number in 1..100 {
                let (from, oldest) = (NodeId(2), attempt(start, 0, 1));
                forwarded.note(Ballot(1), from, place(attempt(start, 0, number), oldest));
            }
        }
        let remembered: usize = forwarded.seen.values().map(|seen| seen.attempts.len()).sum();
        assert!(remembered < 100, "{remembered}");
    }
}
