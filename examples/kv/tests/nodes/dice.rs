//! What a test leaves to chance, the same for the same seed.

/// A number from the environment, if it is given there.
pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

pub struct Dice(u64);

impl Dice {
    /// SEED=7 in the environment for other throws.
    pub fn seeded() -> Dice {
        let seed = number("SEED", 1);
        println!("SEED={seed}");
        Dice(seed)
    }

    /// From 0 up to, not including, the number of sides.
    pub fn throw(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}
