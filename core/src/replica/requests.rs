//! What the clients of this node wait for.
//!
//! A proposal is *waiting* until a leader is known, then *sent* in that leader's ballot, and ends
//! when its entry is applied here. All sent proposals are of one ballot, and nothing is sent in a
//! later one before the fate of those is known: once an entry of a later ballot has been applied
//! and a proposal was not, it never will be (ballots do not decrease along the log), and it
//! waits again. So a change of leader neither loses, repeats nor reorders what a node was asked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use crate::entry::{Entry, EntryKind};
use crate::event::Failure;
use crate::message::Place;
use crate::types::{Ballot, Index, RequestId};

/// How many times the pause between two sendings of the same doubles.
const MOST_DOUBLINGS: u32 = 5;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Requests {
    proposals: BTreeMap<RequestId, Proposed>,
    bytes: usize,
    waiting: BTreeSet<RequestId>,
    /// Attempts whose outcome is not known, and the proposals which they are for.
    sent: BTreeMap<RequestId, RequestId>,
    sent_bytes: usize,
    sent_in: Ballot,
    /// The leader of this ballot asked not to be sent more for a while.
    paused_in: Option<Ballot>,
    /// Something of what was sent waits again. Nothing is sent ahead of it, and so nothing at all until
    /// what became of everything else is known.
    has_put_back: bool,
    reads: BTreeMap<RequestId, Read>,
    /// Reads that nobody was asked to confirm in `reads_sent_in`.
    unsent_reads: BTreeSet<RequestId>,
    reads_sent_in: Ballot,
    /// Reads which may be answered once this index is applied.
    ready: BTreeSet<(Index, RequestId)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Proposed {
    pub(super) kind: EntryKind,
    pub(super) payload: Bytes,
    deadline: Duration,
    attempt: Option<RequestId>,
    /// The attempt that was sent before this one, if its outcome was not known then.
    after: Option<RequestId>,
    sent_at: Duration,
    /// How many times the attempt was sent again.
    repeated: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Read {
    deadline: Duration,
    sent_at: Duration,
    ready_at: Option<Index>,
}

/// Proposals.
impl Requests {
    /// What all proposals cost.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What those proposals cost whose outcome in the ballot in which they were sent is not known.
    pub(super) fn sent_bytes(&self) -> usize {
        self.sent_bytes
    }

    /// What a proposal costs, in bytes. A small one costs more than its payload.
    pub(super) fn cost_bytes(payload: &Bytes) -> usize {
        Entry::OVERHEAD + payload.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.proposals.is_empty() && self.reads.is_empty()
    }

    pub(super) fn admit(
        &mut self,
        request: RequestId,
        kind: EntryKind,
        payload: Bytes,
        deadline: Duration,
    ) {
        self.bytes += Requests::cost_bytes(&payload);
        let sent_at = Duration::ZERO;
        let (attempt, after) = (None, None);
        let proposed = Proposed { kind, payload, deadline, attempt, after, sent_at, repeated: 0 };
        let replaced = self.proposals.insert(request, proposed);
        assert!(replaced.is_none(), "a request's name is used once");
        self.waiting.insert(request);
    }

    /// True if a proposal that was not sent ends at `until` or before.
    pub(super) fn has_waited_until(&self, until: Duration) -> bool {
        let oldest = self.waiting.first().map(|request| &self.proposals[request]);
        oldest.is_some_and(|oldest| oldest.deadline <= until)
    }

    /// The next proposal that may be sent to the leader of `ballot`.
    pub(super) fn next_to_send(&self, ballot: Ballot) -> Option<(RequestId, &Proposed)> {
        let must_hear_first = self.has_put_back || self.sent_in != ballot;
        if self.paused_in == Some(ballot) || (!self.sent.is_empty() && must_hear_first) {
            return None;
        }
        let request = *self.waiting.first()?;
        Some((request, &self.proposals[&request]))
    }

    pub(super) fn mark_sent(
        &mut self,
        request: RequestId,
        attempt: RequestId,
        ballot: Ballot,
        now: Duration,
    ) -> Place {
        assert!(self.sent.is_empty() || self.sent_in == ballot, "one ballot at a time");
        assert!(self.waiting.remove(&request), "only what waits is sent");
        let after = self.sent.last_key_value().map(|(last, _)| *last);
        self.has_put_back = false;
        let proposed = self.proposals.get_mut(&request).expect("what waits is pending");
        (proposed.attempt, proposed.after) = (Some(attempt), after);
        (proposed.sent_at, proposed.repeated) = (now, 0);
        self.sent_bytes += Requests::cost_bytes(&proposed.payload);
        self.sent.insert(attempt, request);
        self.sent_in = ballot;
        Place { attempt, after, oldest: self.oldest_attempt().unwrap_or(attempt) }
    }

    fn oldest_attempt(&self) -> Option<RequestId> {
        self.sent.keys().next().copied()
    }

    /// Attempts in `ballot` that may have got lost; they count as sent at `now`. The first time they
    /// may after `interval`, and each time after twice as long as before: a leader whose disk is
    /// slow has them, and gets all of each of them once more.
    pub(super) fn send_again(
        &mut self,
        ballot: Ballot,
        now: Duration,
        interval: Duration,
    ) -> Vec<(Place, EntryKind, Bytes)> {
        self.paused_in = None;
        let Some(oldest) = self.oldest_attempt().filter(|_| self.sent_in == ballot) else {
            return Vec::new();
        };
        let mut again = Vec::new();
        for (attempt, request) in &self.sent {
            let proposed = self.proposals.get_mut(request).expect("what is sent is pending");
            let patience = interval.saturating_mul(1 << proposed.repeated.min(MOST_DOUBLINGS));
            if proposed.sent_at.saturating_add(patience) < now {
                (proposed.sent_at, proposed.repeated) = (now, proposed.repeated + 1);
                let place = Place { attempt: *attempt, after: proposed.after, oldest };
                again.push((place, proposed.kind, proposed.payload.clone()));
            }
        }
        again
    }

    /// The request's entry was applied here, or the request is given up. True if it was pending.
    pub(super) fn end(&mut self, request: RequestId) -> bool {
        let Some(proposed) = self.proposals.remove(&request) else { return false };
        let cost = Requests::cost_bytes(&proposed.payload);
        self.bytes -= cost;
        self.waiting.remove(&request);
        if let Some(attempt) = proposed.attempt {
            self.sent.remove(&attempt);
            self.sent_bytes -= cost;
        }
        true
    }

    /// The proposal to which an attempt belongs.
    pub(super) fn attempted(&self, attempt: RequestId) -> Option<RequestId> {
        self.sent.get(&attempt).copied()
    }

    /// An attempt was surely not taken: the proposal waits again.
    pub(super) fn put_back(&mut self, attempt: RequestId) {
        if let Some(request) = self.sent.remove(&attempt) {
            self.wait_again(request);
            self.has_put_back = true;
        }
    }

    /// The same, by a leader that takes none for now.
    pub(super) fn pause(&mut self, attempt: RequestId) {
        if self.sent.contains_key(&attempt) {
            self.put_back(attempt);
            self.paused_in = Some(self.sent_in);
        }
    }

    /// Everything up to an entry of `ballot` was applied, and the proposals found among it are
    /// ended: what was sent in an earlier ballot never took effect, and waits again.
    pub(super) fn on_applied_ballot(&mut self, ballot: Ballot) {
        if self.sent_in < ballot {
            for request in std::mem::take(&mut self.sent).into_values() {
                self.wait_again(request);
            }
        }
    }

    fn wait_again(&mut self, request: RequestId) {
        let proposed = self.proposals.get_mut(&request).expect("what is sent is pending");
        proposed.attempt = None;
        self.sent_bytes -= Requests::cost_bytes(&proposed.payload);
        self.waiting.insert(request);
    }

    /// The state was replaced by one that ends in `ballot`: of what was sent up to that ballot,
    /// nobody here can tell whether it is contained.
    pub(super) fn sent_through(&self, ballot: Ballot) -> Vec<RequestId> {
        if self.sent_in > ballot {
            return Vec::new();
        }
        self.sent.values().copied().collect()
    }

    /// Requests whose time is over by `now`, and what can be said of them. They are ended.
    ///
    /// What was not sent waited for a leader, or for one that is there and does not keep up.
    pub(super) fn expire(&mut self, now: Duration, is_led: bool) -> Vec<(RequestId, Failure)> {
        let unsent = if is_led { Failure::Overdue } else { Failure::NoLeader };
        // All requests wait equally long, and are named in the order in which they came.
        let over = |deadline: Duration| deadline <= now;
        let mut failed: Vec<(RequestId, Failure)> = Vec::new();
        let proposals = self.proposals.iter().take_while(|(_, proposed)| over(proposed.deadline));
        failed.extend(proposals.map(|(request, proposed)| {
            let sent = proposed.attempt.is_some();
            (*request, if sent { Failure::Unknown } else { unsent })
        }));
        let reads = self.reads.iter().take_while(|(_, read)| over(read.deadline));
        failed.extend(reads.map(|(request, _)| (*request, Failure::NoLeader)));
        for (request, _) in &failed {
            self.end(*request);
            self.end_read(*request);
        }
        failed
    }
}

/// Reads.
impl Requests {
    /// What all reads cost.
    pub(super) fn read_bytes(&self) -> usize {
        self.reads.len() * Entry::OVERHEAD
    }

    pub(super) fn admit_read(&mut self, request: RequestId, deadline: Duration) {
        let read = Read { deadline, sent_at: Duration::ZERO, ready_at: None };
        let replaced = self.reads.insert(request, read);
        assert!(replaced.is_none(), "a request's name is used once");
        self.unsent_reads.insert(request);
    }

    /// Reads that nobody was asked to confirm in `ballot`; they count as asked for at `now`.
    pub(super) fn reads_to_send(&mut self, ballot: Ballot, now: Duration) -> BTreeSet<RequestId> {
        if self.reads_sent_in != ballot {
            self.reads_sent_in = ballot;
            let unanswered = self.reads.iter().filter(|(_, read)| read.ready_at.is_none());
            self.unsent_reads = unanswered.map(|(request, _)| *request).collect();
        }
        let to_send = std::mem::take(&mut self.unsent_reads);
        for request in &to_send {
            self.reads.get_mut(request).expect("what is unsent is pending").sent_at = now;
        }
        to_send
    }

    /// Reads that were asked for before `before` may have got lost. To ask twice does no harm.
    pub(super) fn ask_again(&mut self, before: Duration) {
        let stale = self.reads.iter().filter(|(_, r)| r.ready_at.is_none() && r.sent_at < before);
        self.unsent_reads.extend(stale.map(|(request, _)| *request));
    }

    /// Nobody confirms this read any more: somebody is to be asked again.
    pub(super) fn read_lost(&mut self, request: RequestId) {
        if self.reads.get(&request).is_some_and(|read| read.ready_at.is_none()) {
            self.unsent_reads.insert(request);
        }
    }

    /// The read may be answered once `index` is applied.
    pub(super) fn read_ready(&mut self, request: RequestId, index: Index) {
        if let Some(read) = self.reads.get_mut(&request)
            && read.ready_at.is_none()
        {
            read.ready_at = Some(index);
            self.unsent_reads.remove(&request);
            self.ready.insert((index, request));
        }
    }

    /// Ends and returns the reads that may be answered from a state that includes `applied`.
    pub(super) fn take_ready(&mut self, applied: Index) -> Vec<RequestId> {
        let mut answerable = Vec::new();
        while let Some((index, request)) = self.ready.first().copied()
            && index <= applied
        {
            self.end_read(request);
            answerable.push(request);
        }
        answerable
    }

    fn end_read(&mut self, request: RequestId) {
        self.unsent_reads.remove(&request);
        if let Some(Read { ready_at: Some(index), .. }) = self.reads.remove(&request) {
            self.ready.remove(&(index, request));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn r(number: u64) -> RequestId {
        RequestId { number, ..RequestId::default() }
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn requests(n: u64) -> Requests {
        let mut requests = Requests::default();
        for id in 1..=n {
            let payload = Bytes::from_static(b"payload");
            requests.admit(r(id), EntryKind::Command, payload, at(100 + id));
        }
        requests
    }

    fn send_next(requests: &mut Requests, ballot: u64, attempt: u64) -> Option<u64> {
        let (request, _) = requests.next_to_send(Ballot(ballot))?;
        requests.mark_sent(request, r(attempt), Ballot(ballot), at(0));
        Some(request.number)
    }

    #[test]
    fn what_was_sent_in_an_older_ballot_is_sent_again_only_once_it_surely_had_no_effect() {
        let mut requests = requests(3);
        assert_eq!(send_next(&mut requests, 1, 11), Some(1));
        assert_eq!(send_next(&mut requests, 1, 12), Some(2));
        assert_eq!(send_next(&mut requests, 2, 13), None);
        requests.on_applied_ballot(Ballot(1));
        assert_eq!(send_next(&mut requests, 2, 13), None);
        assert!(requests.end(r(1)));
        requests.on_applied_ballot(Ballot(2));
        assert_eq!(send_next(&mut requests, 2, 13), Some(2));
        assert_eq!(send_next(&mut requests, 2, 14), Some(3));
        assert_eq!(send_next(&mut requests, 2, 15), None);
    }

    #[test]
    fn only_what_was_sent_ends_as_unknown() {
        let mut requests = requests(3);
        send_next(&mut requests, 1, 11);
        requests.admit_read(r(4), at(102));
        assert_eq!(
            requests.expire(at(102), false),
            [(r(1), Failure::Unknown), (r(2), Failure::NoLeader), (r(4), Failure::NoLeader)]
        );
        assert_eq!(requests.bytes(), Requests::cost_bytes(&Bytes::from_static(b"payload")));
        assert!(!requests.end(r(1)));
    }

    #[test]
    fn a_read_that_was_confirmed_and_given_up_since_is_not_answered() {
        let mut requests = Requests::default();
        for (id, deadline) in [(1, 100), (2, 200)] {
            requests.admit_read(r(id), at(deadline));
            requests.read_ready(r(id), Index(5));
        }
        assert_eq!(requests.expire(at(100), true), [(r(1), Failure::NoLeader)]);
        assert_eq!(requests.take_ready(Index(5)), [r(2)]);
        assert_eq!(requests.take_ready(Index(9)), []);
    }

    #[test]
    fn a_leader_that_hands_over_is_left_alone_for_a_while() {
        let mut requests = requests(1);
        send_next(&mut requests, 1, 11);
        requests.pause(r(11));
        assert_eq!(send_next(&mut requests, 1, 12), None);
        assert_eq!(requests.send_again(Ballot(1), at(2), at(1)), []);
        assert_eq!(send_next(&mut requests, 1, 12), Some(1));
        assert_eq!(requests.send_again(Ballot(1), at(2), at(1)).len(), 1);
        assert_eq!(requests.send_again(Ballot(1), at(2), at(1)).len(), 0);
    }

    #[test]
    fn each_attempt_names_the_one_before_it_and_goes_on_naming_that() {
        let mut requests = requests(3);
        let send_next = |requests: &mut Requests, attempt| {
            let (request, _) = requests.next_to_send(Ballot(1)).unwrap();
            requests.mark_sent(request, r(attempt), Ballot(1), at(0))
        };
        let place = |attempt, after: Option<u64>, oldest| Place {
            attempt: r(attempt),
            after: after.map(r),
            oldest: r(oldest),
        };
        assert_eq!(send_next(&mut requests, 11), place(11, None, 11));
        assert_eq!(send_next(&mut requests, 12), place(12, Some(11), 11));
        assert!(requests.end(r(1)));
        assert_eq!(send_next(&mut requests, 13), place(13, Some(12), 12));
        let again = requests.send_again(Ballot(1), at(2), at(1));
        let again: Vec<Place> = again.into_iter().map(|(place, ..)| place).collect();
        assert_eq!(again, [place(12, Some(11), 12), place(13, Some(12), 12)]);
    }

    #[test]
    fn once_something_waits_again_no_more_is_sent_until_all_is_answered() {
        let mut requests = requests(3);
        send_next(&mut requests, 1, 11);
        send_next(&mut requests, 1, 12);
        requests.put_back(r(12));
        // The refusal of the other one has got lost.
        assert_eq!(send_next(&mut requests, 1, 13), None);
        assert_eq!(requests.send_again(Ballot(1), at(2), at(1)).len(), 1);
        assert_eq!(send_next(&mut requests, 1, 13), None);
        requests.put_back(r(11));
        assert_eq!(send_next(&mut requests, 1, 13), Some(1));
        assert_eq!(send_next(&mut requests, 1, 14), Some(2));
    }

    #[test]
    fn what_waits_again_does_not_count_as_sent() {
        let mut requests = requests(2);
        let cost = Requests::cost_bytes(&Bytes::from_static(b"payload"));
        send_next(&mut requests, 1, 11);
        send_next(&mut requests, 1, 12);
        assert_eq!(requests.sent_bytes(), 2 * cost);
        requests.put_back(r(12));
        assert_eq!((requests.sent_bytes(), requests.bytes()), (cost, 2 * cost));
        requests.on_applied_ballot(Ballot(2));
        assert_eq!((requests.sent_bytes(), requests.bytes()), (0, 2 * cost));
    }

    #[test]
    fn what_may_have_got_lost_is_sent_again_after_twice_as_long_each_time() {
        let mut requests = requests(1);
        send_next(&mut requests, 1, 11);
        let again = |requests: &mut Requests| -> Vec<u64> {
            let sent =
                |second: &u64| !requests.send_again(Ballot(1), at(*second), at(1)).is_empty();
            (1..130).filter(sent).collect()
        };
        assert_eq!(again(&mut requests), [2, 5, 10, 19, 36, 69, 102]);
        // In the next ballot it is another attempt.
        requests.pause(r(11));
        requests.send_again(Ballot(1), at(130), at(1));
        send_next(&mut requests, 1, 12);
        assert_eq!(again(&mut requests)[..3], [2, 5, 10]);
    }

    #[test]
    fn a_read_is_answered_from_a_state_that_includes_its_index() {
        let mut requests = Requests::default();
        for id in 1..=3 {
            requests.admit_read(r(id), at(100));
        }
        assert_eq!(requests.reads_to_send(Ballot(1), at(1)).len(), 3);
        assert_eq!(requests.reads_to_send(Ballot(1), at(1)).len(), 0);
        requests.read_ready(r(2), Index(7));
        requests.read_ready(r(1), Index(8));
        requests.read_ready(r(1), Index(1));
        assert_eq!(requests.take_ready(Index(7)), [r(2)]);
        assert_eq!(requests.reads_to_send(Ballot(2), at(2)), [r(3)].into());
        requests.ask_again(at(3));
        assert_eq!(requests.reads_to_send(Ballot(2), at(3)), [r(3)].into());
        assert_eq!(requests.take_ready(Index(8)), [r(1)]);
    }
}
