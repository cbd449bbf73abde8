//! quorate-storage: the log, the meta file and the snapshots of one replica on one disk.
mod disk;

pub use disk::{Disk, FileDisk, FileInfo, Keep, MemDisk, Operation};
