//! What the log asks of the disk, step by step.

use std::io;

use bytes::Bytes;
use quorate_core::{PledgeBytes, WriteSeq};

use crate::disk::Disk;
use crate::error::StorageError;
use crate::meta::Meta;
use crate::wal::Written;

/// Steps that belong together, to be carried out one after the other.
///
/// The storage thread runs them with [`Store::run`](crate::Store::run). Whoever carries them out
/// in another way (a simulator that lets time pass in between) then says
/// [`complete`](crate::Store::complete) or [`failed`](crate::Store::failed).
#[derive(Debug)]
#[must_use = "a job that is prepared must be carried out, and completed or failed"]
pub struct Job {
    steps: Vec<Step>,
    pub(crate) outcome: Outcome,
}

/// What is true once all steps of a job were carried out.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Nothing that the log cares for.
    Nothing,
    /// Everything up to `seq` is saved.
    Saved {
        seq: Option<WriteSeq>,
        pledge: Option<PledgeBytes>,
        written: Option<Box<Written>>,
        meta: Option<Box<Meta>>,
    },
    /// The pledge of `seq` is kept.
    Sworn { seq: WriteSeq, meta: Box<Meta> },
    /// A part of a new segment is filled.
    Filled { segment: u64 },
    /// A segment is ready.
    Prepared { segment: u64, len: u64, meta: Box<Meta> },
    /// Segments do not belong to the log any more.
    Unregistered { meta: Box<Meta> },
}

impl Job {
    pub(crate) fn new(steps: Vec<Step>, outcome: Outcome) -> Job {
        Job { steps, outcome }
    }

    /// What is to be done, in this order. There may be nothing to do at all: the job still has
    /// to be completed.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

/// One thing to be done with the disk. [`Store::run_step`](crate::Store::run_step) does it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Write bytes into a file.
    Write {
        /// The file.
        file: String,
        /// Where, in bytes.
        offset: u64,
        /// What.
        bytes: Bytes,
    },
    /// Make a file durable.
    Sync {
        /// The file.
        file: String,
    },
    /// Create a file, in place of what a crash may have left under that name.
    Create {
        /// The file.
        file: String,
    },
    /// Rename a file.
    Rename {
        /// Its name.
        from: String,
        /// Its name afterwards.
        to: String,
    },
    /// Remove a file, if it is there.
    Remove {
        /// The file.
        file: String,
    },
    /// Make the names durable.
    SyncDir,
    /// Read part of a file from the medium, to see that it can be read.
    Examine {
        /// The file.
        file: String,
        /// Where, in bytes.
        offset: u64,
        /// How much, in bytes.
        len: usize,
    },
}

/// What has come of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "who waits for a write is to be told that it is saved"]
pub struct Done {
    /// The last write that is saved by it.
    pub saved: Option<WriteSeq>,
    /// A write whose pledge is on disk by it, while there is no room for the write itself.
    pub sworn: Option<WriteSeq>,
    /// Snapshots are no longer needed. Have them [removed](crate::SnapshotStore::tidy) by somebody
    /// who does not write the log: that may take long.
    pub is_untidy: bool,
}

impl Step {
    /// Does it.
    pub(crate) fn run<D: Disk>(&self, disk: &D) -> io::Result<()> {
        match self {
            Step::Write { file, offset, bytes } => disk.write_at(file, *offset, bytes),
            Step::Sync { file } => disk.sync(file),
            Step::Create { file } => match disk.create(file) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    disk.remove(file)?;
                    disk.create(file)
                }
                other => other,
            },
            Step::Rename { from, to } => disk.rename(from, to),
            Step::Remove { file } => match disk.remove(file) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            },
            Step::SyncDir => disk.sync_dir(),
            Step::Examine { file, offset, len } => {
                // What is cached says nothing of the medium.
                disk.drop_cache(file)?;
                disk.read_at(file, *offset, &mut vec![0; *len]).map(|_| ())
            }
        }
    }

    pub(crate) fn failed(&self, error: io::Error) -> StorageError {
        match self {
            Step::Write { file, .. } => StorageError::write_failed("write to", file, error),
            Step::Sync { file } => StorageError::write_failed("sync", file, error),
            Step::Create { file } => StorageError::write_failed("create", file, error),
            Step::Rename { from, .. } => StorageError::write_failed("rename", from, error),
            Step::Remove { file } => StorageError::write_failed("remove", file, error),
            Step::SyncDir => StorageError::write_failed("sync", "the directory", error),
            Step::Examine { file, offset, .. } => StorageError::unreadable(file, *offset, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Forgetful, MemDisk, Operation};

    #[test]
    fn what_is_examined_is_read_from_the_medium() {
        let memory = MemDisk::new();
        let disk = Forgetful::new(memory.clone());
        disk.create("x").unwrap();
        disk.write_at("x", 0, b"cached").unwrap();
        disk.sync_dir().unwrap();
        Step::Examine { file: "x".to_owned(), offset: 0, len: 6 }.run(&disk).unwrap();
        assert_eq!(memory.content("x").unwrap(), b"");
    }

    #[test]
    fn what_a_crash_left_under_a_name_is_in_nobodys_way() {
        let disk = MemDisk::new();
        let (file, create) = ("x".to_owned(), Step::Create { file: "x".to_owned() });
        create.run(&disk).unwrap();
        disk.write_at("x", 0, b"left").unwrap();
        create.run(&disk).unwrap();
        assert_eq!(disk.content("x").unwrap(), b"");
        let remove = Step::Remove { file };
        remove.run(&disk).unwrap();
        remove.run(&disk).unwrap();
        assert_eq!(disk.content("x"), None);
    }

    #[test]
    fn what_cannot_be_created_or_removed_is_told() {
        let disk = MemDisk::new();
        disk.create("x").unwrap();
        let file = || "x".to_owned();
        for step in [Step::Create { file: file() }, Step::Remove { file: file() }] {
            disk.fail(Operation::Name, "x", io::ErrorKind::PermissionDenied, 1);
            assert_eq!(step.run(&disk).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        }
        assert!(disk.content("x").is_some());
    }
}
