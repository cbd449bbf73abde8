//! The segments: which are in use, which are ready, and how there come to be more.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use quorate_core::Digest;

use crate::error::{StorageError, is_out_of_room};
use crate::frame::BLOCK;
use crate::job::Step;
use crate::segment;

/// How many empty segments are kept ready. One is where the log goes on, the other is the
/// reserve: once the disk is full and only that is left, entries are no longer admitted, so that
/// what was admitted before still finds room. If it is too much for that, it waits.
const READY: usize = 2;

/// How many segments that are no longer part of the log are kept for later.
const SPARES: usize = 4;

/// How much is filled with zeros in one step, in bytes.
const FILL_BYTES: u64 = 1 << 18;

/// How much of a new segment is filled in one job, in bytes: groups that wait for the disk wait
/// no longer than for this much. If one waits for the segment, all of it is filled in one: each job ends
/// with a sync.
const SLICE_BYTES: u64 = 1 << 20;

static ZEROS: [u8; FILL_BYTES as usize] = [0; FILL_BYTES as usize];

/// A registered segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) len: u64,
    /// The sequence of its first group; `None` as long as it is empty.
    pub(crate) first_sequence: Option<u64>,
}

/// A segment that was registered once, and can be used again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spare {
    pub(crate) file: String,
    pub(crate) len: u64,
}

/// A new segment on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Filling {
    file: String,
    len: u64,
    filled: u64,
    /// Where the slice ends that is filled now.
    slice_end: u64,
}

/// A spare which is about to be used again. A part of it that the medium does not give back would
/// pass for a lost end of the log as soon as it stands ahead of it, at each start of the process:
/// so it is read through first.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Examining {
    spare: Spare,
    examined: u64,
}

/// What is to be done for there to be one segment more.
#[derive(Debug)]
pub(super) enum Preparation {
    /// These steps bring it nearer.
    Slice(Vec<Step>),
    /// With these steps it has its name, and this length.
    Last(Vec<Step>, u64),
}

/// The segments of a log.
#[derive(Debug)]
pub(super) struct Rooms {
    segments: BTreeMap<u64, Segment>,
    spares: Vec<Spare>,
    examining: Option<Examining>,
    filling: Option<Filling>,
    /// The segments up to this one are damaged: nothing goes into them any more.
    closed_through: u64,
    /// A file whose preparation failed.
    abandoned: Option<String>,
    /// The disk was full when a segment was last to be prepared: until one is, it counts as full.
    out_of_room: Option<StorageError>,
    /// It is tried once more all the same.
    retries: bool,
    /// The disk was full once since segments were last freed: ask for little.
    is_tight: bool,
    /// The length of a group that found no place, in bytes.
    wanted: Option<u64>,
    check_for_dead_segments: bool,
}

impl Rooms {
    pub(super) fn new(
        segments: BTreeMap<u64, Segment>,
        spares: Vec<Spare>,
        closed_through: u64,
    ) -> Rooms {
        Rooms {
            segments,
            spares,
            closed_through,
            examining: None,
            filling: None,
            abandoned: None,
            out_of_room: None,
            retries: false,
            is_tight: false,
            wanted: None,
            check_for_dead_segments: true,
        }
    }

    /// Where a group of this length goes. If there is no room, that is remembered.
    pub(super) fn place_for(
        &mut self,
        position: Option<(u64, u64)>,
        len: u64,
    ) -> Option<(u64, u64)> {
        let place = self.find_place(position, len);
        self.wanted = place.is_none().then_some(len);
        place
    }

    fn find_place(&self, position: Option<(u64, u64)>, len: u64) -> Option<(u64, u64)> {
        let fits = |segment: &Segment, offset: u64| offset + len <= segment.len;
        if let Some((active, offset)) = position
            && active > self.closed_through
            && self.segments.get(&active).is_some_and(|segment| fits(segment, offset))
        {
            return Some((active, offset));
        }
        let mut ready = self.ready(position.map(|(active, _)| active));
        ready.find(|(_, segment)| fits(segment, BLOCK)).map(|(id, _)| (*id, BLOCK))
    }

    /// False if no more entries should be taken. On a full disk that is so already while there is
    /// a segment left, for what was taken before that is known.
    pub(super) fn has_room(&self, active: Option<u64>) -> bool {
        let ready = self.ready(active).count();
        if self.is_out_of_room() { self.wanted.is_none() && ready >= READY } else { ready >= 1 }
    }

    pub(super) fn is_tight(&self) -> bool {
        self.is_tight
    }

    pub(super) fn is_out_of_room(&self) -> bool {
        self.out_of_room.is_some()
    }

    pub(super) fn error(&self) -> Option<&StorageError> {
        self.out_of_room.as_ref()
    }

    /// Whether there is room by now is tried once.
    pub(super) fn retry(&mut self) {
        self.retries = true;
    }

    pub(super) fn total_bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.len).sum()
    }

    pub(super) fn on_written(&mut self, segment: u64, sequence: u64) {
        let segment = self.segments.get_mut(&segment).expect("groups go into registered segments");
        segment.first_sequence.get_or_insert(sequence);
    }

    pub(super) fn first_sequence(&self, segment: u64) -> u64 {
        let first = self.segments.get(&segment).and_then(|segment| segment.first_sequence);
        first.expect("a segment in which entries or the last group stand has a first group")
    }

    pub(super) fn check_for_dead_segments(&mut self) {
        self.check_for_dead_segments = true;
    }

    pub(super) fn take_check_for_dead_segments(&mut self) -> bool {
        std::mem::take(&mut self.check_for_dead_segments)
    }

    pub(super) fn register(&mut self, id: u64, len: u64) {
        self.segments.insert(id, Segment { len, first_sequence: None });
        self.filling = None;
        self.out_of_room = None;
    }

    pub(super) fn unregister_below(&mut self, first: u64) {
        let kept = self.segments.split_off(&first);
        let dead = std::mem::replace(&mut self.segments, kept);
        let spare =
            |(id, segment): (u64, Segment)| Spare { file: segment::name(id), len: segment.len };
        self.spares.extend(dead.into_iter().map(spare));
        self.is_tight = false;
    }

    /// Steps that remove a file which is no use.
    pub(super) fn clear_away(&mut self) -> Option<Vec<Step>> {
        let file = match self.abandoned.take() {
            Some(file) => file,
            None if self.spares.len() > SPARES => self.spares.remove(0).file,
            None => return None,
        };
        Some(vec![Step::Remove { file }, Step::SyncDir])
    }

    /// The next steps which prepare segment `id`; `None` if there are enough segments, or no
    /// room for one more.
    pub(super) fn prepare(
        &mut self,
        active: Option<u64>,
        store: Digest,
        id: u64,
        aim_bytes: u64,
    ) -> Option<Preparation> {
        if self.wanted.is_none() && self.ready(active).count() >= READY {
            return None;
        }
        let least = self.wanted.map_or(0, |len| len + BLOCK);
        let tmp = segment::name_in_preparation(id);
        self.filling.take_if(|filling| filling.file != tmp || filling.len < least);
        if self.filling.is_none() && self.has_spare(least.max(2 * BLOCK)) {
            return Some(self.prepare_spare(store, id));
        }
        let may_begin = self.out_of_room.is_none() || std::mem::take(&mut self.retries);
        if self.filling.is_none() && !may_begin {
            return None;
        }
        let len = aim_bytes.max(least).next_multiple_of(BLOCK);
        let new = Filling { file: tmp, len, filled: 0, slice_end: 0 };
        let filling = self.filling.get_or_insert(new);
        if filling.filled < filling.len {
            let slice_bytes = if self.wanted.is_some() { filling.len } else { SLICE_BYTES };
            filling.slice_end = filling.len.min(filling.filled + slice_bytes);
            return Some(Preparation::Slice(fill(filling)));
        }
        let len = filling.len;
        Some(self.name(Vec::new(), store, id, len))
    }

    /// True if there is a spare of at least this length; it is the one that is examined, then.
    fn has_spare(&mut self, least: u64) -> bool {
        if let Some(Examining { spare, .. }) = self.examining.take_if(|it| it.spare.len < least) {
            self.spares.push(spare);
        }
        if self.examining.is_none()
            && let Some(at) = self.spares.iter().position(|spare| spare.len >= least)
        {
            self.examining = Some(Examining { spare: self.spares.remove(at), examined: 0 });
        }
        self.examining.is_some()
    }

    /// The next steps which make the spare that is examined segment `id`.
    fn prepare_spare(&mut self, store: Digest, id: u64) -> Preparation {
        let Examining { spare, examined } = self.examining.clone().expect("a spare is examined");
        if examined < spare.len {
            let part = SLICE_BYTES.min(spare.len - examined);
            let len = usize::try_from(part).expect("a slice is small");
            return Preparation::Slice(vec![Step::Examine {
                file: spare.file,
                offset: examined,
                len,
            }]);
        }
        self.examining = None;
        let to = segment::name_in_preparation(id);
        let steps = vec![Step::Rename { from: spare.file, to }, Step::SyncDir];
        self.name(steps, store, id, spare.len)
    }

    /// A file is there for segment `id`, once `steps` are done: it gets its header and its name.
    fn name(&mut self, mut steps: Vec<Step>, store: Digest, id: u64, len: u64) -> Preparation {
        self.wanted = None;
        let tmp = segment::name_in_preparation(id);
        let bytes = Bytes::from(segment::encode(store, id, len));
        steps.push(Step::Write { file: tmp.clone(), offset: 0, bytes });
        steps.push(Step::Sync { file: tmp.clone() });
        steps.push(Step::Rename { from: tmp, to: segment::name(id) });
        steps.push(Step::SyncDir);
        Preparation::Last(steps, len)
    }

    /// The steps of a [`Preparation::Slice`] were carried out.
    pub(super) fn on_slice(&mut self) {
        if let Some(Examining { spare, examined }) = &mut self.examining {
            *examined = spare.len.min(*examined + SLICE_BYTES);
            return;
        }
        let filling = self.filling.as_mut().expect("a slice is of a segment on its way");
        filling.filled = filling.slice_end;
    }

    /// True if the preparation failed for want of room only, before the segment had its name, or
    /// because what was to be used again cannot be read.
    pub(super) fn gives_up_preparing(
        &mut self,
        id: u64,
        steps: &[Step],
        failed: usize,
        error: &io::Error,
    ) -> bool {
        let tmp = segment::name_in_preparation(id);
        let file = match &steps[failed] {
            // Whatever the reason: nothing is lost with it.
            Step::Examine { file, .. } => {
                self.examining = None;
                self.abandoned = Some(file.clone());
                return true;
            }
            Step::Write { file, .. } | Step::Create { file } | Step::Sync { file }
                if *file == tmp =>
            {
                file
            }
            // A directory may have to grow for a name, too. One that failed changed nothing: the file
            // has its old name.
            Step::Rename { from, to } if [from, to].contains(&&tmp) => from,
            _ => return false,
        };
        let gives_up = is_out_of_room(error);
        if gives_up {
            let error = Arc::new(io::Error::new(error.kind(), error.to_string()));
            self.out_of_room = Some(StorageError::NoRoom { error });
            self.retries = false;
            self.filling = None;
            self.abandoned = Some(file.clone());
            self.is_tight = true;
        }
        gives_up
    }

    /// The empty segments behind the active one.
    fn ready(&self, active: Option<u64>) -> impl Iterator<Item = (&u64, &Segment)> {
        let taken = active.unwrap_or(0).max(self.closed_through);
        self.segments.range(taken + 1..)
    }
}

/// The steps which fill the next slice of a new segment with zeros, written for real: space that
/// is only set aside costs an update of the file system's own books when it is first written to.
fn fill(filling: &Filling) -> Vec<Step> {
    let file = &filling.file;
    let mut steps = Vec::new();
    if filling.filled == 0 {
        steps.push(Step::Create { file: file.clone() });
    }
    let mut offset = filling.filled;
    while offset < filling.slice_end {
        let part = FILL_BYTES.min(filling.slice_end - offset);
        let bytes = Bytes::from_static(&ZEROS[..usize::try_from(part).unwrap_or(0)]);
        steps.push(Step::Write { file: file.clone(), offset, bytes });
        offset += part;
    }
    steps.push(Step::Sync { file: file.clone() });
    steps
}

#[cfg(test)]
mod tests;
