//! What a protocol calls the parts of a run.

use serde::Serialize;

/// What a protocol calls the parts of a run, for whoever looks at its picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Words {
    /// A ballot: a term, a view.
    pub ballot: &'static str,
    /// Who leads in it.
    pub leader: &'static str,
    /// Who follows.
    pub follower: &'static str,
    /// Who does neither, until the next ballot has begun.
    pub candidate: &'static str,
    /// How the next ballot comes about, in the plural.
    pub elections: &'static str,
    /// What a replica swears: its pledge.
    pub promise: &'static str,
    /// True if whoever speaks in a ballot has sworn it, but for questions before an election: then a
    /// message without that oath is odd.
    pub speaks_under_oath: bool,
}

impl Default for Words {
    /// The words of nobody in particular.
    fn default() -> Words {
        Words {
            ballot: "ballot",
            leader: "leader",
            follower: "follower",
            candidate: "candidate",
            elections: "elections",
            promise: "pledge",
            speaks_under_oath: false,
        }
    }
}
