//! Viewstamped Replication, to come.
//!
//! Replicas move through numbered *views*; the primary of a view is the replica whose turn it is,
//! `view mod n`, so no votes are cast over who leads. The primary assigns op-numbers and sends
//! `Prepare`; a backup answers `PrepareOk` once the operation is on its disk; a majority of these
//! commits it. A replica that does not hear from its primary asks to leave the view
//! (`StartViewChange`); when a quorum wants to, each durably enters the next view and reports its
//! log to the new primary (`DoViewChange`), which takes the log of the latest view among a quorum
//! and announces it (`StartView`). (Liskov and Cowling, *Viewstamped Replication Revisited*,
//! 2012.)
//!
//! The module will implement [`quorate_core::Protocol`], on the same log, snapshots, sessions and
//! shells as Raft. Until then the commands refuse `--protocol vsr` with a clear error.
