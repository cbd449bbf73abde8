//! What was acknowledged is on the disk (Ongaro 2014, section 3.8): a replica learns from the others that it
//! has acknowledged more than its disk holds only if something was really taken from that.

use super::{Property, Verdict};

const PROPERTY: Property = Property {
    name: "what was acknowledged is on the disk",
    stated_in: "Ongaro 2014, section 3.8",
};

/// `node` is told that it has acknowledged more than its disk holds.
pub(crate) fn has_lost(node: usize, is_harmed: bool) -> Verdict {
    PROPERTY
        .require(is_harmed, || format!("replica {} was told so, and its disk is sound", node + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_of_a_sound_disk_is_found() {
        has_lost(0, true).unwrap();
        assert_eq!(has_lost(0, false).unwrap_err().property, PROPERTY.name);
    }
}
