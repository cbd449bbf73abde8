//! Replicas execute the committed entries, each in its turn (Liskov and Cowling 2012, section 4.1). What
//! their machines are told of each is for [`as_agreed`](super::as_agreed).

use quorate_core::{Digest, Entry, Index, LogTime};

use super::{Property, Verdict};

const PROPERTY: Property = Property {
    name: "committed entries are executed, each in its turn",
    stated_in: "Liskov and Cowling 2012, section 4.1",
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

    /// The digest of the entry at this index, and log time as of it, if it is committed.
    pub(super) fn agreed(&self, index: Index) -> Option<(Digest, LogTime)> {
        self.agreed.get(usize::try_from(index.0.checked_sub(1)?).ok()?).copied()
    }

    /// A replica executes this entry.
    pub(super) fn executes(&mut self, node: usize, entry: &Entry) -> Verdict {
        let (index, before) = (entry.index(), self.executed[node]);
        self.executed[node] = index;
        let agreed = self.agreed(index).map(|(digest, _)| digest);
        PROPERTY.require(index == before.next() && agreed == Some(entry.digest()), || {
            let (node, id, digest) = (node + 1, entry.id, entry.digest());
            format!(
                "replica {node} executes {id}, {digest}, after {before}; {agreed:?} is committed"
            )
        })
    }

    /// How far a replica has executed the log.
    pub(super) fn executed(&self, node: usize) -> Index {
        self.executed[node]
    }

    /// The machine of a replica was replaced by one that has executed everything up to `index`.
    pub(super) fn restored(&mut self, node: usize, index: Index) {
        self.executed[node] = index;
    }

    /// A process begins with an empty machine.
    pub(super) fn forget(&mut self, node: usize) {
        self.executed[node] = Index::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{entry, two_of_three};
    use super::*;

    fn is_out_of_turn(check: &mut Execution, entry: &Entry) -> bool {
        check.executes(0, entry).is_err_and(|violation| violation.property == PROPERTY.name)
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
        assert_eq!(check.executed(0), Index(2));
        check.executes(0, &entry(3, 1)).unwrap();
    }
}
