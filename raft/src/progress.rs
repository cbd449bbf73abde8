//! What a leader knows about one follower's log, and what it may send next.

use quorate_core::{Entry, Incarnation, Index, Log, LogId, Settings, SnapshotMeta, Window};

/// After how many heartbeats without a word a follower is no longer sent entries.
const PATIENCE: u32 = 3;

/// For how many heartbeats a follower whose disk is full is sent no entries.
const REST: u32 = 5;

/// After how many heartbeats an unanswered read of old entries is asked for again.
const READ_PATIENCE: u32 = 10;

/// A leader's view of one follower.
///
/// - `matched` < `next` ≤ the log's end + 1;
/// - `matched` never goes back: within a term a follower only cuts off what differs from the
///   leader's log, and what it acknowledged does not. Unless it lost its disk, or a part of it:
///   then it starts over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Progress {
    /// The disk on which it has what it acknowledged.
    incarnation: Option<Incarnation>,
    /// The follower's log agrees up to here, on its disk.
    pub(crate) matched: Index,
    /// The first entry which the next message may carry.
    pub(crate) next: Index,
    pub(crate) state: State,
    /// The latest probe which the follower has answered.
    pub(crate) heard: u64,
    /// How many heartbeats have passed since it last said anything.
    silence: u32,
    /// The highest commit index which it was told.
    pub(crate) told: Index,
    /// Heartbeats since entries that are on disk only were asked for.
    reading: Option<u32>,
}

/// How the follower is sent entries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum State {
    /// It is not known where its log departs from this one. One message at a time.
    Probe {
        /// The answer is awaited; until then, messages carry no entries.
        paused: bool,
    },
    /// It follows: message upon message, before the earlier ones are answered.
    Replicate(Window),
    /// Its disk is full. For this many heartbeats more it gets no entries.
    Full {
        /// Heartbeats to go.
        rest: u32,
    },
    /// What it needs was compacted. It is offered this snapshot until it has it.
    Snapshot(SnapshotMeta),
}

impl Progress {
    /// At the beginning of a term: the follower is presumed to hold all that precedes `next`.
    pub(crate) fn starting_at(next: Index, incarnation: Option<Incarnation>) -> Progress {
        Progress {
            incarnation,
            matched: Index::ZERO,
            next,
            state: State::Probe { paused: false },
            heard: 0,
            silence: 0,
            told: Index::ZERO,
            reading: None,
        }
    }

    /// What it acknowledged, as far as that counts: on the disk which the members list.
    pub(crate) fn counts_under(&self, listed: Option<Incarnation>) -> bool {
        self.incarnation == listed
    }

    /// The follower does not vouch for anything, or not under this incarnation: what it said
    /// before is void.
    pub(crate) fn forget_what_was_said(&mut self, incarnation: Option<Incarnation>) {
        self.incarnation = incarnation;
        self.matched = Index::ZERO;
        self.heard = 0;
    }

    /// True if the follower has spoken in this term, and not long ago.
    pub(crate) fn is_live(&self) -> bool {
        self.heard > 0 && self.silence < PATIENCE
    }

    /// How many bytes of entries the next message may carry; `None` if it may carry none.
    pub(crate) fn room(&mut self, settings: &Settings) -> Option<usize> {
        match &mut self.state {
            State::Probe { paused: false } => Some(settings.append_bytes),
            State::Probe { paused: true } | State::Full { .. } | State::Snapshot(_) => None,
            State::Replicate(window) => window.room(settings),
        }
    }

    /// The name of the entry before `next`, if the log still knows it. If it does not, the
    /// follower needs a snapshot, and the state says so.
    pub(crate) fn previous(&mut self, log: &Log) -> Option<LogId> {
        let previous = log.id_at(self.next.previous());
        match &self.state {
            // A snapshot stays on offer while the log can go on from it: the follower may have
            // fetched half of it. Not if the other half cannot be had.
            State::Snapshot(offered)
                if offered.last.index >= log.base().index && !log.is_unreadable(offered) =>
            {
                return None;
            }
            State::Probe { .. } | State::Replicate(_) | State::Full { .. }
                if previous.is_some() =>
            {
                return previous;
            }
            State::Probe { .. } | State::Replicate(_) | State::Full { .. } | State::Snapshot(_) => {
            }
        }
        let newest = log.snapshot().expect("what is compacted is covered by a snapshot");
        self.state = State::Snapshot(newest.clone());
        None
    }

    /// These entries, which begin at `next`, are on their way.
    pub(crate) fn on_sent(&mut self, entries: &[Entry]) {
        let Some(last) = entries.last() else { return };
        match &mut self.state {
            State::Probe { paused } => *paused = true,
            State::Replicate(window) => {
                window.add(entries);
                self.next = last.index().next();
            }
            State::Full { .. } | State::Snapshot(_) => {
                unreachable!("who has no room or needs a snapshot is not sent entries")
            }
        }
    }

    /// The follower said something, in answer to `probe`.
    pub(crate) fn on_heard(&mut self, probe: u64) {
        self.heard = self.heard.max(probe);
        self.silence = 0;
    }

    /// The follower has everything up to `index` on disk. `base` is where the log begins.
    pub(crate) fn on_durable(&mut self, index: Index, base: Index) {
        self.matched = self.matched.max(index);
        match &mut self.state {
            State::Replicate(window) => window.remove_through(index),
            State::Snapshot(offered) if index >= base || index >= offered.last.index => {
                self.replicate_after(self.matched);
            }
            State::Probe { .. } | State::Full { .. } | State::Snapshot(_) => {}
        }
        self.on_held(index);
    }

    /// The follower holds everything up to `index`.
    pub(crate) fn on_held(&mut self, index: Index) {
        match &self.state {
            State::Probe { .. } if index >= self.next.previous() => self.replicate_after(index),
            State::Snapshot(offered) if index >= offered.last.index => self.replicate_after(index),
            State::Replicate(_) | State::Full { .. } => self.go_to(self.next.max(index.next())),
            State::Probe { .. } | State::Snapshot(_) => {}
        }
    }

    /// The follower, which vouches for nothing, holds everything up to `index`, and has saved it
    /// if it is what it seems. It will never say that this is durable, and gets more all the same.
    pub(crate) fn on_held_by_mute(&mut self, index: Index) {
        if let State::Replicate(window) = &mut self.state {
            window.remove_through(index);
        }
        self.on_held(index);
    }

    /// The follower holds the entry at `previous`, and its disk has no room for more.
    pub(crate) fn on_no_room(&mut self, previous: Index) {
        let current = match &self.state {
            State::Probe { .. } => previous == self.next.previous(),
            State::Replicate(_) => previous < self.next,
            State::Full { .. } | State::Snapshot(_) => false,
        };
        if current && previous >= self.matched {
            self.go_to(previous.next());
            self.state = State::Full { rest: REST };
        }
    }

    /// The follower does not hold the entry at `previous`; from `hint` on backwards it may agree.
    pub(crate) fn on_conflict(&mut self, previous: Index, hint: LogId, log: &Log) {
        let current = match &self.state {
            // An answer to anything but the latest question was overtaken by another one.
            State::Probe { .. } => previous == self.next.previous(),
            State::Replicate(_) => previous < self.next,
            State::Full { .. } | State::Snapshot(_) => false,
        };
        if !current || previous <= self.matched {
            return;
        }
        let not_later = log.first_with_ballot_from(hint.ballot.next()).previous();
        let may_agree = not_later.min(hint.index).min(previous.previous()).max(self.matched);
        self.go_to(may_agree.next());
        self.state = State::Probe { paused: false };
    }

    /// A heartbeat is due: what was lost is noticed here.
    pub(crate) fn on_heartbeat(&mut self) {
        self.silence = self.silence.saturating_add(1);
        let silent = self.silence > PATIENCE;
        match &mut self.state {
            // `next` stays: the follower says by itself what it lacks, when it speaks again.
            State::Replicate(_) if silent => self.state = State::Probe { paused: true },
            State::Full { rest: 0 } => self.state = State::Probe { paused: false },
            State::Full { rest } => *rest -= 1,
            // An answer to the heartbeat itself tells what is to be sent.
            State::Probe { .. } | State::Replicate(_) | State::Snapshot(_) => {}
        }
        self.reading = self.reading.map(|waited| waited + 1).filter(|&n| n < READ_PATIENCE);
    }

    /// Entries from `next` on are to be read from disk. True if they should be asked for.
    pub(crate) fn start_reading(&mut self) -> bool {
        let idle = self.reading.is_none();
        self.reading = self.reading.or(Some(0));
        idle
    }

    /// Entries were read from disk. True if they are those which the follower needs next, as
    /// the log holds them. `next` must not be compacted: of that, the log could not tell.
    pub(crate) fn on_read(&mut self, entries: &[Entry], log: &Log) -> bool {
        let Some(first) = entries.first() else {
            return false; // Asked for again when the wait for them is over.
        };
        self.reading = None;
        let wanted = match &self.state {
            State::Probe { .. } | State::Replicate(_) => first.index() == self.next,
            State::Full { .. } | State::Snapshot(_) => false,
        };
        let indexes = std::iter::successors(Some(self.next), |index| Some(index.next()));
        let is_held =
            |(entry, index): (&Entry, Index)| entry.index() == index && log.holds(entry.id);
        wanted && entries.iter().zip(indexes).all(is_held)
    }

    fn replicate_after(&mut self, index: Index) {
        self.go_to(index.next());
        self.state = State::Replicate(Window::default());
    }

    fn go_to(&mut self, next: Index) {
        if next != self.next {
            self.next = next;
            self.reading = None;
        }
    }
}

#[cfg(test)]
mod tests;
