//! What a replica has sworn: its view, and since which one it can say what it never had.

use quorate_core::{Ballot, PledgeBytes};

/// The persistent state of the protocol beside the log.
///
/// A replica that is in a view has left all earlier ones for good: it acknowledges nothing in
/// them. Forgetting that would let an earlier view commit what the later one does not know of.
///
/// The paper's *log_view*, the latest view in which the replica was up to date, is not kept here:
/// every view opens with an entry of its own, so it is the ballot of the log's last entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pledge {
    /// The latest view that the replica was in.
    pub view: Ballot,
    /// The view in which a torn end was last cut off its log; 0 if none ever was. What was cut off
    /// is of this view or an earlier one.
    pub torn: Ballot,
}

// 0        8        16       64
// │ view   │ torn   │ 0 … 0  │    little-endian
const VIEW: std::ops::Range<usize> = 0..8;
const TORN: std::ops::Range<usize> = 8..16;

impl quorate_core::Pledge for Pledge {
    fn to_bytes(&self) -> PledgeBytes {
        let mut bytes = [0; 64];
        bytes[VIEW].copy_from_slice(&self.view.0.to_le_bytes());
        bytes[TORN].copy_from_slice(&self.torn.0.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &PledgeBytes) -> Option<Pledge> {
        let number = |at| Some(Ballot(u64::from_le_bytes(<[u8; 8]>::try_from(&bytes[at]).ok()?)));
        let pledge = Pledge { view: number(VIEW)?, torn: number(TORN)? };
        // Whatever else the bytes say is not of this layout.
        (pledge.to_bytes() == *bytes).then_some(pledge)
    }

    /// All of it: nothing merely rides along.
    fn promise(&self) -> Pledge {
        *self
    }

    /// The later views: neither says anything of the log.
    fn joined(in_log: Option<Pledge>, sworn: Pledge) -> Pledge {
        let Pledge { view, torn } = in_log.unwrap_or_default();
        Pledge { view: view.max(sworn.view), torn: torn.max(sworn.torn) }
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::Pledge as _;

    use super::*;

    #[test]
    fn the_bytes_on_disk_are_golden() {
        let pledge = Pledge { view: Ballot(0x0102), torn: Ballot(0x0304) };
        let mut golden = [0; 64];
        golden[..2].copy_from_slice(&[2, 1]);
        golden[8..10].copy_from_slice(&[4, 3]);
        assert_eq!(pledge.to_bytes(), golden);
        assert_eq!(Pledge::from_bytes(&golden), Some(pledge));
    }

    #[test]
    fn all_of_it_is_promised() {
        let pledge = Pledge { view: Ballot(3), torn: Ballot(2) };
        assert_eq!(pledge.promise(), pledge);
    }

    #[test]
    fn no_view_is_entered_twice_whichever_place_is_behind() {
        let pledge = |view, torn| Pledge { view: Ballot(view), torn: Ballot(torn) };
        let [a, b] = [pledge(1, 0), pledge(2, 1)];
        for (in_log, sworn) in [(None, b), (Some(a), b), (Some(b), a), (Some(b), b)] {
            assert_eq!(Pledge::joined(in_log, sworn), b);
        }
        assert_eq!(Pledge::joined(Some(pledge(3, 0)), pledge(2, 2)), pledge(3, 2));
    }

    #[test]
    fn bytes_of_another_layout_are_refused() {
        for position in [16, 17, 24, 63] {
            let mut bytes = Pledge { view: Ballot(3), torn: Ballot(2) }.to_bytes();
            bytes[position] = 1;
            assert_eq!(Pledge::from_bytes(&bytes), None, "byte {position}");
        }
    }
}
