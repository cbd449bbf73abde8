//! Primary and backups: whoever hears nothing from the primary for a while takes over.

use std::collections::BTreeMap;

use quorate_core::{
    Ballot, Effects, Entry, Index, Input, Log, LogId, NodeId, Now, PeerFaults, PledgeBytes,
    Protocol, Role, Settings, Standing, Timer,
};
use quorate_sim::{Claim, Said, Simulated, Topic};
use serde::{Deserialize, Serialize};

/// A replica. The members take turns as primary: the ballot says whose turn it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Naive {
    me: NodeId,
    settings: Settings,
    ballot: Ballot,
    primary: Option<NodeId>,
    /// A primary's: how far each backup says that its log agrees.
    acknowledged: Option<BTreeMap<NodeId, Index>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Message {
    /// The primary's: these entries follow `previous`.
    Append { ballot: Ballot, previous: LogId, commit: Index, entries: Vec<Entry> },
    /// A backup's: my log is yours up to there, and on my disk.
    Acknowledge { ballot: Ballot, index: Index },
    /// A backup's: I do not have `previous`; this is all that I have committed.
    Lack { ballot: Ballot, committed: Index },
}

/// The ballot is not taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pledge(Ballot);

impl quorate_core::Pledge for Pledge {
    fn to_bytes(&self) -> PledgeBytes {
        let mut bytes = [0; 64];
        bytes[..8].copy_from_slice(&self.0.0.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &PledgeBytes) -> Option<Pledge> {
        let (ballot, _) = bytes.split_first_chunk()?;
        Some(Pledge(Ballot(u64::from_le_bytes(*ballot))))
    }

    fn promise(&self) -> Pledge {
        *self
    }

    fn joined(in_log: Option<Pledge>, sworn: Pledge) -> Pledge {
        Pledge(in_log.map_or(sworn.0, |in_log| in_log.0.max(sworn.0)))
    }
}

impl Protocol for Naive {
    const NAME: &'static str = "naive failover";
    type Message = Message;
    type Pledge = Pledge;

    fn recover(
        me: NodeId,
        settings: &Settings,
        pledge: Option<Pledge>,
        log: &mut Log,
        out: &mut Effects<Message>,
    ) -> Naive {
        let ballot = pledge.map_or(log.last().ballot, |Pledge(ballot)| ballot);
        out.set_timer(Timer::Election, settings.election.clone());
        Naive { me, settings: settings.clone(), ballot, primary: None, acknowledged: None }
    }

    fn step(&mut self, _: Now, input: Input<Message>, log: &mut Log, out: &mut Effects<Message>) {
        match input {
            Input::Message { from, message, .. } => self.on_message(from, message, log, out),
            Input::Propose(proposal) => {
                log.append(self.ballot, proposal);
            }
            // Who leads knows best, one would think.
            Input::Read(read) => out.read_ready(read, log.committed()),
            Input::Saved => self.commit(log),
            Input::Timeout(Timer::Election) => self.take_over(log, out),
            Input::Timeout(Timer::Heartbeat) => self.append(true, log, out),
            Input::Timeout(_)
            | Input::EntriesRead { .. }
            | Input::SnapshotFetched { .. }
            | Input::HandOver => {}
        }
    }

    fn flush(&mut self, _: Now, log: &mut Log, out: &mut Effects<Message>) {
        self.append(false, log, out);
    }

    fn pledge(&self) -> Pledge {
        Pledge(self.ballot)
    }

    fn standing(&self) -> Standing {
        let leads = self.acknowledged.is_some();
        let role = if leads { Role::Leader } else { Role::Follower };
        Standing { role, ballot: self.ballot, leader: self.primary, serving: leads }
    }

    fn faults(&self) -> PeerFaults {
        PeerFaults::default()
    }

    fn vouches(message: &Message) -> bool {
        matches!(message, Message::Acknowledge { .. })
    }
}

impl Naive {
    /// The mistake.
    fn take_over(&mut self, log: &mut Log, out: &mut Effects<Message>) {
        out.set_timer(Timer::Election, self.settings.election.clone());
        if self.acknowledged.is_some() || !log.may_vouch() || !log.is_whole() {
            return;
        }
        let members: Vec<NodeId> = log.membership().voters().collect();
        let is_mine = |ballot: &Ballot| members[(ballot.0 as usize) % members.len()] == self.me;
        let later = std::iter::successors(Some(self.ballot.next()), |ballot| Some(ballot.next()));
        let Some(ballot) = later.take(members.len()).find(is_mine) else { return };
        self.ballot = ballot;
        self.primary = Some(self.me);
        let peers = log.membership().peers_of(self.me);
        self.acknowledged = Some(peers.map(|id| (id, log.committed())).collect());
        let opening = log.opening();
        log.append(ballot, opening);
        out.set_timer(Timer::Heartbeat, self.settings.heartbeat..self.settings.heartbeat * 2);
    }

    /// Sends each backup what it lacks, as far as that is in memory.
    fn append(&mut self, is_heartbeat: bool, log: &Log, out: &mut Effects<Message>) {
        let Some(acknowledged) = &self.acknowledged else { return };
        for (&to, &index) in acknowledged {
            let Some(previous) = log.id_at(index) else { continue };
            let Some(entries) = log.entries(index.next(), self.settings.append_bytes) else {
                continue;
            };
            if is_heartbeat || log.has_unsaved() {
                let (ballot, commit) = (self.ballot, log.committed());
                out.send(to, Message::Append { ballot, previous, commit, entries });
            }
        }
        if is_heartbeat {
            out.set_timer(Timer::Heartbeat, self.settings.heartbeat..self.settings.heartbeat * 2);
        }
    }

    fn on_message(
        &mut self,
        from: NodeId,
        message: Message,
        log: &mut Log,
        out: &mut Effects<Message>,
    ) {
        match message {
            Message::Append { ballot, previous, commit, entries } if ballot >= self.ballot => {
                if ballot > self.ballot || self.acknowledged.is_none() {
                    self.ballot = ballot;
                    self.primary = Some(from);
                    self.acknowledged = None;
                    self.follow(from, previous, commit, entries, log, out);
                }
            }
            Message::Acknowledge { ballot, index } if ballot == self.ballot => {
                if let Some(known) = self.acknowledged.as_mut().and_then(|all| all.get_mut(&from)) {
                    *known = index.max(*known);
                    self.commit(log);
                }
            }
            Message::Lack { ballot, committed } if ballot == self.ballot => {
                if let Some(known) = self.acknowledged.as_mut().and_then(|all| all.get_mut(&from)) {
                    *known = committed;
                }
            }
            // Of an earlier ballot.
            Message::Append { .. } | Message::Acknowledge { .. } | Message::Lack { .. } => {}
        }
    }

    fn follow(
        &mut self,
        primary: NodeId,
        previous: LogId,
        commit: Index,
        entries: Vec<Entry>,
        log: &mut Log,
        out: &mut Effects<Message>,
    ) {
        out.set_timer(Timer::Election, self.settings.election.clone());
        let ballot = self.ballot;
        match log.splice(previous, entries) {
            Ok(agreed) => {
                log.commit(commit.min(agreed));
                out.after_save(primary, Message::Acknowledge { ballot, index: agreed });
            }
            Err(_) => out.send(primary, Message::Lack { ballot, committed: log.committed() }),
        }
    }

    /// What a majority has on disk is committed.
    fn commit(&self, log: &mut Log) {
        let Some(acknowledged) = &self.acknowledged else { return };
        let reached = log.membership().reached(|id| match acknowledged.get(&id) {
            Some(index) => Some(*index),
            None => (id == self.me).then(|| log.durable()),
        });
        // Never copies of an earlier ballot alone: that much is known by now.
        if let Some(index) = reached.filter(|index| log.ballot_at(*index) == Some(self.ballot)) {
            log.commit(index);
        }
    }
}

/// What every protocol promises is watched. It promises nothing else, and says what its messages mean,
/// so that a picture can tell who acknowledges what its disk does not have.
impl Simulated for Naive {
    fn says(message: &Message) -> Option<Said> {
        let (topic, ballot, claim) = match message {
            Message::Append { ballot, previous, entries, .. } => {
                let count = entries.len();
                let topic = if count == 0 { Topic::Heartbeat } else { Topic::Replicate };
                (topic, ballot, Some(Claim::Shows { previous: *previous, count }))
            }
            Message::Acknowledge { ballot, index } => {
                (Topic::Reply, ballot, Some(Claim::Acknowledges { through: *index }))
            }
            Message::Lack { ballot, .. } => (Topic::Reply, ballot, None),
        };
        Some(Said { topic, ballot: Some(*ballot), claim })
    }
}
