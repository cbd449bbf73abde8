//! Raft: how a cluster of servers agrees on one log.
//!
//! The protocol is that of Diego Ongaro's dissertation, "Consensus: Bridging Theory and Practice"
//! (2014), whose sections are cited throughout. It is written as a pure, deterministic state
//! machine, [`Raft`], an implementation of [`quorate_core::Protocol`]: one input in, effects out.
//!
//! # The protocol
//!
//! Time is cut into **terms**. In each term at most one server **leads**; the others **follow**.
//! Only the leader puts entries into the log, and only behind what is there. An entry that a
//! majority of the servers has on disk in the leader's term is **committed**: it stays where it
//! is, whoever leads from then on.
//!
//! Everything rests on four promises, and each is there for a reason:
//!
//! 1. *One vote in each term.* A server writes its term and its vote to disk (the [`Pledge`])
//!    before it says so, and any two majorities have a server in common. So no term has two
//!    leaders, not even if servers forget everything that was not on disk.
//! 2. *No vote for a log that lacks what one's own has* (section 3.6.1). A committed entry is in
//!    the logs of a majority, so whoever is elected holds it. What is in the log counts here even
//!    if it is not on disk yet: it may be by the time when it matters.
//! 3. *Entries are taken only behind the entry they were sent to follow* (section 3.5). So two
//!    logs that agree in one entry agree in all before it, and to acknowledge the last entry is to
//!    acknowledge all of them. A follower cuts off what differs from its leader's log, and
//!    nothing but that: a message that was overtaken by later ones takes nothing away.
//! 4. *Only what is on disk is acknowledged*, and this binds the leader, too: its own copy counts
//!    once its own disk has it. It sends entries before that, and may even commit before that, by
//!    the copies of others (section 10.2.1).
//!
//! Of copies of entries of earlier terms a leader concludes nothing, however many there are: one
//! that lacks them may still be elected. It opens its term with an entry of its own, and commits
//! them all together with that (section 3.6.2).
//!
//! # What keeps it going
//!
//! Safety never depends on time; progress does. A follower that hears nothing from a leader for
//! a while asks the others whether they would vote for it (**PreVote**, section 9.6), and
//! campaigns only if a majority would. So a server that cannot win does not disturb the others by
//! raising terms. How long a follower waits differs from server to server, so that they do not split
//! the votes. Nobody is voted for while a leader is known to be alive (section 4.2.3), except if
//! that leader itself hands over (section 3.10). In return, a leader steps down when it has not
//! heard from a majority for a while (**CheckQuorum**, section 6.2): otherwise one whose heartbeats
//! arrive, but who gets no answers, would keep a working majority from electing another. So does one
//! whose disk cannot show an entry that is not committed: maybe nobody else has it, and it would
//! lead in vain.
//!
//! A follower may be behind, ahead, elsewhere, slow, full, or gone. What the leader knows of it
//! decides what it is sent: one entry at a time until their logs have met; then batch upon batch
//! without waiting for answers, up to a window; a snapshot if what it needs is compacted; next to
//! nothing while it does not answer. Nothing is repeated for fear of loss: the next message, or at
//! the latest the next heartbeat, makes the follower say what it lacks.
//!
//! # Reads
//!
//! A leader that was replaced may not know. So before it answers a read it asks a majority
//! whether they still follow it (**ReadIndex**, section 6.4): messages carry the number of a round
//! of asking, answers echo it, and a read waits for a round that began after it arrived. Before
//! the leader has committed its opening it does not know what earlier leaders had committed, so
//! reads wait for that, too.
//!
//! # Where to find it
//!
//! A server is a `Follower`, a `Candidate` or a `Leader`; what only one of them needs exists only
//! there. `raft` joins them: it looks at a message's term, chooses the role's handler, elects and
//! deposes. A peer that says what no correct server would say is ignored and counted
//! ([`PeerFault`]).

mod candidate;
mod fault;
mod follower;
mod leader;
mod message;
mod pledge;
mod progress;
mod raft;
mod server;

pub use fault::PeerFault;
pub use message::{AppendEntries, AppendEntriesReply, Appended, Message};
pub use pledge::Pledge;
pub use raft::Raft;

#[cfg(test)]
mod tests;
