//! The same model for [stateright](https://docs.rs/stateright): its Explorer, a web page on which
//! one walks from state to state by hand, and its checkers, which know nothing of what this crate
//! remembers and must come to the same numbers.

use std::fmt;
use std::marker::PhantomData;
use std::net::Ipv4Addr;

use quorate_core::Envelope;
use quorate_sim::Simulated;
use stateright::{Model, Property};

use crate::bounds::Bounds;
use crate::canary::Canary;
use crate::cluster::{Action, Cluster};
use crate::hashed::Hashed;
use crate::rules::Rules;
use crate::words;

/// A cluster under some bounds, for stateright.
pub struct Explored<P> {
    rules: Rules,
    protocol: PhantomData<fn() -> P>,
}

impl<P> Explored<P> {
    /// Within these bounds, and with this broken.
    #[must_use]
    pub fn new(bounds: Bounds, canary: Option<Canary>) -> Explored<P> {
        Explored { rules: Rules::new(bounds, canary), protocol: PhantomData }
    }
}

impl<P> Explored<P>
where
    P: Simulated + Sync,
    P::Message: Sync,
    P::Pledge: Sync,
{
    /// Serves the Explorer on this port of the loopback interface, for as long as the process
    /// lives.
    ///
    /// # Panics
    /// If the port is taken.
    pub fn serve(self, port: u16) {
        let _ = self.checker().serve((Ipv4Addr::LOCALHOST, port));
    }
}

/// An [`Action`] that knows its message.
pub struct Said<P: Simulated> {
    action: Action,
    message: Option<Hashed<Envelope<P::Message>>>,
}

impl<P> Model for Explored<P>
where
    P: Simulated,
{
    type State = Cluster<P>;
    type Action = Said<P>;

    fn init_states(&self) -> Vec<Cluster<P>> {
        vec![Cluster::founded(&self.rules)]
    }

    fn actions(&self, cluster: &Cluster<P>, actions: &mut Vec<Said<P>>) {
        let mut possible = Vec::new();
        cluster.actions(&self.rules, &mut possible);
        actions.extend(
            possible
                .into_iter()
                .map(|action| Said { action, message: cluster.message_of(action).cloned() }),
        );
    }

    fn next_state(&self, before: &Cluster<P>, said: Said<P>) -> Option<Cluster<P>> {
        before.after(said.action, &self.rules)
    }

    fn format_action(&self, said: &Said<P>) -> String {
        format!("{said:?}")
    }

    fn format_step(&self, before: &Cluster<P>, said: Said<P>) -> Option<String> {
        let after = before.after(said.action, &self.rules)?;
        Some(after.news_since(before).join("\n"))
    }

    fn properties(&self) -> Vec<Property<Explored<P>>> {
        vec![
            Property::always("every promise is kept", |_, cluster: &Cluster<P>| {
                cluster.broken.is_none()
            }),
            Property::sometimes("somebody leads", |_, cluster: &Cluster<P>| {
                cluster.history.leaders().ge(&1)
            }),
            Property::sometimes("a command is committed", |_, cluster: &Cluster<P>| {
                cluster.history.committed().0 > 1
            }),
        ]
    }
}

impl<P: Simulated> Clone for Said<P> {
    fn clone(&self) -> Said<P> {
        Said { action: self.action, message: self.message.clone() }
    }
}

impl<P: Simulated> PartialEq for Said<P> {
    fn eq(&self, other: &Said<P>) -> bool {
        self.action == other.action
    }
}

impl<P: Simulated> fmt::Debug for Said<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.message.as_deref();
        f.write_str(&words::action(self.action, message.map(words::message)))
    }
}
