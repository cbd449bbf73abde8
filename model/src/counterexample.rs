//! The way to a broken promise, for people to read.

use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use quorate_core::Envelope;
use quorate_sim::{Simulated, Violation};

use crate::cluster::{Action, Cluster};
use crate::hashed::Hashed;
use crate::rules::Rules;
use crate::words;

/// What happened, one thing after the other, until a promise was broken.
///
/// It is found with remembered steps, and told by taking each of them once more with the real
/// code.
pub struct Counterexample<P> {
    /// What happened.
    pub actions: Vec<Action>,
    /// The promise that was broken.
    pub violation: Violation,
    story: String,
    protocol: PhantomData<fn() -> P>,
}

/// For how long things are left out that are not needed.
const PATIENCE: Duration = Duration::from_secs(20);

impl<P: Simulated> Counterexample<P> {
    /// These actions, without those that are not needed to break the same promise.
    pub(crate) fn shortened(
        actions: Vec<Action>,
        violation: Violation,
        rules: &Rules,
    ) -> Counterexample<P> {
        let since = Instant::now();
        let mut needed = actions;
        let mut is_shorter = true;
        while is_shorter && since.elapsed() < PATIENCE {
            is_shorter = false;
            for left_out in (0..needed.len()).rev() {
                if left_out >= needed.len() || since.elapsed() >= PATIENCE {
                    continue;
                }
                let mut fewer = needed.clone();
                fewer.remove(left_out);
                let (taken, broken) = replay::<P>(&fewer, rules);
                if broken.is_some_and(|broken| broken.property == violation.property) {
                    needed = taken;
                    is_shorter = true;
                }
            }
        }
        Counterexample::told(needed, violation, rules)
    }

    /// Exactly these actions.
    pub(crate) fn told(
        actions: Vec<Action>,
        violation: Violation,
        rules: &Rules,
    ) -> Counterexample<P> {
        let mut story = String::new();
        let mut cluster = Cluster::<P>::founded(rules);
        let mut confirmed = cluster.broken.clone();
        for (number, action) in actions.iter().enumerate() {
            story.push_str(&format!(
                "{:3}. {}\n",
                number + 1,
                words::action(
                    *action,
                    cluster.message_of(*action).map(|message| words::message(message))
                )
            ));
            let Some(next) = cluster.after(*action, rules) else { continue };
            for line in next.news_since(&cluster) {
                story.push_str(&format!("       {line}\n"));
            }
            confirmed = confirmed.or(next.broken.clone());
            cluster = next;
        }
        let violation = confirmed.unwrap_or(violation);
        Counterexample { actions, violation, story, protocol: PhantomData }
    }
}

/// The actions that are possible, one after the other, and the promise that is broken.
fn replay<P: Simulated>(actions: &[Action], rules: &Rules) -> (Vec<Action>, Option<Violation>) {
    let mut cluster = Cluster::<P>::founded(rules);
    let mut taken = Vec::new();
    for action in actions {
        if let Some(next) = cluster.after(*action, rules) {
            taken.push(*action);
            cluster = next;
        }
        if cluster.broken.is_some() {
            break;
        }
    }
    (taken, cluster.broken)
}

impl<P: Simulated> Cluster<P> {
    /// The message of which an action speaks.
    pub(crate) fn message_of(&self, action: Action) -> Option<&Hashed<Envelope<P::Message>>> {
        self.place_of(action.what).map(|place| &self.network[place])
    }

    /// What is different from before: a line for each replica that changed, and for each message
    /// that was sent.
    pub(crate) fn news_since(&self, before: &Cluster<P>) -> Vec<String> {
        let changed = self.nodes.iter().zip(&before.nodes).filter(|(new, old)| new != old);
        let mut lines: Vec<String> = changed.map(|(new, _)| words::node(new)).collect();
        let mut old = before.network.clone();
        for message in &self.network {
            match old.iter().position(|other| other == message) {
                Some(place) => {
                    old.remove(place);
                }
                None => lines.push(format!("sends {}", words::message(message))),
            }
        }
        lines
    }
}

impl<P> fmt::Display for Counterexample<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}BROKEN after {} actions: {}", self.story, self.actions.len(), self.violation)
    }
}

impl<P> fmt::Debug for Counterexample<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
