//! A state machine of one's own under every fault of the simulator: a bank, and the same bank with a
//! field too few in its snapshot.
//!
//! ```text
//! cargo run --release -p quorate-sim --example bank
//! ```
//!
//! Whoever sends money may send no more than a limit on one day, so the bank remembers what each
//! account has sent, until the day ends: that is its deadline. "What was sent need not be in the
//! snapshot: it is only for today", says `#[serde(skip)]` in one of the two. All goes well until a
//! replica restarts from a snapshot in the middle of a day: then it lets pass what all others refuse.
//! The simulator names the command, makes the run smaller, draws it, and says how to run it again.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::process::ExitCode;

use quorate_core::{At, LogTime, StateMachine};
use quorate_linearizability::Outcome;
use quorate_raft::Raft;
use quorate_sim::{
    ClientHistory, Draw, Input, Objection, Output, Refuted, Simulated, Simulation, Workload,
};
use quorate_vsr::Vsr;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

const ACCOUNTS: u64 = 12;
const OPENING_BALANCE: u64 = 1000;
const DAILY_LIMIT: u64 = 100;
/// A run lasts some seconds of virtual time, and is to see several days.
const DAY_US: u64 = 1_000_000;

/// Moves money from one account to another.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Transfer {
    from: u64,
    to: u64,
    amount: u64,
}

/// What became of a transfer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Receipt {
    Moved { left: u64 },
    TooLittleMoney,
    LimitReached,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Question {
    Balance(u64),
    Total,
}

/// The bank, and what each account has sent today.
#[derive(Clone, Serialize, Deserialize)]
struct Bank<S> {
    balances: BTreeMap<u64, u64>,
    sent: S,
    /// When what was sent is forgotten; `None` if nothing was. Were it compared with log time in `apply`
    /// instead, a wall clock that jumps could end the day.
    day_ends: Option<LogTime>,
}

/// Amounts, by account.
type Sent = BTreeMap<u64, u64>;

/// Right: it is part of the state.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Kept(Sent);

/// Wrong: a snapshot has none of it.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Forgotten {
    #[serde(skip)]
    sent: Sent,
}

trait Memory: Clone + Default + Serialize + DeserializeOwned + Send + 'static {
    fn sent(&mut self) -> &mut Sent;
}

impl Memory for Kept {
    fn sent(&mut self) -> &mut Sent {
        &mut self.0
    }
}

impl Memory for Forgotten {
    fn sent(&mut self) -> &mut Sent {
        &mut self.sent
    }
}

impl<S: Memory> StateMachine for Bank<S> {
    type Command = Transfer;
    type Response = Receipt;
    type Query = Question;
    type Answer = u64;

    fn apply(&mut self, at: &At, transfer: Transfer) -> Receipt {
        let Transfer { from, to, amount } = transfer;
        let sent = self.sent.sent().entry(from).or_default();
        if *sent + amount > DAILY_LIMIT {
            return Receipt::LimitReached;
        }
        let Some(left) = self.balances[&from].checked_sub(amount) else {
            return Receipt::TooLittleMoney;
        };
        *sent += amount;
        self.day_ends.get_or_insert(LogTime((at.time.0 / DAY_US + 1) * DAY_US));
        self.balances.insert(from, left);
        *self.balances.entry(to).or_default() += amount;
        Receipt::Moved { left }
    }

    fn query(&self, _: &At, question: Question) -> u64 {
        match question {
            Question::Balance(account) => self.balances[&account],
            Question::Total => self.balances.values().sum(),
        }
    }

    fn deadline(&self) -> Option<LogTime> {
        self.day_ends
    }

    fn expire(&mut self, _: &At) {
        self.sent.sent().clear();
        self.day_ends = None;
    }
}

/// Customers of such a bank.
struct Customers<S>(PhantomData<fn() -> S>);

impl<S: Memory> Workload for Customers<S> {
    type Machine = Bank<S>;

    fn machine(&self) -> Bank<S> {
        let balances = (0..ACCOUNTS).map(|account| (account, OPENING_BALANCE)).collect();
        Bank { balances, sent: S::default(), day_ends: None }
    }

    fn command(&self, draw: &mut Draw<'_>) -> Transfer {
        let (to, amount) = (draw.rng.below(ACCOUNTS), draw.rng.between(1, 60));
        Transfer { from: draw.key % ACCOUNTS, to, amount }
    }

    fn query(&self, draw: &mut Draw<'_>) -> Question {
        let is_audit = draw.rng.one_in(4);
        if is_audit { Question::Total } else { Question::Balance(draw.key % ACCOUNTS) }
    }

    /// No money is made, and none lost.
    fn judge(&self, history: &ClientHistory<Bank<S>>) -> Result<(), Objection> {
        for operation in history.operations() {
            if let Input::Query(Question::Total) = operation.input
                && let Outcome::Returned { output: Output::Answer(total), .. } = operation.outcome
                && total != ACCOUNTS * OPENING_BALANCE
            {
                return Err(Objection::Wrong(format!("all accounts together have {total}")));
            }
        }
        Ok(())
    }
}

/// As many runs of a bank as a test can afford.
fn check<P: Simulated, S: Memory>(seeds: u64) -> Result<(), Box<Refuted>> {
    let simulation = Simulation::new(1).protocol::<P>().workload(Customers::<S>(PhantomData));
    let summary = simulation.check(seeds)?;
    let commits: u64 = summary.full.iter().map(|report| report.commits).sum();
    let crashes: u64 = summary.full.iter().map(|report| report.crashes).sum();
    println!("{}: {seeds} seeds hold, with {commits} commits and {crashes} crashes", P::NAME);
    Ok(())
}

fn main() -> ExitCode {
    println!("the bank:");
    if let Err(refuted) = check::<Raft, Kept>(25).and_then(|()| check::<Vsr, Kept>(25)) {
        println!("{refuted}");
        return ExitCode::FAILURE;
    }
    println!("\nthe bank with a field too few in its snapshot:");
    match check::<Raft, Forgotten>(25) {
        Err(refuted) => println!("{refuted}"),
        Ok(()) if std::env::var_os("QUORATE_REPLAY").is_some() => {}
        Ok(()) => {
            println!("no violation: the simulator is blind");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bank_holds_under_faults() {
        for checked in [check::<Raft, Kept>(5), check::<Vsr, Kept>(5)] {
            checked.unwrap_or_else(|refuted| panic!("{refuted}"));
        }
    }

    #[test]
    fn a_field_too_few_in_the_snapshot_is_found_and_can_be_run_again() {
        for checked in [check::<Raft, Forgotten>(25), check::<Vsr, Forgotten>(25)] {
            let refuted = checked.expect_err("it is broken");
            let Refuted::Violated { failed, plan, picture, again } = &*refuted else {
                panic!("{refuted}");
            };
            assert_eq!(failed.violation.property, "answers are those of the replayed log");
            assert!(again.contains(&plan.display().to_string()), "{again}");
            assert!(std::fs::read_to_string(picture).unwrap().contains("LimitReached"));
            let plan = std::fs::read_to_string(plan).unwrap();
            assert!(plan.contains("Customers"), "{plan}");
        }
    }
}
