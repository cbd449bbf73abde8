//! The oracles: one property a file, each under the name and section of the paper it comes from.
//!
//! They watch every replica through what it writes, what its log says of itself and what its
//! disk really holds, and the clients through their answers. Bookkeeping is incremental: nothing
//! here looks at a whole log in each step. What several of them need to know is in files of its own, which
//! hold no property: the logs, the leaders, the fresh machines.

mod acknowledged;
mod acknowledged_on_disk;
mod answers;
mod append_only;
mod applied_in_log;
mod applied_monotonic;
mod as_agreed;
mod assertions;
mod before_deadlines;
mod beside_the_log;
mod commit;
mod commit_monotonic;
mod committed_once;
mod convergence;
mod durability;
mod effect_order;
mod election_safety;
mod end_of_log;
mod exactly_once;
mod execution;
mod fresh_machines;
mod gave_up;
mod kept;
mod leader_completeness;
mod linearizability;
mod lists_in_log;
mod local_reads;
mod log_matching;
mod logs;
mod lost_disks;
mod members;
mod monotonic;
mod named_once;
#[cfg(test)]
mod one_a_file;
mod one_log;
mod one_reign;
mod peers;
mod quorum;
mod raft;
mod readable;
mod recordings;
mod recovery;
mod refused;
mod reigns;
mod request_order;
mod starts;
mod state_machine_safety;
mod states;
mod sworn_ahead;
#[cfg(test)]
mod testing;
mod vsr;
mod whole;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use quorate_core::{
    Ballot, Command, Digest, Entry, Incarnation, Index, Log, LogId, Origin, Pledge, PledgeBytes,
    Recovered, Role, SnapshotMeta, Write, WriteSeq,
};

use crate::clients::OpId;
use crate::oracle::{Oracle, Simulated};
use crate::process::{Ask, Asked, Want};
use crate::subject::Subject;
use crate::value::Value;
use crate::witness::{Change, Observed};
pub(crate) use acknowledged_on_disk::has_lost;
pub use append_only::AppendOnly;
pub use assertions::assertion_failed;
pub use commit::Commit;
use committed_once::CommittedOnce;
pub(crate) use convergence::{Converging, Unconverged, converged};
pub use durability::believes;
use effect_order::EffectOrder;
use exactly_once::{ExactlyOnce, of_nobody};
use execution::Execution;
use fresh_machines::FreshMachines;
pub use gave_up::gave_up;
pub use kept::Kept;
pub use leader_completeness::LeaderCompleteness;
use linearizability::Linearizability;
use local_reads::LocalReads;
pub use log_matching::LogMatching;
use logs::Logs;
pub use logs::Mirror;
use members::Members;
pub use monotonic::Monotonic;
use named_once::NamedOnce;
pub use one_log::one_log;
pub use peers::are_right;
pub use quorum::on_a_quorum;
pub(crate) use recordings::{Told, replays};
use refused::Refused;
pub use reigns::Reigns;
use request_order::RequestOrder;
use state_machine_safety::StateMachineSafety;

/// A property that does not hold: the run has found a bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The property's name.
    pub property: &'static str,
    /// Where it is stated.
    pub stated_in: &'static str,
    /// How it was violated.
    pub details: String,
}

impl Violation {
    /// What stands for all assertions of the code that fail.
    pub(crate) const ASSERTIONS: &'static str = assertions::PROPERTY.name;

    /// True if this may well be the same bug as that one. Assertions are told apart by their words, up
    /// to the first number.
    #[must_use]
    pub fn is_like(&self, other: &Violation) -> bool {
        fn words(details: &str) -> &str {
            let digit = details.find(|c: char| c.is_ascii_digit());
            digit.map_or(details, |at| &details[..at])
        }
        self.property == other.property
            && (self.property != Self::ASSERTIONS || words(&self.details) == words(&other.details))
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.property, self.stated_in, self.details)
    }
}

impl std::error::Error for Violation {}

/// What a check has to say.
pub type Verdict = Result<(), Violation>;

/// A property, as its file names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Property {
    /// What it is called.
    pub name: &'static str,
    /// The paper and the section.
    pub stated_in: &'static str,
}

impl Property {
    /// Demands that `holds`; `details` says what is wrong if it does not.
    ///
    /// # Errors
    /// If it does not hold.
    pub fn require(self, holds: bool, details: impl FnOnce() -> String) -> Verdict {
        if holds { Ok(()) } else { Err(self.violation(details())) }
    }

    /// This property does not hold.
    #[must_use]
    pub fn violation(self, details: String) -> Violation {
        Violation { property: self.name, stated_in: self.stated_in, details }
    }
}

/// In what condition a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It has what was written to it.
    Sound,
    /// So it does, but the replica has not made good yet what was taken from it before.
    Harmed,
    /// It does not have what was written to it.
    Damaged,
}

/// What a disk held at some time.
#[derive(Clone)]
pub(crate) struct DiskImage(logs::Image);

/// All of them. Replicas are named by their position, from 0.
pub(crate) struct Checks<P> {
    logs: Logs,
    reigns: Reigns,
    append_only: AppendOnly,
    log_matching: LogMatching,
    leader_completeness: LeaderCompleteness,
    commit: Commit,
    members: Members,
    monotonic: Monotonic,
    state_machine_safety: StateMachineSafety,
    exactly_once: ExactlyOnce,
    execution: Execution,
    named_once: NamedOnce,
    refused: Refused,
    committed_once: CommittedOnce,
    request_order: RequestOrder,
    effect_order: EffectOrder,
    local_reads: LocalReads,
    fresh_machines: FreshMachines,
    linearizability: Linearizability,
    subject: Arc<dyn Subject>,
    /// Which request each attempt belongs to.
    attempts: BTreeMap<Origin, OpId>,
    /// Up to where each replica knows of no damage to its log.
    sound: Vec<Index>,
    /// In which ballot each replica was when it was looked at last, if its process did not die since.
    ballots: Vec<Ballot>,
    /// Of the protocol alone.
    own: Vec<Box<dyn Oracle<P>>>,
}

impl<P: Simulated> Checks<P> {
    pub(crate) fn new(nodes: usize, subject: Arc<dyn Subject>) -> Checks<P> {
        Checks {
            logs: Logs::new(nodes),
            reigns: Reigns::new(nodes),
            append_only: AppendOnly::new(nodes),
            log_matching: LogMatching::default(),
            leader_completeness: LeaderCompleteness,
            commit: Commit::default(),
            members: Members::new(nodes),
            monotonic: Monotonic::new(nodes),
            state_machine_safety: StateMachineSafety::new(nodes),
            exactly_once: ExactlyOnce::default(),
            execution: Execution::new(nodes),
            named_once: NamedOnce::default(),
            refused: Refused::default(),
            committed_once: CommittedOnce::default(),
            request_order: RequestOrder::default(),
            effect_order: EffectOrder::default(),
            local_reads: LocalReads::default(),
            fresh_machines: FreshMachines::new(subject.clone(), nodes),
            linearizability: Linearizability::default(),
            subject,
            attempts: BTreeMap::new(),
            sound: vec![Index(u64::MAX); nodes],
            ballots: vec![Ballot(0); nodes],
            own: P::oracles(nodes),
        }
    }

    /// A replica asked for this to be saved: so it changed its log.
    pub(crate) fn writes(&mut self, node: usize, seq: WriteSeq, write: &Write) -> Verdict {
        let mut held = Cow::Borrowed(&self.logs.held[node]);
        for (number, run) in write.runs.iter().enumerate() {
            if !write.mute && !self.logs.disks[node].has_lost() {
                self.commit.keeps(node, self.ballots[node], &held, run)?;
            }
            self.append_only.changed(node, &held, run);
            if number + 1 < write.runs.len() {
                held.to_mut().change(run);
            }
            for entry in &run.entries {
                self.log_matching.holds(node, entry)?;
            }
        }
        self.logs.write(node, seq, write);
        Ok(())
    }

    /// A replica has taken inputs and said what it wants: this is how it stands. True if it has
    /// begun to lead.
    pub(crate) fn stepped(
        &mut self,
        node: usize,
        protocol: &P,
        log: &Log,
    ) -> Result<bool, Violation> {
        let standing = protocol.standing();
        self.ballots[node] = standing.ballot;
        self.sound[node] = kept::sound_through(log);
        self.monotonic.stepped(node, log)?;
        let disk = &self.logs.disks[node].log;
        durability::believes(node, log.durable(), &self.logs.held[node], disk)?;
        let committed = log.committed();
        if committed > self.commit.committed() {
            let fresh =
                self.commit.extend(node, standing.ballot, committed, &self.logs.held[node])?;
            on_a_quorum(&self.commit, self.logs.on_disk())?;
            for id in fresh {
                let known = self.log_matching.known(id);
                let known = known.expect("some replica was seen to hold it");
                let origin = known.origin;
                self.execution.committed(known.digest, known.time);
                self.members.committed(id.index, known.members.as_ref())?;
                self.refused.committed(origin)?;
                self.committed_once.committed(origin)?;
                self.request_order.committed(origin)?;
            }
        }
        self.commit.agrees(node, committed, &self.logs.held[node])?;
        if !self.logs.disks[node].is_unaware() {
            are_right(node, &protocol.faults())?;
        }
        let leads = standing.role == Role::Leader;
        let reign = leads.then_some(standing.ballot);
        let is_new = self.reigns.stepped(node, reign)?;
        if is_new {
            let held = &self.logs.held[node];
            self.leader_completeness.elected(node, standing.ballot, held, &self.commit)?;
        }
        self.append_only.stepped(node, reign)?;
        for oracle in &mut self.own {
            oracle.stepped(node, protocol, log)?;
        }
        Ok(is_new)
    }

    /// This write of a replica, and every earlier one, has really reached its disk.
    pub(crate) fn synced(&mut self, node: usize, seq: WriteSeq) -> Verdict {
        self.logs.synced(node, seq);
        self.pledge_on_disk(node)?;
        on_a_quorum(&self.commit, self.logs.on_disk())
    }

    /// The pledge of this write of a replica has really reached its disk.
    pub(crate) fn sworn(&mut self, node: usize, seq: WriteSeq) -> Verdict {
        self.logs.sworn(node, seq);
        self.pledge_on_disk(node)
    }

    fn pledge_on_disk(&mut self, node: usize) -> Verdict {
        // A disk that was never given a pledge has none that can be read, or zeros.
        let read = |bytes: Option<PledgeBytes>| {
            let bytes = bytes.filter(|bytes| *bytes != [0; 64]);
            bytes.and_then(|bytes| P::Pledge::from_bytes(&bytes))
        };
        let disk = &self.logs.disks[node];
        let in_log = read(disk.pledge);
        let sworn = read(disk.sworn.map(|(_, pledge)| pledge));
        let joined = sworn.map(|sworn| P::Pledge::joined(in_log, sworn));
        let Some(pledge) = joined.or(in_log) else { return Ok(()) };
        self.own.iter_mut().try_for_each(|oracle| oracle.on_disk(node, &pledge))
    }

    /// A replica takes in a message of its protocol.
    pub(crate) fn hears(&mut self, node: usize, from: usize, message: &P::Message) {
        self.own.iter_mut().for_each(|oracle| oracle.hears(node, from, message));
    }

    /// A replica, which holds this log, sends a message of its protocol.
    pub(crate) fn sends(
        &mut self,
        node: usize,
        to: usize,
        message: &P::Message,
        log: &Log,
    ) -> Verdict {
        self.own.iter_mut().try_for_each(|oracle| oracle.sends(node, to, message))?;
        let disk = &self.logs.disks[node];
        // Who does not know what it lost says what it believes; the others know better.
        if !P::vouches(message) || disk.is_unaware() {
            return Ok(());
        }
        lost_disks::vouches(node, disk, || format!("{message:?}"))?;
        let kept = Kept::new(disk, log, self.sound[node]);
        self.own.iter_mut().try_for_each(|oracle| oracle.vouches(node, to, message, &kept))
    }

    /// A replica's process has died.
    pub(crate) fn crashed(&mut self, node: usize) {
        self.sound[node] = Index(u64::MAX);
        self.ballots[node] = Ballot(0);
        self.reigns.forget(node);
        self.append_only.forget(node);
        self.monotonic.forget(node);
        self.state_machine_safety.forget(node);
        self.execution.forget(node);
        self.local_reads.crashed(node);
        self.own.iter_mut().for_each(|oracle| oracle.crashed(node));
    }

    /// A replica's process has read its disk.
    pub(crate) fn recovered(
        &mut self,
        node: usize,
        found: &Recovered,
        condition: Condition,
    ) -> Verdict {
        match condition {
            Condition::Damaged => starts::recovered_damaged(node, found, &mut self.logs)?,
            Condition::Harmed => starts::recovered(node, found, &mut self.logs)?,
            Condition::Sound => {
                starts::recovered(node, found, &mut self.logs)?;
                whole::has_no_gaps(node, found)?;
            }
        }
        let snapshot = found.snapshot.as_ref().map_or(Index::ZERO, |meta| meta.last.index);
        self.monotonic.started(node, snapshot);
        self.pledge_on_disk(node)?;
        on_a_quorum(&self.commit, self.logs.on_disk())
    }

    /// True if this is the snapshot that the disk of a replica points to.
    pub(crate) fn points_to(&self, node: usize, snapshot: Option<&SnapshotMeta>) -> bool {
        self.logs.disks[node].snapshot == snapshot.map(SnapshotMeta::id)
    }

    /// True if a replica has asked for a write that is not on its disk.
    pub(crate) fn has_unsaved(&self, node: usize) -> bool {
        self.logs.has_unsaved(node)
    }

    /// A replica had everything, and its machine has died: this is what was found.
    pub(crate) fn has_all(&self, node: usize, found: &Recovered) -> Verdict {
        whole::has_all(node, found, &self.commit)
    }

    /// What the disk of a replica holds, to be put back later on.
    pub(crate) fn image(&self, node: usize) -> DiskImage {
        DiskImage(self.logs.image(node))
    }

    /// True if all others know of a later start of the process of a replica on the same disk.
    pub(crate) fn know_a_later_start(&self, node: usize, image: quorate_core::Disk) -> bool {
        self.logs.know_a_later_start(node, image)
    }

    /// A machine has this disk from now on.
    pub(crate) fn has_disk(&mut self, node: usize, incarnation: Incarnation) {
        self.members.has_disk(node, incarnation);
    }

    /// The disk of a replica, whose process has died, was replaced by an empty one.
    pub(crate) fn wiped(&mut self, node: usize) {
        self.logs.wiped(node);
        self.own.iter_mut().for_each(|oracle| oracle.forgot(node));
    }

    /// The disk of a replica, whose process has died, was put back to what it was.
    pub(crate) fn put_back(&mut self, node: usize, image: &DiskImage) {
        self.logs.put_back(node, &image.0);
        self.own.iter_mut().for_each(|oracle| oracle.forgot(node));
    }

    /// A replica says that what it had lost it has again. True if that is news.
    pub(crate) fn regained(&mut self, node: usize) -> Result<bool, Violation> {
        if self.logs.disks[node].lost.is_none() {
            return Ok(false);
        }
        self.logs.regained(node);
        on_a_quorum(&self.commit, self.logs.on_disk()).map(|()| true)
    }

    /// Where the log of a replica ends, saved or not.
    pub(crate) fn held_last(&self, node: usize) -> Index {
        self.logs.held[node].last()
    }

    /// A replica's machine is to execute this.
    pub(crate) fn executes(&mut self, node: usize, entries: &[Entry]) -> Verdict {
        entries.iter().try_for_each(|entry| self.execution.executes(node, entry))
    }

    /// A replica's machine has done this, with what was new to everybody of the entries behind it.
    pub(crate) fn changed(&mut self, node: usize, change: &Change, fresh: &[Entry]) -> Verdict {
        as_agreed::told(&self.execution, node, &change.at())?;
        let attempts = &self.attempts;
        let safety = &mut self.state_machine_safety;
        let is_new = safety.changed(node, change, || behind(change, fresh, attempts))?;
        let effects = safety.effects_of(node);
        let Some(effect) = effects.last() else { return Ok(()) };
        if !is_new {
            return answers::repeated(&*self.subject, node, change, effect);
        }
        self.exactly_once.happened(effect.op, effects.len() as u64)?;
        answers::happened(&mut self.fresh_machines, node, effects)
    }

    /// The index of the last change that any machine has had.
    pub(crate) fn last_change(&self) -> Index {
        let last = self.state_machine_safety.effects().last();
        last.map_or(Index::ZERO, |effect| effect.change.index)
    }

    /// A replica's machine was replaced by a snapshot, and is in this state, at this index.
    pub(crate) fn restored(&mut self, node: usize, index: Index, state: &[u8]) -> Verdict {
        self.commit.covers(node, index)?;
        self.execution.restored(node, index);
        self.state_machine_safety.restored(node, index)?;
        self.stands(node, state)
    }

    /// A replica's machine is in this state.
    pub(crate) fn stands(&mut self, node: usize, state: &[u8]) -> Verdict {
        let effects = self.state_machine_safety.effects_of(node);
        states::stands(&mut self.fresh_machines, node, state, effects)
    }

    /// A replica named a request of a client.
    pub(crate) fn named(&mut self, origin: Origin) -> Verdict {
        self.named_once.named(origin)
    }

    /// A client was told that this was surely not proposed.
    pub(crate) fn surely_not_proposed(&mut self, origin: Origin) -> Verdict {
        self.refused.refused(origin, &self.committed_once)
    }

    /// What every answer must take into account that is asked for from here on.
    pub(crate) fn witnessed(&self) -> u64 {
        self.effect_order.witnessed()
    }

    /// A client was told that its write was done; `since` is what had been witnessed when it
    /// first asked for it.
    pub(crate) fn acknowledged(&mut self, op: OpId, response: &Value, since: u64) -> Verdict {
        let count = self.effect_of(op).unwrap_or_default();
        let effects = self.state_machine_safety.effects();
        let effect = count.checked_sub(1).and_then(|before| effects.get(before as usize));
        acknowledged::acknowledged(op, response, effect)?;
        self.linearizability.wrote(op, response);
        self.effect_order.wrote(op, count, since)
    }

    /// A client was told that it has acknowledged the answer to this; it may await that still.
    pub(crate) fn called_acknowledged(&self, op: OpId, is_awaited: bool) -> Verdict {
        exactly_once::is_answered(op, is_awaited)
    }

    /// A client was told what it wanted to know by a node; `since` as with writes.
    pub(crate) fn answered(
        &mut self,
        node: usize,
        asked: &Asked,
        observed: &Observed<Value>,
    ) -> Verdict {
        let Asked { op, attempt, since, ref query, .. } = *asked;
        self.linearizability.read(op, attempt, &observed.answer);
        as_agreed::asked(&self.execution, node, &observed.at())?;
        before_deadlines::asked(&self.execution, node, observed)?;
        self.effect_order.read(op, self.count_at(observed.index), since)?;
        let Some(query) = query else { return Ok(()) };
        let effects = self.state_machine_safety.effects_of(node);
        answers::answered(&mut self.fresh_machines, node, query, observed, effects)
    }

    /// Which effect a request had, from 1.
    pub(crate) fn effect_of(&self, op: OpId) -> Option<u64> {
        self.exactly_once.effect_of(op)
    }

    /// How many effects a state takes into account that stands at this index.
    pub(crate) fn count_at(&self, index: Index) -> u64 {
        self.state_machine_safety.count_at(index)
    }

    /// What a change of a replica's machine, the last that it had, is about.
    pub(crate) fn last_deed(&self, node: usize) -> Option<(OpId, String)> {
        let effect = self.state_machine_safety.effects_of(node).last()?;
        let words = self.subject.command_in_words(&effect.body).unwrap_or_default();
        Some((effect.op, words))
    }

    /// A node was asked for something, under this name.
    pub(crate) fn asked(&mut self, ask: &Ask, origin: Origin) {
        let Ask { client, op, attempt, ref what } = *ask;
        self.attempts.insert(origin, op);
        match what {
            Want::Session { .. } => {}
            Want::Write { body, .. } => self.linearizability.asked_to_write(client, op, body),
            Want::Read { query } => self.linearizability.asked_to_read(client, op, attempt, query),
        }
    }

    /// A process looked at its own state.
    pub(crate) fn looked(
        &mut self,
        node: usize,
        query: &Value,
        observed: &Observed<Value>,
    ) -> Verdict {
        as_agreed::asked(&self.execution, node, &observed.at())?;
        before_deadlines::asked(&self.execution, node, observed)?;
        let effects = self.state_machine_safety.effects_of(node);
        self.local_reads.looked(node, effects.len() as u64)?;
        answers::answered(&mut self.fresh_machines, node, query, observed, effects)
    }

    /// Everything has come to rest. False if what clients saw could not be judged by itself.
    pub(crate) fn concluded(&self) -> Result<bool, Violation> {
        self.linearizability.concluded(&*self.subject)
    }

    /// The log that a replica holds, saved or not: its base, and the entries behind that.
    pub(crate) fn log_of(&self, node: usize) -> impl Iterator<Item = (LogId, Digest)> + '_ {
        let log = &self.logs.held[node];
        (log.base().0..=log.last().0).filter_map(|index| {
            let (ballot, digest) = log.at(Index(index))?;
            Some((LogId::new(Index(index), ballot), digest))
        })
    }

    /// How many entries are known to be committed.
    pub(crate) fn committed(&self) -> Index {
        self.commit.committed()
    }

    /// How many effects commands have had.
    pub(crate) fn effects(&self) -> u64 {
        self.state_machine_safety.effects().len() as u64
    }

    /// How many leaders there have been.
    pub(crate) fn leaders(&self) -> u64 {
        self.reigns.leaders()
    }
}

/// The request behind a change that is new to everybody, and its command; neither if something expired.
fn behind(
    change: &Change,
    fresh: &[Entry],
    attempts: &BTreeMap<Origin, OpId>,
) -> Result<(OpId, Bytes), Violation> {
    if change.response.is_none() {
        return Ok(Default::default());
    }
    let entry = fresh.iter().find(|entry| entry.index() == change.index);
    let command = entry.and_then(|entry| Command::decode(&entry.payload));
    let request =
        command.and_then(|Command { origin, body, .. }| Some((*attempts.get(&origin)?, body)));
    request.ok_or_else(|| of_nobody(change.index))
}
