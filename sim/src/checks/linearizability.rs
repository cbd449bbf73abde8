//! Linearizability (Herlihy and Wing 1990, section 2.2; Ongaro 2014, section 6.4) of what clients saw, and
//! whatever else the [workload](crate::Workload::judge) demands of that: of that alone, whatever order
//! the log gives to it.
//!
//! It is judged once a run has come to rest.

use std::collections::BTreeMap;

use quorate_linearizability::{Call, ClientId};

use super::{Property, Violation};
use crate::clients::OpId;
use crate::subject::{Recorded, Subject};
use crate::value::Value;
use crate::workload::{Input, Objection, Output};

const PROPERTY: Property = Property {
    name: "what clients saw can be",
    stated_in: "Herlihy and Wing 1990, section 2.2; quorate, Workload::judge",
};

/// The history of all clients.
#[derive(Default)]
pub(super) struct Linearizability {
    history: Recorded,
    /// Writes that were asked for, and whether they have their answer.
    writes: BTreeMap<OpId, Option<Call>>,
    /// Attempts to read that have none yet.
    reads: BTreeMap<(OpId, u64), Call>,
}

impl Linearizability {
    /// A node was asked to write.
    pub(super) fn asked_to_write(&mut self, client: usize, op: OpId, command: &Value) {
        if !self.writes.contains_key(&op) {
            let input = Input::Command(command.clone());
            let call = self.history.call(ClientId(client as u64), input);
            self.writes.insert(op, Some(call));
        }
    }

    /// A node was asked to read.
    pub(super) fn asked_to_read(&mut self, client: usize, op: OpId, attempt: u64, query: &Value) {
        let call = self.history.call(ClientId(client as u64), Input::Query(query.clone()));
        self.reads.insert((op, attempt), call);
    }

    /// A write was answered, perhaps again.
    pub(super) fn wrote(&mut self, op: OpId, response: &Value) {
        if let Some(call) = self.writes.get_mut(&op).and_then(Option::take) {
            self.history.returned(call, Output::Response(response.clone()));
        }
    }

    /// An attempt to read was answered.
    pub(super) fn read(&mut self, op: OpId, attempt: u64, answer: &Value) {
        if let Some(call) = self.reads.remove(&(op, attempt)) {
            self.history.returned(call, Output::Answer(answer.clone()));
        }
    }

    /// Nothing more will happen. False if the history could not be judged.
    pub(super) fn concluded(&self, subject: &dyn Subject) -> Result<bool, Violation> {
        match subject.objection(&self.history) {
            None => Ok(true),
            Some(Objection::Undecided) => Ok(false),
            Some(Objection::Wrong(what)) => Err(PROPERTY.violation(what)),
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_linearizability::models::{Register, RegisterInput, RegisterOutput};
    use quorate_linearizability::{Checker, Minimum, Operation, Outcome};

    use super::super::testing::Held;
    use super::*;
    use crate::workload::{ClientHistory, Draw, Workload};

    /// Clients of a machine that is a register.
    struct Judged;

    impl Workload for Judged {
        type Machine = Held;

        fn machine(&self) -> Held {
            Held::default()
        }

        fn command(&self, draw: &mut Draw<'_>) -> u64 {
            draw.number
        }

        fn query(&self, _: &mut Draw<'_>) {}

        fn judge(&self, history: &ClientHistory<Held>) -> Result<(), Objection> {
            let as_register = history.operations().iter().map(|operation| Operation {
                client: operation.client,
                called: operation.called,
                input: match operation.input {
                    Input::Command(put) => RegisterInput::Swap(put),
                    Input::Query(()) => RegisterInput::Read,
                },
                outcome: match operation.outcome {
                    Outcome::Returned { at, output } => {
                        let (Output::Response(held) | Output::Answer(held)) = output;
                        Outcome::Returned { at, output: RegisterOutput::Value(held) }
                    }
                    Outcome::Unknown => Outcome::Unknown,
                    Outcome::Failed => Outcome::Failed,
                },
            });
            let checker = Checker::new(Register::new(0), Minimum::NONE);
            checker.check(&as_register.collect())?;
            Ok(())
        }
    }

    fn value(held: u64) -> Value {
        Value::of(&held)
    }

    #[test]
    fn each_attempt_to_read_is_judged_and_each_write_once() {
        let mut check = Linearizability::default();
        check.asked_to_write(1, OpId(7), &value(7));
        check.wrote(OpId(7), &value(0));
        check.asked_to_write(2, OpId(8), &value(8));
        check.asked_to_write(2, OpId(8), &value(8));
        check.wrote(OpId(8), &value(7));
        check.wrote(OpId(7), &value(0));
        for attempt in [1, 2] {
            check.asked_to_read(3, OpId(9), attempt, &Value::of(&()));
        }
        check.read(OpId(9), 2, &value(8));
        assert_eq!(check.concluded(&Judged), Ok(true));
        check.asked_to_read(3, OpId(10), 1, &Value::of(&()));
        check.read(OpId(10), 1, &value(7));
        let violation = check.concluded(&Judged).unwrap_err();
        assert!(violation.details.contains("client 3: Read"), "{violation}");
    }
}
