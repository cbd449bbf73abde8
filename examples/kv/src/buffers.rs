//! What all clients together make the server hold.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts bytes held for clients, up to a limit.
#[derive(Debug)]
pub struct Buffers {
    max_bytes: usize,
    small_bytes: usize,
    bytes: AtomicUsize,
}

/// What is held for one client. Given back when dropped.
#[derive(Debug)]
pub struct Share<'a> {
    all: &'a Buffers,
    bytes: usize,
}

impl Buffers {
    /// A client for which no more is held than this, or than half of an equal share, is never the
    /// one to be cut off.
    const SMALL_BYTES: usize = 64 << 10;

    /// Nothing held so far, and the limit for so many clients.
    #[must_use]
    pub fn new(max_bytes: usize, max_clients: usize) -> Buffers {
        let small_bytes = (max_bytes / max_clients.max(1) / 2).min(Buffers::SMALL_BYTES);
        Buffers { max_bytes, small_bytes, bytes: AtomicUsize::new(0) }
    }

    /// The share of a client for which nothing is held yet.
    #[must_use]
    pub fn share(&self) -> Share<'_> {
        Share { all: self, bytes: 0 }
    }
}

impl Share<'_> {
    /// So many bytes are held for this client.
    ///
    /// # Errors
    /// If too much is held for all together and not little for this one: cut it off.
    pub fn set(&mut self, bytes: usize) -> io::Result<()> {
        let before = std::mem::replace(&mut self.bytes, bytes);
        if bytes <= before {
            self.all.bytes.fetch_sub(before - bytes, Ordering::Relaxed);
            return Ok(());
        }
        let more = bytes - before;
        let all = self.all.bytes.fetch_add(more, Ordering::Relaxed) + more;
        if all > self.all.max_bytes && bytes > self.all.small_bytes {
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                format!("cut off: {all} bytes held for all clients, {bytes} of them for this one"),
            ));
        }
        Ok(())
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.all.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_holds_little_is_not_cut_off_for_others() {
        let buffers = Buffers::new(200_000, 2);
        let (mut large, mut small) = (buffers.share(), buffers.share());
        large.set(199_000).unwrap();
        small.set(2_000).unwrap();
        assert!(large.set(200_001).is_err());
        large.set(10_000).unwrap();
        small.set(180_000).unwrap();
        drop((large, small));
        assert_eq!(buffers.bytes.into_inner(), 0);
    }

    #[test]
    fn a_client_is_cut_off_for_what_it_takes_and_not_for_what_it_has() {
        let buffers = Buffers::new(200_000, 2);
        let (mut large, mut equal, mut small) = (buffers.share(), buffers.share(), buffers.share());
        large.set(150_000).unwrap();
        small.set(10_000).unwrap();
        // Half of an equal share is still little.
        equal.set(50_000).unwrap();
        large.set(150_000).unwrap();
        assert!(large.set(150_001).is_err());
    }

    #[test]
    fn clients_that_hold_little_hold_no_more_than_the_limit_together() {
        let buffers = Buffers::new(200_000, 10);
        let mut shares: Vec<Share<'_>> = (0..10).map(|_| buffers.share()).collect();
        for share in &mut shares {
            share.set(10_000).unwrap();
        }
        shares[0].set(110_000).unwrap();
        assert!(shares[1].set(10_001).is_err());
    }
}
