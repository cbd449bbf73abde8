//! What a client was told is surely not proposed never takes effect, before or after. (Not from a paper:
//! the promise of `Failure::surely_not_proposed`.)

use std::collections::BTreeSet;

use quorate_core::Origin;

use super::committed_once::CommittedOnce;
use super::{Property, Verdict};

const PROPERTY: Property = Property {
    name: "surely not proposed never takes effect",
    stated_in: "quorate, Failure::surely_not_proposed",
};

/// The requests of which somebody was told that.
#[derive(Default)]
pub(super) struct Refused {
    refused: BTreeSet<Origin>,
}

impl Refused {
    pub(super) fn refused(&mut self, origin: Origin, committed: &CommittedOnce) -> Verdict {
        self.refused.insert(origin);
        PROPERTY.require(!committed.is_committed(&origin), || {
            format!("{origin:?} is committed and was then called surely not proposed")
        })
    }

    /// The next entry of the log that is committed carries a request of this origin, if any.
    pub(super) fn committed(&self, origin: Option<Origin>) -> Verdict {
        let Some(origin) = origin else { return Ok(()) };
        PROPERTY.require(!self.refused.contains(&origin), || {
            format!("{origin:?} was called surely not proposed and is committed")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::origin;
    use super::*;

    #[test]
    fn effects_of_the_refused_are_found_in_either_order() {
        let (mut check, mut committed) = (Refused::default(), CommittedOnce::default());
        check.refused(origin(1), &committed).unwrap();
        check.committed(Some(origin(2))).unwrap();
        committed.committed(Some(origin(2))).unwrap();
        assert_eq!(check.committed(Some(origin(1))).unwrap_err().property, PROPERTY.name);
        assert_eq!(check.refused(origin(2), &committed).unwrap_err().property, PROPERTY.name);
    }
}
