//! Random walks over the same model, far beyond the bounds within which it can be exhausted.
//!
//! A search that looks at everything near never gets far. Some mistakes need a dozen steps in the
//! right order before they show, and a walk that takes any of the possible steps at random gets
//! there within seconds. What it did not find may still be there.

use std::time::{Duration, Instant};

use quorate_sim::oracles::assertion_failed;
use quorate_sim::{Simulated, Violation};

use crate::cluster::Action;
use crate::network::{Delivery, Way};
use crate::panics::caught;
use crate::rules::{Local, Rules, Speed};
use crate::world::{Turn, World};

/// How far walks have come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Walked {
    /// How many of them there were.
    pub walks: u64,
    /// How many steps they took.
    pub steps: u64,
    /// How many inputs replicas took: messages, timers, completions, requests.
    pub inputs: u64,
    /// How many leaders were elected.
    pub leaders: u64,
    /// How many entries were committed.
    pub commits: u64,
    /// For how long.
    pub elapsed: Duration,
}

impl Walked {
    /// This and what others walked at the same time.
    #[must_use]
    pub fn and(&self, other: &Walked) -> Walked {
        Walked {
            walks: self.walks + other.walks,
            steps: self.steps + other.steps,
            inputs: self.inputs + other.inputs,
            leaders: self.leaders + other.leaders,
            commits: self.commits + other.commits,
            elapsed: self.elapsed.max(other.elapsed),
        }
    }
}

/// How long a walk is, and when it is enough.
#[derive(Clone, Copy, Debug)]
pub struct Stroll {
    /// Decides everything.
    pub seed: u64,
    /// A walk ends after so many steps.
    pub length: usize,
    /// No walk begins after this.
    pub time: Duration,
    /// Nor after so many walks.
    pub walks: u64,
}

impl Default for Stroll {
    /// Walks of 400 steps for ten seconds.
    fn default() -> Stroll {
        Stroll { seed: 1, length: 400, time: Duration::from_secs(10), walks: u64::MAX }
    }
}

/// After so many choices that were not possible, a walk is at its end.
const PATIENCE: usize = 200;

/// The way to a broken promise, and the rules under which it was found.
#[derive(Debug)]
pub(crate) struct Stumbled {
    pub(crate) actions: Vec<Action>,
    pub(crate) violation: Violation,
    pub(crate) rules: Rules,
}

/// Walks until a promise is broken, or it is enough.
pub(crate) fn walk<P: Simulated>(
    rules: &Rules,
    stroll: Stroll,
    tell: &mut dyn FnMut(&Walked),
) -> (Option<Stumbled>, Walked) {
    let since = Instant::now();
    let mut random = Random(stroll.seed.wrapping_mul(2) + 1);
    let with_long_messages = rules.with_long_messages();
    let mut walked = Walked::default();
    let mut told = Duration::ZERO;
    let mut turns = Vec::with_capacity(stroll.length);
    while walked.walks < stroll.walks && walked.elapsed < stroll.time {
        turns.clear();
        let rules = if random.below(2) == 0 { &with_long_messages } else { rules };
        let walk = || one_walk::<P>(rules, stroll.length, &mut random, &mut turns, &mut walked);
        let broken = caught(walk).unwrap_or_else(|words| Some(assertion_failed(words)));
        walked.walks += 1;
        walked.steps += turns.len() as u64;
        walked.elapsed = since.elapsed();
        if let Some(violation) = broken {
            let actions = retold::<P>(rules, &turns);
            return (Some(Stumbled { actions, violation, rules: rules.clone() }), walked);
        }
        if walked.elapsed >= told + Duration::from_secs(1) {
            told = walked.elapsed;
            tell(&walked);
        }
    }
    (None, walked)
}

fn one_walk<P: Simulated>(
    rules: &Rules,
    length: usize,
    random: &mut Random,
    turns: &mut Vec<(Turn, Speed)>,
    walked: &mut Walked,
) -> Option<Violation> {
    let (mut world, verdict) = World::<P>::founded(rules);
    let mut verdict = verdict;
    let weights = Weights::drawn(random);
    let mut refused = 0;
    while verdict.is_ok() && turns.len() < length && refused < PATIENCE {
        let is_slow = random.below(100) < weights.slow_writes;
        let disk = if is_slow { Speed::Slow } else { Speed::Immediate };
        let Some(turn) = weights.choose(&world, random) else {
            refused += 1;
            continue;
        };
        turns.push((turn, disk));
        match world.go(turn, disk) {
            Some(judged) => {
                verdict = judged;
                refused = 0;
            }
            None => {
                turns.pop();
                refused += 1;
            }
        }
    }
    let (leaders, commits) = world.achieved();
    walked.leaders += leaders;
    walked.commits += commits;
    walked.inputs += world.inputs();
    verdict.err()
}

/// The same turns as actions.
fn retold<P: Simulated>(rules: &Rules, turns: &[(Turn, Speed)]) -> Vec<Action> {
    let (mut world, _) = World::<P>::founded(rules);
    let mut actions = Vec::with_capacity(turns.len());
    for (turn, disk) in turns {
        let (mut action, at) = (world.action(*turn, *disk), world.node_of(*turn));
        let gone = caught(|| world.go(*turn, *disk));
        // A disk that had nothing to write was not slow.
        if world.unsaved(at) == 0 {
            action.disk = Speed::Immediate;
        }
        actions.push(action);
        if !matches!(gone, Ok(Some(Ok(())))) {
            break;
        }
    }
    actions
}

/// How likely each kind of step is, drawn anew for each walk: a cluster where everything happens
/// at once gets nowhere, and one where little happens learns nothing.
struct Weights {
    deliver: u64,
    save: u64,
    propose: u64,
    election: u64,
    other_timers: u64,
    crash: u64,
    /// Of a hundred messages, how many arrive twice, overtake others, or are of one batch with what
    /// happens next.
    duplicates: u64,
    overtakings: u64,
    batched: u64,
    /// Of a hundred messages, how many leave none behind.
    in_order: u64,
    /// Of a hundred writes, how many are slow.
    slow_writes: u64,
}

impl Weights {
    fn drawn(random: &mut Random) -> Weights {
        let mut one_of = |choices: [u64; 4]| choices[random.below(4) as usize];
        Weights {
            deliver: 200,
            save: one_of([20, 60, 100, 200]),
            propose: one_of([2, 5, 10, 20]),
            election: one_of([2, 4, 10, 30]),
            other_timers: one_of([1, 3, 10, 30]),
            crash: one_of([0, 1, 3, 10]),
            duplicates: one_of([0, 0, 2, 10]),
            overtakings: one_of([0, 5, 20, 50]),
            batched: one_of([0, 0, 5, 30]),
            in_order: one_of([0, 50, 80, 95]),
            slow_writes: one_of([0, 10, 30, 90]),
        }
    }

    fn choose<P: Simulated>(&self, world: &World<'_, P>, random: &mut Random) -> Option<Turn> {
        let Weights { deliver, save, propose, election, other_timers, crash, .. } = *self;
        let mut number = random.below(deliver + save + propose + election + other_timers + crash);
        let mut is = |weight: u64| {
            let is_it = number < weight;
            number = number.wrapping_sub(weight);
            is_it
        };
        if is(deliver) {
            return self.arrival(world, random);
        }
        let node = random.below(world.replicas() as u64) as usize;
        let facts = || world.facts(node);
        let local = if is(save) {
            (world.unsaved(node) > 0).then_some(Local::Save)
        } else if is(propose) {
            let what = if random.below(4) == 0 { Local::Read } else { Local::Propose };
            facts().serves.then_some(what)
        } else if is(election) {
            Some(Local::ElectionTimeout)
        } else if is(other_timers) {
            match random.below(4) {
                0 => facts().leads.then_some(Local::QuorumTimeout),
                1 => facts().may_swear.then_some(Local::Swear),
                _ => Some(Local::HeartbeatTimeout),
            }
        } else {
            Some(Local::Crash(random.below(world.unsaved(node) as u64 + 1) as u8))
        };
        local.map(|local| Turn::Local(node, local))
    }

    fn arrival<P: Simulated>(&self, world: &World<'_, P>, random: &mut Random) -> Option<Turn> {
        let any = random.below((world.in_flight() as u64).max(1)) as usize;
        if any >= world.in_flight() {
            return None;
        }
        let is_patient = random.below(100) < self.in_order;
        let place = if is_patient { world.first_of_link(any) } else { any };
        let chance = random.below(100);
        let way = if chance < self.duplicates {
            Way::Twice
        } else if chance < self.duplicates + self.overtakings {
            Way::Overtaking
        } else if chance < self.duplicates + self.overtakings + self.batched {
            Way::Batched
        } else {
            Way::InTurn
        };
        Some(Turn::Arrival(Delivery { place, way }))
    }
}

/// Xorshift: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((u128::from(self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)) * u128::from(bound)) >> 64) as u64
    }
}
