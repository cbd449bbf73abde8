//! What a client was told is surely not proposed never takes effect, before or after; and a
//! request which is proposed is committed once at most, however often it was forwarded. (Not from
//! a paper: the promise of `Failure::surely_not_proposed` and of `Forward`.)

use std::collections::{BTreeMap, BTreeSet};

use quorate_core::{NodeId, Origin, RequestId, Start};

use super::{Property, Verdict};

const NAMED_ONCE: Property =
    Property { name: "a node names its requests once", stated_in: "quorate, RequestId" };
const NEVER: Property = Property {
    name: "surely not proposed never takes effect",
    stated_in: "quorate, Failure::surely_not_proposed",
};
const ONCE: Property =
    Property { name: "an attempt is committed at most once", stated_in: "quorate, Forward" };

/// What became of the requests that nodes named.
#[derive(Default)]
pub(super) struct Refused {
    refused: BTreeSet<Origin>,
    committed: BTreeSet<Origin>,
    last_named: BTreeMap<(NodeId, Start), RequestId>,
}

impl Refused {
    pub(super) fn named(&mut self, origin: Origin) -> Verdict {
        let start = (origin.node, origin.request.start);
        let before = self.last_named.insert(start, origin.request);
        NAMED_ONCE.require(before.is_none_or(|before| before < origin.request), || {
            format!("{origin:?} after {before:?}")
        })
    }

    pub(super) fn refused(&mut self, origin: Origin) -> Verdict {
        self.refused.insert(origin);
        NEVER.require(!self.committed.contains(&origin), || {
            format!("{origin:?} is committed and was then called surely not proposed")
        })
    }

    pub(super) fn committed(&mut self, origin: Option<Origin>) -> Verdict {
        let Some(origin) = origin else { return Ok(()) };
        NEVER.require(!self.refused.contains(&origin), || {
            format!("{origin:?} was called surely not proposed and is committed")
        })?;
        ONCE.require(self.committed.insert(origin), || format!("{origin:?} is committed twice"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(number: u64) -> Origin {
        Origin { node: NodeId(1), request: RequestId { number, ..RequestId::default() } }
    }

    #[test]
    fn effects_of_the_refused_are_found_in_either_order() {
        let mut check = Refused::default();
        check.refused(origin(1)).unwrap();
        check.committed(Some(origin(2))).unwrap();
        assert_eq!(check.committed(Some(origin(1))).unwrap_err().property, NEVER.name);
        assert_eq!(check.refused(origin(2)).unwrap_err().property, NEVER.name);
    }

    #[test]
    fn an_attempt_committed_twice_is_found() {
        let mut check = Refused::default();
        check.committed(Some(origin(1))).unwrap();
        assert_eq!(check.committed(Some(origin(1))).unwrap_err().property, ONCE.name);
    }

    #[test]
    fn a_name_given_twice_is_found() {
        let mut check = Refused::default();
        check.named(origin(1)).unwrap();
        assert_eq!(check.named(origin(1)).unwrap_err().property, NAMED_ONCE.name);
    }
}
