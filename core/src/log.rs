//! The one log.
/// placeholder
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Log {}
