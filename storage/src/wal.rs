//! The log as a state machine: writes in, steps for the disk out.
//!
//! At most one job is on its way. While it is, writes queue up, and the next job takes them all:
//! one group, one sync. That is the group commit.

mod batch;
mod rooms;
mod swearing;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_core::{Digest, LogId, PledgeBytes, SnapshotId, SnapshotMeta, Write, WriteSeq};

use crate::error::StorageError;
use crate::frame::{BLOCK, Cuts, Encoded, Header, Place, RunHeader};
use crate::group;
use crate::index::{GroupAt, LogIndex};
use crate::job::{Done, Job, Outcome, Step};
use crate::meta::Meta;
use crate::segment;
use crate::store::StoreOptions;
use batch::Batch;
use rooms::{Preparation, Rooms};

/// Everything the log on disk is made of, but the disk.
#[derive(Debug)]
pub(crate) struct Wal {
    options: StoreOptions,
    store: Digest,
    meta: Meta,
    rooms: Rooms,
    head: Head,
    index: Arc<Mutex<LogIndex>>,
    queue: VecDeque<(WriteSeq, Write)>,
    /// The last write whose pledge was sworn ahead of those before it.
    ahead: Option<WriteSeq>,
    is_busy: bool,
    poison: Option<StorageError>,
    /// The snapshots to which a group points that was written since somebody asked.
    pointed_to: Option<Vec<SnapshotId>>,
}

/// The state as of the last group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// The segment and offset behind the last group; `None` before the first.
    pub(crate) position: Option<(u64, u64)>,
    pub(crate) sequence: u64,
    /// Digest of the header of the last group.
    pub(crate) digest: Digest,
    /// The last group holds nothing of its own, it vouches for the one before.
    pub(crate) is_attest: bool,
    pub(crate) pledge: Option<PledgeBytes>,
    /// Where the log ends.
    pub(crate) last: LogId,
    pub(crate) last_digest: Digest,
    pub(crate) cuts: Cuts,
    pub(crate) snapshot: Option<SnapshotMeta>,
    pub(crate) older: Option<SnapshotMeta>,
}

/// A group on its way to the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    head: Head,
    at: GroupAt,
    runs: Vec<RunHeader>,
}

/// A log as it was found, ready to be continued.
#[derive(Debug)]
pub(crate) struct Continued {
    pub(crate) meta: Meta,
    pub(crate) head: Head,
    pub(crate) index: LogIndex,
    /// Registered segments: length, and sequence of the first group.
    pub(crate) segments: BTreeMap<u64, rooms::Segment>,
    /// Segments that are no longer part of the log.
    pub(crate) spares: Vec<rooms::Spare>,
    /// No group goes into segments up to this one any more: they are damaged.
    pub(crate) closed_through: u64,
}

pub(crate) use rooms::{Segment, Spare};

impl Wal {
    pub(crate) fn new(options: StoreOptions, found: Continued) -> Wal {
        let Continued { meta, head, index, segments, spares, closed_through } = found;
        Wal {
            options,
            store: meta.store_id(),
            rooms: Rooms::new(segments, spares, closed_through),
            meta,
            head,
            index: Arc::new(Mutex::new(index)),
            queue: VecDeque::new(),
            ahead: None,
            is_busy: false,
            poison: None,
            pointed_to: None,
        }
    }

    pub(crate) fn index(&self) -> Arc<Mutex<LogIndex>> {
        self.index.clone()
    }

    pub(crate) fn store_id(&self) -> Digest {
        self.store
    }

    pub(crate) fn enqueue(&mut self, seq: WriteSeq, write: Write) {
        let last = self.queue.back();
        assert!(last.is_none_or(|(last, _)| *last < seq), "writes are numbered in their order");
        self.queue.push_back((seq, write));
    }

    pub(crate) fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The next group with everything that is queued, up to the cap. If there is no room for
    /// any: what can do without.
    pub(crate) fn prepare(&mut self) -> Result<Option<Job>, StorageError> {
        self.check_idle()?;
        let mut count = batch::count_within(&self.queue, self.group_cap());
        while count > 0 {
            let batch = self.batch(count);
            if let Some(job) = self.job_for(&batch)? {
                self.queue.drain(..count);
                return Ok(Some(job));
            }
            // What is small may fit where everything together does not.
            count /= 2;
        }
        self.swear()
    }

    /// An empty group which vouches for the last one, if nothing does yet. On a full disk the meta
    /// file does, which needs no room: what is left is for what was admitted, be that on its way.
    pub(crate) fn attest(&mut self) -> Result<Option<Job>, StorageError> {
        self.check_idle()?;
        if self.head.is_attest || self.meta.durable_through == self.head.sequence {
            return Ok(None);
        }
        if self.rooms.is_out_of_room() {
            return self.meta_job(self.meta.clone()).map(Some);
        }
        if !self.queue.is_empty() {
            return Ok(None);
        }
        let Some(pledge) = self.head.pledge else { return Ok(None) };
        let head = Head { is_attest: true, ..self.head.clone() };
        let Some((written, steps)) = self.write(head, pledge, Vec::new(), &[]) else {
            return Ok(None);
        };
        let written = Some(written);
        Ok(Some(self.begin(steps, Outcome::Saved { seq: None, pledge: None, written, meta: None })))
    }

    /// Notes in the meta file that everything is durable.
    pub(crate) fn close(&mut self) -> Result<Option<Job>, StorageError> {
        self.check_idle()?;
        if self.has_queued() {
            return Ok(None);
        }
        let meta = Meta { is_clean: true, ..self.meta.clone() };
        self.meta_job(meta).map(Some)
    }

    /// Work that is not urgent: preparing and recycling segments.
    pub(crate) fn maintenance(&mut self) -> Result<Option<Job>, StorageError> {
        self.check_idle()?;
        if let Some(job) = self.unregister()? {
            return Ok(Some(job));
        }
        self.make_room()
    }

    /// The snapshots that are needed, if those are others than when this was last asked.
    pub(crate) fn take_pointed_to(&mut self) -> Option<Vec<SnapshotId>> {
        self.pointed_to.take()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.rooms.has_room(self.active())
    }

    pub(crate) fn retry_room(&mut self) {
        self.rooms.retry();
    }

    /// Why there is no room, if there is none.
    pub(crate) fn room_error(&self) -> Option<&StorageError> {
        self.rooms.error()
    }

    /// All steps of the job were carried out.
    pub(crate) fn complete(&mut self, job: Job) -> Done {
        assert!(self.is_busy, "a job that was not given out");
        self.is_busy = false;
        match job.outcome {
            Outcome::Nothing => {}
            Outcome::Saved { seq, pledge, written, meta } => {
                if let Some(meta) = meta {
                    self.meta = *meta;
                }
                self.head.pledge = pledge.or(self.head.pledge);
                if let Some(written) = written {
                    self.on_written(*written);
                }
                return Done { saved: seq, ..Done::default() };
            }
            Outcome::Sworn { seq, meta } => {
                self.meta = *meta;
                self.ahead = Some(seq);
                return Done { sworn: Some(seq), ..Done::default() };
            }
            Outcome::Filled { .. } => self.rooms.on_slice(),
            Outcome::Prepared { segment, len, meta } => {
                self.meta = *meta;
                self.rooms.register(segment, len);
            }
            Outcome::Unregistered { meta } => self.on_unregistered(*meta),
        }
        Done::default()
    }

    /// Step number `step` of the job failed.
    pub(crate) fn failed(
        &mut self,
        job: &Job,
        step: usize,
        error: io::Error,
    ) -> Result<(), StorageError> {
        assert!(self.is_busy, "a job that was not given out");
        self.is_busy = false;
        if let Outcome::Filled { segment } | Outcome::Prepared { segment, .. } = job.outcome
            && self.rooms.gives_up_preparing(segment, job.steps(), step, &error)
        {
            return Ok(());
        }
        let error = job.steps()[step].failed(error);
        self.poison = Some(error.clone());
        Err(error)
    }

    fn check_idle(&self) -> Result<(), StorageError> {
        if let Some(poison) = &self.poison {
            return Err(poison.clone());
        }
        assert!(!self.is_busy, "one job at a time: complete the one before");
        Ok(())
    }

    fn begin(&mut self, steps: Vec<Step>, outcome: Outcome) -> Job {
        self.is_busy = true;
        Job::new(steps, outcome)
    }

    fn active(&self) -> Option<u64> {
        self.head.position.map(|(segment, _)| segment)
    }

    fn locked_index(&self) -> MutexGuard<'_, LogIndex> {
        // A panic elsewhere cannot leave it half changed: only this machine changes it.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most that one group takes, unless a single write is larger.
    fn group_cap(&self) -> usize {
        let smallest = self.options.first_segment_bytes() - 3 * BLOCK;
        self.options.group_bytes.min(usize::try_from(smallest).unwrap_or(usize::MAX))
    }

    /// The first writes of the queue, as one.
    fn batch(&self, count: usize) -> Batch {
        let shape = &self.locked_index().shape;
        Batch::take(&self.head, shape, self.meta.mute, &self.queue, count)
    }

    /// The job that saves the batch; `None` if there is no room for it.
    fn job_for(&mut self, batch: &Batch) -> Result<Option<Job>, StorageError> {
        if !batch.changes {
            return self.job_without_group(batch).map(Some);
        }
        let pledge = batch.head.pledge.unwrap_or([0; 64]);
        let group = self.write(batch.head.clone(), pledge, batch.runs.clone(), &batch.payloads);
        let Some((written, group)) = group else { return Ok(None) };
        let muted = self.falling_mute(batch)?;
        let before = muted.as_ref().map_or(&self.meta, |update| &update.meta);
        let after = self.meta_of(before, batch, Some(written.head.sequence))?;
        let updates = [muted, after].map(|update| update.map(|it| (it.meta, it.steps)).unzip());
        let [(muted, first), (after, last)] = updates;
        let steps = [first.unwrap_or_default(), group, last.unwrap_or_default()].concat();
        let meta = after.or(muted);
        let (seq, pledge, written) = (Some(batch.last), batch.head.pledge, Some(written));
        Ok(Some(self.begin(steps, Outcome::Saved { seq, pledge, written, meta })))
    }

    fn meta_job(&mut self, mut meta: Meta) -> Result<Job, StorageError> {
        meta.durable_through = self.head.sequence;
        let steps = meta.update()?.to_vec();
        let meta = Some(Box::new(meta));
        Ok(self.begin(steps, Outcome::Saved { seq: None, pledge: None, written: None, meta }))
    }

    /// Encodes a group where there is room for it.
    fn write(
        &mut self,
        head: Head,
        pledge: PledgeBytes,
        runs: Vec<RunHeader>,
        payloads: &[bytes::Bytes],
    ) -> Option<(Box<Written>, Vec<Step>)> {
        let sequence = self.head.sequence + 1;
        let mut header = Header {
            place: Place { store: self.store, segment: 0, offset: 0 },
            sequence,
            durable_through: self.head.sequence,
            previous: self.head.digest,
            pledge,
            start: self.meta.lineage.latest().count,
            found: self.meta.found.0,
            last: head.last,
            last_digest: head.last_digest,
            cuts: head.cuts.clone(),
            snapshot: head.snapshot.clone(),
            older: head.older.clone(),
            runs,
        };
        let len = header.encoded_len();
        // Whoever writes has bounded that: it could not be read back.
        assert!(len <= group::MAX_LEN, "a group of {len} bytes");
        let (segment, offset) = self.rooms.place_for(self.head.position, len)?;
        header.place = Place { segment, offset, ..header.place };
        let Encoded { bytes, digest, .. } = header.encode(payloads.iter());
        assert_eq!(bytes.len() as u64, len, "a group is as long as was reckoned");
        let position = Some((segment, offset + len));
        let head = Head { position, sequence, digest, ..head };
        let file = segment::name(segment);
        let steps = vec![Step::Write { file: file.clone(), offset, bytes }, Step::Sync { file }];
        let at = GroupAt { segment, offset, len, digest };
        Some((Box::new(Written { head, at, runs: header.runs }), steps))
    }

    fn on_written(&mut self, written: Written) {
        let Written { head, at, runs } = written;
        self.rooms.on_written(at.segment, head.sequence);
        {
            let mut index = self.locked_index();
            for (number, run) in (0..).zip(&runs) {
                index.apply(run, number, at);
            }
            assert_eq!(
                (index.shape.last, index.last_digest),
                (head.last, head.last_digest),
                "the log ends where its last group says"
            );
        }
        let moved = head.snapshot != self.head.snapshot;
        self.head = head;
        if moved {
            let kept = [&self.head.snapshot, &self.head.older];
            self.pointed_to = Some(kept.into_iter().flatten().map(SnapshotMeta::id).collect());
            self.rooms.check_for_dead_segments();
        }
    }

    /// Takes the segments off the register which hold nothing that the older snapshot does not
    /// cover.
    fn unregister(&mut self) -> Result<Option<Job>, StorageError> {
        let Some(active) = self.active() else { return Ok(None) };
        if !self.rooms.take_check_for_dead_segments() {
            return Ok(None);
        }
        let first = {
            let index = self.locked_index();
            let keep_behind = self.head.older.as_ref().map_or(index.shape.base, |older| older.last);
            index.first_segment_behind(keep_behind.index).map_or(active, |first| first.min(active))
        };
        if first <= self.meta.first_segment {
            return Ok(None);
        }
        let mut meta = Box::new(self.meta.clone());
        meta.first_segment = first;
        meta.first_sequence = self.rooms.first_sequence(first);
        meta.durable_through = self.head.sequence;
        let steps = meta.update()?.to_vec();
        Ok(Some(self.begin(steps, Outcome::Unregistered { meta })))
    }

    fn on_unregistered(&mut self, meta: Meta) {
        if let Some(older) = &self.head.older {
            self.locked_index().forget_through(older.last, older.digest);
        }
        self.rooms.unregister_below(meta.first_segment);
        self.meta = meta;
    }

    /// Prepares the next segment if there should be one more, or clears away what is too much.
    fn make_room(&mut self) -> Result<Option<Job>, StorageError> {
        if let Some(steps) = self.rooms.clear_away() {
            return Ok(Some(self.begin(steps, Outcome::Nothing)));
        }
        let total = if self.rooms.is_tight() { 0 } else { self.rooms.total_bytes() };
        let aim = self.options.segment_bytes_for(total);
        let id = self.meta.end_segment;
        let (mut steps, len) = match self.rooms.prepare(self.active(), self.store, id, aim) {
            None => return Ok(None),
            Some(Preparation::Slice(steps)) => {
                return Ok(Some(self.begin(steps, Outcome::Filled { segment: id })));
            }
            Some(Preparation::Last(steps, len)) => (steps, len),
        };
        let mut meta = Box::new(self.meta.clone());
        meta.end_segment = id + 1;
        meta.durable_through = self.head.sequence;
        steps.extend(meta.update()?);
        Ok(Some(self.begin(steps, Outcome::Prepared { segment: id, len, meta })))
    }
}
