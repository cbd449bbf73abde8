//! A linearizable read covers what was committed when it was asked for (Ongaro 2014, section 6.4). The
//! simulator asks more: it knows what all clients were told.

use quorate_core::{Index, NodeId};
use quorate_sim::{Property, Verdict};

const PROPERTY: Property = Property {
    name: "a linearizable read covers what was committed when it was asked for",
    stated_in: "Ongaro 2014, section 6.4",
};

/// A node answers from a state with everything up to `applied` a read that has to cover this.
pub(crate) fn answers(node: NodeId, applied: Index, covering: Index) -> Verdict {
    PROPERTY.require(applied >= covering, || {
        format!("{node:?} answers from {applied:?}; {covering:?} was committed before")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_from_an_old_state_is_found() {
        answers(NodeId(1), Index(2), Index(2)).unwrap();
        assert_eq!(answers(NodeId(1), Index(1), Index(2)).unwrap_err().property, PROPERTY.name);
    }
}
