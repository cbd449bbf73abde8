//! The generator of pseudo-random numbers: our own and frozen, so that a seed names the same run
//! in every release. (The generators of the `rand` crate may change between releases.)

use std::time::Duration;

/// xoshiro256** (Blackman and Vigna 2018), seeded through SplitMix64. Each component of the
/// simulator draws from a generator of its own, so that a change in one of them does not
/// reshuffle what the others do under the same seed.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

/// One million: chances are given in parts of it, since floating-point numbers do not round the
/// same everywhere.
pub(crate) const MILLION: u32 = 1_000_000;

impl Rng {
    /// The generator of a component under a seed.
    pub(crate) fn new(seed: u64, component: &str) -> Rng {
        // FNV-1a of the component's name keeps the components' streams apart.
        let name = component.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let mut mixer = seed ^ name;
        let mut split_mix = || {
            mixer = mixer.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (mixer ^ (mixer >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        Rng { state: [split_mix(), split_mix(), split_mix(), split_mix()] }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number below `limit`. The bias for limits far below 2^64 is of no consequence here.
    ///
    /// # Panics
    /// If `limit` is zero.
    pub fn below(&mut self, limit: u64) -> u64 {
        assert!(limit > 0, "there is no number below zero");
        ((u128::from(self.bits()) * u128::from(limit)) >> 64) as u64
    }

    /// A number from `from` to `to`, both included.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// A position in a slice of this length.
    pub fn position(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// True in `ppm` of a million cases.
    pub fn chance(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.below(u64::from(MILLION)) < u64::from(ppm)
    }

    /// True in one of `n` cases.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// A duration between the two, in whole microseconds.
    pub fn duration(&mut self, from: Duration, to: Duration) -> Duration {
        let (from, to) = (from.as_micros() as u64, to.as_micros() as u64);
        Duration::from_micros(self.between(from, to.max(from)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_numbers_for_ever() {
        let mut rng = Rng::new(1, "network");
        let drawn = [rng.bits(), rng.bits(), rng.bits()];
        assert_eq!(drawn, GOLDEN, "seeds noted in reports would no longer mean the same runs");
    }

    const GOLDEN: [u64; 3] =
        [1_927_002_826_824_336_709, 14_656_539_408_204_888_012, 15_637_479_455_730_940_567];

    #[test]
    fn components_draw_from_streams_of_their_own() {
        assert_ne!(Rng::new(1, "network").bits(), Rng::new(1, "disk").bits());
        assert_ne!(Rng::new(1, "network").bits(), Rng::new(2, "network").bits());
    }

    #[test]
    fn draws_stay_within_their_limits_and_reach_them() {
        let mut rng = Rng::new(7, "test");
        let drawn: std::collections::BTreeSet<u64> = (0..1000).map(|_| rng.between(3, 6)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [3, 4, 5, 6]);
        assert!(!rng.chance(0));
        assert!(rng.chance(MILLION));
    }
}
