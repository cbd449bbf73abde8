//! A linearizability checker: could an object that takes one operation at a time have answered its
//! clients what they were answered?
//!
//! A history is **linearizable** (Herlihy and Wing, *Linearizability: A Correctness Condition for
//! Concurrent Objects*, 1990) if each operation can be thought to have happened at one moment
//! between its call and its return, so that a sequential object, given the operations in that order,
//! returns what was returned. This crate decides that for recorded histories of any object, and shows
//! a smallest part of the history that cannot be explained if it is not so.
//!
//! ```
//! use quorate_linearizability::models::{Register, RegisterInput, RegisterOutput};
//! use quorate_linearizability::{CheckError, Checker, ClientId, History, Minimum};
//!
//! let (alice, bob) = (ClientId(1), ClientId(2));
//! let mut history = History::new();
//! let write = history.call(alice, RegisterInput::Write(1));
//! let read = history.call(bob, RegisterInput::Read);
//! history.returned(read, RegisterOutput::Value(1));
//! history.returned(write, RegisterOutput::Written);
//!
//! // A check that saw nothing has shown nothing: say what the least is.
//! let minimum = Minimum { returned: 2, updates: 1, overlapping: 2 };
//! let checker = Checker::new(Register::new(0), minimum);
//! checker.check(&history)?;
//!
//! // Bob saw the write; nobody who asks later may miss it.
//! let stale = history.call(bob, RegisterInput::Read);
//! history.returned(stale, RegisterOutput::Value(0));
//! let Err(CheckError::NotLinearizable(violation)) = checker.check(&history) else { panic!() };
//! println!("{violation}");
//! assert_eq!(violation.essential().count(), 2, "the two reads; when the write ended is all the same");
//! # Ok::<(), CheckError<RegisterInput<i32>, RegisterOutput<i32>>>(())
//! ```
//!
//! # What a history says
//!
//! Each operation has [an outcome](Outcome), and it matters to be exact about it:
//!
//! - it **returned**: it took effect between its call and its return;
//! - it is **unknown** (a timeout, a lost connection, a server that says it does not know): it may take
//!   effect at any time after its call, or never. It is as if it returned at infinity. Unknown
//!   operations that only read are dropped;
//! - it **failed**, that is: it surely never took effect and never will. It is left out. An error that
//!   does not say so for sure is *unknown*: called failed, it would hide a bug or invent one.
//!
//! # The search
//!
//! Wing and Gong's search (1993) tries at each point the operations that may come next, those called
//! before any other one left has returned, and goes back when nothing fits. With Lowe (*Testing for
//! linearizability*, 2017) calls and returns are a doubly linked list from which operations are lifted
//! and put back, and no pair of linearized operations and state is entered twice. By locality each part
//! of the object that is independent of the others, such as a key, is searched by itself (Horn and
//! Kroening 2015). Beyond that:
//!
//! - what only reads, and can come next, comes next, without an alternative;
//! - operations of unknown outcome are tried last, and only where one makes a difference to what
//!   comes right after it; and a pair of linearized operations and state is not entered again with
//!   *more* of them used up.
//!
//! The problem is NP-complete, so time and memory are [bounded](Budget). A check that comes to the end
//! of its budget says [`CheckError::Undecided`]; it never passes for a success.
//!
//! # Models
//!
//! [`models`] has registers with compare-and-set, counters, and keyed collections of any other model.
//! For an object of one's own, implement [`Model`].

mod checker;
mod error;
mod history;
mod minimum;
mod model;
pub mod models;
mod search;
mod shrink;
mod violation;

pub use checker::{Budget, Checker, Linearizable};
pub use error::CheckError;
pub use history::{Call, ClientId, History, Operation, Outcome};
pub use minimum::{Minimum, Traffic};
pub use model::{Effect, Model};
pub use violation::{Part, Role, Violation};
