//! The fault atlas: what faults have taken from each disk, so that a good copy is left of
//! everything that the protocols promise to keep. With it, every loss is a bug.
//!
//! - A disk that is emptied, put back to an old image, or damaged where the log ends, has lost
//!   anything. A minority of the replicas may have at the same time.
//! - Damage to entries takes these entries. Each may be damaged on a minority.
//! - A replica has made it good once it is running, counts, has no gap in its log, and either all
//!   that was damaged was written anew, or the process was started since: then it has read
//!   everything that is of use.
//! - An old image is put back only where all others, each of whom may be the one to count its
//!   word, know of a later start of the process, and started only as often as that can be told: no
//!   other one can be noticed.

use std::sync::Arc;

use quorate_core::{Gap, Incarnation, Index, Lineage};

use crate::checks::DiskImage;
use crate::disk::SimDisk;

/// What faults have taken from a disk, and the replica has not made good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Harm {
    took: Took,
    /// In which life of the process, the last time.
    life: u64,
    /// The disk is an old image, and the replica does not know: the number of the last start of
    /// the process before it was taken.
    pub(crate) unnoticed: Option<u64>,
}

/// What was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Took {
    #[default]
    Nothing,
    /// These entries, first and last.
    Entries(Vec<(Index, Index)>),
    /// Nobody knows what.
    Anything,
}

/// What a disk held when its machine was off.
pub(crate) struct Image {
    pub(crate) disk: Arc<SimDisk>,
    pub(crate) held: DiskImage,
    pub(crate) incarnation: Incarnation,
    /// Which start of the process was the last one on it.
    pub(crate) start: u64,
}

impl Took {
    pub(crate) fn entries(gaps: &[Gap]) -> Took {
        match gaps {
            // Whatever it was, it was no entry.
            [] => Took::Anything,
            gaps => Took::Entries(gaps.iter().map(|gap| (gap.first, gap.last)).collect()),
        }
    }

    fn meets(&self, other: &Took) -> bool {
        match (self, other) {
            (Took::Nothing, _) | (_, Took::Nothing) => false,
            (Took::Anything, _) | (_, Took::Anything) => true,
            (Took::Entries(these), Took::Entries(those)) => {
                let meet = |a: &(Index, Index), b: &(Index, Index)| a.0 <= b.1 && b.0 <= a.1;
                these.iter().any(|a| those.iter().any(|b| meet(a, b)))
            }
        }
    }
}

impl Harm {
    pub(crate) fn is_none(&self) -> bool {
        self.took == Took::Nothing
    }

    /// Takes something more, in this life of the process.
    pub(crate) fn take(&mut self, took: Took, life: u64) {
        self.life = life;
        self.took = match (std::mem::take(&mut self.took), took) {
            (Took::Anything, _) | (_, Took::Anything) => Took::Anything,
            (Took::Nothing, took) | (took, Took::Nothing) => took,
            (Took::Entries(mut these), Took::Entries(those)) => {
                these.extend(those);
                Took::Entries(these)
            }
        };
    }

    /// True if the disk is an old image, and the replica does not know.
    pub(crate) fn is_unnoticed(&self) -> bool {
        self.unnoticed.is_some()
    }

    /// True if start number `start` of the process is one too many to be told from one on the disk
    /// which the image took the place of.
    pub(crate) fn is_past_noticing(&self, start: u64) -> bool {
        self.unnoticed.is_some_and(|image| start > image + Lineage::KEPT as u64)
    }

    /// True if a process that lives this life has read everything since.
    pub(crate) fn is_before(&self, life: u64) -> bool {
        self.life < life
    }
}

/// True if `node` may lose this, beside what all of them have lost.
pub(crate) fn allows<'a>(
    harms: impl ExactSizeIterator<Item = &'a Harm>,
    node: usize,
    took: &Took,
) -> bool {
    let most = harms.len().saturating_sub(1) / 2;
    let mut met = 0;
    for (other, harm) in harms.enumerate() {
        // Until it is noticed, nobody knows what is gone, and whoever knows of it is needed.
        if harm.is_unnoticed() {
            return false;
        }
        if other == node {
            continue;
        }
        met += usize::from(harm.took.meets(took));
    }
    met < most
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(first: u64, last: u64) -> Took {
        Took::Entries(vec![(Index(first), Index(last))])
    }

    fn harms(took: &[Took]) -> Vec<Harm> {
        took.iter().map(|took| Harm { took: took.clone(), ..Harm::default() }).collect()
    }

    #[test]
    fn a_minority_may_lose_anything() {
        let may = |harms: &[Harm], node| allows(harms.iter(), node, &Took::Anything);
        assert!(!may(&harms(&[Took::Nothing]), 0), "the only copy");
        assert!(!may(&harms(&[Took::Nothing, Took::Nothing]), 0), "both are a majority");
        let one = harms(&[Took::Nothing, entries(3, 4), Took::Nothing]);
        assert!(may(&one, 1) && !may(&one, 0));
        let five = |took: Took| {
            let nothing = || Took::Nothing;
            harms(&[took, Took::Anything, nothing(), nothing(), nothing()])
        };
        assert!(may(&five(Took::Nothing), 4) && !may(&five(entries(1, 1)), 4));
    }

    #[test]
    fn each_entry_may_be_damaged_on_a_minority() {
        let one = harms(&[Took::Nothing, entries(3, 4), Took::Nothing]);
        assert!(allows(one.iter(), 0, &entries(5, 9)));
        assert!(!allows(one.iter(), 0, &entries(1, 3)));
        assert!(allows(one.iter(), 1, &entries(1, 3)), "it is the same disk");
    }

    #[test]
    fn an_image_is_started_no_more_often_than_it_can_be_told() {
        let kept = Lineage::KEPT as u64;
        let image = Harm { unnoticed: Some(7), ..Harm::default() };
        assert!(!image.is_past_noticing(7 + kept) && image.is_past_noticing(8 + kept));
        assert!(!Harm::default().is_past_noticing(8 + kept));
    }

    #[test]
    fn nothing_is_taken_while_an_old_image_is_not_noticed() {
        let mut harms = harms(&[Took::Anything, Took::Nothing, Took::Nothing, Took::Nothing]);
        harms.push(Harm::default());
        assert!(allows(harms.iter(), 1, &Took::Anything));
        harms[0].unnoticed = Some(1);
        assert!(!allows(harms.iter(), 1, &Took::Anything));
        assert!(!allows(harms.iter(), 0, &Took::Anything));
    }
}
