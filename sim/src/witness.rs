//! A witness of what a replicated machine does.

use std::cell::RefCell;
use std::fmt::Debug;
use std::io;

use quorate_core::{At, Index, LogTime, Snapshottable, StateMachine};
use serde::{Deserialize, Serialize};

use crate::value::Value;

/// One change of the state, as it happened on one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) index: Index,
    pub(crate) time: LogTime,
    pub(crate) seed: u64,
    /// What a command was answered; `None` if something expired.
    pub(crate) response: Option<Value>,
}

impl Change {
    pub(crate) fn at(&self) -> At {
        let Change { index, time, seed, .. } = *self;
        At { index, time, seed }
    }
}

/// What a query was answered, and where in the log the state stood.
#[derive(Serialize, Deserialize)]
pub(crate) struct Observed<A> {
    pub(crate) index: Index,
    pub(crate) time: LogTime,
    pub(crate) seed: u64,
    /// When something of that state expires.
    pub(crate) deadline: Option<LogTime>,
    pub(crate) answer: A,
}

impl<A> Observed<A> {
    pub(crate) fn at(&self) -> At {
        let Observed { index, time, seed, .. } = *self;
        At { index, time, seed }
    }
}

/// A machine, and what it did since somebody last looked. The latter is no part of the replicated
/// state.
pub(crate) struct Witnessed<M> {
    pub(crate) machine: M,
    changes: RefCell<Vec<Change>>,
}

impl<M> Witnessed<M> {
    pub(crate) fn new(machine: M) -> Witnessed<M> {
        Witnessed { machine, changes: RefCell::default() }
    }

    /// What this machine did since the last call.
    pub(crate) fn take_changes(&self) -> Vec<Change> {
        self.changes.take()
    }

    fn note(&mut self, at: &At, response: Option<Value>) {
        let At { index, time, seed } = *at;
        self.changes.get_mut().push(Change { index, time, seed, response });
    }
}

impl<M: Snapshottable> Snapshottable for Witnessed<M> {
    type View = M::View;

    fn view(&self) -> M::View {
        self.machine.view()
    }

    fn write(view: &M::View, out: &mut dyn io::Write) -> io::Result<()> {
        M::write(view, out)
    }

    fn restore(input: &mut dyn io::Read) -> io::Result<Witnessed<M>> {
        M::restore(input).map(Witnessed::new)
    }
}

impl<M: StateMachine<Response: Debug>> StateMachine for Witnessed<M> {
    type Command = M::Command;
    type Response = M::Response;
    type Query = M::Query;
    type Answer = Observed<M::Answer>;

    fn apply(&mut self, at: &At, command: M::Command) -> M::Response {
        let response = self.machine.apply(at, command);
        self.note(at, Some(Value::of(&response)));
        response
    }

    fn query(&self, at: &At, query: M::Query) -> Observed<M::Answer> {
        let At { index, time, seed } = *at;
        let deadline = self.machine.deadline();
        Observed { index, time, seed, deadline, answer: self.machine.query(at, query) }
    }

    fn deadline(&self) -> Option<LogTime> {
        self.machine.deadline()
    }

    fn expire(&mut self, at: &At) {
        self.machine.expire(at);
        self.note(at, None);
    }
}
