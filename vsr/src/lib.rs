//! Viewstamped Replication: how a group of replicas agrees on one log.
//!
//! The protocol is that of Barbara Liskov and James Cowling, "Viewstamped Replication Revisited"
//! (2012), with its state on disk. It is written as a pure, deterministic state machine, [`Vsr`],
//! an implementation of [`quorate_core::Protocol`]: one input in, effects out.
//!
//! # The protocol
//!
//! Time is cut into **views**. Nobody is voted for: the replicas take turns, and the **primary** of
//! view *v* is the one whose turn it is, *v* mod *n*; the others are its **backups**. Only the
//! primary puts operations into the log. It sends them in `Prepare`; a backup answers `PrepareOk`
//! once they are on its disk; what a majority has is **committed**, and stays where it is in all
//! later views.
//!
//! If the primary falls silent, the replicas leave its view. Each says so (`StartViewChange`); once
//! a majority wants to, each enters the next view for good and reports where its log ends
//! (`DoViewChange`) to the replica whose turn it is then. That one takes over the best log of a
//! majority, adds an entry of its own, and announces the view (`StartView`). Whoever lacks
//! something asks for it (`GetState`, `NewState`).
//!
//! Everything rests on five promises, and each is there for a reason:
//!
//! 1. *Who has entered a view acknowledges nothing in an earlier one.* The view is on disk (the
//!    [`Pledge`]) before anything is said in it. So when a majority has reported for view *v*,
//!    nothing can become committed in an earlier view that none of their logs holds.
//! 2. *A view begins at most once.* Its first entry is on the primary's disk before anybody hears
//!    of the view, and only the process that entered the view begins it: after a restart the
//!    primary of a view cannot know what it had said, and asks to be left instead.
//! 3. *A view begins with the best log of a majority*: the one of the latest view, and of those the
//!    longest. What is committed is on a majority's disks, so one of those who report holds it; and
//!    whichever log is better than that one's was begun later, with all of it.
//! 4. *Only what is on disk is acknowledged, and only by who holds an entry of the view.* Of copies
//!    of what an earlier view left, nothing follows by itself.
//! 5. *Entries are taken only behind the entry they were sent to follow.* Two logs that agree in
//!    one entry agree in all before it. What differs from the primary's log is cut off, and
//!    nothing but that.
//!
//! # What differs from the paper, and why
//!
//! **State is on disk.** The paper's replicas keep nothing, and recover by asking the others with
//! a nonce. A `DoViewChange` which a replica sent before it lost its memory can then count beside
//! what it says after it has recovered (Michael et al., "Recovering Shared Objects Without Stable
//! Storage", 2017), and a group that loses power as a whole never comes back. A replica that really
//! lost its disk comes back under a new incarnation of it. It is **mute**: nothing that it says
//! counts until the log lists the new incarnation, and its own log holds whatever the old disk may
//! have acknowledged. What was sent from the old disk counts only as long as the best log lists that
//! one still.
//!
//! **There is no log_view.** The paper keeps beside the log the latest view in which the replica
//! was up to date, and the two must agree at every moment: a log that is cut but not yet replaced,
//! or replaced but not yet marked, loses commits. Here every view opens with an entry of its own
//! which is part of the log that the view starts with. So the ballot of a log's last entry *is* its
//! log_view, "latest view, then longest" is the order of the names of last entries, and a log can
//! be taken over piece by piece: whatever has arrived of it, it claims to be no more than it is.
//!
//! **To want to leave changes nothing.** In the paper, one `StartViewChange` makes everybody
//! leave, so a replica that hears nothing keeps the group from working. Here it is a wish. It is
//! granted when a majority has it at the same time, and forgotten by whoever hears the primary
//! again. A replica that has itself heard nothing for the shortest election timeout joins at once.
//! Only who *has* left, as a majority wanted, takes the others along, because it cannot return.
//!
//! **The log stays where it is.** The paper's `DoViewChange` and `StartView` carry logs. Here they
//! say where a log ends, and what is lacking is fetched; asking changes nothing, and the answer is
//! spliced in behind what is held.
//!
//! **What cannot be shown is dropped only if nobody can have acknowledged it.** If the disk with the
//! best log knows an entry by name only, the next primary asks who surely never had it. Once so
//! many say so that no majority is left, the entry was never committed and never will be
//! (`Missing`, `Sought`, `Nack`; Alagappan et al., "Protocol-Aware Recovery for Consensus-Based
//! Storage", 2018). Who has lost even the name says nothing; such a log is left out once the others
//! that have reported are a majority. Otherwise the view does not begin, and peers repair the disk.
//!
//! # What keeps it going
//!
//! Safety never depends on time; progress does. A primary which hears no majority for an election
//! timeout stops leading and asks to be left; so does one whose disk cannot show an entry of which
//! it does not know that it is committed, and one that hands over, as soon as its successor has
//! everything; it never resumes its view. A wish of the primary itself is granted at once. A replica
//! that cannot lead, because its log is damaged or it is mute, lets its turn pass, and one that
//! would need a snapshot first passes it on.
//!
//! Operations are sent once, in a stream to each backup, up to a window. A backup that finds a gap,
//! or hears from `Commit` that it should have more, asks. Nothing is repeated for fear of loss.
//!
//! # Reads
//!
//! A primary that was replaced may not know. So before it answers a read it asks a majority
//! whether they are still in its view: messages carry the number of a round of asking, answers echo
//! it, and a read waits for a round that began after it arrived, and for the view's first entry to
//! be committed.
//!
//! # Where to find it
//!
//! A replica is a `Backup`, a `Primary`, or in a `ViewChange`, in which the next primary's work is
//! the `Succession`; what only one of them needs exists only there. `vsr` joins them. A peer that
//! says what no correct replica would say is ignored and counted ([`PeerFault`]).

mod backup;
mod departure;
mod fault;
mod message;
mod pledge;
mod primary;
mod progress;
mod server;
mod state_transfer;
mod succession;
mod view_change;
mod vsr;

pub use fault::PeerFault;
pub use message::{DoViewChange, Message, Stretch};
pub use pledge::Pledge;
pub use vsr::Vsr;

#[cfg(test)]
mod tests;
