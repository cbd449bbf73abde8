//! Which operations of unknown outcome are worth trying.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use super::{Search, Spent};
use crate::model::{Effect, Model};

/// The operations of unknown outcome.
pub(super) struct Unknown<'a, M: Model> {
    /// In the order of their calls.
    pending: Vec<Pending<'a, M>>,
    /// Positions of those whose effect depends on the state.
    conditional: Vec<usize>,
    /// Which of these change a state.
    changing: HashMap<M::State, Rc<[usize]>>,
    /// Positions of the others, of which each leads to a state that some conditional one changes.
    preparing: Option<Rc<[usize]>>,
    /// Positions of the others that lead to a state in which one that returned is possible.
    enabling: HashMap<usize, Rc<[usize]>>,
}

struct Pending<'a, M: Model> {
    input: &'a M::Input,
    called: u64,
    /// The state afterwards, if it is the same whatever was before.
    leads_to: Option<M::State>,
    /// The one before with the same input.
    twin: Option<usize>,
}

impl<'a, M: Model> Unknown<'a, M> {
    /// Of what was asked, and when; in the order of the calls.
    pub(super) fn new(
        model: &M,
        initial: &M::State,
        operations: impl Iterator<Item = (&'a M::Input, u64)>,
    ) -> Unknown<'a, M> {
        let mut latest = HashMap::new();
        let pending = operations.enumerate().map(|(number, (input, called))| {
            let overwrites = model.effect(input, None) == Effect::Overwrites;
            let leads_to = if overwrites { model.step(initial, input, None) } else { None };
            Pending { input, called, leads_to, twin: latest.insert(input, number) }
        });
        let pending: Vec<Pending<'a, M>> = pending.collect();
        Unknown {
            conditional: positions(&pending, |it| it.leads_to.is_none()).collect(),
            pending,
            changing: HashMap::new(),
            preparing: None,
            enabling: HashMap::new(),
        }
    }
}

fn positions<'a, 'b, M: Model>(
    pending: &'b [Pending<'a, M>],
    are: impl Fn(&Pending<'a, M>) -> bool + 'b,
) -> impl Iterator<Item = usize> + 'b {
    (0..pending.len()).filter(move |number| are(&pending[*number]))
}

impl<M: Model> Search<'_, M> {
    /// The first worth trying, of those from a position on, and the state to which it leads.
    pub(super) fn next_pending(&mut self, from: usize) -> Result<Option<(usize, M::State)>, Spent> {
        if self.unknown.pending.len() <= from {
            return Ok(None);
        }
        let until = self.candidates.first_return();
        for number in self.worth_a_try(from)? {
            let Pending { called, leads_to, .. } = &self.unknown.pending[number];
            if *called > until {
                break;
            }
            // What one that overwrites does, it does as well without the one before it.
            if !self.is_usable(number) || leads_to.is_some() && self.before.is_some() {
                continue;
            }
            let Some(after) = self.after_pending(&self.state, number)? else { continue };
            if after == self.state {
                continue;
            }
            if let Some(before) = &self.before
                && self.after_pending(before, number)?.as_ref() == Some(&after)
            {
                continue;
            }
            if self.matters(&after, number, until)? {
                return Ok(Some((number, after)));
            }
        }
        Ok(None)
    }

    /// All that may matter here, and not many more; from a position on, in their order.
    fn worth_a_try(&mut self, from: usize) -> Result<BTreeSet<usize>, Spent> {
        let mut numbers = BTreeSet::new();
        let mut add = |positions: &[usize]| {
            let first = positions.partition_point(|number| *number < from);
            numbers.extend(positions[first..].iter().copied());
        };
        add(&self.changing(&self.state.clone())?);
        if self.before.is_none() {
            add(&self.preparing()?);
            let mut entry = self.candidates.first();
            while let Some(item) = self.candidates.call_at(entry) {
                // What overwrites and is possible now, is none the better for another state.
                let overwrites = self.effects[item] == Effect::Overwrites;
                if !(overwrites && self.after(&self.state, item)?.is_some()) {
                    add(&self.enabling(item)?);
                }
                entry = self.candidates.after(entry);
            }
        }
        Ok(numbers)
    }

    /// True if it makes a difference to some next step that one of unknown outcome leads to the state
    /// `changed`.
    fn matters(&mut self, changed: &M::State, number: usize, until: u64) -> Result<bool, Spent> {
        let mut entry = self.candidates.first();
        while let Some(item) = self.candidates.call_at(entry) {
            if let Some(after) = self.after(changed, item)?
                && self.after(&self.state, item)?.as_ref() != Some(&after)
            {
                return Ok(true);
            }
            entry = self.candidates.after(entry);
        }
        for other in self.changing(changed)?.iter().copied() {
            if self.unknown.pending[other].called > until {
                break;
            }
            let is_next =
                self.unknown.pending[other].twin == Some(number) && !self.used.contains(other);
            if other == number || !(is_next || self.is_usable(other)) {
                continue;
            }
            let after = self.after_pending(changed, other)?;
            if self.after_pending(&self.state, other)? != after {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Which of those whose effect depends on the state change this one.
    fn changing(&mut self, state: &M::State) -> Result<Rc<[usize]>, Spent> {
        if let Some(known) = self.unknown.changing.get(state) {
            return Ok(Rc::clone(known));
        }
        let mut numbers = Vec::new();
        for number in &self.unknown.conditional {
            if self.after_pending(state, *number)?.is_some_and(|after| after != *state) {
                numbers.push(*number);
            }
        }
        let numbers = self.keep(numbers)?;
        self.unknown.changing.insert(state.clone(), Rc::clone(&numbers));
        Ok(numbers)
    }

    fn preparing(&mut self) -> Result<Rc<[usize]>, Spent> {
        if let Some(known) = &self.unknown.preparing {
            return Ok(Rc::clone(known));
        }
        let mut numbers = Vec::new();
        for number in 0..self.unknown.pending.len() {
            if let Some(state) = self.unknown.pending[number].leads_to.clone()
                && !self.changing(&state)?.is_empty()
            {
                numbers.push(number);
            }
        }
        let numbers = self.keep(numbers)?;
        self.unknown.preparing = Some(Rc::clone(&numbers));
        Ok(numbers)
    }

    fn enabling(&mut self, item: usize) -> Result<Rc<[usize]>, Spent> {
        if let Some(known) = self.unknown.enabling.get(&item) {
            return Ok(Rc::clone(known));
        }
        let mut numbers = Vec::new();
        for (number, pending) in self.unknown.pending.iter().enumerate() {
            if let Some(state) = &pending.leads_to
                && self.after(state, item)?.is_some()
            {
                numbers.push(number);
            }
        }
        let numbers = self.keep(numbers)?;
        self.unknown.enabling.insert(item, Rc::clone(&numbers));
        Ok(numbers)
    }

    /// Makes room to remember these.
    fn keep(&mut self, numbers: Vec<usize>) -> Result<Rc<[usize]>, Spent> {
        let bytes = 2 * size_of::<(M::State, Rc<[usize]>)>() + size_of_val(&*numbers);
        self.memo.make_room(bytes).ok_or(Spent)?;
        Ok(numbers.into())
    }

    /// True if it is not used yet, and every twin before it is.
    fn is_usable(&self, number: usize) -> bool {
        let twin = self.unknown.pending[number].twin;
        !self.used.contains(number) && twin.is_none_or(|twin| self.used.contains(twin))
    }

    fn after_pending(&self, state: &M::State, number: usize) -> Result<Option<M::State>, Spent> {
        self.spend()?;
        Ok(self.model.step(state, self.unknown.pending[number].input, None))
    }
}
