//! quorate-storage: the log, the meta file and the snapshots of one replica on one disk.
mod codec;
mod disk;
mod error;
mod frame;
mod snapshot;

pub use disk::{Disk, FileDisk, FileInfo, Keep, MemDisk, Operation};
pub use error::{Damage, StorageError};
pub use snapshot::{
    SnapshotBuilder, SnapshotDamage, SnapshotError, SnapshotReader, SnapshotStore, StoredSnapshot,
};
