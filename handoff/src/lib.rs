//! What the threads of a replica share.
//!
//! A replica runs a few threads: the loop, which owns the protocol and the sockets, the storage
//! thread, the apply thread, and helpers; and its users call in from threads and runtimes of their
//! own. Whatever one of them does for another passes through the structures of this crate:
//!
//! - a [`queue`] bounded in bytes, whose consumer takes all that has gathered: group commit;
//! - a [`slot`] for the one answer to one request;
//! - a [`fate`]: whether a request may have been sent, for a caller who no longer waits for its answer;
//! - a [`watermark`] that only rises: which restoration is the newest that was asked for;
//! - a [`Shutdown`] signal, and the wait until every thread has obeyed it;
//! - a [`Retention`]: which snapshots must be kept, while some complete them and others remove them.
//!
//! What a thread merely looks at while another one changes it is not of this kind: a status, the
//! place of an entry on disk, whether a peer is connected. Each of these is one value under a lock of
//! its own, or one atomic, and nothing is ordered by it.
//!
//! What is waited for can be so asleep, and awaited on any async runtime; none depends on one. Handing
//! something over takes a lock that is held for a few instructions only, and never waits otherwise.
//! Wakers are called after that lock is released.
//!
//! ```no_run
//! use std::collections::VecDeque;
//! use quorate_handoff::{queue, slot, watermark};
//!
//! let (writes, queued) = queue(64 << 20);
//! let (advancer, durable) = watermark(0);
//! let storage = std::thread::spawn(move || {
//!     let mut group = VecDeque::new();
//!     while queued.pop_all(&mut group).is_ok() {
//!         // One write and one sync for the whole group, then:
//!         advancer.advance(group.drain(..).max().unwrap_or(0));
//!     }
//! });
//! writes.push(1, 4096)?;
//! writes.push(2, 512)?;
//! durable.wait(2)?;
//! drop(writes);
//! storage.join().expect("the storage thread does not panic");
//!
//! let (completion, waiter) = slot();
//! std::thread::spawn(move || completion.complete("applied"));
//! assert_eq!(waiter.wait()?, "applied");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The orderings of threads that the structures must survive are searched by [loom], run by
//! `RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=3 cargo test -p quorate-handoff --release --lib`.
//!
//! [loom]: https://docs.rs/loom

mod fate;
mod queue;
mod retention;
mod shutdown;
mod slot;
mod sync;
mod wakers;
mod watermark;

#[cfg(test)]
mod testing;

pub use fate::{Attempts, Fate, GivenUp, fate};
pub use queue::{Closed, Consumer, PopError, Producer, PushError, queue};
pub use retention::{Needed, Retention};
pub use shutdown::{Shutdown, ShutdownWait, StillRunning, Worker};
pub use slot::{Completion, Dropped, Waiter, slot};
pub use watermark::{Advancer, Halted, Reached, Watermark, watermark};
