//! Views only grow, on disk as well (Liskov and Cowling 2012, section 4.2).

use quorate_core::{Ballot, Log};
use quorate_vsr::{Pledge, Vsr};

use super::view;
use crate::checks::{Property, Verdict};
use crate::oracle::Oracle;

const PROPERTY: Property =
    Property { name: "views only grow", stated_in: "Liskov and Cowling 2012, section 4.2" };

/// In which view each replica was, and which one its disk knows.
#[derive(Clone, Hash)]
pub(super) struct Views {
    views: Vec<Ballot>,
    disks: Vec<Ballot>,
}

impl Views {
    pub(super) fn new(replicas: usize) -> Views {
        Views { views: vec![Ballot::default(); replicas], disks: vec![Ballot::default(); replicas] }
    }

    fn in_view(&mut self, node: usize, view: Ballot) -> Verdict {
        let before = std::mem::replace(&mut self.views[node], view);
        PROPERTY.require(before.max(self.disks[node]) <= view, || {
            let disk = self.disks[node];
            format!("replica {} was in {before:?}, on disk {disk:?}, and is in {view:?}", node + 1)
        })
    }
}

impl Oracle<Vsr> for Views {
    fn stepped(&mut self, node: usize, protocol: &Vsr, _: &Log) -> Verdict {
        self.in_view(node, view(protocol))
    }

    fn on_disk(&mut self, node: usize, pledge: &Pledge) -> Verdict {
        let before = std::mem::replace(&mut self.disks[node], pledge.view);
        PROPERTY.require(before <= pledge.view, || {
            format!("the disk of replica {} said {before:?}, and says {pledge:?}", node + 1)
        })
    }

    fn forgot(&mut self, node: usize) {
        self.disks[node] = Ballot::default();
    }

    /// What was not on disk may be forgotten.
    fn crashed(&mut self, node: usize) {
        self.views[node] = Ballot::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pledge(view: u64) -> Pledge {
        Pledge { view: Ballot(view), torn: Ballot(0) }
    }

    #[test]
    fn a_view_that_goes_back_is_found() {
        let mut check = Views::new(1);
        check.in_view(0, Ballot(3)).unwrap();
        assert!(check.in_view(0, Ballot(2)).is_err());
        check.on_disk(0, &pledge(3)).unwrap();
        assert!(check.on_disk(0, &pledge(2)).is_err());
    }

    #[test]
    fn a_crash_takes_back_only_what_was_not_on_disk() {
        let mut check = Views::new(1);
        check.on_disk(0, &pledge(3)).unwrap();
        check.in_view(0, Ballot(4)).unwrap();
        check.crashed(0);
        check.in_view(0, Ballot(3)).unwrap();
        check.crashed(0);
        assert!(check.in_view(0, Ballot(2)).is_err());
    }
}
