//! Looking at a data directory without touching it.
//!
//! Neither function takes the lock or writes anything, so both may be used on the directory of a
//! process that runs. What that process writes meanwhile may be seen in part: a complaint about
//! the very end of a live log means nothing unless it stays.

use std::sync::Arc;

use quorate_core::{FoundingRecord, Gap, Identity, Index, LogId, PledgeBytes, SnapshotMeta};

use crate::disk::{Disk, FileInfo};
use crate::error::StorageError;
use crate::frame::{BLOCK, EntryHeader, Place, RunHeader, RunKind};
use crate::group::{self, At, Group};
use crate::meta::{FoundMeta, Meta};
use crate::recovery::{self, Reading};
use crate::segment;
use crate::snapshot::{SnapshotError, SnapshotStore, StoredSnapshot};
use crate::store::{StoreOptions, open};

/// What a directory holds.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Whose data it is.
    pub identity: Identity,
    /// How many times a process has opened it.
    pub start: u64,
    /// True if the last process stopped in order.
    pub is_clean: bool,
    /// How many of the four copies of the meta file are damaged.
    pub bad_meta_copies: usize,
    /// How far the founding of the cluster has come.
    pub founding: FoundingRecord,
    /// The copy of the pledge outside the log, and the sequence of the group that carried it.
    pub sworn: Option<(u64, PledgeBytes)>,
    /// The segments of the log, in their order.
    pub segments: Vec<InspectedSegment>,
    /// What has the name of a snapshot.
    pub snapshots: Vec<StoredSnapshot>,
}

/// A segment of the log.
#[derive(Clone, Debug)]
pub struct InspectedSegment {
    /// The name of the file.
    pub file: String,
    /// Its length in bytes.
    pub len: u64,
    /// What is wrong with its first block, if anything.
    pub error: Option<StorageError>,
    /// Where a group's header is damaged, or a block cannot be read: offsets in bytes. What a crash tore
    /// off the end of the log is among them; [`verify`] tells which.
    pub damaged: Vec<u64>,
    /// The groups whose headers are intact, in the order in which they stand there.
    pub groups: Vec<InspectedGroup>,
}

/// A group: what was written and synced as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectedGroup {
    /// Where it stands in the file, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
    /// Groups are numbered from 1 on, without gaps.
    pub sequence: u64,
    /// Everything up to this group was synced when this one was written.
    pub durable_through: u64,
    /// What the protocol had sworn.
    pub pledge: PledgeBytes,
    /// The newest snapshot as of then.
    pub snapshot: Option<SnapshotMeta>,
    /// What it did to the log, in this order.
    pub runs: Vec<InspectedRun>,
}

/// Entries behind an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectedRun {
    /// What it did.
    pub effect: RunEffect,
    /// The entry before the first. Its ballot is 0 in a repair.
    pub previous: LogId,
    /// The names of the entries, with the lengths of their payloads in bytes.
    pub entries: Vec<(LogId, u32)>,
}

/// What a run did to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEffect {
    /// What stood behind the entry before the first was cut off.
    Appended,
    /// The log started anew, behind a snapshot.
    StartedAnew,
    /// The entries took the place of damaged ones.
    Repaired,
}

/// Whether a directory is whole.
#[derive(Clone, Debug)]
pub struct Verified {
    /// What stands before the first entry of the log.
    pub base: LogId,
    /// The last entry.
    pub last: LogId,
    /// The sequence of the last group.
    pub last_group: u64,
    /// How many snapshots are intact.
    pub snapshots: usize,
    /// How many of the four copies of the meta file are damaged. The others stand in for them.
    pub bad_meta_copies: usize,
    /// What of the log is missing, as it was repaired so far.
    pub gaps: Vec<Gap>,
    /// What was acknowledged at the end of the log is not there.
    pub end_is_lost: bool,
    /// Where the log is damaged, repaired or not.
    pub damage: Vec<StorageError>,
}

impl Verified {
    /// True if nothing is missing: what is damaged was repaired, or is no part of the log any more.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.gaps.is_empty() && !self.end_is_lost
    }
}

/// Lists what a directory holds, as far as headers and manifests tell. What of them is damaged, or
/// cannot be read, is told in its place.
///
/// # Errors
/// If the directory or the meta file cannot be read, or a newer program wrote it.
pub fn inspect<D: Disk>(disk: &Arc<D>) -> Result<Inspection, StorageError> {
    let files = open::list(&**disk)?;
    let snapshots = SnapshotStore::new(disk.clone());
    let FoundMeta { meta, bad_copies } = read_meta(disk, &files, &snapshots)?;
    let registered = files.iter().filter_map(|file| {
        let id = segment::parse_name(&file.name)?;
        (id >= meta.first_segment).then_some((id, file.len))
    });
    let mut segments = Vec::new();
    for (id, len) in registered {
        segments.push(inspect_segment(&**disk, &meta, id, len)?);
    }
    Ok(Inspection {
        identity: meta.identity(),
        start: meta.lineage.latest().count,
        is_clean: meta.is_clean,
        bad_meta_copies: bad_copies,
        sworn: meta.sworn.as_ref().map(|sworn| (sworn.sequence, sworn.pledge())),
        founding: meta.founding,
        segments,
        snapshots: snapshots.list().map_err(StorageError::Snapshots)?,
    })
}

/// Checks every checksum and digest of a directory, and that all of it goes together. `options` are
/// those with which it is opened: they say how much at the end of the log may be torn.
///
/// # Errors
/// What would keep a replica from starting, or a damaged snapshot.
pub fn verify<D: Disk>(disk: &Arc<D>, options: StoreOptions) -> Result<Verified, StorageError> {
    let files = open::list(&**disk)?;
    let snapshots = SnapshotStore::new(disk.clone());
    let meta = read_meta(disk, &files, &snapshots)?;
    let max_group_bytes = options.max_group_bytes();
    let reading = Reading { tail_bytes: 0, max_group_bytes, is_owned: false };
    let mut found = recovery::recover(&**disk, &meta, &files, reading)?;
    let pointer = found.head.snapshot.as_ref().map(SnapshotMeta::id);
    open::choose_snapshot(&mut found, &snapshots)?;
    if let Some(id) = pointer {
        snapshots.verify(&id).map_err(StorageError::Snapshots)?;
    }
    let mut intact = 0;
    for stored in snapshots.list().map_err(StorageError::Snapshots)? {
        match snapshots.verify(&stored.id) {
            Ok(_) => intact += 1,
            // Removed by the process that owns the directory.
            Err(SnapshotError::Missing { .. }) => {}
            Err(error) => return Err(StorageError::Snapshots(error)),
        }
    }
    let shape = &found.index.shape;
    Ok(Verified {
        base: shape.base,
        last: shape.last,
        last_group: found.head.sequence,
        snapshots: intact,
        bad_meta_copies: meta.bad_copies,
        gaps: found.index.gaps.iter().cloned().collect(),
        end_is_lost: found.lost_end.is_some(),
        damage: found.damage,
    })
}

fn read_meta<D: Disk>(
    disk: &Arc<D>,
    files: &[FileInfo],
    snapshots: &SnapshotStore<D>,
) -> Result<FoundMeta, StorageError> {
    open::read_meta(&**disk, files, snapshots)?
        .ok_or(StorageError::MetaLost { what: "missing: the directory holds no data" })
}

fn inspect_segment<D: Disk>(
    disk: &D,
    meta: &Meta,
    id: u64,
    len: u64,
) -> Result<InspectedSegment, StorageError> {
    let mut first = [0; segment::HEADER_LEN];
    let error = match group::read(disk, id, 0, &mut first) {
        Ok(()) => segment::check(&first, meta.store_id(), id).err(),
        Err(error) if error.is_damaged_medium() => Some(error),
        Err(error) => return Err(error),
    };
    let (mut groups, mut damaged) = (Vec::new(), Vec::new());
    let mut offset = BLOCK;
    while offset < len {
        let place = Place { store: meta.store_id(), segment: id, offset };
        offset += match group::probe(disk, place, len)? {
            At::Group(group) => {
                let group = InspectedGroup::of(*group);
                let len = group.len;
                groups.push(group);
                len
            }
            At::Damaged | At::Unreadable => {
                damaged.push(offset);
                BLOCK
            }
            At::Nothing => BLOCK,
        };
    }
    Ok(InspectedSegment { file: segment::name(id), len, error, damaged, groups })
}

impl InspectedGroup {
    fn of(group: Group) -> InspectedGroup {
        let Group { header, len, .. } = group;
        let run = |run: RunHeader| {
            let name = |(index, e): (Index, &EntryHeader)| (LogId::new(index, e.ballot), e.len);
            let effect = match run.kind {
                RunKind::Append => RunEffect::Appended,
                RunKind::StartsAnew => RunEffect::StartedAnew,
                RunKind::Repair => RunEffect::Repaired,
            };
            let entries = run.indexed().map(name).collect();
            InspectedRun { effect, previous: run.previous, entries }
        };
        InspectedGroup {
            offset: header.place.offset,
            len,
            sequence: header.sequence,
            durable_through: header.durable_through,
            pledge: header.pledge,
            snapshot: header.snapshot,
            runs: header.runs.into_iter().map(run).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{MemDisk, Operation};
    use crate::store::Store;
    use crate::store::tests::fixture::{Author, options, owner};

    fn written() -> Author {
        let mut author = Author::new();
        author.append(1, &[b"one", b"two"]);
        author.append(2, &[b"three"]);
        author.take_snapshot(2);
        let write = author.swearing(4);
        author.save(write);
        author
    }

    #[test]
    fn a_live_directory_is_listed_and_found_whole_without_a_change() {
        let author = written();
        let disk = Arc::new(author.disk.clone());
        let before = (disk.contents(), disk.changes());
        let inspection = inspect(&disk).unwrap();
        let groups: Vec<_> = inspection.segments.iter().flat_map(|s| &s.groups).collect();
        assert_eq!(groups.iter().map(|g| g.sequence).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(groups[0].runs[0].entries.len(), 2);
        assert_eq!(groups[3].pledge, [4; 64]);
        assert_eq!(inspection.sworn, Some((4, [4; 64])));
        assert_eq!((inspection.snapshots.len(), inspection.start), (1, 1));
        let verified = verify(&disk, options()).unwrap();
        assert_eq!((verified.last, verified.last_group), (author.last().0, 4));
        assert_eq!((verified.snapshots, verified.bad_meta_copies), (1, 0));
        assert_eq!((disk.contents(), disk.changes()), before);
    }

    #[test]
    fn damage_is_found_in_the_log_and_in_snapshots() {
        let author = written();
        let snapshot = author.disk.contents().into_keys().find(|n| n.starts_with("snap-")).unwrap();
        for (file, offset) in [("wal-0000000000000001", 8200), (snapshot.as_str(), 3)] {
            author.disk.flip(file, offset, 1);
            let verified = verify(&Arc::new(author.disk.clone()), options());
            assert!(verified.is_err() || !verified.unwrap().is_whole(), "{file}");
            author.disk.flip(file, offset, 1);
        }
        author.disk.flip("meta", 5, 1);
        assert_eq!(verify(&Arc::new(author.disk.clone()), options()).unwrap().bad_meta_copies, 1);
    }

    #[test]
    fn the_newest_snapshot_is_missed_also_if_the_older_one_and_the_log_do_without() {
        let mut author = written();
        author.take_snapshot(3);
        let disk = author.disk.crash_keeping_all();
        assert_eq!(verify(&Arc::new(disk.clone()), options()).unwrap().snapshots, 2);
        let newest = disk.contents().into_keys().rfind(|name| name.starts_with("snap-")).unwrap();
        disk.remove(&newest).unwrap();
        let missing = verify(&Arc::new(disk), options()).unwrap_err();
        let StorageError::Snapshots(SnapshotError::Missing { snapshot }) = missing else {
            panic!("{missing}")
        };
        assert_eq!(snapshot, author.snapshot.unwrap().id());
    }

    #[test]
    fn what_the_medium_does_not_give_back_is_told_in_its_place_and_the_rest_is_listed() {
        let author = written();
        let (file, second) = author.place_of(3);
        let second = second as u64;
        let empty = second + 10 * BLOCK;
        let damaged: [&dyn Fn(&MemDisk); 2] =
            [&|disk| disk.set_unreadable(&file, second..second + 512), &|disk| {
                disk.flip(&file, usize::try_from(second).unwrap() + 70, 1)
            }];
        for damage in damaged {
            let disk = author.disk.crash_keeping_all();
            damage(&disk);
            disk.set_unreadable(&file, 0..512);
            disk.set_unreadable(&file, empty..empty + 512);
            let segments = inspect(&Arc::new(disk)).unwrap().segments;
            let InspectedSegment { error, damaged, groups, .. } = &segments[0];
            assert!(matches!(error, Some(StorageError::Unreadable { offset: 0, .. })), "{error:?}");
            assert_eq!(*damaged, [second, empty]);
            assert_eq!(groups.iter().map(|group| group.sequence).collect::<Vec<_>>(), [1, 3, 4]);
            assert!(segments[1..].iter().all(|it| it.error.is_none() && it.damaged.is_empty()));
        }
    }

    #[test]
    fn a_segment_that_cannot_be_read_for_another_reason_than_the_medium_is_an_error() {
        let author = written();
        for after in [0, 1] {
            let disk = author.disk.crash_keeping_all();
            let kind = std::io::ErrorKind::PermissionDenied;
            disk.fail_later(Operation::Read, "wal-", kind, after);
            let inspected = inspect(&Arc::new(disk));
            assert!(matches!(inspected, Err(StorageError::Unreadable { .. })), "{after}");
        }
    }

    #[test]
    fn a_torn_end_is_told_from_a_lost_one_as_by_a_start_with_the_same_options() {
        let mut author = Author::new();
        (0..12).for_each(|_| author.append(1, &[b"x"]));
        let (file, last) = author.place_of(12);
        // Nothing is left but the first group and, 44 KiB on, something that cannot be read.
        let mut content = author.disk.content(&file).unwrap();
        content[author.place_of(2).1..].fill(0);
        author.disk.set_content(&file, &content);
        author.disk.set_unreadable(&file, last as u64..last as u64 + 512);
        for (group_bytes, is_lost) in [(8 << 10, true), (64 << 10, false), (4 << 20, false)] {
            let options = StoreOptions { group_bytes, ..options() };
            let disk = Arc::new(author.disk.crash_keeping_all());
            assert_eq!(verify(&disk, options).unwrap().end_is_lost, is_lost, "{group_bytes}");
            let incarnation = quorate_core::Incarnation(77);
            let (_, found) = Store::open(disk, &owner(), options, incarnation, 1).unwrap();
            assert_eq!(found.mute, is_lost, "{group_bytes}");
        }
    }

    #[test]
    fn what_is_damaged_is_told_with_its_place() {
        use crate::error::Damage::{GroupMissing, Header, Payload};
        let mut author = Author::new();
        (0..5).for_each(|_| author.append(1, &[b"x"]));
        let write = author.swearing(4);
        author.save(write);
        // Each group takes a block, the first block is the segment's own.
        let told = |headers: &[usize], missing: &[usize], payloads: &[usize]| {
            let disk = author.disk.crash_keeping_all();
            let file = segment::name(1);
            let mut content = disk.content(&file).unwrap();
            headers.iter().for_each(|group| content[group * 4096 + 70] ^= 1);
            missing.iter().for_each(|group| content[group * 4096..][..4096].fill(0));
            for group in payloads {
                let claim = crate::frame::Claim::read(&content[group * 4096..]).unwrap();
                content[group * 4096 + usize::try_from(claim.header_len).unwrap()] ^= 1;
            }
            disk.set_content(&file, &content);
            let verified = verify(&Arc::new(disk), options()).unwrap();
            let place = |error: &StorageError| match error {
                StorageError::Damaged { file: found, offset, damage, .. } => {
                    assert_eq!(*found, file);
                    (*offset / 4096, *damage)
                }
                other => panic!("{other}"),
            };
            (verified.damage.iter().map(place).collect::<Vec<_>>(), verified.end_is_lost)
        };
        assert_eq!(told(&[], &[], &[]), (vec![], false));
        assert_eq!(told(&[1], &[], &[]), (vec![(1, Header)], false));
        assert_eq!(told(&[2], &[4], &[]), (vec![(2, Header), (4, GroupMissing)], false));
        assert_eq!(told(&[3], &[2], &[5]), (vec![(3, Header), (5, Payload)], false));
        assert_eq!(told(&[], &[2, 3], &[1]), (vec![(1, Payload), (2, GroupMissing)], false));
        assert_eq!(told(&[6], &[], &[2]), (vec![(2, Payload), (6, GroupMissing)], true));
    }

    #[test]
    fn a_stop_in_order_is_told_until_the_next_start_and_waits_for_all_writes() {
        let mut author = written();
        let is_clean = |disk: &MemDisk| inspect(&Arc::new(disk.clone())).unwrap().is_clean;
        let write = author.swearing(5);
        author.enqueue(write);
        assert!(author.store.close().unwrap().is_none());
        author.flush().unwrap();
        assert!(!is_clean(&author.disk));
        let job = author.store.close().unwrap().unwrap();
        author.run(job).unwrap();
        assert!(is_clean(&author.disk));
        assert!(!is_clean(&Author::on(&author.disk.crash_losing_all()).disk));
    }

    #[test]
    fn a_directory_without_data_is_an_error() {
        let disk = Arc::new(MemDisk::new());
        assert!(matches!(inspect(&disk), Err(StorageError::MetaLost { .. })));
        assert!(matches!(verify(&disk, options()), Err(StorageError::MetaLost { .. })));
    }
}
