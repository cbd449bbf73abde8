mod damaged;
mod faults;
pub(crate) mod fixture;
mod model;
mod scenarios;
mod torn;
