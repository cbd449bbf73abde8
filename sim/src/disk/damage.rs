//! What happens to data that was written, synced and good: bits flip, sectors are not given back,
//! and a write meant for one place lands in another.

use std::ops::Range;

use super::file::{SECTOR, Unharmed};
use super::{File, Inner, META, SimDisk, is_log};
use crate::rng::Rng;

/// What of a directory is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The write-ahead log. Its last group is spared unless something vouches for it: before, damage
    /// to it is promised to be noticed by nobody.
    Log,
    /// A complete snapshot.
    Snapshot,
    /// One copy of the meta file, or the two that are written together, if the others are sound.
    Meta,
}

/// What becomes of the sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// One to three bits of a sector flip.
    Flipped,
    /// Up to 16 sectors in a row cannot be read.
    Unreadable,
    /// One to eight blocks were written in the place of others.
    Misdirected,
}

/// Damage that was done, and can be taken back as if it had not been.
pub(crate) struct Wound {
    file: u64,
    unharmed: Vec<Unharmed>,
}

/// The unit in which the log is written, in sectors.
const BLOCK: usize = 4096 / SECTOR;

/// How many copies the meta file has, a block each.
const META_COPIES: u64 = 4;

impl SimDisk {
    /// Damages something at random. `None` if there is nothing that may be damaged.
    pub(crate) fn damage(&self, part: Part, damage: Damage, rng: &mut Rng) -> Option<Wound> {
        let inner = &mut *self.inner();
        let is_of_part = |name: &&String| match part {
            Part::Log => is_log(name),
            Part::Snapshot => name.starts_with("snap-"),
            Part::Meta => *name == META,
        };
        let numbers: Vec<u64> = inner
            .synced_names
            .iter()
            .filter(|(name, number)| is_of_part(name) && inner.names.get(*name) == Some(number))
            .map(|(_, number)| *number)
            .collect();
        if numbers.is_empty() {
            return None;
        }
        let number = numbers[rng.position(numbers.len())];
        let is_last_damaged = inner.files.values().any(File::is_last_damaged);
        let file = inner.files.get(&number)?;
        let within = match part {
            Part::Log | Part::Snapshot => 0..usize::MAX,
            Part::Meta if file.is_damaged() || is_last_damaged => return None,
            Part::Meta => {
                let copies = if rng.one_in(3) { 2 } else { 1 };
                let first = rng.below(META_COPIES / copies) * copies;
                first as usize * BLOCK..(first + copies) as usize * BLOCK
            }
        };
        inner.damage(number, within, part == Part::Log, damage, rng)
    }

    /// Damages what stands there in a file of the log, in bytes. False if that may not be damaged.
    pub(crate) fn damage_log(
        &self,
        file: &str,
        place: Range<u64>,
        damage: Damage,
        rng: &mut Rng,
    ) -> bool {
        let inner = &mut *self.inner();
        let number = inner.synced_names.get(file).copied();
        let Some(number) = number.filter(|number| inner.names.get(file) == Some(number)) else {
            return false;
        };
        let within = place.start as usize / SECTOR..(place.end as usize).div_ceil(SECTOR);
        inner.damage(number, within, true, damage, rng).is_some()
    }

    /// Takes damage back.
    pub(crate) fn heal(&self, wound: Wound) {
        if let Some(file) = self.inner().files.get_mut(&wound.file) {
            wound.unharmed.into_iter().rev().for_each(|unharmed| file.restore(unharmed));
        }
    }

    /// True if any file holds something else than was written to it.
    pub(crate) fn is_damaged(&self) -> bool {
        self.inner().files.values().any(File::is_damaged)
    }
}

impl Inner {
    /// `within`: sectors of the file.
    fn damage(
        &mut self,
        file: u64,
        within: Range<usize>,
        is_log: bool,
        damage: Damage,
        rng: &mut Rng,
    ) -> Option<Wound> {
        // Damage to the last group is found by what vouches for it, and that is in the meta file.
        let spares_last = is_log && (!self.is_vouched_for || self.is_damaged(META));
        let content = self.files.get_mut(&file)?;
        let sectors = content.vulnerable(within, spares_last);
        let unharmed = content.damage(&sectors, damage, rng);
        (!unharmed.is_empty()).then_some(Wound { file, unharmed })
    }
}

impl File {
    fn damage(&mut self, sectors: &[usize], damage: Damage, rng: &mut Rng) -> Vec<Unharmed> {
        if sectors.is_empty() {
            return Vec::new();
        }
        let first = rng.position(sectors.len());
        match damage {
            Damage::Flipped => vec![self.flip(sectors[first], rng)],
            Damage::Unreadable => {
                let count = rng.between(1, 16) as usize;
                let row = sectors[first..].iter().take(count);
                row.map(|sector| self.make_unreadable(*sector)).collect()
            }
            Damage::Misdirected => {
                let (from, to) = (sectors[first] / BLOCK, rng.position(sectors.len()));
                let blocks = rng.between(1, 8) as usize;
                let to = sectors[to] / BLOCK;
                let moved = |sector: &usize| {
                    let place = (to * BLOCK..(to + blocks) * BLOCK).contains(sector);
                    place.then(|| sector - to * BLOCK + from * BLOCK)
                };
                let whole = self.bytes.len() / SECTOR;
                let moves: Vec<(usize, Vec<u8>)> = sectors
                    .iter()
                    .filter_map(|sector| Some((*sector, moved(sector)?)))
                    .filter(|(_, from)| *from < whole)
                    .map(|(sector, from)| (sector, self.sector(from).to_vec()))
                    .filter(|(sector, content)| self.sector(*sector) != content)
                    .collect();
                moves.iter().map(|(sector, content)| self.replace(*sector, content)).collect()
            }
        }
    }
}
