//! Where a recording goes.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::format::MAGIC;

/// Creates the file. A recording that is there is moved out of the way first, in the place of the one
/// before it: a node that is started again by a supervisor would otherwise overwrite the recording
/// of what went wrong.
pub(super) fn create(path: &Path) -> io::Result<File> {
    match File::open(path) {
        Ok(file) if is_recording(&file)? => fs::rename(path, previous(path))?,
        Ok(_) => return Err(ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    // What clients have sent is nobody else's business.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// An empty file is one that had no room.
fn is_recording(file: &File) -> io::Result<bool> {
    let mut begin = Vec::new();
    file.take(MAGIC.len() as u64).read_to_end(&mut begin)?;
    Ok(begin.is_empty() || begin == MAGIC)
}

fn previous(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".previous");
    name.into()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_recording_that_is_there_is_kept_and_what_is_none_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recording");
        let mut bytes = MAGIC.to_vec();
        for life in 0..3 {
            bytes.push(life);
            create(&path).unwrap().write_all(&bytes).unwrap();
        }
        assert_eq!(fs::read(&path).unwrap(), bytes);
        assert_eq!(fs::read(previous(&path)).unwrap(), bytes[..MAGIC.len() + 2]);
        fs::write(&path, "something else").unwrap();
        assert_eq!(create(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"something else");
    }
}
