//! What cannot be explained, for people to read.

use std::fmt::{self, Debug};

use crate::history::{ClientId, History, Operation, Outcome};
use crate::shrink::Shrunk;

/// A part of a history that is not linearizable, and small.
///
/// Its [essential](Role::Essential) operations cannot be explained together, even if every other
/// operation of the history may have happened at any time after its call, or never (and those that by
/// their answers only read, not at all). None of them can be spared: if one more of them may have happened at any time or never, the others can be explained,
/// given those that are shown as [context](Role::Context).
#[derive(Clone, Debug)]
pub struct Violation<I, O> {
    key: Option<String>,
    parts: Vec<Part<I, O>>,
    of: usize,
    is_minimal: bool,
}

/// One operation of a violation.
#[derive(Clone, Debug)]
pub struct Part<I, O> {
    /// The operation, as it was recorded.
    pub operation: Operation<I, O>,
    /// Why it is shown.
    pub role: Role,
}

/// Why an operation is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It belongs to what cannot be explained.
    Essential,
    /// Essential operations may have seen its effect. When it ended, and what it returned, does not
    /// matter.
    Context,
}

impl<I: Clone, O: Clone> Violation<I, O> {
    pub(crate) fn new(
        key: Option<String>,
        operations: &[&Operation<I, O>],
        shrunk: &Shrunk,
    ) -> Violation<I, O> {
        let role =
            |role| move |position: &usize| Part { operation: operations[*position].clone(), role };
        let essential = shrunk.essential.iter().map(role(Role::Essential));
        let mut parts: Vec<Part<I, O>> =
            essential.chain(shrunk.context.iter().map(role(Role::Context))).collect();
        parts.sort_by_key(|part| (part.operation.called, part.operation.client));
        Violation { key, parts, of: operations.len(), is_minimal: shrunk.is_minimal }
    }

    /// The operations alone, as a history which is not linearizable either: the essential ones as they
    /// were, of the others the outcome is unknown.
    #[must_use]
    pub fn history(&self) -> History<I, O> {
        let as_shown = |part: &Part<I, O>| {
            let mut operation = part.operation.clone();
            if part.role == Role::Context {
                operation.outcome = Outcome::Unknown;
            }
            operation
        };
        self.parts.iter().map(as_shown).collect()
    }
}

impl<I, O> Violation<I, O> {
    /// The key under which it happened, as `Debug` shows it; none if the object has no keys.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The operations, in the order of their calls.
    #[must_use]
    pub fn parts(&self) -> &[Part<I, O>] {
        &self.parts
    }

    /// Those that cannot be explained together.
    pub fn essential(&self) -> impl Iterator<Item = &Operation<I, O>> {
        let essential = self.parts.iter().filter(|part| part.role == Role::Essential);
        essential.map(|part| &part.operation)
    }

    /// True if none of the essential operations can be spared. Otherwise the budget did not suffice
    /// to find that out.
    #[must_use]
    pub fn is_minimal(&self) -> bool {
        self.is_minimal
    }
}

/// How many characters there are between two events of the drawing.
const STEP: usize = 3;

/// More operations nobody reads.
const MOST_ROWS: usize = 40;

impl<I: Debug, O: Debug> fmt::Display for Violation<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not linearizable")?;
        if let Some(key) = &self.key {
            write!(f, ", key {key}")?;
        }
        let essential = self.essential().count();
        let these = if essential == 1 { "this one" } else { "these" };
        write!(f, ": of {} operations, {these} cannot be explained", self.of)?;
        if essential > 1 {
            write!(f, " together")?;
        }
        writeln!(
            f,
            " by any order{}",
            if self.is_minimal { "" } else { " (nor, perhaps, fewer)" }
        )?;
        let times = self.times();
        let (essential, context): (Vec<_>, Vec<_>) =
            self.parts.iter().partition(|part| part.role == Role::Essential);
        if essential.len() > MOST_ROWS {
            writeln!(f, "(the last {MOST_ROWS} of {})", essential.len())?;
        }
        for part in &essential[essential.len().saturating_sub(MOST_ROWS)..] {
            row(f, &part.operation, &times, true)?;
        }
        if !context.is_empty() {
            writeln!(f, "they may have seen, whenever after their calls these took effect:")?;
            for part in context {
                row(f, &part.operation, &times, false)?;
            }
        }
        Ok(())
    }
}

impl<I, O> Violation<I, O> {
    /// When something happens that is shown.
    fn times(&self) -> Vec<u64> {
        let shown = self.essential().count().saturating_sub(MOST_ROWS);
        let is_essential = |part: &&Part<I, O>| part.role == Role::Essential;
        let context =
            self.parts.iter().filter(|part| !is_essential(part)).map(|part| &part.operation);
        let called = self.essential().skip(shown).chain(context).map(|operation| operation.called);
        let returned =
            self.essential().skip(shown).filter_map(|operation| match operation.outcome {
                Outcome::Returned { at, .. } => Some(at),
                Outcome::Unknown | Outcome::Failed => None,
            });
        let mut times: Vec<u64> = called.chain(returned).collect();
        times.sort_unstable();
        times.dedup();
        times
    }
}

/// A bar from call to return, then the operation in words.
fn row<I: Debug, O: Debug>(
    f: &mut fmt::Formatter<'_>,
    operation: &Operation<I, O>,
    times: &[u64],
    with_end: bool,
) -> fmt::Result {
    let column = |time| times.binary_search(&time).unwrap_or_else(|later| later) * STEP;
    let width = times.len() * STEP;
    let from = column(operation.called);
    let Operation { client: ClientId(client), input, called, outcome } = operation;
    let (bar, to, end) = match outcome {
        Outcome::Returned { at, output } if with_end => {
            let bar = format!("├{}┤", "─".repeat(column(*at).saturating_sub(from + 1)));
            (bar, at.to_string(), format!(" → {output:?}"))
        }
        _ => (format!("├{}▶", "─".repeat(width - from - 1)), "…".to_owned(), String::new()),
    };
    writeln!(
        f,
        "  {:width$} {called:>8} {to:>8}  client {client}: {input:?}{end}",
        {
            let mut drawn = " ".repeat(from);
            drawn.push_str(&bar);
            drawn
        },
        width = width + 1
    )
}
