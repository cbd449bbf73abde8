//! Writes on their way to the disk, and what may be said once they are there.

use std::collections::VecDeque;
use std::time::Duration;

use crate::founding::FoundingRecord;
use crate::message::Envelope;
use crate::protocol::Pledge;
use crate::snapshot::SnapshotId;
use crate::types::WriteSeq;

/// What a write promised to make true.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pending<M, G> {
    pub(super) seq: WriteSeq,
    pub(super) begun: Duration,
    pub(super) pledge: Option<G>,
    pub(super) snapshot: Option<SnapshotId>,
    pub(super) founding: Option<FoundingRecord>,
    pub(super) mute: bool,
    pub(super) waiting: Waiting<M>,
}

/// Messages that wait for a write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Waiting<M> {
    /// For its pledge.
    pub(super) sworn: Vec<Envelope<M>>,
    /// For all of it, and all before it.
    pub(super) saved: Vec<Envelope<M>>,
}

impl<M> Waiting<M> {
    pub(super) fn is_empty(&self) -> bool {
        self.sworn.is_empty() && self.saved.is_empty()
    }
}

/// Writes complete in order. What was sworn last and what is on disk of it decides whether the
/// replica may speak under its pledge yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Writes<M, G> {
    next: WriteSeq,
    pending: VecDeque<Pending<M, G>>,
    /// When a write was last saved.
    saved_at: Duration,
    /// As of the last write begun.
    begun_pledge: Option<G>,
    begun_snapshot: Option<SnapshotId>,
    begun_mute: bool,
    /// As of the last write saved or sworn.
    saved_mute: bool,
    /// The pledge of the last write saved.
    saved_pledge: Option<G>,
    /// The pledge of a later write, if that is on disk without the write.
    ahead: Option<(WriteSeq, G)>,
}

impl<M, G: Pledge> Writes<M, G> {
    pub(super) fn new() -> Writes<M, G> {
        Writes {
            next: WriteSeq(1),
            pending: VecDeque::new(),
            saved_at: Duration::ZERO,
            begun_pledge: None,
            begun_snapshot: None,
            begun_mute: false,
            saved_mute: false,
            saved_pledge: None,
            ahead: None,
        }
    }

    /// What the disk holds at the start. A pledge that is `None` here is written again.
    pub(super) fn set_saved(
        &mut self,
        pledge: Option<G>,
        snapshot: Option<SnapshotId>,
        mute: bool,
    ) {
        self.begun_mute = mute;
        self.saved_mute = mute;
        self.begun_pledge = pledge;
        self.saved_pledge = pledge;
        self.begun_snapshot = snapshot;
    }

    /// True if `pledge` promises something which no write has carried yet.
    pub(super) fn is_new_promise(&self, pledge: G) -> bool {
        self.begun_pledge.is_none_or(|begun| begun.promise() != pledge.promise())
    }

    pub(super) fn is_new_snapshot(&self, snapshot: Option<SnapshotId>) -> bool {
        self.begun_snapshot != snapshot
    }

    /// True if everything is on disk, and this is the snapshot that is pointed to there.
    pub(super) fn have_saved(&self, snapshot: SnapshotId) -> bool {
        self.pending.is_empty() && self.begun_snapshot == Some(snapshot)
    }

    pub(super) fn is_new_muteness(&self, mute: bool) -> bool {
        self.begun_mute != mute
    }

    /// True if everything that `pledge` promises is on disk, so that messages may leave which
    /// are said under it.
    pub(super) fn may_speak_under(&self, pledge: G) -> bool {
        self.on_disk().is_some_and(|on_disk| on_disk.promise() == pledge.promise())
    }

    /// Since when what `pledge` promises is on its way to the disk. `None` if it is not.
    pub(super) fn swearing_since(&self, pledge: G) -> Option<Duration> {
        let carries = |write: &&Pending<M, G>| {
            write.pledge.is_some_and(|carried| carried.promise() == pledge.promise())
        };
        self.pending.iter().find(carries).map(|write| write.begun)
    }

    /// True if it is on disk that the replica is mute, in case it is, and nothing else is on its way
    /// there: whoever learns that forgets what it said before, by which it could be found out once
    /// more.
    pub(super) fn may_speak_as(&self, mute: bool) -> bool {
        !mute || self.saved_mute && self.pending.iter().all(|write| write.mute)
    }

    /// What all that is on disk promises.
    fn on_disk(&self) -> Option<G> {
        match self.ahead {
            Some((_, sworn)) => Some(G::joined(self.saved_pledge, sworn)),
            None => self.saved_pledge,
        }
    }

    /// True if a write which is on its way carries this record.
    pub(super) fn carries(&self, record: &FoundingRecord) -> bool {
        self.pending.iter().any(|write| write.founding.as_ref() == Some(record))
    }

    pub(super) fn next_seq(&self) -> WriteSeq {
        self.next
    }

    /// A write begins. `seq` must be [`next_seq`](Writes::next_seq).
    pub(super) fn begin(&mut self, write: Pending<M, G>) {
        assert_eq!(write.seq, self.next, "writes are numbered without gaps");
        self.next = self.next.next();
        self.begun_mute = write.mute;
        if write.pledge.is_some() {
            self.begun_pledge = write.pledge;
            self.begun_snapshot = write.snapshot;
        }
        self.pending.push_back(write);
    }

    /// The write that was begun last, if it is not saved yet.
    pub(super) fn last_pending(&mut self) -> Option<&mut Waiting<M>> {
        self.pending.back_mut().map(|write| &mut write.waiting)
    }

    /// Everything up to `seq` is on disk: what was promised with it, in order.
    pub(super) fn saved(&mut self, now: Duration, seq: WriteSeq) -> Vec<Pending<M, G>> {
        self.saved_at = now;
        let done = self.pending.iter().take_while(|write| write.seq <= seq).count();
        let done: Vec<_> = self.pending.drain(..done).collect();
        for write in &done {
            self.saved_pledge = write.pledge.or(self.saved_pledge);
        }
        self.ahead.take_if(|(ahead, _)| *ahead <= seq);
        if let Some(last) = done.last() {
            // What was sworn ahead was sworn by a replica that knew itself to be mute.
            self.saved_mute = last.mute || (self.ahead.is_some() && self.saved_mute);
        }
        done
    }

    /// The pledge of write `seq` is on disk.
    pub(super) fn sworn(&mut self, seq: WriteSeq) {
        let of_write = self.pending.iter().find(|write| write.seq == seq);
        // Saved meanwhile, if it is not there.
        if let Some(Pending { pledge: Some(sworn), mute, .. }) = of_write {
            self.ahead = Some((seq, *sworn));
            self.saved_mute |= mute;
        }
    }

    /// The messages which wait for nothing but their pledge, if that is on disk.
    pub(super) fn take_sworn(&mut self) -> Vec<Envelope<M>> {
        let Some(on_disk) = self.on_disk() else { return Vec::new() };
        let speaks_mute = self.may_speak_as(true);
        let is_sworn = |write: &&mut Pending<M, G>| {
            write.pledge.is_some_and(|pledge| pledge.promise() == on_disk.promise())
                && (speaks_mute || !write.mute)
        };
        let speaking = self.pending.iter_mut().filter(is_sworn);
        speaking.flat_map(|write| std::mem::take(&mut write.waiting.sworn)).collect()
    }

    /// What waits for writes, or for their pledges, and is void by now is not said any more.
    pub(super) fn withdraw(&mut self, is_void: impl Fn(&Envelope<M>) -> bool) {
        for write in &mut self.pending {
            write.waiting.sworn.retain(|envelope| !is_void(envelope));
            write.waiting.saved.retain(|envelope| !is_void(envelope));
        }
    }

    /// Since when the disk has done nothing though there is something to write.
    pub(super) fn waiting_since(&self) -> Option<Duration> {
        self.pending.front().map(|write| write.begun.max(self.saved_at))
    }
}
