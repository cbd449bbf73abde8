//! The async tasks which wait for one event.

use std::task::Waker;

/// Names one waiting future or handle within its structure. Never reused there.
pub(crate) type Key = u64;

/// At most one waker for each key.
///
/// Whatever comes out of it must be woken or dropped *outside* the lock that guards it: to drop a
/// waker can free a whole task, whose own destructors may want that lock.
#[derive(Default)]
pub(crate) struct Wakers {
    /// Kept apart, since one waiting task is the usual case and it should cost no allocation.
    first: Option<(Key, Waker)>,
    others: Vec<(Key, Waker)>,
}

impl Wakers {
    /// Wakes `waker` at the next event, in place of the one that `key` had, which is returned.
    #[must_use = "to be dropped outside the lock"]
    pub(crate) fn register(&mut self, key: Key, waker: &Waker) -> Option<Waker> {
        let mut all = self.first.iter_mut().chain(&mut self.others);
        if let Some((_, held)) = all.find(|(held, _)| *held == key) {
            if held.will_wake(waker) {
                return None;
            }
            return Some(std::mem::replace(held, waker.clone()));
        }
        match &mut self.first {
            vacant @ None => *vacant = Some((key, waker.clone())),
            Some(_) => self.others.push((key, waker.clone())),
        }
        None
    }

    /// Forgets what `key` registered.
    #[must_use = "to be dropped outside the lock"]
    pub(crate) fn remove(&mut self, key: Key) -> Option<Waker> {
        if let Some((_, waker)) = self.first.take_if(|(held, _)| *held == key) {
            return Some(waker);
        }
        let place = self.others.iter().position(|(held, _)| *held == key)?;
        Some(self.others.swap_remove(place).1)
    }

    /// Hands over all of them, to be woken outside the lock.
    #[must_use = "to be woken outside the lock"]
    pub(crate) fn take(&mut self) -> Wakers {
        std::mem::take(self)
    }

    pub(crate) fn wake(self) {
        for (_, waker) in self.first.into_iter().chain(self.others) {
            waker.wake();
        }
    }
}
