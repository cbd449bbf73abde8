//! What a run was like.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::checks::Violation;
use crate::clients::Ended;
use crate::clock::Time;
use crate::faults::Struck;
use crate::marks::Marks;

/// A run in which every property held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What decided everything.
    pub seed: u64,
    /// How many replicas there were.
    pub nodes: usize,
    /// Stands for all that happened: the same seed gives the same.
    pub hash: u64,
    /// How much happened.
    pub events: u64,
    /// How long the run lasted, in virtual time.
    pub lasted: Duration,
    /// How long after the last fault everything had come to rest, in virtual time; clients went
    /// on with new requests for half a second of it.
    pub settled_after: Duration,
    /// How many entries were committed.
    pub commits: u64,
    /// How many effects commands had.
    pub effects: u64,
    /// How many processes died.
    pub crashes: u64,
    /// How often another leader, or the same in another ballot, took over.
    pub leader_changes: u64,
    /// The mishaps that happened to processes, disks, clocks and the network as a whole; what
    /// became of single messages is not counted.
    pub faults: Struck,
    /// How the clients' requests ended.
    pub(crate) requests: Ended,
    /// States worth reaching, and how often they were.
    pub marks: Marks,
    /// What the replicas of a [recorded](crate::Simulation::recorded) run were told once more, of each
    /// kind. Otherwise empty.
    pub replayed: BTreeMap<&'static str, u64>,
}

impl Report {
    /// Fewer commits do not count as a run.
    pub const MIN_COMMITS: u64 = 300;

    /// Nor do fewer faults.
    pub const MIN_FAULTS: u64 = 10;

    /// True if enough happened for the run to count: 300 commits, a crash, a change of leader, ten
    /// faults.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.commits >= Self::MIN_COMMITS
            && self.crashes > 0
            && self.leader_changes > 0
            && self.faults.total() >= Self::MIN_FAULTS
    }

    /// How many requests were acknowledged, and how many ended with an unknown outcome.
    #[must_use]
    pub fn requests(&self) -> (u64, u64) {
        (self.requests.acknowledged + self.requests.read, self.requests.unknown)
    }
}

/// A run which found a bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// What decided everything.
    pub seed: u64,
    /// When it was found, in virtual time.
    pub time: Time,
    /// How many events there had been: the number, from 1, of the last one before it was found, which is
    /// also that of its line in a trace.
    pub events: u64,
    /// How often a mishap had been due by then.
    pub strikes: u64,
    /// Which property does not hold.
    pub violation: Violation,
    /// What happened last, in order.
    pub last_events: Vec<String>,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "last events:")?;
        for line in &self.last_events {
            writeln!(f, "{line}")?;
        }
        let Failed { seed, time, events, .. } = self;
        writeln!(f, "\nseed {seed} violates, at {time}, event {events}:")?;
        write!(f, "  {}", self.violation)
    }
}

impl std::error::Error for Failed {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_run_says_where_and_when_and_which_property() {
        let violation = Violation {
            property: "election safety",
            stated_in: "Ongaro 2014, section 3.4",
            details: "two lead".to_owned(),
        };
        let last_events = vec!["the last one".to_owned()];
        let (seed, time, strikes) = (17, Time(1_500_000), 3);
        let failed = Failed { seed, time, events: 4711, strikes, violation, last_events };
        let said = "\nseed 17 violates, at 1.500000 s, event 4711:\n  election safety (Ongaro 2014, \
                    section 3.4): two lead";
        assert!(failed.to_string().ends_with(said), "{failed}");
    }
}
