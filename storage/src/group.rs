//! Reading groups back, verified.

use std::ops::Range;

use bytes::Bytes;
use quorate_core::{Digest, Index};

use crate::disk::Disk;
use crate::error::{Damage, StorageError};
use crate::frame::{BLOCK, Claim, EntryHeader, FORMAT, Header, Place, Undecodable};
use crate::index::Extent;
use crate::segment;

/// No group is longer, in bytes.
pub(crate) const MAX_LEN: u64 = 1 << 30;

/// What stands at a place where a group may stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// The intact header of a group which belongs there.
    Group(Box<Group>),
    /// What claims to be a group that belongs there, and is damaged.
    Damaged,
    /// What the medium does not give back.
    Unreadable,
    /// Nothing, or what belongs elsewhere: zeros, payloads, groups of a segment's former life.
    Nothing,
}

/// A group whose header is intact and which belongs where it stands. Its payloads are not
/// verified by that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) header: Header,
    /// Digest of the header.
    pub(crate) digest: Digest,
    header_len: u64,
    /// The length on disk, in bytes.
    pub(crate) len: u64,
}

/// Reads what stands at a place. `end` is the length of the segment.
///
/// # Errors
/// If the disk cannot be read, or a newer program wrote there.
pub(crate) fn header_at<D: Disk>(disk: &D, place: Place, end: u64) -> Result<At, StorageError> {
    let mut block = [0; BLOCK as usize];
    match read(disk, place.segment, place.offset, &mut block) {
        Ok(()) => header_in(disk, &block, place, end),
        // What cannot be read may be payloads that stand behind the header.
        Err(error) if error.is_damaged_medium() => {
            let start = &mut block[..Claim::LEN];
            read(disk, place.segment, place.offset, start)?;
            header_in(disk, start, place, end)
        }
        Err(error) => Err(error),
    }
}

/// The group that holds these entries.
pub(crate) fn of_extent<D: Disk>(
    disk: &D,
    store: Digest,
    extent: Extent,
) -> Result<Box<Group>, StorageError> {
    let Extent { segment, offset, len, .. } = extent;
    let place = Place { store, segment, offset };
    let damage = match header_at(disk, place, offset + len)? {
        At::Group(group) if group.digest == extent.group => return Ok(group),
        At::Group(_) | At::Nothing => Damage::Misplaced,
        At::Damaged | At::Unreadable => Damage::Header,
    };
    let indexes = Index::ZERO..Index::ZERO;
    Err(StorageError::Damaged { file: segment::name(segment), offset, indexes, damage })
}

/// As [`header_at`], with the first block at hand, or as much of it as a claim takes.
pub(crate) fn header_in<D: Disk>(
    disk: &D,
    block: &[u8],
    place: Place,
    end: u64,
) -> Result<At, StorageError> {
    let Some(claim) = Claim::read(block) else { return Ok(At::Nothing) };
    if claim.place != place {
        return Ok(At::Nothing);
    }
    if claim.len() > end.saturating_sub(place.offset) {
        return Ok(At::Damaged);
    }
    // Bounded by the length of the segment.
    let mut bytes = vec![0; usize::try_from(claim.header_len).unwrap_or(usize::MAX)];
    if let Some(start) = block.get(..bytes.len()) {
        bytes.copy_from_slice(start);
    } else {
        read(disk, place.segment, place.offset, &mut bytes)?;
    }
    match Header::decode(&bytes) {
        // One that is longer than what was at hand was read anew.
        Ok(header) if header.place == place => {
            let digest = Digest::of(&bytes);
            let (header_len, len) = (claim.header_len, claim.len());
            Ok(At::Group(Box::new(Group { header, digest, header_len, len })))
        }
        Ok(_) | Err(Undecodable::Damaged) => Ok(At::Damaged),
        Err(Undecodable::Newer(found)) => {
            let file = segment::name(place.segment);
            Err(StorageError::NewerFormat { file, found, supported: FORMAT })
        }
    }
}

/// As [`header_at`]; that the medium does not give it back is an answer, too.
pub(crate) fn probe<D: Disk>(disk: &D, place: Place, end: u64) -> Result<At, StorageError> {
    match header_at(disk, place, end) {
        Err(error) if error.is_damaged_medium() => Ok(At::Unreadable),
        other => other,
    }
}

/// As [`header_in`]; that the medium does not give it back is an answer, too.
pub(crate) fn probe_in<D: Disk>(
    disk: &D,
    block: &[u8],
    place: Place,
    end: u64,
) -> Result<At, StorageError> {
    match header_in(disk, block, place, end) {
        Err(error) if error.is_damaged_medium() => Ok(At::Unreadable),
        other => other,
    }
}

impl Group {
    /// The payloads of all entries in a row, each if it is the one that was written.
    pub(crate) fn intact_payloads<D: Disk>(
        &self,
        disk: &D,
    ) -> Result<Vec<Option<Bytes>>, StorageError> {
        let entries: Vec<&EntryHeader> =
            self.header.runs.iter().flat_map(|run| &run.entries).collect();
        self.intact(disk, 0, &entries)
    }

    /// The payloads of some entries of one run, each if it is the one that was written.
    pub(crate) fn intact_payloads_of<D: Disk>(
        &self,
        disk: &D,
        run: usize,
        entries: Range<usize>,
    ) -> Result<Vec<Option<Bytes>>, StorageError> {
        let from = self.payload_offset(run, entries.start);
        let entries: Vec<&EntryHeader> = self.header.runs[run].entries[entries].iter().collect();
        self.intact(disk, from, &entries)
    }

    /// The payloads of some entries of one run, not verified.
    pub(crate) fn read_payloads_of<D: Disk>(
        &self,
        disk: &D,
        run: usize,
        entries: Range<usize>,
    ) -> Result<Bytes, StorageError> {
        let from = self.payload_offset(run, entries.start);
        let len = total_len(&self.header.runs[run].entries[entries]);
        self.read_part(disk, from, len)
    }

    /// How much is read from the disk for the header, in bytes.
    pub(crate) fn header_bytes(&self) -> u64 {
        self.header_len.max(BLOCK)
    }

    /// Where among the payloads that of an entry of a run begins.
    fn payload_offset(&self, run: usize, entry: usize) -> u64 {
        let earlier = self.header.runs[..run].iter().map(|run| total_len(&run.entries));
        earlier.sum::<u64>() + total_len(&self.header.runs[run].entries[..entry])
    }

    /// The payloads of contiguous entries, which begin at `from` among the payloads.
    fn intact<D: Disk>(
        &self,
        disk: &D,
        from: u64,
        entries: &[&EntryHeader],
    ) -> Result<Vec<Option<Bytes>>, StorageError> {
        let lens = || entries.iter().map(|entry| u64::from(entry.len));
        let mut payloads: Vec<Option<Bytes>> = match self.read_part(disk, from, lens().sum()) {
            Ok(mut all) => lens().map(|len| Some(all.split_to(as_bounded(len)))).collect(),
            Err(error) if error.is_damaged_medium() => self.read_each(disk, from, lens())?,
            Err(error) => return Err(error),
        };
        for (payload, entry) in payloads.iter_mut().zip(entries) {
            payload.take_if(|payload| Digest::of(payload) != entry.checksum);
        }
        Ok(payloads)
    }

    /// The payloads which the medium gives back.
    fn read_each<D: Disk>(
        &self,
        disk: &D,
        mut from: u64,
        lens: impl Iterator<Item = u64>,
    ) -> Result<Vec<Option<Bytes>>, StorageError> {
        let mut payloads = Vec::new();
        for len in lens {
            payloads.push(match self.read_part(disk, from, len) {
                Ok(payload) => Some(payload),
                Err(error) if error.is_damaged_medium() => None,
                Err(error) => return Err(error),
            });
            from += len;
        }
        Ok(payloads)
    }

    fn read_part<D: Disk>(&self, disk: &D, from: u64, len: u64) -> Result<Bytes, StorageError> {
        let mut bytes = vec![0; as_bounded(len)];
        let Place { segment, offset, .. } = self.header.place;
        read(disk, segment, offset + self.header_len + from, &mut bytes)?;
        Ok(bytes.into())
    }
}

fn total_len(entries: &[EntryHeader]) -> u64 {
    entries.iter().map(|entry| u64::from(entry.len)).sum()
}

/// A length within a group whose header was verified, and which fits into its segment.
fn as_bounded(len: u64) -> usize {
    usize::try_from(len).expect("a group fits into memory")
}

/// Fills the buffer; what lies behind the end of the file is zeros.
pub(crate) fn read<D: Disk>(
    disk: &D,
    segment: u64,
    offset: u64,
    buffer: &mut [u8],
) -> Result<(), StorageError> {
    let file = segment::name(segment);
    match disk.read_at(&file, offset, buffer) {
        Ok(n) => {
            buffer[n..].fill(0);
            Ok(())
        }
        Err(error) => Err(StorageError::unreadable(&file, offset, error)),
    }
}
