//! A directory of real files.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the one place of this crate that touches files"
)]

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{Access, AtFlags, FileType, FlockOperation, Mode, OFlags};

use super::freeing::Freeing;
use super::handles::{Handles, Purpose};
use super::{Disk, FileInfo};

/// A directory of real files, which are kept open as long as they are in use.
///
/// Names are resolved relative to the directory as it was opened, and symbolic links are never
/// followed. The lock is an advisory one (`flock`) on the directory itself, so that taking it
/// leaves no trace; the operating system releases it however the process ends.
#[derive(Debug)]
pub struct FileDisk {
    path: PathBuf,
    directory: OwnedFd,
    open: Mutex<Handles>,
    /// How the first sync of the directory failed that did. The kernel tells of a failure once: it
    /// must not be told to one user of the directory, and another one believe that all is well.
    sync_dir_failure: Mutex<Option<rustix::io::Errno>>,
    freeing: Freeing<Arc<File>>,
}

/// How much is asked of the disk at once by who reads, in bytes, and how much is read ahead: a sync of
/// the log waits behind what the disk was asked for before.
const PIECE_BYTES: usize = 1 << 18;

impl FileDisk {
    /// How many files are kept open at most, unless more than that have unsynced writes.
    pub const MAX_OPEN: usize = Handles::MAX;

    /// Opens a directory that exists.
    ///
    /// # Errors
    /// If there is no such directory, or it may not be read.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<FileDisk> {
        let path = path.into();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&path, flags, Mode::empty())?;
        let (open, sync_dir_failure) = (Mutex::default(), Mutex::default());
        Ok(FileDisk { path, directory, open, sync_dir_failure, freeing: Freeing::default() })
    }

    /// Opens a directory, creating it and whatever is missing above it. It survives a power cut
    /// then, also if an earlier process created it and got no further.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn create(path: impl Into<PathBuf>) -> io::Result<FileDisk> {
        let path = path.into();
        create_durably(&path, &mut sync_directory)?;
        FileDisk::open(path)
    }

    /// Where the directory is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn handle(&self, name: &str, purpose: Purpose) -> io::Result<Arc<File>> {
        let mode = if purpose == Purpose::Read { OFlags::RDONLY } else { OFlags::RDWR };
        let mut handles = self.handles();
        if let Some(file) = handles.find(name, purpose) {
            return Ok(file);
        }
        // Opened under the lock: of two threads which both found none, the later one must not take
        // the place of a handle through which the other has written already.
        let file = self.open_file(name, mode)?;
        let closed = handles.insert(name, file.clone(), purpose);
        drop(handles);
        drop(closed);
        Ok(file)
    }

    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<Arc<File>> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
        let file = rustix::fs::openat(&self.directory, plain(name)?, flags, mode)?;
        advise(&file, ReadAhead::None);
        Ok(Arc::new(File::from(file)))
    }

    fn handles(&self) -> MutexGuard<'_, Handles> {
        // Every change is a single call: it is whole whoever panicked.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has this name, which was found in the directory; `None` if nothing has it any more.
    fn info(&self, name: &CStr) -> io::Result<Option<FileInfo>> {
        let stat = match rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Gone since the directory was read: a live one is being looked at.
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let is_regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let len = if is_regular { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 };
        let name = name.to_string_lossy().into_owned();
        Ok(Some(FileInfo { name, len, is_regular }))
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
            files.extend(self.info(entry.file_name())?);
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }

    fn create(&self, name: &str) -> io::Result<()> {
        let mut handles = self.handles();
        let file = self.open_file(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?;
        let closed = handles.insert(name, file, Purpose::Sync);
        drop(handles);
        drop(closed);
        Ok(())
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let file = self.handle(name, Purpose::Read)?;
        if let Some(piece) = piece_to_read_ahead(offset, buffer.len()) {
            advise(&file, ReadAhead::PieceAt(piece));
        }
        fill(buffer, |rest, filled| file.read_at(rest, offset + filled))
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.handle(name, Purpose::Write)?.write_all_at(bytes, offset)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        let file = self.handle(name, Purpose::Sync)?;
        file.sync_data()?;
        // A file has one writer, which waits for this: nothing was written meanwhile.
        self.handles().set_synced(name);
        Ok(())
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
        self.handles().rename(from, to);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        // One handle outlives the others and the name. Without it, they free the content.
        let last = self.open_file(name, OFlags::RDONLY).ok();
        rustix::fs::unlinkat(&self.directory, plain(name)?, AtFlags::empty())?;
        let closed = self.handles().remove(name);
        drop(closed);
        if let Some(last) = last {
            self.freeing.close(last);
        }
        Ok(())
    }

    fn drop_cache(&self, name: &str) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
        {
            let file = self.handle(name, Purpose::Read)?;
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

/// What the system is to read ahead by itself, which may be megabytes otherwise.
enum ReadAhead {
    None,
    PieceAt(u64),
}

/// Where advice is not taken, all is read as well.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn advise(file: impl AsFd, ahead: ReadAhead) {
    use rustix::fs::{Advice, fadvise};
    let _ = match ahead {
        ReadAhead::None => fadvise(file, 0, None, Advice::Random),
        ReadAhead::PieceAt(at) => {
            fadvise(file, at, std::num::NonZero::new(PIECE_BYTES as u64), Advice::WillNeed)
        }
    };
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn advise(_: impl AsFd, _: ReadAhead) {}

/// Whoever reads on through a file in small parts enters one piece after the other: each is had as a whole
/// then. `None` within a piece, and for what is no smaller than one.
fn piece_to_read_ahead(offset: u64, len: usize) -> Option<u64> {
    let end = offset + len as u64;
    let piece = end.saturating_sub(1) / PIECE_BYTES as u64 * PIECE_BYTES as u64;
    (0 < len && len < PIECE_BYTES && piece >= offset).then_some(piece)
}

/// The directory is flat: a name with a separator in it would lead out of it.
fn plain(name: &str) -> io::Result<&str> {
    let is_plain = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
    is_plain.then_some(name).ok_or_else(|| io::ErrorKind::InvalidFilename.into())
}

/// Reads until the buffer is full or nothing more comes. `read` is told how much has come before.
fn fill(
    buffer: &mut [u8],
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        let end = buffer.len().min(filled + PIECE_BYTES);
        match read(&mut buffer[filled..end], filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Sees to it that a directory is there after a power cut, by having its name synced where it
/// stands. That may still be due for one that exists: whoever created it may not have lived to do
/// it.
fn create_durably(path: &Path, sync: &mut impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    let above = match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        // The root has no name, and what is named from here on back stands somewhere else.
        None => return Ok(()),
        Some(_) => Path::new("."),
    };
    if path.is_dir() {
        return match sync(above) {
            // Where this process may not write, somebody else created it; and so it was where nothing
            // can be created, and be synced.
            Err(error) if is_not_ours(&error) => Ok(()),
            other => other,
        };
    }
    create_durably(above, sync)?;
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        other => other?,
    }
    sync(above)
}

fn is_not_ours(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem | InvalidInput | Unsupported)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(all(test, target_os = "linux"))]
mod kernel;

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
    fn what_is_removed_while_the_directory_is_listed_is_left_out() {
        let (_keep, disk) = disk();
        disk.create("x").unwrap();
        let info = FileInfo { name: "x".to_owned(), len: 0, is_regular: true };
        assert_eq!(disk.info(c"x").unwrap(), Some(info));
        disk.remove("x").unwrap();
        assert_eq!(disk.info(c"x").unwrap(), None);
        assert!(disk.info(c"x/y").unwrap().is_none() && disk.list().unwrap().is_empty());
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
    fn a_created_directory_and_all_above_it_are_synced_where_they_stand() {
        let directory = tempfile::tempdir().unwrap();
        let path = |below: &str| directory.path().join(below);
        let create = |path: &Path| {
            let mut synced = Vec::new();
            create_durably(path, &mut |above| {
                synced.push(above.to_owned());
                Ok(())
            })
            .unwrap();
            assert!(path.is_dir());
            synced
        };
        let above = directory.path().parent().unwrap().to_owned();
        assert_eq!(create(&path("a/b")), [above, path(""), path("a")].map(|p| p.join("")));
        // Whoever created it may have been killed before it came to that.
        assert_eq!(create(&path("a/b")), [path("a")]);
        std::fs::create_dir(path("a/b/c")).unwrap();
        assert_eq!(create(&path("a/b/c/d")), [path("a/b"), path("a/b/c")]);
        assert_eq!(create(Path::new("/")), Vec::<PathBuf>::new());
        let refused = |_: &Path| Err(io::ErrorKind::PermissionDenied.into());
        create_durably(&path("a/b"), &mut { refused }).unwrap();
        create_durably(&path("a/e"), &mut { refused }).unwrap_err();
        assert_eq!(create(Path::new(".")), [Path::new(".")]);
    }

    #[test]
    fn a_directory_that_may_not_be_durable_is_not_given_out() {
        let directory = tempfile::tempdir().unwrap();
        let create = |path: &Path, kind: io::ErrorKind| {
            create_durably(path, &mut |_| Err(kind.into())).map_err(|error| error.kind())
        };
        let other = io::ErrorKind::Other;
        assert_eq!(create(directory.path(), other), Err(other));
        // A file system on which nothing is created cannot be synced; what is created has to be.
        for kind in [io::ErrorKind::InvalidInput, io::ErrorKind::ReadOnlyFilesystem] {
            assert_eq!(create(directory.path(), kind), Ok(()));
            assert_eq!(create(&directory.path().join(kind.to_string()), kind), Err(kind));
        }
        sync_directory(directory.path()).unwrap();
        // What can be opened and not be synced.
        sync_directory(Path::new("/dev/null")).unwrap_err();
    }

    #[test]
    fn whoever_creates_a_directory_at_the_same_time_is_in_nobodys_way() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        let mut synced = 0;
        let somebody_else_is_faster = &mut |_: &Path| {
            synced += 1;
            if synced == 1 { std::fs::create_dir(&path) } else { Ok(()) }
        };
        create_durably(&path, somebody_else_is_faster).unwrap();
        assert_eq!(synced, 2);
        std::fs::write(path.join("file"), b"").unwrap();
        let taken = create_durably(&path.join("file"), &mut |_| Ok(()));
        assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_read_goes_on_where_it_was_interrupted_and_ends_where_it_fails() {
        type Piece = Result<&'static [u8], io::ErrorKind>;
        let read = |pieces: &[Piece]| {
            let (mut pieces, mut buffer, mut read) = (pieces.iter(), [0; 6], 0);
            let filled = fill(&mut buffer, |rest, at| {
                assert_eq!(at, read);
                let piece = (*pieces.next().expect("nobody reads on behind the end"))?;
                rest[..piece.len()].copy_from_slice(piece);
                read += piece.len() as u64;
                Ok(piece.len())
            });
            assert!(pieces.next().is_none(), "all is read");
            filled.map(|n| buffer[..n].to_vec()).map_err(|error| error.kind())
        };
        let interrupted: Piece = Err(io::ErrorKind::Interrupted);
        let pieces = [interrupted, Ok(b"ab"), interrupted, Ok(b"cdef")];
        assert_eq!(read(&pieces), Ok(b"abcdef".to_vec()));
        assert_eq!(read(&[Ok(b"abc"), Ok(b"")]), Ok(b"abc".to_vec()));
        let failed = io::ErrorKind::OutOfMemory;
        assert_eq!(read(&[Ok(b"abc"), Err(failed)]), Err(failed));
    }

    #[test]
    fn whoever_reads_on_through_a_file_has_each_piece_read_ahead_once() {
        const PIECE: u64 = PIECE_BYTES as u64;
        for len in [1000, 4096, PIECE_BYTES - 1] {
            let offsets = (0..4 * PIECE - len as u64).step_by(len);
            let ahead: Vec<u64> = offsets.filter_map(|at| piece_to_read_ahead(at, len)).collect();
            let expected = [0, PIECE, 2 * PIECE, 3 * PIECE];
            assert_eq!(ahead, expected[..ahead.len()], "{len}");
            assert!(ahead.len() >= 3, "{len}");
        }
        assert_eq!(piece_to_read_ahead(0, PIECE_BYTES), None, "it is read anyway");
        assert_eq!(piece_to_read_ahead(PIECE, 0), None);
    }

    #[test]
    fn little_is_asked_of_the_disk_at_once() {
        let mut buffer = vec![0; 2 * PIECE_BYTES + 1];
        let mut asked = Vec::new();
        let filled = fill(&mut buffer, |rest, at| {
            asked.push((at as usize, rest.len()));
            Ok(rest.len())
        });
        assert_eq!(filled.unwrap(), 2 * PIECE_BYTES + 1);
        let pieces = [(0, PIECE_BYTES), (PIECE_BYTES, PIECE_BYTES), (2 * PIECE_BYTES, 1)];
        assert_eq!(asked, pieces);
    }

    #[test]
    fn whoever_reads_a_file_that_is_removed_reads_on() {
        let (_keep, disk) = disk();
        disk.create("x").unwrap();
        disk.write_at("x", 0, b"content").unwrap();
        let reader = disk.handle("x", Purpose::Read).unwrap();
        disk.remove("x").unwrap();
        assert!(disk.freeing.has_thread(), "that frees what is in it");
        assert_eq!(disk.read_at("x", 0, &mut [0; 7]).unwrap_err().kind(), io::ErrorKind::NotFound);
        let mut content = [0; 7];
        reader.read_exact_at(&mut content, 0).unwrap();
        assert_eq!(&content, b"content");
    }

    /// Something that can be opened and not be synced.
    fn pipe() -> OwnedFd {
        std::io::pipe().unwrap().0.into()
    }

    #[test]
    fn a_sync_of_the_directory_that_failed_fails_for_good() {
        let (_keep, mut disk) = disk();
        let healthy = std::mem::replace(&mut disk.directory, pipe());
        let failed = disk.sync_dir().unwrap_err();
        disk.directory = healthy;
        assert_eq!(disk.sync_dir().unwrap_err().raw_os_error(), failed.raw_os_error());
        FileDisk::open(disk.path()).unwrap().sync_dir().unwrap();
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn it_is_the_file_itself_that_is_synced_and_whose_cache_is_dropped() {
        let (_keep, disk) = disk();
        // Whether or not this process has written to it: an earlier one may have.
        for purpose in [Purpose::Sync, Purpose::Write] {
            disk.handles().insert("x", Arc::new(pipe().into()), purpose);
            assert_eq!(disk.sync("x").unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        assert_eq!(disk.drop_cache("x").unwrap_err().kind(), io::ErrorKind::NotSeekable);
    }

    #[test]
    fn what_is_no_directory_is_not_opened() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = FileDisk::open(file.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn a_process_that_is_started_inherits_nothing_that_is_open() {
        use rustix::io::{FdFlags, fcntl_getfd};
        let (_keep, disk) = disk();
        disk.create("x").unwrap();
        let file = disk.handle("x", Purpose::Read).unwrap();
        for open in [disk.directory.as_fd(), file.as_fd()] {
            assert!(fcntl_getfd(open).unwrap().contains(FdFlags::CLOEXEC));
        }
    }

    #[test]
    fn a_file_is_its_owners_who_may_let_a_group_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let (_keep, disk) = disk();
        disk.create("x").unwrap();
        let mode = std::fs::metadata(disk.path().join("x")).unwrap().permissions().mode();
        // The group's is left to the mask of the process.
        assert_eq!(mode & 0o777 | 0o040, 0o640);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_pipe_in_the_directory_holds_nobody_up() {
        let (_keep, disk) = disk();
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(&disk.directory, "x", FileType::Fifo, mode, 0).unwrap();
        assert!(!disk.list().unwrap()[0].is_regular);
        assert!(disk.read_at("x", 0, &mut [0]).is_err());
        assert!(disk.write_at("x", 0, &[0]).is_err());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_directory_that_is_somebody_elses_or_may_not_be_written_to_is_not_taken() {
        use std::os::unix::fs::{DirBuilderExt, chown};
        let directory = tempfile::tempdir().unwrap();
        let lock = |path: &Path| FileDisk::open(path)?.lock();
        let is_refused = |path: &Path| {
            lock(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        };
        let as_a_user_of_few_rights = || {
            if rustix::process::geteuid().is_root() {
                let user = rustix::fs::Uid::from_raw(1);
                chown(directory.path(), Some(1), None).unwrap();
                assert!(is_refused(directory.path()), "that root may do it is no reason to");
                // Of this thread, and of no other.
                rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            }
            assert!(is_refused(Path::new("/")));
            let path = directory.path().join("to read");
            std::fs::DirBuilder::new().mode(0o500).create(&path).unwrap();
            assert!(is_refused(&path));
            lock(directory.path()).unwrap();
        };
        std::thread::scope(|scope| scope.spawn(as_a_user_of_few_rights).join().unwrap());
    }

    #[test]
    fn no_more_files_are_kept_open_than_is_said() {
        let (_keep, disk) = disk();
        let name = |n: usize| format!("file-{n}");
        let open = || std::fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or(0);
        let before = open();
        for n in 0..5 * FileDisk::MAX_OPEN {
            disk.create(&name(n)).unwrap();
            disk.write_at(&name(n), 0, &n.to_le_bytes()).unwrap();
            disk.sync(&name(n)).unwrap();
        }
        for n in 0..5 * FileDisk::MAX_OPEN {
            assert_eq!(read(&disk, &name(n)), n.to_le_bytes());
        }
        // Other tests of this process have files open, too.
        assert!(open() < before + 2 * FileDisk::MAX_OPEN);
    }

    #[test]
    fn a_handle_that_wrote_keeps_its_place_whoever_opens_the_file_to_read() {
        let (_keep, disk) = disk();
        std::fs::write(disk.path().join("x"), b"before").unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..200).for_each(|_| drop(read(&disk, "x"))));
            }
            for _ in 0..200 {
                disk.write_at("x", 0, b"after").unwrap();
                let wrote = disk.handles().find("x", Purpose::Sync).unwrap();
                disk.sync("x").unwrap();
                assert!(Arc::ptr_eq(&wrote, &disk.handles().find("x", Purpose::Sync).unwrap()));
                // As at a start, nothing is open.
                disk.handles().remove("x");
            }
        });
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
