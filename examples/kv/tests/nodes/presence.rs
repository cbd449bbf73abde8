//! Clusters that want the machine for themselves, among those of the tests of this program.

use std::sync::{Condvar, Mutex};

static PRESENT: Mutex<Present> = Mutex::new(Present { count: 0, is_alone: false });
static LEFT: Condvar = Condvar::new();

struct Present {
    count: usize,
    is_alone: bool,
}

/// A cluster is there, until this is dropped.
pub struct Presence(());

impl Presence {
    /// Once no cluster is there any more that wants to be alone.
    pub fn among_others() -> Presence {
        let present = PRESENT.lock().unwrap();
        let mut present = LEFT.wait_while(present, |present| present.is_alone).unwrap();
        present.count += 1;
        Presence(())
    }

    /// Once no cluster is there any more. Whoever asks for another one meanwhile waits.
    pub fn alone() -> Presence {
        let present = PRESENT.lock().unwrap();
        let mut present = LEFT.wait_while(present, |present| present.count > 0).unwrap();
        *present = Present { count: 1, is_alone: true };
        Presence(())
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut present = PRESENT.lock().unwrap();
        *present = Present { count: present.count - 1, is_alone: false };
        LEFT.notify_all();
    }
}
