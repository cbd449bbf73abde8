//! What is asked of the kernel, as far as it lets that be seen.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::process::Command;

use rustix::fs::{Advice, fadvise, inotify};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::*;

/// To be synced it is opened, which is told to whoever watches it.
#[test]
fn a_directory_that_exists_is_synced_where_it_stands_before_it_is_given_out() {
    let above = tempfile::tempdir().unwrap();
    let path = above.path().join("x");
    std::fs::create_dir(&path).unwrap();
    let events = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&events, above.path(), inotify::WatchFlags::OPEN).unwrap();
    FileDisk::create(&path).unwrap();
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(events, &mut buffer);
    let mut is_opened = false;
    while let Ok(event) = events.next() {
        // What is below has a name.
        is_opened |= event.file_name().is_none();
    }
    assert!(is_opened);
}

/// True if a read need not wait for the medium.
fn is_cached(file: &File) -> bool {
    let mut byte = [0];
    let read = preadv2(file, &mut [IoSliceMut::new(&mut byte)], 0, ReadWriteFlags::NOWAIT);
    read != Err(Errno::AGAIN)
}

#[test]
fn what_is_dropped_from_the_cache_is_read_from_the_medium() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FileDisk::create(directory.path()).unwrap();
    disk.create("x").unwrap();
    disk.write_at("x", 0, &[1; 4096]).unwrap();
    disk.sync("x").unwrap();
    let file = disk.handle("x", Purpose::Read).unwrap();
    // What is being read just now stays.
    let can_be_dropped = |drop: &dyn Fn()| {
        (0..100).any(|_| {
            drop();
            !is_cached(&file)
        })
    };
    // On some file systems there is nothing but the cache.
    let by_advice = can_be_dropped(&|| fadvise(&file, 0, None, Advice::DontNeed).unwrap());
    disk.read_at("x", 0, &mut [0; 4096]).unwrap();
    assert!(is_cached(&file));
    assert_eq!(can_be_dropped(&|| disk.drop_cache("x").unwrap()), by_advice);
}

const IS_LIMITED: &str = "QUORATE_TEST_HAS_LIMITED_FILES";

/// Of what goes beyond the limit for files, the kernel writes as much as it allows, and says so. The
/// limit is that of a process, so this has one of its own.
#[test]
fn what_was_written_in_part_is_not_taken_for_written() {
    if std::env::var_os(IS_LIMITED).is_some() {
        let directory = tempfile::tempdir().unwrap();
        let disk = FileDisk::create(directory.path()).unwrap();
        disk.create("x").unwrap();
        let error = disk.write_at("x", 0, &[1; 100_000]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert!(disk.list().unwrap()[0].len > 0, "a part was");
        return;
    }
    let me = "disk::file::kernel::what_was_written_in_part_is_not_taken_for_written";
    let script = r#"trap '' XFSZ; ulimit -f 16; exec "$0" --exact "$1""#;
    let program = std::env::current_exe().unwrap();
    let mut limited = Command::new("sh");
    limited.args(["-c", script]).arg(program).arg(me).env(IS_LIMITED, "");
    let output = limited.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
