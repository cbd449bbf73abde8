//! What a user asks for: a check, a walk, a page to look at.

use std::marker::PhantomData;
use std::time::Duration;

use quorate_sim::Simulated;

use crate::bounds::Bounds;
use crate::canary::Canary;
use crate::counterexample::Counterexample;
use crate::rules::Rules;
use crate::search::{Found, Order, Progress, Search};
use crate::walk::{Stroll, Stumbled, Walked, walk};

/// A protocol in a small cluster.
///
/// ```
/// use quorate_model::{Bounds, Ending, Model};
/// use quorate_raft::Raft;
///
/// let bounds = Bounds { elections: 1, proposals: 0, ..Bounds::default() };
/// let checked = Model::<Raft>::new(bounds).check();
/// assert!(matches!(checked.ending, Ending::Exhausted));
/// assert!(checked.progress.distinct > 1000);
/// ```
#[derive(Clone, Debug)]
pub struct Model<P> {
    rules: Rules,
    limit: Option<u64>,
    protocol: PhantomData<fn() -> P>,
}

/// How a check or a walk ended.
#[derive(Debug)]
#[must_use = "it says whether the promises hold"]
pub enum Ending<P: Simulated> {
    /// Everything within the bounds was looked at, and every promise is kept.
    Exhausted,
    /// Nothing was found, and there is more to look at.
    Stopped,
    /// A promise is broken.
    Broken(Box<Counterexample<P>>),
}

/// What came of a check.
#[derive(Debug)]
#[must_use = "it says whether the promises hold"]
pub struct Checked<P: Simulated> {
    /// How it ended.
    pub ending: Ending<P>,
    /// How far it got.
    pub progress: Progress,
}

/// The most states that are looked at again to find a shorter way to what was found.
const STATES_FOR_BREVITY: u64 = 1 << 21;

impl<P: Simulated> Model<P> {
    /// Of a cluster within these bounds.
    #[must_use]
    pub fn new(bounds: Bounds) -> Model<P> {
        Model { rules: Rules::new(bounds, None), limit: None, protocol: PhantomData }
    }

    /// With something broken on purpose.
    #[must_use]
    pub fn canary(self, canary: Canary) -> Model<P> {
        Model { rules: Rules::new(self.rules.bounds, Some(canary)), ..self }
    }

    /// A check stops after so many states.
    #[must_use]
    pub fn limit(self, states: u64) -> Model<P> {
        Model { limit: Some(states), ..self }
    }

    /// Looks at every state within the bounds.
    pub fn check(&self) -> Checked<P> {
        self.check_in(Order::DepthFirst, &mut |_| {})
    }

    /// The same in this order, and tells from time to time how far it has come.
    ///
    /// What was found depth-first is shortened before it is told.
    pub fn check_in(&self, order: Order, tell: &mut dyn FnMut(&Progress)) -> Checked<P> {
        let mut search = Search::<P>::new(self.rules.clone(), self.limit);
        let found = search.run(order, tell);
        let progress = search.progress();
        drop(search);
        let ending = match found {
            Found::Nothing => Ending::Exhausted,
            Found::Enough => Ending::Stopped,
            Found::Broken(actions, violation) if order == Order::BreadthFirst => {
                let told = Counterexample::told(actions, violation, &self.rules);
                Ending::Broken(Box::new(told))
            }
            Found::Broken(actions, violation) => {
                let mut nearer = Search::<P>::new(self.rules.clone(), Some(STATES_FOR_BREVITY));
                let counterexample = match nearer.run(Order::BreadthFirst, &mut |_| {}) {
                    Found::Broken(actions, violation) => {
                        Counterexample::told(actions, violation, &self.rules)
                    }
                    Found::Nothing | Found::Enough => {
                        Counterexample::shortened(actions, violation, &self.rules)
                    }
                };
                Ending::Broken(Box::new(counterexample))
            }
        };
        Checked { ending, progress }
    }

    /// Takes random walks, until a promise is broken or it is enough.
    pub fn walk(&self, stroll: Stroll, tell: &mut dyn FnMut(&Walked)) -> (Ending<P>, Walked) {
        let rules = self.rules.with_all_messages();
        let (found, walked) = walk::<P>(&rules, stroll, tell);
        let ending = match found {
            None => Ending::Stopped,
            Some(Stumbled { actions, violation, rules }) => {
                let counterexample = Counterexample::shortened(actions, violation, &rules);
                Ending::Broken(Box::new(counterexample))
            }
        };
        (ending, walked)
    }

    /// Walks for so long, with everything allowed so often that it hardly matters.
    pub fn walk_for(time: Duration, seed: u64) -> (Ending<P>, Walked) {
        let stroll = Stroll { seed, time, ..Stroll::default() };
        Model::new(Bounds::of_a_walk()).walk(stroll, &mut |_| {})
    }
}
