//! What is refused, and that no answer is never taken for a good one.

use quorate_linearizability::models::{
    Counter, CounterInput, CounterOutput, KeyValue, Keyed, Register, RegisterInput, RegisterOutput,
};
use quorate_linearizability::{
    Budget, CheckError, Checker, ClientId, History, Minimum, Operation, Outcome,
};

const CLIENT: ClientId = ClientId(1);

/// Whether some of these numbers add up to what is read is hard to say: it is the subset sum problem.
fn subset_sum(
    history: &mut History<(&'static str, CounterInput), CounterOutput>,
    key: &'static str,
) {
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..40 {
        // All are even, and the sum is not.
        history.call(CLIENT, (key, CounterInput::Add(2 * random.i64(1 << 30..1 << 40))));
    }
    let read = history.call(CLIENT, (key, CounterInput::Read));
    history.returned(read, CounterOutput::Value((1 << 44) + 1));
}

fn small() -> Budget {
    Budget { steps: 1_000_000, memo_bytes: 1 << 26 }
}

#[test]
fn what_cannot_be_decided_within_the_budget_is_called_undecided() {
    let mut history = History::new();
    subset_sum(&mut history, "hard");
    let checker = Checker::new(Keyed::new(Counter), Minimum::NONE);
    let found = checker.budget(small()).check(&history);
    let Err(CheckError::Undecided { undecided: 1, keys: 1, steps }) = found else {
        panic!("{found:?}");
    };
    assert!(steps <= small().steps);
    let found = checker.budget(Budget { memo_bytes: 1 << 16, ..Budget::default() }).check(&history);
    let Err(CheckError::Undecided { steps, .. }) = found else { panic!("{found:?}") };
    assert!(steps < 1_000_000, "memory was spent first, after {steps} steps");
    let found = checker.budget(Budget { steps: 0, memo_bytes: 0 }).check(&history);
    assert!(matches!(found, Err(CheckError::Undecided { .. })), "{found:?}");
    assert!(found.unwrap_err().to_string().contains("larger budget"));
}

#[test]
fn one_hard_key_hides_no_violation_of_another() {
    for wrong in ["a", "z"] {
        let mut history = History::new();
        subset_sum(&mut history, "hard");
        let read = history.call(CLIENT, (wrong, CounterInput::Read));
        history.returned(read, CounterOutput::Value(1));
        let checker = Checker::new(Keyed::new(Counter), Minimum::NONE).budget(small());
        let Err(CheckError::NotLinearizable(violation)) = checker.check(&history) else { panic!() };
        assert_eq!(violation.key(), Some(format!("{wrong:?}").as_str()));
    }
}

#[test]
fn a_violation_that_is_too_dear_to_shrink_is_shown_all_the_same() {
    // Each increment is essential: none of them can have been lost, and one was.
    let mut history = History::new();
    for _ in 0..200 {
        let add = history.call(CLIENT, CounterInput::Add(1));
        history.returned(add, CounterOutput::Added);
    }
    let read = history.call(CLIENT, CounterInput::Read);
    history.returned(read, CounterOutput::Value(199));
    let checker = Checker::new(Counter, Minimum::NONE);
    let Err(CheckError::NotLinearizable(violation)) = checker.check(&history) else { panic!() };
    assert_eq!((violation.essential().count(), violation.is_minimal()), (201, true));
    let poor = checker.budget(Budget { steps: 1000, memo_bytes: 1 << 20 });
    let Err(CheckError::NotLinearizable(violation)) = poor.check(&history) else { panic!() };
    assert_eq!((violation.essential().count(), violation.is_minimal()), (201, false));
    let text = violation.to_string();
    assert!(text.contains("nor, perhaps, fewer") && text.contains("the last 40 of 201"), "{text}");
}

#[test]
fn a_history_in_which_too_little_happened_is_rejected() {
    let empty = History::new();
    let minimum = Minimum { returned: 3, updates: 1, overlapping: 2 };
    let checker = Checker::new(Register::new(0), minimum);
    let too_little = |history: &History<_, _>| {
        let found = checker.check(history);
        matches!(found, Err(CheckError::TooLittleTraffic { .. }))
    };
    assert!(too_little(&empty));
    let mut history = empty;
    let write = history.call(CLIENT, RegisterInput::Write(1));
    let read = history.call(CLIENT, RegisterInput::Read);
    history.returned(read, RegisterOutput::Value(0));
    let failed = history.call(CLIENT, RegisterInput::Write(2));
    history.failed(failed);
    history.call(CLIENT, RegisterInput::Write(3));
    assert!(too_little(&history), "what did not return does not count");
    history.returned(write, RegisterOutput::Written);
    assert!(too_little(&history), "two have returned");
    let read = history.call(CLIENT, RegisterInput::Read);
    history.returned(read, RegisterOutput::Value(1));
    let report = checker.check(&history).unwrap();
    assert_eq!((report.traffic.returned, report.traffic.updates, report.unknown), (3, 1, 1));
    let only_reads = Minimum { updates: 2, ..minimum };
    let found = Checker::new(Register::new(0), only_reads).check(&history);
    let text = found.unwrap_err().to_string();
    assert_eq!(
        text,
        "too little happened: 3 operations returned, 1 of them updates, 2 overlapping; asked for are \
         at least: 3 operations returned, 2 of them updates, 2 overlapping"
    );
    // That it is wrong is worth more than that it is short.
    let read = history.call(CLIENT, RegisterInput::Read);
    history.returned(read, RegisterOutput::Value(0));
    let found = Checker::new(Register::new(0), only_reads).check(&history);
    assert!(matches!(found, Err(CheckError::NotLinearizable(_))));
}

#[test]
fn what_failed_did_not_happen_and_what_is_unknown_may_have() {
    let history = |end: fn(&mut History<_, _>, _)| {
        let mut history = History::new();
        let write = history.call(CLIENT, ("k", RegisterInput::Write(Some(1))));
        end(&mut history, write);
        let read = history.call(CLIENT, ("k", RegisterInput::Read));
        history.returned(read, RegisterOutput::Value(Some(1)));
        // Nobody knows what it would have returned.
        history.call(CLIENT, ("k", RegisterInput::Read));
        history
    };
    let checker = Checker::new(KeyValue::default(), Minimum::NONE);
    let report = checker.check(&history(|_, _| ())).unwrap();
    assert_eq!(report.unknown, 1, "the read is dropped");
    let failed = checker.check(&history(History::failed));
    assert!(matches!(failed, Err(CheckError::NotLinearizable(_))));
}

#[test]
fn an_operation_that_returned_before_it_was_called_is_the_recorders_mistake() {
    let outcome = Outcome::Returned { at: 4, output: RegisterOutput::Value(0) };
    let mut history = History::new();
    history.add(Operation { client: CLIENT, input: RegisterInput::Read, called: 5, outcome });
    let found = Checker::new(Register::new(0), Minimum::NONE).check(&history);
    let found = found.unwrap_err();
    assert!(matches!(
        found,
        CheckError::ReturnedBeforeCalled { operation: 0, called: 5, returned: 4 }
    ));
}

/// Writes and reads of one key, many of them at once.
fn busy(history: &mut History<(&'static str, CounterInput), CounterOutput>, key: &'static str) {
    for _ in 0..20 {
        let calls = [(); 4].map(|()| history.call(CLIENT, (key, CounterInput::Add(1))));
        calls.into_iter().for_each(|call| history.returned(call, CounterOutput::Added));
    }
}

#[test]
fn each_key_may_spend_its_part_of_the_budget_and_what_those_before_it_left() {
    let checker = Checker::new(Keyed::new(Counter), Minimum::NONE);
    let mut one = History::new();
    busy(&mut one, "a");
    let steps = checker.check(&one).unwrap().steps;
    assert!(steps > 0);
    let mut both = one;
    busy(&mut both, "b");
    let with = |steps| checker.budget(Budget { steps, ..Budget::default() }).check(&both);
    assert_eq!(with(2 * steps).unwrap().steps, 2 * steps);
    let undecided = with(2 * steps - 1).unwrap_err();
    assert!(matches!(undecided, CheckError::Undecided { undecided: 1, keys: 2, .. }));
}

#[test]
fn what_is_called_comes_after_all_that_was_added_before() {
    let mut history = History::new();
    let outcome = Outcome::Returned { at: 20, output: RegisterOutput::Written };
    let input = RegisterInput::Write(1);
    history.add(Operation { client: CLIENT, input, called: 10, outcome });
    let read = history.call(CLIENT, RegisterInput::Read);
    history.returned(read, RegisterOutput::Value(0));
    let found = Checker::new(Register::new(0), Minimum::NONE).check(&history);
    let Err(CheckError::NotLinearizable(violation)) = found else { panic!("{found:?}") };
    assert_eq!(violation.key(), None, "there is but one");
}

/// A clock that began anew would put what is recorded before what was added.
#[test]
#[should_panic(expected = "nothing is recorded after u64::MAX")]
fn nothing_is_recorded_after_the_last_moment_there_is() {
    let mut history = History::new();
    let (input, called) = (RegisterInput::Write(1), u64::MAX);
    let outcome = Outcome::Unknown;
    history.add(Operation { client: CLIENT, input, called, outcome });
    let read = history.call(CLIENT, RegisterInput::Read);
    history.returned(read, RegisterOutput::Value(1));
}
