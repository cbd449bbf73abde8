//! From a directory to a store: first look, then touch.

use std::io;
use std::sync::Arc;

use quorate_core::{
    Digest, Entry, Gap, Identity, Incarnation, Index, LogId, Membership, Recovered, RecoveredLog,
    SnapshotMeta,
};

use super::{Owner, Store, StoreOptions};
use crate::disk::is_damage;
use crate::disk::{Disk, FileInfo};
use crate::error::{Damage, StorageError, is_out_of_room};
use crate::index::LogIndex;
use crate::meta::{self, FoundMeta, META, META_TMP, Meta, Oath, Sworn};
use crate::reader::LogReader;
use crate::recovery::{self, FoundLog, Reading};
use crate::segment;
use crate::snapshot::{SnapshotError, SnapshotStore};
use crate::wal::{Continued, Wal};

pub(super) fn open<D: Disk>(
    disk: Arc<D>,
    owner: &Owner,
    options: StoreOptions,
    fresh: Incarnation,
    nonce: u64,
) -> Result<(Store<D>, Recovered), StorageError> {
    options.validate()?;
    lock(&*disk)?;
    let snapshots = SnapshotStore::new(disk.clone());
    let files = list(&*disk)?;
    let stored = read_meta(&*disk, &files, &snapshots)?;
    let is_new = stored.is_none();
    let stored = stored.unwrap_or_else(|| {
        let Owner { node, cluster, protocol } = owner.clone();
        let meta = Meta::founded(Identity { node, cluster, protocol, incarnation: fresh });
        FoundMeta { meta, bad_copies: 0 }
    });
    let meta = &stored.meta;
    meta.check_owner(owner)?;
    let reading = Reading {
        tail_bytes: options.tail_bytes,
        max_group_bytes: options.max_group_bytes(),
        is_owned: true,
    };
    let mut found = recovery::recover(&*disk, &stored, &files, reading)?;
    let is_needed = |list: &Membership| list.len() - 1 < list.majority();
    let is_needed = meta.founding.list.as_ref().is_some_and(is_needed);
    if let Some((segment, offset)) = found.lost_end.filter(|_| is_needed) {
        return Err(StorageError::EndLostAlone { file: segment::name(segment), offset });
    }
    let keep = [&found.head.snapshot, &found.head.older].map(Option::as_ref);
    let keep: Vec<_> = keep.into_iter().flatten().map(SnapshotMeta::id).collect();
    choose_snapshot(&mut found, &snapshots)?;

    if is_new {
        create_meta(&*disk, meta)?;
    }
    // A name that was given by a process that died may be in the cache only; what is written to that
    // file from here on counts on it.
    let synced = disk.sync_dir();
    synced.map_err(|error| StorageError::write_failed("sync", "the directory", error))?;
    let steps = sign_in(&mut found, nonce)?;
    for step in steps {
        step.run(&*disk).map_err(|error| step.failed(error))?;
    }
    tidy(&*disk, &files)?;
    snapshots.clean_temps().map_err(StorageError::Snapshots)?;
    snapshots.retain(&keep);
    snapshots.tidy().map_err(StorageError::Snapshots)?;
    let log = recovered_log(&disk, &mut found)?;
    let FoundLog { meta, head, index, segments, spares, closed_through, .. } = found;
    let recovered = Recovered {
        identity: meta.identity(),
        lineage: meta.lineage.clone(),
        founding: meta.founding.clone(),
        pledge: head.pledge,
        sworn: meta.ahead.as_ref().map(Oath::bytes),
        mute: meta.mute,
        peers: meta.peers.clone(),
        snapshot: head.snapshot.clone(),
        log,
    };
    let wal = Wal::new(options, Continued { meta, head, index, segments, spares, closed_through });
    let mut store = Store { disk, wal, snapshots };
    while let Some(job) = store.maintenance()? {
        let _ = store.run(job)?;
    }
    Ok((store, recovered))
}

fn lock<D: Disk>(disk: &D) -> Result<(), StorageError> {
    disk.lock().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => StorageError::Locked,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            StorageError::NotWritable { error: Arc::new(error) }
        }
        _ => StorageError::unreadable("the data directory", 0, error),
    })
}

/// Everything in the directory. Names of ours must be regular files; other names may be anything.
pub(crate) fn list<D: Disk>(disk: &D) -> Result<Vec<FileInfo>, StorageError> {
    let files = disk.list();
    let files = files.map_err(|error| StorageError::unreadable("the data directory", 0, error))?;
    let is_ours = |name: &str| {
        name == META
            || name == META_TMP
            || segment::parse_name(name).is_some()
            || segment::is_in_preparation(name)
    };
    match files.iter().find(|file| !file.is_regular && is_ours(&file.name)) {
        Some(file) => Err(StorageError::NameTaken { file: file.name.clone() }),
        None => Ok(files),
    }
}

/// What the meta file says; `None` in a directory that holds nothing of ours.
pub(crate) fn read_meta<D: Disk>(
    disk: &D,
    files: &[FileInfo],
    snapshots: &SnapshotStore<D>,
) -> Result<Option<FoundMeta>, StorageError> {
    if files.iter().any(|file| file.name == META) {
        return meta::read(disk).map(Some);
    }
    let has_segments = files.iter().any(|file| segment::parse_name(&file.name).is_some());
    let has_snapshots = !snapshots.list().map_err(StorageError::Snapshots)?.is_empty();
    if has_segments || has_snapshots {
        return Err(StorageError::MetaLost { what: "missing" });
    }
    Ok(None)
}

/// The newest snapshot if it is intact; otherwise the older one, or none at all. What lies between
/// it and the log is missing.
pub(crate) fn choose_snapshot<D: Disk>(
    found: &mut FoundLog,
    snapshots: &SnapshotStore<D>,
) -> Result<(), StorageError> {
    let is_lost = found.head.position.is_none() && found.lost_end.is_some();
    let nothing_to_keep = || snapshots.list().map(|stored| stored.is_empty());
    if is_lost
        && (found.meta.first_sequence > 1 || !nothing_to_keep().map_err(StorageError::Snapshots)?)
        && let Some(error) = found.damage.pop()
    {
        // Nobody knows which snapshots counted.
        return Err(error);
    }
    while let Some(newest) = &found.head.snapshot {
        match snapshots.verify(&newest.id()) {
            Ok(stored) if stored == *newest => break,
            Ok(_) | Err(SnapshotError::Missing { .. } | SnapshotError::Damaged { .. }) => {
                found.head.snapshot = found.head.older.take();
            }
            Err(SnapshotError::Unreadable { error, .. }) if is_damage(&error) => {
                found.head.snapshot = found.head.older.take();
            }
            // Anything else says nothing of what is on the medium: it may be intact.
            Err(error) => return Err(StorageError::Snapshots(error)),
        }
    }
    if let Some(older) = &found.head.older {
        // What the older snapshot covers may go at any time.
        found.index.forget_through(older.last, older.digest);
    }
    let newest = found.head.snapshot.as_ref();
    let (covered, digest) = newest.map_or((LogId::ZERO, Digest::ZERO), |it| (it.last, it.digest));
    let index = &mut found.index;
    if index.shape.base.index > covered.index {
        index.reach_down(covered, digest);
    } else if index.gaps.iter().any(|gap| gap.first <= covered.index) {
        // What the snapshot covers is not missed.
        index.forget_through(covered, digest);
    }
    if covered.index > Index::ZERO && !index.may_hold(covered) {
        return Err(StorageError::Damaged {
            file: segment::name(found.head.position.map_or(0, |(segment, _)| segment)),
            offset: 0,
            indexes: covered.index..covered.index.next(),
            damage: Damage::Contradiction,
        });
    }
    Ok(())
}

/// Creates the meta file so that it is there as a whole or not at all.
fn create_meta<D: Disk>(disk: &D, meta: &Meta) -> Result<(), StorageError> {
    let bytes = meta.encode_all()?;
    let create = || {
        match disk.remove(META_TMP) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        disk.create(META_TMP)?;
        disk.write_at(META_TMP, 0, &bytes)?;
        disk.sync(META_TMP)?;
        disk.rename(META_TMP, META)?;
        disk.sync_dir()
    };
    create().map_err(|error| {
        if is_out_of_room(&error) {
            StorageError::NoRoom { error: Arc::new(error) }
        } else {
            StorageError::write_failed("create", META, error)
        }
    })
}

/// Counts this start, and notes what was found: what the log says is durable, and it holds the
/// newest pledge. All copies of the meta file are written, so that damaged ones are whole again
/// and no start is ever counted twice. `nonce` tells it from a start of an image of this disk.
fn sign_in(found: &mut FoundLog, nonce: u64) -> Result<Vec<crate::job::Step>, StorageError> {
    let FoundLog { meta, head, found: last, lost_end, .. } = found;
    meta.lineage.begin(nonce);
    meta.is_clean = false;
    meta.durable_through = head.sequence;
    meta.sworn = match meta.sworn_beyond(last.0) {
        Some(pledge) => Some(Sworn::beside(head.sequence, &pledge)),
        None => head.pledge.as_ref().map(|pledge| Sworn::in_group(head.sequence, pledge)),
    };
    meta.found = *last;
    meta.mute |= lost_end.is_some();
    if head.position.is_none() {
        meta.first_sequence = head.sequence + 1;
    }
    let mut steps = meta.update()?.to_vec();
    steps.extend(meta.update()?);
    Ok(steps)
}

/// Removes what a crash left in preparation.
fn tidy<D: Disk>(disk: &D, files: &[FileInfo]) -> Result<(), StorageError> {
    let mut is_changed = false;
    for file in files.iter().map(|file| file.name.as_str()) {
        if file == META_TMP || segment::is_in_preparation(file) {
            match disk.remove(file) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => {
                    other.map_err(|error| StorageError::write_failed("remove", file, error))?;
                }
            }
            is_changed = true;
        }
    }
    if is_changed {
        let synced = disk.sync_dir();
        synced.map_err(|error| StorageError::write_failed("sync", "the directory", error))?;
    }
    Ok(())
}

fn recovered_log<D: Disk>(
    disk: &Arc<D>,
    found: &mut FoundLog,
) -> Result<RecoveredLog, StorageError> {
    let index = &found.index;
    let gaps: Vec<Gap> = index.gaps.iter().cloned().collect();
    let is_held = |at: Index| at > index.shape.base.index;
    let mut tail = std::mem::take(&mut found.tail);
    let behind = gaps.last().map(|gap| gap.last).unwrap_or_default();
    tail.retain(|entry| is_held(entry.index()) && entry.index() > behind);
    found.memberships.retain(|(since, _)| is_held(*since));
    let (base, last) = (index.shape.base, index.shape.last);
    if tail.is_empty() && last.index > base.index.max(behind) {
        tail = read_last(disk, index, &found.meta)?;
    }
    Ok(RecoveredLog {
        base,
        base_digest: index.base_digest,
        ballots: index.shape.ballots.clone(),
        memberships: std::mem::take(&mut found.memberships),
        tail,
        last,
        last_digest: index.last_digest,
        last_time: found.last_time,
        gaps,
        is_torn: found.is_torn,
    })
}

/// The last entry, from disk: everything that was kept in memory was cut off later on.
fn read_last<D: Disk>(
    disk: &Arc<D>,
    index: &LogIndex,
    meta: &Meta,
) -> Result<Vec<Entry>, StorageError> {
    let shared = Arc::new(std::sync::Mutex::new(index.clone()));
    let reader = LogReader::new(disk.clone(), shared, meta.store_id());
    reader.read_entries(index.shape.last.index, 1)
}
