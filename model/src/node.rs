//! One replica with its disk, and whatever is on its way from the one to the other.

mod effects;

use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;
use quorate_core::{
    Ballot, Command, Effect, Entry, EntryKind, Envelope, Event, Index, Log, Membership, NodeId,
    Now, Origin, PeerMessage, Replica, ReplicaConfig, RequestId, Role, Timer, Write, WriteSeq,
};
use quorate_sim::oracles::{Mirror, assertion_failed};
use quorate_sim::{Simulated, Verdict};

use crate::canary::Canary;
use crate::disk::Disk;
use crate::panics::caught;
use crate::promises::{Sight, Watch};
use crate::reads;
use crate::rules::{Facts, Rules, Speed};
use crate::settled::Settled;

/// One replica with its disk.
#[derive(Clone)]
pub(crate) struct Node<P: Simulated> {
    id: NodeId,
    replica: Replica<P>,
    disk: Disk,
    /// Writes that were asked for and are not durable, in order.
    unsaved: VecDeque<(WriteSeq, Write)>,
    /// The log as the replica has it, durable or not.
    held: Mirror,
    /// What a batch that goes on has given rise to so far.
    batch: Vec<Effect<P::Message>>,
    /// The batch goes on. Follows from what is in the replica.
    is_amid_a_batch: bool,
    /// Reads that are not answered, and what each of them has to cover.
    reads: BTreeMap<RequestId, Index>,
    watch: Watch<P>,
    /// How many inputs the replica has taken. Influences nothing.
    inputs: u64,
}

/// What comes from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Happening<M> {
    /// A message arrives.
    Message(Envelope<M>),
    /// A message arrives, and the batch goes on.
    Batched(Envelope<M>),
    /// A timer runs out.
    Timeout(Timer),
    /// A client proposes a command.
    Propose,
    /// A client asks for a read, when this much is committed.
    Read(Index),
    /// The oldest write on its way to the disk is durable, and the replica is told.
    Save,
    /// The newest promise on its way to the disk is durable, ahead of its write.
    Swear,
    /// The process dies and starts again. So many of the writes on their way have arrived.
    Crash(usize),
}

/// What came of it.
pub(crate) struct Came<M> {
    pub(crate) sent: Vec<Envelope<M>>,
    /// What was added to the log.
    pub(crate) entries: Vec<Entry>,
    /// The log, or what of it is durable, is another one than before.
    pub(crate) changed_log: bool,
    pub(crate) crashed: bool,
    /// The batch goes on: there is nothing to be seen of it yet.
    pub(crate) is_unfinished: bool,
    pub(crate) verdict: Verdict,
}

impl<M> Came<M> {
    fn new(verdict: Verdict) -> Came<M> {
        let (sent, entries) = (Vec::new(), Vec::new());
        let (changed_log, crashed, is_unfinished) = (false, false, false);
        Came { sent, entries, changed_log, crashed, is_unfinished, verdict }
    }
}

/// There is no clock. Every wait is over as soon as it begins, and nothing that is remembered
/// expires: so whatever time could bring about is a matter of which timer runs out next.
const NOW: Now = Now { monotonic: Duration::ZERO, wall: Duration::ZERO };

/// But for a leader that looks for its quorum, and finds that it has not heard of it for so long.
const END_OF_TIME: Now = Now { monotonic: Duration::from_secs(1 << 20), wall: Duration::ZERO };

impl<P: Simulated> Node<P> {
    /// A member of a cluster that was just founded.
    pub(crate) fn founded(position: usize, rules: &Rules) -> (Node<P>, Came<P::Message>) {
        let id = node_id(position);
        let disk = Disk::of_a_founder(id, &rules.members);
        let mut watch = Watch::new(position, rules.members.len());
        let (replica, disk, effects) = start(id, disk, rules);
        let verdict = watch.on_disk(disk.pledges());
        let mut node = Node {
            id,
            replica,
            disk,
            unsaved: VecDeque::new(),
            held: Mirror::default(),
            batch: Vec::new(),
            is_amid_a_batch: false,
            reads: BTreeMap::new(),
            watch,
            inputs: 0,
        };
        let came = node.finish(effects, NOW, rules, (false, true), verdict);
        let came = node.save_all(came, rules);
        (node, came)
    }

    /// Takes in what happens, to the end. Unless the disk is slow, what is written is durable by
    /// then.
    pub(crate) fn take(
        &mut self,
        happening: Happening<P::Message>,
        disk: Speed,
        rules: &Rules,
    ) -> Came<P::Message> {
        let came = self.take_alone(happening, rules);
        match disk {
            Speed::Immediate if !came.is_unfinished => self.save_all(came, rules),
            Speed::Immediate | Speed::Slow => came,
        }
    }

    fn save_all(&mut self, mut came: Came<P::Message>, rules: &Rules) -> Came<P::Message> {
        while came.verdict.is_ok() && !self.unsaved.is_empty() {
            let saved = self.take_alone(Happening::Save, rules);
            came.sent.extend(saved.sent);
            came.entries.extend(saved.entries);
            came.changed_log |= saved.changed_log;
            came.verdict = saved.verdict;
        }
        came
    }

    fn take_alone(&mut self, happening: Happening<P::Message>, rules: &Rules) -> Came<P::Message> {
        self.is_amid_a_batch = matches!(happening, Happening::Batched(_));
        if let Happening::Batched(envelope) = happening {
            self.inputs += 1;
            self.hear(&envelope);
            self.replica.step(NOW, Event::Message(envelope), &mut self.batch);
            return Came { is_unfinished: true, ..Came::new(Ok(())) };
        }
        let mut effects = std::mem::take(&mut self.batch);
        let mut verdict = Ok(());
        let crashed = matches!(happening, Happening::Crash(_));
        let changed_disk = crashed || happening == Happening::Save;
        let now = if happening == Happening::Timeout(Timer::Quorum) { END_OF_TIME } else { NOW };
        match happening {
            Happening::Batched(_) => unreachable!("nothing is carried out while a batch goes on"),
            Happening::Message(envelope) => {
                self.hear(&envelope);
                self.step(now, Event::Message(envelope), &mut effects);
            }
            Happening::Timeout(timer) => self.step(now, Event::Timeout(timer), &mut effects),
            Happening::Propose => self.propose(&mut effects),
            Happening::Read(covering) => verdict = self.read(covering, rules, &mut effects),
            Happening::Save => verdict = self.save(rules, &mut effects),
            Happening::Swear => verdict = self.swear(&mut effects),
            Happening::Crash(kept) => {
                verdict = self.crash(kept, rules, &mut effects);
            }
        }
        self.finish(effects, now, rules, (crashed, changed_disk), verdict)
    }

    fn hear(&mut self, envelope: &Envelope<P::Message>) {
        if let PeerMessage::Protocol(message) = &envelope.message {
            self.watch.hears(position(envelope.from), message);
        }
    }

    fn step(&mut self, now: Now, event: Event<P::Message>, effects: &mut Vec<Effect<P::Message>>) {
        self.inputs += 1;
        self.replica.step(now, event, effects);
        self.replica.flush(now, effects);
    }

    fn propose(&mut self, effects: &mut Vec<Effect<P::Message>>) {
        let request = self.replica.name_request();
        let origin = Origin { node: self.id, request };
        let payload = Command { origin, session: None, body: Bytes::new() }.encode();
        self.step(NOW, Event::Propose { request, kind: EntryKind::Command, payload }, effects);
    }

    fn read(
        &mut self,
        covering: Index,
        rules: &Rules,
        effects: &mut Vec<Effect<P::Message>>,
    ) -> Verdict {
        let request = self.replica.name_request();
        self.reads.insert(request, covering);
        if rules.canary == Some(Canary::ReadLocally) {
            return self.answer(request);
        }
        self.step(NOW, Event::Read { request }, effects);
        Ok(())
    }

    /// The client gets its answer from what is applied.
    fn answer(&mut self, request: RequestId) -> Verdict {
        let Some(covering) = self.reads.remove(&request) else { return Ok(()) };
        reads::answers(self.id, self.replica.status().applied, covering)
    }

    fn save(&mut self, rules: &Rules, effects: &mut Vec<Effect<P::Message>>) -> Verdict {
        let Some((seq, write)) = self.unsaved.pop_front() else { return Ok(()) };
        self.disk.save(seq, &write);
        self.watch.on_disk(self.disk.pledges())?;
        let told = match rules.canary {
            Some(Canary::AcknowledgeBeforeSync) => None, // It was told long before.
            Some(Canary::CompleteLaterWrites) => {
                Some(self.unsaved.back().map_or(seq, |(last, _)| *last))
            }
            Some(Canary::ForgetPledge | Canary::ReadLocally | Canary::LoseLastEntry) | None => {
                Some(seq)
            }
        };
        if let Some(seq) = told {
            self.step(NOW, Event::Saved(seq), effects);
        }
        Ok(())
    }

    fn swear(&mut self, effects: &mut Vec<Effect<P::Message>>) -> Verdict {
        let Some(seq) = self.swearable() else { return Ok(()) };
        let (seq, write) =
            self.unsaved.iter().find(|(unsaved, _)| *unsaved == seq).expect("it is on its way");
        let seq = *seq;
        self.disk.swear(seq, write);
        self.watch.on_disk(self.disk.pledges())?;
        self.step(NOW, Event::Sworn(seq), effects);
        Ok(())
    }

    /// The newest promise on its way to the disk, unless that is there already.
    fn swearable(&self) -> Option<WriteSeq> {
        let newest = self.unsaved.iter().rfind(|(_, write)| write.promise)?.0;
        (self.disk.sworn() != Some(newest)).then_some(newest)
    }

    fn crash(
        &mut self,
        kept: usize,
        rules: &Rules,
        effects: &mut Vec<Effect<P::Message>>,
    ) -> Verdict {
        for (seq, write) in std::mem::take(&mut self.unsaved).iter().take(kept) {
            self.disk.save(*seq, write);
            self.watch.on_disk(self.disk.pledges())?;
        }
        if rules.canary == Some(Canary::LoseLastEntry) {
            self.disk.lose_last_entry();
        }
        self.watch.crashed();
        effects.clear();
        self.reads.clear();
        self.held = self.disk.log().clone();
        let (replica, disk, first) = start(self.id, self.disk.clone(), rules);
        self.replica = replica;
        self.disk = disk;
        effects.extend(first);
        self.watch.on_disk(self.disk.pledges())
    }
}

impl<P: Simulated> Node<P> {
    /// What decides on what can happen to it.
    pub(crate) fn facts(&self) -> Facts {
        let standing = self.replica.protocol().map(P::standing);
        Facts {
            serves: standing.is_some_and(|standing| standing.serving),
            leads: standing.is_some_and(|standing| standing.leader == Some(self.id)),
            unsaved: self.unsaved.len(),
            may_swear: self.swearable().is_some(),
        }
    }

    /// What can be seen of it, after this has come of something.
    pub(crate) fn sight(&self, entries: Vec<Entry>, crashed: bool) -> Sight<'_> {
        let (protocol, log) = machines(&self.replica);
        Sight::of(position(self.id), protocol, log, &self.held, entries, crashed)
    }

    /// In which ballot it is, whether it leads, and what it calls committed.
    pub(crate) fn stands(&self) -> (Ballot, bool, Index) {
        let (protocol, log) = machines(&self.replica);
        let standing = protocol.standing();
        (standing.ballot, standing.role == Role::Leader, log.committed())
    }

    /// Its position in the cluster.
    pub(crate) fn position(&self) -> usize {
        position(self.id)
    }

    /// What of its disk decides on which messages are moot.
    pub(crate) fn settled(&self) -> Settled<P> {
        self.disk.settled()
    }

    /// What the last message has given rise to is part of what happens next.
    pub(crate) fn is_amid_a_batch(&self) -> bool {
        self.is_amid_a_batch
    }

    pub(crate) fn held(&self) -> &Mirror {
        &self.held
    }

    pub(crate) fn on_disk(&self) -> &Mirror {
        self.disk.log()
    }

    pub(crate) fn replica(&self) -> &Replica<P> {
        &self.replica
    }

    pub(crate) fn inputs(&self) -> u64 {
        self.inputs
    }

    pub(crate) fn unsaved(&self) -> usize {
        self.unsaved.len()
    }
}

impl<P: Simulated> Hash for Node<P> {
    /// What is held follows from the disk and the writes on their way to it.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.replica.hash(state);
        self.disk.hash(state);
        self.unsaved.hash(state);
        self.batch.hash(state);
        self.reads.hash(state);
        self.watch.hash(state);
    }
}

fn machines<P: Simulated>(replica: &Replica<P>) -> (&P, &Log) {
    let machines = replica.protocol().zip(replica.log());
    machines.expect("the cluster was founded before it began")
}

/// What becomes of a node when this happens to it. If it panics, that is what came of it.
pub(crate) fn taking<P: Simulated>(
    node: &Node<P>,
    happening: Happening<P::Message>,
    disk: Speed,
    rules: &Rules,
) -> (Node<P>, Came<P::Message>) {
    let mut after = node.clone();
    match caught(|| after.take(happening, disk, rules)) {
        Ok(came) => (after, came),
        Err(words) => {
            let verdict = Err(assertion_failed(format!("{:?}: {words}", node.id)));
            (node.clone(), Came::new(verdict))
        }
    }
}

/// A process starts on this disk.
fn start<P: Simulated>(
    id: NodeId,
    mut disk: Disk,
    rules: &Rules,
) -> (Replica<P>, Disk, Vec<Effect<P::Message>>) {
    let mut found = disk.open(id, &rules.members, P::NAME);
    if rules.canary == Some(Canary::ForgetPledge) {
        (found.pledge, found.sworn) = (None, None);
    }
    let config = ReplicaConfig {
        me: id,
        members: rules.members.voters().collect(),
        bootstrap: true,
        settings: rules.settings.clone(),
    };
    let mut effects = Vec::new();
    let replica = Replica::recover(config, found, NOW, &mut effects)
        .unwrap_or_else(|fatal| panic!("a disk that is whole is refused: {fatal}"));
    (replica, disk, effects)
}

/// Nodes are named from 1, in the order of their positions.
pub(crate) fn node_id(position: usize) -> NodeId {
    NodeId(position as u64 + 1)
}

/// The position of a node.
pub(crate) fn position(id: NodeId) -> usize {
    usize::try_from(id.0 - 1).expect("nodes are few")
}

/// The members of a cluster of so many.
pub(crate) fn members(replicas: usize) -> Membership {
    let ids = (0..replicas).map(node_id);
    Membership::new(ids.map(|id| (id, crate::disk::incarnation_of(id))))
}
