//! What a violation is about: the replicas, entries and requests that its details name.

use std::collections::BTreeSet;

use crate::checks::Violation;

use super::record::Violated;

/// The violation, with what its details name; if that is no replica, the one that acted last. Every oracle, also one of a user's protocol, names
/// things by their debug texts: "replica 2", `i12`, `12@3`, `OpId(7)`.
pub(super) fn violated(
    violation: &Violation,
    replicas: usize,
    latest_actor: Option<usize>,
) -> Violated {
    let Violation { property, stated_in, details } = violation;
    let words: Vec<&str> = details
        .split(|c: char| !c.is_alphanumeric() && c != '@')
        .filter(|w| !w.is_empty())
        .collect();
    let mut named = BTreeSet::new();
    let mut indexes = BTreeSet::new();
    let mut ops = BTreeSet::new();
    let pairs = words.iter().zip(words.iter().skip(1).chain([&""]));
    for (word, next) in pairs {
        let next_number = next.parse::<u64>().ok();
        match *word {
            "replica" | "replicas" => named.extend(next_number),
            "OpId" | "op" => ops.extend(next_number.filter(|op| *op > 0)),
            word => {
                let index = word.strip_prefix('i').or_else(|| Some(word.split_once('@')?.0));
                indexes.extend(index.and_then(|index| index.parse::<u64>().ok()));
            }
        }
    }
    let position = |name: &u64| usize::try_from(name.checked_sub(1)?).ok();
    let mut concerned: Vec<usize> =
        named.iter().filter_map(position).filter(|node| *node < replicas).collect();
    if concerned.is_empty() {
        concerned.extend(latest_actor);
    }
    Violated {
        property,
        stated_in,
        details: super::wording::tidy(details),
        replicas: concerned,
        indexes: indexes.into_iter().filter(|index| *index > 0).collect(),
        ops: ops.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(details: &str) -> (Vec<usize>, Vec<u64>, Vec<u64>) {
        let details = details.to_owned();
        let violation = Violation { property: "p", stated_in: "s", details };
        let Violated { replicas, indexes, ops, .. } = violated(&violation, 3, Some(0));
        (replicas, indexes, ops)
    }

    #[test]
    fn replicas_entries_and_requests_are_found_in_the_details() {
        let details =
            "replica 2 leads in b5; committed earlier at i12: Some((b3, #1a)); it has None";
        assert_eq!(named(details), (vec![1], vec![12], vec![]));
        assert_eq!(
            named("12@3 is #1 on replica 1 and #2 on replica 3"),
            (vec![0, 2], vec![12], vec![])
        );
        assert_eq!(
            named("read OpId(7) sees OpId(0), i4 by replica 9"),
            (vec![0], vec![4], vec![7])
        );
        assert_eq!(named("i and id and replica"), (vec![0], vec![], vec![]));
    }
}
