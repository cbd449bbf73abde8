//! A replica acknowledges only what its disk can give back: nothing behind damage that it knows of,
//! and nothing that never reached the disk (Ongaro 2014, section 3.8; Alagappan et al. 2018,
//! section 3.4).

use std::fmt::Debug;

use quorate_core::Index;

use super::{Kept, Property, Verdict};

const PROPERTY: Property = Property {
    name: "only what the disk can give back is acknowledged",
    stated_in: "Ongaro 2014, section 3.8; Alagappan et al. 2018, section 3.4",
};

/// `node`, whose disk has this, acknowledges everything up to `index` by this message.
pub(super) fn acknowledges(
    node: usize,
    index: Index,
    kept: &Kept<'_>,
    message: &impl Debug,
) -> Verdict {
    is_readable(node, index, kept.readable(), message)
}

fn is_readable(node: usize, index: Index, readable: Index, message: &impl Debug) -> Verdict {
    PROPERTY.require(index <= readable, || {
        format!("replica {} can read up to {readable:?}, and says {message:?}", node + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_of_what_cannot_be_read_is_found() {
        is_readable(0, Index(3), Index(3), &()).unwrap();
        assert!(is_readable(0, Index(4), Index(3), &()).is_err());
    }
}
