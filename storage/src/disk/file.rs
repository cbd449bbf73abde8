//! A directory of real files.
#![expect(clippy::disallowed_types, reason = "the one place of this crate that touches files")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{Access, AtFlags, FileType, FlockOperation, Mode, OFlags};

use super::{Disk, FileInfo};

/// A directory of real files, each opened once and kept open.
///
/// Names are resolved relative to the directory as it was opened, and symbolic links are never
/// followed. The lock is an advisory one (`flock`) on the directory itself, so that taking it
/// leaves no trace; the operating system releases it however the process ends.
#[derive(Debug)]
pub struct FileDisk {
    path: PathBuf,
    directory: OwnedFd,
    open: Mutex<BTreeMap<String, Handle>>,
    /// How the first sync of the directory failed that did. The kernel tells of a failure once: it
    /// must not be told to one user of the directory, and another one believe that all is well.
    sync_dir_failure: Mutex<Option<rustix::io::Errno>>,
}

#[derive(Clone, Debug)]
struct Handle {
    file: Arc<File>,
    is_writable: bool,
}

impl FileDisk {
    /// Opens a directory that exists.
    ///
    /// # Errors
    /// If there is no such directory, or it may not be read.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<FileDisk> {
        let path = path.into();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&path, flags, Mode::empty())?;
        let (open, sync_dir_failure) = (Mutex::default(), Mutex::default());
        Ok(FileDisk { path, directory, open, sync_dir_failure })
    }

    /// Opens a directory, creating it and whatever is missing above it.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn create(path: impl Into<PathBuf>) -> io::Result<FileDisk> {
        let path = path.into();
        create_durably(&path)?;
        FileDisk::open(path)
    }

    /// Where the directory is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn handle(&self, name: &str, to_write: bool) -> io::Result<Arc<File>> {
        if let Some(handle) = self.handles().get(name)
            && (handle.is_writable || !to_write)
        {
            return Ok(handle.file.clone());
        }
        let mode = if to_write { OFlags::RDWR } else { OFlags::RDONLY };
        self.open_file(name, mode, to_write)
    }

    fn open_file(&self, name: &str, flags: OFlags, is_writable: bool) -> io::Result<Arc<File>> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
        let file = rustix::fs::openat(&self.directory, plain(name)?, flags, mode)?;
        let file = Arc::new(File::from(file));
        self.handles().insert(name.to_owned(), Handle { file: file.clone(), is_writable });
        Ok(file)
    }

    fn handles(&self) -> MutexGuard<'_, BTreeMap<String, Handle>> {
        // Every change of the map is a single call: it is whole whoever panicked.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_ownership(&self) -> io::Result<()> {
        let owner = rustix::fs::fstat(&self.directory)?.st_uid;
        let me = rustix::process::geteuid().as_raw();
        if owner != me {
            let what = format!("the directory belongs to user {owner}, this process to {me}");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        }
        let access = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
        Ok(rustix::fs::accessat(&self.directory, ".", access, AtFlags::empty())?)
    }
}

impl Disk for FileDisk {
    fn list(&self) -> io::Result<Vec<FileInfo>> {
        let mut files = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.directory)? {
            let entry = entry?;
            if [b".", b"..".as_slice()].contains(&entry.file_name().to_bytes()) {
                continue;
            }
            let stat =
                rustix::fs::statat(&self.directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW);
            let stat = match stat {
                Ok(stat) => stat,
                // Gone since the directory was read: a live one is being looked at.
                Err(rustix::io::Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            let is_regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            let len = if is_regular { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 };
            let name = entry.file_name().to_string_lossy().into_owned();
            files.push(FileInfo { name, len, is_regular });
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }

    fn create(&self, name: &str) -> io::Result<()> {
        self.open_file(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, true).map(|_| ())
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let file = self.handle(name, false)?;
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.handle(name, true)?.write_all_at(bytes, offset)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        // The handle that wrote is the one whose sync reports what became of it.
        self.handle(name, true)?.sync_data()
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut failure = self.sync_dir_failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.is_none() {
            *failure = rustix::fs::fsync(&self.directory).err();
        }
        failure.map_or(Ok(()), |errno| Err(errno.into()))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        rustix::fs::renameat(&self.directory, plain(from)?, &self.directory, plain(to)?)?;
        let mut handles = self.handles();
        handles.remove(to);
        if let Some(handle) = handles.remove(from) {
            handles.insert(to.to_owned(), handle);
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        rustix::fs::unlinkat(&self.directory, plain(name)?, AtFlags::empty())?;
        self.handles().remove(name);
        Ok(())
    }

    fn drop_cache(&self, name: &str) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
        {
            let file = self.handle(name, false)?;
            rustix::fs::fadvise(file.as_fd(), 0, None, rustix::fs::Advice::DontNeed)?;
        }
        let _ = name;
        Ok(())
    }

    fn lock(&self) -> io::Result<()> {
        self.check_ownership()?;
        Ok(rustix::fs::flock(self.directory.as_fd(), FlockOperation::NonBlockingLockExclusive)?)
    }
}

/// The directory is flat: a name with a separator in it would lead out of it.
fn plain(name: &str) -> io::Result<&str> {
    let is_plain = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
    is_plain.then_some(name).ok_or_else(|| io::ErrorKind::InvalidFilename.into())
}

/// Creates a directory so that it survives a crash: its name is synced where it stands.
fn create_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    create_durably(above)?;
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => File::open(above)?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> (tempfile::TempDir, FileDisk) {
        let directory = tempfile::tempdir().unwrap();
        let disk = FileDisk::create(directory.path().join("a/b")).unwrap();
        (directory, disk)
    }

    fn read(disk: &FileDisk, name: &str) -> Vec<u8> {
        let mut buffer = vec![0; 64];
        let n = disk.read_at(name, 0, &mut buffer).unwrap();
        buffer.truncate(n);
        buffer
    }

    #[test]
    fn what_was_written_is_read_under_its_later_name() {
        let (_keep, disk) = disk();
        disk.create("x").unwrap();
        disk.write_at("x", 3, b"abc").unwrap();
        disk.sync("x").unwrap();
        disk.rename("x", "y").unwrap();
        disk.sync_dir().unwrap();
        disk.drop_cache("y").unwrap();
        assert_eq!(read(&disk, "y"), b"\0\0\0abc");
        assert_eq!(disk.read_at("x", 0, &mut [0]).unwrap_err().kind(), io::ErrorKind::NotFound);
        let info = FileInfo { name: "y".to_owned(), len: 6, is_regular: true };
        assert_eq!(disk.list().unwrap(), [info]);
    }

    #[test]
    fn a_name_is_created_once() {
        let (_keep, disk) = disk();
        disk.create("x").unwrap();
        assert_eq!(disk.create("x").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        disk.remove("x").unwrap();
        disk.create("x").unwrap();
    }

    #[test]
    fn names_do_not_lead_out_of_the_directory() {
        let (_keep, disk) = disk();
        for name in ["../x", "/x", "", ".", ".."] {
            assert_eq!(disk.create(name).unwrap_err().kind(), io::ErrorKind::InvalidFilename);
        }
    }

    #[test]
    fn symbolic_links_are_shown_and_not_followed() {
        let (keep, disk) = disk();
        std::fs::write(keep.path().join("target"), b"secret").unwrap();
        std::os::unix::fs::symlink("../../target", disk.path().join("link")).unwrap();
        let listed = disk.list().unwrap();
        assert_eq!(listed, [FileInfo { name: "link".to_owned(), len: 0, is_regular: false }]);
        assert!(disk.read_at("link", 0, &mut [0]).is_err());
        assert!(disk.write_at("link", 0, b"x").is_err());
        assert_eq!(std::fs::read(keep.path().join("target")).unwrap(), b"secret");
    }

    #[test]
    fn a_second_owner_is_refused_and_leaves_no_trace() {
        let (_keep, disk) = disk();
        disk.lock().unwrap();
        let other = FileDisk::open(disk.path()).unwrap();
        assert_eq!(other.lock().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(disk.list().unwrap(), []);
        drop(disk);
        other.lock().unwrap();
    }
}
