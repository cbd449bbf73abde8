//! How far back the log was cut off, and when.

use quorate_core::Index;

use crate::codec::{Put, Take, as_usize};

/// For any earlier group: how much of the log as of then is still part of it.
///
/// If groups are lost, this tells what they may have cut off. Deep cuts make shallower ones
/// before them irrelevant, so what is kept ascends in both, sequence and index. Of very many cuts
/// the oldest are taken together, at the depth of the deepest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cuts(Vec<Cut>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut {
    /// The group that did it.
    sequence: u64,
    /// What stood behind was cut off.
    keep: Index,
}

impl Cuts {
    const MAX: usize = 8;
    const CUT_LEN: usize = 16;

    /// The group of this sequence, the latest, cuts off what stands behind `keep`.
    pub(crate) fn add(&mut self, sequence: u64, keep: Index) {
        while self.0.pop_if(|cut| cut.keep >= keep).is_some() {}
        if self.0.last().is_some_and(|cut| cut.sequence == sequence) {
            return;
        }
        self.0.push(Cut { sequence, keep });
        if self.0.len() > Self::MAX {
            let deepest = self.0.remove(0);
            self.0[0].keep = deepest.keep;
        }
    }

    /// Behind which entry the groups that came after `after` and before `before` cut off what
    /// there was; `None` if they cut off nothing.
    pub(crate) fn deepest_between(&self, after: u64, before: u64) -> Option<Index> {
        let cut = self.0.iter().find(|cut| cut.sequence > after)?;
        (cut.sequence < before).then_some(cut.keep)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// What they take in a group's header, in bytes.
    pub(super) fn encoded_len(&self) -> usize {
        self.0.len() * Self::CUT_LEN
    }

    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        for cut in &self.0 {
            bytes.put_u64(cut.sequence);
            bytes.put_u64(cut.keep.0);
        }
    }

    pub(super) fn decode(take: &mut Take<'_>, count: u32) -> Option<Cuts> {
        let count = as_usize(count);
        let mut cuts = Vec::with_capacity(count.min(Self::MAX));
        for _ in 0..count {
            cuts.push(Cut { sequence: take.count()?, keep: Index(take.count()?) });
        }
        let ascends =
            |pair: &[Cut]| pair[0].sequence < pair[1].sequence && pair[0].keep < pair[1].keep;
        (count <= Self::MAX && cuts.windows(2).all(ascends)).then_some(Cuts(cuts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::fixture::Random;

    #[test]
    fn a_cut_lies_between_the_groups_before_and_behind_it() {
        let mut cuts = Cuts::default();
        cuts.add(5, Index(10));
        let told =
            [(4, 6), (5, 6), (4, 5)].map(|(after, before)| cuts.deepest_between(after, before));
        assert_eq!(told, [Some(Index(10)), None, None]);
    }

    #[test]
    fn of_many_cuts_the_latest_are_told_apart() {
        let mut cuts = Cuts::default();
        for sequence in 1..=9 {
            cuts.add(sequence, Index(sequence));
            assert_eq!(cuts.len(), 8.min(sequence as usize));
        }
        let told = [0, 1, 2, 3].map(|after| cuts.deepest_between(after, 99));
        assert_eq!(told, [1, 1, 3, 4].map(|keep| Some(Index(keep))));
    }

    #[test]
    fn cuts_that_do_not_ascend_or_are_too_many_are_refused() {
        let decode = |cuts: &[(u64, u64)]| {
            let mut bytes = Vec::new();
            Cuts(
                cuts.iter()
                    .map(|(sequence, keep)| Cut { sequence: *sequence, keep: Index(*keep) })
                    .collect(),
            )
            .encode(&mut bytes);
            Cuts::decode(&mut Take(&bytes), cuts.len() as u32).is_some()
        };
        assert!(decode(&[]) && decode(&[(1, 1), (3, 2)]));
        for wrong in [[(1, 1), (1, 2)], [(1, 1), (2, 1)], [(2, 1), (1, 2)], [(1, 2), (2, 1)]] {
            assert!(!decode(&wrong), "{wrong:?}");
        }
        let many: Vec<(u64, u64)> = (1..=9).map(|at| (at, at)).collect();
        assert!(decode(&many[..8]) && !decode(&many));
    }

    #[test]
    fn cuts_are_told_exactly_or_as_deeper_than_they_were() {
        let mut random = Random(5);
        let mut exact = 0;
        for _ in 0..200 {
            let (mut cuts, mut all) = (Cuts::default(), Vec::new());
            for sequence in 1..=40 {
                for _ in 0..random.below(3) {
                    let keep = Index(random.below(60));
                    cuts.add(sequence, keep);
                    all.push((sequence, keep));
                }
                // What the latest group itself cuts off is known: it is there.
                let own = all.iter().filter(|(at, _)| *at == sequence).map(|(_, keep)| *keep).min();
                for after in 0..sequence {
                    let between = all.iter().filter(|(at, _)| *at > after && *at < sequence);
                    let between = between.map(|(_, keep)| *keep).min();
                    let told = cuts.deepest_between(after, sequence);
                    let never = Index(99);
                    let depth = |cut: Option<Index>| cut.unwrap_or(never).min(own.unwrap_or(never));
                    assert!(depth(told) <= depth(between), "{all:?} {cuts:?} {after}");
                    exact += u32::from(depth(told) == depth(between));
                }
            }
        }
        assert!(exact > 100_000, "{exact}");
    }
}
