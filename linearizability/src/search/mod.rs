//! The search for an order of the operations of one key that explains them all.
//!
//! A *configuration* is the set of operations that are linearized, and the state after them. What may
//! come next is, of the operations that returned, each one called before any other that is left has
//! returned; and each of unknown outcome that was called by then. The search ends when nothing is left
//! that returned. Where it does not lead there it goes back. What keeps it small:
//!
//! - *Free steps.* What only reads, and can come next, comes next: any order that has it later is as
//!   good with it here. No alternative is tried.
//! - *Configurations are entered once*, and those of unknown outcome count as a resource: not with more
//!   of them used than before, for whatever could be reached now could be reached then.
//! - *An operation of unknown outcome must matter at once.* Of all orders that explain a history take
//!   one that uses the fewest of them. In that, each makes a difference to the very next step; else it
//!   could be left out. So one that makes none to any next step is not tried, and after one that was
//!   tried only those steps are to which it does.
//! - *Twins.* Of several with the same input, the one called first is used first.

mod candidates;
mod memo;
mod pending;
#[cfg(test)]
mod tests;

use std::cell::Cell;

use crate::model::{Effect, Model};
use candidates::{Candidates, Entry};
use memo::{Memo, PendingSet};
use pending::Unknown;

/// One operation. It has an output if it has returned.
pub(crate) struct Item<'a, M: Model> {
    pub(crate) input: &'a M::Input,
    pub(crate) called: u64,
    pub(crate) returned: Option<(u64, &'a M::Output)>,
}

impl<M: Model> Clone for Item<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Model> Copy for Item<'_, M> {}

/// What is left to be spent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    pub(crate) steps: u64,
    pub(crate) memo_bytes: usize,
}

/// How a search ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// An order which explains everything: positions of the items. Of those with unknown outcome it
    /// has the ones that took effect.
    Order(Vec<usize>),
    /// There is none.
    Nothing {
        /// No order comes behind this return; one explains what has returned before.
        stuck_at: u64,
    },
    /// It was given up.
    GivenUp,
}

/// Searches; takes what it spends from `allowance`.
pub(crate) fn search<M: Model>(
    model: &M,
    initial: M::State,
    items: &[Item<'_, M>],
    allowance: &mut Allowance,
) -> Found {
    let mut search = Search::new(model, initial, items, *allowance);
    let found = search.run();
    allowance.steps = search.steps_left.get();
    found
}

struct Search<'a, M: Model> {
    model: &'a M,
    returned: Vec<Item<'a, M>>,
    /// What these do to the state.
    effects: Vec<Effect>,
    /// Those of unknown outcome.
    unknown: Unknown<'a, M>,
    candidates: Candidates,
    used: PendingSet,
    state: M::State,
    /// Behind which return no order has come.
    stuck_at: u64,
    /// The state before the last step, if that was one of unknown outcome.
    before: Option<M::State>,
    memo: Memo<M::State>,
    path: Vec<Frame<M::State>>,
    steps_left: Cell<u64>,
    /// Where the items were in the caller's list.
    positions: (Vec<usize>, Vec<usize>),
}

#[derive(Clone, Copy)]
enum Step {
    /// An operation that returned, and only read.
    Free(Entry),
    /// One that returned.
    Returned(Entry),
    /// One of unknown outcome.
    Pending(usize),
}

struct Frame<S> {
    step: Step,
    /// What to go back to: the state, and the one before that.
    undo: Option<(S, Option<S>)>,
}

/// What to try next in a configuration.
enum Cursor {
    Returned(Entry),
    Pending(usize),
}

/// The allowance is spent.
struct Spent;

impl<'a, M: Model> Search<'a, M> {
    fn new(
        model: &'a M,
        initial: M::State,
        items: &[Item<'a, M>],
        allowance: Allowance,
    ) -> Search<'a, M> {
        let mut order: Vec<usize> = (0..items.len()).collect();
        order.sort_by_key(|position| items[*position].called);
        let (ended, open): (Vec<usize>, Vec<usize>) =
            order.into_iter().partition(|position| items[*position].returned.is_some());
        let returned: Vec<Item<'a, M>> = ended.iter().map(|position| items[*position]).collect();
        let asked = open.iter().map(|position| (items[*position].input, items[*position].called));
        let unknown = Unknown::new(model, &initial, asked);
        let times =
            returned.iter().map(|item| (item.called, item.returned.map_or(0, |(at, _)| at)));
        let effect =
            |item: &Item<'a, M>| model.effect(item.input, item.returned.map(|(_, output)| output));
        Search {
            model,
            candidates: Candidates::new(times),
            used: PendingSet::default(),
            effects: returned.iter().map(effect).collect(),
            returned,
            unknown,
            stuck_at: 0,
            state: initial,
            before: None,
            memo: Memo::new(allowance.memo_bytes),
            path: Vec::new(),
            steps_left: Cell::new(allowance.steps),
            positions: (ended, open),
        }
    }

    fn run(&mut self) -> Found {
        match self.try_run() {
            Ok(true) => Found::Order(self.order()),
            Ok(false) => Found::Nothing { stuck_at: self.stuck_at },
            Err(Spent) => Found::GivenUp,
        }
    }

    fn try_run(&mut self) -> Result<bool, Spent> {
        loop {
            self.take_free_steps()?;
            if self.candidates.is_empty() {
                return Ok(true);
            }
            let linearized = self.candidates.linearized();
            let is_new = self.memo.enter(linearized, &self.state, &self.used).ok_or(Spent)?;
            if is_new {
                self.stuck_at = self.stuck_at.max(self.candidates.first_return());
            }
            let mut cursor = is_new.then(|| Cursor::Returned(self.candidates.first()));
            loop {
                let step = match cursor {
                    Some(cursor) => self.next_step(cursor)?,
                    None => None,
                };
                if let Some((step, state)) = step {
                    self.take(step, state);
                    break;
                }
                cursor = self.go_back();
                if cursor.is_none() {
                    return Ok(false);
                }
            }
        }
    }

    fn order(&self) -> Vec<usize> {
        let position = |frame: &Frame<M::State>| match frame.step {
            Step::Free(entry) | Step::Returned(entry) => {
                self.positions.0[self.candidates.item(entry)]
            }
            Step::Pending(number) => self.positions.1[number],
        };
        self.path.iter().map(position).collect()
    }

    fn take_free_steps(&mut self) -> Result<(), Spent> {
        let mut entry = self.candidates.first();
        while let Some(item) = self.candidates.call_at(entry) {
            if self.effects[item] == Effect::Reads && self.after(&self.state, item)?.is_some() {
                self.candidates.lift(entry);
                // What this one returned to was perhaps all that held later ones up.
                let undo = self.before.take().map(|before| (self.state.clone(), Some(before)));
                self.path.push(Frame { step: Step::Free(entry), undo });
                entry = self.candidates.first();
            } else {
                entry = self.candidates.after(entry);
            }
        }
        Ok(())
    }

    fn take(&mut self, step: Step, state: M::State) {
        let state = std::mem::replace(&mut self.state, state);
        let before = self.before.take();
        match step {
            Step::Free(_) => unreachable!("these are taken where they turn up"),
            Step::Returned(entry) => self.candidates.lift(entry),
            Step::Pending(number) => {
                self.used.insert(number);
                self.before = Some(state.clone());
            }
        }
        self.path.push(Frame { step, undo: Some((state, before)) });
    }

    /// Takes steps back up to the last that has an alternative, and says where those begin.
    fn go_back(&mut self) -> Option<Cursor> {
        loop {
            let Frame { step, undo } = self.path.pop()?;
            if let Some((state, before)) = undo {
                (self.state, self.before) = (state, before);
            }
            match step {
                Step::Free(entry) => self.candidates.put_back(entry),
                Step::Returned(entry) => {
                    self.candidates.put_back(entry);
                    return Some(Cursor::Returned(self.candidates.after(entry)));
                }
                Step::Pending(number) => {
                    self.used.remove(number);
                    return Some(Cursor::Pending(number + 1));
                }
            }
        }
    }

    fn next_step(&mut self, cursor: Cursor) -> Result<Option<(Step, M::State)>, Spent> {
        let from = match cursor {
            Cursor::Pending(number) => number,
            Cursor::Returned(entry) => match self.next_returned(entry)? {
                Some(step) => return Ok(Some(step)),
                None => 0,
            },
        };
        Ok(self.next_pending(from)?.map(|(number, state)| (Step::Pending(number), state)))
    }

    fn next_returned(&self, mut entry: Entry) -> Result<Option<(Step, M::State)>, Spent> {
        while let Some(item) = self.candidates.call_at(entry) {
            if let Some(after) = self.after(&self.state, item)? {
                // If it could have come before the step of unknown outcome that was just taken, to the
                // same end, that step was for nothing.
                let before =
                    self.before.as_ref().map(|before| self.after(before, item)).transpose()?;
                if before.flatten().as_ref() != Some(&after) {
                    return Ok(Some((Step::Returned(entry), after)));
                }
            }
            entry = self.candidates.after(entry);
        }
        Ok(None)
    }

    fn after(&self, state: &M::State, item: usize) -> Result<Option<M::State>, Spent> {
        self.spend()?;
        let Item { input, returned, .. } = &self.returned[item];
        Ok(self.model.step(state, input, returned.map(|(_, output)| output)))
    }

    fn spend(&self) -> Result<(), Spent> {
        let left = self.steps_left.get().checked_sub(1).ok_or(Spent)?;
        self.steps_left.set(left);
        Ok(())
    }
}
