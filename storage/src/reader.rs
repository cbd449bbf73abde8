//! Old entries, read back while the log is being written.

mod scrub;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_core::{Digest, Entry, Index};

use crate::disk::Disk;
use crate::error::{Damage, StorageError};
use crate::frame::RunHeader;
use crate::group::{self, Group};
use crate::index::{Extent, LogIndex};
use crate::segment;

pub use scrub::Scrubbed;

/// Reads entries which are on disk. Cheap to clone; of use to any thread while another one
/// writes.
pub struct LogReader<D> {
    disk: Arc<D>,
    index: Arc<Mutex<LogIndex>>,
    store: Digest,
}

impl<D> Clone for LogReader<D> {
    fn clone(&self) -> LogReader<D> {
        LogReader { disk: self.disk.clone(), index: self.index.clone(), store: self.store }
    }
}

impl<D> fmt::Debug for LogReader<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogReader").field("store", &self.store).finish_non_exhaustive()
    }
}

impl<D: Disk> LogReader<D> {
    pub(crate) fn new(disk: Arc<D>, index: Arc<Mutex<LogIndex>>, store: Digest) -> LogReader<D> {
        LogReader { disk, index, store }
    }

    /// Contiguous entries from `from` on, as many as make up `max_bytes` by
    /// [`Entry::size_bytes`], at least one; none if the saved log does not reach so far. Every
    /// entry is verified: its payload by its digest, and that it follows the one before it.
    ///
    /// # Errors
    /// [`StorageError::Compacted`] if the log begins behind `from`: a snapshot covers it.
    /// Otherwise the disk cannot be read, or what is there is damaged.
    pub fn read_entries(&self, from: Index, max_bytes: usize) -> Result<Vec<Entry>, StorageError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        loop {
            let next = entries.last().map_or(from, |entry| entry.index().next());
            let extent = match self.find(next) {
                Ok(Some(extent)) => extent,
                Err(error) if entries.is_empty() => return Err(error),
                Ok(None) | Err(_) => return Ok(entries),
            };
            let room = max_bytes.saturating_sub(bytes);
            let part = match self.read_extent(extent, next, room, entries.is_empty()) {
                // The log was cut off or compacted in the meantime, and its place used again.
                Err(_) if self.find(next)? != Some(extent) => continue,
                Err(_) if !entries.is_empty() => return Ok(entries),
                // What cannot be read may be another entry than the first.
                Err(error) if error.is_damaged_medium() => {
                    self.read_extent(extent, next, 0, true)?
                }
                other => other?,
            };
            let (Some(first), Some(last)) = (part.first(), part.last()) else {
                return Ok(entries);
            };
            if entries.last().is_some_and(|before| before.digest() != first.parent) {
                // Read partly before and partly after a cut: what was read first is gone.
                return Ok(entries);
            }
            let is_whole = last.index().next() == extent.end;
            bytes += part.iter().map(Entry::size_bytes).sum::<usize>();
            entries.extend(part);
            if !is_whole || bytes >= max_bytes {
                return Ok(entries);
            }
        }
    }

    fn index(&self) -> MutexGuard<'_, LogIndex> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, index: Index) -> Result<Option<Extent>, StorageError> {
        let log = self.index();
        let found = log.find(index);
        let base = log.shape.base.index;
        if found.is_none() && index <= base {
            return Err(StorageError::Compacted { from: index, base });
        }
        if let (None, Some(gap)) = (found, log.gaps.at(index)) {
            return Err(StorageError::Lost { first: gap.first, last: gap.last });
        }
        Ok(found)
    }

    fn read_extent(
        &self,
        extent: Extent,
        from: Index,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Vec<Entry>, StorageError> {
        let group = self.read_group(extent)?;
        let number = extent.run as usize;
        let damaged = |indexes, damage| damaged(extent, indexes, damage);
        let run = group.header.runs.get(number);
        let run = run.filter(|run| run.first() <= from && extent.end <= run.end());
        let run = run.ok_or_else(|| damaged(from..extent.end, Damage::Misplaced))?;
        let skipped = position(run, from);
        let count = count_within(run, skipped..position(run, extent.end), max_bytes, at_least_one);
        let mut payloads = group.read_payloads_of(&*self.disk, number, skipped..skipped + count)?;
        let mut parent = run.previous_digest;
        let mut entries = Vec::with_capacity(count);
        for (index, header) in run.indexed().take(skipped + count) {
            if index >= from {
                let payload = payloads.split_to(header.len as usize);
                let entry = header.with_payload(index, parent, payload);
                if !entry.payload_is_intact() {
                    if entries.is_empty() {
                        return Err(damaged(index..index.next(), Damage::Payload));
                    }
                    break;
                }
                entries.push(entry);
            }
            parent = header.digest(index, parent);
        }
        Ok(entries)
    }

    fn read_group(&self, extent: Extent) -> Result<Box<Group>, StorageError> {
        group::of_extent(&*self.disk, self.store, extent)
    }
}

fn damaged(extent: Extent, indexes: std::ops::Range<Index>, damage: Damage) -> StorageError {
    let file = segment::name(extent.segment);
    StorageError::Damaged { file, offset: extent.offset, indexes, damage }
}

fn position(run: &RunHeader, index: Index) -> usize {
    usize::try_from(index.0.saturating_sub(run.first().0)).unwrap_or(usize::MAX)
}

/// How many of these entries of a run make up the bytes.
fn count_within(
    run: &RunHeader,
    entries: std::ops::Range<usize>,
    max_bytes: usize,
    at_least_one: bool,
) -> usize {
    let mut taken = 0;
    let mut is_first = at_least_one;
    let mut fits = |len: &u32| {
        taken += Entry::OVERHEAD + *len as usize;
        std::mem::take(&mut is_first) || taken <= max_bytes
    };
    let own = run.entries.get(entries).unwrap_or_default();
    own.iter().map(|entry| &entry.len).take_while(|len| fits(len)).count()
}
