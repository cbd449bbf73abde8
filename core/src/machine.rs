//! What a user writes: a deterministic state machine, and how a snapshot of it is taken.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::types::{Index, LogTime};

/// Where in the log a command or query is executed. For a command the same on every replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// The index of the entry which is being applied; for a query, of the last applied entry.
    pub index: Index,
    /// Log time: use this instead of a clock. For a command it is what the leader stamped the entry
    /// with, so it is the same on every replica, and never goes back. How it moves on depends on
    /// [`deadline`](StateMachine::deadline):
    ///
    /// - While that is `Some`, log time moves on at 0.9 to 1.1 times the rate of the leader's monotonic
    ///   clock. Without a leader it stands still: the next leader goes on from the last entry of its log,
    ///   so what had passed since that entry does not count.
    /// - While that is `None`, and the leader has applied all of its log, log time follows the leader's
    ///   wall clock, and may jump forward by any amount. It does not jump back: if it is ahead of the
    ///   wall clock, it moves on at 0.9 times the rate until it no longer is.
    ///
    /// So declare a deadline for every moment that you compare with log time, in `apply` or in `query`.
    /// A moment without one may be over with the next entry.
    ///
    /// A lease of length d, whose end is a deadline, can be relied on for d * 10/11: counted by its
    /// holder, on its own clock, from before it sent the request, and as far as that clock runs at the
    /// rate of the leader's.
    ///
    /// For a query, log time is that of the last applied entry, moved on by the time for which the node
    /// that answers has applied none, but never to the deadline: that is reached when the log says so.
    /// So it runs on while nobody writes.
    ///
    /// - Between two nodes it may differ by the time that an entry takes from one to the other, and by
    ///   what is said by entries which only one of them has applied.
    /// - At one node it may go back by the time that the next entry takes from the leader's stamp to the
    ///   state machine, and by a tenth of what has passed since the last one; after a change of leader or
    ///   a restart of the node, by all that has passed since the last one.
    pub time: LogTime,
    /// A number that differs from entry to entry and is the same on every replica: a seed for
    /// commands that need randomness.
    pub seed: u64,
}

/// A deterministic state machine: the same commands in the same order give the same state and
/// the same responses, on every replica and in every process.
///
/// That rules out, inside [`apply`](StateMachine::apply): clocks (use [`At::time`]), random
/// numbers (use [`At::seed`]), iteration over a `HashMap`, reading files or the environment.
///
/// A type that is `Clone` and plain serde data is [`Snapshottable`] already; `apply` and `query`
/// are then all there is to write. What travels through the log or over the network is encoded with
/// [postcard](https://docs.rs/postcard), which does not describe itself: types that ask what comes
/// next (`#[serde(tag)]`, `untagged`, `flatten`, `skip_serializing_if`, `serde_json::Value`) are
/// written and cannot be read. A command that cannot be read back is refused when it is proposed.
/// `quorate_sim::check_state_machine` finds that of commands, responses and snapshots in a test.
///
/// ```
/// use quorate_core::{At, StateMachine};
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
/// ```
///
/// # Changing it
///
/// The log and the snapshots of a cluster outlive the program. A command means on every replica, and
/// at each start, what it meant when it was first applied. So change what a command does by adding
/// another one. Append variants to an enum; do not reorder or remove any, and leave the fields of a
/// variant or struct alone: bytes carry no names, and a replica that reads them otherwise goes other
/// ways in silence. Upgrade all nodes before anybody proposes a new variant: a node that does not know
/// it stops. A state that is written by hand should begin with a version.
pub trait StateMachine: Snapshottable {
    /// What clients ask to be done. Travels through the log: see above what its type must be.
    type Command: Serialize + DeserializeOwned + Send + 'static;
    /// What they are answered. Kept in the session table, encoded, until the client acknowledges it.
    /// If it cannot be encoded, or not be read back, a client whose answer is lost on the way is told
    /// that its command was executed, and not what was answered.
    type Response: Serialize + DeserializeOwned + Send + 'static;
    /// A question that changes nothing. Does not go through the log.
    type Query: Serialize + DeserializeOwned + Send + 'static;
    /// What a question is answered.
    type Answer: Serialize + DeserializeOwned + Send + 'static;

    /// Executes one command. On each replica it is called in log order, once for each command in the
    /// log; for one that a client sent several times under its session, only the first time.
    ///
    /// That is once in the history of a state, not once for ever. After a restart the state is that of the
    /// newest snapshot, and what follows it in the log is executed again; what a replica gets in a
    /// snapshot of another one, it does not execute at all. So change nothing but the state here: send no
    /// messages, write no files.
    ///
    /// A panic stops the replica with an error that names the index, and every other replica with it:
    /// answer errors as responses instead.
    fn apply(&mut self, at: &At, command: Self::Command) -> Self::Response;

    /// Answers one question from the current state. Runs on the thread that applies: while it lasts,
    /// nothing else is applied or answered on this node. A panic fails this one question, if the
    /// program unwinds (not with `panic = "abort"`).
    fn query(&self, at: &At, query: Self::Query) -> Self::Answer;

    /// The earliest moment of log time at which this machine wants [`expire`] to be called though
    /// nobody sends a command; `None` if there is none. Asked before every entry, so it should
    /// be cheap. Only while there is one does log time keep to the pace of a clock: see [`At::time`].
    ///
    /// [`expire`]: StateMachine::expire
    fn deadline(&self) -> Option<LogTime> {
        None
    }

    /// Log time has reached [`deadline`](StateMachine::deadline): drop all that is due at or before
    /// `at.time`. Called before the entry is applied that brings this time.
    ///
    /// Afterwards the deadline must be later than `at.time`, or none. Otherwise it is still due, and
    /// the leader appends one entry after the other for it.
    fn expire(&mut self, _at: &At) {}
}

/// A state of which a consistent view can be taken, written out while the original goes on
/// changing, and read back.
///
/// Implemented for every type that is `Clone` and serde data: the view is then a clone, and the
/// bytes are postcard. The clone happens between two commands, so it should take milliseconds at
/// most: with large state use a persistent map (as the `kv` example does), or implement this
/// trait by hand, for a type that is not all three of `Clone`, `Serialize` and `Deserialize`.
/// To restore one takes memory for its bytes and for the state at the same time.
///
/// What is restored takes the place of the whole machine, also of one that the node was given
/// (`Builder::machine`). What `write` leaves out of it, be it a limit that was configured or a handle, is
/// gone from then on, on this replica alone: what `apply` depends on must be in the snapshot.
///
/// Nothing reads a snapshot back before the log that it covers is given up. `write` and `restore`
/// that do not fit together are noticed at the next start only, too late:
/// `quorate_sim::check_state_machine` finds that in a test.
pub trait Snapshottable: Sized + Send + 'static {
    /// A consistent, immutable copy of the state as of one moment. Cheap to take.
    type View: Send + 'static;

    /// Takes the view.
    fn view(&self) -> Self::View;

    /// Writes everything that [`restore`](Snapshottable::restore) needs. Runs on a thread of its
    /// own while commands go on being applied.
    ///
    /// # Errors
    /// Those of `out`, passed on; the snapshot is then abandoned and tried again later.
    fn write(view: &Self::View, out: &mut dyn io::Write) -> io::Result<()>;

    /// Rebuilds the state from what [`write`](Snapshottable::write) wrote.
    ///
    /// # Errors
    /// If the bytes are not what `write` wrote; the replica then stops with this error and
    /// touches nothing.
    fn restore(input: &mut dyn io::Read) -> io::Result<Self>;
}

impl<T: Clone + Serialize + DeserializeOwned + Send + 'static> Snapshottable for T {
    type View = T;

    fn view(&self) -> T {
        self.clone()
    }

    fn write(view: &T, out: &mut dyn io::Write) -> io::Result<()> {
        postcard::to_io(view, out).map(|_| ()).map_err(io::Error::other)
    }

    fn restore(input: &mut dyn io::Read) -> io::Result<T> {
        let mut bytes = Vec::new();
        input.read_to_end(&mut bytes)?;
        let (state, rest) = postcard::take_from_bytes(&bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if rest.is_empty() {
            Ok(state)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "bytes after the end of the state"))
        }
    }
}
