//! Doing again what the groups say, one after the other, over what is lost in between.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_core::{Digest, Index, LogId, LogTime};

use super::tail::Tail;
use crate::disk::Disk;
use crate::error::{Damage, StorageError};
use crate::frame::{Header, Place, RunHeader, RunKind};
use crate::group::{self, Group};
use crate::index::{GroupAt, LogIndex};
use crate::meta::Meta;
use crate::segment;
use crate::wal::Head;

/// The log up to a group.
pub(super) struct Replay<'a, D> {
    disk: &'a D,
    meta: &'a Meta,
    pub(super) head: Head,
    pub(super) index: LogIndex,
    pub(super) tail: Tail,
    /// No entry whose header was found has a later timestamp.
    pub(super) last_time: LogTime,
    /// The sequence of the first group of each segment that has any.
    pub(super) first_sequences: BTreeMap<u64, u64>,
    /// Something is known of where the log begins.
    is_anchored: bool,
}

impl<'a, D: Disk> Replay<'a, D> {
    pub(super) fn new(disk: &'a D, meta: &'a Meta, tail_bytes: usize) -> Replay<'a, D> {
        Replay {
            disk,
            meta,
            head: Head::default(),
            index: LogIndex::default(),
            tail: Tail::new(tail_bytes),
            last_time: LogTime(0),
            first_sequences: BTreeMap::new(),
            is_anchored: false,
        }
    }

    /// Does what a group says. Groups between the last one and this one may be lost. Of damaged
    /// payloads the names are taken.
    ///
    /// # Errors
    /// If the group contradicts the ones before it although none is lost, or the meta file.
    pub(super) fn add(
        &mut self,
        group: &Group,
        payloads: Vec<Option<Bytes>>,
    ) -> Result<(), StorageError> {
        let Group { header, digest, len, .. } = group;
        self.check_sworn(header)?;
        let Place { segment, offset, .. } = header.place;
        let at = GroupAt { segment, offset, len: *len, digest: *digest };
        if self.head.position.is_some() && header.previous != self.head.digest {
            self.bridge(header)?;
        }
        if !self.is_anchored {
            self.index = match header.runs.iter().find(|run| run.kind != RunKind::Repair) {
                Some(run) => LogIndex::standing_on(run.previous, run.previous_digest),
                None => LogIndex::standing_on(header.last, header.last_digest),
            };
            self.is_anchored = true;
        }
        let mut payloads = payloads.into_iter();
        for (number, run) in (0..).zip(&header.runs) {
            self.add_run(run, number, at, &mut payloads)?;
        }
        if (self.index.shape.last, self.index.last_digest) != (header.last, header.last_digest) {
            return Err(contradiction(at, header.last.index));
        }
        self.first_sequences.entry(segment).or_insert(header.sequence);
        self.head = Head {
            position: Some((segment, offset + len)),
            sequence: header.sequence,
            digest: *digest,
            is_attest: header.runs.is_empty(),
            pledge: Some(header.pledge),
            last: header.last,
            last_digest: header.last_digest,
            cuts: header.cuts.clone(),
            snapshot: header.snapshot.clone(),
            older: header.older.clone(),
        };
        Ok(())
    }

    /// Makes the log what it was before this group, as far as the group tells: the groups between
    /// the last one and this one are lost.
    fn bridge(&mut self, header: &Header) -> Result<(), StorageError> {
        let moving = header.runs.iter().find(|run| run.kind != RunKind::Repair);
        let (last, digest) = match moving {
            Some(run) if run.kind == RunKind::StartsAnew => return Ok(()),
            Some(run) => (run.previous, run.previous_digest),
            None => (header.last, header.last_digest),
        };
        let held = self.index.shape.last.index;
        let cut = header.cuts.deepest_between(self.head.sequence, header.sequence);
        let keep = cut.map_or(held, |cut| cut.min(held));
        if keep < self.index.shape.base.index {
            self.is_anchored = false;
            self.tail.clear();
        } else if last.index > keep {
            let before = self.digest_at(keep)?;
            self.index.lose(keep, before, last, digest);
            self.tail.break_after(keep);
        } else if moving.is_none() {
            self.index.cut_after(last, digest);
            self.tail.cut_after(last.index);
        }
        Ok(())
    }

    fn add_run(
        &mut self,
        run: &RunHeader,
        number: u32,
        at: GroupAt,
        payloads: &mut impl Iterator<Item = Option<Bytes>>,
    ) -> Result<(), StorageError> {
        match run.kind {
            RunKind::Append if run.previous.index < self.index.shape.base.index => {
                self.index = LogIndex::standing_on(run.previous, run.previous_digest);
                self.tail.clear();
            }
            RunKind::Append if !self.fits(run) => {
                return Err(contradiction(at, run.previous.index));
            }
            RunKind::Append => self.tail.cut_after(run.previous.index),
            RunKind::StartsAnew => self.tail.clear(),
            RunKind::Repair if run.first() <= self.index.shape.base.index => {
                self.index.reach_down(LogId::ZERO, Digest::ZERO);
            }
            RunKind::Repair => {}
        }
        self.index.apply(run, number, at);
        let mut parent = run.previous_digest;
        for ((index, header), payload) in run.indexed().zip(payloads) {
            let digest = header.digest(index, parent);
            self.last_time = self.last_time.max(header.time);
            let is_held = self
                .index
                .find(index)
                .is_some_and(|extent| (extent.group, extent.run) == (at.digest, number));
            match payload {
                _ if !is_held => {}
                Some(payload) => {
                    let entry = header.with_payload(index, parent, payload);
                    let is_taken = match run.kind {
                        RunKind::Append | RunKind::StartsAnew => self.tail.push(entry),
                        RunKind::Repair => self.tail.repair(entry),
                    };
                    if !is_taken {
                        return Err(contradiction(at, index));
                    }
                }
                None => {
                    self.index.lose_payload(index, digest, parent);
                    self.tail.break_at(index);
                }
            }
            parent = digest;
        }
        Ok(())
    }

    /// True if the log holds what the run goes on from.
    fn fits(&self, run: &RunHeader) -> bool {
        let LogIndex { shape, last_digest, .. } = &self.index;
        // What stands before the first entry of all is told by the first run.
        let is_start = run.previous == LogId::ZERO;
        let is_end = run.previous.index == shape.last.index;
        let agrees = is_start || !is_end || run.previous_digest == *last_digest;
        run.previous.index <= shape.last.index && self.index.may_hold(run.previous) && agrees
    }

    /// The digest of an entry that the log holds, or of what precedes the first; zero within a
    /// gap of which nothing is known. What is lost behind it becomes a part of that.
    fn digest_at(&self, index: Index) -> Result<Digest, StorageError> {
        let log = &self.index;
        if index == log.shape.last.index {
            return Ok(log.last_digest);
        }
        if index == log.shape.base.index {
            return Ok(log.base_digest);
        }
        let Some(extent) = log.find(index) else { return Ok(Digest::ZERO) };
        let group = group::of_extent(self.disk, self.meta.store_id(), extent)?;
        let run = group.header.runs.get(extent.run as usize);
        Ok(run.map_or(Digest::ZERO, |run| run.digest_at(index)))
    }

    fn check_sworn(&self, header: &Header) -> Result<(), StorageError> {
        match &self.meta.sworn {
            Some(sworn)
                if sworn.sequence == header.sequence
                    && !sworn.is_beside
                    && sworn.pledge() != header.pledge =>
            {
                let (file, sequence) = (segment::name(header.place.segment), sworn.sequence);
                Err(StorageError::PledgeContradicted { file, sequence })
            }
            _ => Ok(()),
        }
    }
}

fn contradiction(at: GroupAt, index: Index) -> StorageError {
    let (file, offset) = (segment::name(at.segment), at.offset);
    let (indexes, damage) = (index..index.next(), Damage::Contradiction);
    StorageError::Damaged { file, offset, indexes, damage }
}

#[cfg(test)]
mod tests;
