//! A protocol that stands where a test puts it: for what a replica does around any protocol.

use super::*;
use crate::entry::Proposal;
use crate::event::Applied;
use crate::protocol::ReadId;
use crate::types::WriteSeq;
use crate::write::Write;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Puppet {
    pub(super) standing: Standing,
    /// What it was told by others.
    pub(super) heard: Vec<(NodeId, Word)>,
    pub(super) reads: Vec<ReadId>,
    /// What was fetched, and from whom.
    pub(super) fetched: Vec<(NodeId, SnapshotMeta)>,
    pub(super) hand_overs: u32,
    /// What every member has acknowledged.
    pub(super) acknowledged: Index,
    pub(super) timeouts: Vec<Timer>,
    /// How far the log was durable each time that the puppet was told of a write.
    pub(super) saved: Vec<Index>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(super) enum Word {
    /// All entries of a log, from the first on.
    Entries(Vec<Entry>),
    /// A snapshot, which the log is to go on from.
    Rebase(SnapshotMeta),
    /// Something that counts.
    Vote,
    /// Something that counts for nothing.
    Mention,
    /// The sender leads in this ballot.
    Leads(u64),
}

impl Protocol for Puppet {
    const NAME: &'static str = "puppet";
    type Message = Word;
    type Pledge = Sworn;

    fn recover(
        _: NodeId,
        _: &Settings,
        pledge: Option<Sworn>,
        _: &mut Log,
        _: &mut Effects<Word>,
    ) -> Puppet {
        let ballot = Ballot(pledge.map_or(1, |pledge| pledge.0));
        let standing = Standing { role: Role::Follower, ballot, leader: None, serving: false };
        let (heard, reads, fetched) = (Vec::new(), Vec::new(), Vec::new());
        let (timeouts, saved) = (Vec::new(), Vec::new());
        let (hand_overs, acknowledged) = (0, Index::ZERO);
        Puppet { standing, heard, reads, fetched, hand_overs, acknowledged, timeouts, saved }
    }

    fn step(&mut self, _: Now, input: Input<Word>, log: &mut Log, _: &mut Effects<Word>) {
        match input {
            Input::Message { from, message, .. } => {
                match &message {
                    Word::Entries(entries) => {
                        let _ = log.splice(LogId::ZERO, entries.clone());
                    }
                    Word::Rebase(snapshot) => log.rebase(snapshot.clone()),
                    Word::Leads(ballot) => {
                        let (role, leader, ballot) = (Role::Follower, Some(from), Ballot(*ballot));
                        self.standing = Standing { role, ballot, leader, serving: false };
                    }
                    Word::Vote | Word::Mention => {}
                }
                self.heard.push((from, message));
            }
            Input::Propose(proposal) => {
                log.append(self.standing.ballot, proposal);
            }
            Input::Read(read) => self.reads.push(read),
            Input::SnapshotFetched { from, snapshot } => self.fetched.push((from, snapshot)),
            Input::HandOver => self.hand_overs += 1,
            Input::Timeout(timer) => self.timeouts.push(timer),
            Input::Saved => self.saved.push(log.durable()),
            _ => {}
        }
    }

    fn flush(&mut self, _: Now, _: &mut Log, _: &mut Effects<Word>) {}

    fn pledge(&self) -> Sworn {
        Sworn(self.standing.ballot.0)
    }

    fn standing(&self) -> Standing {
        self.standing
    }

    fn faults(&self) -> PeerFaults {
        PeerFaults::default()
    }

    fn acknowledged(&self, _: NodeId, _: Incarnation) -> Index {
        self.acknowledged
    }

    fn vouches(message: &Word) -> bool {
        matches!(message, Word::Vote)
    }
}

/// The ballot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sworn(pub(super) u64);

impl Pledge for Sworn {
    fn to_bytes(&self) -> PledgeBytes {
        let mut bytes = [1; 64];
        bytes[..8].copy_from_slice(&self.0.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &PledgeBytes) -> Option<Sworn> {
        let (number, rest) = bytes.split_first_chunk()?;
        rest.iter().all(|byte| *byte == 1).then_some(Sworn(u64::from_le_bytes(*number)))
    }

    fn promise(&self) -> Sworn {
        *self
    }

    fn joined(in_log: Option<Sworn>, sworn: Sworn) -> Sworn {
        Sworn(in_log.map_or(sworn.0, |in_log| in_log.0.max(sworn.0)))
    }
}

pub(super) const THIRD: NodeId = NodeId(3);

pub(super) fn three() -> Membership {
    Membership::new([ME, PEER, THIRD].map(|id| (id, Incarnation(100 + id.0))))
}

/// A snapshot of all up to an entry of this name.
pub(super) fn snapshot_at(index: u64, ballot: u64) -> SnapshotMeta {
    SnapshotMeta {
        last: LogId::new(Index(index), Ballot(ballot)),
        digest: Digest::of(b"entry"),
        membership: three(),
        time: LogTime(0),
        size_bytes: 1,
        content: Digest::of(b"state"),
    }
}

/// A snapshot of all up to this entry.
pub(super) fn snapshot_of(last: &Entry) -> SnapshotMeta {
    SnapshotMeta { last: last.id, digest: last.digest(), ..snapshot_at(0, 0) }
}

/// What is found if a disk lacks these of a log's entries, which are given from the first one on.
pub(super) fn gap_of(entries: &[Entry], first: usize, last: usize) -> Gap {
    Gap {
        first: entries[first - 1].index(),
        last: entries[last - 1].index(),
        digest: entries[last - 1].digest(),
        before: entries[first - 1].parent,
        ids_known: true,
    }
}

/// What a message says, and to whom.
pub(super) type Said = (NodeId, PeerMessage<Word>);

/// A replica of a cluster of three, on a disk that answers at once unless it is held.
pub(super) struct Stage {
    pub(super) replica: Replica<Puppet>,
    pub(super) now: Now,
    /// The disk does not answer.
    pub(super) holds: bool,
    pub(super) unsaved: Vec<WriteSeq>,
    pub(super) writes: Vec<Write>,
}

impl Stage {
    pub(super) fn new() -> Stage {
        Stage::with(Settings::default())
    }

    pub(super) fn with(settings: Settings) -> Stage {
        let replica = started_anew::<Puppet>(settings, 7);
        let (unsaved, writes) = (Vec::new(), Vec::new());
        let now = Now { monotonic: Duration::from_secs(1), wall: Duration::from_secs(1) };
        let mut stage = Stage { replica, now, holds: false, unsaved, writes };
        let record = FoundingRecord { round: 1, list: Some(three()), formed: true };
        let message = crate::founding::FoundingMessage { record, asks: false };
        stage.hear(PEER, PeerMessage::Founding(message));
        assert!(stage.replica.status().formed);
        stage
    }

    /// In whose log stand the opening and so many entries behind it, all of them saved.
    pub(super) fn with_entries(count: u64) -> Stage {
        let mut stage = Stage::new();
        stage.append(1 + count);
        stage
    }

    pub(super) fn puppet(&mut self) -> &mut Puppet {
        &mut self.replica.formed.as_mut().unwrap().protocol
    }

    /// What the protocol wants, as of the next flush.
    pub(super) fn effects(&mut self) -> &mut Effects<Word> {
        &mut self.replica.formed.as_mut().unwrap().effects
    }

    pub(super) fn log(&mut self) -> &mut Log {
        &mut self.replica.formed.as_mut().unwrap().log
    }

    /// It follows this leader.
    pub(super) fn follow(&mut self, leader: NodeId, ballot: u64) {
        let (role, leader, ballot) = (Role::Follower, Some(leader), Ballot(ballot));
        self.puppet().standing = Standing { role, ballot, leader, serving: false };
        self.flush();
    }

    /// It leads.
    pub(super) fn lead(&mut self, ballot: u64) {
        let (role, leader, ballot) = (Role::Leader, Some(ME), Ballot(ballot));
        self.puppet().standing = Standing { role, ballot, leader, serving: true };
        self.flush();
    }

    pub(super) fn append(&mut self, count: u64) {
        let ballot = self.puppet().standing.ballot;
        for _ in 0..count {
            let opening = self.log().opening();
            self.log().append(ballot, opening);
        }
        self.flush();
    }

    /// These members are put into the log.
    pub(super) fn list(&mut self, members: &Membership) {
        let payload = postcard::to_allocvec(members).unwrap().into();
        let time = self.log().last_time();
        let ballot = self.puppet().standing.ballot;
        self.log().append(ballot, Proposal::new(EntryKind::Membership, time, payload));
        self.flush();
    }

    /// All of the log is committed and applied.
    pub(super) fn commit(&mut self) {
        let last = self.log().last().index;
        self.log().commit(last);
        self.apply();
    }

    /// All that was committed is applied.
    pub(super) fn apply(&mut self) {
        self.flush();
        let applied = Applied {
            generation: self.replica.applying.generation(),
            through: self.log().committed(),
            requests: Vec::new(),
            deadline: None,
        };
        self.on(Event::Applied(applied));
    }

    /// A batch of nothing.
    pub(super) fn flush(&mut self) -> Vec<Effect<Word>> {
        let mut out = Vec::new();
        self.replica.flush(self.now, &mut out);
        self.carry_out(out)
    }

    pub(super) fn on(&mut self, event: Event<Word>) -> Vec<Effect<Word>> {
        let mut out = Vec::new();
        self.replica.step(self.now, event, &mut out);
        self.replica.flush(self.now, &mut out);
        self.carry_out(out)
    }

    fn carry_out(&mut self, mut effects: Vec<Effect<Word>>) -> Vec<Effect<Word>> {
        for effect in &effects {
            if let Effect::Persist { seq, write } = effect {
                self.unsaved.push(*seq);
                self.writes.push(write.clone());
            }
        }
        if !self.holds && !self.unsaved.is_empty() {
            effects.extend(self.save());
        }
        effects
    }

    /// The disk answers.
    pub(super) fn save(&mut self) -> Vec<Effect<Word>> {
        let mut all = Vec::new();
        for seq in std::mem::take(&mut self.unsaved) {
            all.extend(self.on(Event::Saved(seq)));
        }
        all
    }

    pub(super) fn envelope(from: NodeId, message: PeerMessage<Word>) -> Envelope<Word> {
        Envelope {
            from,
            to: ME,
            incarnation: Incarnation(100 + from.0),
            start: Start { count: 1, nonce: 0 },
            previous_nonce: 0,
            has_room: true,
            known: None,
            message,
        }
    }

    pub(super) fn hear(&mut self, from: NodeId, message: PeerMessage<Word>) -> Vec<Effect<Word>> {
        self.on(Event::Message(Stage::envelope(from, message)))
    }

    /// What it says when it hears this.
    pub(super) fn answers(&mut self, from: NodeId, message: PeerMessage<Word>) -> Vec<Said> {
        said(self.hear(from, message))
    }
}

pub(super) fn said(effects: Vec<Effect<Word>>) -> Vec<Said> {
    let said = effects.into_iter().filter_map(|effect| match effect {
        Effect::Send(envelope) => Some((envelope.to, envelope.message)),
        _ => None,
    });
    said.collect()
}
