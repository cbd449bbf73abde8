//! Quorum arithmetic: numbers in, numbers out, and a table test for each function.

/// How many of `n` voters make a majority. Of none, none can: the answer is 1.
#[must_use]
pub fn majority(n: usize) -> usize {
    n / 2 + 1
}

/// The greatest value which a majority has reached, given what each voter has reached
/// (`None`: nothing at all). `None` if there is no such value.
///
/// The values are sorted on each call. There is no incremental shortcut, since the known one
/// goes wrong when a voter is already ahead.
pub fn reached<T: Ord>(values: impl IntoIterator<Item = Option<T>>) -> Option<T> {
    let mut values: Vec<Option<T>> = values.into_iter().collect();
    let needed = majority(values.len());
    if values.len() < needed {
        return None;
    }
    // `None` sorts below every value.
    values.sort_unstable_by(|a, b| b.cmp(a));
    values.swap_remove(needed - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_majorities_of_the_same_voters_intersect() {
        for (n, expected) in [(0, 1), (1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)] {
            assert_eq!(majority(n), expected, "of {n}");
            assert!(2 * majority(n) > n);
        }
    }

    #[test]
    fn reached_is_the_value_of_the_slowest_member_of_the_fastest_majority() {
        let cases: [(&[Option<u64>], Option<u64>); 9] = [
            (&[], None),
            (&[Some(5)], Some(5)),
            (&[Some(5), None], None),
            (&[Some(5), Some(3)], Some(3)),
            (&[Some(5), Some(3), None], Some(3)),
            (&[Some(5), None, None], None),
            (&[Some(1), Some(9), Some(4)], Some(4)),
            (&[Some(1), Some(9), Some(4), Some(4)], Some(4)),
            (&[Some(2), Some(9), Some(4), None, Some(7)], Some(4)),
        ];
        for (values, expected) in cases {
            assert_eq!(reached(values.iter().copied()), expected, "{values:?}");
        }
    }

    #[test]
    fn reached_agrees_with_counting() {
        // Every assignment of 0..=3 (0 as nothing) to up to five voters.
        for n in 1..=5u32 {
            for code in 0..4u64.pow(n) {
                let values: Vec<Option<u64>> = (0..n)
                    .map(|voter| Some(code / 4u64.pow(voter) % 4).filter(|value| *value > 0))
                    .collect();
                let by_counting = (1..=3u64)
                    .filter(|candidate| {
                        let there = values.iter().filter(|v| **v >= Some(*candidate)).count();
                        there >= majority(values.len())
                    })
                    .max();
                assert_eq!(reached(values.clone()), by_counting, "{values:?}");
            }
        }
    }
}
