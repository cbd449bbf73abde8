//! What removed files held is given back by a thread of its own.
#![expect(clippy::disallowed_types, reason = "of the one place of this crate that touches files")]

use std::fs::File;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Closes the last handle of a removed file elsewhere. With that handle the content goes, and it takes
/// a file system its time to free hundreds of megabytes: whoever writes the log must not wait for that.
#[derive(Debug, Default)]
pub(super) struct Freeing {
    /// To the thread, which is started for the first file and ends with this.
    files: Mutex<Option<SyncSender<Arc<File>>>>,
}

impl Freeing {
    #[cfg(test)]
    pub(super) fn has_thread(&self) -> bool {
        self.files.lock().expect("nobody panicked").is_some()
    }

    /// Closes this handle soon.
    pub(super) fn close(&self, file: Arc<File>) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if files.is_none() {
            *files = start();
        }
        // What the thread does not take, if there is one, is closed here.
        if let Some(files) = &*files {
            let _ = files.try_send(file);
        }
    }
}

/// How many files may wait to be freed: the process may not have many more open.
const WAITING: usize = 8;

fn start() -> Option<SyncSender<Arc<File>>> {
    let (sender, files) = sync_channel(WAITING);
    let thread = std::thread::Builder::new().name("quorate-freeing".to_owned());
    let started = thread.spawn(move || files.into_iter().for_each(drop));
    started.is_ok().then_some(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_freed_is_closed_by_another_thread() {
        let (freeing, files) =
            (Freeing::default(), [(); 2].map(|()| tempfile::tempfile().unwrap()));
        let files = files.map(Arc::new);
        let held = files.each_ref().map(Arc::downgrade);
        files.into_iter().for_each(|file| freeing.close(file));
        while held.iter().any(|file| file.upgrade().is_some()) {
            std::thread::yield_now();
        }
        assert!(freeing.has_thread());
    }
}
