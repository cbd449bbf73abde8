//! What a server is in every role, and what each handler works on.

use std::ops::Range;
use std::time::Duration;

use quorate_core::{Ballot, Effects, Log, NodeId, Settings, Timer};

use crate::message::Message;
use crate::pledge::Pledge;

/// What a server is in every role.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Server {
    pub(crate) me: NodeId,
    pub(crate) settings: Settings,
    pub(crate) pledge: Pledge,
}

/// The surroundings of one step.
pub(crate) struct Context<'a> {
    /// Monotonic time.
    pub(crate) now: Duration,
    pub(crate) log: &'a mut Log,
    pub(crate) out: &'a mut Effects<Message>,
}

impl Server {
    pub(crate) fn term(&self) -> Ballot {
        self.pledge.term
    }

    /// True if the server may campaign.
    pub(crate) fn may_stand(&self, log: &Log) -> bool {
        log.membership().contains(self.me) && log.may_vouch() && log.is_whole()
    }

    /// How long to wait for a word from a leader before trying to replace it.
    ///
    /// Each server draws from a part of the range of its own, and the parts lie apart: servers that
    /// heard a leader last at the same moment do not campaign at the same moment, and so do not
    /// split the votes. Whose part is the first changes with the term: it may be somebody who
    /// cannot win.
    fn patience(&self, log: &Log) -> Range<Duration> {
        let Range { start, end } = self.settings.election.clone();
        let voters = log.membership().voters();
        let count = voters.len() as u64;
        let Some(place) = (0..).zip(voters).find(|(_, id)| *id == self.me) else {
            return start..end;
        };
        let turn = (place.0 + count - self.term().0 % count) % count;
        let width = (end - start) / u32::try_from(count).unwrap_or(u32::MAX);
        let from = start + width * u32::try_from(turn).unwrap_or(u32::MAX);
        from..from + (width / 2).max(Duration::from_nanos(1))
    }

    /// Moves on to a later term, in which nobody has this server's vote yet.
    pub(crate) fn enter(&mut self, term: Ballot) {
        assert!(term > self.pledge.term, "terms only grow");
        self.pledge = Pledge { term, voted_for: None };
    }

    /// Swears to vote for nobody but `candidate` in this term.
    pub(crate) fn vote_for(&mut self, candidate: NodeId) {
        let free = self.pledge.voted_for.is_none_or(|chosen| chosen == candidate);
        assert!(free, "a vote never changes within a term");
        self.pledge.voted_for = Some(candidate);
    }
}

impl Context<'_> {
    /// Sends `message` to all voters other than the server itself.
    pub(crate) fn broadcast(&mut self, server: &Server, message: &Message) {
        for peer in self.log.membership().peers_of(server.me) {
            self.out.send(peer, message.clone());
        }
    }

    pub(crate) fn set_election_timer(&mut self, server: &Server) {
        self.out.set_timer(Timer::Election, server.patience(self.log));
    }

    /// Sets a timer to a duration which is not drawn at random.
    pub(crate) fn set_exact_timer(&mut self, timer: Timer, duration: Duration) {
        self.out.set_timer(timer, duration..duration + Duration::from_micros(1));
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::{Incarnation, Membership};

    use super::*;

    #[test]
    fn nobody_runs_out_of_patience_at_the_same_moment_as_somebody_else() {
        for count in 1..=7 {
            let members = Membership::new((1..=count).map(|id| (NodeId(id), Incarnation(0))));
            let log = Log::founded_by(members.clone());
            let settings = Settings::default();
            let mut first = Vec::new();
            for term in 0..count {
                let pledge = Pledge { term: Ballot(term), voted_for: None };
                let patience =
                    |me| Server { me, settings: settings.clone(), pledge }.patience(&log);
                let mut all: Vec<_> = members.voters().map(|id| (patience(id), id)).collect();
                all.sort_by_key(|(range, _)| range.start);
                assert!(all.iter().all(|(range, _)| !range.is_empty()));
                assert!(all.iter().all(|(range, _)| range.start >= settings.election.start));
                assert!(all.iter().all(|(range, _)| range.end <= settings.election.end));
                for pair in all.windows(2) {
                    let apart = pair[1].0.start - pair[0].0.end;
                    assert!(apart > Duration::from_millis(13), "{apart:?} of {count}");
                }
                first.push(all[0].1);
            }
            first.sort();
            assert!(first.into_iter().eq(members.voters()), "each is the first in its turn");
        }
    }

    #[test]
    fn a_range_too_narrow_to_be_shared_is_still_one() {
        let members = Membership::new((1..=5).map(|id| (NodeId(id), Incarnation(0))));
        let log = Log::founded_by(members);
        let start = Duration::from_millis(200);
        let election = start..start + Duration::from_nanos(3);
        let settings = Settings { election, ..Settings::default() };
        for me in (1..=6).map(NodeId) {
            let server = Server { me, settings: settings.clone(), pledge: Pledge::default() };
            assert!(!server.patience(&log).is_empty());
        }
    }
}
