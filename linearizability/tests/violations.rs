//! What a violation shows: it is one, whatever became of all else, and nothing of it can be spared.
#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

mod generated;

use generated::{Shape, generate, spoil};
use quorate_linearizability::models::{
    Counter, CounterInput, CounterOutput, KeyValue, Register, RegisterInput, RegisterOutput,
};
use quorate_linearizability::{
    CheckError, Checker, ClientId, Effect, History, Minimum, Model, Operation, Outcome, Role,
    Violation,
};

type Of<M> = History<<M as Model>::Input, <M as Model>::Output>;

fn check<M: Model + Clone>(
    model: &M,
    history: &Of<M>,
) -> Option<Box<Violation<M::Input, M::Output>>> {
    match Checker::new(model.clone(), Minimum::NONE).check(history) {
        Ok(_) => None,
        Err(CheckError::NotLinearizable(violation)) => Some(violation),
        Err(other) => panic!("{other}"),
    }
}

/// The operations for which this holds are out of account.
fn without<M: Model>(
    model: &M,
    history: &Of<M>,
    is_out: impl Fn(&Operation<M::Input, M::Output>) -> bool,
) -> Of<M> {
    let operations = history.operations().iter().cloned();
    operations
        .map(|mut operation| {
            if is_out(&operation) {
                let had_no_effect = match &operation.outcome {
                    Outcome::Returned { output, .. } => {
                        model.effect(&operation.input, Some(output)) == Effect::Reads
                    }
                    Outcome::Unknown | Outcome::Failed => false,
                };
                operation.outcome = if had_no_effect { Outcome::Failed } else { Outcome::Unknown };
            }
            operation
        })
        .collect()
}

/// Clients name operations here: no two have the same.
fn assert_shows<M: Model + Clone>(
    model: &M,
    history: &Of<M>,
    violation: &Violation<M::Input, M::Output>,
) {
    let essential: Vec<ClientId> =
        violation.essential().map(|operation| operation.client).collect();
    assert!(violation.is_minimal() && !essential.is_empty(), "{violation}");
    let rest = without(model, history, |operation| !essential.contains(&operation.client));
    assert!(check(model, &rest).is_some(), "others matter:\n{violation}");
    let shown = violation.history();
    assert!(check(model, &shown).is_some(), "it does not stand for itself:\n{violation}");
    for client in &essential {
        let spared = without(model, &shown, |operation| operation.client == *client);
        assert!(check(model, &spared).is_none(), "{client:?} can be spared:\n{violation}");
    }
    for part in violation.parts().iter().filter(|part| part.role == Role::Context) {
        let operations = shown.operations().iter().cloned();
        let fewer: Of<M> = operations.filter(|it| it.client != part.operation.client).collect();
        let is_needed = essential.iter().any(|client| {
            check(model, &without(model, &fewer, |operation| operation.client == *client)).is_some()
        });
        assert!(is_needed, "{:?} explains nothing:\n{violation}", part.operation);
    }
}

fn random<M: Model + Clone>(
    model: &M,
    operation: impl Fn(&mut fastrand::Rng) -> (M::Input, M::Output),
) {
    let mut random = fastrand::Rng::with_seed(7);
    let (mut violations, mut larger) = (0, 0);
    for _ in 0..3000 {
        let operations = random.u64(1..14);
        let mut history = Of::<M>::new();
        for number in 0..operations {
            let (input, output) = operation(&mut random);
            let called = number * 2 + random.u64(0..6);
            let at = called + random.u64(0..8);
            let is_unknown = random.u8(0..8) == 0;
            let outcome = Outcome::Returned { at, output };
            let outcome = if is_unknown { Outcome::Unknown } else { outcome };
            history.add(Operation { client: ClientId(number), input, called, outcome });
        }
        if let Some(violation) = check(model, &history) {
            assert_shows(model, &history, &violation);
            violations += 1;
            larger += usize::from(violation.essential().count() > 2);
        }
    }
    assert!(violations > 500 && larger > 100, "{violations}, {larger}");
}

#[test]
fn of_random_register_histories_nothing_shown_can_be_spared() {
    use RegisterInput::{CompareAndSet, Read, Write};
    random(&Register::new(0), |random| {
        let mut value = || random.u8(0..3);
        let (one, other) = (value(), value());
        match random.u8(0..6) {
            0..2 => (Read, RegisterOutput::Value(one)),
            2..4 => (Write(one), RegisterOutput::Written),
            _ => {
                let swapped = RegisterOutput::Swapped(random.bool());
                (CompareAndSet { expected: one, new: other }, swapped)
            }
        }
    });
}

#[test]
fn of_random_counter_histories_nothing_shown_can_be_spared() {
    random(&Counter, |random| match random.u8(0..3) {
        0 => (CounterInput::Read, CounterOutput::Value(random.i64(0..6))),
        1 => (CounterInput::Add(random.i64(1..3)), CounterOutput::Added),
        _ => (CounterInput::Add(1), CounterOutput::Value(random.i64(1..6))),
    });
}

#[test]
fn a_violation_in_a_long_history_is_shown_by_a_few_operations() {
    for seed in 0..20 {
        let shape = Shape { operations: 2000, keys: 3, clients: 8, unknown_permille: 20 };
        let history = generate(seed, shape);
        let model = KeyValue::default();
        let checker = Checker::new(model, Minimum::NONE);
        checker.check(&history).unwrap();
        let found = checker.check(&spoil(&history));
        let Err(CheckError::NotLinearizable(violation)) = found else { panic!("{found:?}") };
        assert!(violation.is_minimal());
        assert!(violation.parts().len() <= 6, "{violation}");
    }
}

#[test]
fn a_stale_read_is_shown_as_people_would_draw_it() {
    let mut history = History::new();
    let mut now = |client, input, output| {
        let call = history.call(ClientId(client), (7, input));
        history.returned(call, output);
    };
    use RegisterInput::{Read, Write};
    for value in 0..50 {
        now(1, Write(Some(value)), RegisterOutput::Written);
        now(2, Read, RegisterOutput::Value(Some(value)));
    }
    now(3, Read, RegisterOutput::Value(Some(48)));
    let violation = check(&KeyValue::default(), &history).unwrap();
    assert_eq!(violation.key(), Some("7"));
    let text = violation.to_string();
    println!("{text}");
    let first = "not linearizable, key 7: of 101 operations, these cannot be explained together";
    assert!(text.starts_with(first), "{text}");
    let bars: Vec<&str> = text.lines().filter(|line| line.contains('├')).collect();
    assert_eq!(bars.len(), violation.parts().len());
    assert!(text.contains("client 3: (7, Read) → Value(Some(48))"), "{text}");
}
