//! Which files are open.
#![expect(clippy::disallowed_types, reason = "of the one place of this crate that touches files")]

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

/// The files that are open.
#[derive(Debug, Default)]
pub(super) struct Handles {
    by_name: BTreeMap<String, Handle>,
    /// Counts uses.
    uses: u64,
}

#[derive(Debug)]
pub(super) struct Handle {
    file: Arc<File>,
    is_writable: bool,
    /// It was written to since it was last synced. The handle that wrote is the one whose sync
    /// reports what became of it.
    is_unsynced: bool,
    last_use: u64,
}

/// What a file is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Read,
    Write,
    Sync,
}

impl Handles {
    /// How many are kept, unless more than that are not synced.
    pub(super) const MAX: usize = 64;

    /// The file under this name, if it is open in a way that serves.
    pub(super) fn find(&mut self, name: &str, purpose: Purpose) -> Option<Arc<File>> {
        let handle = self.by_name.get_mut(name);
        let handle = handle.filter(|handle| handle.is_writable || purpose == Purpose::Read)?;
        self.uses += 1;
        handle.last_use = self.uses;
        handle.is_unsynced |= purpose == Purpose::Write;
        Some(handle.file.clone())
    }

    /// Keeps a file open. Returns one that is not kept any longer in return.
    pub(super) fn insert(
        &mut self,
        name: &str,
        file: Arc<File>,
        purpose: Purpose,
    ) -> Option<Handle> {
        self.uses += 1;
        let (is_writable, is_unsynced) = (purpose != Purpose::Read, purpose == Purpose::Write);
        let handle = Handle { file, is_writable, is_unsynced, last_use: self.uses };
        let before = self.by_name.insert(name.to_owned(), handle);
        if self.by_name.len() <= Handles::MAX {
            return before;
        }
        let idle = self.by_name.iter().filter(|(_, handle)| !handle.is_unsynced);
        let oldest = idle.min_by_key(|(_, handle)| handle.last_use)?.0.clone();
        self.by_name.remove(&oldest)
    }

    /// What was written to this file is on the medium.
    pub(super) fn set_synced(&mut self, name: &str) {
        if let Some(handle) = self.by_name.get_mut(name) {
            handle.is_unsynced = false;
        }
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) {
        self.by_name.remove(to);
        if let Some(handle) = self.by_name.remove(from) {
            self.by_name.insert(to.to_owned(), handle);
        }
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Handle> {
        self.by_name.remove(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_used_least_recently_is_closed_and_none_that_is_not_synced() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let mut handles = Handles::default();
        let name = |n: usize| format!("file-{n}");
        for n in 0..Handles::MAX {
            let purpose = if n < 5 { Purpose::Write } else { Purpose::Read };
            assert!(handles.insert(&name(n), file.clone(), purpose).is_none());
        }
        assert!(handles.find(&name(5), Purpose::Read).is_some());
        assert!(handles.find(&name(6), Purpose::Sync).is_none(), "it is open to read only");
        for n in 0..Handles::MAX {
            assert!(handles.insert(&name(100 + n), file.clone(), Purpose::Read).is_some());
            assert!((0..5).all(|n| handles.by_name.contains_key(&name(n))));
            assert!(!handles.by_name.contains_key(&name(6)));
            assert_eq!(handles.by_name.contains_key(&name(5)), n < Handles::MAX - 6, "{n}");
        }
        handles.set_synced(&name(0));
        assert!(handles.insert("one more", file.clone(), Purpose::Read).is_some());
        assert!(!handles.by_name.contains_key(&name(0)));
        // It is not synced from the first write on, however it was opened and whatever is read.
        handles.insert("written", file.clone(), Purpose::Sync);
        assert!(handles.find("written", Purpose::Write).is_some());
        assert!(handles.find("written", Purpose::Read).is_some());
        for n in 0..Handles::MAX {
            handles.insert(&name(200 + n), file.clone(), Purpose::Read);
        }
        assert!(handles.by_name.contains_key("written"));
        // If all of them are needed, there are more.
        for n in 0..2 * Handles::MAX {
            handles.insert(&name(n), file.clone(), Purpose::Write);
        }
        assert!(handles.by_name.len() >= 2 * Handles::MAX);
    }

    #[test]
    fn a_file_keeps_its_handle_under_its_later_name() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let mut handles = Handles::default();
        handles.insert("a", file.clone(), Purpose::Write);
        handles.insert("b", Arc::new(tempfile::tempfile().unwrap()), Purpose::Write);
        handles.rename("a", "b");
        assert!(Arc::ptr_eq(&handles.find("b", Purpose::Sync).unwrap(), &file));
        assert!(handles.find("a", Purpose::Read).is_none());
        handles.rename("a", "b");
        assert!(handles.find("b", Purpose::Read).is_none());
    }
}
