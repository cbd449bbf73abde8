//! A value with its hash, computed once.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

/// A shared value and its 128-bit hash, which stands for it: two values with the same hash are
/// taken for the same.
#[derive(Debug)]
pub(crate) struct Hashed<T> {
    value: Arc<T>,
    hash: u128,
}

impl<T: Hash> Hashed<T> {
    pub(crate) fn new(value: T) -> Hashed<T> {
        let hash = hash_of(&value);
        Hashed { value: Arc::new(value), hash }
    }
}

impl<T> Hashed<T> {
    pub(crate) fn identity(&self) -> u128 {
        self.hash
    }

    /// The hash in half the bits.
    pub(crate) fn short(&self) -> u64 {
        (self.hash ^ (self.hash >> 64)) as u64
    }
}

impl<T> Clone for Hashed<T> {
    fn clone(&self) -> Hashed<T> {
        Hashed { value: Arc::clone(&self.value), hash: self.hash }
    }
}

impl<T> std::ops::Deref for Hashed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> PartialEq for Hashed<T> {
    fn eq(&self, other: &Hashed<T>) -> bool {
        self.hash == other.hash
    }
}

impl<T> Eq for Hashed<T> {}

impl<T> Hash for Hashed<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.hash);
    }
}

/// The hash of a value, the same on every run.
pub(crate) fn hash_of(value: &impl Hash) -> u128 {
    let mut hasher = Digester(Xxh3::new());
    value.hash(&mut hasher);
    hasher.0.digest128()
}

struct Digester(Xxh3);

impl Hasher for Digester {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        self.0.digest()
    }
}

/// Spreads a number over all its bits, so that sums of such numbers tell multisets apart.
pub(crate) fn spread(number: u64) -> u64 {
    let mut mixed = number ^ (number >> 32);
    mixed = mixed.wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^= mixed >> 32;
    mixed = mixed.wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ (mixed >> 32)
}
