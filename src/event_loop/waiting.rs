//! What the clients of this node wait for.

use std::collections::HashMap;

use quorate_core::{Failure, Outcome, RequestId, StateMachine};

use crate::requests::{Answer, ReadAnswer, Request};

/// The requests of this node's clients that are not answered yet.
pub(super) struct Waiting<S: StateMachine> {
    requests: HashMap<RequestId, (Awaited<S>, usize)>,
    bytes: usize,
    max_bytes: usize,
}

pub(super) enum Awaited<S: StateMachine> {
    Proposal(Answer<S::Response>),
    Read(S::Query, ReadAnswer<S::Answer>),
}

impl<S: StateMachine> Waiting<S> {
    pub(super) fn new(max_bytes: usize) -> Waiting<S> {
        Waiting { requests: HashMap::new(), bytes: 0, max_bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn is_full_for(&self, request: &Request<S>) -> bool {
        self.bytes > 0 && self.bytes + request.cost() > self.max_bytes
    }

    pub(super) fn admit(&mut self, name: RequestId, cost: usize, awaited: Awaited<S>) {
        self.bytes += cost;
        self.requests.insert(name, (awaited, cost));
    }

    fn take(&mut self, name: RequestId) -> Option<Awaited<S>> {
        Some(self.take_with_cost(name)?.0)
    }

    fn take_with_cost(&mut self, name: RequestId) -> Option<(Awaited<S>, usize)> {
        let (awaited, cost) = self.requests.remove(&name)?;
        self.bytes -= cost;
        Some((awaited, cost))
    }

    /// A response to a request that is no longer waited for was given up as unknown before.
    pub(super) fn answer(&mut self, name: RequestId, outcome: Outcome<S::Response>) {
        if let Some(Awaited::Proposal(answer)) = self.take(name) {
            let _ = answer.complete(Ok(outcome));
        }
    }

    /// A query, with what it costs.
    pub(super) fn take_read(
        &mut self,
        name: RequestId,
    ) -> Option<(S::Query, usize, ReadAnswer<S::Answer>)> {
        match self.take_with_cost(name)? {
            (Awaited::Read(query, answer), cost) => Some((query, cost, answer)),
            (Awaited::Proposal(_), _) => {
                unreachable!("a proposal does not become ready to be read")
            }
        }
    }

    pub(super) fn fail(&mut self, name: RequestId, failure: Failure) {
        match self.take(name) {
            Some(Awaited::Proposal(answer)) => _ = answer.complete(Err(failure.into())),
            Some(Awaited::Read(_, answer)) => _ = answer.complete(Err(failure.into())),
            None => {}
        }
    }
}
