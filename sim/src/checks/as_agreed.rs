//! Of each entry the machine is told its place in the log, the log time as of it and a seed, which are the
//! entry's own: agreed upon before anything is executed, and so the same everywhere, and once more when it
//! is executed again (Liskov and Cowling 2012, section 4.4).

use quorate_core::{At, Digest};

use super::execution::Execution;
use super::{Property, Verdict};

const PROPERTY: Property = Property {
    name: "machines are told what was agreed upon",
    stated_in: "Liskov and Cowling 2012, section 4.4",
};

/// The machine of a replica was told this of an entry that it executed.
pub(super) fn told(execution: &Execution, node: usize, told: &At) -> Verdict {
    let agreed = execution.agreed(told.index).map(|(digest, time)| (time, seed_of(digest)));
    let executed = execution.executed(node);
    let is_so = told.index <= executed && agreed == Some((told.time, told.seed));
    PROPERTY.require(is_so, || {
        let node = node + 1;
        format!("replica {node} told its machine {told:?}; it is {agreed:?}, executed {executed}")
    })
}

/// The machine of a replica was asked something, and told that this is where it stands. Time may have
/// passed since the last entry.
pub(super) fn asked(execution: &Execution, node: usize, at: &At) -> Verdict {
    let executed = execution.executed(node);
    PROPERTY.require(at.index == executed, || {
        format!("replica {} told its machine {at:?}, and has executed {executed}", node + 1)
    })?;
    match execution.agreed(executed) {
        Some((_, time)) if time <= at.time => told(execution, node, &At { time, ..*at }),
        Some(_) => told(execution, node, at),
        None => Ok(()),
    }
}

/// The seed that goes with an entry.
fn seed_of(digest: Digest) -> u64 {
    let (low, _) = digest.0.split_first_chunk().expect("a digest has sixteen bytes");
    u64::from_le_bytes(*low)
}

#[cfg(test)]
mod tests {
    use quorate_core::{Index, LogTime};

    use super::super::testing::{entry, two_of_three};
    use super::*;

    fn at(index: u64, time: u64) -> At {
        At { index: Index(index), time: LogTime(time), seed: seed_of(entry(index, 1).digest()) }
    }

    #[test]
    fn time_that_goes_back_and_another_seed_are_found() {
        let mut check = two_of_three();
        check.executes(0, &entry(3, 1)).unwrap();
        told(&check, 0, &at(3, 500)).unwrap();
        let wrong = [at(3, 300), At { seed: 7, ..at(3, 500) }, at(4, 500)];
        for wrong in wrong {
            assert_eq!(told(&check, 0, &wrong).unwrap_err().property, PROPERTY.name);
        }
    }

    #[test]
    fn an_answer_of_another_place_than_that_of_the_machine_is_found() {
        let mut check = two_of_three();
        asked(&check, 0, &at(2, 500)).unwrap();
        asked(&check, 0, &at(2, 501)).unwrap();
        asked(&check, 0, &at(2, 499)).unwrap_err();
        asked(&check, 0, &At { seed: 7, ..at(2, 501) }).unwrap_err();
        asked(&check, 0, &at(1, 400)).unwrap_err();
        told(&check, 0, &at(3, 500)).unwrap_err();
        check.forget(0);
        asked(&check, 0, &At { index: Index(0), time: LogTime(0), seed: 7 }).unwrap();
        asked(&check, 0, &at(2, 500)).unwrap_err();
    }
}
