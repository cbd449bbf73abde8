//! A counter.

use crate::model::{Effect, Model};

/// One counter, which begins at zero and does not overflow: an addition that would is impossible.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counter;

/// What a [`Counter`] can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CounterInput {
    /// Where does it stand?
    Read,
    /// Add this, which may be negative.
    Add(i64),
}

/// What a [`Counter`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CounterOutput {
    /// Where it stands; to an addition, after that.
    Value(i64),
    /// To an addition: it was done.
    Added,
}

impl Model for Counter {
    type Input = CounterInput;
    type Output = CounterOutput;
    type Key = ();
    type State = i64;

    fn key(&self, _input: &CounterInput) {}

    fn initial(&self, _key: &()) -> i64 {
        0
    }

    fn step(
        &self,
        state: &i64,
        input: &CounterInput,
        output: Option<&CounterOutput>,
    ) -> Option<i64> {
        let (after, may_be_silent) = match input {
            CounterInput::Read => (*state, false),
            CounterInput::Add(amount) => (state.checked_add(*amount)?, true),
        };
        let fits = match output {
            None => true,
            Some(CounterOutput::Value(value)) => *value == after,
            Some(CounterOutput::Added) => may_be_silent,
        };
        fits.then_some(after)
    }

    fn effect(&self, input: &CounterInput, _output: Option<&CounterOutput>) -> Effect {
        match input {
            CounterInput::Read => Effect::Reads,
            CounterInput::Add(_) => Effect::Any,
        }
    }
}
