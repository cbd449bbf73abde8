//! Walking along the groups of a log that is whole.

use std::collections::BTreeMap;

use quorate_core::Digest;

use super::chain::Starts;
use super::replay::Replay;
use super::survey::Spot;
use crate::disk::Disk;
use crate::error::StorageError;
use crate::frame::{BLOCK, Place};
use crate::group::{self, At, Group};
use crate::meta::Meta;

/// A walk along the registered segments.
pub(super) struct Scan<'a, D> {
    pub(super) disk: &'a D,
    pub(super) meta: &'a Meta,
    /// The lengths of the segments that are there.
    pub(super) lens: &'a BTreeMap<u64, u64>,
}

impl<D: Disk> Scan<'_, D> {
    /// Goes on as long as each group follows the one before it and is intact. Gives the place
    /// behind the last.
    pub(super) fn run(&self, replay: &mut Replay<'_, D>) -> Result<Spot, StorageError> {
        let starts = Starts::new(self.meta);
        let mut at = (self.lens.keys().next().copied().unwrap_or(0), BLOCK);
        loop {
            let Some((group, next)) = self.next(replay, &starts, at)? else { return Ok(at) };
            let payloads = group.intact_payloads(self.disk)?;
            if payloads.iter().any(Option::is_none) {
                return Ok(at);
            }
            replay.add(&group, payloads)?;
            at = next;
        }
    }

    /// The group at a place, or the one with which a later segment begins, if it follows; and
    /// the place behind it.
    fn next(
        &self,
        replay: &Replay<'_, D>,
        starts: &Starts,
        at: Spot,
    ) -> Result<Option<(Box<Group>, Spot)>, StorageError> {
        let later = self.lens.range(at.0 + 1..).map(|(segment, _)| (*segment, BLOCK));
        for (segment, offset) in std::iter::once(at).chain(later) {
            let Some(end) = self.lens.get(&segment).filter(|end| offset < **end) else { continue };
            let place = Place { store: self.meta.store_id(), segment, offset };
            if let At::Group(group) = group::probe(self.disk, place, *end)?
                && self.follows(replay, starts, &group)
            {
                let next = (segment, offset + group.len);
                return Ok(Some((group, next)));
            }
        }
        Ok(None)
    }

    fn follows(&self, replay: &Replay<'_, D>, starts: &Starts, group: &Group) -> bool {
        let (sequence, previous) = (group.header.sequence, group.header.previous);
        if starts.is_dead(group.header.start, sequence, group.digest) {
            return false;
        }
        match replay.head.position {
            Some(_) => sequence > replay.head.sequence && previous == replay.head.digest,
            None => {
                sequence == self.meta.first_sequence && (sequence > 1 || previous == Digest::ZERO)
            }
        }
    }
}
