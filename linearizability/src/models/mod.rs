//! Models of common objects.

mod counter;
mod keyed;
mod register;

pub use counter::{Counter, CounterInput, CounterOutput};
pub use keyed::{KeyValue, Keyed};
pub use register::{Register, RegisterInput, RegisterOutput};
