//! A nack is only sent for what was surely never written or was cut off since (Alagappan et al. 2018,
//! section 3.4, whose nack this is): of all that the disk was given, damaged or not.

use quorate_core::LogId;
use quorate_vsr::{Message, Vsr};

use crate::checks::{Kept, Property, Verdict};
use crate::oracle::Oracle;

const PROPERTY: Property = Property {
    name: "a nack is only sent for what was surely never written",
    stated_in: "Alagappan et al. 2018, section 3.4",
};

/// Compares nacks with what disks were given.
#[derive(Clone, Hash)]
pub(super) struct Nacks;

impl Oracle<Vsr> for Nacks {
    fn vouches(&mut self, node: usize, _: usize, message: &Message, kept: &Kept<'_>) -> Verdict {
        match message {
            Message::Nack { missing, .. } => nack(node, *missing, kept.holds(*missing)),
            _ => Ok(()),
        }
    }
}

fn nack(node: usize, missing: LogId, is_held: bool) -> Verdict {
    PROPERTY
        .require(!is_held, || format!("replica {} nacks {missing}, which it was given", node + 1))
}

#[cfg(test)]
mod tests {
    use quorate_core::{Ballot, Index};

    use super::*;
    use crate::checks::testing::mirror;

    #[test]
    fn a_nack_of_what_is_held_is_found() {
        let log = mirror(&[1, 2]);
        let kept = Kept::of_sound(&log, &log);
        let nacks = |index, ballot| {
            let missing = LogId::new(Index(index), Ballot(ballot));
            Nacks.vouches(0, 1, &Message::Nack { view: Ballot(3), missing }, &kept)
        };
        nacks(3, 2).unwrap();
        nacks(2, 1).unwrap();
        assert_eq!(nacks(2, 2).unwrap_err().property, PROPERTY.name);
    }
}
