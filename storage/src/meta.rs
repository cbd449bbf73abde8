//! The meta file: whose directory this is, and what must survive even the loss of the log.
//!
//! Four copies of 4 KiB. An update writes the pair that its generation's parity says (0 and 1, or
//! 2 and 3) and syncs; the other pair stays as it was, so that one of them is whole whenever the
//! power goes. The copy with the highest generation counts.
//!
//! ```text
//!    0  magic "QRM-META"                 8
//!    8  CRC-32 of the copy from byte 12  4   through its last byte
//!   12  format version                   2
//!   14  number of this copy, 0 to 3      2
//!   16  length of the body               4
//!   20  body: postcard of `Meta`
//!       zeros up to 4096
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_core::{Digest, FoundingRecord, Identity, Incarnation, Lineage, NodeId, PledgeBytes};
use serde::{Deserialize, Serialize};

use crate::codec::{HIGHEST, Put, Take, as_u32, as_usize};
use crate::disk::Disk;
use crate::error::StorageError;
use crate::frame::FORMAT;
use crate::job::Step;
use crate::store::Owner;

/// The name of the file.
pub(crate) const META: &str = "meta";
/// Its name while it is created.
pub(crate) const META_TMP: &str = "tmp-meta";

pub(crate) const MAGIC: [u8; 8] = *b"QRM-META";
pub(crate) const COPY_LEN: usize = 4096;
const COPIES: usize = 4;
const CRC_FROM: usize = 12;
pub(crate) const BODY_FROM: usize = 20;

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// Counts the updates.
    pub(crate) generation: u64,
    pub(crate) node: NodeId,
    pub(crate) cluster: String,
    pub(crate) protocol: String,
    pub(crate) incarnation: Incarnation,
    /// The starts of processes on it.
    pub(crate) lineage: Lineage,
    /// The registered segments: from the first, and one past the last.
    pub(crate) first_segment: u64,
    pub(crate) end_segment: u64,
    /// The sequence of the first group in the first segment.
    pub(crate) first_sequence: u64,
    /// Every group up to this sequence was synced before this update.
    pub(crate) durable_through: u64,
    /// The last group that this start found, by sequence and digest.
    pub(crate) found: (u64, Digest),
    /// The last process stopped in order, after its last write.
    pub(crate) is_clean: bool,
    pub(crate) founding: FoundingRecord,
    /// Nothing that this replica says may count.
    pub(crate) mute: bool,
    /// The disks of the other members.
    pub(crate) peers: BTreeMap<NodeId, quorate_core::Disk>,
    /// The last promise that was saved.
    pub(crate) sworn: Option<Sworn>,
    /// The pledge of a write for which there was no room, and none for writes before it.
    pub(crate) ahead: Option<Oath>,
}

/// A pledge, and where the log stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sworn {
    /// The last group as of then.
    pub(crate) sequence: u64,
    /// That group does not carry the pledge, which was sworn after it: no group had room.
    pub(crate) is_beside: bool,
    pledge: Oath,
}

/// A pledge, as serde knows no arrays of that size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Oath {
    low: [u8; 32],
    high: [u8; 32],
}

impl Sworn {
    /// Carried by a group.
    pub(crate) fn in_group(sequence: u64, pledge: &PledgeBytes) -> Sworn {
        Sworn { sequence, is_beside: false, pledge: Oath::new(pledge) }
    }

    /// Kept here alone.
    pub(crate) fn beside(sequence: u64, pledge: &PledgeBytes) -> Sworn {
        Sworn { sequence, is_beside: true, pledge: Oath::new(pledge) }
    }

    pub(crate) fn pledge(&self) -> PledgeBytes {
        self.pledge.bytes()
    }
}

impl Oath {
    pub(crate) fn new(pledge: &PledgeBytes) -> Oath {
        let (mut low, mut high) = ([0; 32], [0; 32]);
        low.copy_from_slice(&pledge[..32]);
        high.copy_from_slice(&pledge[32..]);
        Oath { low, high }
    }

    pub(crate) fn bytes(&self) -> PledgeBytes {
        let mut pledge = [0; 64];
        pledge[..32].copy_from_slice(&self.low);
        pledge[32..].copy_from_slice(&self.high);
        pledge
    }
}

impl Meta {
    /// The first content of the file.
    pub(crate) fn founded(identity: Identity) -> Meta {
        let Identity { node, cluster, protocol, incarnation } = identity;
        Meta {
            generation: 0,
            node,
            cluster,
            protocol,
            incarnation,
            lineage: Lineage::default(),
            first_segment: 1,
            end_segment: 1,
            first_sequence: 1,
            durable_through: 0,
            found: (0, Digest::ZERO),
            is_clean: false,
            founding: FoundingRecord::default(),
            mute: false,
            peers: BTreeMap::new(),
            sworn: None,
            ahead: None,
        }
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity {
            node: self.node,
            cluster: self.cluster.clone(),
            protocol: self.protocol.clone(),
            incarnation: self.incarnation,
        }
    }

    /// What stands in every group and segment, to tell them from those of any other directory.
    pub(crate) fn store_id(&self) -> Digest {
        let mut bytes = Vec::new();
        bytes.put_u64(self.node.0);
        bytes.put_u64(self.incarnation.0);
        bytes.put_u32(as_u32(self.cluster.len()));
        bytes.put(self.cluster.as_bytes());
        bytes.put(self.protocol.as_bytes());
        Digest::of(&bytes)
    }

    /// True if nothing that it counts has come to where counting ends.
    fn is_possible(&self) -> bool {
        let sworn = self.sworn.as_ref().map_or(0, |sworn| sworn.sequence);
        let counts = [
            self.generation,
            self.lineage.latest().count,
            self.first_segment,
            self.end_segment,
            self.first_sequence,
            self.durable_through,
            self.found.0,
            self.founding.round,
            sworn,
        ];
        counts.iter().all(|count| *count <= HIGHEST) && self.first_segment <= self.end_segment
    }

    /// An error if the directory is not that of this node, cluster and protocol.
    pub(crate) fn check_owner(&self, me: &Owner) -> Result<(), StorageError> {
        if self.cluster != me.cluster {
            let (found, expected) = (self.cluster.clone(), me.cluster.clone());
            return Err(StorageError::OtherCluster { found, expected });
        }
        if self.node != me.node {
            return Err(StorageError::OtherNode { found: self.node, expected: me.node });
        }
        if self.protocol != me.protocol {
            let (found, expected) = (self.protocol.clone(), me.protocol.clone());
            return Err(StorageError::OtherProtocol { found, expected });
        }
        Ok(())
    }

    /// The last pledge that was saved, if the log does not show it as far as the group with this
    /// sequence: it stands here alone, or in a group behind that one.
    pub(crate) fn sworn_beyond(&self, sequence: u64) -> Option<PledgeBytes> {
        let sworn = self.sworn.as_ref()?;
        let is_beside = sworn.is_beside && sworn.sequence == sequence;
        (is_beside || sworn.sequence > sequence).then(|| sworn.pledge())
    }

    /// Turns to the next generation; the steps that make it durable.
    ///
    /// # Errors
    /// If the content is too large. It is unchanged then, but for its generation.
    pub(crate) fn update(&mut self) -> Result<[Step; 2], StorageError> {
        self.generation += 1;
        let pair = usize::from(self.generation % 2 == 1) * 2;
        let bytes = [self.encode(pair)?, self.encode(pair + 1)?].concat();
        let offset = (pair * COPY_LEN) as u64;
        Ok([
            Step::Write { file: META.to_owned(), offset, bytes: Bytes::from(bytes) },
            Step::Sync { file: META.to_owned() },
        ])
    }

    /// As [`update`](Meta::update), but into both pairs: what stands nowhere else survives the
    /// loss of either.
    pub(crate) fn update_both(&mut self) -> Result<[Step; 4], StorageError> {
        let ([a, b], [c, d]) = (self.update()?, self.update()?);
        Ok([a, b, c, d])
    }

    /// The whole file, all copies alike.
    pub(crate) fn encode_all(&self) -> Result<Vec<u8>, StorageError> {
        let mut bytes = Vec::with_capacity(COPIES * COPY_LEN);
        for copy in 0..COPIES {
            bytes.put(&self.encode(copy)?);
        }
        Ok(bytes)
    }

    pub(crate) fn encode(&self, copy: usize) -> Result<Vec<u8>, StorageError> {
        let body = postcard::to_allocvec(self).expect("plain data encodes");
        if BODY_FROM + body.len() > COPY_LEN {
            return Err(StorageError::FoundingTooLarge { bytes: body.len() });
        }
        let mut bytes = Vec::with_capacity(COPY_LEN);
        bytes.put(&MAGIC);
        bytes.put_u32(0);
        bytes.put_u16(FORMAT);
        bytes.put_u16(copy as u16);
        bytes.put_u32(as_u32(body.len()));
        bytes.put(&body);
        bytes.resize(COPY_LEN, 0);
        let crc = crc32fast::hash(&bytes[CRC_FROM..]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        Ok(bytes)
    }
}

/// What is found in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundMeta {
    pub(crate) meta: Meta,
    /// How many of the copies are damaged.
    pub(crate) bad_copies: usize,
}

/// Reads the file.
///
/// # Errors
/// If every copy is damaged, or one is of a newer format; or if reading fails in a way that says
/// nothing about what is on the medium.
pub(crate) fn read<D: Disk>(disk: &D) -> Result<FoundMeta, StorageError> {
    let mut copies = Vec::new();
    for copy in 0..COPIES {
        let mut bytes = vec![0; COPY_LEN];
        let offset = (copy * COPY_LEN) as u64;
        let read = disk.read_at(META, offset, &mut bytes);
        copies.push(match read.map_err(|error| StorageError::unreadable(META, offset, error)) {
            Ok(COPY_LEN) => decode(copy, &bytes)?,
            // A copy that is cut short, or that the medium does not give back, is as bad as a
            // damaged one: the others stand in for it.
            Ok(_) => None,
            Err(error) if error.is_damaged_medium() => None,
            Err(error) => return Err(error),
        });
    }
    let bad_copies = copies.iter().filter(|copy| copy.is_none()).count();
    let newest = copies.into_iter().flatten().max_by_key(|meta| meta.generation);
    let meta = newest.ok_or(StorageError::MetaLost { what: "damaged in all its copies" })?;
    Ok(FoundMeta { meta, bad_copies })
}

/// One copy; `None` if it is damaged.
pub(crate) fn decode(copy: usize, bytes: &[u8]) -> Result<Option<Meta>, StorageError> {
    let mut take = Take(bytes);
    let mut fixed = || Some((take.array::<8>()?, take.u32()?, take.u16()?, take.u16()?));
    let Some((magic, crc, version, number)) = fixed() else { return Ok(None) };
    let covered = bytes.get(CRC_FROM..).unwrap_or_default();
    if magic != MAGIC || crc != crc32fast::hash(covered) {
        return Ok(None);
    }
    if version > FORMAT {
        let file = META.to_owned();
        return Err(StorageError::NewerFormat { file, found: version, supported: FORMAT });
    }
    let mut body = || take.u32().and_then(|len| take.bytes(as_usize(len)));
    let meta = body().and_then(|body| postcard::from_bytes(body).ok());
    Ok(meta.filter(|meta: &Meta| usize::from(number) == copy && meta.is_possible()))
}

#[cfg(test)]
mod tests;
