//! A machine is in the state of a [fresh one](super::fresh_machines) which is given the same commands one
//! after the other, also if it was restored from a snapshot on the way (Schneider 1990, section 1). Of a
//! state that is what it is written as.

use super::fresh_machines::{FreshMachines, LOOK_FOR};
use super::state_machine_safety::Effect;
use super::{Property, Verdict};

const PROPERTY: Property = Property {
    name: "machines are equal at an equal index",
    stated_in: "Schneider 1990, section 1",
};

/// The machine of a replica, which has had these effects, is in this state.
pub(super) fn stands(
    fresh: &mut FreshMachines,
    node: usize,
    state: &[u8],
    effects: &[Effect],
) -> Verdict {
    let expected = fresh.at(node, effects).state();
    PROPERTY.require(state == expected, || {
        let differs = state.iter().zip(&expected).position(|(a, b)| a != b);
        let differs = differs.unwrap_or(state.len().min(expected.len()));
        let (node, count) = (node + 1, effects.len());
        let (length, other) = (state.len(), expected.len());
        format!(
            "after {count} effects replica {node} would write its state as {length} bytes; a fresh \
             machine, given the same commands, writes {other}, which differ from byte {differs} \
             on: {LOOK_FOR}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::two_effects;
    use super::*;

    #[test]
    fn a_state_that_is_not_that_of_a_fresh_machine_is_found() {
        let (mut fresh, effects) = two_effects();
        stands(&mut fresh, 1, &[7], &effects[..1]).unwrap();
        assert_eq!(stands(&mut fresh, 1, &[8], &effects[..1]).unwrap_err().property, PROPERTY.name);
        assert_eq!(
            stands(&mut fresh, 1, &[7, 0], &effects[..1]).unwrap_err().property,
            PROPERTY.name
        );
    }
}
