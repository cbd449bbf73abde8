//! Everything that executes: the user's state machine, and what the framework keeps beside it.
//!
//! The second of the two pure machines. The [`Replica`](crate::Replica) decides the order of the
//! entries; the [`Applier`] carries them out in that order, without a clock, a disk or a socket.
//! For each entry, on every replica alike:
//!
//! 1. Log time becomes the entry's, unless it is there already.
//! 2. If the machine has a deadline, and log time has reached it, the machine's `expire` is
//!    called once. This holds for entries of every kind, also for those that change nothing
//!    else, so when a thing expires does not depend on where batches begin or end.
//! 3. The entry takes effect: a command under a session only if the session table has not seen it
//!    before, a command without a session always.
//!
//! Applied index, log time, membership and sessions are the framework's to keep, and stand in
//! every snapshot beside the user's state.

mod content;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;

pub use self::content::{RestoreError, SnapshotView};

use self::content::Bookkeeping;
use crate::command::{Command, Register};
use crate::entry::{Entry, EntryKind};
use crate::event::{Applied, Generation};
use crate::machine::{At, StateMachine};
use crate::membership::Membership;
use crate::session::{Sessions, Verdict};
use crate::snapshot::SnapshotMeta;
use crate::types::{Digest, Index, LogTime, NodeId, RequestId, SessionId};

/// A state machine with everything that turns a log into its state and its responses.
///
/// Requests are made in the order in which the replica asked for them. After an [`ApplyError`],
/// and after a panic of the user's code inside [`apply`](Applier::apply), the state may stand in
/// the middle of an entry: it must not be used further, and every call that would use it panics.
/// Only [`restore`](Applier::restore), which replaces all of it, makes it whole.
pub struct Applier<S: StateMachine> {
    me: NodeId,
    generation: Generation,
    books: Bookkeeping,
    machine: S,
    /// False while an entry is carried out, and for good if that did not end well.
    whole: bool,
}

/// What came of a stretch of entries.
pub struct Batch<S: StateMachine> {
    /// What the replica is to be told.
    pub applied: Applied,
    /// For each request of this node among the entries, in log order, what its client is
    /// answered. The same requests as in `applied`.
    pub responses: Vec<(RequestId, Outcome<S::Response>)>,
}

/// What became of a request that is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome<R> {
    /// Applied, by this entry or by an earlier one of the same session and sequence number.
    Response(R),
    /// The session was opened, under this name.
    Registered(SessionId),
    /// Not applied by this entry: the session is unknown or was evicted. An earlier attempt of the
    /// same request may have been applied. Open another session; what was outstanding in this
    /// one is of unknown outcome.
    NoSession,
    /// Not applied: too many requests of the session are outstanding. Send it again once earlier
    /// ones are acknowledged.
    WindowExceeded,
    /// Applied by an earlier entry of the same session and sequence number; the response is no
    /// longer kept.
    ResponseDropped,
    /// Not applied by this entry: the client has acknowledged the response to this request
    /// before, so it is no longer kept.
    Acknowledged,
}

/// Why an entry cannot be applied. The replica has to stop; its data is untouched, and the entry
/// is the same on every replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The payload is not the one which was proposed.
    #[error(
        "the payload of entry {index} does not match its checksum: it was damaged in memory; \
         check the machine, then restart: the entry is read from disk again"
    )]
    Damaged {
        /// The entry.
        index: Index,
    },
    /// The payload is not what the entry's kind says.
    #[error(
        "entry {index} is not a well-formed {kind:?} entry: run the version of this program that \
         wrote it, or a later one"
    )]
    Payload {
        /// The entry.
        index: Index,
        /// What it should be.
        kind: EntryKind,
    },
    /// The body of a command is not a command of this state machine.
    #[error(
        "the command in entry {index} cannot be decoded by this state machine: run the version \
         that proposed it, or one whose command type still reads it"
    )]
    Command {
        /// The entry.
        index: Index,
    },
}

impl ApplyError {
    /// The entry that cannot be applied.
    #[must_use]
    pub fn index(&self) -> Index {
        match self {
            ApplyError::Damaged { index }
            | ApplyError::Payload { index, .. }
            | ApplyError::Command { index } => *index,
        }
    }
}

impl<S: StateMachine> Applier<S> {
    /// A machine in its initial state, to which no entry has been applied. `me` is the node whose
    /// requests are answered here.
    #[must_use]
    pub fn new(me: NodeId, machine: S) -> Applier<S> {
        let (generation, books) = (Generation::default(), Bookkeeping::default());
        Applier { me, generation, books, machine, whole: true }
    }

    /// Applies committed entries, the first of which follows the last one applied. Each is asked for
    /// once those before it are applied: to end the iterator leaves a whole state.
    ///
    /// # Errors
    /// If an entry cannot be applied. Those before it were, but their responses are lost, and the
    /// state is not to be used any more.
    ///
    /// # Panics
    /// If the entries do not continue what was applied, or the generation is older than one seen
    /// before, or an earlier call failed. A panic of the state machine is passed on.
    pub fn apply(
        &mut self,
        generation: Generation,
        entries: impl IntoIterator<Item = Entry>,
    ) -> Result<Batch<S>, ApplyError> {
        self.assert_whole();
        self.enter(generation);
        let mut responses = Vec::new();
        self.whole = false;
        for entry in entries {
            responses.extend(self.apply_entry(&entry)?);
        }
        self.whole = true;
        let requests = responses.iter().map(|(request, _)| *request).collect();
        let deadline = self.machine.deadline();
        let applied = Applied { generation, through: self.applied(), requests, deadline };
        Ok(Batch { applied, responses })
    }

    /// Answers a question from the state as it is, as of the log time of the last applied entry.
    ///
    /// # Panics
    /// If applying has failed before. A panic of the state machine is passed on.
    pub fn query(&self, query: S::Query) -> S::Answer {
        self.query_after(Duration::ZERO, query)
    }

    /// The same, when `passed` has gone by since the log last said what time it is: a cluster in
    /// which nobody writes has a clock all the same. The state is the same however much that is,
    /// so log time is not taken to have reached the machine's deadline before the log says so.
    ///
    /// # Panics
    /// As [`query`](Applier::query).
    pub fn query_after(&self, passed: Duration, query: S::Query) -> S::Answer {
        self.assert_whole();
        let of_log = self.books.time;
        let due = self.machine.deadline().unwrap_or(LogTime(u64::MAX));
        let before_due = LogTime(due.0.saturating_sub(1));
        let time = of_log.plus(passed).min(before_due).max(of_log);
        let at = At { index: self.applied(), time, seed: seed_of(self.books.digest) };
        self.machine.query(&at, query)
    }

    /// A view of the state as it is, to be written out elsewhere while this one goes on changing.
    ///
    /// # Panics
    /// If applying has failed before: a state in the middle of an entry must not be kept.
    #[must_use]
    pub fn view(&self) -> SnapshotView<S> {
        self.assert_whole();
        SnapshotView::new(self.books.clone(), self.machine.view())
    }

    /// Replaces the state by what a [`SnapshotView`] has written, of which `meta` is known.
    /// Returns the state machine's next deadline. That the bytes are those which were written is
    /// for the storage to verify; here they are checked to be whole, and to be what `meta` says.
    ///
    /// # Errors
    /// If they are not. The state is then as it was.
    ///
    /// # Panics
    /// If the snapshot covers less than is applied, or the generation is older than one seen
    /// before.
    pub fn restore(
        &mut self,
        generation: Generation,
        meta: &SnapshotMeta,
        input: &mut dyn io::Read,
    ) -> Result<Option<LogTime>, RestoreError> {
        let (from, to) = (self.applied(), meta.last.index);
        assert!(to >= from, "a snapshot of entry {to} would take the state back from {from}");
        let (books, machine) = content::read::<S>(meta, input)?;
        self.enter(generation);
        self.books = books;
        self.machine = machine;
        self.whole = true;
        Ok(self.machine.deadline())
    }

    /// The last entry that was applied; `Index::ZERO` if none was.
    #[must_use]
    pub fn applied(&self) -> Index {
        self.books.last.index
    }

    /// Log time as of that entry.
    #[must_use]
    pub fn time(&self) -> LogTime {
        self.books.time
    }

    /// The members as of that entry; empty before the first.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        &self.books.membership
    }

    /// The sessions as of that entry.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.books.sessions
    }

    /// The state machine.
    ///
    /// # Panics
    /// If applying has failed before.
    #[must_use]
    pub fn machine(&self) -> &S {
        self.assert_whole();
        &self.machine
    }

    /// Carries out one entry. Gives what a request of this node is answered.
    fn apply_entry(&mut self, entry: &Entry) -> Result<Option<Answer<S>>, ApplyError> {
        self.assert_continues(entry);
        let (index, kind) = (entry.index(), entry.kind);
        if !entry.payload_is_intact() {
            return Err(ApplyError::Damaged { index });
        }
        let digest = entry.digest();
        let at = self.advance_time(entry, seed_of(digest));
        let malformed = ApplyError::Payload { index, kind };
        let answer = match kind {
            EntryKind::Noop | EntryKind::Time => None,
            EntryKind::Membership => {
                self.books.membership = decode(&entry.payload).ok_or(malformed)?;
                None
            }
            EntryKind::Register => {
                let register = Register::decode(&entry.payload).ok_or(malformed)?;
                let session = self.books.sessions.register(index, &register);
                let own = register.origin.node == self.me;
                own.then_some((register.origin.request, Outcome::Registered(session)))
            }
            EntryKind::Command => {
                let command = Command::decode(&entry.payload).ok_or(malformed)?;
                let own = command.origin.node == self.me;
                self.apply_command(&at, &command, own)?
                    .map(|outcome| (command.origin.request, outcome))
            }
        };
        self.books.last = entry.id;
        self.books.digest = digest;
        Ok(answer)
    }

    /// Log time moves on to the entry's, and what is due by then expires.
    fn advance_time(&mut self, entry: &Entry, seed: u64) -> At {
        self.books.time = self.books.time.max(entry.time);
        let at = At { index: entry.index(), time: self.books.time, seed };
        if self.machine.deadline().is_some_and(|deadline| deadline <= at.time) {
            self.machine.expire(&at);
        }
        at
    }

    /// Applies a command unless its session says otherwise. What it is answered is worked out
    /// only if the request is this node's own.
    fn apply_command(
        &mut self,
        at: &At,
        command: &Command,
        own: bool,
    ) -> Result<Option<Outcome<S::Response>>, ApplyError> {
        let index = at.index;
        let verdict = command.session.map(|request| self.books.sessions.request(index, &request));
        let slot = match verdict {
            None => None,
            Some(Verdict::Fresh(slot)) => Some(slot),
            Some(Verdict::Answered(_)) if !own => return Ok(None),
            Some(Verdict::Answered(kept)) => {
                // It was applied: what has become of its type is no reason to stop.
                let response = decode(&kept).map(Outcome::Response);
                return Ok(Some(response.unwrap_or(Outcome::ResponseDropped)));
            }
            Some(Verdict::Dropped) => return Ok(own.then_some(Outcome::ResponseDropped)),
            Some(Verdict::Acknowledged) => return Ok(own.then_some(Outcome::Acknowledged)),
            Some(Verdict::WindowExceeded) => return Ok(own.then_some(Outcome::WindowExceeded)),
            Some(Verdict::NoSession) => return Ok(own.then_some(Outcome::NoSession)),
        };
        let body = decode(&command.body).ok_or(ApplyError::Command { index })?;
        let response = self.machine.apply(at, body);
        if let Some(slot) = slot {
            // Whether it can be encoded is the same on every replica.
            let kept = postcard::to_allocvec(&response).ok();
            self.books.sessions.keep(slot, kept.map(Bytes::from));
        }
        Ok(own.then_some(Outcome::Response(response)))
    }

    fn enter(&mut self, generation: Generation) {
        assert!(generation >= self.generation, "a request of a state that is gone");
        self.generation = generation;
    }

    fn assert_whole(&self) {
        assert!(self.whole, "entry {} was not carried out to its end", self.applied().next());
    }

    fn assert_continues(&self, entry: &Entry) {
        let books = &self.books;
        let (last, id) = (books.last, entry.id);
        assert!(id.index == last.index.next(), "{id} does not follow {last}, the last applied");
        // What the first entry's parent is depends on the cluster's identity.
        let continues = last.index == Index::ZERO || entry.parent == books.digest;
        assert!(continues, "{id} is not of the log of which {last} was applied");
    }
}

/// A request of this node, and what its client is answered.
type Answer<S> = (RequestId, Outcome<<S as StateMachine>::Response>);

impl<S: StateMachine> fmt::Debug for Applier<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Applier { me, generation, books, machine: _, whole } = self;
        f.debug_struct("Applier")
            .field("me", me)
            .field("generation", generation)
            .field("applied", &books.last)
            .field("whole", whole)
            .finish_non_exhaustive()
    }
}

impl<S: StateMachine<Response: fmt::Debug>> fmt::Debug for Batch<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Batch { applied, responses } = self;
        f.debug_struct("Batch").field("applied", applied).field("responses", responses).finish()
    }
}

fn seed_of(digest: Digest) -> u64 {
    let (low, _) = digest.0.split_first_chunk().expect("a digest has sixteen bytes");
    u64::from_le_bytes(*low)
}

/// What the bytes say, down to the last of them.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (value, rest) = postcard::take_from_bytes(bytes).ok()?;
    rest.is_empty().then_some(value)
}
