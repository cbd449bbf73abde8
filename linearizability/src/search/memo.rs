//! Which configurations were entered before.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use super::candidates::Linearized;

/// Which operations of unknown outcome are used. The last word is not zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PendingSet(Vec<u64>);

impl PendingSet {
    pub(super) fn contains(&self, number: usize) -> bool {
        self.0.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    pub(super) fn insert(&mut self, number: usize) {
        if self.0.len() <= number / 64 {
            self.0.resize(number / 64 + 1, 0);
        }
        self.0[number / 64] |= 1 << (number % 64);
    }

    pub(super) fn remove(&mut self, number: usize) {
        self.0[number / 64] &= !(1 << (number % 64));
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn is_subset_of(&self, other: &PendingSet) -> bool {
        self.0.len() <= other.0.len()
            && self.0.iter().zip(&other.0).all(|(mine, theirs)| mine & !theirs == 0)
    }
}

/// For each set of linearized operations and state, the smallest sets of used operations of unknown
/// outcome with which it was entered. No one of these is part of another.
pub(super) struct Memo<S> {
    entered: HashMap<Configuration<S>, Smallest, BuildHasherDefault<Mixer>>,
    bytes_left: usize,
}

#[derive(PartialEq, Eq, Hash)]
struct Configuration<S> {
    first_left: usize,
    linearized: Box<[u64]>,
    state: S,
}

/// Mostly there is just one.
struct Smallest {
    one: PendingSet,
    others: Vec<PendingSet>,
}

impl<S: Clone + Eq + Hash> Memo<S> {
    pub(super) fn new(bytes: usize) -> Memo<S> {
        Memo { entered: HashMap::default(), bytes_left: bytes }
    }

    /// True if it is worth entering. `None` if there is no room to remember it.
    pub(super) fn enter(
        &mut self,
        linearized: &Linearized,
        state: &S,
        used: &PendingSet,
    ) -> Option<bool> {
        let (first_left, linearized) = linearized.key();
        let words = linearized.len() + used.0.len();
        let configuration = Configuration { first_left, linearized, state: state.clone() };
        let bytes = match self.entered.entry(configuration) {
            Entry::Vacant(entry) => {
                entry.insert(Smallest { one: used.clone(), others: Vec::new() });
                // Besides, tables are twice as large as what is in them.
                2 * (size_of::<(Configuration<S>, Smallest)>() + 1) + words * 8
            }
            Entry::Occupied(mut entry) => {
                let Smallest { one, others } = entry.get_mut();
                if one.is_subset_of(used) || others.iter().any(|other| other.is_subset_of(used)) {
                    return Some(false);
                }
                others.retain(|other| !used.is_subset_of(other));
                if used.is_subset_of(one) {
                    *one = used.clone();
                } else {
                    others.push(used.clone());
                }
                2 * size_of::<PendingSet>() + words * 8
            }
        };
        self.make_room(bytes)?;
        Some(true)
    }

    /// Counts so many bytes as taken. `None` if there are not so many left.
    pub(super) fn make_room(&mut self, bytes: usize) -> Option<()> {
        self.bytes_left = self.bytes_left.checked_sub(bytes)?;
        Some(())
    }
}

/// A quick hash: nobody has an interest in collisions, and most keys are two words.
#[derive(Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let word = self.0.rotate_left(29) ^ word ^ 0x9e37_79b9_7f4a_7c15;
        let product = u128::from(word) * 0xd6e8_feb8_6659_fd93;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::candidates::Candidates;

    fn set(numbers: &[usize]) -> PendingSet {
        let mut set = PendingSet::default();
        numbers.iter().for_each(|number| set.insert(*number));
        set
    }

    #[test]
    fn what_uses_no_less_than_before_is_not_entered_again() {
        let none = Candidates::new(std::iter::empty());
        let mut memo = Memo::new(1 << 20);
        let mut enter =
            |state: u64, used: &[usize]| memo.enter(none.linearized(), &state, &set(used)).unwrap();
        assert!(enter(1, &[3, 70]));
        assert!(!enter(1, &[3, 70]));
        assert!(!enter(1, &[3, 4, 70]));
        assert!(enter(2, &[3, 4, 70]));
        assert!(enter(1, &[4, 200]));
        assert!(!enter(1, &[4, 70, 200]));
        assert!(enter(1, &[70]));
        assert!(!enter(1, &[3, 70]));
        assert!(enter(1, &[]));
        assert!(!enter(1, &[4, 200]));
    }

    #[test]
    fn a_set_is_the_same_whatever_was_in_it_for_a_while() {
        let mut other = set(&[3, 500]);
        other.remove(500);
        assert_eq!(other, set(&[3]));
        assert!(other.contains(3) && !other.contains(500));
    }

    #[test]
    fn it_says_when_there_is_no_room() {
        let none = Candidates::new(std::iter::empty());
        let mut memo = Memo::new(1000);
        let entered: Vec<Option<bool>> =
            (0..20_u64).map(|state| memo.enter(none.linearized(), &state, &set(&[]))).collect();
        assert_eq!(entered[0], Some(true));
        assert_eq!(entered[19], None);
    }
}
