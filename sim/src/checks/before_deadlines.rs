//! What a query is told of the time does not reach the machine's deadline before the log does: else one read
//! would take as expired what the next one, and every replica, still holds (Herlihy and Wing 1990: all
//! operations on one object take effect in one order).

use quorate_core::LogTime;

use super::execution::Execution;
use super::{Property, Verdict};
use crate::witness::Observed;

const PROPERTY: Property = Property {
    name: "nothing has expired for a query before it has in the log",
    stated_in: "Herlihy and Wing 1990, section 2",
};

/// The machine of a replica was asked something, and told what time it is.
pub(super) fn asked<A>(execution: &Execution, node: usize, observed: &Observed<A>) -> Verdict {
    let (time, deadline) = (observed.time, observed.deadline);
    let in_log = execution.agreed(observed.index).map_or(LogTime(0), |(_, time)| time);
    let is_before = deadline.is_none_or(|deadline| time < deadline);
    PROPERTY.require(is_before || time <= in_log, || {
        let node = node + 1;
        format!(
            "replica {node} told its machine that it is {time:?}, and something of it expires at \
             {deadline:?}; by the log it is {in_log:?}"
        )
    })
}

#[cfg(test)]
mod tests {
    use quorate_core::Index;

    use super::super::testing::two_of_three;
    use super::*;

    #[test]
    fn a_query_that_is_told_of_a_time_behind_the_deadline_is_found() {
        let at = |time, deadline: Option<u64>| {
            let (index, time, deadline) = (Index(2), LogTime(time), deadline.map(LogTime));
            asked(&two_of_three(), 0, &Observed { index, time, seed: 0, deadline, answer: () })
        };
        at(900, None).unwrap();
        at(599, Some(600)).unwrap();
        for late in [600, 601] {
            assert_eq!(at(late, Some(600)).unwrap_err().property, PROPERTY.name);
        }
        // The log itself has reached it: whatever the machine makes of that is its own affair.
        at(500, Some(500)).unwrap();
    }
}
