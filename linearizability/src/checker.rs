//! The way in: a history is taken apart by keys, and each part is searched.

use std::collections::BTreeMap;

use crate::error::CheckError;
use crate::history::{History, Operation, Outcome};
use crate::minimum::{Minimum, Traffic};
use crate::model::{Effect, Model};
use crate::search::{Allowance, Found, Item, search};
use crate::shrink::shrink;
use crate::violation::Violation;

/// Checks histories against a model.
#[derive(Clone, Copy, Debug)]
pub struct Checker<M> {
    model: M,
    minimum: Minimum,
    budget: Budget,
}

/// What one check may spend. It does not depend on the machine: a check that is undecided here is so
/// everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// How often [`Model::step`] may be called to decide, and as often again to find a smallest
    /// violation. A million take some 20 ms with a simple model.
    pub steps: u64,
    /// How much may be remembered of the search at any time, not counting what states hold on the heap.
    pub memo_bytes: usize,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { steps: 100_000_000, memo_bytes: 1 << 29 }
    }
}

/// What a check that succeeded has looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linearizable {
    /// What was in the history.
    pub traffic: Traffic,
    /// How many operations that do not only read had an unknown outcome.
    pub unknown: usize,
    /// How many keys there were.
    pub keys: usize,
    /// How many steps of the model it took.
    pub steps: u64,
}

/// The operations of each key, but for those that have no say.
type Parts<'a, M> = BTreeMap<<M as Model>::Key, Operations<'a, M>>;
type Operations<'a, M> = Vec<&'a Operation<<M as Model>::Input, <M as Model>::Output>>;

impl<M: Model> Checker<M> {
    /// Rejects histories in which too little happened to show anything. There is no default: what
    /// is enough depends on what is tested.
    #[must_use]
    pub fn new(model: M, minimum: Minimum) -> Checker<M> {
        Checker { model, minimum, budget: Budget::default() }
    }

    /// Spends no more than this on a check.
    #[must_use]
    pub fn budget(self, budget: Budget) -> Checker<M> {
        Checker { budget, ..self }
    }

    /// Checks a history.
    ///
    /// # Errors
    /// If it is not linearizable, if that cannot be decided within the budget, if too little happened
    /// in it, or if it contradicts itself.
    pub fn check(
        &self,
        history: &History<M::Input, M::Output>,
    ) -> Result<Linearizable, CheckError<M::Input, M::Output>> {
        let parts = self.parts(history)?;
        let mut report =
            Linearizable { traffic: Traffic::default(), unknown: 0, keys: parts.len(), steps: 0 };
        let (mut undecided, mut steps_left) = (0, self.budget.steps);
        for (number, (key, operations)) in parts.iter().enumerate() {
            // What one part leaves is for the others, but no part takes what is the others'.
            let steps = steps_left / (parts.len() - number) as u64;
            let mut allowance = Allowance { steps, memo_bytes: self.budget.memo_bytes };
            let items: Vec<Item<'_, M>> = operations.iter().copied().map(item).collect();
            let found = search(&self.model, self.model.initial(key), &items, &mut allowance);
            steps_left -= steps - allowance.steps;
            match found {
                Found::Order(_) => {}
                Found::GivenUp => undecided += 1,
                Found::Nothing { stuck_at } => {
                    return Err(self.violation(key, operations, stuck_at));
                }
            }
            report.traffic.count(&self.model, operations);
            report.unknown += items.iter().filter(|item| item.returned.is_none()).count();
        }
        report.steps = self.budget.steps - steps_left;
        if undecided > 0 {
            let (keys, steps) = (parts.len(), report.steps);
            return Err(CheckError::Undecided { undecided, keys, steps });
        }
        let (traffic, minimum) = (report.traffic, self.minimum);
        if !minimum.is_met_by(&traffic) {
            return Err(CheckError::TooLittleTraffic { traffic, minimum });
        }
        Ok(report)
    }

    fn parts<'a>(
        &self,
        history: &'a History<M::Input, M::Output>,
    ) -> Result<Parts<'a, M>, CheckError<M::Input, M::Output>> {
        let mut parts: Parts<'a, M> = BTreeMap::new();
        for (position, operation) in history.operations().iter().enumerate() {
            let has_a_say = match operation.outcome {
                Outcome::Failed => false,
                Outcome::Unknown => self.model.effect(&operation.input, None) != Effect::Reads,
                Outcome::Returned { at, .. } if at < operation.called => {
                    let (operation, called) = (position, operation.called);
                    return Err(CheckError::ReturnedBeforeCalled {
                        operation,
                        called,
                        returned: at,
                    });
                }
                Outcome::Returned { .. } => true,
            };
            if has_a_say {
                parts.entry(self.model.key(&operation.input)).or_default().push(operation);
            }
        }
        Ok(parts)
    }

    fn violation(
        &self,
        key: &M::Key,
        operations: &Operations<'_, M>,
        stuck_at: u64,
    ) -> CheckError<M::Input, M::Output> {
        let Budget { steps, memo_bytes } = self.budget;
        let allowance = Allowance { steps, memo_bytes };
        let shrunk = shrink(&self.model, self.model.initial(key), operations, stuck_at, allowance);
        // An object without keys has the key `()`, of which nobody wants to hear.
        let key = format!("{key:?}");
        let key = if key == "()" { None } else { Some(key) };
        CheckError::NotLinearizable(Box::new(Violation::new(key, operations, &shrunk)))
    }
}

/// An operation as the search sees it.
pub(crate) fn item<M: Model>(operation: &Operation<M::Input, M::Output>) -> Item<'_, M> {
    let returned = match &operation.outcome {
        Outcome::Returned { at, output } => Some((*at, output)),
        Outcome::Unknown | Outcome::Failed => None,
    };
    Item { input: &operation.input, called: operation.called, returned }
}
