//! A register.

use std::fmt::Debug;
use std::hash::Hash;

use crate::model::{Effect, Model};

/// One register, which holds a value.
#[derive(Clone, Copy, Debug)]
pub struct Register<V> {
    initial: V,
}

/// What a [`Register`] can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RegisterInput<V> {
    /// What does it hold?
    Read,
    /// Let it hold this.
    Write(V),
    /// Let it hold this; what did it hold before?
    Swap(V),
    /// Let it hold `new` if it holds `expected`.
    CompareAndSet {
        /// What it must hold.
        expected: V,
        /// What it is to hold.
        new: V,
    },
}

/// What a [`Register`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RegisterOutput<V> {
    /// To a read: what it holds. To a swap: what it held before.
    Value(V),
    /// To a write, or to a swap of which the answer does not matter.
    Written,
    /// To a compare-and-set: whether it held what was expected.
    Swapped(bool),
}

impl<V> Register<V> {
    /// A register that holds this in the beginning.
    #[must_use]
    pub fn new(initial: V) -> Register<V> {
        Register { initial }
    }
}

impl<V: Clone + Debug + Eq + Hash> Model for Register<V> {
    type Input = RegisterInput<V>;
    type Output = RegisterOutput<V>;
    type Key = ();
    type State = V;

    fn key(&self, _input: &RegisterInput<V>) {}

    fn initial(&self, _key: &()) -> V {
        self.initial.clone()
    }

    fn step(
        &self,
        state: &V,
        input: &RegisterInput<V>,
        output: Option<&RegisterOutput<V>>,
    ) -> Option<V> {
        use RegisterInput::{CompareAndSet, Read, Swap, Write};
        use RegisterOutput::{Swapped, Value, Written};
        match (input, output) {
            (Read, None) => Some(state.clone()),
            (Read, Some(Value(value))) if value == state => Some(state.clone()),
            (Write(value) | Swap(value), None | Some(Written)) => Some(value.clone()),
            (Swap(value), Some(Value(before))) if before == state => Some(value.clone()),
            (CompareAndSet { expected, new }, output) => {
                let fits = expected == state;
                match output {
                    Some(Swapped(swapped)) if *swapped != fits => None,
                    Some(Value(_) | Written) => None,
                    None | Some(Swapped(_)) => Some(if fits { new } else { state }.clone()),
                }
            }
            (Read | Write(_) | Swap(_), Some(_)) => None,
        }
    }

    fn effect(&self, input: &RegisterInput<V>, output: Option<&RegisterOutput<V>>) -> Effect {
        match (input, output) {
            (RegisterInput::Read, _) => Effect::Reads,
            (RegisterInput::Write(_) | RegisterInput::Swap(_), _) => Effect::Overwrites,
            (RegisterInput::CompareAndSet { .. }, Some(RegisterOutput::Swapped(false))) => {
                Effect::Reads
            }
            (RegisterInput::CompareAndSet { .. }, _) => Effect::Any,
        }
    }
}
