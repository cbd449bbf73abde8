//! The files of the log: which are there, and which are damaged as files.

use std::collections::BTreeMap;

use quorate_core::{Digest, Index};

use crate::disk::{Disk, FileInfo};
use crate::error::{Damage, StorageError};
use crate::frame::BLOCK;
use crate::meta::FoundMeta;
use crate::segment;
use crate::wal::Spare;

/// The files that have the name of a segment.
#[derive(Debug, Default)]
pub(super) struct Segments {
    /// The lengths of the registered ones, as far as they are there.
    pub(super) lens: BTreeMap<u64, u64>,
    pub(super) spares: Vec<Spare>,
    /// What is wrong with registered ones.
    pub(super) damaged: BTreeMap<u64, StorageError>,
    /// Of these a part is missing, or all of it.
    pub(super) cut_short: Vec<u64>,
}

impl Segments {
    /// Looks at the first blocks. If `is_owned`, what is cached of the files is settled first.
    pub(super) fn look<D: Disk>(
        disk: &D,
        found: &mut FoundMeta,
        files: &[FileInfo],
        is_owned: bool,
    ) -> Result<Segments, StorageError> {
        let mut present: BTreeMap<u64, u64> = BTreeMap::new();
        for file in files {
            if let Some(id) = segment::parse_name(&file.name) {
                present.insert(id, file.len);
            }
        }
        let FoundMeta { meta, bad_copies } = found;
        // A segment has its name before it is registered, and the crash may have come in between;
        // the registration of the one before may have been in copies of the meta file that are
        // damaged. Both count all the same.
        for _ in 0..1 + usize::from(*bad_copies > 0) {
            if present.contains_key(&meta.end_segment) {
                meta.end_segment += 1;
            }
        }
        if let Some((beyond, _)) = present.range(meta.end_segment..).next() {
            return Err(StorageError::ForeignSegment {
                file: segment::name(*beyond),
                found: format!("a segment behind {}, which is missing", segment::name(beyond - 1)),
            });
        }
        let store = meta.store_id();
        let registered = present.split_off(&meta.first_segment);
        let mut segments = Segments::default();
        for (id, file_len) in present {
            // What has the name of a segment and is none of ours is neither used again nor removed.
            match header_len(disk, store, id) {
                Ok(len) if len <= file_len => {
                    segments.spares.push(Spare { file: segment::name(id), len });
                }
                Ok(_) | Err(StorageError::Damaged { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        for id in meta.first_segment..meta.end_segment {
            match registered.get(&id) {
                Some(file_len) => segments.add(disk, store, (id, *file_len), is_owned)?,
                None => {
                    let missing = StorageError::MissingSegment { file: segment::name(id) };
                    segments.damaged.insert(id, missing);
                    segments.cut_short.push(id);
                }
            }
        }
        Ok(segments)
    }

    fn add<D: Disk>(
        &mut self,
        disk: &D,
        store: Digest,
        (id, file_len): (u64, u64),
        is_owned: bool,
    ) -> Result<(), StorageError> {
        if is_owned {
            settle(disk, &segment::name(id))?;
        }
        let whole_blocks = file_len / BLOCK * BLOCK;
        let len = match header_len(disk, store, id) {
            Ok(len) => len,
            Err(error @ StorageError::Damaged { .. }) => {
                self.damaged.insert(id, error);
                whole_blocks
            }
            Err(error) => return Err(error),
        };
        if file_len < len || len < 2 * BLOCK {
            let (file, indexes) = (segment::name(id), Index::ZERO..Index::ZERO);
            let (offset, damage) = (file_len, Damage::TooShort);
            let short = StorageError::Damaged { file, offset, indexes, damage };
            self.damaged.insert(id, short);
            self.cut_short.push(id);
        }
        self.lens.insert(id, len.min(whole_blocks));
        Ok(())
    }
}

/// Makes sure that what will be read of a file is what is on the medium.
fn settle<D: Disk>(disk: &D, file: &str) -> Result<(), StorageError> {
    // After a crash of the process alone, pages that were never synced are still in the cache:
    // they are made to last, or are seen to be gone.
    disk.sync(file).map_err(|error| StorageError::write_failed("sync", file, error))?;
    disk.drop_cache(file).map_err(|error| StorageError::unreadable(file, 0, error))
}

/// The length of a segment as it was made, from its first block.
fn header_len<D: Disk>(disk: &D, store: Digest, id: u64) -> Result<u64, StorageError> {
    let file = segment::name(id);
    let mut bytes = [0; segment::HEADER_LEN];
    match disk.read_at(&file, 0, &mut bytes) {
        Ok(n) => segment::check(&bytes[..n], store, id),
        Err(error) if crate::disk::is_damage(&error) => segment::check(&[], store, id),
        Err(error) => Err(StorageError::unreadable(&file, 0, error)),
    }
}
