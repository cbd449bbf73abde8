//! How a damaged log is made whole: peers give back what this disk cannot.
//!
//! Every entry names the digest of the one before it, so a replica which knows one entry knows, by
//! name, all that precede it. It asks its peers, one after the other, for entries that end with
//! the one it knows, checks the chain, and goes on from the parent of the first that it got.
//! A peer that has compacted them offers its snapshot instead. If nobody can help, as when those who
//! could are down, a snapshot of its own that covers what is missing does: the replica could not
//! stand for leader without, and might be the only one left that has all of it.
//!
//! Until then nothing is forgotten: see [`Log::is_whole`](crate::Log::is_whole). Only if the leader
//! of the day says that its own log does not hold the entry, and what is missing is not known to be
//! committed, it is cut off, as whatever contradicts the leader's log is.

use std::collections::{BTreeMap, btree_map};

use serde::{Deserialize, Serialize};

use super::{Formed, Replica};
use crate::entry::Entry;
use crate::event::{Effect, Fatal, Reader};
use crate::log::{Log, Rejected};
use crate::message::PeerMessage;
use crate::protocol::{Protocol, Role, Standing, Timer};
use crate::snapshot::SnapshotMeta;
use crate::types::{Ballot, Digest, Index, NodeId, Now};
use crate::write::Gap;

/// What replicas say to each other about damage.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Repair {
    /// Give me your entries from `first` on, up to the one at `last` with this digest.
    Want {
        /// The first that is asked for.
        first: Index,
        /// The last.
        last: Index,
        /// The digest of the last.
        digest: Digest,
    },
    /// Here they are, or as many of them as fit into a message, from the first on.
    Entries {
        /// The entries.
        entries: Vec<Entry>,
    },
    /// They are compacted: here is a snapshot that covers them, to be fetched.
    Compacted {
        /// The snapshot.
        snapshot: SnapshotMeta,
    },
    /// The sender leads in this ballot, and its log does not hold the last of them.
    Lacks {
        /// The ballot in which the sender leads.
        ballot: Ballot,
        /// The last index that was asked for.
        last: Index,
        /// The digest that was asked for.
        digest: Digest,
    },
}

/// How many entries are asked for at once.
const SPAN: u64 = 64;

/// How many answers may wait for the disk before more is asked for: each is as long as a message.
const MAX_UNSAVED: usize = 16;

/// Where the repair of this log stands, and what peers are being helped with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Repairing {
    /// How many times somebody was asked: each time it is the next one's turn.
    turn: usize,
    /// How many entries to ask for; 0: not asked yet.
    span: u64,
    timer_is_set: bool,
    /// How many times in a row somebody was asked in vain.
    in_vain: usize,
    /// True if nobody was asked since the disk has enough to write.
    waits_for_disk: bool,
    /// Where the search for damage goes on.
    scrubbed_to: Index,
    /// What is being read from disk for peers: for each, what it has asked for.
    pub(super) helping: BTreeMap<NodeId, (Index, Digest)>,
}

impl<P: Protocol> Replica<P> {
    /// Parts of the log cannot be read from this disk any more. What is about to be acknowledged
    /// may stand behind them, whether it waits for a write, for a pledge alone, or for the end of
    /// this batch: it is not said. A vote is withdrawn with it, which is no more than a vote that
    /// is lost on the way.
    pub(super) fn on_damaged(&mut self, gaps: Vec<Gap>, out: &mut Vec<Effect<P::Message>>) {
        let Some(formed) = &mut self.formed else { return };
        gaps.into_iter().for_each(|gap| formed.log.note_damage(gap));
        if !formed.log.is_whole() {
            self.take_back_what_is_vouched_for();
        }
        self.mend_by_own_snapshot(out);
    }

    /// What the replica's own snapshot covers is not missed, and of what it has executed it can
    /// take one. A cluster of a single member has nobody else to ask: anything else is lost. Others
    /// ask their peers first, since that keeps the log, and a snapshot may turn out to be damaged.
    pub(super) fn mend_by_own_snapshot(&mut self, out: &mut Vec<Effect<P::Message>>) {
        let Some(Formed { log, .. }) = &mut self.formed else { return };
        let Some(end) = log.gaps().last().map(|gap| gap.last) else { return };
        let members = log.membership().len();
        if self.repairing.in_vain + 1 < members {
            return;
        }
        if self.can_do_without(end) {
            self.compact_through(end);
        } else if members == 1 {
            self.stop(Fatal::LostAlone, out);
        }
    }

    /// True if the state up to `index` is on this disk, or will be.
    fn can_do_without(&self, index: Index) -> bool {
        let own = self.log().and_then(Log::snapshot);
        own.is_some_and(|snapshot| index <= snapshot.last.index)
            || index <= self.applying.handed_over()
    }

    /// Compacts the log up to `index` at least, once its own snapshot covers that.
    fn compact_through(&mut self, index: Index) {
        let Some(Formed { log, .. }) = &mut self.formed else { return };
        let covers = |snapshot: &&SnapshotMeta| index <= snapshot.last.index;
        let Some(snapshot) = log.snapshot().filter(covers).cloned() else {
            return self.applying.renew_snapshot(index);
        };
        // Nothing is acknowledged on the strength of a snapshot that a restart may not find.
        if self.writes.have_saved(snapshot.id()) {
            log.compact(&snapshot);
            self.retained = None;
            self.repairing.in_vain = 0;
        }
    }

    /// Has a part of the log read back. One at a time: the next one waits for its answer.
    pub(super) fn scrub(&mut self, out: &mut Vec<Effect<P::Message>>) {
        let Some(log) = self.log() else { return };
        let from = self.repairing.scrubbed_to.max(log.base().index.next());
        // What is not committed is in memory still, and may yet be cut off.
        let from = if from > log.committed() { log.base().index.next() } else { from };
        out.push(Effect::Scrub { from, max_bytes: self.settings.append_bytes });
    }

    pub(super) fn on_scrubbed(&mut self, next: Index, out: &mut Vec<Effect<P::Message>>) {
        self.repairing.scrubbed_to = next;
        self.mend_by_own_snapshot(out);
        let interval = self.settings.scrub_interval;
        out.push(Effect::SetTimer(Timer::Scrub, interval..interval + interval / 8));
    }

    /// Sees to it that somebody is asked for what is missing.
    pub(super) fn see_to_repairs(&mut self, out: &mut Vec<Effect<P::Message>>) {
        let is_missing = self.log().is_some_and(|log| !log.gaps().is_empty());
        if is_missing && !self.repairing.timer_is_set {
            self.repairing.timer_is_set = true;
            out.push(Effect::SetTimer(Timer::Repair, self.resend_interval()));
            self.ask_for_repair();
        }
    }

    pub(super) fn on_repair_timeout(&mut self, out: &mut Vec<Effect<P::Message>>) {
        self.repairing.timer_is_set = false;
        self.repairing.turn += 1;
        if !self.repairing.waits_for_disk && self.fetching.is_none() {
            self.repairing.in_vain += 1;
            self.mend_by_own_snapshot(out);
        }
    }

    /// Something was saved: more may be asked for.
    pub(super) fn ask_on_for_repair(&mut self) {
        if self.repairing.waits_for_disk {
            self.ask_for_repair();
        }
    }

    /// Asks the peer whose turn it is for the end of the first gap.
    fn ask_for_repair(&mut self) {
        let Some(formed) = &self.formed else { return };
        let Some(gap) = formed.log.gaps().first() else { return };
        let covered = |fetching: &super::Fetching| fetching.id().last.index >= gap.first;
        if self.fetching.as_ref().is_some_and(covered) {
            return;
        }
        self.repairing.waits_for_disk = formed.log.unsaved_repairs() >= MAX_UNSAVED;
        if self.repairing.waits_for_disk {
            return;
        }
        if self.repairing.span == 0 {
            self.repairing.span = SPAN;
        }
        let from = gap.last.0.saturating_sub(self.repairing.span - 1);
        let first = gap.first.max(Index(from));
        let want = Repair::Want { first, last: gap.last, digest: gap.digest };
        let peers: Vec<NodeId> = formed.log.membership().peers_of(self.me).collect();
        if let Some(peer) = peers.get(self.repairing.turn % peers.len().max(1)) {
            self.post(*peer, PeerMessage::Repair(want));
        }
    }

    pub(super) fn on_repair(
        &mut self,
        now: Now,
        from: NodeId,
        message: Repair,
        out: &mut Vec<Effect<P::Message>>,
    ) {
        match message {
            Repair::Want { first, last, digest } => self.on_want(from, first, last, digest, out),
            Repair::Entries { entries } => self.on_repair_entries(entries),
            Repair::Compacted { snapshot } => {
                let Some(log) = self.log() else { return };
                let helps = log.gaps().first().is_some_and(|gap| gap.first <= snapshot.last.index);
                let is_possible =
                    !log.rules_out(&snapshot) && snapshot.last.ballot <= self.standing().ballot;
                if helps && is_possible {
                    self.fetch_snapshot(now, from, snapshot, out);
                }
            }
            Repair::Lacks { ballot, last, digest } => self.on_lacks(from, ballot, last, digest),
        }
    }

    fn on_repair_entries(&mut self, entries: Vec<Entry>) {
        let Some(formed) = &mut self.formed else { return };
        let Some(gap) = formed.log.gaps().first().cloned() else { return };
        let Some(last) = entries.last().map(Entry::index) else { return };
        if last < gap.last {
            // Not all of them fitted into a message: the end of a shorter stretch will.
            let shorter = entries.len() as u64;
            self.repairing.span = self.repairing.span.min(shorter).max(1);
            return self.ask_for_repair();
        }
        match formed.log.repair(entries) {
            Ok(()) => {
                self.repairing.in_vain = 0;
                self.repairing.span = SPAN;
                self.ask_for_repair();
            }
            // What the log holds below is lost as well, whatever is known of the gap itself.
            Err(Rejected::Diverged(_)) => self.give_up(&Gap { ids_known: false, ..gap }),
            Err(_) => self.ignored.untimely += 1,
        }
    }

    /// The leader's log does not hold what is missing in this one.
    fn on_lacks(&mut self, from: NodeId, ballot: Ballot, last: Index, digest: Digest) {
        let standing = self.standing();
        let Some(formed) = &self.formed else { return };
        let is_meant = |gap: &&Gap| gap.last == last && gap.digest == digest;
        // Of what precedes a later one, not even a name may be known.
        let gap = formed.log.gaps().first().filter(is_meant);
        let is_leaders = standing.leader == Some(from) && standing.ballot == ballot;
        if let Some(gap) = gap.cloned().filter(|_| is_leaders) {
            self.give_up(&gap);
        }
    }

    /// Cuts off a gap that contradicts the leader's log. What this replica may have acknowledged
    /// without knowing its name makes it mute.
    fn give_up(&mut self, gap: &Gap) {
        let Some(Formed { log, .. }) = &mut self.formed else { return };
        let committed = log.committed();
        if gap.first <= committed {
            // That part nobody gives back by this name, and the state covers it. Then what is left
            // is asked for.
            if self.can_do_without(committed) {
                self.compact_through(committed);
            }
            return;
        }
        if log.give_up(gap) {
            self.fall_mute();
        }
    }
}

/// Helping others.
impl<P: Protocol> Replica<P> {
    fn on_want(
        &mut self,
        from: NodeId,
        first: Index,
        last: Index,
        digest: Digest,
        out: &mut Vec<Effect<P::Message>>,
    ) {
        let max_bytes = self.settings.append_bytes;
        let Some(log) = self.log() else { return };
        if first > last || first == Index::ZERO {
            self.ignored.untimely += 1;
        } else if log.is_missing(first) {
            // It is the next one's turn then. This disk is known not to hold what is asked for.
        } else if last > log.last().index {
            self.say_that_it_lacks(from, last, digest);
        } else if first <= log.base().index {
            let readable = log.snapshot().filter(|newest| !log.is_unreadable(newest));
            if let Some(snapshot) = readable.cloned() {
                self.post(from, PeerMessage::Repair(Repair::Compacted { snapshot }));
            }
        } else if let Some(entries) = log.entries(first, max_bytes) {
            self.help(from, last, digest, entries);
        } else if let btree_map::Entry::Vacant(idle) = self.repairing.helping.entry(from) {
            idle.insert((last, digest));
            out.push(Effect::ReadEntries { reader: Reader::Repair(from), from: first, max_bytes });
        }
    }

    /// Entries were read for a peer whose log is damaged. What of them was cut off or compacted
    /// meanwhile says nothing of this log.
    pub(super) fn on_read_for_repair(&mut self, to: NodeId, mut entries: Vec<Entry>) {
        let asked = self.repairing.helping.remove(&to);
        let Some(((last, digest), log)) = asked.zip(self.log()) else { return };
        let base = log.base().index;
        let is_held = |entry: &&Entry| entry.index() > base && log.holds(entry.id);
        let held = entries.iter().take_while(is_held).count();
        entries.truncate(held);
        self.help(to, last, digest, entries);
    }

    fn help(&mut self, to: NodeId, last: Index, digest: Digest, mut entries: Vec<Entry>) {
        entries.retain(|entry| entry.index() <= last);
        match entries.last() {
            None => {}
            Some(end) if end.index() == last && end.digest() != digest => {
                self.say_that_it_lacks(to, last, digest);
            }
            Some(_) => self.post(to, PeerMessage::Repair(Repair::Entries { entries })),
        }
    }

    /// Only of a leader's log does anything follow. Whoever is about to lead may say it no sooner
    /// than it does: until then its log may yet become another one, in the same ballot.
    fn say_that_it_lacks(&mut self, to: NodeId, last: Index, digest: Digest) {
        let Standing { role, ballot, .. } = self.standing();
        if role == Role::Leader {
            self.post(to, PeerMessage::Repair(Repair::Lacks { ballot, last, digest }));
        }
    }
}
