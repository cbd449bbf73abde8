//! Finding the log after a restart, and telling a torn tail from damage.
//!
//! A group is acknowledged once it is synced, and the next one is written only then. So a crash
//! can tear the last group only, which nobody was told about: it is cut off. Everything before it
//! was acknowledged: if any of that is damaged, nothing is cut off; the log has a gap there, which
//! peers fill, or it is mute.
//!
//! 1. *G* is the last group up to which all groups are intact and follow one another.
//! 2. *D* is the highest sequence which is vouched for: every group says how far everything was
//!    synced when it was written, and so does the meta file. All blocks behind G are searched for
//!    headers of intact groups, whether or not they follow.
//! 3. If D ≤ G, nothing of the log stands behind G, no header is damaged but where the next group
//!    would stand, and nothing is unreadable further out than a torn group reaches, what follows G
//!    is torn, or nothing. That is all.
//! 4. Otherwise every block of every segment is searched, and what is left of the log is taken
//!    together again (`recovery/chain.rs`, `recovery/replay.rs`). *G* is the last group of that.
//!    Of groups whose payloads are damaged the names are known. What lost groups held is a gap:
//!    the groups behind them say where the log goes on, and how far it was cut off in between.
//! 5. If D > G still, or a file behind G is missing, or there is such damage further out, the end is
//!    lost: the replica may have acknowledged what its disk does not know of. It is mute; nothing
//!    is written any more to the segments where the end was.

mod chain;
mod replay;
mod scan;
mod segments;
mod survey;
mod tail;

use std::collections::BTreeMap;

use quorate_core::{Digest, Entry, Index, LogTime, Membership};

use crate::disk::{Disk, FileInfo};
use crate::error::{Damage, StorageError};
use crate::frame::{BLOCK, Place};
use crate::group::{self, At};
use crate::index::LogIndex;
use crate::meta::{FoundMeta, Meta};
use crate::segment;
use crate::wal::{Head, Segment, Spare};
use chain::{Chain, Starts};
use replay::Replay;
use segments::Segments;
use survey::{Blemish, Spot, Survey};

/// The log as found on disk, verified from end to end.
#[derive(Debug)]
pub(crate) struct FoundLog {
    /// As in the file, but for what the directory knows better: the range of segments.
    pub(crate) meta: Meta,
    /// The last group.
    pub(crate) found: (u64, Digest),
    /// The state as of that group; its sequence is at least what was vouched for.
    pub(crate) head: Head,
    pub(crate) index: LogIndex,
    pub(crate) segments: BTreeMap<u64, Segment>,
    pub(crate) spares: Vec<Spare>,
    pub(crate) tail: Vec<Entry>,
    /// No entry whose header was found has a later timestamp.
    pub(crate) last_time: LogTime,
    pub(crate) memberships: Vec<(Index, Membership)>,
    /// Where the end of the log was, if what was acknowledged there is gone.
    pub(crate) lost_end: Option<Spot>,
    /// Behind the last group there is something that was not written to its end, or not kept.
    pub(crate) is_torn: bool,
    /// The segments up to this one are damaged, where the log would go on.
    pub(crate) closed_through: u64,
    /// What is wrong, as far as it is known where.
    pub(crate) damage: Vec<StorageError>,
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
    meta: &FoundMeta,
    files: &[FileInfo],
    reading: Reading,
) -> Result<FoundLog, StorageError> {
    let mut found = meta.clone();
    let files = Segments::look(disk, &mut found, files, reading.is_owned)?;
    let meta = found.meta;
    let sworn = meta.sworn.as_ref().map_or(0, |sworn| sworn.sequence);
    let vouched = meta.durable_through.max(sworn);
    let recovery = Recovery { disk, meta: &meta, files: &files, reading, vouched };
    let Recovered { replay, lost_end, is_torn, closed_through, vouched, damage } =
        recovery.run()?;
    let Replay { mut head, index, tail, last_time, first_sequences, .. } = replay;
    let found = (head.sequence, head.digest);
    head.pledge = meta.sworn_beyond(head.sequence).or(head.pledge);
    head.sequence = head.sequence.max(vouched);
    let segment = |(id, len): (u64, u64)| {
        (id, Segment { len, first_sequence: first_sequences.get(&id).copied() })
    };
    let segments = files.lens.into_iter().map(segment).collect();
    Ok(FoundLog {
        meta,
        found,
        head,
        index,
        segments,
        spares: files.spares,
        tail: tail.entries.into(),
        last_time,
        memberships: tail.memberships,
        lost_end,
        is_torn,
        closed_through,
        damage,
    })
}

struct Recovery<'a, D> {
    disk: &'a D,
    meta: &'a Meta,
    files: &'a Segments,
    reading: Reading,
    /// What the meta file vouches for.
    vouched: u64,
}

struct Recovered<'a, D> {
    replay: Replay<'a, D>,
    lost_end: Option<Spot>,
    is_torn: bool,
    closed_through: u64,
    vouched: u64,
    damage: Vec<StorageError>,
}

impl<'a, D: Disk> Recovery<'a, D> {
    fn run(&self) -> Result<Recovered<'a, D>, StorageError> {
        let mut replay = Replay::new(self.disk, self.meta, self.reading.tail_bytes);
        let scan = scan::Scan { disk: self.disk, meta: self.meta, lens: &self.files.lens };
        let end = scan.run(&mut replay)?;
        let behind = self.survey(end)?;
        if self.files.damaged.is_empty() && self.is_whole(&replay.head, &behind) {
            return Ok(Recovered {
                is_torn: is_torn(&replay.head, &behind),
                replay,
                lost_end: None,
                closed_through: 0,
                vouched: self.vouched,
                damage: Vec::new(),
            });
        }
        self.take_together()
    }

    fn survey(&self, from: Spot) -> Result<Survey, StorageError> {
        Survey::make(self.disk, self.meta.store_id(), &self.files.lens, from)
    }

    /// True if what is found behind the last group may be a torn group, or is nothing.
    fn is_whole(&self, head: &Head, behind: &Survey) -> bool {
        let mut starts = Starts::new(self.meta);
        behind.groups.iter().for_each(|group| starts.learn(group.start, group.found));
        let last = head.sequence;
        let is_alive = |group: &&survey::Sighting| {
            group.sequence > last && !starts.is_dead(group.start, group.sequence, group.digest)
        };
        let alive = || behind.groups.iter().filter(is_alive);
        let vouched = alive().map(|group| group.durable_through).fold(self.vouched, u64::max);
        vouched <= last
            && alive().all(|group| group.previous == head.digest && !group.is_intact)
            && !behind.damaged.iter().any(|blemish| self.is_beyond(head, *blemish))
    }

    /// True of a place behind the last group where a torn group can have left no such thing. What
    /// cannot be read may be any part of it. What claims to be a group is its header, which stands
    /// where the log would go on: another one was written when the one before it was saved.
    fn is_beyond(&self, head: &Head, Blemish { spot, is_claim }: Blemish) -> bool {
        let (segment, offset) = spot;
        let next = match head.position {
            Some((active, _)) if active > segment => return false,
            Some((active, end)) if active == segment => end,
            _ => BLOCK,
        };
        offset > next + if is_claim { 0 } else { self.reading.max_group_bytes }
    }

    /// Takes what is left of a damaged log.
    fn take_together(&self) -> Result<Recovered<'a, D>, StorageError> {
        let survey = self.survey((0, BLOCK))?;
        let chain = Chain::of(survey.groups.clone(), &mut Starts::new(self.meta), self.vouched);
        let mut replay = Replay::new(self.disk, self.meta, self.reading.tail_bytes);
        let mut damage: Vec<StorageError> = self.files.damaged.values().cloned().collect();
        let mut end = (self.meta.first_segment, BLOCK);
        for sighting in &chain.groups {
            let (segment, offset) = sighting.spot;
            let place = Place { store: self.meta.store_id(), segment, offset };
            let At::Group(group) = group::header_at(self.disk, place, sighting.end)? else {
                // It was there a moment ago.
                return Err(damaged(sighting.spot, Damage::Header));
            };
            let is_first = replay.head.position.is_none();
            let follows = match is_first {
                true => sighting.sequence == self.meta.first_sequence,
                false => sighting.previous == replay.head.digest,
            };
            if !follows {
                let mut lost = survey.damaged.iter();
                let lost = lost.find(|it| it.spot >= end && it.spot < sighting.spot);
                damage.push(match lost {
                    Some(it) => damaged(it.spot, Damage::Header),
                    None => damaged(end, Damage::GroupMissing),
                });
            }
            let payloads = group.intact_payloads(self.disk)?;
            if payloads.iter().any(Option::is_none) {
                damage.push(damaged(sighting.spot, Damage::Payload));
            }
            replay.add(&group, payloads)?;
            end = (segment, sighting.end);
        }
        let last = replay.head.sequence;
        let active = replay.head.position.map_or(0, |(segment, _)| segment);
        let is_beyond = |blemish: &&Blemish| self.is_beyond(&replay.head, **blemish);
        let beyond = survey.damaged.iter().find(is_beyond);
        let is_cut_short = self.files.cut_short.iter().any(|id| *id >= active);
        let end_is_lost = chain.vouched > last || beyond.is_some() || is_cut_short;
        let damaged_files = self.files.damaged.keys().copied();
        let mut closed_through = damaged_files.filter(|id| *id >= active).max().unwrap_or(0);
        let lost_end = end_is_lost.then(|| beyond.map_or(end, |blemish| blemish.spot));
        if let Some(spot) = lost_end {
            let left = survey.groups.iter().map(|group| group.spot.0);
            let left = left.chain(survey.damaged.iter().map(|blemish| blemish.spot.0));
            closed_through = left.fold(closed_through.max(active), u64::max);
            damage.push(damaged(spot, Damage::GroupMissing));
        }
        let (vouched, is_torn) = (chain.vouched, is_torn(&replay.head, &survey));
        Ok(Recovered { replay, lost_end, is_torn, closed_through, vouched, damage })
    }
}

/// True if anything is left behind the last group of what was to follow it. What an earlier start
/// has cut off counts for as long as it is there: that start may not have told anybody.
fn is_torn(head: &Head, survey: &Survey) -> bool {
    let (segment, end) = head.position.unwrap_or_default();
    let is_behind = |spot: &Spot| *spot >= (segment, end);
    survey.damaged.iter().any(|blemish| is_behind(&blemish.spot))
        || survey
            .groups
            .iter()
            .any(|group| is_behind(&group.spot) && group.sequence > head.sequence)
}

fn damaged((segment, offset): Spot, damage: Damage) -> StorageError {
    let (file, indexes) = (segment::name(segment), Index::ZERO..Index::ZERO);
    StorageError::Damaged { file, offset, indexes, damage }
}
