//! A smallest part of a history that shows that it is not linearizable.
//!
//! Operations cannot simply be taken away: a history without a write in which that is read is wrong,
//! and says nothing of the whole. Instead an operation is *taken out of account*: its answer and its
//! return are forgotten, so that it may have happened at any time after its call, or never; if by its
//! answer it only read, nothing is left of it. Whoever
//! can explain a history can explain it with operations taken out of account. So if it cannot be
//! explained with all but a few of them out of account, these few are to blame; they are *essential*. If
//! in addition the rest can be explained once any of the few is taken out of account too, none can be
//! spared.
//!
//! Searches are dear with many operations out of account. So most are kept away at first, and those are
//! admitted, as *context*, that turn out to explain something. What is found so is right: nothing
//! explains the essential operations in the end, with all others out of account; and the context
//! suffices to explain them without any one of them. It is shown with them, for without it they could
//! not be understood.

mod quick_xplain;

use std::collections::BTreeSet;

use crate::checker::item;
use crate::history::Operation;
use crate::model::{Effect, Model};
use crate::search::{Allowance, Found, Item, search};
use quick_xplain::quick_xplain;

/// Positions in the list of operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shrunk {
    /// Whose calls, returns and answers cannot be explained together.
    pub(crate) essential: Vec<usize>,
    /// Which may have happened at any time after their calls, and explain answers of the others.
    pub(crate) context: Vec<usize>,
    /// True if no essential operation can be spared; otherwise the allowance did not suffice.
    pub(crate) is_minimal: bool,
}

/// If no more operations than this may be essential, all sets of up to three of them are tried, and
/// several orders of sparing them.
const FEW: usize = 40;

/// So many operations are suspected at first, from each place that is suspicious.
const FIRST_SUSPECTS: usize = 8;

/// Shrinks the history of one key, which is not linearizable: no order comes behind a return at
/// `stuck_at`.
pub(crate) fn shrink<M: Model>(
    model: &M,
    initial: M::State,
    operations: &[&Operation<M::Input, M::Output>],
    stuck_at: u64,
    allowance: Allowance,
) -> Shrunk {
    let items = operations.iter().copied().map(item).collect();
    let mut shrinker = Shrinker { model, initial, items, allowance, end: u64::MAX };
    let prefix = shrinker.shortest_prefix(stuck_at);
    let suspicious = shrinker.suspicious(&prefix);
    let mut count = FIRST_SUSPECTS;
    loop {
        let suspects = suspects(&prefix, &suspicious, count);
        let is_everything = suspects.len() == prefix.len();
        match shrinker.essential_among(&suspects) {
            Some(mut found) => {
                found.context = shrinker.needed(&found);
                return found;
            }
            None if is_everything => break,
            None => count *= 4,
        }
    }
    Shrunk { essential: prefix, context: Vec::new(), is_minimal: false }
}

/// The last `count` operations of the prefix, and those around suspicious places.
fn suspects(prefix: &[usize], suspicious: &Suspicious, count: usize) -> Vec<usize> {
    let mut suspects: BTreeSet<usize> = BTreeSet::new();
    suspects.extend(&prefix[prefix.len().saturating_sub(count)..]);
    let Suspicious { order, places } = suspicious;
    for place in places.iter().rev().take(count / 4) {
        let around = place.saturating_sub(count / 4)..(place + count / 4).min(order.len());
        suspects.extend(&order[around]);
    }
    prefix.iter().copied().filter(|position| suspects.contains(position)).collect()
}

/// An order that explains all but the last operation, and the places in it where that one begins or
/// ceases to be possible: what happened there has to do with it.
struct Suspicious {
    order: Vec<usize>,
    places: Vec<usize>,
}

struct Shrinker<'a, M: Model> {
    model: &'a M,
    initial: M::State,
    items: Vec<Item<'a, M>>,
    allowance: Allowance,
    /// What was called later is not looked at: what is wrong by then stays wrong.
    end: u64,
}

impl<M: Model> Shrinker<'_, M> {
    /// Searches with only these operations in account, and of the others those that are admitted.
    fn explain(&mut self, in_account: &[usize], is_admitted: impl Fn(usize) -> bool) -> Found {
        let mut is_in_account = vec![false; self.items.len()];
        in_account.iter().for_each(|position| is_in_account[*position] = true);
        let mut positions = Vec::new();
        let mut items = Vec::new();
        for (position, item) in self.items.iter().enumerate() {
            if is_in_account[position] {
                items.push(*item);
            } else if item.called <= self.end && is_admitted(position) && !self.only_reads(position)
            {
                items.push(Item { returned: None, ..*item });
            } else {
                continue;
            }
            positions.push(position);
        }
        match search(self.model, self.initial.clone(), &items, &mut self.allowance) {
            Found::Order(order) => {
                Found::Order(order.into_iter().map(|number| positions[number]).collect())
            }
            other => other,
        }
    }

    /// True if an operation, with what it returned, has no effect: out of account there is nothing left
    /// of it.
    fn only_reads(&self, position: usize) -> bool {
        let Item { input, returned, .. } = self.items[position];
        self.model.effect(input, returned.map(|(_, output)| output)) == Effect::Reads
    }

    fn returned_at(&self, position: usize) -> Option<u64> {
        self.items[position].returned.map(|(at, _)| at)
    }

    /// The operations that return in the shortest part of the history from its beginning that is not
    /// linearizable; in the order of their returns.
    fn shortest_prefix(&mut self, stuck_at: u64) -> Vec<usize> {
        let mut returned: Vec<usize> = (0..self.items.len()).collect();
        returned.retain(|position| self.returned_at(*position).is_some());
        returned.sort_by_key(|position| self.returned_at(*position));
        // Mostly the next return is the one that cannot be explained. It could be a later one: an
        // operation that has not returned yet may still return something else.
        let mut holds = returned.partition_point(|at| self.returned_at(*at) < Some(stuck_at));
        let mut fails = returned.len();
        let mut further = 1;
        while fails - holds > 1 {
            let middle = (holds + further).min(holds.midpoint(fails));
            self.end = self.returned_at(returned[middle - 1]).unwrap_or(u64::MAX);
            if matches!(self.explain(&returned[..middle], |_| true), Found::Nothing { .. }) {
                fails = middle;
            } else {
                holds = middle;
                further *= 2;
            }
        }
        returned.truncate(fails);
        let last = returned.last().and_then(|last| self.returned_at(*last));
        self.end = last.unwrap_or(u64::MAX);
        returned
    }

    fn suspicious(&mut self, prefix: &[usize]) -> Suspicious {
        let mut found = Suspicious { order: Vec::new(), places: Vec::new() };
        let Some((last, others)) = prefix.split_last() else { return found };
        let Found::Order(order) = self.explain(others, |_| true) else { return found };
        let in_account: BTreeSet<usize> = others.iter().copied().collect();
        let output = |position: usize| self.items[position].returned.map(|(_, output)| output);
        let is_possible = |state: &M::State| {
            self.model.step(state, self.items[*last].input, output(*last)).is_some()
        };
        let mut state = self.initial.clone();
        let mut was_possible = is_possible(&state);
        for (place, position) in order.iter().enumerate() {
            let output = output(*position).filter(|_| in_account.contains(position));
            let after = self.model.step(&state, self.items[*position].input, output);
            state = after.expect("the search has taken this step");
            if is_possible(&state) != was_possible {
                was_possible = !was_possible;
                found.places.push(place);
            }
        }
        found.order = order;
        found
    }

    /// The smallest set found of these operations that cannot be explained, whatever became of all
    /// others. `None` if there is no such set, or it cannot be told.
    fn essential_among(&mut self, suspects: &[usize]) -> Option<Shrunk> {
        let mut context: BTreeSet<usize> = BTreeSet::new();
        loop {
            let (essential, is_minimal) = self.smallest(suspects, &context)?;
            match self.explain(&essential, |_| true) {
                Found::Nothing { .. } => {
                    let context = context.into_iter().collect();
                    return Some(Shrunk { essential, context, is_minimal });
                }
                Found::Order(order) => {
                    let known = context.len();
                    context.extend(order.iter().filter(|position| !essential.contains(position)));
                    assert!(context.len() > known, "what explains it was there before");
                }
                Found::GivenUp => return None,
            }
        }
    }

    /// The same if nothing but the context happened beside these operations; and whether none of
    /// them can be spared.
    fn smallest(
        &mut self,
        suspects: &[usize],
        context: &BTreeSet<usize>,
    ) -> Option<(Vec<usize>, bool)> {
        let known: BTreeSet<usize> = suspects.iter().copied().collect();
        let mut is_sure = true;
        let mut fails = |essential: &[usize]| {
            let is_admitted = |position| known.contains(&position) || context.contains(&position);
            let found = self.explain(essential, is_admitted);
            is_sure &= found != Found::GivenUp;
            matches!(found, Found::Nothing { .. })
        };
        if !fails(suspects) {
            return None;
        }
        let newest_first: Vec<usize> = suspects.iter().rev().copied().collect();
        let mut best = quick_xplain(&newest_first, &mut fails);
        if suspects.len() <= FEW {
            let other = quick_xplain(suspects, &mut fails);
            if other.len() < best.len() {
                best = other;
            }
            let fewer = few_of(suspects).take_while(|set| set.len() < best.len());
            for set in fewer.collect::<Vec<_>>() {
                if fails(&set) {
                    // All smaller sets were tried.
                    best = set;
                    break;
                }
            }
        }
        best.sort_unstable();
        Some((best, is_sure))
    }

    /// What of the context is needed to explain the essential operations without any one of them.
    fn needed(&mut self, found: &Shrunk) -> Vec<usize> {
        let Shrunk { essential, context, .. } = found;
        let rests: Vec<Vec<usize>> = (0..essential.len())
            .map(|without| [&essential[..without], &essential[without + 1..]].concat())
            .collect();
        let mut used = BTreeSet::new();
        for rest in &rests {
            if let Found::Order(order) = self.explain(rest, |_| true) {
                used.extend(order);
            }
        }
        let mut needed: Vec<usize> =
            used.into_iter().filter(|used| !essential.contains(used)).collect();
        if needed.is_empty() && !context.is_empty() {
            needed.clone_from(context);
        }
        for candidate in needed.clone() {
            let fewer: Vec<usize> =
                needed.iter().copied().filter(|position| *position != candidate).collect();
            let suffices = rests.iter().all(|rest| {
                let admitted =
                    |position| fewer.contains(&position) || essential.contains(&position);
                matches!(self.explain(rest, admitted), Found::Order(_))
            });
            if suffices {
                needed = fewer;
            }
        }
        needed
    }
}

/// All sets of one, two and three of the suspects, smaller ones first. The one that returned last is in
/// each: without it the history is linearizable.
fn few_of(suspects: &[usize]) -> impl Iterator<Item = Vec<usize>> + '_ {
    let (&last, others) = suspects.split_last().expect("there are suspects");
    let pairs = others.iter().map(move |one| vec![*one, last]);
    let triples = others.iter().enumerate().flat_map(move |(number, one)| {
        others[number + 1..].iter().map(move |other| vec![*one, *other, last])
    });
    std::iter::once(vec![last]).chain(pairs).chain(triples)
}
