//! Why a history was not found linearizable.

use std::fmt::Debug;

use crate::minimum::{Minimum, Traffic};
use crate::violation::Violation;

/// Why a history was not found linearizable. Only the first of these says that it is not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError<I: Debug, O: Debug> {
    /// It is not; this part of it shows it.
    #[error("{0}")]
    NotLinearizable(Box<Violation<I, O>>),
    /// The budget did not suffice. Nothing is known: give it a larger one, or record histories with
    /// fewer operations of unknown outcome, fewer at once, or more keys.
    #[error(
        "undecided: the search of {undecided} of {keys} keys was given up after {steps} steps; give \
         it a larger budget, or a history with fewer unknown outcomes or less concurrency on one key"
    )]
    Undecided {
        /// Of how many keys it is not known.
        undecided: usize,
        /// How many keys there are.
        keys: usize,
        /// How many steps of the model were taken.
        steps: u64,
    },
    /// Too little happened for the check to mean anything. What there was is linearizable.
    #[error("too little happened: {traffic}; asked for are at least: {minimum}")]
    TooLittleTraffic {
        /// What happened.
        traffic: Traffic,
        /// What should have.
        minimum: Minimum,
    },
    /// An operation returned before it was called: its recorder is wrong.
    #[error(
        "operation {operation} of the history was called at {called} and returned at {returned}"
    )]
    ReturnedBeforeCalled {
        /// Its position in the history.
        operation: usize,
        /// When it was called, as the history says.
        called: u64,
        /// When it returned, as the history says.
        returned: u64,
    },
}
