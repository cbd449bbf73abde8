//! The keyspace: what each key holds, and what expires when.

use std::collections::BTreeSet;
use std::num::NonZeroU64;

use imbl::OrdMap;
use xxhash_rust::xxh3::xxh3_64;

use crate::blob::Blob;

/// All keys and values, each with an optional expiry.
///
/// * `entries` is persistent: cloning it takes a pointer, so a snapshot's view costs nothing, and
///   writes afterwards copy only the nodes on their way.
/// * `entries` is ordered by a hash of the key with a fixed seed. Every replica therefore iterates
///   in the same order, and a position in it fits into SCAN's 64-bit cursor, whatever the keys.
///   Keys whose hashes collide cost a comparison more, so crafted collisions gain nothing.
/// * `deadlines` holds exactly the entries with an expiry, the earliest first.
///
/// Times are milliseconds of log time. As in Redis, a key is there up to and including the
/// millisecond at which it expires.
#[derive(Debug, Default)]
pub struct Store {
    entries: Entries,
    deadlines: BTreeSet<(NonZeroU64, Slot)>,
}

/// A consistent copy of all entries.
pub type Entries = OrdMap<Slot, Entry>;

/// A key at its place in the order of entries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    hash: u64,
    key: Blob,
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Blob,
    /// The last millisecond of log time at which the key is there; `None`: forever.
    pub expires_ms: Option<NonZeroU64>,
}

impl Slot {
    /// Clients keep cursors in signed integers and in doubles: 52 bits survive both.
    const HASH_BITS: u32 = 52;

    /// The place of `key`.
    #[must_use]
    pub fn of(key: &Blob) -> Slot {
        Slot { hash: xxh3_64(key) >> (u64::BITS - Self::HASH_BITS), key: key.clone() }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Blob {
        &self.key
    }
}

impl Entry {
    fn is_there(&self, now_ms: u64) -> bool {
        self.expires_ms.is_none_or(|last| now_ms <= last.get())
    }
}

impl Store {
    /// The entry of `key`, unless it has expired.
    #[must_use]
    pub fn entry(&self, now_ms: u64, key: &Blob) -> Option<&Entry> {
        self.entries.get(&Slot::of(key)).filter(|entry| entry.is_there(now_ms))
    }

    /// Puts an entry in place of what `key` held.
    pub fn insert(&mut self, key: &Blob, entry: Entry) {
        let slot = Slot::of(key);
        if let Some(expires_ms) = entry.expires_ms {
            self.deadlines.insert((expires_ms, slot.clone()));
        }
        let kept = entry.expires_ms;
        if let Some(Entry { expires_ms: Some(previous), .. }) =
            self.entries.insert(slot.clone(), entry)
            && kept != Some(previous)
        {
            self.deadlines.remove(&(previous, slot));
        }
    }

    /// Removes what `key` holds; false if it held nothing.
    pub fn remove(&mut self, key: &Blob) -> bool {
        let slot = Slot::of(key);
        let Some(entry) = self.entries.remove(&slot) else { return false };
        if let Some(expires_ms) = entry.expires_ms {
            self.deadlines.remove(&(expires_ms, slot));
        }
        true
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        *self = Store::default();
    }

    /// Removes what has expired.
    pub fn expire(&mut self, now_ms: u64) {
        while self.deadlines.first().is_some_and(|(last, _)| last.get() < now_ms) {
            if let Some((_, slot)) = self.deadlines.pop_first() {
                self.entries.remove(&slot);
            }
        }
    }

    /// The first millisecond at which [`Store::expire`] has something to do.
    #[must_use]
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.deadlines.first().map(|(last, _)| last.get().saturating_add(1))
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self, now_ms: u64) -> usize {
        self.entries.len() - self.gone(now_ms)
    }

    /// How many of them have an expiry.
    #[must_use]
    pub fn expiring(&self, now_ms: u64) -> usize {
        self.deadlines.len() - self.gone(now_ms)
    }

    /// How many have expired and were not removed yet.
    fn gone(&self, now_ms: u64) -> usize {
        self.deadlines.iter().take_while(|(last, _)| last.get() < now_ms).count()
    }

    /// All keys.
    pub fn keys(&self, now_ms: u64) -> impl Iterator<Item = &Blob> {
        let there = self.entries.iter().filter(move |(_, entry)| entry.is_there(now_ms));
        there.map(|(slot, _)| &slot.key)
    }

    /// Up to `count` keys from `cursor` on (a few more if their hashes collide), and the cursor
    /// behind them; 0 if that is the end.
    ///
    /// A cursor is a hash, and all keys with one hash are returned together: a key which is there
    /// throughout an iteration is returned exactly once, whatever is added and removed meanwhile.
    #[must_use]
    pub fn scan(&self, now_ms: u64, cursor: u64, count: u64) -> (u64, Vec<&Blob>) {
        let from = Slot { hash: cursor, key: Blob::default() };
        let mut keys = Vec::new();
        let mut last_hash = None;
        for (seen, (slot, entry)) in (0_u64..).zip(self.entries.range(from..)) {
            if seen >= count && last_hash != Some(slot.hash) {
                return (slot.hash, keys);
            }
            last_hash = Some(slot.hash);
            if entry.is_there(now_ms) {
                keys.push(&slot.key);
            }
        }
        (0, keys)
    }

    /// A consistent copy of everything, in constant time.
    #[must_use]
    pub fn entries(&self) -> Entries {
        self.entries.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn entry(value: &str, expires_ms: u64) -> Entry {
        Entry { value: Blob::from(value), expires_ms: NonZeroU64::new(expires_ms) }
    }

    fn key(number: u64) -> Blob {
        Blob::from(format!("key:{number}").as_str())
    }

    #[test]
    fn a_key_is_there_up_to_and_including_its_last_millisecond() {
        let mut store = Store::default();
        store.insert(&key(1), entry("v", 10));
        assert!(store.entry(10, &key(1)).is_some());
        assert!(store.entry(11, &key(1)).is_none());
        assert_eq!((store.len(10), store.len(11)), (1, 0));
        assert_eq!((store.expiring(10), store.expiring(11)), (1, 0));
        assert_eq!((store.keys(10).count(), store.keys(11).count()), (1, 0));
        store.expire(10);
        assert_eq!(store.next_expiry_ms(), Some(11));
        store.expire(11);
        assert_eq!((store.next_expiry_ms(), store.entries().len()), (None, 0));
    }

    #[test]
    fn a_view_does_not_see_later_writes() {
        let mut store = Store::default();
        store.insert(&key(1), entry("before", 0));
        let view = store.entries();
        store.insert(&key(1), entry("after", 0));
        store.insert(&key(2), entry("after", 0));
        assert_eq!(view.iter().map(|(_, entry)| &*entry.value).collect::<Vec<_>>(), [b"before"]);
    }

    #[test]
    fn a_scan_returns_keys_that_stay_once_while_others_come_and_go() {
        let mut store = Store::default();
        (0..1000).for_each(|number| store.insert(&key(number), entry("v", 0)));
        let (mut cursor, mut seen, mut round) = (0, BTreeMap::new(), 0);
        loop {
            let (next, keys) = store.scan(0, cursor, 7);
            assert!(keys.len() <= 7);
            for key in keys {
                *seen.entry(key.clone()).or_insert(0) += 1;
            }
            for number in 0..10 {
                store.remove(&key(500 + (round * 10 + number) % 500));
                store.insert(&key(10_000 + round * 10 + number), entry("v", 0));
            }
            (cursor, round) = (next, round + 1);
            if cursor == 0 {
                break;
            }
        }
        for number in 0..500 {
            assert_eq!(seen.get(&key(number)), Some(&1), "{number}");
        }
    }

    /// Keys whose hashes differ in the bits only that are dropped.
    fn colliding() -> [Blob; 3] {
        let keys = ["8OLfcw+V", "olu?esS*", "yhO9b=TD"].map(Blob::from);
        let [one, two, three] = keys.each_ref().map(|key| Slot::of(key).hash);
        assert_eq!((one, one), (two, three));
        keys
    }

    #[test]
    fn keys_whose_hashes_collide_have_values_and_expiries_of_their_own() {
        let keys = colliding();
        let mut store = Store::default();
        let entries = [entry("one", 10), entry("two", 0), entry("three", 20)];
        for (key, entry) in keys.iter().zip(&entries) {
            store.insert(key, entry.clone());
        }
        assert_eq!((store.len(0), store.expiring(0)), (3, 2));
        for (key, entry) in keys.iter().zip(&entries) {
            assert_eq!(store.entry(0, key), Some(entry));
        }
        store.expire(11);
        assert!(store.remove(&keys[1]));
        let left = keys.each_ref().map(|key| store.entry(11, key).is_some());
        assert_eq!((left, store.len(11)), ([false, false, true], 1));
    }

    #[test]
    fn a_scan_returns_keys_whose_hashes_collide_once_and_ends_however_few_it_returns_at_once() {
        let mut store = Store::default();
        let keys: BTreeSet<Blob> = (0..100).map(key).chain(colliding()).collect();
        keys.iter().for_each(|key| store.insert(key, entry("v", 0)));
        let (mut cursor, mut seen) = (0, Vec::new());
        for _ in 0..keys.len() {
            let (next, page) = store.scan(0, cursor, 1);
            seen.extend(page.into_iter().cloned());
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(cursor, 0, "it goes on");
        assert_eq!(seen.len(), keys.len());
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), keys);
    }

    proptest! {
        #[test]
        fn the_index_of_deadlines_is_exact(
            steps in prop::collection::vec((0..8_u64, 0..32_u8, 0..20_u64), 0..200),
        ) {
            let mut store = Store::default();
            let mut now_ms = 0;
            for (number, what, amount) in steps {
                match what {
                    0 => store.clear(),
                    1..16 => store.insert(&key(number), entry("v", amount)),
                    16..24 => drop(store.remove(&key(number))),
                    _ => {
                        now_ms += amount / 4;
                        store.expire(now_ms);
                    }
                }
                let listed: BTreeSet<_> = store.deadlines.iter().cloned().collect();
                let actual: BTreeSet<_> = store
                    .entries
                    .iter()
                    .filter_map(|(slot, entry)| Some((entry.expires_ms?, slot.clone())))
                    .collect();
                prop_assert_eq!(listed, actual);
                prop_assert_eq!(store.len(now_ms), store.keys(now_ms).count());
            }
        }
    }
}
