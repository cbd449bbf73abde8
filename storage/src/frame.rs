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
//!          152  start of the process that wrote it      8
//!          160  sequence that this start found          8   of the last group before it
//!          168  last entry of the log: index, ballot   16   with this group's runs
//!          184  digest of that entry                   16
//!          200  number of cuts                          4
//!          204  length of the newest snapshot's meta    4   0: none
//!          208  length of the older snapshot's meta     4   0: none
//!          212  number of runs                          4
//!          216  number of entries                       4
//!     cuts 220  sequence 8, last index that was kept 8
//!          metas of the snapshots (postcard)
//!     runs      replication group, 0                    4
//!               0: append, 1: start anew, 2: repair     4
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
//!
//! Every group says enough for the groups before it to be lost: where the log ends, what of it was
//! cut off when (`frame/cuts.rs`), and what its process found, so that a group which was written
//! before and was not found is never taken for one of the log.

mod cuts;
mod run;

use bytes::Bytes;
use quorate_core::{Digest, LogId, PledgeBytes, SnapshotMeta};

use crate::codec::{Put, Take, as_u32, as_usize};
pub(crate) use cuts::Cuts;
use run::RunShape;
pub(crate) use run::{EntryHeader, RunHeader, RunKind};

/// The unit of writing, in bytes.
pub(crate) const BLOCK: u64 = 4096;

/// The newest format of groups, segments and the meta file.
pub(crate) const FORMAT: u16 = 1;

pub(crate) const MAGIC: [u8; 8] = *b"QRM-GRP\0";
const FIXED_LEN: usize = 220;
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
    /// The start of the process which wrote it.
    pub(crate) start: u64,
    /// The sequence of the last group that was found at that start.
    pub(crate) found: u64,
    /// Where the log ends once the runs were carried out.
    pub(crate) last: LogId,
    pub(crate) last_digest: Digest,
    pub(crate) cuts: Cuts,
    pub(crate) snapshot: Option<SnapshotMeta>,
    pub(crate) older: Option<SnapshotMeta>,
    pub(crate) runs: Vec<RunHeader>,
}

/// Where the parts of a group lie, as its first block claims; nothing is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) place: Place,
    pub(crate) header_len: u64,
    pub(crate) payload_len: u64,
}

impl Claim {
    /// How many bytes make a claim.
    pub(crate) const LEN: usize = 56;

    /// What the first bytes of a group claim; `None` if they are no group's.
    pub(crate) fn read(block: &[u8]) -> Option<Claim> {
        let mut take = Take(block);
        (take.array()? == MAGIC).then_some(())?;
        take.bytes(8)?;
        let header_len = u64::from(take.u32()?);
        let payload_len = u64::from(take.u32()?);
        let (store, segment, offset) = (take.digest()?, take.u64()?, take.u64()?);
        let place = Place { store, segment, offset };
        Some(Claim { place, header_len, payload_len })
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
        let sequence = take.count()?;
        let durable_through = take.count()?;
        let previous = take.digest()?;
        let pledge = take.array()?;
        let (start, found) = (take.count()?, take.count()?);
        let (last, last_digest) = (take.log_id()?, take.digest()?);
        let cut_count = take.u32()?;
        let (newest_len, older_len) = (take.u32()?, take.u32()?);
        let (run_count, entry_count) = (take.u32()?, take.u32()?);
        let cuts = Cuts::decode(&mut take, cut_count)?;
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
        // A repair leaves the end where it is.
        let moving = runs.iter().rfind(|run| run.kind != RunKind::Repair);
        let fits = take.0.is_empty()
            && moving.is_none_or(|run| run.last() == last)
            && as_usize(header_len) == len
            && total == u64::from(entry_count)
            && payloads == u64::from(payload_len);
        fits.then_some(Header {
            place,
            sequence,
            durable_through,
            previous,
            pledge,
            start,
            found,
            last,
            last_digest,
            cuts,
            snapshot,
            older,
            runs,
        })
    }

    /// The length that the group will have on disk, in bytes.
    pub(crate) fn encoded_len(&self) -> u64 {
        let snapshots = [&self.snapshot, &self.older];
        let metas: usize = snapshots.iter().map(|meta| encode_snapshot(meta.as_ref()).len()).sum();
        let runs: usize = self.runs.iter().map(RunHeader::encoded_len).sum();
        ((FIXED_LEN + self.cuts.encoded_len() + metas + runs) as u64).next_multiple_of(BLOCK)
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
        bytes.put_u64(self.start);
        bytes.put_u64(self.found);
        bytes.put_log_id(self.last);
        bytes.put(&self.last_digest.0);
        bytes.put_u32(as_u32(self.cuts.len()));
        bytes.put_u32(as_u32(snapshot.len()));
        bytes.put_u32(as_u32(older.len()));
        bytes.put_u32(as_u32(self.runs.len()));
        bytes.put_u32(as_u32(entries().count()));
        self.cuts.encode(&mut bytes);
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
