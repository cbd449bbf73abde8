//! What Raft alone promises.

mod acknowledged;
mod one_vote;
mod persistent_state;
mod votes;

use quorate_raft::{AppendEntries, AppendEntriesReply, Appended, Message, Pledge, Raft};

use crate::marks::Mark;
use crate::oracle::{Claim, Oracle, Said, Simulated, Topic};
use crate::words::Words;
use acknowledged::Acknowledged;
use one_vote::OneVote;
use persistent_state::PersistentState;
use votes::Votes;

impl Simulated for Raft {
    fn mark(message: &Message) -> Option<Mark> {
        match message {
            Message::TimeoutNow { .. } => Some(Mark::LeaderHandsOver),
            Message::InstallSnapshot { .. } => Some(Mark::SnapshotOffered),
            _ => None,
        }
    }

    fn says(message: &Message) -> Option<Said> {
        let (topic, ballot, claim) = match message {
            // A question, and its answer, which promises nothing.
            Message::PreVote { .. } | Message::PreVoteReply { .. } => (Topic::Elect, None, None),
            Message::RequestVote { term, last, .. } => {
                (Topic::Elect, Some(*term), Some(Claim::Stands { last: *last }))
            }
            Message::RequestVoteReply { term, granted } => {
                (Topic::Elect, Some(*term), granted.then_some(Claim::Votes))
            }
            Message::TimeoutNow { term } => (Topic::Elect, Some(*term), None),
            Message::AppendEntries(AppendEntries { term, previous, entries, .. }) => {
                let count = entries.len();
                let topic = if count == 0 { Topic::Heartbeat } else { Topic::Replicate };
                (topic, Some(*term), Some(Claim::Shows { previous: *previous, count }))
            }
            Message::AppendEntriesReply(AppendEntriesReply { term, outcome, .. }) => {
                let claim = match *outcome {
                    Appended::Durable(through) => Some(Claim::Acknowledges { through }),
                    _ => None,
                };
                (Topic::Reply, Some(*term), claim)
            }
            Message::InstallSnapshot { term, .. } | Message::InstallSnapshotReply { term, .. } => {
                (Topic::Repair, Some(*term), None)
            }
        };
        Some(Said { topic, ballot, claim })
    }

    /// Replies of an earlier term are ignored (Ongaro 2014, section 3.3), but those to a server that asks
    /// for its next one. Requests are answered with the term, whichever theirs is.
    fn is_moot(message: &Message, pledge: &Pledge) -> bool {
        match message {
            Message::PreVoteReply { term, asked, .. } => {
                *term < pledge.term && *asked <= pledge.term
            }
            Message::RequestVoteReply { term, .. }
            | Message::AppendEntriesReply(AppendEntriesReply { term, .. })
            | Message::InstallSnapshotReply { term, .. }
            | Message::TimeoutNow { term } => *term < pledge.term,
            Message::PreVote { .. }
            | Message::RequestVote { .. }
            | Message::AppendEntries(_)
            | Message::InstallSnapshot { .. } => false,
        }
    }

    fn words() -> Words {
        Words { ballot: "term", promise: "term, vote", speaks_under_oath: true, ..Words::default() }
    }

    fn oracles(replicas: usize) -> Vec<Box<dyn Oracle<Raft>>> {
        vec![
            Box::new(OneVote::new(replicas)),
            Box::new(PersistentState::new(replicas)),
            Box::new(Votes::default()),
            Box::new(Acknowledged),
        ]
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::{Ballot, Index, LogId};

    use super::*;

    #[test]
    fn only_what_is_on_disk_is_acknowledged_and_only_what_is_granted_a_vote() {
        let term = Ballot(7);
        let said = |topic, claim| Some(Said { topic, ballot: Some(term), claim });
        let reply = |outcome| {
            let probe = 9;
            Raft::says(&Message::AppendEntriesReply(AppendEntriesReply { term, probe, outcome }))
        };
        let through = Index(4);
        let acknowledges = Some(Claim::Acknowledges { through });
        assert_eq!(reply(Appended::Durable(through)), said(Topic::Reply, acknowledges));
        assert_eq!(reply(Appended::Held(through)), said(Topic::Reply, None));
        let vote = |granted| Raft::says(&Message::RequestVoteReply { term, granted });
        assert_eq!(vote(true), said(Topic::Elect, Some(Claim::Votes)));
        assert_eq!(vote(false), said(Topic::Elect, None));
        let asks = Raft::says(&Message::PreVote { term, last: LogId::ZERO });
        assert_eq!(asks, Some(Said { topic: Topic::Elect, ballot: None, claim: None }));
    }
}
