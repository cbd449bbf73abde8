//! What holds up the user's code for as long as a test wants it.
//!
//! A command or a query is bytes by the time it gets where it is held up, so what it carries is the number
//! of a gate: all of this process are known by theirs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};

/// The gates that are shut, and whether anybody has come to them.
static SHUT: Mutex<BTreeMap<u64, bool>> = Mutex::new(BTreeMap::new());
static OPENED: Condvar = Condvar::new();
static LAST: AtomicU64 = AtomicU64::new(0);

/// Shut until this is dropped, whatever becomes of the test: no thread waits there for ever.
pub struct Gate(u64);

impl Gate {
    pub fn shut() -> Gate {
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        SHUT.lock().unwrap().insert(number, false);
        Gate(number)
    }

    pub fn number(&self) -> u64 {
        self.0
    }

    /// Whether anybody waits there.
    pub fn is_reached(&self) -> bool {
        SHUT.lock().unwrap()[&self.0]
    }

    pub fn open(self) {}
}

impl Drop for Gate {
    fn drop(&mut self) {
        SHUT.lock().unwrap().remove(&self.0);
        OPENED.notify_all();
    }
}

/// Waits until the gate of that number is open.
pub fn pass(number: u64) {
    let mut shut = SHUT.lock().unwrap();
    while let Some(is_reached) = shut.get_mut(&number) {
        *is_reached = true;
        shut = OPENED.wait(shut).unwrap();
    }
}
