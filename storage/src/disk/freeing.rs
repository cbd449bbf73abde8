//! What removed files held is given back by a thread of its own.
#![expect(clippy::disallowed_types, reason = "of the one place of this crate that touches files")]

use std::fs::File;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Closes the last handle of a removed file elsewhere. With that handle the content goes, and it takes a
/// file system some ten milliseconds to free a hundred megabytes: whoever writes the log must not wait for that.
#[derive(Debug, Default)]
pub(super) struct Freeing {
    /// To the thread, which is started for the first file and ends with this.
    files: Mutex<Option<Sender<Arc<File>>>>,
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
        // Without a thread, it is closed here.
        if let Some(files) = &*files {
            let _ = files.send(file);
        }
    }
}

fn start() -> Option<Sender<Arc<File>>> {
    let (sender, files) = channel();
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
