//! The disk as the storage sees it: one directory of flat files.
//!
//! This trait is the only way to the outside. Real files implement it ([`FileDisk`]), a map in
//! memory implements it ([`MemDisk`]), and the simulator implements it with virtual time and with
//! faults. It promises as little as a disk does: what was written is on the medium only after
//! [`sync`](Disk::sync) of that file, and a created, renamed or removed name only after
//! [`sync_dir`](Disk::sync_dir). Until then a crash may keep any subset of it, sector by sector.

mod file;
#[cfg(test)]
mod forgetful;
mod freeing;
mod handles;
mod memory;

use std::io;

pub use file::FileDisk;
#[cfg(test)]
pub(crate) use forgetful::Forgetful;
pub use memory::{Keep, MemDisk, Operation};

/// What a name in the directory stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// The name, without any directory.
    pub name: String,
    /// The length in bytes; 0 for what is not a regular file.
    pub len: u64,
    /// False for directories, symbolic links and whatever else is not a regular file.
    pub is_regular: bool,
}

/// One directory of flat files. All methods take `&self`: a writer and readers share a disk
/// between threads. A handle is cheap to clone by way of `Arc`.
///
/// # For whoever implements it
///
/// [`check_disk`](crate::check_disk) tries most of this.
///
/// - A name that is not there is `NotFound`, whichever method was given it. Only
///   [`create`](Disk::create) makes a file; writing does not.
/// - No room is `StorageFull` or `QuotaExceeded`. Nothing is wrong with the disk then: a new file of
///   the log, or a snapshot, is given up and tried again later. What was written and synced once must
///   be overwritten without more room, since the log is written into files which were filled with
///   zeros before.
/// - A medium that does not give back what is on it is told by the raw error of the operating system:
///   `EIO` or `EBADMSG`, on Linux `EUCLEAN` too, as
///   [`from_raw_os_error`](io::Error::from_raw_os_error) makes them. What stands there then counts as
///   damaged, and comes from peers. An [`io::ErrorKind`] alone is not recognised, but for `NotFound`: a
///   file of the log that is gone counts as damaged, too.
/// - Any other error of a read says nothing about the medium. A store does not open over it, and a
///   node whose log cannot be read stops.
/// - Any other error of a write or a sync is final for what was written. The node stops if it was a part
///   of the log or `meta`, and nothing is tried again; a snapshot over which it happens does not count.
pub trait Disk: Send + Sync + 'static {
    /// Everything in the directory, in the order of the names.
    ///
    /// # Errors
    /// If the directory cannot be read.
    fn list(&self) -> io::Result<Vec<FileInfo>>;

    /// Creates an empty file.
    ///
    /// # Errors
    /// If the name exists (`AlreadyExists`), or as the operating system says.
    fn create(&self, name: &str) -> io::Result<()>;

    /// Fills `buffer` from the bytes at `offset`, stopping at the end of the file only. Returns
    /// how many bytes there were.
    ///
    /// # Errors
    /// If there is no such file (`NotFound`), or as the operating system says: the raw error matters
    /// if it is the medium.
    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`, growing the file if need be. Short and interrupted
    /// writes are continued.
    ///
    /// # Errors
    /// If there is no such file (`NotFound`): it is not created. Without room, `StorageFull` or
    /// `QuotaExceeded`. Otherwise as the operating system says; any part of the bytes may have been
    /// written then.
    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Returns once everything written to the file is on the medium.
    ///
    /// # Errors
    /// If there is no such file (`NotFound`), or as the operating system says. What was written before
    /// may be lost then although it can still be read: nothing but a restart from the medium helps.
    fn sync(&self, name: &str) -> io::Result<()>;

    /// Returns once all created, renamed and removed names are on the medium.
    ///
    /// # Errors
    /// As for [`sync`](Disk::sync).
    fn sync_dir(&self) -> io::Result<()>;

    /// Gives a file another name, replacing what had that name, atomically.
    ///
    /// # Errors
    /// If there is no such file (`NotFound`), or as the operating system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// If there is no such file (`NotFound`), or as the operating system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes later reads of the file come from the medium and not from a cache, as far as
    /// possible. The file was synced before.
    ///
    /// # Errors
    /// As the operating system says.
    fn drop_cache(&self, name: &str) -> io::Result<()>;

    /// Takes the directory for this process alone, until the disk is dropped. Taking it changes
    /// nothing that is stored: the lock is on the directory itself or on a file of no meaning.
    ///
    /// # Errors
    /// `WouldBlock` if another process has it.
    fn lock(&self) -> io::Result<()>;
}

/// True if a read failed because the medium does not give back what is there. Anything else that
/// makes reads fail says nothing about what is on the medium.
pub(crate) fn is_damage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error);
    // What a file system says which finds its own checksums violated.
    #[cfg(target_os = "linux")]
    let violated = errno == Some(Errno::UCLEAN);
    #[cfg(not(target_os = "linux"))]
    let violated = false;
    violated || matches!(errno, Some(Errno::IO | Errno::BADMSG))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn what_a_medium_does_not_give_back_is_told_from_what_a_process_may_not_have() {
        for errno in [Errno::IO, Errno::BADMSG] {
            assert!(is_damage(&errno.into()), "{errno}");
        }
        #[cfg(target_os = "linux")]
        assert!(is_damage(&Errno::UCLEAN.into()));
        for errno in [Errno::NOENT, Errno::NOMEM, Errno::ACCESS, Errno::MFILE, Errno::NOSPC] {
            assert!(!is_damage(&errno.into()), "{errno}");
        }
        // What is gone may be back in a moment, with all that is on it.
        for errno in [Errno::NXIO, Errno::NODEV, Errno::TIMEDOUT] {
            assert!(!is_damage(&errno.into()), "{errno}");
        }
        assert!(!is_damage(&io::ErrorKind::UnexpectedEof.into()));
    }
}
