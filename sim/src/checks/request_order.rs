//! What one process of a node is asked takes effect in the order in which it was asked, as far as it
//! takes effect. (Not from a paper: the promise of `Node::propose`.)

use std::collections::BTreeMap;

use quorate_core::{NodeId, Origin, RequestId, Start};

use super::{Property, Verdict};

const PROPERTY: Property =
    Property { name: "requests of a node keep their order", stated_in: "quorate, Node::propose" };

/// The last request of each process that is committed.
#[derive(Default)]
pub(super) struct RequestOrder {
    last: BTreeMap<(NodeId, Start), RequestId>,
}

impl RequestOrder {
    /// The next entry of the log that is committed carries a request of this origin, if any.
    pub(super) fn committed(&mut self, origin: Option<Origin>) -> Verdict {
        let Some(Origin { node, request }) = origin else { return Ok(()) };
        let before = self.last.insert((node, request.start), request);
        PROPERTY.require(before.is_none_or(|before| before < request), || {
            let before = before.unwrap_or_default();
            format!("{request:?} of replica {} is committed behind its {before:?}", node.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(node: u64, count: u64, number: u64) -> Option<Origin> {
        let start = Start { count, nonce: 0 };
        Some(Origin { node: NodeId(node), request: RequestId { start, number } })
    }

    #[test]
    fn a_request_that_overtakes_another_of_its_process_is_found() {
        let mut check = RequestOrder::default();
        for origin in [origin(1, 2, 5), origin(2, 1, 4), None, origin(1, 2, 7), origin(1, 1, 9)] {
            check.committed(origin).unwrap();
        }
        check.committed(origin(2, 1, 5)).unwrap();
        assert!(check.committed(origin(1, 2, 6)).is_err());
    }
}
