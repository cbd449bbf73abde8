//! How much must have happened for a check to mean something.

use std::fmt;

use crate::model::{Effect, Model};
use crate::{Operation, Outcome};

/// What was in a history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Operations that returned.
    pub returned: usize,
    /// Those of them that do not only read.
    pub updates: usize,
    /// Operations that returned and overlapped in time with another one that did, under the same key.
    pub overlapping: usize,
}

/// The least that a history must have in it; one with less is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Minimum {
    /// Operations that returned.
    pub returned: usize,
    /// Those of them that do not only read.
    pub updates: usize,
    /// Operations that overlapped with another one under the same key: without such, any order will
    /// have looked right that the clock had.
    pub overlapping: usize,
}

impl Minimum {
    /// Any history will do, also an empty one.
    pub const NONE: Minimum = Minimum { returned: 0, updates: 0, overlapping: 0 };

    /// True if there was enough.
    #[must_use]
    pub fn is_met_by(&self, traffic: &Traffic) -> bool {
        traffic.returned >= self.returned
            && traffic.updates >= self.updates
            && traffic.overlapping >= self.overlapping
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Traffic { returned, updates, overlapping } = self;
        write!(
            f,
            "{returned} operations returned, {updates} of them updates, {overlapping} overlapping"
        )
    }
}

impl fmt::Display for Minimum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Minimum { returned, updates, overlapping } = *self;
        Traffic { returned, updates, overlapping }.fmt(f)
    }
}

impl Traffic {
    /// Counts the operations of one key.
    pub(crate) fn count<M: Model>(
        &mut self,
        model: &M,
        operations: &[&Operation<M::Input, M::Output>],
    ) {
        let mut times = Vec::new();
        for operation in operations {
            let Outcome::Returned { at, output } = &operation.outcome else { continue };
            self.returned += 1;
            self.updates +=
                usize::from(model.effect(&operation.input, Some(output)) != Effect::Reads);
            // At the same time, calls come first: such operations count as concurrent.
            times.push((operation.called, false));
            times.push((*at, true));
        }
        times.sort_unstable();
        let (mut open, mut is_alone) = (0, false);
        for (_, is_return) in times {
            if is_return {
                open -= 1;
                continue;
            }
            if open == 0 {
                is_alone = true;
            } else {
                // The one that was alone until this moment is so no more.
                self.overlapping += 1 + usize::from(std::mem::take(&mut is_alone));
            }
            open += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClientId;
    use crate::models::{Register, RegisterInput, RegisterOutput};

    fn traffic(spans: &[(u64, u64)]) -> Traffic {
        let operation = |&(called, at): &(u64, u64)| {
            let (client, input) = (ClientId(0), RegisterInput::Read);
            let outcome = Outcome::Returned { at, output: RegisterOutput::Value(0) };
            Operation { client, input, called, outcome }
        };
        let operations: Vec<_> = spans.iter().map(operation).collect();
        let mut traffic = Traffic::default();
        traffic.count(&Register::new(0), &operations.iter().collect::<Vec<_>>());
        traffic
    }

    #[test]
    fn overlaps_are_counted_once_for_each_operation() {
        assert_eq!(traffic(&[(1, 2), (3, 4)]).overlapping, 0);
        assert_eq!(traffic(&[(1, 3), (2, 4)]).overlapping, 2);
        assert_eq!(traffic(&[(1, 3), (3, 4)]).overlapping, 2, "at the same time");
        assert_eq!(traffic(&[(1, 9), (2, 3), (4, 5), (10, 11)]).overlapping, 3);
        assert_eq!(traffic(&[(1, 4), (2, 3), (5, 6)]).overlapping, 2);
        assert_eq!(traffic(&[(1, 9), (2, 3), (10, 12), (11, 13)]).returned, 4);
    }
}
