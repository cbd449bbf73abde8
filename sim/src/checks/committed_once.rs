//! A request which is proposed is committed once at most, however often it was forwarded. (Not from a
//! paper: the promise of `Forward`.)

use std::collections::BTreeSet;

use quorate_core::Origin;

use super::{Property, Verdict};

const PROPERTY: Property =
    Property { name: "an attempt is committed at most once", stated_in: "quorate, Forward" };

/// The requests that are committed.
#[derive(Default)]
pub(super) struct CommittedOnce {
    committed: BTreeSet<Origin>,
}

impl CommittedOnce {
    pub(super) fn is_committed(&self, origin: &Origin) -> bool {
        self.committed.contains(origin)
    }

    /// The next entry of the log that is committed carries a request of this origin, if any.
    pub(super) fn committed(&mut self, origin: Option<Origin>) -> Verdict {
        let Some(origin) = origin else { return Ok(()) };
        PROPERTY.require(self.committed.insert(origin), || format!("{origin:?} is committed twice"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::origin;
    use super::*;

    #[test]
    fn an_attempt_committed_twice_is_found() {
        let mut check = CommittedOnce::default();
        check.committed(None).unwrap();
        check.committed(Some(origin(1))).unwrap();
        assert_eq!(check.committed(Some(origin(1))).unwrap_err().property, PROPERTY.name);
    }
}
