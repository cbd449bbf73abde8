//! Replicas execute the committed entries, each in its turn (Liskov and Cowling 2012, section 4.1). Of
//! each the machine is told its place in the log, the log time as of it and a seed, which are the entry's
//! own: agreed upon before anything is executed, and so the same everywhere, and once more when it is
//! executed again (section 4.4).

use quorate_core::{At, Digest, Entry, Index, LogTime};

use super::{Property, Verdict};

const IN_TURN: Property = Property {
    name: "committed entries are executed, each in its turn",
    stated_in: "Liskov and Cowling 2012, section 4.1",
};
const AS_AGREED: Property = Property {
    name: "machines are told what was agreed upon",
    stated_in: "Liskov and Cowling 2012, section 4.4",
};

/// What is committed, and how far each replica has executed it.
#[derive(Debug)]
pub(super) struct Execution {
    /// From index 1 on: digest, and log time.
    agreed: Vec<(Digest, LogTime)>,
    executed: Vec<Index>,
}

impl Execution {
    pub(super) fn new(nodes: usize) -> Execution {
        Execution { agreed: Vec::new(), executed: vec![Index::ZERO; nodes] }
    }

    /// The next entry is committed. It has this digest, and its leader made it at this time.
    pub(super) fn committed(&mut self, digest: Digest, made_at: LogTime) {
        let before = self.agreed.last().map_or(LogTime(0), |(_, time)| *time);
        self.agreed.push((digest, before.max(made_at)));
    }

    fn agreed(&self, index: Index) -> Option<(Digest, LogTime)> {
        self.agreed.get(usize::try_from(index.0.checked_sub(1)?).ok()?).copied()
    }

    /// A replica executes this entry.
    pub(super) fn executes(&mut self, node: usize, entry: &Entry) -> Verdict {
        let (index, before) = (entry.index(), self.executed[node]);
        self.executed[node] = index;
        let agreed = self.agreed(index).map(|(digest, _)| digest);
        IN_TURN.require(index == before.next() && agreed == Some(entry.digest()), || {
            let (node, id, digest) = (node + 1, entry.id, entry.digest());
            format!(
                "replica {node} executes {id}, {digest}, after {before}; {agreed:?} is committed"
            )
        })
    }

    /// The machine of a replica was replaced by one that has executed everything up to `index`.
    pub(super) fn restored(&mut self, node: usize, index: Index) {
        self.executed[node] = index;
    }

    /// A process begins with an empty machine.
    pub(super) fn forget(&mut self, node: usize) {
        self.executed[node] = Index::ZERO;
    }

    /// The machine of a replica was told this of an entry that it executed.
    pub(super) fn told(&self, node: usize, told: &At) -> Verdict {
        let agreed = self.agreed(told.index).map(|(digest, time)| (time, seed_of(digest)));
        let is_executed = told.index <= self.executed[node];
        AS_AGREED.require(is_executed && agreed == Some((told.time, told.seed)), || {
            let (node, executed) = (node + 1, self.executed[node]);
            format!(
                "replica {node} told its machine {told:?}; it is {agreed:?}, executed {executed}"
            )
        })
    }

    /// The machine of a replica was asked something, and told that this is where it stands. Time may have
    /// passed since the last entry.
    pub(super) fn asked(&self, node: usize, told: &At) -> Verdict {
        let executed = self.executed[node];
        AS_AGREED.require(told.index == executed, || {
            format!("replica {} told its machine {told:?}, and has executed {executed}", node + 1)
        })?;
        match self.agreed(executed) {
            Some((_, time)) if time <= told.time => self.told(node, &At { time, ..*told }),
            Some(_) => self.told(node, told),
            None => Ok(()),
        }
    }
}

/// The seed that goes with an entry.
fn seed_of(digest: Digest) -> u64 {
    let (low, _) = digest.0.split_first_chunk().expect("a digest has sixteen bytes");
    u64::from_le_bytes(*low)
}

#[cfg(test)]
mod tests {
    use super::super::testing::entry;
    use super::*;

    /// Three entries are committed, the last made by a clock that is behind; the only replica has
    /// executed two.
    fn two_of_three() -> Execution {
        let mut check = Execution::new(1);
        for (index, time) in [(1, 400), (2, 500), (3, 300)] {
            check.committed(entry(index, 1).digest(), LogTime(time));
        }
        check.executes(0, &entry(1, 1)).unwrap();
        check.executes(0, &entry(2, 1)).unwrap();
        check
    }

    fn at(index: u64, time: u64) -> At {
        At { index: Index(index), time: LogTime(time), seed: seed_of(entry(index, 1).digest()) }
    }

    fn is_out_of_turn(check: &mut Execution, entry: &Entry) -> bool {
        check.executes(0, entry).is_err_and(|violation| violation.property == IN_TURN.name)
    }

    #[test]
    fn an_entry_that_is_not_committed_or_not_next_is_found() {
        two_of_three().executes(0, &entry(3, 1)).unwrap();
        assert!(is_out_of_turn(&mut two_of_three(), &entry(3, 2)), "of another ballot");
        assert!(is_out_of_turn(&mut two_of_three(), &entry(2, 1)), "once more");
        let mut check = two_of_three();
        check.forget(0);
        assert!(is_out_of_turn(&mut check, &entry(3, 1)), "some left out");
        let mut check = two_of_three();
        check.executes(0, &entry(3, 1)).unwrap();
        assert!(is_out_of_turn(&mut check, &entry(4, 1)), "not committed yet");
    }

    #[test]
    fn a_restored_machine_goes_on_from_there() {
        let mut check = two_of_three();
        check.forget(0);
        check.restored(0, Index(2));
        check.asked(0, &at(2, 500)).unwrap();
        check.executes(0, &entry(3, 1)).unwrap();
    }

    #[test]
    fn time_that_goes_back_and_another_seed_are_found() {
        let mut check = two_of_three();
        check.executes(0, &entry(3, 1)).unwrap();
        check.told(0, &at(3, 500)).unwrap();
        let wrong = [at(3, 300), At { seed: 7, ..at(3, 500) }, at(4, 500)];
        for told in wrong {
            assert_eq!(check.told(0, &told).unwrap_err().property, AS_AGREED.name);
        }
    }

    #[test]
    fn an_answer_of_another_place_than_that_of_the_machine_is_found() {
        let mut check = two_of_three();
        check.asked(0, &at(2, 500)).unwrap();
        check.asked(0, &at(2, 501)).unwrap();
        check.asked(0, &at(2, 499)).unwrap_err();
        check.asked(0, &At { seed: 7, ..at(2, 501) }).unwrap_err();
        check.asked(0, &at(1, 400)).unwrap_err();
        check.told(0, &at(3, 500)).unwrap_err();
        check.forget(0);
        check.asked(0, &At { index: Index(0), time: LogTime(0), seed: 7 }).unwrap();
        check.asked(0, &at(2, 500)).unwrap_err();
    }
}
