//! What a server is in every role, and what each handler works on.

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
        self.out.set_timer(Timer::Election, server.settings.election.clone());
    }

    /// Sets a timer to a duration which is not drawn at random.
    pub(crate) fn set_exact_timer(&mut self, timer: Timer, duration: Duration) {
        self.out.set_timer(timer, duration..duration + Duration::from_micros(1));
    }
}
