//! A node names its requests once: a name that was given twice would give the answer to one request to
//! whoever asked for the other. (Not from a paper: the promise of `RequestId`.)

use std::collections::BTreeMap;

use quorate_core::{NodeId, Origin, RequestId, Start};

use super::{Property, Verdict};

const PROPERTY: Property =
    Property { name: "a node names its requests once", stated_in: "quorate, RequestId" };

/// The last name that each process has given.
#[derive(Default)]
pub(super) struct NamedOnce {
    last: BTreeMap<(NodeId, Start), RequestId>,
}

impl NamedOnce {
    pub(super) fn named(&mut self, origin: Origin) -> Verdict {
        let start = (origin.node, origin.request.start);
        let before = self.last.insert(start, origin.request);
        PROPERTY.require(before.is_none_or(|before| before < origin.request), || {
            format!("{origin:?} after {before:?}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::origin;
    use super::*;

    #[test]
    fn a_name_given_twice_is_found() {
        let mut check = NamedOnce::default();
        check.named(origin(1)).unwrap();
        assert_eq!(check.named(origin(1)).unwrap_err().property, PROPERTY.name);
    }
}
