//! Finding the end of the log after a restart, and telling a torn tail from damage.
//!
//! A group is acknowledged once it is synced, and the next one is written only then. So a crash
//! can tear the last group only, which nobody was told about: it is cut off. Everything before it
//! was acknowledged: if any of that is damaged, nothing is cut off and the replica stops.
//!
//! 1. *G* is the last group up to which all groups are intact and follow one another.
//! 2. *D* is the highest sequence which is vouched for: every group says how far everything was
//!    synced when it was written, and so does the meta file. All blocks behind G are searched for
//!    headers of intact groups, whether or not they follow.
//! 3. D > G, or the group behind G names another one as the one before it: something acknowledged
//!    is damaged.
//! 4. Otherwise what follows G within the size of one group is a torn tail.
//! 5. A damaged header further out is damage: no torn group reaches so far.

mod scan;
mod tail;

use std::collections::BTreeMap;

use quorate_core::{Digest, Entry, Index, Membership};

use crate::disk::{Disk, FileInfo};
use crate::error::{Damage, StorageError};
use crate::index::LogIndex;
use crate::meta::Meta;
use crate::segment;
use crate::wal::{Head, Segment, Spare};
pub(crate) use scan::Scanned;
use tail::Tail;

/// The log as found on disk, verified from end to end.
#[derive(Debug)]
pub(crate) struct FoundLog {
    /// As in the file, but for what the directory knows better: the range of segments.
    pub(crate) meta: Meta,
    pub(crate) head: Head,
    pub(crate) index: LogIndex,
    pub(crate) segments: BTreeMap<u64, Segment>,
    pub(crate) spares: Vec<Spare>,
    pub(crate) tail: Vec<Entry>,
    pub(crate) memberships: Vec<(Index, Membership)>,
}

/// How a log is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// How much of the log's end is kept in memory.
    pub(crate) tail_bytes: usize,
    /// The most that a torn group covers.
    pub(crate) max_group_bytes: u64,
    /// The directory is this process's own: what is cached is made durable, then read anew.
    pub(crate) is_owned: bool,
}

/// Reads the log. Changes nothing.
pub(crate) fn recover<D: Disk>(
    disk: &D,
    meta: &Meta,
    files: &[FileInfo],
    reading: Reading,
) -> Result<FoundLog, StorageError> {
    let Reading { tail_bytes, max_group_bytes, is_owned } = reading;
    let mut meta = meta.clone();
    let mut listed = Listed::new(&mut meta, files)?;
    let store = meta.store_id();
    let mut segments = BTreeMap::new();
    for (id, file_len) in &listed.registered {
        if is_owned {
            settle(disk, &segment::name(*id))?;
        }
        let len = segment_len(disk, store, *id, *file_len)?;
        segments.insert(*id, Segment { len, first_sequence: None });
    }
    // What has the name of a segment and is none of ours is neither used again nor removed.
    let mut spares = Vec::new();
    for (id, file_len) in std::mem::take(&mut listed.spares) {
        match segment_len(disk, store, id, file_len) {
            Ok(len) => spares.push(Spare { file: segment::name(id), len }),
            Err(StorageError::Damaged { .. }) => {}
            Err(other) => return Err(other),
        }
    }
    let scan = scan::Scan {
        disk,
        meta: &meta,
        lens: segments.iter().map(|(id, segment): (_, &Segment)| (*id, segment.len)).collect(),
        first_may_be_missing: listed.first_is_missing,
        max_group_bytes,
    };
    let Scanned { head, index, tail, first_sequences } = scan.run(Tail::new(tail_bytes))?;
    for (id, sequence) in first_sequences {
        if let Some(segment) = segments.get_mut(&id) {
            segment.first_sequence = Some(sequence);
        }
    }
    let Tail { entries, memberships, .. } = tail;
    Ok(FoundLog { meta, head, index, segments, spares, tail: entries.into(), memberships })
}

/// The segments in the directory, sorted by what the meta file says of them.
struct Listed {
    registered: BTreeMap<u64, u64>,
    spares: BTreeMap<u64, u64>,
    first_is_missing: bool,
}

impl Listed {
    fn new(meta: &mut Meta, files: &[FileInfo]) -> Result<Listed, StorageError> {
        let mut present: BTreeMap<u64, u64> = BTreeMap::new();
        for file in files {
            if let Some(id) = segment::parse_name(&file.name) {
                present.insert(id, file.len);
            }
        }
        // A segment has its name before it is registered. If the crash came in between, or the
        // registration was in copies of the meta file that are damaged, it counts all the same.
        if present.contains_key(&meta.end_segment) {
            meta.end_segment += 1;
        }
        if let Some((beyond, _)) = present.range(meta.end_segment..).next() {
            return Err(StorageError::ForeignSegment {
                file: segment::name(*beyond),
                found: format!("a segment behind {}, which is missing", segment::name(beyond - 1)),
            });
        }
        let registered = present.split_off(&meta.first_segment);
        let first_is_missing = check_range(meta, &registered)?;
        Ok(Listed { registered, spares: present, first_is_missing })
    }
}

/// An error if a segment is missing, unless only the first ones are: whether a snapshot covers
/// those is seen later.
fn check_range(meta: &Meta, registered: &BTreeMap<u64, u64>) -> Result<bool, StorageError> {
    let mut expected = meta.first_segment..meta.end_segment;
    let first = registered.keys().next().copied();
    let Some(first) = first else {
        return match expected.next() {
            None => Ok(false),
            Some(missing) => Err(StorageError::MissingSegment { file: segment::name(missing) }),
        };
    };
    let missing = (first..meta.end_segment).find(|id| !registered.contains_key(id));
    if let Some(missing) = missing {
        return Err(StorageError::MissingSegment { file: segment::name(missing) });
    }
    Ok(first > meta.first_segment)
}

/// Makes sure that what will be read of a file is what is on the medium.
fn settle<D: Disk>(disk: &D, file: &str) -> Result<(), StorageError> {
    // After a crash of the process alone, pages that were never synced are still in the cache:
    // they are made to last, or are seen to be gone.
    disk.sync(file).map_err(|error| StorageError::write_failed("sync", file, error))?;
    disk.drop_cache(file).map_err(|error| StorageError::unreadable(file, 0, error))
}

/// The length of a segment, whose first block is checked.
fn segment_len<D: Disk>(
    disk: &D,
    store: Digest,
    id: u64,
    file_len: u64,
) -> Result<u64, StorageError> {
    let file = segment::name(id);
    let mut bytes = [0; segment::HEADER_LEN];
    let n = disk.read_at(&file, 0, &mut bytes);
    let n = n.map_err(|error| StorageError::unreadable(&file, 0, error))?;
    let len = segment::check(&bytes[..n], store, id)?;
    if file_len < len {
        let (indexes, damage) = (Index::ZERO..Index::ZERO, Damage::TooShort);
        return Err(StorageError::Damaged { file, offset: file_len, indexes, damage });
    }
    Ok(len)
}
