//! Reading the log back from the medium, only to see that it is whole.

use std::ops::Range;

use quorate_core::{Digest, Gap, Index};

use super::LogReader;
use crate::disk::Disk;
use crate::error::StorageError;
use crate::frame::RunHeader;
use crate::group::Group;
use crate::index::Extent;
use crate::segment;

/// What a search for damage has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Where to go on: behind the end of the saved log, everything was seen.
    pub next: Index,
    /// What is damaged. The names of what is missing are known to the log that is running.
    pub gaps: Vec<Gap>,
}

/// A walk along the extents of the log.
struct Walk {
    /// The next index to look at.
    at: Index,
    /// The digest of the entry before it.
    before: Digest,
    /// What begins there and cannot be named before something whole is found behind it: where it
    /// begins, and what precedes it.
    open: Option<(Index, Digest)>,
    gaps: Vec<Gap>,
    bytes: usize,
}

impl<D: Disk> LogReader<D> {
    /// Reads some `max_bytes` back from the medium, from the group that holds `from` on, and
    /// verifies them. While it reads, the log may be compacted, cut off or repaired: what is so is
    /// not looked at.
    ///
    /// # Errors
    /// If a newer program has written to the log, or if reading fails in a way that says nothing
    /// about what is on the medium.
    pub fn scrub(&self, from: Index, max_bytes: usize) -> Result<Scrubbed, StorageError> {
        let (base, base_digest, last, last_digest) = {
            let log = self.index();
            let (shape, base_digest) = (&log.shape, log.base_digest);
            (shape.base.index, base_digest, shape.last.index, log.last_digest)
        };
        let mut uncached = None;
        let mut walk = match self.start_behind(from, base, &mut uncached)? {
            Some((at, before)) => Walk::from(at, before),
            None => Walk::from(base.next(), base_digest),
        };
        while walk.at <= last && (walk.bytes < max_bytes || walk.open.is_some()) {
            let lost = self.index().gaps.at(walk.at).cloned();
            let extent = match (self.find_held(walk.at), lost) {
                (Some(extent), _) => extent,
                (None, Some(gap)) => {
                    walk.close(gap.before);
                    (walk.at, walk.before) = (gap.last.next(), gap.digest);
                    continue;
                }
                (None, None) => break,
            };
            let read = self.read_whole(extent, walk.at, &mut uncached);
            if self.find_held(walk.at) != Some(extent) {
                // Cut off or compacted in the meantime, and its place perhaps used again.
                break;
            }
            match read? {
                Some(read) => walk.verify(extent, &read),
                None => walk.lose(extent.end),
            }
        }
        let is_at_end = walk.at > last;
        if is_at_end {
            walk.close(last_digest);
        }
        // The log went on, or was cut off, under the walk: it is looked at again.
        let gaps = if is_at_end || walk.open.is_none() { walk.gaps } else { Vec::new() };
        Ok(Scrubbed { next: walk.at, gaps })
    }

    /// The start of the extent that holds `from`, or of an earlier one: the first one before
    /// which the log is whole. With the digest of what precedes it. `None`: the log's start.
    fn start_behind(
        &self,
        from: Index,
        base: Index,
        uncached: &mut Option<u64>,
    ) -> Result<Option<(Index, Digest)>, StorageError> {
        let mut at = from;
        while at > base.next() {
            let lost = self.index().gaps.at(at.previous()).cloned();
            let extent = match (self.find_held(at.previous()), lost) {
                (Some(extent), _) => extent,
                // It is lost, as is known: what follows it is looked at.
                (None, Some(gap)) => return Ok(Some((gap.last.next(), gap.digest))),
                (None, None) => return Ok(None),
            };
            let read = self.read_run(extent, uncached);
            let (held, start) = {
                let log = self.index();
                (log.find(at.previous()), log.start_of(at.previous()))
            };
            let Some(start) = start.filter(|_| held == Some(extent)) else {
                // Cut off or compacted in the meantime: what is there now is looked at.
                continue;
            };
            if let Some((group, number)) = read? {
                return Ok(Some((at, digest_before(&group.header.runs[number], at))));
            }
            at = start;
        }
        Ok(None)
    }

    fn find_held(&self, index: Index) -> Option<Extent> {
        self.index().find(index)
    }

    /// The group of an extent, from the medium, and the number of the extent's run; `None` if its
    /// header is damaged.
    fn read_run(
        &self,
        extent: Extent,
        uncached: &mut Option<u64>,
    ) -> Result<Option<(Box<Group>, usize)>, StorageError> {
        // What is cached may be whole where the medium is not. Once for each segment: what is read
        // from there on, and ahead, comes from the medium.
        if *uncached != Some(extent.segment) {
            let _ = self.disk.drop_cache(&segment::name(extent.segment));
            *uncached = Some(extent.segment);
        }
        let group = match self.read_group(extent) {
            Ok(group) => group,
            Err(error) if error.is_damage() => return Ok(None),
            Err(error) => return Err(error),
        };
        let number = extent.run as usize;
        let run = group.header.runs.get(number);
        Ok(run.is_some_and(|run| extent.end <= run.end()).then_some((group, number)))
    }

    /// As [`read_run`](Self::read_run), with the payloads from an entry to the extent's end.
    fn read_whole(
        &self,
        extent: Extent,
        from: Index,
        uncached: &mut Option<u64>,
    ) -> Result<Option<RunRead>, StorageError> {
        let Some((group, number)) = self.read_run(extent, uncached)? else { return Ok(None) };
        let run = &group.header.runs[number];
        let entries = super::position(run, from)..super::position(run, extent.end);
        let payloads = group.intact_payloads_of(&*self.disk, number, entries.clone())?;
        let is_intact = payloads.iter().map(Option::is_some).collect();
        Ok(Some(RunRead { group, number, entries, is_intact }))
    }
}

/// What the medium gives back of a run.
struct RunRead {
    group: Box<Group>,
    /// Which of the group's runs.
    number: usize,
    /// Which of its entries were read.
    entries: Range<usize>,
    /// Whether the payload of each of them is the one that was written.
    is_intact: Vec<bool>,
}

impl Walk {
    fn from(at: Index, before: Digest) -> Walk {
        Walk { at, before, open: None, gaps: Vec::new(), bytes: 0 }
    }

    /// Everything up to `end` cannot be read.
    fn lose(&mut self, end: Index) {
        self.open.get_or_insert((self.at, self.before));
        self.at = end;
    }

    /// Goes along the entries of a run up to the end of an extent.
    fn verify(&mut self, extent: Extent, read: &RunRead) {
        let run = &read.group.header.runs[read.number];
        self.before = digest_before(run, self.at);
        self.close(self.before);
        self.bytes += usize::try_from(read.group.header_bytes()).unwrap_or(usize::MAX);
        for (header, is_intact) in run.entries[read.entries.clone()].iter().zip(&read.is_intact) {
            let (at, before) = (self.at, self.before);
            let digest = header.digest(at, before);
            if !is_intact {
                self.gaps.push(Gap { first: at, last: at, digest, before, ids_known: true });
            }
            self.bytes += header.len as usize;
            (self.at, self.before) = (at.next(), digest);
        }
        assert_eq!(self.at, extent.end, "all entries of an extent are read");
    }

    /// What could not be named ends here: this is the digest of its last entry.
    fn close(&mut self, digest: Digest) {
        if let Some((first, before)) = self.open.take() {
            let last = self.at.previous();
            self.gaps.push(Gap { first, last, digest, before, ids_known: true });
        }
    }
}

/// The digest of the entry before `index`, which is in the run or the first behind it.
fn digest_before(run: &RunHeader, index: Index) -> Digest {
    let mut digest = run.previous_digest;
    let headers = (run.first().0..index.0).map(Index).zip(&run.entries);
    for (at, header) in headers {
        digest = header.digest(at, digest);
    }
    digest
}
