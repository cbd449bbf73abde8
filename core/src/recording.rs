//! What a replica was told, and what came of it, as bytes to keep.
//!
//! What a replica does follows from its start and from the calls that change it, and from nothing
//! else. So these are all that has to be kept to see once more what it did: see
//! [`Replay`](crate::Replay). Of its effects a digest is kept, which tells whether they are the same.

use std::fmt;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::applier;
use crate::event::{Effect, Event, Fatal};
use crate::replay::excerpt;
use crate::replica::ReplicaConfig;
use crate::types::{Digest, Now, RequestId};
use crate::write::Recovered;

/// A call that changes a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call<E> {
    /// [`Replica::step`](crate::Replica::step).
    Step(Now, E),
    /// [`Replica::name_request`](crate::Replica::name_request), which gave this name.
    NameRequest(RequestId),
    /// [`Replica::flush`](crate::Replica::flush): the end of a batch.
    Flush(Now),
}

/// With what a replica started: the arguments of [`Replica::recover`](crate::Replica::recover).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedStart {
    /// With what it was configured.
    pub config: ReplicaConfig,
    /// What its disk said.
    pub recovered: Recovered,
    /// When that was.
    pub now: Now,
    /// A digest of each of the first effects, or why the replica did not start; `None` if it panicked.
    pub outcome: Option<Result<Vec<Digest>, Fatal>>,
}

/// One call of a recorded replica whose messages are `M`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedCall<M> {
    /// The call.
    pub call: Call<Event<M>>,
    /// A digest of each effect that came of it; `None` if the replica panicked.
    pub effects: Option<Vec<Digest>>,
}

impl RecordedStart {
    /// What [`Recorder::take`] gave after the start; `None` if the bytes are not that.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<RecordedStart> {
        applier::decode(bytes)
    }
}

impl<M: DeserializeOwned> RecordedCall<M> {
    /// What [`Recorder::take`] gave after some calls; `None` if the bytes are not that.
    #[must_use]
    pub fn decode_all(bytes: &[u8]) -> Option<Vec<RecordedCall<M>>> {
        let (mut calls, mut rest) = (Vec::new(), bytes);
        while !rest.is_empty() {
            let (call, behind) = postcard::take_from_bytes(rest).ok()?;
            calls.push(call);
            rest = behind;
        }
        Some(calls)
    }
}

impl<M: fmt::Debug> RecordedCall<M> {
    /// The beginning of the call, for people to read.
    #[must_use]
    pub fn excerpt(&self) -> String {
        excerpt(&self.call)
    }
}

/// Encodes what a replica is told, in the moment before it is told, and the digests of its effects
/// after that: so the call over which it panics is there, too.
///
/// 1. [`start`](Recorder::start), then [`started`](Recorder::started), then [`take`](Recorder::take).
/// 2. For each batch: [`call`](Recorder::call) and [`effects`](Recorder::effects) around each call,
///    then [`take`](Recorder::take).
///
/// [`Recorded`](crate::Recorded) does all of that.
#[derive(Debug, Default)]
pub struct Recorder {
    bytes: Vec<u8>,
    digests: Vec<Digest>,
    digester: Digester,
    /// The effects of the last call are to come.
    is_amid_call: bool,
}

impl Recorder {
    /// The replica is about to be recovered.
    pub fn start(&mut self, config: &ReplicaConfig, recovered: &Recovered, now: Now) {
        self.begin(&(config, recovered, now));
    }

    /// What has come of the start.
    pub fn started<M: Serialize>(&mut self, outcome: Result<&[Effect<M>], &Fatal>) {
        self.digest(outcome.unwrap_or_default());
        append(&Some(outcome.map(|_| &self.digests)), &mut self.bytes);
        self.is_amid_call = false;
    }

    /// The replica is about to be called, or has given a name.
    pub fn call<M: Serialize>(&mut self, call: &Call<&Event<M>>) {
        self.begin(call);
    }

    /// All that has come of the call.
    pub fn effects<M: Serialize>(&mut self, effects: &[Effect<M>]) {
        self.digest(effects);
        append(&Some(&self.digests), &mut self.bytes);
        self.is_amid_call = false;
    }

    /// What was encoded since the last time: a [`RecordedStart`], or calls one behind the other. A
    /// call that has not ended is one over which the replica panicked.
    pub fn take(&mut self) -> Bytes {
        if std::mem::take(&mut self.is_amid_call) {
            append(&None::<Vec<Digest>>, &mut self.bytes);
        }
        // The next batch may be about as large.
        let next = Vec::with_capacity(self.bytes.len());
        std::mem::replace(&mut self.bytes, next).into()
    }

    fn digest<M: Serialize>(&mut self, effects: &[Effect<M>]) {
        self.digests.clear();
        self.digests.extend(effects.iter().map(|effect| self.digester.digest(effect)));
    }

    fn begin<T: Serialize>(&mut self, record: &T) {
        append(record, &mut self.bytes);
        self.is_amid_call = true;
    }
}

/// Tells effects apart by their encoding.
#[derive(Debug, Default)]
pub(crate) struct Digester {
    /// Used again and again.
    encoded: Vec<u8>,
}

impl Digester {
    pub(crate) fn digest<M: Serialize>(&mut self, effect: &Effect<M>) -> Digest {
        self.encoded.clear();
        append(effect, &mut self.encoded);
        Digest::of(&self.encoded)
    }
}

fn append<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    *out = postcard::to_extend(value, std::mem::take(out)).expect("plain data encodes");
}
