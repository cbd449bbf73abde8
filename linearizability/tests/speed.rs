//! How much time it takes of a processor, whatever else the machine does. The bounds are wide; what was
//! measured is in `docs/VERIFICATION.md`.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

mod generated;

use std::time::Duration;

use generated::{Input, Output, Shape, generate, spoil};
use quorate_linearizability::models::KeyValue;
use quorate_linearizability::{CheckError, Checker, Linearizable, Minimum};
use rustix::time::{ClockId, clock_gettime};

const MINIMUM: Minimum = Minimum { returned: 1000, updates: 300, overlapping: 500 };

/// Checks a history as it is, and spoiled; says how long each took.
fn measure(name: &str, shape: Shape) -> Linearizable {
    let history = generate(1, shape);
    let checker = Checker::new(KeyValue::default(), MINIMUM);
    let (report, took) = timed(|| checker.check(&history).unwrap());
    let spoiled = spoil(&history);
    let (found, shrunk) = timed(|| checker.check(&spoiled));
    println!("{name}: {took:?}, {} steps; a violation: {shrunk:?}", report.steps);
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(shrunk < Duration::from_secs(5), "{shrunk:?}");
    assert_is_small(found);
    report
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let began = now();
    let done = work();
    (done, now() - began)
}

fn assert_is_small(found: Result<Linearizable, CheckError<Input, Output>>) {
    let Err(CheckError::NotLinearizable(violation)) = found else { panic!("{found:?}") };
    println!("{violation}");
    assert!(violation.is_minimal());
    assert!(violation.essential().count() <= 3, "{violation}");
}

#[test]
fn a_hundred_thousand_operations_over_32_keys_take_less_than_a_second() {
    let shape = Shape { operations: 100_000, keys: 32, clients: 32, unknown_permille: 0 };
    let report = measure("100,000 operations, 32 keys", shape);
    assert_eq!((report.keys, report.traffic.returned), (32, 100_000));
    assert!(report.traffic.overlapping > 30_000, "{report:?}");
    let report = measure("the same, 1% unknown", Shape { unknown_permille: 10, ..shape });
    assert!(report.unknown > 400, "{report:?}");
}

#[test]
fn ten_thousand_operations_on_one_key_take_less_than_a_second() {
    let shape = Shape { operations: 10_000, keys: 1, clients: 10, unknown_permille: 10 };
    let report = measure("10,000 operations, 1 key, 10 clients, 1% unknown", shape);
    assert!(report.traffic.overlapping > 9000, "{report:?}");
    measure("the same, 5% unknown", Shape { unknown_permille: 50, ..shape });
}
