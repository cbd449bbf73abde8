mod damaged;
mod faults;
pub(crate) mod fixture;
mod installed;
mod model;
mod scenarios;
mod scrubbing;
mod torn;
mod waiting;
