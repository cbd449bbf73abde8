//! One file, sector by sector: what can be read, what is on the medium, and what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::faults::DiskFaults;
use crate::rng::Rng;

/// The unit in which a disk writes, in bytes.
pub(super) const SECTOR: usize = 512;

#[derive(Clone, Default)]
pub(super) struct File {
    pub(super) bytes: Vec<u8>,
    synced_len: usize,
    /// What was in sectors before they were written to, since the last sync: the sector's number,
    /// and its content at the same position in `before`. A sector written to several times is
    /// there several times.
    overwritten: Vec<usize>,
    before: Vec<u8>,
    /// The sectors of the last sync that had anything to do.
    last_synced: Vec<usize>,
    /// What is on the medium where a sync failed, although what was written can still be read.
    cached_only: BTreeMap<usize, Vec<u8>>,
    /// Sectors that the medium does not give back.
    unreadable: BTreeSet<usize>,
    /// Sectors that hold something else than was written to them, or nothing that can be read.
    damaged: BTreeSet<usize>,
}

/// What a crash has taken of what was not synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Loss {
    /// Anything: sectors, or changes of names.
    pub(crate) is_any: bool,
    /// A sector is a mixture of two of its versions.
    pub(crate) is_torn: bool,
    /// A sector is lost, and another one of the same file is there that was written later, or behind it by
    /// the same write.
    pub(crate) is_out_of_order: bool,
}

/// What was in a sector before it was damaged.
pub(super) struct Unharmed {
    sector: usize,
    content: Vec<u8>,
    was_damaged: bool,
    was_unreadable: bool,
}

impl Loss {
    /// This loss and another one.
    pub(super) fn and(self, other: Loss) -> Loss {
        Loss {
            is_any: self.is_any | other.is_any,
            is_torn: self.is_torn | other.is_torn,
            is_out_of_order: self.is_out_of_order | other.is_out_of_order,
        }
    }
}

impl File {
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        let sectors = offset / SECTOR..end.div_ceil(SECTOR);
        if self.bytes.len() < sectors.end * SECTOR {
            // What lies behind the end of the file is zero, as far as anybody can tell.
            let len = self.bytes.len().max(end);
            self.bytes.resize(sectors.end * SECTOR, 0);
            self.remember(sectors);
            self.bytes.truncate(len);
        } else {
            self.remember(sectors);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
        if !self.damaged.is_empty() {
            for sector in offset.div_ceil(SECTOR)..end / SECTOR {
                self.damaged.remove(&sector);
                self.unreadable.remove(&sector);
            }
        }
    }

    fn remember(&mut self, sectors: Range<usize>) {
        if self.cached_only.is_empty() {
            let bytes = sectors.start * SECTOR..sectors.end * SECTOR;
            self.before.extend_from_slice(&self.bytes[bytes]);
        } else {
            for sector in sectors.clone() {
                match self.cached_only.remove(&sector) {
                    Some(on_medium) => self.before.extend(on_medium),
                    None => self.before.extend_from_slice(&self.bytes[sector * SECTOR..][..SECTOR]),
                }
            }
        }
        self.overwritten.extend(sectors);
    }

    /// True if anything was written since the last sync.
    pub(super) fn sync(&mut self) -> bool {
        let wrote = !self.overwritten.is_empty();
        if wrote {
            std::mem::swap(&mut self.last_synced, &mut self.overwritten);
        }
        self.forget_unsynced();
        wrote
    }

    fn forget_unsynced(&mut self) {
        self.synced_len = self.bytes.len();
        self.overwritten.clear();
        self.before.clear();
    }

    /// A sync fails: some of what was written is on the medium and some is not, and nobody will
    /// try again, since all of it counts as written.
    pub(super) fn fail_to_sync(&mut self, rng: &mut Rng) {
        for (sector, versions) in self.versions() {
            if rng.one_in(2) {
                let mut on_medium = self.before[versions[0] * SECTOR..][..SECTOR].to_vec();
                on_medium.resize(SECTOR, 0);
                self.cached_only.insert(sector, on_medium);
            }
        }
        self.forget_unsynced();
    }

    /// From here on, what is read is what is on the medium.
    pub(super) fn drop_cache(&mut self) {
        for (sector, on_medium) in std::mem::take(&mut self.cached_only) {
            let range = self.range(sector);
            let len = range.len();
            self.bytes[range].copy_from_slice(&on_medium[..len]);
        }
    }

    fn range(&self, sector: usize) -> Range<usize> {
        let start = (sector * SECTOR).min(self.bytes.len());
        start..self.bytes.len().min(start + SECTOR)
    }

    /// For each unsynced sector where its older versions are, the oldest first.
    fn versions(&self) -> BTreeMap<usize, Vec<usize>> {
        let mut versions: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (position, sector) in self.overwritten.iter().enumerate() {
            versions.entry(*sector).or_default().push(position);
        }
        versions
    }

    pub(super) fn crash(&mut self, rng: &mut Rng, faults: &DiskFaults) -> Loss {
        let mut len = self.synced_len;
        let mut loss = Loss::default();
        // By when they were written last.
        let (mut first_lost, mut last_kept) = (usize::MAX, 0);
        for (sector, older) in self.versions() {
            let start = sector * SECTOR;
            let end = self.bytes.len().min(start + SECTOR);
            let written = *older.last().expect("a sector is here since it was written to");
            if rng.chance(faults.kept_ppm) {
                len = len.max(end);
                last_kept = last_kept.max(written);
                continue;
            }
            first_lost = first_lost.min(written);
            let version = older[rng.position(older.len())] * SECTOR;
            let torn = if rng.chance(faults.torn_ppm) { rng.position(end - start) } else { 0 };
            loss.is_torn |= torn > 0;
            if torn > 0 || version != older[0] * SECTOR {
                // Some of it was written, so the file reaches that far.
                len = len.max(end);
            }
            let old = &self.before[version..version + (end - start)];
            self.bytes[start + torn..end].copy_from_slice(&old[torn..]);
        }
        self.bytes.truncate(len);
        self.bytes.resize(len, 0);
        // What was acknowledged last is still what was synced last.
        self.forget_unsynced();
        loss.is_any = first_lost < usize::MAX;
        loss.is_out_of_order = first_lost < last_kept;
        loss
    }

    pub(super) fn can_be_read(&self, bytes: Range<usize>) -> bool {
        let sectors = bytes.start / SECTOR..bytes.end.div_ceil(SECTOR);
        self.unreadable.is_empty() || self.unreadable.range(sectors).next().is_none()
    }

    pub(super) fn is_damaged(&self) -> bool {
        !self.damaged.is_empty()
    }

    /// True if anything of the last sync that had anything to do is damaged.
    pub(super) fn is_last_damaged(&self) -> bool {
        self.last_synced.iter().any(|sector| self.damaged.contains(sector))
    }

    /// Sectors that were synced, and hold something. With `spare_last` none of the last sync: a disk is
    /// trusted with what it has just written until something vouches for that.
    pub(super) fn vulnerable(&self, within: Range<usize>, spare_last: bool) -> Vec<usize> {
        let whole = self.bytes.len() / SECTOR;
        let is_spared = |sector: &usize| {
            self.overwritten.contains(sector)
                || self.cached_only.contains_key(sector)
                || spare_last && self.last_synced.contains(sector)
        };
        (within.start.min(whole)..within.end.min(whole))
            .filter(|sector| self.bytes[sector * SECTOR..][..SECTOR].iter().any(|byte| *byte != 0))
            .filter(|sector| !is_spared(sector))
            .collect()
    }

    /// Bits of a sector flip.
    pub(super) fn flip(&mut self, sector: usize, rng: &mut Rng) -> Unharmed {
        let unharmed = self.harm(sector);
        for _ in 0..rng.between(1, 3) {
            let byte = sector * SECTOR + rng.position(SECTOR);
            self.bytes[byte] ^= 1 << rng.below(8);
        }
        if self.bytes[sector * SECTOR..][..SECTOR] == unharmed.content {
            self.bytes[sector * SECTOR] ^= 1;
        }
        unharmed
    }

    /// The medium does not give a sector back.
    pub(super) fn make_unreadable(&mut self, sector: usize) -> Unharmed {
        let unharmed = self.harm(sector);
        self.unreadable.insert(sector);
        unharmed
    }

    /// A sector holds this, which is meant for another place.
    pub(super) fn replace(&mut self, sector: usize, content: &[u8]) -> Unharmed {
        let unharmed = self.harm(sector);
        self.bytes[sector * SECTOR..][..SECTOR].copy_from_slice(content);
        unharmed
    }

    pub(super) fn sector(&self, sector: usize) -> &[u8] {
        &self.bytes[sector * SECTOR..][..SECTOR]
    }

    fn harm(&mut self, sector: usize) -> Unharmed {
        Unharmed {
            sector,
            content: self.sector(sector).to_vec(),
            was_damaged: !self.damaged.insert(sector),
            was_unreadable: self.unreadable.contains(&sector),
        }
    }

    /// As if the damage had not been done.
    pub(super) fn restore(&mut self, unharmed: Unharmed) {
        let Unharmed { sector, content, was_damaged, was_unreadable } = unharmed;
        self.bytes[sector * SECTOR..][..SECTOR].copy_from_slice(&content);
        if !was_damaged {
            self.damaged.remove(&sector);
        }
        if !was_unreadable {
            self.unreadable.remove(&sector);
        }
    }
}
