//! What a replica reports to the primary of a view never changes (Liskov and Cowling 2012, section 4.2, on
//! DoViewChange).
//!
//! A disk without room can swear, and not take in entries: then a report may speak of some that are
//! not on disk, for only what was acknowledged counts, and a process that starts anew may report less
//! than the one before it. That it reports all that was committed with its help is for leader
//! completeness. If all of it was on disk, the next process reports the same log, unless the view has
//! begun meanwhile, when nobody counts it.

use std::collections::BTreeMap;

use quorate_core::{Ballot, Log, Protocol as _};
use quorate_vsr::{DoViewChange, Message, Vsr};

use crate::checks::{Kept, Property, Verdict};
use crate::oracle::Oracle;

const PROPERTY: Property = Property {
    name: "a DoViewChange never changes",
    stated_in: "Liskov and Cowling 2012, section 4.2",
};

/// What each replica has said.
#[derive(Clone, Hash)]
pub(super) struct Reports {
    said: Vec<Said>,
}

#[derive(Clone, Default, Hash)]
struct Said {
    /// For each view, in this life of the process.
    reports: BTreeMap<Ballot, DoViewChange>,
    /// What it reported for the view in which it is, if all of that was on disk, and the view has not
    /// begun as far as it knows.
    durable: Option<DoViewChange>,
    /// The last view that has begun, in this life of the process.
    begun: Option<Ballot>,
}

impl Reports {
    pub(super) fn new(replicas: usize) -> Reports {
        Reports { said: vec![Said::default(); replicas] }
    }
}

impl Said {
    fn stands(&mut self, view: Ballot, has_begun: bool) {
        if has_begun {
            self.begun = Some(view);
        }
        self.durable.take_if(|report| has_begun || report.view < view);
    }

    /// It reports this, and all of it is on disk, or not.
    fn reports(&mut self, node: usize, report: &DoViewChange, is_on_disk: bool) -> Verdict {
        if self.begun == Some(report.view) {
            return Ok(());
        }
        let before = self.durable.filter(|before| before.view == report.view);
        let log = |report: &DoViewChange| (report.head, report.digest);
        PROPERTY.require(before.is_none_or(|before| log(&before) == log(report)), || {
            let node = node + 1;
            format!("replica {node} reports {report:?}; a process before it reported {before:?}")
        })?;
        if is_on_disk {
            self.durable = Some(*report);
        }
        Ok(())
    }
}

impl Oracle<Vsr> for Reports {
    fn stepped(&mut self, node: usize, protocol: &Vsr, _: &Log) -> Verdict {
        let standing = protocol.standing();
        self.said[node].stands(standing.ballot, standing.leader.is_some());
        Ok(())
    }

    fn vouches(&mut self, node: usize, _: usize, message: &Message, kept: &Kept<'_>) -> Verdict {
        let Message::DoViewChange(report) = message else { return Ok(()) };
        let is_on_disk = kept.ballot_at(report.head.index) == Some(report.head.ballot);
        self.said[node].reports(node, report, is_on_disk)
    }

    fn sends(&mut self, node: usize, _: usize, message: &Message) -> Verdict {
        let Message::DoViewChange(report) = message else { return Ok(()) };
        let first = *self.said[node].reports.entry(report.view).or_insert(*report);
        PROPERTY.require(first == *report, || {
            format!("replica {} reported {first:?}, and reports {report:?}", node + 1)
        })
    }

    fn crashed(&mut self, node: usize) {
        self.said[node].reports.clear();
        self.said[node].begun = None;
    }

    fn forgot(&mut self, node: usize) {
        self.said[node] = Said::default();
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::{Digest, Index, LogId};

    use super::*;
    use crate::checks::testing::mirror;

    fn report(view: u64, index: u64, ballot: u64) -> Message {
        Message::DoViewChange(DoViewChange {
            view: Ballot(view),
            head: LogId::new(Index(index), Ballot(ballot)),
            digest: Digest::ZERO,
            commit: Index(0),
        })
    }

    #[test]
    fn a_report_that_changes_is_found_unless_the_process_died() {
        let mut check = Reports::new(1);
        check.sends(0, 1, &report(3, 7, 2)).unwrap();
        check.sends(0, 1, &report(3, 7, 2)).unwrap();
        check.sends(0, 1, &report(4, 6, 2)).unwrap();
        assert_eq!(check.sends(0, 1, &report(3, 6, 2)).unwrap_err().property, PROPERTY.name);
        check.crashed(0);
        check.sends(0, 1, &report(3, 6, 2)).unwrap();
    }

    #[test]
    fn a_log_that_was_on_disk_and_is_not_reported_again_is_found_unless_the_view_has_begun() {
        let (log, shorter) = (mirror(&[1, 2, 2]), mirror(&[1, 2]));
        let reports = |check: &mut Reports, view, index, disk| {
            check.vouches(0, 1, &report(view, index, 2), &Kept::of_sound(disk, disk))
        };
        let mut check = Reports::new(1);
        reports(&mut check, 3, 3, &log).unwrap();
        check.crashed(0);
        reports(&mut check, 3, 3, &log).unwrap();
        let changed = reports(&mut check.clone(), 3, 2, &shorter);
        assert_eq!(changed.unwrap_err().property, PROPERTY.name);

        let mut follows = check.clone();
        follows.said[0].stands(Ballot(3), true);
        reports(&mut follows, 3, 2, &shorter).unwrap();
        let mut moves_on = check;
        moves_on.said[0].stands(Ballot(4), false);
        reports(&mut moves_on, 4, 3, &shorter).unwrap();
        moves_on.crashed(0);
        reports(&mut moves_on, 4, 2, &shorter).unwrap();

        // What the disk was asked to hold in the place of what it has is not on it.
        let mut asks = Reports::new(1);
        let (disk, asked) = (mirror(&[1, 1]), mirror(&[1, 2]));
        asks.vouches(0, 1, &report(3, 2, 2), &Kept::of_sound(&disk, &asked)).unwrap();
        asks.crashed(0);
        asks.vouches(0, 1, &report(3, 2, 1), &Kept::of_sound(&disk, &disk)).unwrap();
    }
}
