//! What is written down while a run goes on.

mod clients;
mod messages;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::sync::Arc;

use quorate_core::{
    Ballot, Digest, Entry, Event, Index, LogId, Recovered, RecoveredLog, Run, Write,
};

use super::concerned::violated;
pub(crate) use super::record::Fate;
use super::record::{
    Arrow, EntryRow, FoundLog, Moment, Record, Request, RunRow, SaidRef, Span, State, Text,
    WriteRow,
};
use super::wording::{self, Requests, name_and_content};
use super::{Picture, record::EntryRef};
use crate::checks::Violation;
use crate::clients::OpId;
use crate::clock::Time;
use crate::oracle::Said;
use crate::subject::Subject;
use crate::witness::Change;
use crate::words::Words;

/// Writes down what happens.
pub(crate) struct Recorder {
    clients: Requests,
    texts: Vec<String>,
    text_of: BTreeMap<String, Text>,
    said: Vec<Said>,
    said_of: BTreeMap<Said, SaidRef>,
    entries: Vec<EntryRow>,
    entry_of: BTreeMap<Digest, EntryRef>,
    arrows: Vec<Arrow>,
    /// Those that have not arrived, by when and between whom they will: as many as there are
    /// arrive in the order in which they were sent.
    underway: BTreeMap<(Time, usize, usize), VecDeque<usize>>,
    spans: Vec<Span>,
    open_spans: BTreeMap<(&'static str, Option<usize>), usize>,
    moments: Vec<Moment>,
    writes: Vec<WriteRow>,
    /// Those of each node that are not on disk, or of which it has not heard.
    pending_writes: BTreeMap<usize, Vec<usize>>,
    logs: Vec<FoundLog>,
    states: Vec<State>,
    latest_state: BTreeMap<usize, State>,
    requests: Vec<Request>,
    request_of: BTreeMap<OpId, usize>,
    /// The replica to which something happened last.
    latest_actor: Option<usize>,
}

/// How a node and its machine stand.
pub(crate) struct World<P> {
    pub(crate) is_up: bool,
    pub(crate) is_paused: bool,
    pub(crate) is_slow: bool,
    pub(crate) is_stalled: bool,
    pub(crate) is_full: bool,
    /// The replica's own account and its pledge, if it runs.
    pub(crate) replica: Option<(quorate_core::Status, Option<P>)>,
}

impl Recorder {
    /// Nothing has happened.
    pub(crate) fn new(subject: Arc<dyn Subject>) -> Recorder {
        Recorder {
            clients: Requests { subject, attempts: BTreeMap::new() },
            texts: Vec::new(),
            text_of: BTreeMap::new(),
            said: Vec::new(),
            said_of: BTreeMap::new(),
            entries: Vec::new(),
            entry_of: BTreeMap::new(),
            arrows: Vec::new(),
            underway: BTreeMap::new(),
            spans: Vec::new(),
            open_spans: BTreeMap::new(),
            moments: Vec::new(),
            writes: Vec::new(),
            pending_writes: BTreeMap::new(),
            logs: Vec::new(),
            states: Vec::new(),
            latest_state: BTreeMap::new(),
            requests: Vec::new(),
            request_of: BTreeMap::new(),
            latest_actor: None,
        }
    }
}

/// What happens to replicas and their disks.
impl Recorder {
    /// The loop of a replica takes this.
    pub(crate) fn takes<M: Debug>(&mut self, now: Time, node: usize, event: &Event<M>) {
        match event {
            // Drawn as an arrow.
            Event::Message(_) => self.latest_actor = Some(node),
            Event::Saved(seq) => {
                let writes = self.pending_writes.entry(node).or_default();
                writes.retain(|write| {
                    let write = &mut self.writes[*write];
                    if write.seq <= seq.0 {
                        write.reported.get_or_insert(now.0);
                    }
                    write.reported.is_none() || write.synced.is_none()
                });
            }
            Event::Propose { kind, payload, request } => {
                let (label, _) = self.clients.label(*kind, payload);
                let request = wording::tidy(&format!("{request:?}"));
                self.note(now, Some(node), "Propose", format!("{label}, as {request}"));
            }
            event => {
                let (kind, text) = name_and_content(event);
                self.note(now, Some(node), &kind, text);
            }
        }
    }

    /// A replica wants this to be saved.
    pub(crate) fn writes<P: Debug>(
        &mut self,
        now: Time,
        node: usize,
        seq: u64,
        write: &Write,
        pledge: Option<P>,
    ) {
        let Write { runs, repairs, promise, snapshot, founding, mute, peers, .. } = write;
        let runs = runs.iter().map(|run| self.run(run)).collect();
        let repairs = repairs.iter().flatten().map(|entry| self.entry(entry)).collect();
        let mut notes = Vec::new();
        notes.extend(snapshot.as_ref().map(|meta| format!("snapshot {}", meta.last)));
        notes.extend(founding.as_ref().map(|founding| format!("{founding:?}")));
        notes.extend(mute.then(|| "mute".to_owned()));
        notes.extend(peers.as_ref().map(|peers| format!("peers {peers:?}")));
        let notes = self.text(wording::tidy(&notes.join(", ")));
        let pledge = self.pledge(pledge.as_ref());
        self.pending_writes.entry(node).or_default().push(self.writes.len());
        self.writes.push(WriteRow {
            node,
            seq,
            asked: now.0,
            synced: None,
            sworn: None,
            reported: None,
            runs,
            repairs,
            pledge,
            promise: *promise,
            notes,
        });
    }

    /// This write of a replica and all before it are on its disk, or the pledge of this one is.
    pub(crate) fn on_disk(&mut self, now: Time, node: usize, seq: u64, pledge_alone: bool) {
        let writes = self.pending_writes.entry(node).or_default();
        for write in writes.iter() {
            let write = &mut self.writes[*write];
            if pledge_alone && write.seq == seq {
                write.sworn = Some(now.0);
            } else if !pledge_alone && write.seq <= seq {
                write.synced.get_or_insert(now.0);
            }
        }
        writes.retain(|write| {
            let write = &self.writes[*write];
            write.reported.is_none() || write.synced.is_none()
        });
    }

    /// A process that starts finds this on its disk: a base, and behind it a log.
    pub(crate) fn finds<P: Debug>(
        &mut self,
        now: Time,
        node: usize,
        found: &Recovered,
        sworn: Option<P>,
        log: impl Iterator<Item = (LogId, Digest)>,
    ) {
        self.pending_writes.remove(&node);
        let Recovered { lineage, mute, snapshot, log: found, .. } = found;
        let RecoveredLog { base, last, gaps, .. } = found;
        let pledge = self.pledge(sworn.as_ref());
        let mut text = format!("the disk has {} and the log {base} … {last}", self.texts[pledge]);
        text.extend(snapshot.as_ref().map(|meta| format!(" with a snapshot of {}", meta.last)));
        text.extend(mute.then_some(", and is mute"));
        text.extend((!gaps.is_empty()).then(|| format!(", damaged: {gaps:?}")));
        text += &format!("; start {} of the process", lineage.latest().count);
        self.note(now, Some(node), "start", text);
        let mut ids = log.map(|(id, digest)| self.entry_named(id, digest));
        let base = ids.next().map_or(LogId::ZERO, |(id, _)| id);
        let entries = ids.map(|(_, entry)| entry).collect();
        self.logs.push(FoundLog {
            time: now.0,
            node,
            base_index: base.index.0,
            base_ballot: base.ballot.0,
            entries,
            pledge,
            given: pledge,
        });
    }

    /// The process is given this of what its disk has sworn.
    pub(crate) fn starts_with<P: Debug>(&mut self, node: usize, sworn: Option<P>) {
        let given = self.pledge(sworn.as_ref());
        let latest = self.logs.iter_mut().rfind(|log| log.node == node);
        latest.expect("it has found a log").given = given;
    }

    /// A replica's machine has done this.
    pub(crate) fn applies(
        &mut self,
        now: Time,
        node: usize,
        change: &Change,
        deed: Option<(OpId, String)>,
        count: u64,
    ) {
        let index = change.index;
        let text = match (deed, &change.response) {
            (Some((op, what)), Some(response)) => {
                format!("{index}: op {} {what}, effect {count}: {response:?}", op.0)
            }
            _ => format!("{index}: what is due expires, effect {count}"),
        };
        self.note(now, Some(node), "apply", wording::tidy(&text));
    }

    /// Something happens to a node, or to the world.
    pub(crate) fn note(&mut self, now: Time, node: Option<usize>, kind: &str, text: String) {
        self.latest_actor = node.or(self.latest_actor);
        let (kind, text) = (self.text(kind.to_owned()), self.text(text));
        self.moments.push(Moment { time: now.0, node, kind, text });
    }

    /// This is how a node stands. Only what has changed is written down.
    pub(crate) fn stands<P: Debug>(&mut self, now: Time, node: usize, world: World<P>) {
        let World { is_up, is_paused, is_slow, is_stalled, is_full, replica } = world;
        for (kind, is_on) in [
            ("down", !is_up),
            ("paused", is_paused),
            ("slow disk", is_slow),
            ("stalled disk", is_stalled),
            ("full disk", is_full),
        ] {
            self.span(now, kind, Some(node), is_on, Vec::new);
        }
        let Some((status, pledge)) = replica else {
            self.latest_state.remove(&node);
            return;
        };
        let mut notes = Vec::new();
        notes.extend((!status.formed).then_some("not formed"));
        notes.extend(status.mute.then_some("mute"));
        let leads = status.role == quorate_core::Role::Leader;
        notes.extend((leads && !status.serving).then_some("not serving"));
        let state = State {
            time: 0,
            node,
            role: self.text(format!("{:?}", status.role).to_lowercase()),
            ballot: status.ballot.0,
            leader: status.leader.map(|leader| leader.0.saturating_sub(1) as usize),
            last_index: status.last.index.0,
            last_ballot: status.last.ballot.0,
            durable: status.durable.0,
            committed: status.committed.0,
            applied: status.applied.0,
            pledge: self.pledge(pledge.as_ref()),
            notes: self.text(notes.join(", ")),
        };
        if self.latest_state.get(&node) != Some(&state) {
            self.latest_state.insert(node, state.clone());
            self.states.push(State { time: now.0, ..state });
        }
    }

    /// These links are cut.
    pub(crate) fn links_stand(&mut self, now: Time, cuts: Vec<(usize, usize)>) {
        let open = self.open_spans.get(&("cut", None));
        if open.is_some_and(|open| self.spans[*open].cuts != cuts) {
            self.span(now, "cut", None, false, Vec::new);
        }
        self.span(now, "cut", None, !cuts.is_empty(), || cuts);
    }

    fn span(
        &mut self,
        now: Time,
        kind: &'static str,
        node: Option<usize>,
        is_on: bool,
        cuts: impl FnOnce() -> Vec<(usize, usize)>,
    ) {
        match (self.open_spans.get(&(kind, node)), is_on) {
            (None, true) => {
                self.open_spans.insert((kind, node), self.spans.len());
                self.spans.push(Span { kind, node, from: now.0, until: None, cuts: cuts() });
            }
            (Some(open), false) => {
                self.spans[*open].until = Some(now.0);
                self.open_spans.remove(&(kind, node));
            }
            (None, false) | (Some(_), true) => {}
        }
    }
}

impl Recorder {
    /// The run is over.
    pub(crate) fn finish(
        self,
        (protocol, words): (&'static str, Words),
        (seed, replicas): (u64, usize),
        now: Time,
        plan: String,
        violation: Option<&Violation>,
    ) -> Picture {
        use super::record::Table;
        Picture::new(Record {
            protocol,
            words,
            seed,
            replicas,
            end: now.0,
            plan,
            violation: violation.map(|violation| violated(violation, replicas, self.latest_actor)),
            texts: self.texts,
            said: self.said,
            entries: Table(self.entries),
            arrows: Table(self.arrows),
            spans: Table(self.spans),
            moments: Table(self.moments),
            writes: Table(self.writes),
            logs: Table(self.logs),
            states: Table(self.states),
            requests: Table(self.requests),
        })
    }

    fn text(&mut self, text: String) -> Text {
        if let Some(known) = self.text_of.get(&text) {
            return *known;
        }
        self.texts.push(text.clone());
        self.text_of.insert(text, self.texts.len() - 1);
        self.texts.len() - 1
    }

    fn pledge(&mut self, pledge: Option<&impl Debug>) -> Text {
        let text = pledge.map_or("none".to_owned(), |pledge| name_and_content(pledge).1);
        self.text(text.replace("Some(", "").replace(')', ""))
    }

    fn run(&mut self, run: &Run) -> RunRow {
        let entries = run.entries.iter().map(|entry| self.entry(entry)).collect();
        RunRow(run.previous.index.0, run.previous.ballot.0, entries)
    }

    fn entry(&mut self, entry: &Entry) -> EntryRef {
        let digest = entry.digest();
        if let Some(known) = self.entry_of.get(&digest) {
            return *known;
        }
        let (label, op) = self.clients.label(entry.kind, &entry.payload);
        let kind = format!("{:?}", entry.kind);
        self.add_entry(entry.id, digest, kind, label, op)
    }

    /// An entry of which only the name is known here.
    fn entry_named(&mut self, id: LogId, digest: Digest) -> (LogId, EntryRef) {
        let known = self.entry_of.get(&digest).copied();
        let entry =
            known.unwrap_or_else(|| self.add_entry(id, digest, String::new(), String::new(), None));
        (id, entry)
    }

    fn add_entry(
        &mut self,
        id: LogId,
        digest: Digest,
        kind: String,
        label: String,
        op: Option<u64>,
    ) -> EntryRef {
        let (Index(index), Ballot(ballot)) = (id.index, id.ballot);
        let (kind, label) = (self.text(kind), self.text(label));
        let entry = EntryRow { index, ballot, kind, label, op, digest: digest.to_string() };
        self.entry_of.insert(digest, self.entries.len());
        self.entries.push(entry);
        self.entries.len() - 1
    }
}
