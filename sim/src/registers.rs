//! The machine and the workload that the simulator runs unless it is given others: registers which
//! are written and read, with whatever the seed has in store for them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quorate_core::{At, LogTime, StateMachine};
use quorate_linearizability::models::{KeyValue, RegisterInput, RegisterOutput};
use quorate_linearizability::{Budget, Checker, History, Minimum, Operation, Outcome};
use serde::{Deserialize, Serialize};

use crate::faults::Load;
use crate::workload::{ClientHistory, Draw, Input, Objection, Output, Workload};

/// Names a register.
type Key = u64;

/// What is in a register: the number of the request that wrote it; 0 for nothing.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Content(u64);

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("nothing"),
            number => write!(f, "op {number}"),
        }
    }
}

/// Writes a register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Put {
    content: Content,
    key: Key,
    /// After which the register is empty again.
    expires_after: Option<Duration>,
    /// Makes commands as large as a run wants them.
    padding: Bytes,
}

/// What a [`Put`] is answered.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Done {
    /// How often registers have changed, this time included.
    count: u64,
    /// What was in the register before.
    previous: Content,
}

impl fmt::Debug for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "change {}, before it {:?}", self.count, self.previous)
    }
}

/// What is in a register?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Look {
    key: Key,
}

/// The machine.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Registers {
    count: u64,
    /// Stands for all changes and their order.
    history: u64,
    values: BTreeMap<Key, (Content, Option<LogTime>)>,
    expiries: BTreeSet<(LogTime, Key)>,
    /// Nowhere alike, and never for long: so that no part of a snapshot passes for another part of
    /// it, or for the same part of another snapshot.
    ballast: Bytes,
}

/// Bytes that are nowhere alike: what a disk loses of them, or puts into another place, does not
/// pass for what was there.
fn noise(number: u64, length: u64) -> Bytes {
    let mut word = number;
    let mut bytes = BytesMut::with_capacity(length as usize + 8);
    while (bytes.len() as u64) < length {
        word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        bytes.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    bytes.truncate(length as usize);
    bytes.freeze()
}

impl Registers {
    fn change(&mut self, at: &At, content: Content, key: Key) {
        self.count += 1;
        for number in [at.index.0, at.time.0, at.seed, content.0, key] {
            self.history =
                (self.history.rotate_left(23) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        let ballast = std::mem::take(&mut self.ballast).try_into_mut();
        let mut ballast = ballast.unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        let place = (u128::from(self.history) * ballast.len() as u128) >> 64;
        ballast.get_mut(place as usize).into_iter().for_each(|byte| *byte = byte.wrapping_add(1));
        self.ballast = ballast.freeze();
    }

    fn forget(&mut self, key: Key) -> Content {
        let Some((content, expiry)) = self.values.remove(&key) else { return Content(0) };
        if let Some(time) = expiry {
            self.expiries.remove(&(time, key));
        }
        content
    }
}

impl StateMachine for Registers {
    type Command = Put;
    type Response = Done;
    type Query = Look;
    type Answer = Content;

    fn apply(&mut self, at: &At, put: Put) -> Done {
        self.expire(at);
        let previous = self.forget(put.key);
        let expiry = put.expires_after.map(|duration| at.time.plus(duration));
        self.values.insert(put.key, (put.content, expiry));
        self.expiries.extend(expiry.map(|time| (time, put.key)));
        self.change(at, put.content, put.key);
        Done { count: self.count, previous }
    }

    fn query(&self, _: &At, look: Look) -> Content {
        self.values.get(&look.key).map_or(Content(0), |(content, _)| *content)
    }

    fn deadline(&self) -> Option<LogTime> {
        self.expiries.first().map(|(time, _)| *time)
    }

    fn expire(&mut self, at: &At) {
        while let Some((_, key)) = self.expiries.first().copied().filter(|(t, _)| *t <= at.time) {
            self.forget(key);
            self.change(at, Content(0), key);
        }
    }
}

/// Clients of registers: how large their writes are, how many of these expire, and how large the
/// state is beside.
pub(crate) struct Writing {
    load: Load,
    ballast: Bytes,
}

impl Writing {
    /// As this load says.
    pub(crate) fn of(load: &Load) -> Writing {
        Writing { load: load.clone(), ballast: noise(0, load.ballast_bytes) }
    }
}

impl Workload for Writing {
    type Machine = Registers;

    fn machine(&self) -> Registers {
        Registers { ballast: self.ballast.clone(), ..Registers::default() }
    }

    fn command(&self, draw: &mut Draw<'_>) -> Put {
        /// More than a run's settings allow.
        const OVERSIZED: u64 = 13_000;
        let Draw { rng, number: content, key } = draw;
        let oversized = rng.chance(self.load.oversized_ppm);
        let length = if oversized { OVERSIZED } else { rng.below(self.load.payload_bytes) };
        let expires = rng.chance(self.load.expiring_ppm);
        let expires_after = expires.then(|| Duration::from_millis(rng.between(1, 800)));
        let padding = noise(*content, length);
        Put { content: Content(*content), key: *key, expires_after, padding }
    }

    fn query(&self, draw: &mut Draw<'_>) -> Look {
        Look { key: draw.key }
    }

    fn describe(request: &Input<Put, Look>) -> String {
        match request {
            Input::Command(put) => format!("sets x{}", put.key),
            Input::Query(look) => format!("reads x{}", look.key),
        }
    }

    /// Linearizability of what clients saw: that alone, whatever order the log gives to it.
    ///
    /// With many requests of unknown outcome on one key the search is exponential. What the log says of
    /// the order has been checked on the way in any case.
    fn judge(&self, history: &ClientHistory<Registers>) -> Result<(), Objection> {
        let budget = Budget { steps: 3_000_000, ..Budget::default() };
        // Thin runs are not counted as runs; that is for the campaign to see to.
        let checker = Checker::new(KeyValue::default(), Minimum::NONE).budget(budget);
        checker.check(&registers_alone(history))?;
        Ok(())
    }
}

type KeyedInput = (Key, RegisterInput<Option<Content>>);

/// The history as the checker's model of registers has it.
fn registers_alone(
    history: &ClientHistory<Registers>,
) -> History<KeyedInput, RegisterOutput<Option<Content>>> {
    let mut told = History::new();
    for operation in history.operations() {
        let (key, input) = match &operation.input {
            Input::Command(put) => (put.key, RegisterInput::Swap(Some(put.content))),
            Input::Query(look) => (look.key, RegisterInput::Read),
        };
        let (client, called) = (operation.client, operation.called);
        let outcome = match &operation.outcome {
            Outcome::Returned { at, output } => {
                let content = match output {
                    Output::Response(done) => done.previous,
                    Output::Answer(content) => *content,
                };
                let output = RegisterOutput::Value(Some(content).filter(|content| content.0 > 0));
                Outcome::Returned { at: *at, output }
            }
            Outcome::Unknown => Outcome::Unknown,
            Outcome::Failed => Outcome::Failed,
        };
        told.add(Operation { client, input: (key, input), called, outcome });
        if let Input::Command(Put { expires_after: Some(_), content, .. }) = &operation.input {
            // Nobody is told when, or whether, it expires.
            let expiry = RegisterInput::CompareAndSet { expected: Some(*content), new: None };
            let outcome = Outcome::Unknown;
            told.add(Operation { client, input: (key, expiry), called, outcome });
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use quorate_core::Index;
    use quorate_linearizability::ClientId;

    use super::*;

    fn at(index: u64, time: u64) -> At {
        At { index: Index(index), time: LogTime(time), seed: index }
    }

    fn put(content: u64, expires_after: Option<Duration>) -> Put {
        Put { content: Content(content), key: 1, expires_after, padding: Bytes::new() }
    }

    #[test]
    fn a_register_holds_its_last_write_until_it_expires() {
        let mut machine = Registers::default();
        assert_eq!(
            machine.apply(&at(1, 10), put(7, None)),
            Done { count: 1, previous: Content(0) }
        );
        let second = machine.apply(&at(2, 20), put(8, Some(Duration::from_micros(5))));
        assert_eq!(second, Done { count: 2, previous: Content(7) });
        assert_eq!(machine.deadline(), Some(LogTime(25)));
        machine.expire(&at(3, 24));
        assert_eq!(machine.query(&at(3, 24), Look { key: 1 }), Content(8));
        machine.expire(&at(4, 25));
        assert_eq!(machine.query(&at(4, 25), Look { key: 1 }), Content(0));
        assert_eq!((machine.count, machine.deadline()), (3, None));
    }

    /// Two writes, one after the other, and then reads that see this.
    fn judged(expires_after: Option<Duration>, reads: &[u64]) -> Result<(), Objection> {
        let mut history = ClientHistory::<Registers>::new();
        let first = history.call(ClientId(1), Input::Command(put(7, None)));
        history.returned(first, Output::Response(Done { count: 1, previous: Content(0) }));
        let second = history.call(ClientId(2), Input::Command(put(8, expires_after)));
        history.returned(second, Output::Response(Done { count: 2, previous: Content(7) }));
        for content in reads {
            let read = history.call(ClientId(3), Input::Query(Look { key: 1 }));
            history.returned(read, Output::Answer(Content(*content)));
        }
        let load = Load::draw(&mut crate::rng::Rng::new(1, "load"), &Default::default());
        Writing::of(&load).judge(&history)
    }

    #[test]
    fn a_stale_read_is_found_and_shown() {
        assert_eq!(judged(None, &[8]), Ok(()));
        let Err(Objection::Wrong(what)) = judged(None, &[8, 7]) else { panic!("not found") };
        assert!(what.contains("client 3: (1, Read)"), "{what}");
    }

    #[test]
    fn what_expires_may_be_gone_from_then_on_and_does_not_come_back() {
        let expiry = Some(Duration::from_millis(1));
        assert_eq!(judged(expiry, &[8, 0]), Ok(()));
        assert!(judged(expiry, &[8, 0, 8]).is_err());
        assert!(judged(None, &[8, 0]).is_err());
    }
}
