//! What peers say: anything, but mostly what bears on the log that the replica has.

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use quorate_core::{
    Ballot, Command, Digest, Entry, EntryKind, Envelope, Forward, FoundingMessage, FoundingRecord,
    Incarnation, Index, Known, LogId, LogTime, Membership, NodeId, Origin, PeerMessage, Place,
    Proposal, Protocol, Readmission, Refusal, Repair, RequestId, SnapshotId, SnapshotMessage,
    SnapshotMeta, Start,
};
use quorate_raft::{self as raft, AppendEntries, AppendEntriesReply, Appended, Raft};
use quorate_vsr::{self as vsr, DoViewChange, Stretch, Vsr};

use super::disk::Disk;
use super::{ME, MEMBERS, Shell, incarnation, membership};

/// A protocol whose messages can be made up.
pub trait Spoken: Protocol {
    fn message(said: &mut Saying<'_, '_>) -> Result<Self::Message>;
}

/// Where the numbers in a message come from.
pub struct Saying<'a, 'b> {
    u: &'a mut Unstructured<'b>,
    held: &'a Disk,
    committed: Index,
    ballot: Ballot,
    restarted: Start,
}

impl Saying<'_, '_> {
    fn number(&mut self, near: u64) -> Result<u64> {
        Ok(match self.u.int_in_range(0..=31)? {
            0 => self.u.arbitrary()?,
            1 => u64::MAX,
            2 => 0,
            3..=7 => near.saturating_sub(self.u.int_in_range(0..=3)?),
            8..=15 => near.saturating_add(self.u.int_in_range(0..=3)?),
            _ => near,
        })
    }

    /// No other number is understood when it arrives.
    fn index(&mut self) -> Result<Index> {
        let near = if self.u.arbitrary()? { self.held.last().index } else { self.committed };
        self.number(near.0).map(|number| Index(number).min(Index::MAX))
    }

    /// Likewise.
    fn ballot(&mut self) -> Result<Ballot> {
        self.number(self.ballot.0).map(|number| Ballot(number).min(Ballot::MAX))
    }

    fn id(&mut self) -> Result<LogId> {
        let index = self.index()?;
        match self.held.id(index) {
            Some(id) if self.u.ratio(7_u8, 8_u8)? => Ok(id),
            _ => Ok(LogId::new(index, self.ballot()?)),
        }
    }

    fn digest(&mut self, of: Index) -> Result<Digest> {
        match self.held.digest(of) {
            Some(digest) if self.u.ratio(7_u8, 8_u8)? => Ok(digest),
            _ => self.u.arbitrary().map(Digest),
        }
    }

    fn request(&mut self) -> Result<RequestId> {
        let start = if self.u.arbitrary()? { self.restarted } else { self.start()? };
        Ok(RequestId { start, number: self.number(1)? })
    }

    fn start(&mut self) -> Result<Start> {
        let count = if self.u.ratio(15_u8, 16_u8)? { 1 } else { self.number(1)? };
        Ok(Start { count, nonce: 1 })
    }

    fn payload(&mut self) -> Result<(EntryKind, Bytes)> {
        Ok(match self.u.int_in_range(0..=7)? {
            0 => (EntryKind::Noop, Bytes::new()),
            1 => (EntryKind::Time, Bytes::new()),
            2 => {
                let mut members = membership();
                if self.u.arbitrary()? {
                    let id = NodeId(self.u.int_in_range(1..=3)?);
                    let replaced = members.with_replaced(id, incarnation(id.0), Incarnation(7));
                    members = replaced.unwrap_or(members);
                }
                let bytes = postcard::to_allocvec(&members).expect("plain data encodes");
                (EntryKind::Membership, bytes.into())
            }
            3 => {
                let kind = self.u.int_in_range(0..=4)?;
                let bytes: &[u8] = self.u.arbitrary()?;
                let kind = EntryKind::from_u8(kind).expect("it is one");
                (kind, Bytes::copy_from_slice(&bytes[..bytes.len().min(40)]))
            }
            _ => {
                let node = NodeId(self.u.int_in_range(1..=3)?);
                let origin = Origin { node, request: self.request()? };
                let body = Bytes::from(vec![2; self.u.int_in_range(0..=90)?]);
                (EntryKind::Command, Command { origin, session: None, body }.encode())
            }
        })
    }

    /// Entries behind one that the replica may have: its own, or others.
    fn entries(&mut self, previous: LogId) -> Result<Vec<Entry>> {
        if self.u.ratio(1_u8, 4_u8)? {
            let mut own = self.held.entries_from(previous.index.next(), 1 << 20);
            own.truncate(self.u.int_in_range(0..=4)?);
            return Ok(own);
        }
        let (mut last, mut parent) = (previous, self.digest(previous.index)?);
        let mut ballot = if self.u.arbitrary()? { previous.ballot } else { self.ballot()? };
        let mut entries = Vec::new();
        for _ in 0..self.u.int_in_range(0..=4)? {
            let (kind, payload) = self.payload()?;
            let time = LogTime(self.number(1_000_000_000)?);
            let mut index = last.index.next();
            match self.u.int_in_range(0..=31)? {
                0 => index = self.index()?,
                1 => ballot = self.ballot()?,
                2 => parent = self.u.arbitrary().map(Digest)?,
                _ => {}
            }
            let mut proposal = Proposal::new(kind, time, payload);
            if self.u.ratio(1_u8, 32_u8)? {
                proposal.checksum = Digest::ZERO;
            }
            let entry = Entry::new(LogId::new(index, ballot), parent, proposal);
            (last, parent) = (entry.id, entry.digest());
            entries.push(entry);
        }
        Ok(entries)
    }

    fn membership(&mut self) -> Result<Membership> {
        Ok(match self.u.int_in_range(0..=7)? {
            0 => Membership::default(),
            1 => Membership::new([(NodeId(self.u.int_in_range(1..=5)?), Incarnation(7))]),
            2 => Membership::new([(NodeId(2), incarnation(2)), (NodeId(3), incarnation(3))]),
            _ => membership(),
        })
    }

    fn snapshot(&mut self) -> Result<SnapshotMeta> {
        let last = self.id()?;
        Ok(SnapshotMeta {
            last,
            digest: self.digest(last.index)?,
            membership: self.membership()?,
            time: LogTime(self.number(1_000_000_000)?),
            size_bytes: self.number(5)?,
            content: Digest::of(&[self.u.arbitrary()?]),
        })
    }

    fn snapshot_id(&mut self) -> Result<SnapshotId> {
        let own = self.held.snapshot.as_ref().map(SnapshotMeta::id);
        Ok(match own {
            Some(own) if self.u.ratio(3_u8, 4_u8)? => own,
            _ => self.snapshot()?.id(),
        })
    }
}

impl Spoken for Raft {
    fn message(said: &mut Saying<'_, '_>) -> Result<raft::Message> {
        use raft::Message;
        let term = said.ballot()?;
        let probe = said.number(1)?;
        Ok(match said.u.int_in_range(0..=12)? {
            0 => Message::PreVote { term, last: said.id()? },
            1 => {
                let (asked, granted) = (said.ballot()?, said.u.arbitrary()?);
                Message::PreVoteReply { term, asked, granted }
            }
            2 => Message::RequestVote { term, last: said.id()?, transfer: said.u.arbitrary()? },
            3 => Message::RequestVoteReply { term, granted: said.u.ratio(3_u8, 4_u8)? },
            4..=6 => {
                let (previous, commit) = (said.id()?, said.index()?);
                let entries = said.entries(previous)?;
                Message::AppendEntries(AppendEntries { term, probe, previous, commit, entries })
            }
            7..=9 => {
                let outcome = match said.u.int_in_range(0..=6)? {
                    0 => Appended::Held(said.index()?),
                    1 => Appended::Conflict { previous: said.index()?, hint: said.id()? },
                    2 => Appended::Refused,
                    3 => Appended::NoRoom { previous: said.index()? },
                    _ => Appended::Durable(said.index()?),
                };
                Message::AppendEntriesReply(AppendEntriesReply { term, probe, outcome })
            }
            10 => Message::InstallSnapshot { term, probe, snapshot: said.snapshot()? },
            11 => {
                let durable = said.u.arbitrary::<bool>()?.then(|| said.index()).transpose()?;
                Message::InstallSnapshotReply { term, probe, durable }
            }
            _ => Message::TimeoutNow { term },
        })
    }
}

impl Spoken for Vsr {
    fn message(said: &mut Saying<'_, '_>) -> Result<vsr::Message> {
        use vsr::Message;
        let view = said.ballot()?;
        let probe = said.number(1)?;
        let stretch = |said: &mut Saying<'_, '_>| {
            let (previous, commit) = (said.id()?, said.index()?);
            let entries = said.entries(previous)?;
            Ok(Stretch { view, probe, previous, commit, entries })
        };
        Ok(match said.u.int_in_range(0..=15)? {
            0 | 1 => Message::Prepare(stretch(said)?),
            2 | 3 => Message::PrepareOk { view, probe, op: said.index()? },
            4 => Message::Commit { view, probe, op: said.index()?, commit: said.index()? },
            5 | 6 => Message::StartViewChange { view, target: said.ballot()? },
            7 | 8 => {
                let (head, commit) = (said.id()?, said.index()?);
                let digest = said.digest(head.index)?;
                Message::DoViewChange(DoViewChange { view, head, digest, commit })
            }
            9 => Message::StartView(stretch(said)?),
            10 => Message::GetState { view, last: said.id()? },
            11 => Message::NewState(stretch(said)?),
            12 => Message::Checkpoint { view, snapshot: said.snapshot()? },
            13 => Message::Missing { view, previous: said.id()?, missing: said.id()? },
            14 => Message::Sought { view, missing: said.id()? },
            _ => Message::Nack { view, missing: said.id()? },
        })
    }
}

impl<P: Spoken> Shell<P> {
    /// What somebody says next.
    pub(super) fn message(&mut self, u: &mut Unstructured<'_>) -> Result<Envelope<P::Message>> {
        let from = *u.choose(&MEMBERS[1..])?;
        let status = self.replica.status();
        let restarted = Start { count: 1, nonce: 1 };
        let (committed, ballot) = (status.committed, status.ballot);
        let mut said = Saying { u, held: &self.held, committed, ballot, restarted };
        let (mut to, mut node) = (ME, NodeId(from));
        let (mut of, mut known) = (incarnation(from), None);
        match said.u.int_in_range(0..=63)? {
            0 => to = NodeId(said.number(1)?),
            1 => node = NodeId(said.number(1)?),
            2 => of = Incarnation(7),
            3 => {
                let disk = quorate_core::Disk { incarnation: incarnation(1), start: said.start()? };
                known = Some(Known { disk, acknowledged: None });
            }
            4 => {
                let start = said.restarted;
                let disk = quorate_core::Disk { incarnation: incarnation(1), start };
                known = Some(Known { disk, acknowledged: Some((said.ballot()?, said.id()?)) });
            }
            _ => {}
        }
        let (start, previous_nonce) = (said.start()?, said.number(0)?);
        let message = match said.u.int_in_range(0..=15)? {
            0 => PeerMessage::Forward(forward(&mut said)?),
            1 => PeerMessage::Snapshot(snapshot(&mut said)?),
            2 => {
                let list = said.u.arbitrary::<bool>()?.then(|| said.membership()).transpose()?;
                let (round, formed) = (said.number(1)?, said.u.arbitrary()?);
                let record = FoundingRecord { round, list, formed };
                let asks = said.u.arbitrary()?;
                PeerMessage::Founding(FoundingMessage { record, asks })
            }
            3 => PeerMessage::Repair(repair(&mut said)?),
            4 => PeerMessage::Readmission(readmission(&mut said)?),
            5 if !self.sent.is_empty() => said.u.choose(&self.sent)?.message.clone(),
            _ => PeerMessage::Protocol(P::message(&mut said)?),
        };
        // No byte of its own: older inputs mean what they meant.
        let has_room = start.count % 4 != 3;
        Ok(Envelope {
            from: node,
            to,
            incarnation: of,
            start,
            previous_nonce,
            known,
            has_room,
            message,
        })
    }
}

fn forward(said: &mut Saying<'_, '_>) -> Result<Forward> {
    let ballot = said.ballot()?;
    Ok(match said.u.int_in_range(0..=4)? {
        0 => {
            let (attempt, oldest) = (said.request()?, said.request()?);
            let after = if said.u.arbitrary()? { Some(said.request()?) } else { None };
            let (kind, payload) = said.payload()?;
            Forward::Propose { ballot, place: Place { attempt, after, oldest }, kind, payload }
        }
        1 => {
            let reasons = [
                Refusal::HandingOver,
                Refusal::OutOfTurn,
                Refusal::Busy,
                Refusal::Overdue,
                Refusal::DiskFull,
                Refusal::TooLarge,
            ];
            Forward::Refused { attempt: said.request()?, reason: *said.u.choose(&reasons)? }
        }
        2 | 3 => Forward::Read { ballot, request: said.request()? },
        _ => Forward::ReadReady { request: said.request()?, index: said.index()? },
    })
}

fn snapshot(said: &mut Saying<'_, '_>) -> Result<SnapshotMessage> {
    let snapshot = said.snapshot_id()?;
    Ok(match said.u.int_in_range(0..=2)? {
        0 => SnapshotMessage::Fetch { snapshot, chunk: said.number(0)? },
        1 => {
            let bytes = Bytes::from_static(b"chunk");
            let checksum = Digest::of(&bytes);
            SnapshotMessage::Chunk { snapshot, chunk: said.number(0)?, checksum, bytes }
        }
        _ => SnapshotMessage::Gone { snapshot },
    })
}

fn repair(said: &mut Saying<'_, '_>) -> Result<Repair> {
    let last = said.index()?;
    Ok(match said.u.int_in_range(0..=3)? {
        0 => Repair::Want { first: said.index()?, last, digest: said.digest(last)? },
        1 => {
            let previous = said.id()?;
            Repair::Entries { entries: said.entries(previous)? }
        }
        2 => Repair::Compacted { snapshot: said.snapshot()? },
        _ => Repair::Lacks { ballot: said.ballot()?, last, digest: said.digest(last)? },
    })
}

fn readmission(said: &mut Saying<'_, '_>) -> Result<Readmission> {
    Ok(match said.u.int_in_range(0..=5)? {
        0 => Readmission::Ask { request: said.request()? },
        1 => Readmission::Listed { incarnation: Incarnation(7) },
        2 => {
            let from = said.u.int_in_range(1..=3)?;
            Readmission::Rejoin { replaces: incarnation(from) }
        }
        3 => Readmission::CatchUp { request: said.request()?, through: said.id()? },
        4 => Readmission::Doubt,
        _ => Readmission::Follows { start: said.start()? },
    })
}

/// A message of each protocol, for the corpora of decoders.
pub fn envelopes() -> (Envelope<raft::Message>, Envelope<vsr::Message>) {
    let (from, to, incarnation) = (NodeId(2), ME, incarnation(2));
    let (term, previous, commit) = (Ballot(1), LogId::ZERO, Index(1));
    let proposal = Proposal::new(EntryKind::Command, LogTime(5), Bytes::from_static(b"payload"));
    let entries = vec![Entry::new(LogId::new(Index(1), term), membership().digest(), proposal)];
    let append = AppendEntries { term, probe: 1, previous, commit, entries: entries.clone() };
    let message = PeerMessage::Protocol(raft::Message::AppendEntries(append));
    let previous_nonce = 8;
    let start = Start { count: 2, nonce: 4 };
    let disk = quorate_core::Disk { incarnation: Incarnation(3), start };
    let known =
        Some(Known { disk, acknowledged: Some((Ballot(1), LogId::new(Index(3), Ballot(1)))) });
    let start = Start { count: 1, nonce: 9 };
    let has_room = true;
    let of_raft =
        Envelope { from, to, incarnation, start, previous_nonce, known, has_room, message };
    let stretch = Stretch { view: term, probe: 1, previous, commit, entries };
    let message = PeerMessage::Protocol(vsr::Message::Prepare(stretch));
    (of_raft, Envelope { from, to, incarnation, start, previous_nonce, known, has_room, message })
}
