//! What a group does to the log: runs of entries.

use bytes::Bytes;
use quorate_core::{Ballot, Digest, Entry, EntryKind, Index, LogId, LogTime};

use crate::codec::{HIGHEST, Put, Take, as_u32, as_usize};

/// What a run does to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunKind {
    /// What stands behind `previous` is cut off, and the entries follow it.
    Append = 0,
    /// The log does not hold `previous`: it starts anew behind the snapshot of that name.
    StartsAnew = 1,
    /// The entries take the place of damaged ones. Nothing is cut off.
    Repair = 2,
}

/// A run without its payloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunHeader {
    pub(crate) kind: RunKind,
    /// The entry before the first. Its ballot is 0 if this is a repair: nobody knows it.
    pub(crate) previous: LogId,
    pub(crate) previous_digest: Digest,
    pub(crate) entries: Vec<EntryHeader>,
}

/// An entry without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryHeader {
    pub(crate) ballot: Ballot,
    pub(crate) kind: EntryKind,
    pub(crate) time: LogTime,
    pub(crate) len: u32,
    pub(crate) checksum: Digest,
}

impl RunHeader {
    /// Where the first entry stands.
    pub(crate) fn first(&self) -> Index {
        self.previous.index.next()
    }

    /// One past the last entry.
    pub(crate) fn end(&self) -> Index {
        Index(self.first().0 + self.entries.len() as u64)
    }

    /// The entries with their positions.
    pub(crate) fn indexed(&self) -> impl Iterator<Item = (Index, &EntryHeader)> {
        (self.first().0..).map(Index).zip(&self.entries)
    }

    /// The digest of one of its entries, or of what precedes the first.
    pub(crate) fn digest_at(&self, index: Index) -> Digest {
        let entries = self.indexed().take_while(|(at, _)| *at <= index);
        entries.fold(self.previous_digest, |parent, (at, entry)| entry.digest(at, parent))
    }

    /// The name of the last entry, or of what precedes the first if there is none.
    pub(crate) fn last(&self) -> LogId {
        let last = self.entries.last();
        last.map_or(self.previous, |entry| LogId::new(self.end().previous(), entry.ballot))
    }

    /// What the run takes in a group's header and payloads, in bytes.
    pub(super) fn encoded_len(&self) -> usize {
        let payloads: usize = self.entries.iter().map(|entry| as_usize(entry.len)).sum();
        RunShape::MIN_LEN
            + self.stretches().len() * RunShape::STRETCH_LEN
            + self.entries.len() * EntryHeader::LEN
            + payloads
    }

    fn stretches(&self) -> Vec<(Ballot, u32)> {
        let mut stretches: Vec<(Ballot, u32)> = Vec::new();
        for entry in &self.entries {
            match stretches.last_mut() {
                Some((ballot, count)) if *ballot == entry.ballot => *count += 1,
                _ => stretches.push((entry.ballot, 1)),
            }
        }
        stretches
    }

    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        let stretches = self.stretches();
        bytes.put_u32(0);
        bytes.put_u32(self.kind as u32);
        bytes.put_log_id(self.previous);
        bytes.put(&self.previous_digest.0);
        bytes.put_u64(self.first().0);
        bytes.put_u32(as_u32(self.entries.len()));
        bytes.put_u32(as_u32(stretches.len()));
        for (ballot, count) in stretches {
            bytes.put_u64(ballot.0);
            bytes.put_u32(count);
        }
    }
}

/// A run whose part of the entry table was not read yet.
pub(super) struct RunShape {
    header: RunHeader,
    stretches: Vec<(Ballot, u32)>,
}

impl RunShape {
    const MIN_LEN: usize = 56;
    const STRETCH_LEN: usize = 12;

    pub(super) fn decode_all(take: &mut Take<'_>, count: u32) -> Option<Vec<RunShape>> {
        let mut shapes = Vec::with_capacity(as_usize(count).min(take.0.len() / Self::MIN_LEN));
        for _ in 0..count {
            shapes.push(RunShape::decode(take)?);
        }
        Some(shapes)
    }

    fn decode(take: &mut Take<'_>) -> Option<RunShape> {
        let group = take.u32()?;
        let kind = match take.u32()? {
            0 => RunKind::Append,
            1 => RunKind::StartsAnew,
            2 => RunKind::Repair,
            _ => return None,
        };
        let previous = take.log_id()?;
        let previous_digest = take.digest()?;
        let first = take.u64()?;
        let count = take.u32()?;
        let stretch_count = as_usize(take.u32()?);
        // The index is far from overflowing.
        let follows = previous.index.0 + 1 == first;
        let ends = previous.index.0 + u64::from(count) <= HIGHEST;
        (group == 0 && follows && ends).then_some(())?;
        let room = take.0.len() / Self::STRETCH_LEN;
        let mut stretches = Vec::with_capacity(stretch_count.min(room));
        for _ in 0..stretch_count {
            stretches.push((Ballot(take.count()?), take.u32()?));
        }
        let header = RunHeader { kind, previous, previous_digest, entries: Vec::new() };
        let shape = RunShape { header, stretches };
        (shape.count() == u64::from(count)).then_some(shape)
    }

    pub(super) fn count(&self) -> u64 {
        self.stretches.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    pub(super) fn decode_entries(mut self, take: &mut Take<'_>) -> Option<RunHeader> {
        let count = usize::try_from(self.count()).ok()?;
        self.header.entries = Vec::with_capacity(count.min(take.0.len() / EntryHeader::LEN));
        for (ballot, count) in self.stretches {
            for _ in 0..count {
                self.header.entries.push(EntryHeader::decode(take, ballot)?);
            }
        }
        Some(self.header)
    }
}

impl EntryHeader {
    /// What an entry takes in the table, in bytes.
    pub(crate) const LEN: usize = 29;

    pub(crate) fn of(entry: &Entry) -> EntryHeader {
        EntryHeader {
            ballot: entry.ballot(),
            kind: entry.kind,
            time: entry.time,
            len: as_u32(entry.payload.len()),
            checksum: entry.checksum,
        }
    }

    /// The digest of the entry with this header at a position.
    pub(crate) fn digest(&self, index: Index, parent: Digest) -> Digest {
        let id = LogId::new(index, self.ballot);
        Entry::digest_of(id, self.kind, self.time, parent, self.checksum)
    }

    /// The entry with this header at a position.
    pub(crate) fn with_payload(&self, index: Index, parent: Digest, payload: Bytes) -> Entry {
        Entry {
            id: LogId::new(index, self.ballot),
            kind: self.kind,
            time: self.time,
            parent,
            checksum: self.checksum,
            payload,
        }
    }

    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.put_u32(self.len);
        bytes.put_u8(self.kind as u8);
        bytes.put_u64(self.time.0);
        bytes.put(&self.checksum.0);
    }

    fn decode(take: &mut Take<'_>, ballot: Ballot) -> Option<EntryHeader> {
        let len = take.u32()?;
        let kind = EntryKind::from_u8(take.u8()?)?;
        let time = LogTime(take.u64()?);
        Some(EntryHeader { ballot, kind, time, len, checksum: take.digest()? })
    }
}
