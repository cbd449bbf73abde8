//! Leader Append-Only: a leader never overwrites or deletes entries in its log; it only appends
//! (Ongaro 2014, figure 3.2; section 3.5).

use quorate_core::{Ballot, Run};

use super::{Mirror, Property, Verdict};

const PROPERTY: Property =
    Property { name: "leader append-only", stated_in: "Ongaro 2014, figure 3.2 and section 3.5" };

/// In which ballot each replica leads; and whether it cut its log since it was last seen to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AppendOnly {
    leading: Vec<Option<Ballot>>,
    cut: Vec<Option<String>>,
}

impl AppendOnly {
    /// Of so many replicas, none of which leads.
    #[must_use]
    pub fn new(nodes: usize) -> AppendOnly {
        AppendOnly { leading: vec![None; nodes], cut: vec![None; nodes] }
    }

    /// The process of `node` has died.
    pub fn forget(&mut self, node: usize) {
        self.leading[node] = None;
        self.cut[node] = None;
    }

    /// `node`, whose log is `held`, changes it.
    pub fn changed(&mut self, node: usize, held: &Mirror, run: &Run) {
        if self.leading[node].is_some() && run.previous.index < held.last() {
            let end = held.last();
            self.cut[node] =
                Some(format!("its log, which ended at {end:?}, after {}", run.previous));
        }
    }

    /// `node` leads in this ballot, or in none. What it cut is held against it only if it led
    /// before in the same ballot: in between it may have followed somebody.
    ///
    /// # Errors
    /// If it cut its log while it led.
    pub fn stepped(&mut self, node: usize, leads: Option<Ballot>) -> Verdict {
        let before = std::mem::replace(&mut self.leading[node], leads);
        match self.cut[node].take() {
            Some(cut) if leads.is_some() && leads == before => Err(PROPERTY
                .violation(format!("replica {} leads in {leads:?} and cut {cut}", node + 1))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{digest, mirror, run};
    use super::*;

    #[test]
    fn a_leader_which_cuts_its_log_is_found_and_a_follower_may() {
        let held = mirror(&[1, 1]);
        let cut = run(1, 1, digest(1, 1), &[2]);
        let mut check = AppendOnly::new(1);
        check.changed(0, &held, &cut);
        check.stepped(0, Some(Ballot(2))).unwrap();
        check.changed(0, &held, &cut);
        assert_eq!(check.stepped(0, Some(Ballot(2))).unwrap_err().property, PROPERTY.name);
        check.changed(0, &held, &cut);
        check.stepped(0, None).unwrap();
    }
}
