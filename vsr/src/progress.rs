//! What a primary knows about one backup, and what it may send it.

use quorate_core::{Entry, Incarnation, Index, Log, Settings, SnapshotMeta, Window};

/// After how many heartbeats without a word a backup does not count as alive.
const PATIENCE: u32 = 3;

/// After how many heartbeats an unanswered read of old entries is asked for again.
const READ_PATIENCE: u32 = 10;

/// A primary's view of one backup.
///
/// - `matched` ≤ the log's end;
/// - `matched` never goes back: within a view a backup only cuts off what differs from the
///   primary's log, and what it acknowledged does not. Unless it lost its disk, or a part of it:
///   then it starts over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Progress {
    /// The disk on which it has what it acknowledged.
    incarnation: Option<Incarnation>,
    /// The backup's log is the primary's up to here, on its disk.
    pub(crate) matched: Index,
    supply: Supply,
    /// The latest probe which the backup has answered.
    pub(crate) heard: u64,
    /// How many heartbeats have passed since it last said anything.
    silence: u32,
    /// The highest commit index which it was told.
    pub(crate) told: Index,
    /// Old entries for it are being read from this index on; and heartbeats since.
    reading: Option<(Index, u32)>,
    /// The snapshot which it was offered last.
    offered: Option<SnapshotMeta>,
}

/// How the backup gets entries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Supply {
    /// As they come, without asking.
    Stream(Stream),
    /// It asks for what it lacks.
    Pull,
}

/// What was sent, and what comes next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Stream {
    /// The first entry that was not sent.
    next: Index,
    /// What of it is not acknowledged.
    window: Window,
}

impl Progress {
    /// At the beginning of a view: the backup is presumed to hold all that precedes `next`.
    pub(crate) fn starting_at(next: Index, incarnation: Option<Incarnation>) -> Progress {
        Progress {
            incarnation,
            matched: Index::ZERO,
            supply: Supply::Stream(Stream::from(next)),
            heard: 0,
            silence: 0,
            told: Index::ZERO,
            reading: None,
            offered: None,
        }
    }

    /// What it acknowledged, as far as that counts: on the disk which the members list.
    pub(crate) fn counts_under(&self, listed: Option<Incarnation>) -> bool {
        self.incarnation == listed
    }

    /// True if the backup has spoken in this view, and not long ago.
    pub(crate) fn is_live(&self) -> bool {
        self.heard > 0 && self.silence < PATIENCE
    }

    /// The first entry to be sent next, and how many bytes of them; `None` if none may be sent.
    pub(crate) fn room(&mut self, settings: &Settings) -> Option<(Index, usize)> {
        let Supply::Stream(stream) = &mut self.supply else { return None };
        Some((stream.next, stream.window.room(settings)?))
    }

    /// What the backup should hold by now, of a log that ends with `last`.
    pub(crate) fn should_hold(&self, last: Index) -> Index {
        match &self.supply {
            Supply::Stream(stream) => stream.next.previous(),
            Supply::Pull => last,
        }
    }

    /// These entries, the next ones of the stream, are on their way.
    pub(crate) fn on_streamed(&mut self, entries: &[Entry]) {
        let Supply::Stream(stream) = &mut self.supply else {
            unreachable!("who pulls is sent nothing unasked")
        };
        stream.add(entries);
    }

    /// What comes next is not at hand: the backup has to ask for it.
    pub(crate) fn leave_to_pull(&mut self) {
        self.supply = Supply::Pull;
    }

    /// The backup asks for what follows `last`. If its disk is another one than before, or lacks
    /// what it had acknowledged, then what it said is void.
    pub(crate) fn on_asked(&mut self, last: Index, incarnation: Incarnation) {
        self.offered.take_if(|offered| offered.last.index <= last);
        if self.incarnation != Some(incarnation) || last < self.matched {
            self.start_over(incarnation);
        }
    }

    /// What the backup said before is void.
    fn start_over(&mut self, incarnation: Incarnation) {
        self.incarnation = Some(incarnation);
        self.matched = Index::ZERO;
        self.heard = 0;
    }

    /// The backup was sent what it asked for: `entries`, which follow `previous`. If that is all
    /// there is, what follows is streamed again.
    pub(crate) fn on_supplied(&mut self, previous: Index, entries: &[Entry], last: Index) {
        self.reading = None;
        let end = Index(previous.0 + entries.len() as u64);
        self.supply = if end == last {
            let mut stream = Stream::from(previous.next());
            stream.add(entries);
            Supply::Stream(stream)
        } else {
            Supply::Pull
        };
    }

    /// Entries from `from` on are to be read from disk. True if they should be asked for.
    pub(crate) fn start_reading(&mut self, from: Index) -> bool {
        self.supply = Supply::Pull;
        let idle = self.reading.is_none_or(|(reading, _)| reading != from);
        if idle {
            self.reading = Some((from, 0));
        }
        idle
    }

    /// True if entries from `from` on were asked for.
    pub(crate) fn awaits(&self, from: Index) -> bool {
        self.reading.is_some_and(|(reading, _)| reading == from)
    }

    /// What the backup asks for is compacted: the snapshot to offer. It stays the same while the
    /// log can go on from it and it can be read, for the backup may have fetched half of it.
    pub(crate) fn offer(&mut self, log: &Log) -> SnapshotMeta {
        self.supply = Supply::Pull;
        let base = log.base().index;
        self.offered.take_if(|offered| offered.last.index < base || log.is_unreadable(offered));
        let newest = log.snapshot().expect("what is compacted is covered by a snapshot");
        self.offered.get_or_insert_with(|| newest.clone()).clone()
    }

    /// The backup has everything up to `op` on disk, the one which the members list, and answers
    /// `probe`. The log ends with `last`.
    pub(crate) fn on_prepare_ok(&mut self, by: Incarnation, op: Index, probe: u64, last: Index) {
        // A question of the disk before may have come late.
        if self.incarnation != Some(by) {
            self.start_over(by);
        }
        self.heard = self.heard.max(probe);
        self.silence = 0;
        self.matched = self.matched.max(op);
        match &mut self.supply {
            Supply::Stream(stream) => stream.on_held(op),
            Supply::Pull if op == last => {
                self.supply = Supply::Stream(Stream::from(op.next()));
            }
            Supply::Pull => {}
        }
    }

    /// A heartbeat is due.
    pub(crate) fn on_heartbeat(&mut self) {
        self.silence = self.silence.saturating_add(1);
        let waited = self.reading.map(|(from, waited)| (from, waited + 1));
        self.reading = waited.filter(|(_, waited)| *waited < READ_PATIENCE);
    }
}

impl Stream {
    fn from(next: Index) -> Stream {
        Stream { next, window: Window::default() }
    }

    fn add(&mut self, entries: &[Entry]) {
        let Some(last) = entries.last() else { return };
        self.window.add(entries);
        self.next = last.index().next();
    }

    fn on_held(&mut self, op: Index) {
        self.window.remove_through(op);
        self.next = self.next.max(op.next());
    }
}

#[cfg(test)]
mod tests;
