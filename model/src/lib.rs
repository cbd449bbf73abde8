//! Model checking: a protocol in a small cluster, and everything that can happen to it.
//!
//! What is checked is the real [`Replica`](quorate_core::Replica) with the real protocol in it, not
//! a description of either. Around it everything is a choice: which message arrives next, or
//! never, or twice; which timer runs out; when a write is durable; when a process dies, and how much
//! of what was on its way to the disk is there when it starts again. A [`Model`] tries all of these
//! choices within [`Bounds`], or takes random ones far beyond them.
//!
//! ```
//! use quorate_model::{Bounds, Ending, Model};
//! use quorate_vsr::Vsr;
//!
//! let bounds = Bounds { elections: 1, crashes: 0, slow_writes: 0, ..Bounds::default() };
//! let checked = Model::<Vsr>::new(bounds).check();
//! match checked.ending {
//!     Ending::Exhausted => assert!(checked.progress.distinct > 1000),
//!     ending => panic!("{ending:?}"),
//! }
//! ```
//!
//! A protocol of one's own is checked just so: it implements
//! [`Protocol`](quorate_core::Protocol), and [`Simulated`](quorate_sim::Simulated), in which it may
//! name promises that it alone makes.
//!
//! # What happens
//!
//! - **Messages.** Any message may be lost: it just does not arrive. Messages from different
//!   senders or to different receivers arrive in any order. Those of one sender to one receiver
//!   arrive in theirs, with gaps; a bounded number overtakes others, or there is no order at all.
//!   A bounded number arrives twice.
//! - **Timers** run out at any moment, whether or not they were set; how often is bounded.
//!   There is no clock. Every wait is over as soon as it begins, and nothing that is remembered
//!   expires, so whatever time could bring about is a matter of which timer runs out next.
//! - **Writes.** To become durable is a step of its own. A bounded number of writes is slow: other
//!   things happen before they are durable, and those behind them wait. All others are durable at
//!   once.
//! - **Crashes.** A process dies and starts again on its disk. Of the writes on their way any
//!   number has arrived, in order. It is back at once: to be down is to be slow.
//! - **Clients** propose commands and ask for linearizable reads where somebody leads.
//!
//! The machine executes commands at once, no disk is damaged, and no log is long enough for a
//! snapshot: all of that is for the simulator, and so is liveness.
//!
//! # What is demanded
//!
//! The [oracles of the simulator](quorate_sim::oracles) watch every state: election safety, log
//! matching, leader completeness, leader append-only, that what is committed is on a quorum of
//! disks and never changes, that what is believed durable is, that nothing goes back, that no
//! assertion fails and no replica gives up, and what each protocol promises beyond that. Here they
//! are asked, in addition, whether there is one log for each ballot, under either protocol. One
//! promise is watched here alone: that reads cover what was committed when they were asked for.
//! What oracles remember is a part of the state, so that two ways
//! to the same state are taken for one only if they are the same to every oracle as well.
//!
//! # Why it is fast
//!
//! Messages that no longer matter to their receiver, since they are of an earlier ballot, count as
//! lost, so that states which differ in nothing else are one state. That no replica takes any notice
//! of such a message is a promise like others, and is tried with every state of a replica and every
//! such message. In a random walk they all arrive.
//!
//! Within the same bounds a replica has thousands of states and a cluster has millions, since each
//! state of the cluster is a combination of states of its replicas. So each state of a replica is
//! kept once, and has a number. What comes of it when something happens is found out once, by the
//! real code; after that it is looked up. Of the states of the cluster only fingerprints of 64 bits
//! are kept, and the way to the present one.
//!
//! A counterexample is told by taking every step once more with the real code. That the numbers
//! are right is checked against [stateright](https://docs.rs/stateright), whose checkers run the
//! same model without any of this and must come to the same counts.
//!
//! # The command
//!
//! ```text
//! cargo run --release -p quorate-model -- check --protocol raft
//! cargo run --release -p quorate-model -- check --protocol vsr --elections 3 --states 100000000
//! cargo run --release -p quorate-model -- walk --protocol vsr --seconds 60
//! cargo run --release -p quorate-model -- explore --protocol raft
//! ```

mod bounds;
mod canary;
mod cluster;
mod counterexample;
mod disk;
#[cfg(feature = "explorer")]
mod explorer;
mod hashed;
mod library;
mod model;
mod network;
mod node;
mod panics;
mod promises;
mod reads;
mod rules;
mod search;
mod settled;
mod visited;
mod walk;
mod words;
mod world;

pub use bounds::Bounds;
pub use canary::Canary;
pub use cluster::{Action, Cluster, What};
pub use counterexample::Counterexample;
#[cfg(feature = "explorer")]
pub use explorer::{Explored, Said};
pub use model::{Checked, Ending, Model};
pub use network::Way;
pub use rules::{Local, Speed};
pub use search::{Order, Progress};
pub use walk::{Stroll, Walked};
