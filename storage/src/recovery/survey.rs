//! Looking at every block, whether or not what is there follows what was found before.

use std::collections::BTreeMap;

use quorate_core::Digest;

use crate::disk::Disk;
use crate::error::StorageError;
use crate::frame::{BLOCK, Place};
use crate::group::{self, At};

/// How much is read at once, in bytes.
const READ_BYTES: u64 = 1 << 20;

/// A segment, and an offset in it.
pub(super) type Spot = (u64, u64);

/// A group whose header is intact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sighting {
    pub(super) spot: Spot,
    /// The offset behind it.
    pub(super) end: u64,
    pub(super) sequence: u64,
    pub(super) start: u64,
    /// What its start found: a sequence.
    pub(super) found: u64,
    pub(super) durable_through: u64,
    pub(super) digest: Digest,
    pub(super) previous: Digest,
    /// Its payloads are intact, too.
    pub(super) is_intact: bool,
}

/// What is on the disk from a place on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    pub(super) groups: Vec<Sighting>,
    /// Where a group's header is damaged, or a block cannot be read.
    pub(super) damaged: Vec<Blemish>,
}

/// A place where something is not as it was written, or never was written to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blemish {
    pub(super) spot: Spot,
    /// It claims to be a group that belongs there: one was written there. Otherwise it cannot be
    /// read, and may be anything.
    pub(super) is_claim: bool,
}

impl Survey {
    /// Looks at every block from `from` on, to the end of the last segment. What an intact group
    /// covers is its own.
    pub(super) fn make<D: Disk>(
        disk: &D,
        store: Digest,
        lens: &BTreeMap<u64, u64>,
        from: Spot,
    ) -> Result<Survey, StorageError> {
        let mut survey = Survey::default();
        for (segment, len) in lens.range(from.0..) {
            let mut window = Window::default();
            let mut offset = if *segment == from.0 { from.1 } else { BLOCK };
            while offset < *len {
                let place = Place { store, segment: *segment, offset };
                let at = match window.block(disk, place, *len)? {
                    Some(block) => group::probe_in(disk, block, place, *len)?,
                    None => group::probe(disk, place, *len)?,
                };
                offset += match at {
                    At::Group(group) => {
                        let payloads = group.intact_payloads(disk)?;
                        let is_intact = payloads.iter().all(Option::is_some);
                        survey.groups.push(Sighting::of(&group, is_intact));
                        if is_intact { group.len } else { BLOCK }
                    }
                    At::Damaged => {
                        survey.damaged.push(Blemish { spot: (*segment, offset), is_claim: true });
                        BLOCK
                    }
                    At::Unreadable => {
                        survey.damaged.push(Blemish { spot: (*segment, offset), is_claim: false });
                        BLOCK
                    }
                    At::Nothing => BLOCK,
                };
            }
        }
        Ok(survey)
    }
}

impl Sighting {
    fn of(group: &group::Group, is_intact: bool) -> Sighting {
        let header = &group.header;
        let Place { segment, offset, .. } = header.place;
        Sighting {
            spot: (segment, offset),
            end: offset + group.len,
            sequence: header.sequence,
            start: header.start,
            found: header.found,
            durable_through: header.durable_through,
            digest: group.digest,
            previous: header.previous,
            is_intact,
        }
    }
}

/// A part of a segment in memory.
#[derive(Default)]
struct Window {
    offset: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// The block at a place; `None` if the medium does not give it back.
    fn block<D: Disk>(
        &mut self,
        disk: &D,
        place: Place,
        end: u64,
    ) -> Result<Option<&[u8]>, StorageError> {
        let Place { segment, offset, .. } = place;
        if !(self.offset..self.offset + self.bytes.len() as u64).contains(&offset) {
            let is_read = self.read(disk, segment, offset, READ_BYTES.min(end - offset))?
                || self.read(disk, segment, offset, BLOCK)?;
            if !is_read {
                return Ok(None);
            }
        }
        let from = usize::try_from(offset - self.offset).unwrap_or(usize::MAX);
        Ok(self.bytes.get(from..from + BLOCK as usize))
    }

    fn read<D: Disk>(
        &mut self,
        disk: &D,
        segment: u64,
        offset: u64,
        len: u64,
    ) -> Result<bool, StorageError> {
        self.offset = offset;
        self.bytes.resize(usize::try_from(len).unwrap_or(0), 0);
        match group::read(disk, segment, offset, &mut self.bytes) {
            Ok(()) => Ok(true),
            Err(error) if error.is_damaged_medium() => {
                self.bytes.clear();
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
