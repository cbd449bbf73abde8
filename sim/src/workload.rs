//! What clients want from the replicated machine, and what is demanded of the answers.

use std::fmt::{self, Debug};

use quorate_core::StateMachine;
use quorate_linearizability::{CheckError, History};

use crate::rng::Rng;

/// A state machine, and clients who want something from it: what
/// [`Simulation::workload`](crate::Simulation::workload) runs under every fault that there is.
///
/// The machine runs as in production: behind the real replica, log, session table and snapshots. Beside
/// everything that is demanded of the protocol, a run demands:
///
/// - each replica does the same commands at the same index, log time and seed, and responds the
///   same: exactly once for each request, however often it was sent;
/// - each response, linearizable answer and local answer is the one that a fresh machine gives which
///   is given the committed commands one after the other;
/// - a machine that was restored from a snapshot, and each machine in the end, is in the state of
///   that fresh machine, byte for byte;
/// - answers agree with real time: whatever is asked for after an answer was given takes into account
///   what that answer did;
/// - once faults stop, all requests end;
/// - [`judge`](Workload::judge) has no objection.
///
/// ```
/// use quorate_core::{At, StateMachine};
/// use quorate_raft::Raft;
/// use quorate_sim::{Draw, Simulation, Workload};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Clone, Serialize, Deserialize)]
/// struct Counter { value: i64 }
///
/// impl StateMachine for Counter {
///     type Command = i64;
///     type Response = i64;
///     type Query = ();
///     type Answer = i64;
///     fn apply(&mut self, _: &At, add: i64) -> i64 { self.value += add; self.value }
///     fn query(&self, _: &At, (): ()) -> i64 { self.value }
/// }
///
/// struct Counting;
///
/// impl Workload for Counting {
///     type Machine = Counter;
///     fn machine(&self) -> Counter { Counter::default() }
///     fn command(&self, draw: &mut Draw<'_>) -> i64 { draw.rng.below(100) as i64 }
///     fn query(&self, _: &mut Draw<'_>) {}
/// }
///
/// let report = Simulation::new(1).protocol::<Raft>().workload(Counting).run()?;
/// assert!(report.commits > 0);
/// # Ok::<(), Box<quorate_sim::Failed>>(())
/// ```
///
/// The seed decides how many clients there are, how many requests each has outstanding, how many
/// of these are queries and whether they use sessions. Keep commands below 4 KiB: the simulated
/// cluster refuses larger ones. A machine with a [deadline](StateMachine::deadline) that is always
/// renewed never comes to rest, and fails for that: let it have none when there is nothing to expire.
pub trait Workload: Send + Sync + 'static {
    /// The machine.
    type Machine: StateMachine<Command: Debug, Response: Debug, Query: Debug, Answer: Debug>;

    /// A machine in its initial state.
    fn machine(&self) -> Self::Machine;

    /// What a client wants to be done next.
    fn command(&self, draw: &mut Draw<'_>) -> <Self::Machine as StateMachine>::Command;

    /// What a client wants to know next.
    fn query(&self, draw: &mut Draw<'_>) -> <Self::Machine as StateMachine>::Query;

    /// What a request is about, in a few words for the picture of a run.
    #[must_use]
    fn describe(request: &Request<Self::Machine>) -> String {
        match request {
            Input::Command(command) => format!("{command:?}"),
            Input::Query(query) => format!("{query:?}"),
        }
    }

    /// Judges what all clients saw, after everything has come to rest. Here a run can be given to the
    /// [linearizability checker](quorate_linearizability::Checker) with a model of one's own, which
    /// need not be the machine itself; or whatever must be true of answers can be asserted.
    ///
    /// Queries in the history are the linearizable ones. A query that was tried several times is there
    /// several times, a command once.
    ///
    /// # Errors
    /// What is wrong with it.
    fn judge(&self, history: &ClientHistory<Self::Machine>) -> Result<(), Objection> {
        let _ = history;
        Ok(())
    }
}

/// What a workload draws a request from.
#[derive(Debug)]
pub struct Draw<'a> {
    /// Decided by the seed.
    pub rng: &'a mut Rng,
    /// Differs from request to request, from 1: makes values unique, which lets a
    /// [judge](Workload::judge) tell whose value it sees.
    pub number: u64,
    /// One of a few numbers from 0; of how many, the seed decides. Requests of the same key are
    /// meant to be about the same thing, so that they get in each other's way.
    pub key: u64,
}

/// What a client asked of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input<C, Q> {
    /// That something be done.
    Command(C),
    /// What the state is, linearizably.
    Query(Q),
}

/// What a machine told a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Output<R, A> {
    /// What came of a command.
    Response(R),
    /// What the state was.
    Answer(A),
}

/// What a client asked of this machine.
pub type Request<M> = Input<<M as StateMachine>::Command, <M as StateMachine>::Query>;

/// What all clients of a machine saw.
pub type ClientHistory<M> =
    History<Request<M>, Output<<M as StateMachine>::Response, <M as StateMachine>::Answer>>;

/// What is wrong with a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Objection {
    /// It cannot be. The run fails.
    Wrong(String),
    /// Whether it can be was not found out. The run is counted among those that a
    /// [mark](crate::Mark::HistoryUndecided) names.
    Undecided,
}

impl<I: Debug, O: Debug> From<CheckError<I, O>> for Objection {
    fn from(error: CheckError<I, O>) -> Objection {
        match error {
            CheckError::Undecided { .. } => Objection::Undecided,
            error => Objection::Wrong(error.to_string()),
        }
    }
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Objection::Wrong(what) => f.write_str(what),
            Objection::Undecided => f.write_str("whether the history can be was not found out"),
        }
    }
}

impl std::error::Error for Objection {}
