//! What all clients together make the server hold.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Counts bytes held for clients. Beyond a limit, whoever holds most is cut off.
#[derive(Debug)]
pub struct Buffers {
    max_bytes: usize,
    small_bytes: usize,
    /// What is held for all, but for those which are being cut off.
    bytes: AtomicUsize,
    large: Mutex<Large>,
    last_id: AtomicU64,
}

/// The clients for which more than little is held, and how much that is.
type Large = BTreeMap<u64, (usize, Arc<End>)>;

/// What is held for one client. Given back when dropped.
#[derive(Debug)]
pub struct Share<'a> {
    all: &'a Buffers,
    id: u64,
    bytes: usize,
    end: Arc<End>,
}

/// That a client is to be cut off. What is held for it counts no more from then on.
#[derive(Debug, Default)]
struct End {
    is_due: AtomicBool,
    told: Notify,
}

impl Buffers {
    /// A client for which no more is held than this, or than half of an equal share, is never the
    /// one to be cut off.
    const SMALL_BYTES: usize = 64 << 10;

    /// Nothing held so far, and the limit for so many clients.
    #[must_use]
    pub fn new(max_bytes: usize, max_clients: usize) -> Buffers {
        let small_bytes = (max_bytes / max_clients.max(1) / 2).min(Buffers::SMALL_BYTES);
        let (bytes, large) = (AtomicUsize::new(0), Mutex::default());
        Buffers { max_bytes, small_bytes, bytes, large, last_id: AtomicU64::new(0) }
    }

    /// The share of a client for which nothing is held yet.
    #[must_use]
    pub fn share(&self) -> Share<'_> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed);
        Share { all: self, id, bytes: 0, end: Arc::default() }
    }

    fn large(&self) -> MutexGuard<'_, Large> {
        self.large.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, before: usize, bytes: usize) {
        match bytes > before {
            true => self.bytes.fetch_add(bytes - before, Ordering::Relaxed),
            false => self.bytes.fetch_sub(before - bytes, Ordering::Relaxed),
        };
    }

    /// Ends those for which most is held, until the others hold no more than they may together.
    fn make_room(&self) {
        let mut large = self.large();
        while self.bytes.load(Ordering::Relaxed) > self.max_bytes {
            let most = large.iter().max_by_key(|(_, (bytes, _))| *bytes).map(|(id, _)| *id);
            let Some((bytes, end)) = most.and_then(|id| large.remove(&id)) else { return };
            end.is_due.store(true, Ordering::Relaxed);
            end.told.notify_one();
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Share<'_> {
    /// So many bytes are held for this client. If that is too much for all together, whoever holds
    /// most is [ended](Share::end), be it this one or another.
    pub fn set(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        let is_large = |bytes| bytes > self.all.small_bytes;
        if is_large(before) || is_large(bytes) {
            let mut large = self.all.large();
            if self.end.is_due.load(Ordering::Relaxed) {
                return;
            }
            match is_large(bytes) {
                true => drop(large.insert(self.id, (bytes, self.end.clone()))),
                false => drop(large.remove(&self.id)),
            }
            self.all.add(before, bytes);
        } else if !self.end.is_due.load(Ordering::Relaxed) {
            self.all.add(before, bytes);
        }
        if bytes > before && self.all.bytes.load(Ordering::Relaxed) > self.all.max_bytes {
            self.all.make_room();
        }
    }

    /// Ends when this client is to be cut off, with the error that says so.
    pub fn end(&self) -> impl Future<Output = io::Error> + Send + 'static {
        let end = self.end.clone();
        async move {
            end.told.notified().await;
            let why = "cut off: too much is held for all clients, and most of it for this one";
            io::Error::new(io::ErrorKind::QuotaExceeded, why)
        }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ended(share: &Share<'_>) -> bool {
        share.end.is_due.load(Ordering::Relaxed)
    }

    #[test]
    fn whoever_holds_most_is_cut_off_and_nobody_who_holds_little() {
        let buffers = Buffers::new(200_000, 2);
        let [mut most, mut less, mut little] = [buffers.share(), buffers.share(), buffers.share()];
        most.set(100_000);
        less.set(90_000);
        little.set(10_000);
        assert!(!is_ended(&most));
        little.set(10_001);
        assert!(is_ended(&most) && !is_ended(&less) && !is_ended(&little));
        // What it held is free, and whatever becomes of it counts no more.
        most.set(300_000);
        most.set(10);
        less.set(189_000);
        assert!(!is_ended(&less));
        less.set(190_000);
        assert!(is_ended(&less), "it is the one that holds most itself");
        little.set(40_000);
        assert!(!is_ended(&little));
        drop((most, less, little));
        assert_eq!(buffers.bytes.into_inner(), 0);
        assert!(buffers.large.into_inner().unwrap().is_empty());
    }

    #[test]
    fn as_many_are_cut_off_as_it_takes() {
        let buffers = Buffers::new(200_000, 2);
        let mut shares: Vec<Share<'_>> = (0..4).map(|_| buffers.share()).collect();
        for (share, bytes) in shares.iter_mut().zip([60_000, 65_000, 70_000, 140_000]) {
            share.set(bytes);
        }
        let ended: Vec<bool> = shares.iter().map(is_ended).collect();
        assert_eq!(ended, [false, false, false, true]);
        shares[0].set(190_000);
        let ended: Vec<bool> = shares.iter().map(is_ended).collect();
        assert_eq!(ended, [true, false, false, true]);
    }

    #[test]
    fn clients_that_hold_little_hold_no_more_than_the_limit_together() {
        let buffers = Buffers::new(200_000, 10);
        let mut shares: Vec<Share<'_>> = (0..10).map(|_| buffers.share()).collect();
        for share in &mut shares {
            share.set(10_000);
        }
        shares[0].set(110_000);
        assert!(!is_ended(&shares[0]));
        shares[1].set(10_001);
        assert!(is_ended(&shares[0]));
    }

    #[tokio::test]
    async fn a_client_that_waits_is_told_that_its_time_is_over() {
        let buffers = Buffers::new(100_000, 2);
        let [mut waits, mut other] = [buffers.share(), buffers.share()];
        waits.set(60_000);
        let end = waits.end();
        other.set(50_000);
        assert_eq!(end.await.kind(), io::ErrorKind::QuotaExceeded);
    }
}
