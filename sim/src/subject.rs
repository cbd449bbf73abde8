//! What is replicated, whatever its types: so that a cluster is not compiled once for each of
//! them.

use std::any::type_name;
use std::fmt::{self, Debug};
use std::io;
use std::time::Duration;

use quorate_core::{
    Applied, Applier, ApplyError, At, Digest, Entry, Generation, Index, LogId, LogTime, Membership,
    NodeId, Outcome, RequestId, RestoreError, SnapshotMeta, SnapshotView, StateMachine,
};
use quorate_linearizability::{History, Operation, Outcome as Ended};

use crate::value::Value;
use crate::witness::{Change, Observed, Witnessed};
use crate::workload::{Draw, Input, Objection, Output, Workload};

/// What all clients saw, encoded.
pub(crate) type Recorded = History<Input<Value, Value>, Output<Value, Value>>;

/// A [`Workload`].
pub(crate) trait Subject: Send + Sync {
    /// What its type is called.
    fn name(&self) -> &'static str;

    /// What executes on a node, in its initial state.
    fn applier(&self, me: NodeId) -> Box<dyn Applying>;

    /// A machine in its initial state, without anything around it.
    fn replay(&self) -> Box<dyn Replay>;

    fn draw_command(&self, draw: &mut Draw<'_>) -> Value;

    fn draw_query(&self, draw: &mut Draw<'_>) -> Value;

    /// What a command does, if these bytes are one.
    fn command_in_words(&self, body: &[u8]) -> Option<String>;

    fn query_in_words(&self, query: &Value) -> String;

    fn objection(&self, seen: &Recorded) -> Option<Objection>;
}

impl fmt::Debug for dyn Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An [`Applier`].
pub(crate) trait Applying {
    fn apply(&mut self, generation: Generation, entries: Vec<Entry>) -> Result<Batch, ApplyError>;

    fn restore(
        &mut self,
        generation: Generation,
        meta: &SnapshotMeta,
        input: &mut dyn io::Read,
    ) -> Result<Option<LogTime>, RestoreError>;

    /// When so much has passed since the log last said what time it is.
    fn query(&self, passed: Duration, query: &Value) -> Observed<Value>;

    fn view(&self) -> Box<dyn View>;

    /// Up to where entries were applied.
    fn applied(&self) -> Index;

    fn deadline(&self) -> Option<LogTime>;

    /// The machine's state as it stands in a snapshot.
    fn state(&self) -> Vec<u8>;
}

/// What came of a stretch of entries, and what the machine did meanwhile.
pub(crate) struct Batch {
    pub(crate) applied: Applied,
    pub(crate) responses: Vec<(RequestId, Outcome<Value>)>,
    pub(crate) changes: Vec<Change>,
}

/// A [`SnapshotView`].
pub(crate) trait View {
    fn write(&self, out: &mut dyn io::Write) -> io::Result<()>;
    fn last(&self) -> LogId;
    fn digest(&self) -> Digest;
    fn membership(&self) -> &Membership;
    fn time(&self) -> LogTime;
}

/// A machine which is told what to do, one thing after the other.
pub(crate) trait Replay {
    fn apply(&mut self, at: &At, command: &[u8]) -> Value;
    fn expire(&mut self, at: &At);
    fn query(&self, at: &At, query: &Value) -> Value;
    fn state(&self) -> Vec<u8>;
}

impl<W: Workload> Subject for W {
    fn name(&self) -> &'static str {
        type_name::<W>()
    }

    fn applier(&self, me: NodeId) -> Box<dyn Applying> {
        Box::new(Applier::new(me, Witnessed::new(self.machine())))
    }

    fn replay(&self) -> Box<dyn Replay> {
        Box::new(Alone(self.machine()))
    }

    fn draw_command(&self, draw: &mut Draw<'_>) -> Value {
        Value::of(&self.command(draw))
    }

    fn draw_query(&self, draw: &mut Draw<'_>) -> Value {
        Value::of(&self.query(draw))
    }

    fn command_in_words(&self, body: &[u8]) -> Option<String> {
        postcard::from_bytes(body).ok().map(|command| W::describe(&Input::Command(command)))
    }

    fn query_in_words(&self, query: &Value) -> String {
        W::describe(&Input::Query(query.read()))
    }

    fn objection(&self, seen: &Recorded) -> Option<Objection> {
        let read = |operation: &Operation<Input<Value, Value>, Output<Value, Value>>| Operation {
            client: operation.client,
            input: match &operation.input {
                Input::Command(command) => Input::Command(command.read()),
                Input::Query(query) => Input::Query(query.read()),
            },
            called: operation.called,
            outcome: match &operation.outcome {
                Ended::Returned { at, output } => Ended::Returned {
                    at: *at,
                    output: match output {
                        Output::Response(response) => Output::Response(response.read()),
                        Output::Answer(answer) => Output::Answer(answer.read()),
                    },
                },
                Ended::Unknown => Ended::Unknown,
                Ended::Failed => Ended::Failed,
            },
        };
        self.judge(&seen.operations().iter().map(read).collect()).err()
    }
}

impl<M> Applying for Applier<Witnessed<M>>
where
    M: StateMachine<Response: Debug, Query: Debug, Answer: Debug>,
{
    fn apply(&mut self, generation: Generation, entries: Vec<Entry>) -> Result<Batch, ApplyError> {
        let batch = Applier::apply(self, generation, entries)?;
        let responses = batch.responses.into_iter();
        let responses = responses.map(|(request, outcome)| (request, encoded(outcome))).collect();
        Ok(Batch { applied: batch.applied, responses, changes: self.machine().take_changes() })
    }

    fn restore(
        &mut self,
        generation: Generation,
        meta: &SnapshotMeta,
        input: &mut dyn io::Read,
    ) -> Result<Option<LogTime>, RestoreError> {
        Applier::restore(self, generation, meta, input)
    }

    fn query(&self, passed: Duration, query: &Value) -> Observed<Value> {
        let observed = self.query_after(passed, query.read());
        let Observed { index, time, seed, deadline, answer } = observed;
        Observed { index, time, seed, deadline, answer: Value::of(&answer) }
    }

    fn view(&self) -> Box<dyn View> {
        Box::new(Applier::view(self))
    }

    fn applied(&self) -> Index {
        Applier::applied(self)
    }

    fn deadline(&self) -> Option<LogTime> {
        self.machine().machine.deadline()
    }

    fn state(&self) -> Vec<u8> {
        state(&self.machine().machine)
    }
}

fn encoded<R: serde::Serialize + serde::de::DeserializeOwned + Debug>(
    outcome: Outcome<R>,
) -> Outcome<Value> {
    match outcome {
        Outcome::Response(response) => Outcome::Response(Value::of(&response)),
        Outcome::Registered(session) => Outcome::Registered(session),
        Outcome::NoSession => Outcome::NoSession,
        Outcome::WindowExceeded => Outcome::WindowExceeded,
        Outcome::ResponseDropped => Outcome::ResponseDropped,
        Outcome::Acknowledged => Outcome::Acknowledged,
    }
}

fn state<M: StateMachine>(machine: &M) -> Vec<u8> {
    let mut bytes = Vec::new();
    M::write(&machine.view(), &mut bytes).expect("memory can be written to");
    bytes
}

impl<M: StateMachine> View for SnapshotView<M> {
    fn write(&self, out: &mut dyn io::Write) -> io::Result<()> {
        SnapshotView::write(self, out)
    }

    fn last(&self) -> LogId {
        SnapshotView::last(self)
    }

    fn digest(&self) -> Digest {
        SnapshotView::digest(self)
    }

    fn membership(&self) -> &Membership {
        SnapshotView::membership(self)
    }

    fn time(&self) -> LogTime {
        SnapshotView::time(self)
    }
}

/// A machine without anything around it.
struct Alone<M>(M);

impl<M: StateMachine<Response: Debug, Query: Debug, Answer: Debug>> Replay for Alone<M> {
    fn apply(&mut self, at: &At, command: &[u8]) -> Value {
        let command = postcard::from_bytes(command).expect("what a machine has done decodes");
        Value::of(&self.0.apply(at, command))
    }

    fn expire(&mut self, at: &At) {
        self.0.expire(at);
    }

    fn query(&self, at: &At, query: &Value) -> Value {
        Value::of(&self.0.query(at, query.read()))
    }

    fn state(&self) -> Vec<u8> {
        state(&self.0)
    }
}
