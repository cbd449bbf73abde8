//! Nothing is said in a view before that is on disk: whoever is in a view has left all earlier
//! ones for good (Michael et al. 2017, section 2, on what goes wrong otherwise; Liskov and Cowling
//! 2012, section 4.2).

use quorate_core::Ballot;
use quorate_vsr::{Message, Pledge, Vsr};

use super::view_of;
use crate::checks::{Property, Verdict};
use crate::oracle::Oracle;

const PROPERTY: Property = Property {
    name: "no message before the view is on disk",
    stated_in: "Liskov and Cowling 2012, section 4.2; Michael et al. 2017, section 2",
};

/// The view that each disk knows.
#[derive(Clone, Hash)]
pub(super) struct PersistentView {
    disks: Vec<Ballot>,
}

impl PersistentView {
    pub(super) fn new(replicas: usize) -> PersistentView {
        PersistentView { disks: vec![Ballot::default(); replicas] }
    }
}

impl Oracle<Vsr> for PersistentView {
    fn on_disk(&mut self, node: usize, pledge: &Pledge) -> Verdict {
        self.disks[node] = pledge.view;
        Ok(())
    }

    fn forgot(&mut self, node: usize) {
        self.disks[node] = Ballot::default();
    }

    fn sends(&mut self, node: usize, _: usize, message: &Message) -> Verdict {
        let disk = self.disks[node];
        PROPERTY.require(view_of(message) <= disk, || {
            format!("replica {} says {message:?}, and its disk knows {disk:?}", node + 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_in_a_view_that_is_not_on_disk_is_found() {
        let mut check = PersistentView::new(1);
        check.on_disk(0, &Pledge { view: Ballot(3), torn: Ballot(0) }).unwrap();
        let wish =
            |view, target| Message::StartViewChange { view: Ballot(view), target: Ballot(target) };
        check.sends(0, 1, &wish(3, 4)).unwrap();
        assert!(check.sends(0, 1, &wish(4, 4)).is_err());
    }
}
