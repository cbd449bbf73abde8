//! The bytes of a group: what is written and synced as one.
//!
//! A group fills whole blocks of 4 KiB, so that no block which holds acknowledged data is ever
//! written again. Numbers are little-endian.
//!
//! ```text
//!   header   0  magic "QRM-GRP\0"                       8
//!            8  CRC-32 of the header from byte 12 on    4
//!           12  format version                          2
//!           14  reserved, 0                             2
//!           16  length of the header                    4   through the entry table
//!           20  length of the payloads                  4
//!           24  store id                               16
//!           40  segment id                              8
//!           48  offset of this group in its file        8
//!           56  sequence of this group                  8
//!           64  durable through: a sequence             8
//!           72  digest of the previous group's header  16
//!           88  pledge                                 64
//!          152  length of the newest snapshot's meta    4   0: none
//!          156  length of the older snapshot's meta     4   0: none
//!          160  number of runs                          4
//!          164  number of entries                       4
//!          168  metas of the snapshots (postcard)
//!     runs      replication group, 0                    4
//!               1: the log starts anew, else 0          4
//!               previous: index, ballot                16
//!               digest of that entry                   16
//!               first index                             8
//!               number of entries                       4
//!               number of stretches of equal ballot     4
//!               stretches: ballot 8, count 4
//!  entry table  length of the payload                   4
//!               kind                                    1
//!               log time                                8
//!               digest of the payload                  16
//!  payloads     one behind the other
//!  padding      zeros to the end of the block, never looked at
//! ```
//!
//! An entry's parent is not stored: it is the digest of the entry before, and the first one's is
//! the run's. The CRC covers the header; payloads are covered by their digests in the header, and
//! the next group covers the header once more by its digest.

use bytes::Bytes;
use quorate_core::{
    Ballot, Digest, Entry, EntryKind, Index, LogId, LogTime, PledgeBytes, SnapshotMeta,
};

use crate::codec::{Put, Take, as_u32, as_usize};

/// The unit of writing, in bytes.
pub(crate) const BLOCK: u64 = 4096;

/// The newest format of groups, segments and the meta file.
pub(crate) const FORMAT: u16 = 1;

const MAGIC: [u8; 8] = *b"QRM-GRP\0";
const FIXED_LEN: usize = 168;
const CRC_FROM: usize = 12;

/// Where a group stands and belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) store: Digest,
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

/// Everything of a group but its payloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) place: Place,
    pub(crate) sequence: u64,
    /// The highest sequence that was synced when this group was written.
    pub(crate) durable_through: u64,
    /// Digest of the header of the group before.
    pub(crate) previous: Digest,
    pub(crate) pledge: PledgeBytes,
    pub(crate) snapshot: Option<SnapshotMeta>,
    pub(crate) older: Option<SnapshotMeta>,
    pub(crate) runs: Vec<RunHeader>,
}

/// A run without its payloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunHeader {
    pub(crate) previous: LogId,
    pub(crate) previous_digest: Digest,
    /// The log does not hold `previous`: it starts anew behind the snapshot of that name.
    pub(crate) starts_anew: bool,
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

/// Where the parts of a group lie, as its first block claims; nothing is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) place: Place,
    pub(crate) header_len: u64,
    pub(crate) payload_len: u64,
}

impl Claim {
    /// What the first bytes of a group claim; `None` if they are no group's.
    pub(crate) fn read(block: &[u8]) -> Option<Claim> {
        let mut take = Take(block);
        (take.array()? == MAGIC).then_some(())?;
        take.bytes(8)?;
        let header_len = u64::from(take.u32()?);
        let payload_len = u64::from(take.u32()?);
        let (store, segment, offset) = (take.digest()?, take.u64()?, take.u64()?);
        let place = Place { store, segment, offset };
        (header_len >= FIXED_LEN as u64).then_some(Claim { place, header_len, payload_len })
    }

    /// The length of the group on disk, in bytes.
    pub(crate) fn len(&self) -> u64 {
        (self.header_len + self.payload_len).next_multiple_of(BLOCK)
    }
}

/// Why bytes are not a group's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undecodable {
    /// Damaged, or never was one.
    Damaged,
    /// Intact, and of this format version.
    Newer(u16),
}

impl Header {
    /// Decodes a header of exactly the claimed length.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Header, Undecodable> {
        let mut take = Take(bytes);
        let mut fixed = || Some((take.array::<8>()?, take.u32()?, take.u16()?));
        let (magic, crc, version) = fixed().ok_or(Undecodable::Damaged)?;
        let covered = bytes.get(CRC_FROM..).unwrap_or_default();
        if magic != MAGIC || crc != crc32fast::hash(covered) {
            return Err(Undecodable::Damaged);
        }
        if version != FORMAT {
            return Err(Undecodable::Newer(version));
        }
        Header::decode_rest(take, bytes.len()).ok_or(Undecodable::Damaged)
    }

    fn decode_rest(mut take: Take<'_>, len: usize) -> Option<Header> {
        take.u16()?;
        let header_len = take.u32()?;
        let payload_len = take.u32()?;
        let place = Place { store: take.digest()?, segment: take.u64()?, offset: take.u64()? };
        let sequence = take.u64()?;
        let durable_through = take.u64()?;
        let previous = take.digest()?;
        let pledge = take.array()?;
        let (newest_len, older_len) = (take.u32()?, take.u32()?);
        let (run_count, entry_count) = (take.u32()?, take.u32()?);
        let snapshot = decode_snapshot(take.bytes(as_usize(newest_len))?)?;
        let older = decode_snapshot(take.bytes(as_usize(older_len))?)?;
        let shapes = RunShape::decode_all(&mut take, run_count)?;
        let total: u64 = shapes.iter().map(RunShape::count).sum();
        let mut runs = Vec::with_capacity(shapes.len());
        for shape in shapes {
            runs.push(shape.decode_entries(&mut take)?);
        }
        let entries = || runs.iter().flat_map(|run: &RunHeader| &run.entries);
        let payloads: u64 = entries().map(|entry| u64::from(entry.len)).sum();
        let fits = take.0.is_empty()
            && as_usize(header_len) == len
            && total == u64::from(entry_count)
            && payloads == u64::from(payload_len);
        fits.then_some(Header {
            place,
            sequence,
            durable_through,
            previous,
            pledge,
            snapshot,
            older,
            runs,
        })
    }

    /// The length that the group will have on disk, in bytes.
    pub(crate) fn encoded_len(&self) -> u64 {
        let snapshots = [&self.snapshot, &self.older];
        let metas: usize = snapshots.iter().map(|meta| encode_snapshot(meta.as_ref()).len()).sum();
        let run = |run: &RunHeader| {
            let payloads: usize = run.entries.iter().map(|entry| as_usize(entry.len)).sum();
            RunShape::MIN_LEN
                + run.stretches().len() * RunShape::STRETCH_LEN
                + run.entries.len() * EntryHeader::LEN
                + payloads
        };
        let runs: usize = self.runs.iter().map(run).sum();
        ((FIXED_LEN + metas + runs) as u64).next_multiple_of(BLOCK)
    }

    /// The bytes of the group, whole blocks.
    ///
    /// `payloads` are those of all entries, in order.
    pub(crate) fn encode<'a>(&self, payloads: impl Iterator<Item = &'a Bytes>) -> Encoded {
        let mut bytes = self.encode_header();
        let header_len = bytes.len();
        for payload in payloads {
            bytes.put(payload);
        }
        let payload_len = as_u32(bytes.len() - header_len);
        bytes[20..24].copy_from_slice(&payload_len.to_le_bytes());
        let crc = crc32fast::hash(&bytes[CRC_FROM..header_len]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        let digest = Digest::of(&bytes[..header_len]);
        bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
        Encoded { bytes: bytes.into(), digest }
    }

    fn encode_header(&self) -> Vec<u8> {
        let snapshot = encode_snapshot(self.snapshot.as_ref());
        let older = encode_snapshot(self.older.as_ref());
        let entries = || self.runs.iter().flat_map(|run| &run.entries);
        let payloads: usize = entries().map(|entry| as_usize(entry.len)).sum();
        let mut bytes = Vec::with_capacity(
            payloads + entries().count() * EntryHeader::LEN + BLOCK as usize * 2,
        );
        bytes.put(&MAGIC);
        bytes.put_u32(0);
        bytes.put_u16(FORMAT);
        bytes.put_u16(0);
        bytes.put_u64(0);
        bytes.put(&self.place.store.0);
        bytes.put_u64(self.place.segment);
        bytes.put_u64(self.place.offset);
        bytes.put_u64(self.sequence);
        bytes.put_u64(self.durable_through);
        bytes.put(&self.previous.0);
        bytes.put(&self.pledge);
        bytes.put_u32(as_u32(snapshot.len()));
        bytes.put_u32(as_u32(older.len()));
        bytes.put_u32(as_u32(self.runs.len()));
        bytes.put_u32(as_u32(entries().count()));
        bytes.put(&snapshot);
        bytes.put(&older);
        self.runs.iter().for_each(|run| run.encode(&mut bytes));
        entries().for_each(|entry| entry.encode(&mut bytes));
        let header_len = as_u32(bytes.len());
        bytes[16..20].copy_from_slice(&header_len.to_le_bytes());
        bytes
    }
}

/// A group ready to be written.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    pub(crate) bytes: Bytes,
    /// Digest of the header.
    pub(crate) digest: Digest,
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

    fn encode(&self, bytes: &mut Vec<u8>) {
        let stretches = self.stretches();
        bytes.put_u32(0);
        bytes.put_u32(u32::from(self.starts_anew));
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

/// A run before its part of the entry table was read.
struct RunShape {
    header: RunHeader,
    stretches: Vec<(Ballot, u32)>,
}

impl RunShape {
    const MIN_LEN: usize = 56;
    const STRETCH_LEN: usize = 12;

    fn decode_all(take: &mut Take<'_>, count: u32) -> Option<Vec<RunShape>> {
        let mut shapes = Vec::with_capacity(as_usize(count).min(take.0.len() / Self::MIN_LEN));
        for _ in 0..count {
            shapes.push(RunShape::decode(take)?);
        }
        Some(shapes)
    }

    fn decode(take: &mut Take<'_>) -> Option<RunShape> {
        let group = take.u32()?;
        let starts_anew = match take.u32()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let previous = take.log_id()?;
        let previous_digest = take.digest()?;
        let first = take.u64()?;
        let count = take.u32()?;
        let stretch_count = as_usize(take.u32()?);
        let follows = previous.index.0.checked_add(1) == Some(first);
        let ends = first.checked_add(u64::from(count)).is_some();
        (group == 0 && follows && ends).then_some(())?;
        let room = take.0.len() / Self::STRETCH_LEN;
        let mut stretches = Vec::with_capacity(stretch_count.min(room));
        for _ in 0..stretch_count {
            stretches.push((Ballot(take.u64()?), take.u32()?));
        }
        let header = RunHeader { previous, previous_digest, starts_anew, entries: Vec::new() };
        let shape = RunShape { header, stretches };
        (shape.count() == u64::from(count)).then_some(shape)
    }

    fn count(&self) -> u64 {
        self.stretches.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    fn decode_entries(mut self, take: &mut Take<'_>) -> Option<RunHeader> {
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

    fn encode(&self, bytes: &mut Vec<u8>) {
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

fn encode_snapshot(meta: Option<&SnapshotMeta>) -> Vec<u8> {
    meta.map_or_else(Vec::new, |meta| postcard::to_allocvec(meta).expect("plain data encodes"))
}

/// `None` if the bytes are damaged; `Some(None)` if there is no snapshot.
fn decode_snapshot(bytes: &[u8]) -> Option<Option<SnapshotMeta>> {
    if bytes.is_empty() {
        return Some(None);
    }
    postcard::from_bytes(bytes).ok().map(Some)
}

#[cfg(test)]
mod tests;
