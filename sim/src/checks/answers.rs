//! Outputs of a state machine are determined by the sequence of requests that it processes, and by
//! nothing else (Schneider 1990, section 1). So whatever a replica responds and answers is what a
//! [fresh machine](super::fresh_machines) says which is given the committed commands one after the other.

use super::fresh_machines::{FreshMachines, LOOK_FOR};
use super::state_machine_safety::Effect;
use super::{Property, Verdict};
use crate::subject::Subject;
use crate::value::Value;
use crate::witness::{Change, Observed};

const PROPERTY: Property = Property {
    name: "answers are those of the replayed log",
    stated_in: "Schneider 1990, section 1",
};

/// A replica is the first to have the last of these effects.
pub(super) fn happened(fresh: &mut FreshMachines, node: usize, effects: &[Effect]) -> Verdict {
    let expected = fresh.happened(effects);
    let Some(effect) = effects.last() else { return Ok(()) };
    is_response(fresh.subject(), node, &effect.change, effect, expected.as_ref())
}

/// A replica has an effect that another had before.
pub(super) fn repeated(
    subject: &dyn Subject,
    node: usize,
    change: &Change,
    known: &Effect,
) -> Verdict {
    is_response(subject, node, change, known, known.change.response.as_ref())
}

fn is_response(
    subject: &dyn Subject,
    node: usize,
    change: &Change,
    effect: &Effect,
    expected: Option<&Value>,
) -> Verdict {
    PROPERTY.require(change.response.as_ref() == expected, || {
        let (node, op, index) = (node + 1, effect.op, change.index);
        let words = subject.command_in_words(&effect.body).unwrap_or_default();
        let (said, expected) = (shown(change.response.as_ref()), shown(expected));
        format!(
            "replica {node} responds {said} to {op:?} ({words}) at {index:?}; a fresh machine, \
             given the same commands, responds {expected}: {LOOK_FOR}"
        )
    })
}

/// A replica whose machine has had these effects answers a query.
pub(super) fn answered(
    fresh: &mut FreshMachines,
    node: usize,
    query: &Value,
    observed: &Observed<Value>,
    effects: &[Effect],
) -> Verdict {
    let expected = fresh.at(node, effects).query(&observed.at(), query);
    PROPERTY.require(observed.answer == expected, || {
        let (node, words) = (node + 1, fresh.subject().query_in_words(query));
        let (said, index) = (&observed.answer, observed.index);
        format!(
            "replica {node} answers {said:?} to a query ({words}) at {index:?}; a fresh machine, \
             given the same commands, answers {expected:?}: {LOOK_FOR}"
        )
    })
}

fn shown(response: Option<&Value>) -> String {
    response.map_or("nothing".to_owned(), |response| format!("{response:?}"))
}

#[cfg(test)]
mod tests {
    use quorate_core::{Index, LogTime};

    use super::super::testing::{Shelf, effect, two_effects};
    use super::*;

    fn observed(index: u64, answer: u64) -> Observed<Value> {
        let (index, time, seed, deadline) = (Index(index), LogTime(0), 0, None);
        Observed { index, time, seed, deadline, answer: Value::of(&answer) }
    }

    #[test]
    fn a_response_that_a_fresh_machine_would_not_give_is_found() {
        let (mut fresh, mut effects) = two_effects();
        effects.push(effect(3, 9));
        effects[2].change.response = Some(Value::of(&5_u64));
        assert_eq!(happened(&mut fresh, 0, &effects).unwrap_err().property, PROPERTY.name);
    }

    #[test]
    fn a_replica_that_responds_otherwise_than_others_did_is_found() {
        let effects = [effect(1, 7), effect(2, 8)];
        repeated(&Shelf, 1, &effects[1].change, &effects[1]).unwrap();
        let other = Change { response: Some(Value::of(&5_u64)), ..effects[1].change.clone() };
        let responds = repeated(&Shelf, 1, &other, &effects[1]);
        assert_eq!(responds.unwrap_err().property, PROPERTY.name);
    }

    #[test]
    fn answers_are_compared_where_the_replica_is_also_after_it_went_back() {
        let (mut fresh, effects) = two_effects();
        let query = Value::of(&());
        for count in [0, 2, 1, 2] {
            let seen = [0, 7, 8][count];
            let mut answers = |answer| {
                answered(&mut fresh, 1, &query, &observed(count as u64, answer), &effects[..count])
            };
            answers(seen).unwrap();
            assert_eq!(answers(9).unwrap_err().property, PROPERTY.name);
        }
    }
}
