//! quorate-storage: the log, the meta file and the snapshots of one replica on one disk.
//!
//! A replica acknowledges what its disk keeps, so this crate has one promise to make: what
//! [`Store`] said is saved is found again, whole, after any crash of the process or the machine.
//! What a damaged disk cannot give back is named, so that peers can; a replica whose disk has lost
//! the end of its log is mute. The store never gives less back silently, and never drops what is
//! intact because something else is damaged: then it refuses to open.
//!
//! - **The log** is a row of segments, `wal-<number>`, filled with zeros ahead of time and used
//!   again once snapshots cover them. Everything that waits is written as one *group* of whole
//!   4 KiB blocks and synced once. A group carries the protocol's pledge and the pointer to the
//!   newest snapshot along with its entries, so each write is atomic. The groups form a chain of
//!   digests.
//! - **`meta`** says whose directory this is and counts its starts; it holds a second copy of the
//!   pledge, so that damage to the end of the log cannot take a vote back.
//! - **Snapshots** are files of their own; only the log says which of them counts.
//!
//! After a restart the end of the log has to be judged: a group torn by the crash was never
//! acknowledged and is cut off, damage to an acknowledged one is a gap. How the two are told apart
//! is written in `recovery.rs`.
//!
//! One weakness is known: nothing vouches for the very last group at first, so damage to it looks
//! like a tear, and is cut off. That ends when another group is written, when the last one is
//! [attested](Store::attest), or when the store is closed or opened again.
//!
//! The store decides, it does not act: it gives out [`Job`]s, lists of [`Step`]s on a [`Disk`].
//! The real storage thread and the simulator carry out the same steps, the one on real files
//! ([`FileDisk`]), the other with crashes in between.

// Tests try real files and several threads; what is not a test is linted by itself.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

mod codec;
mod conformance;
mod disk;
mod error;
mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod group;
mod index;
mod inspect;
mod job;
mod meta;
mod reader;
mod recovery;
mod segment;
mod snapshot;
mod store;
mod wal;

pub use conformance::{Nonconforming, check_disk, check_disk_after_crash};
pub use disk::{Disk, FileDisk, FileInfo, Keep, MemDisk, Operation};
pub use error::{Damage, StorageError};
pub use inspect::{
    InspectedGroup, InspectedRun, InspectedSegment, Inspection, RunEffect, Verified, inspect,
    verify,
};
pub use job::{Done, Job, Step};
pub use reader::{LogReader, Scrubbed};
pub use snapshot::{
    SnapshotBuilder, SnapshotDamage, SnapshotError, SnapshotReader, SnapshotStore, StoredSnapshot,
};
pub use store::{Owner, Store, StoreOptions};
