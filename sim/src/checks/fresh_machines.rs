//! Fresh machines that are given the committed commands one after the other, and nothing else: what
//! [answers](super::answers) and [states](super::states) are compared with.

use std::sync::Arc;

use super::state_machine_safety::Effect;
use crate::subject::{Replay, Subject};
use crate::value::Value;

/// What makes a machine differ from a fresh one, most of the time.
pub(super) const LOOK_FOR: &str = "look for state that the snapshot leaves out, for clocks and random numbers in \
                        apply, and for the order of a HashMap";

/// One for each replica, brought to where that is when its answers are looked at, and one in front of them
/// all.
pub(super) struct FreshMachines {
    subject: Arc<dyn Subject>,
    front: Fresh,
    replicas: Vec<Fresh>,
}

/// A fresh machine that has had so many effects.
struct Fresh {
    machine: Box<dyn Replay>,
    count: usize,
}

impl Fresh {
    fn new(subject: &Arc<dyn Subject>) -> Fresh {
        Fresh { machine: subject.replay(), count: 0 }
    }

    /// Has it do everything that it has not done. Gives the last response.
    fn go_on(&mut self, effects: &[Effect]) -> Option<Value> {
        let mut last = None;
        for Effect { change, body, .. } in &effects[self.count..] {
            let at = change.at();
            last = match change.response {
                Some(_) => Some(self.machine.apply(&at, body)),
                None => {
                    self.machine.expire(&at);
                    None
                }
            };
        }
        self.count = effects.len();
        last
    }
}

impl FreshMachines {
    pub(super) fn new(subject: Arc<dyn Subject>, nodes: usize) -> FreshMachines {
        let front = Fresh::new(&subject);
        let replicas = (0..nodes).map(|_| Fresh::new(&subject)).collect();
        FreshMachines { subject, front, replicas }
    }

    /// What the commands are.
    pub(super) fn subject(&self) -> &dyn Subject {
        &*self.subject
    }

    /// The last of these effects is new to everybody. Gives what a fresh machine responds.
    pub(super) fn happened(&mut self, effects: &[Effect]) -> Option<Value> {
        self.front.go_on(effects)
    }

    /// The fresh machine where this replica is, which has had these effects.
    pub(super) fn at(&mut self, node: usize, effects: &[Effect]) -> &dyn Replay {
        if self.front.count == effects.len() {
            return &*self.front.machine;
        }
        let fresh = &mut self.replicas[node];
        if fresh.count > effects.len() {
            *fresh = Fresh::new(&self.subject);
        }
        fresh.go_on(effects);
        &*fresh.machine
    }
}
