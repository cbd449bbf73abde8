//! No replica gives up, unless its disk has failed it in a way that it cannot live with. (Not from a paper:
//! what stops a replica is an `Effect::Stop`, or that it cannot start.)

use std::fmt::Display;

use super::{Property, Violation};

const PROPERTY: Property =
    Property { name: "no replica gives up", stated_in: "quorate, Effect::Stop" };

/// `node` has given up without an excuse, and says why.
#[must_use]
pub fn gave_up(node: usize, why: &dyn Display) -> Violation {
    PROPERTY.violation(format!("replica {}: {why}", node + 1))
}
