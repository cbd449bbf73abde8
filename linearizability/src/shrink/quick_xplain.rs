//! A minimal set that fails (Junker, *QuickXplain*, 2004).

/// Of a list that fails a part that fails, and of which no element can be spared. Elements that come
/// early are rather kept. Whatever contains something that fails must fail too.
///
/// Takes about `k log(n / k)` tests, where `n` elements are given and `k` are left.
pub(super) fn quick_xplain<T: Clone>(all: &[T], fails: &mut impl FnMut(&[T]) -> bool) -> Vec<T> {
    if all.is_empty() || fails(&[]) {
        return Vec::new();
    }
    let mut kept = Vec::new();
    part(&mut kept, all, fails);
    kept
}

/// Moves to `kept` what must be kept of `among`; together they fail, `kept` alone does not.
fn part<T: Clone>(kept: &mut Vec<T>, among: &[T], fails: &mut impl FnMut(&[T]) -> bool) {
    let [first, second] = match among {
        [] => return,
        [one] => return kept.push(one.clone()),
        _ => {
            let (first, second) = among.split_at(among.len() / 2);
            [first, second]
        }
    };
    // What of the second half is needed if all of the first is there.
    let before = kept.len();
    kept.extend_from_slice(first);
    let needed_of_second = if fails(kept) {
        Vec::new()
    } else {
        let with_first = kept.len();
        part(kept, second, fails);
        kept.split_off(with_first)
    };
    kept.truncate(before);
    kept.extend_from_slice(&needed_of_second);
    // And then what of the first.
    if needed_of_second.is_empty() || !fails(kept) {
        part(kept, first, fails);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails if it contains one of these sets.
    fn is_found(all: usize, failing: &[&[usize]]) -> Vec<usize> {
        let all: Vec<usize> = (0..all).collect();
        let mut tests = 0;
        let mut fails = |some: &[usize]| {
            tests += 1;
            failing.iter().any(|set| set.iter().all(|element| some.contains(element)))
        };
        let mut found = quick_xplain(&all, &mut fails);
        found.sort_unstable();
        println!("{} of {}: {tests} tests", found.len(), all.len());
        assert!(tests < 200);
        found
    }

    #[test]
    fn a_part_is_found_that_fails_and_of_which_nothing_can_be_spared() {
        assert_eq!(is_found(1000, &[&[3, 500, 999]]), [3, 500, 999]);
        assert_eq!(is_found(1000, &[&[0]]), [0]);
        assert_eq!(is_found(1, &[&[0]]), [0]);
        assert_eq!(is_found(10, &[&[]]), [0; 0]);
        assert_eq!(is_found(10, &[&[1, 2], &[7, 8, 9]]), [1, 2]);
        let all: Vec<usize> = (0..40).collect();
        assert_eq!(is_found(40, &[&all]), all);
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut set = || {
                let mut set: Vec<usize> = (0..4).map(|_| random.usize(0..100)).collect();
                set.sort_unstable();
                set.dedup();
                set
            };
            let sets = [set(), set(), set()];
            let sets: Vec<&[usize]> = sets.iter().map(Vec::as_slice).collect();
            let found = is_found(100, &sets);
            assert!(sets.contains(&found.as_slice()), "{found:?} of {sets:?}");
        }
    }
}
