//! What is demanded of every state: the simulator's oracles, arranged for a search that goes back
//! and tries something else.
//!
//! What one replica does is watched by oracles of its own, which are part of the replica's state.
//! What replicas do together is watched by the [`History`] of the cluster. Both count when states
//! are compared: two states are the same only if nothing that is remembered differs.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};

use quorate_core::{Ballot, Entry, Index, Log, Pledge, PledgeBytes, Protocol, Role, Run};
use quorate_sim::oracles::{
    AppendOnly, Commit, LeaderCompleteness, LogMatching, Mirror, Monotonic, Reigns, are_right,
    believes, on_a_quorum,
};
use quorate_sim::{Kept, Oracle, Simulated, Verdict};

/// What watches one replica.
pub(crate) struct Watch<P: Simulated> {
    node: usize,
    append_only: AppendOnly,
    monotonic: Monotonic,
    /// Of the protocol alone.
    own: Vec<Box<dyn Oracle<P>>>,
}

impl<P: Simulated> Watch<P> {
    pub(crate) fn new(node: usize, replicas: usize) -> Watch<P> {
        Watch {
            node,
            append_only: AppendOnly::new(replicas),
            monotonic: Monotonic::new(replicas),
            own: P::oracles(replicas),
        }
    }

    /// The replica, whose log is `held`, changes it.
    pub(crate) fn changes(&mut self, held: &Mirror, run: &Run) {
        self.append_only.changed(self.node, held, run);
    }

    /// The replica takes in a message of another one.
    pub(crate) fn hears(&mut self, from: usize, message: &P::Message) {
        let node = self.node;
        self.own.iter_mut().for_each(|oracle| oracle.hears(node, from, message));
    }

    /// The replica, whose log is `held` and whose disk holds another one so far, sends something.
    pub(crate) fn sends(
        &mut self,
        to: usize,
        message: &P::Message,
        held: &Mirror,
        disk: &Mirror,
    ) -> Verdict {
        let node = self.node;
        self.own.iter_mut().try_for_each(|oracle| oracle.sends(node, to, message))?;
        if !P::vouches(message) {
            return Ok(());
        }
        let kept = Kept::of_sound(disk, held);
        self.own.iter_mut().try_for_each(|oracle| oracle.vouches(node, to, message, &kept))
    }

    /// The disk holds these pledges, in the log and ahead of it.
    pub(crate) fn on_disk(
        &mut self,
        (in_log, sworn): (Option<PledgeBytes>, Option<PledgeBytes>),
    ) -> Verdict {
        let read =
            |bytes: Option<PledgeBytes>| bytes.and_then(|bytes| P::Pledge::from_bytes(&bytes));
        let (in_log, sworn) = (read(in_log), read(sworn));
        let joined = sworn.map(|sworn| P::Pledge::joined(in_log, sworn));
        let Some(pledge) = joined.or(in_log) else { return Ok(()) };
        let node = self.node;
        self.own.iter_mut().try_for_each(|oracle| oracle.on_disk(node, &pledge))
    }

    /// The replica has taken something in: this is how it stands.
    pub(crate) fn stepped(
        &mut self,
        protocol: &P,
        log: &Log,
        held: &Mirror,
        disk: &Mirror,
    ) -> Verdict {
        let node = self.node;
        self.monotonic.stepped(node, log)?;
        are_right(node, &protocol.faults())?;
        believes(node, log.durable(), held, disk)?;
        self.append_only.stepped(node, reign_of(protocol))?;
        self.own.iter_mut().try_for_each(|oracle| oracle.stepped(node, protocol, log))
    }

    pub(crate) fn crashed(&mut self) {
        self.append_only.forget(self.node);
        self.monotonic.forget(self.node);
        self.own.iter_mut().for_each(|oracle| oracle.crashed(self.node));
    }
}

impl<P: Simulated> Clone for Watch<P> {
    fn clone(&self) -> Watch<P> {
        Watch {
            node: self.node,
            append_only: self.append_only.clone(),
            monotonic: self.monotonic.clone(),
            own: self.own.iter().map(|oracle| oracle.fork()).collect(),
        }
    }
}

impl<P: Simulated> Hash for Watch<P> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.append_only.hash(state);
        self.monotonic.hash(state);
        self.own.iter().for_each(|oracle| oracle.hash_into(state));
    }
}

fn reign_of<P: Protocol>(protocol: &P) -> Option<Ballot> {
    let standing = protocol.standing();
    (standing.role == Role::Leader).then_some(standing.ballot)
}

/// What can be seen of a replica from outside, after it has done something.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sight<'a> {
    node: usize,
    crashed: bool,
    ballot: Ballot,
    leads: Option<Ballot>,
    committed: Index,
    held: Cow<'a, Mirror>,
    /// Entries that were not in its log before.
    entries: Vec<Entry>,
}

impl<'a> Sight<'a> {
    pub(crate) fn of<P: Protocol>(
        node: usize,
        protocol: &P,
        log: &Log,
        held: &'a Mirror,
        entries: Vec<Entry>,
        crashed: bool,
    ) -> Sight<'a> {
        Sight {
            node,
            crashed,
            ballot: protocol.standing().ballot,
            leads: reign_of(protocol),
            committed: log.committed(),
            held: Cow::Borrowed(held),
            entries,
        }
    }

    /// The same, to be kept.
    pub(crate) fn into_owned(self) -> Sight<'static> {
        Sight { held: Cow::Owned(self.held.into_owned()), ..self }
    }
}

/// What happened up to a state, as far as later states are measured by it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct History {
    reigns: Reigns,
    log_matching: LogMatching,
    commit: Commit,
}

impl History {
    pub(crate) fn new(replicas: usize) -> History {
        History {
            reigns: Reigns::new(replicas),
            log_matching: LogMatching::default(),
            commit: Commit::default(),
        }
    }

    /// The last index that anybody has called committed.
    pub(crate) fn committed(&self) -> Index {
        self.commit.committed()
    }

    /// How many leaders there have been.
    pub(crate) fn leaders(&self) -> u64 {
        self.reigns.leaders()
    }

    /// A replica has done something, and looks like this.
    pub(crate) fn see(&mut self, sight: &Sight<'_>) -> Verdict {
        let Sight { node, crashed, ballot, leads, committed, held, entries } = sight;
        if *crashed {
            self.reigns.forget(*node);
        }
        entries.iter().try_for_each(|entry| self.log_matching.holds(*node, entry))?;
        if *committed > self.commit.committed() {
            self.commit.extend(*node, *ballot, *committed, held)?;
        }
        self.commit.agrees(*node, *committed, held)?;
        if self.reigns.stepped(*node, *leads)? {
            LeaderCompleteness.elected(*node, *ballot, held, &self.commit)?;
        }
        Ok(())
    }

    /// What is committed is on a majority of the disks.
    pub(crate) fn on_a_quorum<'a>(
        &self,
        disks: impl ExactSizeIterator<Item = &'a Mirror>,
    ) -> Verdict {
        on_a_quorum(&self.commit, disks)
    }
}
