//! Which of the groups on a damaged disk are the log's.
//!
//! A group is *dead* if it was cut off: a torn one that was left behind, or one that could not be
//! read once and can be read again. Every group tells which start of the process wrote it, and what
//! that start had found: whatever an earlier start wrote beyond that is dead. Of the rest, the last
//! one by sequence is the end of the log, and the digest of the previous header leads from each
//! group to the one before it. Where that one is lost, the next lower one goes on.

use std::collections::BTreeMap;

use quorate_core::Digest;

use super::survey::Sighting;
use crate::meta::Meta;

/// What each start of the process had found.
#[derive(Clone, Debug)]
pub(super) struct Starts {
    found: BTreeMap<u64, u64>,
    /// The last group that the last start found.
    last_found: (u64, Digest),
}

impl Starts {
    pub(super) fn new(meta: &Meta) -> Starts {
        Starts {
            found: BTreeMap::from([(meta.lineage.latest().count, meta.found.0)]),
            last_found: meta.found,
        }
    }

    /// A start found everything up to this sequence.
    pub(super) fn learn(&mut self, start: u64, found: u64) {
        self.found.insert(start, found);
    }

    /// True if a group was cut off.
    pub(super) fn is_dead(&self, start: u64, sequence: u64, digest: Digest) -> bool {
        let is_other = sequence == self.last_found.0 && digest != self.last_found.1;
        is_other || self.found.range(start + 1..).any(|(_, found)| *found < sequence)
    }
}

/// The groups of the log which are left, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) groups: Vec<Sighting>,
    /// The highest sequence that is vouched for.
    pub(super) vouched: u64,
}

impl Chain {
    /// Chooses from all groups that were found. `vouched` is what is vouched for elsewhere.
    pub(super) fn of(mut found: Vec<Sighting>, starts: &mut Starts, vouched: u64) -> Chain {
        found.iter().for_each(|group| starts.learn(group.start, group.found));
        found.retain(|group| !starts.is_dead(group.start, group.sequence, group.digest));
        found.sort_by_key(|group| std::cmp::Reverse(group.sequence));
        let vouched = found.iter().map(|group| group.durable_through).fold(vouched, u64::max);
        let by_digest: BTreeMap<Digest, u64> =
            found.iter().map(|group| (group.digest, group.sequence)).collect();
        // What is damaged and was not vouched for may be a torn write.
        let mut found =
            found.into_iter().skip_while(|group| !group.is_intact && group.sequence > vouched);
        let mut groups: Vec<Sighting> = found.next().into_iter().collect();
        for group in found {
            let Some(next) = groups.last() else { break };
            let is_previous = match by_digest.get(&next.previous) {
                Some(sequence) if *sequence < next.sequence => group.digest == next.previous,
                // The one before it is lost.
                _ => group.sequence + 1 < next.sequence,
            };
            if is_previous {
                groups.push(group);
            }
        }
        groups.reverse();
        Chain { groups, vouched }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::fixture::identity;
    use quorate_core::Lineage;

    fn digest(name: u64) -> Digest {
        Digest::of(&name.to_le_bytes())
    }

    /// A group which is named by its sequence, plus 100 for each earlier history.
    fn group(name: u64, previous: u64, start: u64, found: u64) -> Sighting {
        Sighting {
            spot: (1, name * 4096),
            end: (name + 1) * 4096,
            sequence: name % 100,
            start,
            found,
            durable_through: name % 100 - 1,
            digest: digest(name),
            previous: if previous == 0 { Digest::ZERO } else { digest(previous) },
            is_intact: true,
        }
    }

    fn meta(starts: u64, found: u64) -> Meta {
        let found = (found, digest(found));
        let mut lineage = Lineage::default();
        (1..=starts).for_each(|nonce| lineage.begin(nonce));
        Meta { lineage, found, ..Meta::founded(identity()) }
    }

    fn chosen(meta: &Meta, groups: &[Sighting]) -> Vec<u64> {
        let chain = Chain::of(groups.to_vec(), &mut Starts::new(meta), 0);
        let name = |group: &Sighting| group.spot.1 / 4096;
        chain.groups.iter().map(name).collect()
    }

    #[test]
    fn the_groups_on_both_sides_of_lost_ones_are_taken() {
        let all: Vec<_> = (1..=9).map(|n| group(n, n - 1, 1, 0)).collect();
        assert_eq!(chosen(&meta(1, 0), &all), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        for lost in 1..1 << 9u64 {
            let left: Vec<_> =
                all.iter().filter(|g| lost >> (g.sequence - 1) & 1 == 0).copied().collect();
            let names: Vec<u64> = left.iter().map(|group| group.sequence).collect();
            assert_eq!(chosen(&meta(1, 0), &left), names);
        }
    }

    #[test]
    fn what_an_earlier_start_wrote_beyond_what_the_next_one_found_is_dead() {
        // Start 1 wrote 1 to 3 and 104 to 106, which start 2 did not find.
        let old: Vec<_> = (1..=3).map(|n| group(n, n - 1, 1, 0)).collect();
        let dead = [group(104, 3, 1, 0), group(105, 104, 1, 0), group(106, 105, 1, 0)];
        let new: Vec<_> = (7..=9).map(|n| group(n, if n == 7 { 3 } else { n - 1 }, 2, 3)).collect();
        for lost in 0..1 << 3 {
            let left = new.iter().filter(|g| lost >> (g.sequence - 7) & 1 == 0);
            let left: Vec<Sighting> = left.copied().collect();
            let groups: Vec<_> = old.iter().chain(&dead).chain(&left).copied().collect();
            let names: Vec<u64> = old.iter().chain(&left).map(|group| group.sequence).collect();
            // The start that wrote the latest groups is the last, or others came after it.
            assert_eq!(chosen(&meta(2, 3), &groups), names);
            if !left.is_empty() {
                assert_eq!(chosen(&meta(3, 9), &groups), names);
            }
        }
    }

    #[test]
    fn a_group_in_the_place_of_the_one_that_was_found_is_dead() {
        let groups = [group(1, 0, 1, 0), group(102, 1, 1, 0)];
        assert_eq!(chosen(&meta(3, 2), &groups), [1]);
    }

    #[test]
    fn a_group_which_the_one_behind_it_does_not_name_is_left_out() {
        let named = [group(1, 0, 1, 0), group(2, 1, 1, 0), group(3, 2, 1, 0)];
        // In whatever order they are found: both are the second of the log.
        let other = group(102, 1, 1, 0);
        for at in 0..=named.len() {
            let mut groups = named.to_vec();
            groups.insert(at, other);
            assert_eq!(chosen(&meta(1, 0), &groups), [1, 2, 3]);
        }
    }

    #[test]
    fn a_group_of_another_history_does_not_stand_in_for_a_lost_one() {
        let groups = [group(1, 0, 1, 0), group(102, 1, 1, 0), group(3, 2, 1, 0)];
        assert_eq!(chosen(&meta(1, 0), &groups), [1, 3]);
    }

    #[test]
    fn a_damaged_group_that_nobody_vouches_for_is_not_the_end() {
        let mut groups: Vec<_> = (1..=3).map(|n| group(n, n - 1, 1, 0)).collect();
        groups[2].is_intact = false;
        assert_eq!(chosen(&meta(1, 0), &groups), [1, 2]);
        let chain = Chain::of(groups, &mut Starts::new(&meta(1, 0)), 3);
        assert_eq!((chain.groups.len(), chain.vouched), (3, 3));
    }
}
