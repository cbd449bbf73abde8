//! A snapshot on its way from a peer to this disk, chunk after chunk.

use std::ops::Range;
use std::time::Duration;

use crate::event::{Effect, FetchNext};
use crate::snapshot::{SnapshotId, SnapshotMessage, SnapshotMeta};
use crate::types::{Digest, NodeId};

/// One snapshot that is being pulled. At most one chunk is on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Fetching {
    snapshot: SnapshotMeta,
    from: NodeId,
    /// The chunk that was asked for; `None` while the disk is at work.
    awaited: Option<u64>,
    /// How often it was asked for since the source gave the last one.
    unanswered: u32,
    /// How often the wait for an answer was doubled. It takes its time to get back: a link on which
    /// one chunk was slow is as slow for the next one.
    doublings: u32,
}

/// A chunk may be on its way for longer than an election takes. Asked for again meanwhile, it would
/// be sent once more, behind itself.
const MOST_DOUBLINGS: u32 = 5;

/// After so many questions without an answer, the source is given up: it may be gone for good, and
/// others have the snapshot, or a later one. What is here of it stays.
const MOST_UNANSWERED: u32 = 5;

/// What came of an input.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Progress<M> {
    /// Nothing to do.
    None,
    /// Ask the source for this.
    Ask(NodeId, SnapshotMessage),
    /// Have the shell do this.
    Do(Effect<M>),
    /// The snapshot is on this disk, complete.
    Complete(NodeId, SnapshotMeta),
    /// Give up; the protocol asks again if it still needs one.
    GiveUp,
}

impl Fetching {
    pub(super) fn new(from: NodeId, snapshot: SnapshotMeta) -> Fetching {
        Fetching { snapshot, from, awaited: None, unanswered: 0, doublings: 0 }
    }

    pub(super) fn id(&self) -> SnapshotId {
        self.snapshot.id()
    }

    /// How long to wait for the chunk that was asked for before it is asked for again.
    pub(super) fn patience(&self, election: &Range<Duration>) -> Range<Duration> {
        let factor = 1 << self.doublings;
        election.start.saturating_mul(factor)..election.end.saturating_mul(factor)
    }

    /// The same bytes can be had from `from`. A source that answers is kept.
    pub(super) fn on_offer<M>(&mut self, from: NodeId) -> Progress<M> {
        if self.from == from || self.unanswered == 0 {
            return Progress::None;
        }
        self.from = from;
        self.unanswered = 0;
        self.doublings = 0;
        self.awaited.map_or(Progress::None, |chunk| self.ask(chunk))
    }

    pub(super) fn on_progress<M>(&mut self, snapshot: SnapshotId, next: FetchNext) -> Progress<M> {
        if snapshot != self.id() {
            return Progress::None;
        }
        match next {
            FetchNext::Chunk(chunk) => {
                self.awaited = Some(chunk);
                self.ask(chunk)
            }
            FetchNext::Complete => Progress::Complete(self.from, self.snapshot.clone()),
            FetchNext::Failed => Progress::GiveUp,
        }
    }

    pub(super) fn on_message<M>(&mut self, from: NodeId, message: SnapshotMessage) -> Progress<M> {
        match message {
            SnapshotMessage::Chunk { snapshot, chunk, checksum, bytes } => {
                let expected = snapshot == self.id() && self.awaited == Some(chunk);
                let whole = bytes.len() as u64 == self.snapshot.chunk_bytes(chunk);
                if !expected || !whole || Digest::of(&bytes) != checksum {
                    return Progress::None;
                }
                self.awaited = None;
                self.unanswered = 0;
                self.doublings = self.doublings.saturating_sub(1);
                Progress::Do(Effect::WriteChunk { snapshot, chunk, bytes })
            }
            // A source that was too slow may say so when another one is being asked. Its chunks are as
            // good as any.
            SnapshotMessage::Gone { snapshot } if snapshot == self.id() && from == self.from => {
                Progress::GiveUp
            }
            SnapshotMessage::Gone { .. } | SnapshotMessage::Fetch { .. } => Progress::None,
        }
    }

    /// The chunk that was asked for seems lost.
    pub(super) fn on_timeout<M>(&mut self) -> Progress<M> {
        let Some(chunk) = self.awaited else { return Progress::None };
        self.unanswered += 1;
        self.doublings = (self.doublings + 1).min(MOST_DOUBLINGS);
        if self.unanswered >= MOST_UNANSWERED { Progress::GiveUp } else { self.ask(chunk) }
    }

    fn ask<M>(&self, chunk: u64) -> Progress<M> {
        Progress::Ask(self.from, SnapshotMessage::Fetch { snapshot: self.id(), chunk })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::membership::Membership;
    use crate::types::{Ballot, Index, LogId, LogTime};

    const SOURCE: NodeId = NodeId(1);
    const OTHER: NodeId = NodeId(2);

    fn meta() -> SnapshotMeta {
        SnapshotMeta {
            last: LogId::new(Index(9), Ballot(2)),
            digest: Digest::ZERO,
            membership: Membership::default(),
            time: LogTime(0),
            size_bytes: SnapshotMeta::CHUNK_BYTES + 3,
            content: Digest::of(b"content"),
        }
    }

    /// As long as the other one.
    fn another() -> SnapshotMeta {
        SnapshotMeta { digest: Digest::of(b"another"), content: Digest::ZERO, ..meta() }
    }

    fn gone(meta: &SnapshotMeta) -> SnapshotMessage {
        SnapshotMessage::Gone { snapshot: meta.id() }
    }

    fn chunk(number: u64, bytes: &'static [u8]) -> SnapshotMessage {
        let bytes = Bytes::from_static(bytes);
        let checksum = Digest::of(&bytes);
        SnapshotMessage::Chunk { snapshot: meta().id(), chunk: number, checksum, bytes }
    }

    #[test]
    fn a_chunk_is_stored_once_and_only_if_it_is_the_one_asked_for() {
        let mut fetching = Fetching::new(SOURCE, meta());
        let next = fetching.on_progress::<()>(meta().id(), FetchNext::Chunk(1));
        let ask = SnapshotMessage::Fetch { snapshot: meta().id(), chunk: 1 };
        assert_eq!(next, Progress::Ask(SOURCE, ask.clone()));
        assert_eq!(fetching.on_message::<()>(SOURCE, chunk(0, b"abc")), Progress::None);
        assert_eq!(fetching.on_message::<()>(SOURCE, chunk(1, b"short?")), Progress::None);
        assert_eq!(fetching.on_timeout::<()>(), Progress::Ask(SOURCE, ask));
        assert!(matches!(fetching.on_message::<()>(SOURCE, chunk(1, b"abc")), Progress::Do(_)));
        assert_eq!(fetching.on_message::<()>(SOURCE, chunk(1, b"abc")), Progress::None);
        assert_eq!(fetching.on_timeout::<()>(), Progress::None);
        let complete = fetching.on_progress::<()>(meta().id(), FetchNext::Complete);
        assert_eq!(complete, Progress::Complete(SOURCE, meta()));
    }

    #[test]
    fn a_source_that_has_it_no_more_is_given_up_and_what_is_said_of_another_snapshot_is_not_heard()
    {
        let mut fetching = Fetching::new(SOURCE, meta());
        assert_ne!(another().id(), meta().id());
        assert_eq!(fetching.on_message::<()>(SOURCE, gone(&another())), Progress::None);
        assert_eq!(fetching.on_message::<()>(SOURCE, gone(&meta())), Progress::GiveUp);
    }

    #[test]
    fn what_becomes_of_the_snapshot_that_was_fetched_before_says_nothing_of_this_one() {
        let mut fetching = Fetching::new(SOURCE, meta());
        for next in [FetchNext::Complete, FetchNext::Failed, FetchNext::Chunk(0)] {
            assert_eq!(fetching.on_progress::<()>(another().id(), next), Progress::None);
        }
        assert_eq!(fetching.on_timeout::<()>(), Progress::None, "nothing was asked for");
        fetching.on_progress::<()>(meta().id(), FetchNext::Chunk(1));
        let SnapshotMessage::Chunk { chunk, checksum, bytes, .. } = chunk(1, b"abc") else {
            unreachable!()
        };
        let late = SnapshotMessage::Chunk { snapshot: another().id(), chunk, checksum, bytes };
        assert_eq!(fetching.on_message::<()>(SOURCE, late), Progress::None);
        assert!(matches!(fetching.on_timeout::<()>(), Progress::Ask(..)), "it is waited for");
    }

    #[test]
    fn a_source_that_is_not_asked_any_more_may_still_give_a_chunk_and_does_not_end_the_fetch() {
        let mut fetching = Fetching::new(SOURCE, meta());
        fetching.on_progress::<()>(meta().id(), FetchNext::Chunk(1));
        fetching.on_timeout::<()>();
        assert!(matches!(fetching.on_offer::<()>(OTHER), Progress::Ask(OTHER, _)));
        assert_eq!(fetching.on_message::<()>(SOURCE, gone(&meta())), Progress::None);
        assert!(matches!(fetching.on_message::<()>(SOURCE, chunk(1, b"abc")), Progress::Do(_)));
        assert_eq!(fetching.on_message::<()>(OTHER, gone(&meta())), Progress::GiveUp);
    }

    #[test]
    fn a_source_that_does_not_answer_is_given_up_and_one_that_does_is_not() {
        let mut fetching = Fetching::new(SOURCE, meta());
        fetching.on_progress::<()>(meta().id(), FetchNext::Chunk(0));
        let asks = |fetching: &mut Fetching| {
            (1..MOST_UNANSWERED).all(|_| matches!(fetching.on_timeout::<()>(), Progress::Ask(..)))
        };
        assert!(asks(&mut fetching));
        let first = Bytes::from(vec![0; SnapshotMeta::CHUNK_BYTES as usize]);
        let checksum = Digest::of(&first);
        let (snapshot, chunk) = (meta().id(), 0);
        let answer = SnapshotMessage::Chunk { snapshot, chunk, checksum, bytes: first };
        assert!(matches!(fetching.on_message::<()>(SOURCE, answer), Progress::Do(_)));
        fetching.on_progress::<()>(meta().id(), FetchNext::Chunk(1));
        assert!(asks(&mut fetching));
        let turns_to = fetching.on_offer::<()>(OTHER);
        assert!(matches!(turns_to, Progress::Ask(OTHER, _)));
        assert_eq!(fetching.on_offer::<()>(SOURCE), Progress::None);
        let election = Duration::from_millis(200)..Duration::from_millis(400);
        assert_eq!(fetching.patience(&election), election, "how slow it is nobody knows");
        assert!(asks(&mut fetching), "another one has its own time");
        assert_eq!(fetching.on_timeout::<()>(), Progress::GiveUp);
    }

    #[test]
    fn over_a_slow_link_each_chunk_is_had_and_is_asked_for_a_few_times_at_most() {
        let mut fetching = Fetching::new(SOURCE, meta());
        let election = Duration::from_millis(200)..Duration::from_millis(400);
        let whole = Bytes::from(vec![0; SnapshotMeta::CHUNK_BYTES as usize]);
        let mut asked = Vec::new();
        for _ in 0..4 {
            // The first answer arrives after three seconds.
            fetching.on_progress::<()>(meta().id(), FetchNext::Chunk(0));
            let (mut waited, mut questions) = (Duration::ZERO, 1);
            loop {
                waited += fetching.patience(&election).start;
                if waited >= Duration::from_secs(3) {
                    break;
                }
                assert!(matches!(fetching.on_timeout::<()>(), Progress::Ask(..)), "{waited:?}");
                questions += 1;
            }
            asked.push(questions);
            let (snapshot, checksum) = (meta().id(), Digest::of(&whole));
            let answer =
                SnapshotMessage::Chunk { snapshot, chunk: 0, checksum, bytes: whole.clone() };
            assert!(matches!(fetching.on_message::<()>(SOURCE, answer), Progress::Do(_)));
        }
        assert_eq!(asked, [4, 3, 2, 2]);
    }

    #[test]
    fn a_damaged_chunk_is_not_stored() {
        let mut fetching = Fetching::new(SOURCE, meta());
        fetching.on_progress::<()>(meta().id(), FetchNext::Chunk(1));
        let SnapshotMessage::Chunk { snapshot, chunk, checksum, .. } = chunk(1, b"abc") else {
            unreachable!()
        };
        let bytes = Bytes::from_static(b"abd");
        let damaged = SnapshotMessage::Chunk { snapshot, chunk, checksum, bytes };
        assert_eq!(fetching.on_message::<()>(SOURCE, damaged), Progress::None);
    }
}
