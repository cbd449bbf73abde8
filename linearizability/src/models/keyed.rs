//! Many objects of one kind, each under a key.

use std::fmt::Debug;
use std::hash::Hash;
use std::marker::PhantomData;

use super::Register;
use crate::model::{Effect, Model};

/// An object of model `M` under each key. The input is a key and what its object is asked.
#[derive(Clone, Copy, Debug)]
pub struct Keyed<K, M> {
    each: M,
    key: PhantomData<fn() -> K>,
}

/// A register under each key, which holds nothing in the beginning. Deleting writes `None`.
pub type KeyValue<K, V> = Keyed<K, Register<Option<V>>>;

impl<K, M> Keyed<K, M> {
    /// The object under each key is as this model says.
    #[must_use]
    pub fn new(each: M) -> Keyed<K, M> {
        Keyed { each, key: PhantomData }
    }
}

impl<K, V> Default for KeyValue<K, V> {
    fn default() -> KeyValue<K, V> {
        Keyed::new(Register::new(None))
    }
}

impl<K: Clone + Debug + Ord + Hash, M: Model<Key = ()>> Model for Keyed<K, M> {
    type Input = (K, M::Input);
    type Output = M::Output;
    type Key = K;
    type State = M::State;

    fn key(&self, (key, _): &(K, M::Input)) -> K {
        key.clone()
    }

    fn initial(&self, _key: &K) -> M::State {
        self.each.initial(&())
    }

    fn step(
        &self,
        state: &M::State,
        (_, input): &(K, M::Input),
        output: Option<&M::Output>,
    ) -> Option<M::State> {
        self.each.step(state, input, output)
    }

    fn effect(&self, (_, input): &(K, M::Input), output: Option<&M::Output>) -> Effect {
        self.each.effect(input, output)
    }
}
