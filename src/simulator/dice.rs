//! Chance that stays the same: from a seed and the name of what is thrown for.
//!
//! A generator of our own, SplitMix64, because the same seed must give the same world after every
//! upgrade, which `rand` does not promise. Each question throws its own dice, so that a new one
//! changes no other answer.

/// A row of throws.
#[derive(Clone, Debug)]
pub(in crate::simulator) struct Dice(u64);

impl Dice {
    /// The dice for one question, told apart by `about`.
    pub fn new(seed: u64, about: &[u64]) -> Self {
        let mut dice = Self(seed);
        for part in about {
            dice.0 = dice.next().wrapping_add(*part);
        }
        dice
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 up to, not including, 1.
    pub fn unit(&mut self) -> f64 {
        // The 53 bits that a double holds exactly.
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn chance(&mut self, share: f64) -> bool {
        self.unit() < share
    }

    /// From `least` up to, not including, `most`.
    pub fn between(&mut self, least: i64, most: i64) -> i64 {
        let width = u64::try_from(most - least).unwrap_or(1).max(1);
        least + i64::try_from(self.next() % width).unwrap_or(0)
    }

    /// Around `centre`, at most `spread` away, the nearer the likelier.
    pub fn around(&mut self, centre: i64, spread: i64) -> i64 {
        centre + (self.between(-spread, spread + 1) + self.between(-spread, spread + 1)) / 2
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[usize::try_from(self.next() % from.len() as u64).unwrap_or(0)]
    }
}
