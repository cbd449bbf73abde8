//! Outputs of a state machine are determined by the sequence of requests that it processes, and by
//! nothing else (Schneider 1990, section 1). So whatever a replica responds and answers is what a
//! fresh machine says which is given the committed commands one after the other, and a machine restored
//! from a snapshot is in the state of that fresh machine.

use std::sync::Arc;

use super::state_machine_safety::Effect;
use super::{Property, Verdict};
use crate::subject::{Replay, Subject};
use crate::value::Value;
use crate::witness::{Change, Observed};

const STATED_IN: &str = "Schneider 1990, section 1";
const ANSWERS: Property =
    Property { name: "answers are those of the replayed log", stated_in: STATED_IN };
const STATES: Property =
    Property { name: "machines are equal at an equal index", stated_in: STATED_IN };

/// What makes a machine differ from a fresh one, most of the time.
const LOOK_FOR: &str = "look for state that the snapshot leaves out, for clocks and random numbers in \
                        apply, and for the order of a HashMap";

/// Fresh machines: one for each replica, brought to where that is when its answers are looked at,
/// and one in front of them all.
pub(super) struct Replays {
    subject: Arc<dyn Subject>,
    front: Fresh,
    replicas: Vec<Fresh>,
}

/// A fresh machine that has had so many effects.
struct Fresh {
    machine: Box<dyn Replay>,
    count: usize,
}

impl Fresh {
    fn new(subject: &Arc<dyn Subject>) -> Fresh {
        Fresh { machine: subject.replay(), count: 0 }
    }

    /// Has it do everything that it has not done. Gives the last response.
    fn go_on(&mut self, effects: &[Effect]) -> Option<Value> {
        let mut last = None;
        for Effect { change, body, .. } in &effects[self.count..] {
            let at = change.at();
            last = match change.response {
                Some(_) => Some(self.machine.apply(&at, body)),
                None => {
                    self.machine.expire(&at);
                    None
                }
            };
        }
        self.count = effects.len();
        last
    }
}

impl Replays {
    pub(super) fn new(subject: Arc<dyn Subject>, nodes: usize) -> Replays {
        let front = Fresh::new(&subject);
        let replicas = (0..nodes).map(|_| Fresh::new(&subject)).collect();
        Replays { subject, front, replicas }
    }

    /// A replica is the first to have the last of these effects.
    pub(super) fn happened(&mut self, node: usize, effects: &[Effect]) -> Verdict {
        let expected = self.front.go_on(effects);
        let Some(effect) = effects.last() else { return Ok(()) };
        self.is_response(node, &effect.change, effect, expected.as_ref())
    }

    /// A replica has an effect that another had before.
    pub(super) fn repeated(&self, node: usize, change: &Change, known: &Effect) -> Verdict {
        self.is_response(node, change, known, known.change.response.as_ref())
    }

    fn is_response(
        &self,
        node: usize,
        change: &Change,
        effect: &Effect,
        expected: Option<&Value>,
    ) -> Verdict {
        ANSWERS.require(change.response.as_ref() == expected, || {
            let (node, op, index) = (node + 1, effect.op, change.index);
            let words = self.subject.command_in_words(&effect.body).unwrap_or_default();
            let (said, expected) = (shown(change.response.as_ref()), shown(expected));
            format!(
                "replica {node} responds {said} to {op:?} ({words}) at {index:?}; a fresh machine, \
                 given the same commands, responds {expected}: {LOOK_FOR}"
            )
        })
    }

    /// A replica whose machine has had these effects answers a query.
    pub(super) fn answered(
        &mut self,
        node: usize,
        query: &Value,
        observed: &Observed<Value>,
        effects: &[Effect],
    ) -> Verdict {
        let expected = self.at(node, effects).query(&observed.at(), query);
        ANSWERS.require(observed.answer == expected, || {
            let (node, words) = (node + 1, self.subject.query_in_words(query));
            let (said, index) = (&observed.answer, observed.index);
            format!(
                "replica {node} answers {said:?} to a query ({words}) at {index:?}; a fresh machine, \
                 given the same commands, answers {expected:?}: {LOOK_FOR}"
            )
        })
    }

    /// The machine of a replica, which has had these effects, is in this state.
    pub(super) fn stands(&mut self, node: usize, state: &[u8], effects: &[Effect]) -> Verdict {
        let expected = self.at(node, effects).state();
        STATES.require(state == expected, || {
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

    /// The fresh machine where this replica is.
    fn at(&mut self, node: usize, effects: &[Effect]) -> &dyn Replay {
        if self.front.count == effects.len() {
            return &*self.front.machine;
        }
        let fresh = &mut self.replicas[node];
        if fresh.count > effects.len() {
            *fresh = Fresh::new(&self.subject);
        }
        fresh.go_on(effects);
        &*fresh.machine
    }
}

fn shown(response: Option<&Value>) -> String {
    response.map_or("nothing".to_owned(), |response| format!("{response:?}"))
}

#[cfg(test)]
mod tests {
    use quorate_core::{Index, LogTime};

    use super::super::testing::{Shelf, effect};
    use super::*;

    fn observed(index: u64, answer: u64) -> Observed<Value> {
        Observed { index: Index(index), time: LogTime(0), seed: 0, answer: Value::of(&answer) }
    }

    /// Two replicas; requests 7 and 8 happened on the first.
    fn two_effects() -> (Replays, Vec<Effect>) {
        let mut check = Replays::new(Arc::new(Shelf), 2);
        let effects = vec![effect(1, 7), effect(2, 8)];
        check.happened(0, &effects[..1]).unwrap();
        check.happened(0, &effects).unwrap();
        (check, effects)
    }

    #[test]
    fn a_response_that_a_fresh_machine_would_not_give_is_found() {
        let (mut check, mut effects) = two_effects();
        effects.push(effect(3, 9));
        effects[2].change.response = Some(Value::of(&5_u64));
        assert_eq!(check.happened(0, &effects).unwrap_err().property, ANSWERS.name);
    }

    #[test]
    fn a_replica_that_responds_otherwise_than_others_did_is_found() {
        let (check, effects) = two_effects();
        check.repeated(1, &effects[1].change, &effects[1]).unwrap();
        let other = Change { response: Some(Value::of(&5_u64)), ..effects[1].change.clone() };
        assert_eq!(check.repeated(1, &other, &effects[1]).unwrap_err().property, ANSWERS.name);
    }

    #[test]
    fn answers_are_compared_where_the_replica_is_also_after_it_went_back() {
        let (mut check, effects) = two_effects();
        let query = Value::of(&());
        for count in [0, 2, 1, 2] {
            let seen = [0, 7, 8][count];
            let mut answers = |answer| {
                check.answered(1, &query, &observed(count as u64, answer), &effects[..count])
            };
            answers(seen).unwrap();
            assert_eq!(answers(9).unwrap_err().property, ANSWERS.name);
        }
    }

    #[test]
    fn a_state_that_is_not_that_of_a_fresh_machine_is_found() {
        let (mut check, effects) = two_effects();
        check.stands(1, &[7], &effects[..1]).unwrap();
        assert_eq!(check.stands(1, &[8], &effects[..1]).unwrap_err().property, STATES.name);
        assert_eq!(check.stands(1, &[7, 0], &effects[..1]).unwrap_err().property, STATES.name);
    }
}
