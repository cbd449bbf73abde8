//! What can be broken on purpose without touching the code, to see that it is noticed.

/// Something broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Canary {
    /// Replicas are told that writes are durable as soon as they ask for them.
    AcknowledgeBeforeSync,
    /// A write that is durable is taken for all later ones too.
    CompleteLaterWrites,
    /// What was sworn is forgotten at each start.
    ForgetPledge,
    /// A crash takes the last entry with it, durable or not.
    LoseLastEntry,
    /// A leader answers reads from what it has, without asking anybody.
    ReadLocally,
}
