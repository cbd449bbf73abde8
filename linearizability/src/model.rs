//! What the object would do if it took one operation at a time.

use std::fmt::Debug;
use std::hash::Hash;

/// The sequential specification of an object.
///
/// ```
/// use quorate_linearizability::{Effect, Model};
///
/// /// A set to which names are added. Each name is by itself.
/// struct Names;
///
/// #[derive(Clone, Debug, PartialEq, Eq, Hash)]
/// enum Input {
///     /// Returns whether it was not there.
///     Add(&'static str),
///     Contains(&'static str),
/// }
///
/// impl Model for Names {
///     type Input = Input;
///     type Output = bool;
///     type Key = &'static str;
///     type State = bool;
///
///     fn key(&self, input: &Input) -> &'static str {
///         match input {
///             Input::Add(name) | Input::Contains(name) => name,
///         }
///     }
///
///     fn initial(&self, _name: &&'static str) -> bool {
///         false
///     }
///
///     fn step(&self, is_there: &bool, input: &Input, output: Option<&bool>) -> Option<bool> {
///         let (expected, after) = match input {
///             Input::Add(_) => (!is_there, true),
///             Input::Contains(_) => (*is_there, *is_there),
///         };
///         output.is_none_or(|output| *output == expected).then_some(after)
///     }
///
///     fn effect(&self, input: &Input, _output: Option<&bool>) -> Effect {
///         match input {
///             Input::Add(_) => Effect::Overwrites,
///             Input::Contains(_) => Effect::Reads,
///         }
///     }
/// }
/// ```
pub trait Model {
    /// What an operation is asked to do.
    type Input: Clone + Debug + Eq + Hash;
    /// What it returned.
    type Output: Clone + Debug;
    /// Names a part of the object that is independent of all other parts. `()` if there is just one.
    type Key: Clone + Debug + Ord;
    /// The state of one such part.
    type State: Clone + Eq + Hash;

    /// The part that an operation is about. Operations of different keys must not affect each other.
    fn key(&self, input: &Self::Input) -> Self::Key;

    /// How a part is in the beginning.
    fn initial(&self, key: &Self::Key) -> Self::State;

    /// The state after an operation, or `None` if in this state it cannot return this output.
    /// Without an output nobody knows what it returned: anything that it may return is right.
    ///
    /// The same arguments must give the same state. Where the object may choose, and the output does
    /// not tell what it chose, let [`State`](Model::State) be the set of possible states.
    fn step(
        &self,
        state: &Self::State,
        input: &Self::Input,
        output: Option<&Self::Output>,
    ) -> Option<Self::State>;

    /// What is known of the effect of an operation that returned this output, in whatever state; without
    /// an output nobody knows what it returned. The search is faster for it, and wrong if it is wrong;
    /// [`Effect::Any`] is always right.
    fn effect(&self, input: &Self::Input, output: Option<&Self::Output>) -> Effect {
        let _ = (input, output);
        Effect::Any
    }
}

/// What an operation does to the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It changes no state.
    Reads,
    /// The state afterwards is the same whatever it was before; and if its output is not known, it can
    /// happen in every state.
    Overwrites,
    /// Anything else.
    Any,
}
