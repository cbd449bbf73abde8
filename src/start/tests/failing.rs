//! A disk that fails at one command: whatever else is written, and whenever that is, it does as it should.

use std::io;
use std::sync::MutexGuard;

use quorate_storage::FileInfo;

use super::*;

/// The command at which disks fail. Its bytes stand nowhere else in what a node writes.
pub(super) const FATAL: i64 = 1_234_567_890_123_456_710;

/// Clones share the files, and what is to fail.
#[derive(Clone, Debug, Default)]
pub(super) struct Failing {
    pub(super) memory: MemDisk,
    due: Arc<Mutex<Option<Due>>>,
}

/// What fails next, once: whoever tried again would be told that all is well.
#[derive(Debug)]
enum Due {
    /// To write [`FATAL`].
    Write,
    /// To sync what it was written to.
    SyncOnceWritten,
    /// To sync this file.
    Sync(String),
}

impl Failing {
    /// From here on, to write [`FATAL`] fails, or to sync it.
    pub(super) fn fail_at_fatal(&self, operation: Operation) {
        *self.due() = Some(match operation {
            Operation::Write => Due::Write,
            Operation::Sync => Due::SyncOnceWritten,
            other => panic!("{other:?} concerns no command"),
        });
    }

    fn due(&self) -> MutexGuard<'_, Option<Due>> {
        self.due.lock().unwrap()
    }
}

fn holds_fatal(bytes: &[u8]) -> bool {
    let fatal = postcard::to_allocvec(&FATAL).unwrap();
    bytes.windows(fatal.len()).any(|window| window == fatal)
}

fn failed() -> io::Error {
    io::ErrorKind::Other.into()
}

impl Disk for Failing {
    fn list(&self) -> io::Result<Vec<FileInfo>> {
        self.memory.list()
    }

    fn create(&self, name: &str) -> io::Result<()> {
        self.memory.create(name)
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.memory.read_at(name, offset, buffer)
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut due = self.due();
        match &*due {
            Some(Due::Write) if holds_fatal(bytes) => {
                *due = None;
                return Err(failed());
            }
            Some(Due::SyncOnceWritten) if holds_fatal(bytes) => {
                *due = Some(Due::Sync(name.to_owned()));
            }
            _ => {}
        }
        self.memory.write_at(name, offset, bytes)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        let is_due = |due: &mut Due| matches!(due, Due::Sync(file) if file == name);
        if self.due().take_if(is_due).is_some() {
            return Err(failed());
        }
        self.memory.sync(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.memory.sync_dir()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.memory.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.memory.remove(name)
    }

    fn drop_cache(&self, name: &str) -> io::Result<()> {
        self.memory.drop_cache(name)
    }

    fn lock(&self) -> io::Result<()> {
        self.memory.lock()
    }
}
