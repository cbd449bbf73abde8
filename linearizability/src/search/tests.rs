//! Against a search that tries everything, on small random histories.

use std::collections::BTreeSet;

use super::*;
use crate::models::{
    Counter, CounterInput, CounterOutput, Register, RegisterInput, RegisterOutput,
};

struct Recorded<M: Model> {
    input: M::Input,
    called: u64,
    returned: Option<(u64, M::Output)>,
}

fn items<M: Model>(recorded: &[Recorded<M>]) -> Vec<Item<'_, M>> {
    let mut items = Vec::new();
    for Recorded { input, called, returned } in recorded {
        let returned = returned.as_ref().map(|(at, output)| (*at, output));
        items.push(Item { input, called: *called, returned });
    }
    items
}

/// Which operations may come next is asked of the definition, and everything is tried.
fn brute_force<M: Model>(
    model: &M,
    state: &M::State,
    left: &BTreeSet<usize>,
    items: &[Item<'_, M>],
) -> bool {
    if left.iter().all(|position| items[*position].returned.is_none()) {
        return true;
    }
    left.iter().any(|position| {
        let item = &items[*position];
        let precedes =
            |other: &usize| items[*other].returned.is_some_and(|(at, _)| at < item.called);
        if left.iter().any(precedes) {
            return false;
        }
        let mut rest = left.clone();
        rest.remove(position);
        let output = item.returned.map(|(_, output)| output);
        model
            .step(state, item.input, output)
            .is_some_and(|after| brute_force(model, &after, &rest, items))
    })
}

/// The order obeys real time, leaves nothing out that returned, and explains every output.
fn assert_explains<M: Model>(
    model: &M,
    mut state: M::State,
    order: &[usize],
    items: &[Item<'_, M>],
) {
    let used: BTreeSet<usize> = order.iter().copied().collect();
    assert_eq!(used.len(), order.len(), "twice the same operation");
    for (position, item) in items.iter().enumerate() {
        assert!(item.returned.is_none() || used.contains(&position), "one is left out");
    }
    for (place, position) in order.iter().enumerate() {
        let item = &items[*position];
        for later in &order[place + 1..] {
            let returned = items[*later].returned;
            assert!(returned.is_none_or(|(at, _)| at >= item.called), "against real time");
        }
        let output = item.returned.map(|(_, output)| output);
        state = model.step(&state, item.input, output).expect("this step is impossible");
    }
}

/// Random operations, with answers that are often, but not always, those of an object that does one
/// after the other.
fn random_history<M: Model>(
    random: &mut fastrand::Rng,
    model: &M,
    mut state: M::State,
    input: impl Fn(&mut fastrand::Rng) -> M::Input,
    outputs: impl Fn(&M::Input) -> Vec<M::Output>,
) -> Vec<Recorded<M>> {
    let operations = random.usize(1..8);
    let longest = random.u64(1..12);
    let mut recorded = Vec::new();
    for number in 0..operations as u64 {
        let input = input(random);
        let possible = outputs(&input);
        let right =
            possible.iter().find(|output| model.step(&state, &input, Some(output)).is_some());
        let output = match right {
            Some(right) if random.u8(0..6) > 0 => right.clone(),
            _ => possible[random.usize(0..possible.len())].clone(),
        };
        if let Some(after) = model.step(&state, &input, None)
            && random.u8(0..8) > 0
        {
            state = after;
        }
        // The moment at which it took effect, more or less, is somewhere in between.
        let called = (number * 3).saturating_sub(random.u64(0..longest));
        let returned = number * 3 + random.u64(0..longest);
        let returned = (random.u8(0..5) > 0).then_some((returned, output));
        recorded.push(Recorded { input, called, returned });
    }
    recorded
}

fn cross_check<M: Model>(
    seed: u64,
    model: &M,
    initial: M::State,
    input: impl Fn(&mut fastrand::Rng) -> M::Input,
    outputs: impl Fn(&M::Input) -> Vec<M::Output>,
) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut count = [0; 2];
    for number in 0..20_000 {
        let history = random_history(&mut random, model, initial.clone(), &input, &outputs);
        let items = items(&history);
        let all = (0..items.len()).collect();
        let is_linearizable = brute_force(model, &initial, &all, &items);
        count[usize::from(is_linearizable)] += 1;
        let mut allowance = Allowance { steps: 1_000_000, memo_bytes: 1 << 20 };
        match search(model, initial.clone(), &items, &mut allowance) {
            Found::Order(order) => {
                assert!(is_linearizable, "history {number}");
                assert_explains(model, initial.clone(), &order, &items);
            }
            Found::Nothing { .. } => {
                let shown: Vec<_> =
                    history.iter().map(|it| (&it.input, it.called, it.returned.as_ref())).collect();
                assert!(!is_linearizable, "history {number}: {shown:?}");
            }
            Found::GivenUp => panic!("history {number}"),
        }
    }
    assert!(count.iter().all(|count| *count > 2000), "one-sided: {count:?}");
}

#[test]
fn registers_are_decided_as_by_trying_everything() {
    use RegisterInput::{CompareAndSet, Read, Swap, Write};
    let value = |random: &mut fastrand::Rng| random.u8(0..3);
    let input = |random: &mut fastrand::Rng| match random.u8(0..10) {
        0..4 => Read,
        4..7 => Write(value(random)),
        7 => Swap(value(random)),
        _ => CompareAndSet { expected: value(random), new: value(random) },
    };
    let values = || (0..3).map(RegisterOutput::Value);
    let outputs = |input: &RegisterInput<u8>| match input {
        Read | Swap(_) => values().collect(),
        Write(_) => vec![RegisterOutput::Written],
        CompareAndSet { .. } => [true, false].map(RegisterOutput::Swapped).to_vec(),
    };
    for seed in 0..3 {
        cross_check(seed, &Register::new(0), 0, input, outputs);
    }
}

#[test]
fn counters_are_decided_as_by_trying_everything() {
    let input = |random: &mut fastrand::Rng| match random.u8(0..3) {
        0 => CounterInput::Read,
        _ => CounterInput::Add(random.i64(1..3)),
    };
    let outputs = |input: &CounterInput| {
        let mut outputs: Vec<CounterOutput> = (0..8).map(CounterOutput::Value).collect();
        if *input != CounterInput::Read {
            outputs.insert(0, CounterOutput::Added);
        }
        outputs
    };
    for seed in 0..3 {
        cross_check(seed, &Counter, 0, input, outputs);
    }
}

/// A queue, whose state depends on the order of all that was done to it.
struct Queue;

impl Model for Queue {
    /// `None` takes out what is there longest.
    type Input = Option<u8>;
    type Output = Option<u8>;
    type Key = ();
    type State = Vec<u8>;

    fn key(&self, _input: &Option<u8>) {}

    fn initial(&self, _key: &()) -> Vec<u8> {
        Vec::new()
    }

    fn step(
        &self,
        state: &Vec<u8>,
        input: &Option<u8>,
        output: Option<&Option<u8>>,
    ) -> Option<Vec<u8>> {
        let mut state = state.clone();
        let out = match input {
            Some(value) => {
                state.push(*value);
                None
            }
            None if state.is_empty() => None,
            None => Some(state.remove(0)),
        };
        output.is_none_or(|output| *output == out).then_some(state)
    }
}

#[test]
fn queues_are_decided_as_by_trying_everything() {
    let input = |random: &mut fastrand::Rng| random.bool().then(|| random.u8(0..3));
    let outputs = |input: &Option<u8>| match input {
        Some(_) => vec![None],
        None => vec![Some(0), Some(1), Some(2), None],
    };
    for seed in 0..3 {
        cross_check(seed, &Queue, Vec::new(), input, outputs);
    }
}
