//! How much all clients together may make a node hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that are held for clients: requests from their arrival until they are answered, and
/// answers until they are sent.
#[derive(Debug)]
pub(crate) struct Budget {
    max_bytes: usize,
    held_bytes: AtomicUsize,
}

/// What is held for one request; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(max_bytes: usize) -> Arc<Budget> {
        Arc::new(Budget { max_bytes, held_bytes: AtomicUsize::new(0) })
    }

    /// Nothing, yet.
    pub(crate) fn charge(self: &Arc<Budget>) -> Charge {
        Charge { budget: Arc::clone(self), bytes: 0 }
    }
}

impl Charge {
    /// Has at least so many bytes be held. False if all together would hold too much: then
    /// nothing changes. Whoever is alone may hold anything, or it could never be served.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> bool {
        let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) else {
            return true;
        };
        let grown = |held: usize| {
            let alone = held == self.bytes;
            let fits = held.checked_add(more).is_some_and(|sum| sum <= self.budget.max_bytes);
            (alone || fits).then(|| held.saturating_add(more))
        };
        let held = &self.budget.held_bytes;
        let grown = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok();
        if grown {
            self.bytes = bytes;
        }
        grown
    }

    /// Has at most so many bytes be held.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        self.budget.held_bytes.fetch_sub(less, Ordering::Relaxed);
        self.bytes -= less;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_together_hold_no_more_than_the_budget() {
        let budget = Budget::new(100);
        let (mut one, mut other) = (budget.charge(), budget.charge());
        assert!(one.grow_to(60) && other.grow_to(40));
        assert!(!one.grow_to(61));
        other.shrink_to(10);
        assert!(one.grow_to(90) && one.grow_to(5));
        assert!(!other.grow_to(11));
        drop(one);
        assert!(other.grow_to(100));
        drop(other);
        assert_eq!(budget.held_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn who_is_alone_may_hold_more_than_all_together() {
        let budget = Budget::new(100);
        let (mut large, mut small) = (budget.charge(), budget.charge());
        assert!(large.grow_to(50) && large.grow_to(500));
        assert!(!small.grow_to(1));
        drop(large);
        assert!(small.grow_to(1));
    }
}
