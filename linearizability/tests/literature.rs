//! Histories from papers, talks and other checkers, whose verdicts are known.
#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use RegisterInput::{CompareAndSet, Read, Write};
use RegisterOutput::{Swapped, Value, Written};
use quorate_linearizability::models::{Register, RegisterInput, RegisterOutput};
use quorate_linearizability::{
    CheckError, Checker, ClientId, History, Minimum, Model, Operation, Outcome,
};

fn is_linearizable<M: Model>(model: M, history: &History<M::Input, M::Output>) -> bool {
    match Checker::new(model, Minimum::NONE).check(history) {
        Ok(_) => true,
        Err(CheckError::NotLinearizable(violation)) => {
            println!("{violation}");
            assert!(violation.is_minimal());
            false
        }
        Err(other) => panic!("{other}"),
    }
}

/// A FIFO queue of letters, as in Herlihy and Wing 1990. Taking from an empty one is impossible.
struct Queue;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum QueueInput {
    Enq(char),
    Deq,
}

impl Model for Queue {
    type Input = QueueInput;
    /// What was taken out; nothing if something was put in.
    type Output = Option<char>;
    type Key = ();
    type State = String;

    fn key(&self, _input: &QueueInput) {}

    fn initial(&self, _key: &()) -> String {
        String::new()
    }

    fn step(
        &self,
        state: &String,
        input: &QueueInput,
        output: Option<&Option<char>>,
    ) -> Option<String> {
        let mut state = state.clone();
        let expected = match input {
            QueueInput::Enq(letter) => {
                state.push(*letter);
                None
            }
            QueueInput::Deq if state.is_empty() => return None,
            QueueInput::Deq => Some(state.remove(0)),
        };
        output.is_none_or(|output| *output == expected).then_some(state)
    }
}

/// Events as the paper writes them: `E(x) A`, `Ok() A`, `D() B`, `Ok(x) B`.
fn queue(events: &str) -> History<QueueInput, Option<char>> {
    let mut history = History::new();
    let mut open = std::collections::BTreeMap::new();
    for event in events.split(';') {
        let (what, who) = event.trim().rsplit_once(' ').unwrap();
        let argument = what.split_once('(').unwrap().1.chars().next().filter(|c| *c != ')');
        let client = ClientId(u64::from(who.as_bytes()[0] - b'A'));
        if what.starts_with("Ok") {
            history.returned(open.remove(&client).unwrap(), argument);
        } else {
            let input = argument.map_or(QueueInput::Deq, QueueInput::Enq);
            assert!(open.insert(client, history.call(client, input)).is_none());
        }
    }
    history
}

#[test]
fn the_queues_of_herlihy_and_wing() {
    for (events, expected) in [
        ("E(x) A; E(y) B; Ok() B; Ok() A; D() B; Ok(x) B; D() A; Ok(y) A; E(z) A", true),
        ("E(x) A; Ok() A; E(y) B; D() A; Ok() B; Ok(y) A", false),
        // The first has not returned, and has surely taken effect.
        ("E(x) A; D() B; Ok(x) B", true),
        // The same is taken out twice.
        ("E(x) A; E(y) B; Ok() A; Ok() B; D() A; D() C; Ok(y) A; Ok(y) C", false),
        ("E(x) A; E(y) B; Ok() A; Ok() B; D() A; D() C; Ok(y) A; Ok(x) C", true),
        // Sequentially consistent, but against real time; the projection to one queue of the
        // example by which sequential consistency is not local.
        ("E(x) A; Ok() A; E(y) B; Ok() B; D() A; Ok(y) A", false),
        ("E(x) A; Ok() A; E(y) B; Ok() B; D() A; Ok(x) A", true),
        ("D() A; Ok(x) A", false),
        // A dequeue on its way may have taken what is missing.
        ("E(x) A; Ok() A; E(y) A; Ok() A; D() B; D() C; Ok(y) C", true),
        ("E(x) A; Ok() A; E(y) A; Ok() A; D() C; Ok(y) C; D() B", false),
    ] {
        assert_eq!(is_linearizable(Queue, &queue(events)), expected, "{events}");
    }
}

type Span = (u64, RegisterInput<i32>, RegisterOutput<i32>, u64);
type Spans<'a> = &'a [Span];

fn spans(spans: Spans<'_>) -> History<RegisterInput<i32>, RegisterOutput<i32>> {
    let operation = |(client, span): (u64, &Span)| {
        let (called, input, output, at) = *span;
        let outcome = Outcome::Returned { at, output };
        Operation { client: ClientId(client), input, called, outcome }
    };
    (0..).zip(spans).map(operation).collect()
}

#[test]
fn the_registers_of_porcupine() {
    let examples: [(Spans<'_>, bool); 4] = [
        // Also in an exam of MIT's course 6.824, 2017.
        (
            &[(0, Write(100), Written, 100), (25, Read, Value(100), 75), (30, Read, Value(0), 60)],
            true,
        ),
        (
            &[(0, Write(200), Written, 100), (10, Read, Value(200), 30), (40, Read, Value(0), 90)],
            false,
        ),
        // Operations that take no time.
        (
            &[
                (0, Write(100), Written, 100),
                (25, Read, Value(100), 75),
                (30, Read, Value(0), 30),
                (30, Read, Value(0), 30),
            ],
            true,
        ),
        (
            &[
                (0, Write(200), Written, 100),
                (10, Read, Value(200), 10),
                (10, Read, Value(200), 10),
                (40, Read, Value(0), 90),
            ],
            false,
        ),
    ];
    for (example, expected) in examples {
        assert_eq!(is_linearizable(Register::new(0), &spans(example)), expected, "{example:?}");
    }
}

/// Lines of process, `invoke`, `ok`, `fail` or `info`, `read`, `write` or `cas`, and values, as
/// Jepsen logs them. A compare-and-set that fails has returned that nothing was swapped.
fn jepsen(lines: &str) -> History<RegisterInput<Option<i32>>, RegisterOutput<Option<i32>>> {
    let mut history = History::new();
    let mut open = std::collections::BTreeMap::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        let client = ClientId(words[0].parse().unwrap());
        let value = |at: usize| words[at].parse().ok();
        match (words[1], words[2]) {
            ("invoke", what) => {
                let input = match what {
                    "read" => Read,
                    "write" => Write(value(3)),
                    _ => CompareAndSet { expected: value(3), new: value(4) },
                };
                open.insert(client, history.call(client, input));
            }
            ("info", _) => drop(open.remove(&client)),
            (end, what) => {
                let output = match (end, what) {
                    ("ok", "read") => Value(value(3)),
                    ("ok", "write") => Written,
                    (end, "cas") => Swapped(end == "ok"),
                    _ => panic!("{line}"),
                };
                history.returned(open.remove(&client).unwrap(), output);
            }
        }
    }
    history
}

#[test]
fn the_registers_of_knossos() {
    for (lines, expected) in [
        // A write that crashed was read: it took place.
        ("0 invoke read\n 1 invoke write 3\n 1 info write 3\n 0 ok read 3", true),
        // It need not ever, and may late.
        ("0 invoke write 1\n 0 info write 1", true),
        (
            "0 invoke write 1\n 0 info write 1\n 1 invoke read\n 1 ok read nil\n 1 invoke read\n 1 ok read 1",
            true,
        ),
        (
            "0 invoke write 1\n 0 info write 1\n 1 invoke read\n 1 ok read 1\n 1 invoke read\n 1 ok read nil",
            false,
        ),
        ("0 invoke read\n 0 ok read 1", false),
        // RethinkDB: a failed write is read.
        (
            "0 invoke write 0\n 0 ok write 0\n 1 invoke read\n 2 invoke write 4\n 1 ok read 3\n
             2 ok write 4\n 3 invoke read\n 3 ok read 4",
            false,
        ),
    ] {
        assert_eq!(is_linearizable(Register::new(None), &jepsen(lines)), expected, "{lines}");
    }
}

/// Both processes say that they have swapped the same value.
#[test]
fn two_compare_and_sets_of_the_same_value_do_not_both_succeed() {
    let history = |before: &str, second: &str| {
        let lines = format!(
            "0 invoke write 0\n 0 ok write 0\n {before}\n 1 invoke cas 0 1\n 3 invoke cas 0 2\n
             1 ok cas\n 3 {second} cas\n 4 invoke read\n 4 ok read 1"
        );
        is_linearizable(Register::new(None), &jepsen(&lines))
    };
    assert!(!history("", "ok"));
    assert!(history("", "fail"));
    // Unless somebody may have set it back in between.
    assert!(history("5 invoke write 0\n 5 info write 0", "ok"));
    assert!(!history("5 invoke write 0\n 5 ok write 0", "ok"));
}
