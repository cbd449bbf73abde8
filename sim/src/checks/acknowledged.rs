//! Acknowledged writes are present: what a client was told is done has taken effect, as the answer
//! says, in the one order that all replicas share (Ongaro 2014, sections 3.5 and 6.3; Liskov and
//! Cowling 2012, section 4.1). That it stays is the rest of the checks' business.

use super::state_machine_safety::Effect;
use super::{Property, Verdict};
use crate::clients::OpId;
use crate::value::Value;

const PROPERTY: Property =
    Property { name: "acknowledged writes are present", stated_in: "Ongaro 2014, section 6.3" };

/// A client was answered this to its request `op`, which had that effect.
pub(super) fn acknowledged(op: OpId, response: &Value, effect: Option<&Effect>) -> Verdict {
    let is_of =
        |effect: &Effect| effect.op == op && effect.change.response.as_ref() == Some(response);
    PROPERTY.require(effect.is_some_and(is_of), || {
        format!("{op:?} was answered {response:?}; its effect is {effect:?}")
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::effect;
    use super::*;

    #[test]
    fn an_answer_without_its_effect_is_found() {
        let effect = effect(1, 7);
        acknowledged(OpId(7), &Value::of(&0_u64), Some(&effect)).unwrap();
        assert!(acknowledged(OpId(7), &Value::of(&1_u64), Some(&effect)).is_err());
        assert!(acknowledged(OpId(8), &Value::of(&0_u64), Some(&effect)).is_err());
        assert!(acknowledged(OpId(7), &Value::of(&0_u64), None).is_err());
    }
}
