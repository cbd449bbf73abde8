//! What was handed to the applier and what came back.

use std::collections::VecDeque;
use std::time::Duration;

use super::backoff::Backoff;
use crate::entry::Entry;
use crate::event::Generation;
use crate::log::Log;
use crate::snapshot::SnapshotMeta;
use crate::types::{Index, LogTime};

/// The replica's view of its applier: a queue with a bound in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Applying {
    generation: Generation,
    /// The snapshot that the applier is to restore; nothing is handed over meanwhile.
    restoring: Option<SnapshotMeta>,
    handed_over: Index,
    /// What was handed over and not answered: the last index of each batch, and its bytes.
    outstanding: VecDeque<(Index, usize)>,
    outstanding_bytes: usize,
    /// True while entries for the applier are read from disk.
    reading: bool,
    deadline: Option<LogTime>,
    /// Bytes of entries applied since the newest snapshot.
    since_snapshot_bytes: u64,
    building: bool,
    /// A snapshot of at least this much is due, whatever its size.
    renewing: Option<Index>,
    renewal_backoff: Backoff<()>,
}

/// What the applier can be given next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Next {
    /// Nothing for now.
    Nothing,
    /// These entries.
    Entries(Vec<Entry>),
    /// Entries from here on, which are on disk only.
    Cold(Index, usize),
}

impl Applying {
    pub(super) fn from(applied: Index) -> Applying {
        Applying {
            generation: Generation(0),
            restoring: None,
            handed_over: applied,
            outstanding: VecDeque::new(),
            outstanding_bytes: 0,
            reading: false,
            deadline: None,
            since_snapshot_bytes: 0,
            building: false,
            renewing: None,
            renewal_backoff: Backoff::default(),
        }
    }

    pub(super) fn generation(&self) -> Generation {
        self.generation
    }

    /// The last entry that the applier was given, by itself or in a snapshot.
    pub(super) fn handed_over(&self) -> Index {
        self.handed_over
    }

    /// When the state machine wants log time to have moved on, as of what is applied.
    pub(super) fn deadline(&self) -> Option<LogTime> {
        self.deadline
    }

    /// The state is to be replaced: answers to what was asked before no longer count.
    pub(super) fn restore(&mut self, snapshot: SnapshotMeta) -> Generation {
        self.generation = Generation(self.generation.0 + 1);
        self.handed_over = snapshot.last.index;
        self.outstanding.clear();
        self.outstanding_bytes = 0;
        self.reading = false;
        self.deadline = None;
        self.since_snapshot_bytes = 0;
        self.renewing = None;
        self.restoring = Some(snapshot);
        self.generation
    }

    pub(super) fn is_restoring(&self) -> bool {
        self.restoring.is_some()
    }

    /// The snapshot that was restored, if this is the answer which is waited for.
    pub(super) fn on_restored(
        &mut self,
        generation: Generation,
        deadline: Option<LogTime>,
    ) -> Option<SnapshotMeta> {
        if generation != self.generation {
            return None;
        }
        self.deadline = deadline;
        self.restoring.take()
    }

    /// What can be handed over now, at most `max_bytes` beyond what is outstanding.
    pub(super) fn next(&self, log: &Log, max_bytes: usize) -> Next {
        let caught_up = self.handed_over >= log.committed();
        if self.restoring.is_some() || self.reading || caught_up {
            return Next::Nothing;
        }
        let room = max_bytes.saturating_sub(self.outstanding_bytes);
        if room == 0 {
            return Next::Nothing;
        }
        let from = self.handed_over.next();
        if log.is_missing(from) {
            return Next::Nothing; // Until it has come from a peer.
        }
        match log.entries(from, room) {
            Some(mut entries) => {
                entries.retain(|entry| entry.index() <= log.committed());
                Next::Entries(entries)
            }
            None => Next::Cold(from, room),
        }
    }

    pub(super) fn set_reading(&mut self) {
        self.reading = true;
    }

    /// Entries came back from disk: those of them that may be handed over.
    pub(super) fn on_read(&mut self, log: &Log, from: Index, entries: Vec<Entry>) -> Vec<Entry> {
        if !self.reading || from != self.handed_over.next() {
            return Vec::new();
        }
        self.reading = false;
        let usable = |entry: &Entry| entry.index() <= log.committed() && log.holds(entry.id);
        entries.into_iter().take_while(usable).collect()
    }

    pub(super) fn hand_over(&mut self, entries: &[Entry]) {
        let Some((first, last)) = entries.first().zip(entries.last()) else { return };
        assert_eq!(first.index(), self.handed_over.next(), "entries are applied without gaps");
        let bytes = entries.iter().map(Entry::size_bytes).sum();
        self.handed_over = last.index();
        self.outstanding.push_back((last.index(), bytes));
        self.outstanding_bytes += bytes;
    }

    /// True if the answer counts; false if it is of an older generation.
    pub(super) fn on_applied(
        &mut self,
        generation: Generation,
        through: Index,
        deadline: Option<LogTime>,
    ) -> bool {
        if generation != self.generation || self.restoring.is_some() {
            return false;
        }
        assert!(through <= self.handed_over, "the applier applied what it was not given");
        while let Some((last, bytes)) = self.outstanding.front().copied()
            && last <= through
        {
            self.outstanding.pop_front();
            self.outstanding_bytes -= bytes;
            self.since_snapshot_bytes += bytes as u64;
        }
        self.deadline = deadline;
        true
    }

    /// True if it is time for a snapshot; the caller then has one taken.
    pub(super) fn wants_snapshot(&mut self, now: Duration, log: &Log, snapshot_bytes: u64) -> bool {
        let newest = log.snapshot().map_or(0, |snapshot| snapshot.size_bytes);
        let is_renewed = self.renewing.is_some_and(|through| through <= log.applied())
            && self.renewal_backoff.allows(now, ());
        let due = is_renewed || self.since_snapshot_bytes >= snapshot_bytes.max(newest);
        if !due || self.building || self.restoring.is_some() {
            return false;
        }
        self.building = true;
        self.since_snapshot_bytes = 0;
        true
    }

    /// A snapshot is needed that covers the log up to `through`.
    pub(super) fn renew_snapshot(&mut self, through: Index) {
        self.renewing = self.renewing.max(Some(through));
    }

    /// A snapshot which is needed cannot be had or read from this disk. The disk, which may spoil
    /// or refuse the next one as well, is given a rest.
    pub(super) fn on_snapshot_failed(&mut self, now: Duration) {
        self.renewal_backoff.failed(now, ());
    }

    /// A snapshot was built, or could not be.
    pub(super) fn on_built(&mut self, now: Duration, snapshot: Option<&SnapshotMeta>) {
        self.building = false;
        match snapshot {
            Some(built) => drop(self.renewing.take_if(|through| *through <= built.last.index)),
            None => {
                // The log before it is still there, be the disk full of it: it is tried again.
                self.renew_snapshot(Index::ZERO);
                self.on_snapshot_failed(now);
            }
        }
    }
}
