//! No assertion of the code fails: each names an invariant, and stops the replica that breaks it
//! (`docs/ARCHITECTURE.md`, The idea).

use super::{Property, Violation};

pub(super) const PROPERTY: Property =
    Property { name: "assertions hold", stated_in: "the code itself" };

/// The code has panicked with these words.
#[must_use]
pub fn assertion_failed(words: String) -> Violation {
    PROPERTY.violation(words)
}
