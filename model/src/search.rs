//! Every state that can be reached within the bounds: depth-first to prove, breadth-first to find
//! the shortest way to a state that should not be.

use std::time::{Duration, Instant};

use quorate_sim::{Simulated, Violation};

use crate::cluster::Action;
use crate::library::{Library, Move, Next, Place};
use crate::rules::Rules;
use crate::visited::Visited;

/// In which order states are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Follows one way to its end first: takes little memory.
    DepthFirst,
    /// All ways equally far: what it finds first is nearest.
    BreadthFirst,
}

/// How far a search has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Different states that were reached.
    pub distinct: u64,
    /// States that were reached, on whichever way.
    pub generated: u64,
    /// The most actions on a way.
    pub deepest: usize,
    /// Different states of a replica.
    pub replica_states: usize,
    /// Steps that the real code took; all others were such a step again.
    pub real_steps: usize,
    /// How many bytes it takes to remember which states were reached.
    pub visited_bytes: usize,
    /// For how long it has been searching.
    pub elapsed: Duration,
}

/// What a search has found.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// Nothing, and there is nothing that was not looked at.
    Nothing,
    /// Nothing, though there may be something.
    Enough,
    /// A promise was broken, after these actions.
    Broken(Vec<Action>, Violation),
}

/// A search for a broken promise.
pub(crate) struct Search<P: Simulated> {
    library: Library<P>,
    visited: Visited,
    generated: u64,
    deepest: usize,
    since: Instant,
    /// Not more than so many states are looked at.
    limit: u64,
}

/// A state on the way, and what was tried of it.
struct Frame {
    place: Place,
    moves: Vec<Move>,
    tried: usize,
}

/// After how many states progress is told.
const TELL_EVERY: u64 = 1 << 18;

impl<P: Simulated> Search<P> {
    pub(crate) fn new(rules: Rules, limit: Option<u64>) -> Search<P> {
        Search {
            library: Library::new(rules),
            visited: Visited::new(),
            generated: 0,
            deepest: 0,
            since: Instant::now(),
            limit: limit.unwrap_or(u64::MAX),
        }
    }

    pub(crate) fn progress(&self) -> Progress {
        let (replica_states, real_steps) = self.library.size();
        Progress {
            distinct: self.visited.len() as u64,
            generated: self.generated,
            deepest: self.deepest,
            replica_states,
            real_steps,
            visited_bytes: self.visited.bytes(),
            elapsed: self.since.elapsed(),
        }
    }

    pub(crate) fn run(&mut self, order: Order, tell: &mut dyn FnMut(&Progress)) -> Found {
        let founded = match self.library.founded() {
            Ok(place) => place,
            Err(violation) => return Found::Broken(Vec::new(), violation),
        };
        self.visited.insert(self.library.fingerprint(&founded));
        self.generated = 1;
        match order {
            Order::DepthFirst => self.depth_first(founded, tell),
            Order::BreadthFirst => self.breadth_first(founded, tell),
        }
    }

    fn depth_first(&mut self, founded: Place, tell: &mut dyn FnMut(&Progress)) -> Found {
        let mut frames = vec![self.frame(founded)];
        // Frames that are not on the way are used again.
        let mut depth = 1;
        while depth > 0 {
            let frame = &mut frames[depth - 1];
            let Some(what) = frame.moves.get(frame.tried).copied() else {
                depth -= 1;
                continue;
            };
            frame.tried += 1;
            let Some(next) = self.library.next(&frame.place, what) else { continue };
            self.generated += 1;
            if let Some(broken) = next.broken {
                let violation = self.library.violation(broken).clone();
                return self.broken(&frames[..depth], violation);
            }
            if frames.len() == depth {
                let place = frames[depth - 1].place.clone();
                frames.push(Frame { place, moves: Vec::new(), tried: 0 });
            }
            let (way, rest) = frames.split_at_mut(depth);
            let (from, to) = (&way[depth - 1], &mut rest[0]);
            to.place.copy(&from.place);
            self.library.go(&mut to.place, &next);
            if !self.visited.insert(self.library.fingerprint(&to.place)) {
                continue;
            }
            if let Err(violation) = self.library.judge(&to.place, &next) {
                return self.broken(way, violation);
            }
            to.moves.clear();
            to.tried = 0;
            self.library.moves(&to.place, &mut to.moves);
            depth += 1;
            self.deepest = self.deepest.max(depth - 1);
            if self.is_over(tell) {
                return Found::Enough;
            }
        }
        Found::Nothing
    }

    fn frame(&self, place: Place) -> Frame {
        let mut moves = Vec::new();
        self.library.moves(&place, &mut moves);
        Frame { place, moves, tried: 0 }
    }

    fn broken(&self, way: &[Frame], violation: Violation) -> Found {
        let taken =
            way.iter().map(|frame| self.library.action(&frame.place, frame.moves[frame.tried - 1]));
        Found::Broken(taken.collect(), violation)
    }

    fn is_over(&self, tell: &mut dyn FnMut(&Progress)) -> bool {
        let distinct = self.visited.len() as u64;
        if distinct.is_multiple_of(TELL_EVERY) {
            tell(&self.progress());
        }
        distinct >= self.limit
    }

    fn breadth_first(&mut self, founded: Place, tell: &mut dyn FnMut(&Progress)) -> Found {
        // Of every state the one before it, and the move between the two.
        let mut steps: Vec<(u32, Option<Move>)> = vec![(0, None)];
        let mut wave = vec![(0, founded.clone())];
        let mut moves = Vec::new();
        while !wave.is_empty() {
            let mut following = Vec::new();
            for (number, place) in wave {
                moves.clear();
                self.library.moves(&place, &mut moves);
                for what in &moves {
                    let Some(next) = self.library.next(&place, *what) else { continue };
                    self.generated += 1;
                    let reached = self.reach(&place, &next);
                    let place = match reached {
                        Ok(None) => continue,
                        Ok(Some(place)) => place,
                        Err(violation) => {
                            steps.push((number, Some(*what)));
                            return Found::Broken(self.retrace(founded, &steps), violation);
                        }
                    };
                    steps.push((number, Some(*what)));
                    let number = u32::try_from(steps.len() - 1).expect("memory ends before");
                    following.push((number, place));
                    if self.is_over(tell) {
                        return Found::Enough;
                    }
                }
            }
            self.deepest += usize::from(!following.is_empty());
            wave = following;
        }
        Found::Nothing
    }

    /// The state to which `next` leads, if it was not reached before.
    fn reach(&mut self, place: &Place, next: &Next) -> Result<Option<Place>, Violation> {
        if let Some(broken) = next.broken {
            return Err(self.library.violation(broken).clone());
        }
        let mut reached = place.clone();
        self.library.go(&mut reached, next);
        if !self.visited.insert(self.library.fingerprint(&reached)) {
            return Ok(None);
        }
        self.library.judge(&reached, next)?;
        Ok(Some(reached))
    }

    /// The actions that led to the last of these steps.
    fn retrace(&mut self, founded: Place, steps: &[(u32, Option<Move>)]) -> Vec<Action> {
        let mut moves = Vec::new();
        let mut at = steps.len() - 1;
        while let (before, Some(what)) = steps[at] {
            moves.push(what);
            at = before as usize;
        }
        let mut place = founded;
        let mut actions = Vec::new();
        for what in moves.into_iter().rev() {
            actions.push(self.library.action(&place, what));
            let next = self.library.next(&place, what).expect("it was possible before");
            self.library.go(&mut place, &next);
        }
        actions
    }
}
