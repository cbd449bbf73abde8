//! Applying entries, taking snapshots, fetching and installing them.

use bytes::Bytes;

use super::Replica;
use super::applying::Next;
use super::fetching::{Fetching, Progress};
use crate::entry::Entry;
use crate::event::{Applied, Effect, Failure, FetchNext, Generation, Reader};
use crate::log::Log;
use crate::message::PeerMessage;
use crate::protocol::{Input, Protocol, Timer};
use crate::snapshot::{SnapshotId, SnapshotMessage, SnapshotMeta};
use crate::types::{Digest, Index, LogTime, NodeId, Now};

/// Feeding the applier.
impl<P: Protocol> Replica<P> {
    pub(super) fn feed_applier(&mut self, out: &mut Vec<Effect<P::Message>>) {
        loop {
            let Some(formed) = &self.formed else { return };
            match self.applying.next(&formed.log, self.settings.apply_bytes) {
                Next::Nothing => return,
                Next::Entries(entries) => self.hand_over(entries, out),
                Next::Cold(from, max_bytes) => {
                    self.applying.set_reading();
                    out.push(Effect::ReadEntries { reader: Reader::Applier, from, max_bytes });
                    return;
                }
            }
        }
    }

    fn hand_over(&mut self, entries: Vec<Entry>, out: &mut Vec<Effect<P::Message>>) {
        if !entries.is_empty() {
            self.applying.hand_over(&entries);
            let generation = self.applying.generation();
            out.push(Effect::Apply { generation, entries });
        }
    }

    pub(super) fn on_read_for_applier(
        &mut self,
        from: Index,
        entries: Vec<Entry>,
        out: &mut Vec<Effect<P::Message>>,
    ) {
        if let Some(formed) = &self.formed {
            let entries = self.applying.on_read(&formed.log, from, entries);
            self.hand_over(entries, out);
        }
    }

    pub(super) fn on_applied(&mut self, applied: Applied) {
        let Applied { generation, through, requests, deadline } = applied;
        // Whatever became of the state since: these requests were executed.
        for request in requests {
            self.requests.end(request);
        }
        let Some(formed) = &mut self.formed else { return };
        if !self.applying.on_applied(generation, through, deadline) {
            return;
        }
        formed.log.set_applied(through);
        if let Some(ballot) = formed.log.ballot_at(through) {
            self.requests.on_applied_ballot(ballot);
        }
    }

    pub(super) fn on_restored(
        &mut self,
        generation: Generation,
        deadline: Option<LogTime>,
        out: &mut Vec<Effect<P::Message>>,
    ) {
        let Some(snapshot) = self.applying.on_restored(generation, deadline) else { return };
        let Some(formed) = &mut self.formed else { return };
        formed.log.set_applied(snapshot.last.index);
        for request in self.requests.sent_through(snapshot.last.ballot) {
            self.fail(request, Failure::Unknown, out);
        }
    }

    pub(super) fn answer_reads(&mut self, out: &mut Vec<Effect<P::Message>>) {
        let Some(formed) = &self.formed else { return };
        if self.applying.is_restoring() {
            return;
        }
        let ready = self.requests.take_ready(formed.log.applied());
        out.extend(ready.into_iter().map(|request| Effect::ReadReady { request }));
    }
}

/// Snapshots of this replica's own.
impl<P: Protocol> Replica<P> {
    pub(super) fn on_snapshot_built(&mut self, now: Now, snapshot: Option<SnapshotMeta>) {
        self.applying.on_built(now.monotonic, snapshot.as_ref());
        self.built = snapshot;
    }

    /// Makes the snapshot that was built the newest one, unless the log has moved past it.
    pub(super) fn point_to_snapshot(&mut self) {
        let Some(formed) = &mut self.formed else { return };
        let Some(built) = &self.built else { return };
        if built.last.index > formed.log.applied() {
            return; // Which its applier is about to say.
        }
        match formed.log.snapshot() {
            Some(newest) if newest.last.index > built.last.index => {}
            Some(newest) if newest.last.index == built.last.index => {
                // What was retained stays so: it is older than both.
                if formed.log.is_unreadable(newest) {
                    formed.log.set_snapshot(built.clone());
                }
            }
            newest => {
                self.retained = newest.cloned();
                formed.log.set_snapshot(built.clone());
            }
        }
        self.built = None;
    }

    /// A chunk of a snapshot that counts cannot be read. Whoever needs the snapshot cannot have it
    /// from here, so another one has to take its place.
    fn on_unreadable(&mut self, now: Now, snapshot: SnapshotId, chunk: u64) {
        let Some(formed) = &mut self.formed else { return };
        let Some(newest) = formed.log.snapshot() else { return };
        if newest.id() != snapshot {
            // The newest one takes its place, unless that is to be replaced itself.
            if !formed.log.is_unreadable(newest) {
                formed.log.set_unreadable(snapshot);
            }
        } else if chunk < newest.chunks() {
            formed.log.set_unreadable(snapshot);
            self.applying.renew_snapshot(snapshot.last.index);
            self.applying.on_snapshot_failed(now.monotonic);
        }
    }

    /// The newest snapshot is pointed to durably: what precedes the one before it may go.
    pub(super) fn on_pointer_saved(&mut self, pointer: Option<SnapshotId>) {
        let Some(formed) = &mut self.formed else { return };
        if formed.log.snapshot().map(SnapshotMeta::id) != pointer {
            return;
        }
        if let Some(retained) = self.retained.take() {
            formed.log.compact(&retained);
        }
    }
}

/// Snapshots of others.
impl<P: Protocol> Replica<P> {
    pub(super) fn fetch_snapshot(
        &mut self,
        now: Now,
        from: NodeId,
        snapshot: SnapshotMeta,
        out: &mut Vec<Effect<P::Message>>,
    ) {
        if let Some(fetching) = &mut self.fetching
            && fetching.id() == snapshot.id()
        {
            let progress = fetching.on_offer(from);
            self.follow(now, progress, out);
            return;
        }
        if !self.fetch_backoff.allows(now.monotonic, snapshot.id()) {
            return;
        }
        self.fetching = Some(Fetching::new(from, snapshot.clone()));
        out.push(Effect::BeginFetch { snapshot });
    }

    pub(super) fn on_fetch_progress(
        &mut self,
        now: Now,
        snapshot: SnapshotId,
        next: FetchNext,
        out: &mut Vec<Effect<P::Message>>,
    ) {
        let Some(fetching) = &mut self.fetching else { return };
        let progress = fetching.on_progress(snapshot, next);
        self.follow(now, progress, out);
    }

    pub(super) fn on_fetch_timeout(&mut self, now: Now, out: &mut Vec<Effect<P::Message>>) {
        let Some(fetching) = &mut self.fetching else { return };
        let progress = fetching.on_timeout();
        self.follow(now, progress, out);
    }

    pub(super) fn on_snapshot_message(
        &mut self,
        now: Now,
        from: NodeId,
        message: SnapshotMessage,
        out: &mut Vec<Effect<P::Message>>,
    ) {
        if let SnapshotMessage::Fetch { snapshot, chunk } = message {
            // Who asks again meanwhile would only be sent it twice; who asks for another one asks
            // again.
            if self.chunks_for.insert(from) {
                out.push(Effect::ReadChunk { to: from, snapshot, chunk });
            }
        } else if let Some(fetching) = &mut self.fetching {
            let progress = fetching.on_message(from, message);
            self.follow(now, progress, out);
        }
    }

    pub(super) fn on_chunk_read(
        &mut self,
        now: Now,
        to: NodeId,
        snapshot: SnapshotId,
        chunk: u64,
        bytes: Option<Bytes>,
    ) {
        self.chunks_for.remove(&to);
        let message = match bytes {
            Some(bytes) => {
                let checksum = Digest::of(&bytes);
                SnapshotMessage::Chunk { snapshot, chunk, checksum, bytes }
            }
            None => {
                self.on_unreadable(now, snapshot, chunk);
                SnapshotMessage::Gone { snapshot }
            }
        };
        self.post(to, PeerMessage::Snapshot(message));
    }

    fn follow(
        &mut self,
        now: Now,
        progress: Progress<P::Message>,
        out: &mut Vec<Effect<P::Message>>,
    ) {
        match progress {
            Progress::None => {}
            Progress::Ask(peer, message) => {
                self.post(peer, PeerMessage::Snapshot(message));
                if let Some(fetching) = &self.fetching {
                    let patience = fetching.patience(&self.settings.election);
                    out.push(Effect::SetTimer(Timer::Fetch, patience));
                }
            }
            Progress::Do(effect) => out.push(effect),
            Progress::GiveUp => {
                if let Some(fetching) = self.fetching.take() {
                    self.fetch_backoff.failed(now.monotonic, fetching.id());
                }
            }
            Progress::Complete(from, snapshot) => {
                self.fetching = None;
                let formed = self.formed.as_mut();
                if formed.is_some_and(|formed| formed.log.adopt(&snapshot)) {
                    self.retained = None;
                    // The state may have gone further, from memory or before the damage.
                    let newest = self.log().and_then(Log::snapshot);
                    let covered = newest.map_or(snapshot.last.index, |newest| newest.last.index);
                    if self.applying.handed_over() < covered {
                        self.restore_snapshot(out);
                    }
                }
                self.drive(now, Input::SnapshotFetched { from, snapshot }, out);
            }
        }
    }

    /// The protocol has put a fetched snapshot under the log: the state follows.
    pub(super) fn restore_snapshot(&mut self, out: &mut Vec<Effect<P::Message>>) {
        let snapshot = self.log().and_then(Log::snapshot).cloned();
        let snapshot = snapshot.expect("a log is rebased on a snapshot");
        self.retained = None;
        let generation = self.applying.restore(snapshot.clone());
        out.push(Effect::Restore { generation, snapshot });
    }
}
