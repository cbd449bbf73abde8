//! quorate-storage: the log, the meta file and the snapshots of one replica on one disk.
mod codec;
mod disk;
mod error;
mod frame;
mod group;
mod index;
mod inspect;
mod job;
mod meta;
mod reader;
mod recovery;
mod segment;
mod snapshot;
mod store;
mod wal;

pub use disk::{Disk, FileDisk, FileInfo, Keep, MemDisk, Operation};
pub use error::{Damage, StorageError};
pub use inspect::{
    InspectedGroup, InspectedRun, InspectedSegment, Inspection, Verified, inspect, verify,
};
pub use job::{Job, Step};
pub use reader::LogReader;
pub use snapshot::{
    SnapshotBuilder, SnapshotDamage, SnapshotError, SnapshotReader, SnapshotStore, StoredSnapshot,
};
pub use store::{Owner, Store, StoreOptions};
