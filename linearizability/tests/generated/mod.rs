//! Histories of a key-value store that is linearizable, with many clients, and of any size.

use quorate_linearizability::models::{RegisterInput, RegisterOutput};
use quorate_linearizability::{ClientId, History, Operation, Outcome};

pub type Input = (u32, RegisterInput<Option<u64>>);
pub type Output = RegisterOutput<Option<u64>>;

/// What is to be generated.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub operations: usize,
    pub keys: u32,
    pub clients: u64,
    /// Of how many in a thousand the outcome is unknown; half of these took effect.
    pub unknown_permille: u32,
}

/// Each operation takes effect at a moment between its call and its return. Written values are
/// unique.
pub fn generate(seed: u64, shape: Shape) -> History<Input, Output> {
    use RegisterInput::{CompareAndSet, Read, Write};
    let mut random = fastrand::Rng::with_seed(seed);
    let mut free_at = vec![0_u64; shape.clients as usize];
    let mut planned = Vec::new();
    for number in 0..shape.operations {
        let client = (0..free_at.len()).min_by_key(|client| free_at[*client]).unwrap();
        let called = free_at[client] + random.u64(1..50);
        let effect = called + random.u64(0..100);
        let returned = effect + random.u64(0..100);
        free_at[client] = returned;
        planned.push((effect, called, returned, client, number as u64));
    }
    planned.sort_unstable();
    let mut values = vec![None; shape.keys as usize];
    let mut history = History::new();
    for (_, called, returned, client, number) in planned {
        let key = random.u32(0..shape.keys);
        let value = &mut values[key as usize];
        let is_unknown = random.u32(0..1000) < shape.unknown_permille;
        let took_effect = !is_unknown || random.bool();
        let next = Some(number);
        let (input, output, after) = match random.u8(0..10) {
            0..5 => (Read, RegisterOutput::Value(*value), *value),
            5..8 => (Write(next), RegisterOutput::Written, next),
            8 => {
                let expected = *value;
                (CompareAndSet { expected, new: next }, RegisterOutput::Swapped(true), next)
            }
            _ => {
                let expected = Some(u64::MAX - number);
                (CompareAndSet { expected, new: next }, RegisterOutput::Swapped(false), *value)
            }
        };
        if took_effect {
            *value = after;
        }
        let outcome = Outcome::Returned { at: returned, output };
        let outcome = if is_unknown { Outcome::Unknown } else { outcome };
        let client = ClientId(client as u64);
        history.add(Operation { client, input: (key, input), called, outcome });
    }
    history
}

/// Has the last read of the history that returned an answer return what was there long before.
pub fn spoil(history: &History<Input, Output>) -> History<Input, Output> {
    let mut operations = history.operations().to_vec();
    let read = operations.iter().rposition(|operation| {
        operation.input.1 == RegisterInput::Read
            && matches!(operation.outcome, Outcome::Returned { .. })
    });
    let read = read.unwrap();
    let key = operations[read].input.0;
    let stale = operations.iter().find_map(|operation| match operation {
        Operation { input: (k, RegisterInput::Write(value)), outcome, .. }
            if *k == key && matches!(outcome, Outcome::Returned { .. }) =>
        {
            Some(*value)
        }
        _ => None,
    });
    let Outcome::Returned { output, .. } = &mut operations[read].outcome else { unreachable!() };
    *output = RegisterOutput::Value(stale.unwrap());
    operations.into_iter().collect()
}
