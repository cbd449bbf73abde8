//! Walking along the groups to the end of the log, and judging what lies behind it.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Buf;
use quorate_core::{Digest, Index};

use super::tail::Tail;
use crate::disk::Disk;
use crate::error::{Damage, StorageError};
use crate::frame::{BLOCK, Place, RunHeader, RunKind};
use crate::group::{self, At, Group};
use crate::index::{GroupAt, LogIndex};
use crate::meta::Meta;
use crate::segment;
use crate::wal::Head;

/// How much is read at once when every block is searched, in bytes.
const SEARCH_BYTES: u64 = 1 << 20;

/// A walk along the registered segments.
pub(super) struct Scan<'a, D> {
    pub(super) disk: &'a D,
    pub(super) meta: &'a Meta,
    /// The lengths of the segments that are there.
    pub(super) lens: BTreeMap<u64, u64>,
    /// The first registered segments are gone, so the first group is not the one it should be.
    pub(super) first_may_be_missing: bool,
    pub(super) max_group_bytes: u64,
}

/// The log up to its last intact group.
#[derive(Debug)]
pub(crate) struct Scanned {
    pub(crate) head: Head,
    pub(crate) index: LogIndex,
    pub(crate) tail: Tail,
    /// The sequence of the first group of each segment that has any.
    pub(crate) first_sequences: BTreeMap<u64, u64>,
}

/// Why the walk ends at a place.
struct End {
    /// Where the next group should have been.
    from: (u64, u64),
    /// Where something is wrong.
    place: (u64, u64),
    damage: Damage,
    indexes: Range<Index>,
}

/// What is found behind the end of the walk.
#[derive(Default)]
struct Behind {
    /// The highest sequence that is vouched for.
    durable_through: u64,
    /// Where the first group stands that comes after the next one, and its first index.
    after_next: Option<((u64, u64), Option<Index>)>,
    /// A group follows another one than that which is found as the last.
    contradicts: bool,
    /// A damaged header further out than a torn group reaches.
    far_damage: Option<(u64, u64)>,
}

impl<D: Disk> Scan<'_, D> {
    pub(super) fn run(&self, tail: Tail) -> Result<Scanned, StorageError> {
        let head = Head::default();
        let first_sequences = BTreeMap::new();
        let mut found = Scanned { head, index: LogIndex::default(), tail, first_sequences };
        let Some(first) = self.lens.keys().next() else {
            return self.judge(found, None);
        };
        let mut at = (*first, BLOCK);
        loop {
            at = match self.step(&mut found, at)? {
                Ok(next) => next,
                Err(end) => return self.judge(found, Some(end)),
            };
        }
    }

    /// Takes the group at a place, or the one with which a later segment begins instead.
    fn step(
        &self,
        found: &mut Scanned,
        at: (u64, u64),
    ) -> Result<Result<(u64, u64), End>, StorageError> {
        let mut end = match self.take(found, at)? {
            Ok(next) => return Ok(Ok(next)),
            Err(end) => end,
        };
        for segment in self.lens.range(at.0 + 1..).map(|(id, _)| *id) {
            match self.take(found, (segment, BLOCK))? {
                Ok(next) => return Ok(Ok(next)),
                Err(other) if end.damage == Damage::GroupMissing && other.is_of_next() => {
                    end = End { from: at, ..other };
                }
                Err(_) => {}
            }
        }
        Ok(Err(end))
    }

    /// Takes the group at a place if it is intact and follows. Gives the place behind it.
    fn take(
        &self,
        found: &mut Scanned,
        at: (u64, u64),
    ) -> Result<Result<(u64, u64), End>, StorageError> {
        let (segment, offset) = at;
        let end = |damage| End { from: at, place: at, damage, indexes: Index::ZERO..Index::ZERO };
        let group = match self.header_at(segment, offset)? {
            At::Group(group) => group,
            At::Damaged => return Ok(Err(end(Damage::Header))),
            At::Nothing => return Ok(Err(end(Damage::GroupMissing))),
        };
        if !self.follows(found, &group) {
            return Ok(Err(end(Damage::Misplaced)));
        }
        if let Some(run) = group.header.runs.iter().find(|run| !self.fits(found, &group, run)) {
            let indexes = run.first()..run.end();
            return Ok(Err(End { indexes, ..end(Damage::Contradiction) }));
        }
        let payloads = group.read_payloads(self.disk)?;
        if let Some(indexes) = damaged_payloads(&group, &payloads) {
            return Ok(Err(End { indexes, ..end(Damage::Payload) }));
        }
        self.check_sworn(&group)?;
        let next = (segment, offset + group.len);
        found.add(*group, &payloads)?;
        Ok(Ok(next))
    }

    fn header_at(&self, segment: u64, offset: u64) -> Result<At, StorageError> {
        let end = self.lens[&segment];
        if offset >= end {
            return Ok(At::Nothing);
        }
        group::header_at(self.disk, self.place(segment, offset), end)
    }

    fn place(&self, segment: u64, offset: u64) -> Place {
        Place { store: self.meta.store_id(), segment, offset }
    }

    fn follows(&self, found: &Scanned, group: &Group) -> bool {
        let sequence = group.header.sequence;
        if found.head.position.is_some() {
            return sequence == found.head.sequence + 1
                && group.header.previous == found.head.digest;
        }
        let first = self.meta.first_sequence;
        let is_first = sequence == first || (self.first_may_be_missing && sequence > first);
        is_first && (sequence > 1 || group.header.previous == Digest::ZERO)
    }

    /// True if the run goes on from an entry of the log as found.
    fn fits(&self, found: &Scanned, group: &Group, run: &RunHeader) -> bool {
        let before = group.header.runs.iter().take_while(|other| *other != run);
        if run.kind != RunKind::Append || before.count() > 0 {
            // What the group's own earlier runs do to the log is checked by the one that wrote
            // it, and the group is intact.
            return true;
        }
        let shape = &found.index.shape;
        // The start of a compacted log: what the run goes on from is no longer here.
        let is_before = found.index.is_empty() || run.previous.index < shape.base.index;
        if is_before {
            return self.meta.first_sequence > 1
                || self.first_may_be_missing
                || run.previous.index == Index::ZERO;
        }
        let at_end = run.previous == shape.last && !found.index.is_empty();
        shape.holds(run.previous) && (!at_end || run.previous_digest == found.index.last_digest)
    }

    fn check_sworn(&self, group: &Group) -> Result<(), StorageError> {
        match &self.meta.sworn {
            Some(sworn)
                if sworn.sequence == group.header.sequence
                    && sworn.pledge() != group.header.pledge =>
            {
                let (file, sequence) = (segment::name(group.header.place.segment), sworn.sequence);
                Err(StorageError::PledgeContradicted { file, sequence })
            }
            _ => Ok(()),
        }
    }

    /// Decides whether what lies behind the last group is a torn tail.
    fn judge(&self, found: Scanned, end: Option<End>) -> Result<Scanned, StorageError> {
        let last = found.head.sequence;
        let behind = match &end {
            Some(end) => self.search(&found, end.from)?,
            None => Behind::default(),
        };
        let sworn = self.meta.sworn.as_ref().map_or(0, |sworn| sworn.sequence);
        let vouched = behind.durable_through.max(self.meta.durable_through).max(sworn);
        let place = (self.meta.first_segment, 0);
        let indexes = Index::ZERO..Index::ZERO;
        let nowhere = End { from: place, place, damage: Damage::GroupMissing, indexes };
        let End { place: (mut segment, mut offset), damage, indexes, .. } = end.unwrap_or(nowhere);
        if vouched > last || behind.contradicts {
            let next = found.index.shape.last.index.next();
            let after = behind.after_next;
            if let (Damage::GroupMissing, Some(((later, at), _))) = (damage, after)
                && later > segment
                && at > BLOCK
            {
                // What precedes it there is what is missing, not the rest of the earlier segment.
                (segment, offset) = (later, BLOCK);
            }
            let unknown = after.and_then(|(_, first)| first).filter(|index| *index > next);
            let lost = unknown.map_or(Index::ZERO..Index::ZERO, |index| next..index);
            let indexes = if indexes.is_empty() { lost } else { indexes };
            let file = segment::name(segment);
            return Err(StorageError::Damaged { file, offset, indexes, damage });
        }
        if let Some((segment, offset)) = behind.far_damage {
            let (indexes, damage) = (Index::ZERO..Index::ZERO, Damage::Header);
            let file = segment::name(segment);
            return Err(StorageError::Damaged { file, offset, indexes, damage });
        }
        Ok(found)
    }

    /// Looks at every block from a place on, to the end of the last segment.
    fn search(&self, found: &Scanned, from: (u64, u64)) -> Result<Behind, StorageError> {
        let mut behind = Behind::default();
        // The torn group stands behind the last one, or at the start of any later segment.
        let reach = |segment| match found.head.position {
            Some((active, offset)) if active == segment => offset + self.max_group_bytes,
            _ => BLOCK + self.max_group_bytes,
        };
        for (segment, len) in self.lens.range(from.0..) {
            let mut offset = if *segment == from.0 { from.1 } else { BLOCK };
            while offset < *len {
                let part = SEARCH_BYTES.min(len - offset);
                let mut bytes = vec![0; usize::try_from(part).unwrap_or(0)];
                group::read(self.disk, *segment, offset, &mut bytes)?;
                for block in bytes.chunks(BLOCK as usize) {
                    let place = self.place(*segment, offset);
                    match group::header_in(self.disk, block, place, *len)? {
                        At::Group(group) => behind.add(&group, found),
                        At::Damaged if offset > reach(*segment) => {
                            behind.far_damage.get_or_insert((*segment, offset));
                        }
                        At::Damaged | At::Nothing => {}
                    }
                    offset += BLOCK;
                }
            }
        }
        Ok(behind)
    }
}

impl End {
    /// True if what is wrong is the group itself that should come next.
    fn is_of_next(&self) -> bool {
        matches!(self.damage, Damage::Payload | Damage::Contradiction | Damage::Header)
    }
}

impl Behind {
    fn add(&mut self, group: &Group, found: &Scanned) {
        let header = &group.header;
        self.durable_through = self.durable_through.max(header.durable_through);
        // It was written after the group before it was synced, and that is another one: what
        // stands in its place is left over from a history that was cut off.
        self.contradicts |=
            header.sequence == found.head.sequence + 1 && header.previous != found.head.digest;
        // The group behind the last one is the one in question: the first after it tells where
        // the log goes on.
        if header.sequence > found.head.sequence + 1 && self.after_next.is_none() {
            let place = (header.place.segment, header.place.offset);
            self.after_next = Some((place, header.runs.first().map(RunHeader::first)));
        }
    }
}

impl Scanned {
    /// Does what the group says.
    fn add(&mut self, group: Group, payloads: &bytes::Bytes) -> Result<(), StorageError> {
        let Group { header, digest, len, .. } = group;
        let Place { segment, offset, .. } = header.place;
        let at = GroupAt { segment, offset, sequence: header.sequence };
        if self.index.is_empty() && header.runs.iter().all(|run| run.kind == RunKind::Repair) {
            self.index.stand_on(header.last, header.last_digest);
        }
        let mut rest = payloads.clone();
        for (number, run) in (0..).zip(&header.runs) {
            self.add_run(run, number, at, &mut rest)?;
        }
        if (self.index.shape.last, self.index.last_digest) != (header.last, header.last_digest) {
            return Err(contradiction(at, header.last.index));
        }
        self.first_sequences.entry(segment).or_insert(header.sequence);
        self.head = Head {
            position: Some((segment, offset + len)),
            sequence: header.sequence,
            digest,
            is_attest: header.runs.is_empty(),
            pledge: Some(header.pledge),
            last: header.last,
            last_digest: header.last_digest,
            snapshot: header.snapshot,
            older: header.older,
        };
        Ok(())
    }

    fn add_run(
        &mut self,
        run: &RunHeader,
        number: u32,
        at: GroupAt,
        payloads: &mut bytes::Bytes,
    ) -> Result<(), StorageError> {
        let shape = &self.index.shape;
        let is_unknown = self.index.is_empty() || run.previous.index < shape.base.index;
        match run.kind {
            RunKind::Append if is_unknown => {
                let anew = RunHeader { kind: RunKind::StartsAnew, ..run.clone() };
                self.index.apply(&anew, number, at);
                self.tail.clear();
            }
            RunKind::Append => {
                self.index.apply(run, number, at);
                self.tail.cut_after(run.previous.index);
            }
            RunKind::StartsAnew => {
                self.index.apply(run, number, at);
                self.tail.clear();
            }
            // What it repairs stood before the first entry that is known of.
            RunKind::Repair if self.index.is_empty() => {
                run.entries.iter().for_each(|entry| payloads.advance(entry.len as usize));
                return Ok(());
            }
            RunKind::Repair => self.index.apply(run, number, at),
        }
        let mut parent = run.previous_digest;
        for (index, header) in run.indexed() {
            let payload = payloads.split_to(header.len as usize);
            let entry = header.with_payload(index, parent, payload);
            parent = entry.digest();
            let is_taken = match run.kind {
                RunKind::Append | RunKind::StartsAnew => self.tail.push(entry),
                RunKind::Repair => self.tail.repair(entry),
            };
            if !is_taken {
                return Err(contradiction(at, index));
            }
        }
        Ok(())
    }
}

fn contradiction(at: GroupAt, index: Index) -> StorageError {
    let (file, offset) = (segment::name(at.segment), at.offset);
    let (indexes, damage) = (index..index.next(), Damage::Contradiction);
    StorageError::Damaged { file, offset, indexes, damage }
}

/// From the first to the last entry whose payload is not the one that was written.
fn damaged_payloads(group: &Group, payloads: &[u8]) -> Option<Range<Index>> {
    let mut rest = payloads;
    let mut damaged: Option<Range<Index>> = None;
    for run in &group.header.runs {
        for (index, header) in run.indexed() {
            let (payload, behind) = rest.split_at(header.len as usize);
            rest = behind;
            if Digest::of(payload) != header.checksum {
                let start = damaged.map_or(index, |range| range.start.min(index));
                damaged = Some(start..index.next());
            }
        }
    }
    damaged
}
