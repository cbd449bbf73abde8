//! Which states were reached before.

/// A set of fingerprints: 64 bits a state, in one table without pointers.
///
/// Two states with the same fingerprint are taken for one. Among n states the chance that any two
/// of them share theirs is about n² / 2⁶⁵: one in a million for 6 million states.
pub(crate) struct Visited {
    /// Zero where there is none.
    table: Vec<u64>,
    count: usize,
}

impl Visited {
    pub(crate) fn new() -> Visited {
        Visited { table: vec![0; 1 << 16], count: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// How many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.table.len() * size_of::<u64>()
    }

    /// True if it was not there.
    pub(crate) fn insert(&mut self, fingerprint: u64) -> bool {
        // Five of six places are taken at most.
        if self.count * 6 >= self.table.len() * 5 {
            self.grow();
        }
        let is_new = put(&mut self.table, fingerprint.max(1));
        self.count += usize::from(is_new);
        is_new
    }

    fn grow(&mut self) {
        let mut larger = vec![0; self.table.len() * 2];
        for fingerprint in self.table.iter().filter(|fingerprint| **fingerprint != 0) {
            put(&mut larger, *fingerprint);
        }
        self.table = larger;
    }
}

fn put(table: &mut [u64], fingerprint: u64) -> bool {
    let mask = table.len() - 1;
    let mut place = fingerprint as usize & mask;
    loop {
        match table[place] {
            0 => {
                table[place] = fingerprint;
                return true;
            }
            there if there == fingerprint => return false,
            _ => place = (place + 1) & mask,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hashed::spread;

    #[test]
    fn what_was_put_in_is_there_and_nothing_else() {
        let mut visited = Visited::new();
        let of = |number| spread(number) | 1;
        assert!((1..200_000).all(|number| visited.insert(of(2 * number))));
        assert!((1..200_000).all(|number| !visited.insert(of(2 * number))));
        assert_eq!(visited.len(), 199_999);
        assert!(visited.insert(of(2 * 200_000)));
        assert!(visited.bytes() < 8 * 500_000 + 8 * (1 << 19));
    }

    #[test]
    fn a_fingerprint_of_zero_is_one_like_others() {
        let mut visited = Visited::new();
        assert!(visited.insert(0));
        assert!(!visited.insert(0));
    }
}
