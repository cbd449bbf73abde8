//! What a replica says and writes: one atomic write for all that a batch changed, and what may only
//! be said once that is on disk.

use std::time::Duration;

use super::writes::{Pending, Waiting};
use super::{Formed, NO_PLEDGE, Replica};
use crate::event::Effect;
use crate::log::Log;
use crate::message::{Envelope, Known, PeerMessage};
use crate::protocol::{Input, Pledge, Protocol, Role};
use crate::snapshot::SnapshotMeta;
use crate::types::{Index, NodeId, Now, WriteSeq};
use crate::write::{Disk, Write};

/// Since when a member has said that its disk has room, and when it last did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Roomy {
    since: Duration,
    heard: Duration,
}

impl<P: Protocol> Replica<P> {
    /// Turns what changed in this batch into one write, and sends what need not wait for it.
    ///
    /// No message leaves before the pledge under which it is said is on disk, nor before it is on
    /// disk that this replica is mute: while that is on its way, messages wait for it, whichever way
    /// the protocol posted them.
    pub(super) fn write_and_send(&mut self, now: Now, out: &mut Vec<Effect<P::Message>>) {
        let pledge = self.protocol().map(P::pledge);
        let mute = self.readmitting.is_mute();
        let may_speak = pledge.is_none_or(|pledge| self.writes.may_speak_under(pledge))
            && self.writes.may_speak_as(mute);
        if may_speak {
            out.extend(self.outbox.drain(..).map(Effect::Send));
        } else if pledge.is_some_and(|pledge| self.swears_for_too_long(now, pledge)) {
            // Nobody waits for that any more, and for as long as the disk hangs there is more of it.
            // It is lost, as any message may be.
            self.outbox.clear();
        }
        let mut waiting = Waiting {
            sworn: std::mem::take(&mut self.outbox),
            saved: std::mem::take(&mut self.after_save),
        };
        let is_formed = self.formed.is_some();
        let founding = if is_formed { None } else { self.founding.unsaved().cloned() };
        let snapshot = self.log().and_then(Log::snapshot).cloned();
        let snapshot_id = snapshot.as_ref().map(SnapshotMeta::id);
        let promise = pledge.is_some_and(|pledge| self.writes.is_new_promise(pledge));
        let something_changed = promise
            || self.log().is_some_and(Log::has_unsaved)
            || self.writes.is_new_snapshot(snapshot_id)
            || self.writes.is_new_muteness(mute)
            || self.acquaintances.are_news()
            || founding.as_ref().is_some_and(|record| !self.writes.carries(record));
        if !something_changed {
            if waiting.is_empty() {
                return;
            }
            // What is on its way already is all that they wait for.
            if let Some(last) = self.writes.last_pending() {
                last.sworn.append(&mut waiting.sworn);
                last.saved.append(&mut waiting.saved);
                return;
            }
        }
        let seq = self.writes.next_seq();
        let changes = self
            .formed
            .as_mut()
            .map(|formed| (formed.log.begin_write(seq), formed.log.begin_repairs(seq)));
        let (runs, repairs) = changes.unwrap_or_default();
        self.writes.begin(Pending {
            seq,
            begun: now.monotonic,
            pledge,
            snapshot: snapshot_id,
            founding: founding.clone(),
            mute,
            waiting,
        });
        let write = Write {
            runs,
            repairs,
            pledge: pledge.map_or(NO_PLEDGE, |pledge| pledge.to_bytes()),
            promise,
            snapshot,
            founding,
            mute,
            peers: self.acquaintances.take_news(),
        };
        out.push(Effect::Persist { seq, write });
    }

    pub(super) fn on_saved(&mut self, now: Now, seq: WriteSeq, out: &mut Vec<Effect<P::Message>>) {
        if let Some(formed) = &mut self.formed {
            formed.log.saved(seq);
        }
        self.ask_on_for_repair();
        let mut waited = Vec::new();
        for write in self.writes.saved(now.monotonic, seq) {
            if let Some(record) = write.founding {
                self.on_founding_saved(record, out);
            }
            if write.snapshot.is_some() {
                self.on_pointer_saved(write.snapshot);
                self.mend_by_own_snapshot(out);
            }
            if let Some(formed) = &mut self.formed {
                formed.log.set_mute(write.mute || self.readmitting.is_mute());
            }
            let Waiting { sworn, saved } = write.waiting;
            waited.extend(sworn.into_iter().chain(saved));
        }
        waited.extend(self.writes.take_sworn());
        self.deliver(now, waited, out);
        self.drive(now, Input::Saved, out);
    }

    /// There is no room for a write, but what it swears is on disk.
    pub(super) fn on_sworn(&mut self, now: Now, seq: WriteSeq, out: &mut Vec<Effect<P::Message>>) {
        self.writes.sworn(seq);
        let sworn = self.writes.take_sworn();
        self.deliver(now, sworn, out);
    }

    /// These messages have waited long enough. Some are to this replica itself, and may make it swear a
    /// later promise.
    pub(super) fn deliver(
        &mut self,
        now: Now,
        envelopes: impl IntoIterator<Item = Envelope<P::Message>>,
        out: &mut Vec<Effect<P::Message>>,
    ) {
        let promise = self.promise();
        for envelope in envelopes {
            if self.promise() != promise && Replica::<P>::vouches(&envelope) {
                continue;
            }
            match envelope.message {
                PeerMessage::Protocol(message) if envelope.to == self.me => {
                    let (from, incarnation) = (self.me, self.incarnation);
                    self.drive(now, Input::Message { from, incarnation, message }, out);
                }
                _ => out.push(Effect::Send(envelope)),
            }
        }
    }

    /// Those messages of this replica to itself for which it has sworn enough.
    pub(super) fn take_messages_to_itself(&mut self) -> Vec<Envelope<P::Message>> {
        let me = self.me;
        let pledge = self.protocol().map(P::pledge);
        if pledge.is_some_and(|pledge| self.writes.may_speak_under(pledge)) {
            self.outbox.extract_if(.., |envelope| envelope.to == me).collect()
        } else {
            Vec::new()
        }
    }

    /// Nothing is vouched for that waits for a write, for a pledge alone, or for the end of this batch.
    /// To the others, these are messages that are lost.
    ///
    /// So it is when damage was found, and when a later promise was sworn: after that the log may become
    /// another one. All that changes in a batch is one write, and the disk may be done with several at
    /// once, so what was vouched for before might be said of a log that the disk has not, or no more.
    pub(super) fn take_back_what_is_vouched_for(&mut self) {
        self.writes.withdraw(Replica::<P>::vouches);
        self.outbox.retain(|envelope| !Replica::<P>::vouches(envelope));
        self.after_save.retain(|envelope| !Replica::<P>::vouches(envelope));
    }

    fn promise(&self) -> Option<P::Pledge> {
        self.protocol().map(|protocol| protocol.pledge().promise())
    }

    /// True of what others count on.
    fn vouches(envelope: &Envelope<P::Message>) -> bool {
        match &envelope.message {
            PeerMessage::Protocol(message) => P::vouches(message),
            _ => false,
        }
    }

    pub(super) fn envelope(
        &self,
        to: NodeId,
        message: PeerMessage<P::Message>,
    ) -> Envelope<P::Message> {
        let (from, incarnation) = (self.me, self.incarnation);
        let (start, previous_nonce) = (self.lineage.latest(), self.lineage.previous_nonce());
        let known = self.acquaintances.disk_of(to).map(|disk| self.known(to, disk));
        let has_room = self.has_room && self.log().is_some_and(Log::may_vouch);
        Envelope { from, to, incarnation, start, previous_nonce, known, has_room, message }
    }

    fn known(&self, node: NodeId, disk: Disk) -> Known {
        let formed = self.formed.as_ref();
        let leading = formed.filter(|formed| formed.protocol.standing().role == Role::Leader);
        let acknowledged = leading.and_then(|Formed { protocol, log, .. }| {
            let through = protocol.acknowledged(node, disk.incarnation);
            let last = log.id_at(through).filter(|last| last.index > Index::ZERO)?;
            Some((protocol.standing().ballot, last))
        });
        Known { disk, acknowledged }
    }

    /// Sends at the end of the batch, if nothing has to be saved first.
    pub(super) fn post(&mut self, to: NodeId, message: PeerMessage<P::Message>) {
        let envelope = self.envelope(to, message);
        self.outbox.push(envelope);
    }

    /// True if the disk was given a promise longer ago than an election takes, and has not kept it.
    fn swears_for_too_long(&self, now: Now, pledge: P::Pledge) -> bool {
        let patience = self.settings.election.end;
        let hangs = |since: Duration| now.monotonic.saturating_sub(since) > patience;
        self.writes.swearing_since(pledge).is_some_and(hangs)
    }

    /// A leader whose disk does nothing for longer than an election takes is no use as one, nor is one
    /// whose disk is full for so long while a majority of others have room: where they have not, another
    /// one could not even begin to lead, and this one can be read from.
    pub(super) fn hand_over_if_disk_fails(&mut self, now: Now, out: &mut Vec<Effect<P::Message>>) {
        let patience = self.settings.election.end;
        let is_over = |since: Duration, wait| now.monotonic.saturating_sub(since) > wait;
        let waits_since = if self.has_room {
            self.full_since = None;
            self.writes.waiting_since()
        } else {
            Some(*self.full_since.get_or_insert(now.monotonic))
        };
        let is_no_use = waits_since.is_some_and(|since| is_over(since, patience))
            && (self.has_room || self.others_have_room(now));
        // The next one's disk may be as full: they do not pass it on and on.
        let again = patience * (1 << self.handed_over_full);
        let asked = self.hand_over_since.is_some_and(|since| !is_over(since, again));
        if is_no_use && !asked && self.standing().serving {
            self.hand_over_since = Some(now.monotonic);
            self.handed_over_full = (self.handed_over_full + u32::from(!self.has_room)).min(6);
            self.drive(now, Input::HandOver, out);
        }
    }

    /// True if a majority of the members have had room for a while and are there, without this one.
    fn others_have_room(&self, now: Now) -> bool {
        let Some(log) = self.log() else { return false };
        let patience = self.settings.election.end;
        let ago = |then| now.monotonic.saturating_sub(then);
        let others = log.membership().peers_of(self.me);
        let roomy = others.filter_map(|id| self.roomy.get(&id));
        let lasting =
            roomy.filter(|room| ago(room.since) >= patience && ago(room.heard) < patience);
        lasting.count() >= log.membership().majority()
    }

    /// The listed disk of a member, which counts, has room or has not.
    pub(super) fn on_word_of_room(&mut self, now: Now, from: NodeId, has_room: bool) {
        let heard = now.monotonic;
        if self.has_room {
            return;
        }
        if has_room {
            self.roomy.entry(from).or_insert(Roomy { since: heard, heard }).heard = heard;
        } else {
            self.roomy.remove(&from);
        }
    }
}
