//! What the page is given: tables, each written as its columns.

use std::collections::BTreeMap;

use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::oracle::Said;
use crate::words::Words;

/// A text, by its position in [`Record::texts`]: most are there many times.
pub(super) type Text = usize;

/// What a message says, by its position in [`Record::said`].
pub(super) type SaidRef = usize;

/// An entry, by its position in [`Record::entries`].
pub(super) type EntryRef = usize;

/// Microseconds since the run began.
pub(super) type Micros = u64;

/// Everything about a run that the page shows. Replicas are named by their position, from 0.
#[derive(Serialize)]
pub(crate) struct Record {
    pub(super) protocol: &'static str,
    pub(super) words: Words,
    pub(super) seed: u64,
    pub(super) replicas: usize,
    pub(super) end: Micros,
    /// What the seed had in store.
    pub(super) plan: String,
    pub(super) violation: Option<Violated>,
    pub(super) texts: Vec<String>,
    pub(super) said: Vec<Said>,
    pub(super) entries: Table<EntryRow>,
    pub(super) arrows: Table<Arrow>,
    pub(super) spans: Table<Span>,
    pub(super) moments: Table<Moment>,
    pub(super) writes: Table<WriteRow>,
    pub(super) logs: Table<FoundLog>,
    pub(super) states: Table<State>,
    pub(super) requests: Table<Request>,
}

/// The property that does not hold, and what its violation is about.
#[derive(Serialize)]
pub(super) struct Violated {
    pub(super) property: &'static str,
    pub(super) stated_in: &'static str,
    pub(super) details: String,
    pub(super) replicas: Vec<usize>,
    pub(super) indexes: Vec<u64>,
    pub(super) ops: Vec<u64>,
}

/// An entry that some replica held.
#[derive(Serialize)]
pub(super) struct EntryRow {
    pub(super) index: u64,
    pub(super) ballot: u64,
    pub(super) kind: Text,
    /// What it does, as far as it can be told.
    pub(super) label: Text,
    pub(super) op: Option<u64>,
    pub(super) digest: String,
}

/// One copy of a message.
#[derive(Serialize)]
pub(super) struct Arrow {
    pub(super) sent: Micros,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) kind: Text,
    pub(super) text: Text,
    /// What it says; `None` if the protocol does not tell.
    pub(super) said: Option<SaidRef>,
    /// When it arrives, or would; `None` if it was lost at once.
    pub(super) end: Option<Micros>,
    pub(super) fate: Fate,
    /// True of the second copy of a message that was duplicated.
    pub(super) copy: bool,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fate {
    /// It is still on its way.
    Underway,
    Arrived,
    /// The network lost it.
    Lost,
    /// The link was cut.
    Cut,
    /// Its sender died before it was out.
    Unsaid,
    /// Nobody was there to hear it.
    Unheard,
    /// It violates a property, and the run ends with it.
    Forbidden,
}

/// Something that lasts: a process is down, a link is cut, a disk is slow.
#[derive(Serialize)]
pub(super) struct Span {
    pub(super) kind: &'static str,
    pub(super) node: Option<usize>,
    pub(super) from: Micros,
    pub(super) until: Option<Micros>,
    /// Which links are cut: from, to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) cuts: Vec<(usize, usize)>,
}

/// Something that happens at one moment, and is no message.
#[derive(Serialize)]
pub(super) struct Moment {
    pub(super) time: Micros,
    pub(super) node: Option<usize>,
    pub(super) kind: Text,
    pub(super) text: Text,
}

/// A write, from the moment when the replica asked for it.
#[derive(Serialize)]
pub(super) struct WriteRow {
    pub(super) node: usize,
    pub(super) seq: u64,
    pub(super) asked: Micros,
    /// When it was on the disk, whatever the replica was told.
    pub(super) synced: Option<Micros>,
    /// When its pledge alone was.
    pub(super) sworn: Option<Micros>,
    /// When the replica took notice.
    pub(super) reported: Option<Micros>,
    pub(super) runs: Vec<RunRow>,
    pub(super) repairs: Vec<EntryRef>,
    pub(super) pledge: Text,
    pub(super) promise: bool,
    pub(super) notes: Text,
}

/// Index and ballot of the entry after which the log goes on, and what follows it.
#[derive(Serialize)]
pub(super) struct RunRow(pub(super) u64, pub(super) u64, pub(super) Vec<EntryRef>);

/// The log which a process found when it started.
#[derive(Serialize)]
pub(super) struct FoundLog {
    pub(super) time: Micros,
    pub(super) node: usize,
    pub(super) base_index: u64,
    pub(super) base_ballot: u64,
    pub(super) entries: Vec<EntryRef>,
    /// What the disk says is sworn.
    pub(super) pledge: Text,
    /// What of that the process was given.
    pub(super) given: Text,
}

/// How a replica stands from this moment on.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub(super) struct State {
    pub(super) time: Micros,
    pub(super) node: usize,
    pub(super) role: Text,
    pub(super) ballot: u64,
    pub(super) leader: Option<usize>,
    pub(super) last_index: u64,
    pub(super) last_ballot: u64,
    pub(super) durable: u64,
    pub(super) committed: u64,
    pub(super) applied: u64,
    /// What it has sworn, saved or not.
    pub(super) pledge: Text,
    /// Not formed, mute, not serving: whatever is not as usual.
    pub(super) notes: Text,
}

/// A client's request, in all its attempts.
#[derive(Serialize)]
pub(super) struct Request {
    pub(super) op: u64,
    pub(super) client: usize,
    pub(super) what: Text,
    pub(super) begun: Micros,
    pub(super) ended: Option<Micros>,
    /// The last that its client was told, or thought.
    pub(super) outcome: Text,
    pub(super) attempts: Vec<Attempt>,
}

/// One attempt of a request.
#[derive(Serialize)]
pub(super) struct Attempt {
    pub(super) node: usize,
    pub(super) asked: Micros,
    /// When the node heard of it.
    pub(super) reached: Option<Micros>,
    /// When the node answered.
    pub(super) replied: Option<Micros>,
    pub(super) reply: Text,
    #[serde(skip)]
    pub(super) number: u64,
}

/// Rows, written as one array for each of their fields: their names are written once.
pub(super) struct Table<T>(pub(super) Vec<T>);

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table(Vec::new())
    }
}

impl<T: Serialize> Serialize for Table<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut columns: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for (position, row) in self.0.iter().enumerate() {
            let fields = serde_json::to_value(row).map_err(S::Error::custom)?;
            let Value::Object(fields) = fields else {
                return Err(S::Error::custom("a row is a struct with names"));
            };
            for (name, value) in fields {
                let column = columns.entry(name).or_default();
                column.resize(position, Value::Null);
                column.push(value);
            }
        }
        columns.values_mut().for_each(|column| column.resize(self.0.len(), Value::Null));
        columns.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_written_as_columns_of_the_same_length() {
        let span = |from, cuts| Span { kind: "down", node: None, from, until: Some(9), cuts };
        let table = Table(vec![span(1, vec![]), span(2, vec![(0, 1)]), span(3, vec![])]);
        let json = serde_json::to_value(&table).unwrap();
        assert_eq!(json["from"], serde_json::json!([1, 2, 3]));
        assert_eq!(json["cuts"], serde_json::json!([null, [[0, 1]], null]));
        assert_eq!(json["kind"].as_array().unwrap().len(), 3);
    }
}
