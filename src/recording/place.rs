//! Where a recording goes.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::format::{Kind, MAGIC, Record};
use super::reader::RecordingError;
use super::records::{Next, Records};

/// How many recordings are kept beside the one that is written.
const KEPT: u32 = 9;

/// What became of the wish to record into a file.
#[derive(Debug)]
pub(super) enum Place {
    /// It is empty, and nobody else's as long as it is open.
    Free(File),
    /// As many recordings stand there as are kept.
    Full,
}

/// Why a file is not to be had. Whatever stood there still does.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlaceError {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Another node records into it.
    #[error("another node records there")]
    InUse,
}

/// Creates the file. A recording that is there gets a number first, which no other one has: a node
/// that a supervisor starts again and again would otherwise write over the recording of what
/// went wrong at first. Only one that has nothing but a start is written over.
///
/// The lock is on the file, not on its name: so it stays with a recording that gets a number.
pub(super) fn create(path: &Path) -> Result<Place, PlaceError> {
    match fs::symlink_metadata(path) {
        // To open a FIFO waits for whoever writes to it, and a device is not to be given another name.
        Ok(found) if !found.is_file() => return Err(already_exists()),
        Ok(found) => {
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            lock(&file)?;
            // By now it may be the recording of another node, which was faster.
            if !is_same(&found, &file.metadata()?) || !is_same(&found, &fs::symlink_metadata(path)?)
            {
                return Err(PlaceError::InUse);
            }
            if !is_recording(&file)? {
                return Err(already_exists());
            }
            if !has_more_than_a_start(path)? {
                fs::remove_file(path)?;
            } else if !keep(path)? {
                return Ok(Place::Full);
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    // What clients have sent is nobody else's business.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = match options.open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(PlaceError::InUse),
        opened => opened?,
    };
    lock(&file)?;
    // Another node may have found it empty and not locked, and have put its own there.
    match fs::symlink_metadata(path) {
        Ok(found) if is_same(&found, &file.metadata()?) => Ok(Place::Free(file)),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Err(PlaceError::InUse),
    }
}

fn already_exists() -> PlaceError {
    io::Error::from(ErrorKind::AlreadyExists).into()
}

fn lock(file: &File) -> Result<(), PlaceError> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => PlaceError::InUse,
        TryLockError::Error(error) => error.into(),
    })
}

#[cfg(unix)]
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn is_same(_: &Metadata, _: &Metadata) -> bool {
    true
}

/// An empty file is one that had no room.
fn is_recording(file: &File) -> io::Result<bool> {
    let mut begin = Vec::new();
    file.take(MAGIC.len() as u64).read_to_end(&mut begin)?;
    Ok(begin.is_empty() || begin == MAGIC)
}

/// What this program cannot read may be anything, and counts.
fn has_more_than_a_start(path: &Path) -> io::Result<bool> {
    let mut records = match Records::open(path) {
        Ok(records) => records,
        // Less of it was written than would say what it is.
        Err(RecordingError::NotARecording) => return Ok(false),
        Err(RecordingError::Io(error)) => return Err(error),
        Err(_) => return Ok(true),
    };
    loop {
        match records.next() {
            Ok(Next::Record(Record { kind: Kind::About | Kind::Start, .. })) => {}
            Ok(Next::Record(Record { kind: Kind::End, .. }) | Next::Nothing { .. }) => {
                return Ok(false);
            }
            Err(RecordingError::Io(error)) => return Err(error),
            Ok(Next::Record(Record { kind: Kind::Batch, .. }) | Next::Unknown) | Err(_) => {
                return Ok(true);
            }
        }
    }
}

/// Gives a recording the first number that is free. False if none is.
fn keep(path: &Path) -> io::Result<bool> {
    for number in 1..=KEPT {
        let numbered = numbered(path, number);
        match fs::symlink_metadata(&numbered) {
            // Whoever wants the same number has the same file, and would have to have it locked.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                fs::rename(path, numbered)?;
                return Ok(true);
            }
            Err(error) => return Err(error),
            Ok(_) => {}
        }
    }
    Ok(false)
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tempfile::TempDir;

    use super::super::format::{About, Last, file_header};
    use super::*;

    fn place() -> (TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recording");
        (dir, path)
    }

    fn file(path: &Path) -> File {
        match create(path).unwrap() {
            Place::Free(file) => file,
            Place::Full => panic!("no room"),
        }
    }

    /// A recording with a start, and what else there is to be.
    fn recording(rest: &[Record]) -> Vec<u8> {
        let mut bytes = file_header().to_vec();
        let about = About { protocol: "raft".to_owned(), package: "0".to_owned() };
        let start = Record { kind: Kind::Start, body: "start".into() };
        let records = [Record::about(&about), start];
        records.iter().chain(rest).for_each(|record| record.write_to(&mut bytes).unwrap());
        bytes
    }

    fn batch(body: u8) -> Record {
        Record { kind: Kind::Batch, body: vec![body].into() }
    }

    fn refused(path: &Path) -> ErrorKind {
        match create(path).unwrap_err() {
            PlaceError::Io(error) => error.kind(),
            PlaceError::InUse => panic!("it is in use"),
        }
    }

    #[test]
    fn a_recording_that_is_there_is_kept_and_what_is_none_is_left_alone() {
        let (_dir, path) = place();
        for life in 0..3 {
            file(&path).write_all(&recording(&[batch(life)])).unwrap();
        }
        for (life, path) in
            [numbered(&path, 1), numbered(&path, 2), path.clone()].iter().enumerate()
        {
            assert_eq!(fs::read(path).unwrap(), recording(&[batch(life as u8)]));
        }
        fs::write(&path, "something else").unwrap();
        assert_eq!(refused(&path), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"something else");
    }

    #[test]
    fn starts_that_fail_write_over_each_other_and_over_nothing_else() {
        let (dir, path) = place();
        let ended = || Record::end(Last::Stopped);
        let crash = recording(&[batch(7)]);
        file(&path).write_all(&crash).unwrap();
        let failed = [Vec::new(), file_header().to_vec(), recording(&[]), recording(&[ended()])];
        for bytes in failed.iter().chain(&failed) {
            file(&path).write_all(bytes).unwrap();
        }
        assert_eq!(fs::read(numbered(&path, 1)).unwrap(), crash);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        let mut of_another_version = recording(&[]);
        of_another_version[8] ^= 1;
        fs::write(&path, &of_another_version).unwrap();
        drop(file(&path));
        assert_eq!(fs::read(numbered(&path, 2)).unwrap(), of_another_version);
    }

    #[test]
    fn when_all_numbers_are_given_nothing_is_written_over() {
        let (dir, path) = place();
        // Whatever has the number.
        fs::create_dir(numbered(&path, 3)).unwrap();
        let lives = KEPT as u8;
        for life in 0..lives {
            file(&path).write_all(&recording(&[batch(life)])).unwrap();
        }
        for _ in 0..2 {
            assert!(matches!(create(&path).unwrap(), Place::Full));
        }
        assert_eq!(fs::read(&path).unwrap(), recording(&[batch(lives - 1)]));
        assert_eq!(fs::read(numbered(&path, 1)).unwrap(), recording(&[batch(0)]));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), usize::from(lives) + 1);
    }

    #[test]
    fn a_file_into_which_another_node_records_stays_its_own() {
        let (_dir, path) = place();
        let mut first = file(&path);
        first.write_all(&recording(&[batch(1)])).unwrap();
        assert!(matches!(create(&path).unwrap_err(), PlaceError::InUse));
        first.write_all(b"and on").unwrap();
        let whole = [recording(&[batch(1)]), b"and on".to_vec()].concat();
        assert_eq!(fs::read(&path).unwrap(), whole);
        drop(first);
        drop(file(&path));
        assert_eq!(fs::read(numbered(&path, 1)).unwrap(), whole);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_no_file_is_neither_opened_nor_renamed() {
        let (dir, path) = place();
        fs::create_dir(&path).unwrap();
        assert_eq!(refused(&path), ErrorKind::AlreadyExists);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        assert_eq!(refused(&link), ErrorKind::AlreadyExists);
        // To open one that nobody reads would hang.
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert_eq!(refused(&socket), ErrorKind::AlreadyExists);
        let fifo = dir.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o600.into()).unwrap();
        assert_eq!(refused(&fifo), ErrorKind::AlreadyExists);
    }
}
