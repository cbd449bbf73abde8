//! What removed files held is given back by a thread of its own.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

/// How many may wait: each is an open file, of which the process may not have many more.
const WAITING: usize = 8;

/// Drops the last handles of removed files elsewhere. With that handle the content goes, and it takes a
/// file system its time to free hundreds of megabytes: whoever writes the log must not wait for that.
#[derive(Debug)]
pub(super) struct Freeing<T> {
    /// To the thread, which is started for the first one and ends with this.
    handles: Mutex<Option<SyncSender<T>>>,
}

impl<T> Default for Freeing<T> {
    fn default() -> Self {
        Freeing { handles: Mutex::default() }
    }
}

impl<T: Send + 'static> Freeing<T> {
    #[cfg(test)]
    pub(super) fn has_thread(&self) -> bool {
        self.handles.lock().expect("nobody panicked").is_some()
    }

    /// Drops this soon.
    pub(super) fn close(&self, handle: T) {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        if handles.is_none() {
            *handles = start();
        }
        // What the thread does not take, if there is one, is dropped here.
        if let Some(handles) = &*handles {
            let _ = handles.try_send(handle);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "of the one place of this crate that touches files")]
fn start<T: Send + 'static>() -> Option<SyncSender<T>> {
    let (sender, handles) = sync_channel(WAITING);
    let thread = std::thread::Builder::new().name("quorate-freeing".to_owned());
    let started = thread.spawn(move || handles.into_iter().for_each(drop));
    started.is_ok().then_some(sender)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread::{ThreadId, current};

    use super::*;

    /// Says who dropped it, once it may be dropped.
    struct Handle {
        may_be_dropped: Option<Receiver<()>>,
        by: Sender<ThreadId>,
    }

    impl Drop for Handle {
        fn drop(&mut self) {
            let _ = self.may_be_dropped.take().map(|let_it| let_it.recv());
            let _ = self.by.send(current().id());
        }
    }

    #[test]
    fn what_is_to_be_freed_is_dropped_by_another_thread() {
        let (freeing, (by, dropped)) = (Freeing::default(), channel());
        freeing.close(Handle { may_be_dropped: None, by });
        assert_ne!(dropped.recv().unwrap(), current().id());
    }

    #[test]
    fn what_too_much_waits_before_is_dropped_at_once() {
        let (freeing, (let_it, may_be_dropped), (by, dropped)) =
            (Freeing::default(), channel(), channel());
        freeing.close(Handle { may_be_dropped: Some(may_be_dropped), by: by.clone() });
        // The thread may have taken the first one, and then has room for one more.
        for _ in 0..=WAITING {
            freeing.close(Handle { may_be_dropped: None, by: by.clone() });
        }
        freeing.close(Handle { may_be_dropped: None, by });
        assert_eq!(dropped.recv().unwrap(), current().id());
        let_it.send(()).unwrap();
    }
}
