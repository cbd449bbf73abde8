//! What a replica has sworn: its view.

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
}

// 0        8        64
// │ view   │ 0 … 0  │    little-endian
const VIEW: std::ops::Range<usize> = 0..8;

impl quorate_core::Pledge for Pledge {
    fn to_bytes(&self) -> PledgeBytes {
        let mut bytes = [0; 64];
        bytes[VIEW].copy_from_slice(&self.view.0.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &PledgeBytes) -> Option<Pledge> {
        let view = u64::from_le_bytes(bytes[VIEW].try_into().ok()?);
        let pledge = Pledge { view: Ballot(view) };
        // Whatever else the bytes say is not of this layout.
        (pledge.to_bytes() == *bytes).then_some(pledge)
    }

    /// All of it: nothing merely rides along.
    fn promise(&self) -> Pledge {
        *self
    }

    /// The later view: neither says anything of the log.
    fn joined(in_log: Option<Pledge>, sworn: Pledge) -> Pledge {
        Pledge { view: in_log.map_or(sworn.view, |in_log| in_log.view.max(sworn.view)) }
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::Pledge as _;

    use super::*;

    #[test]
    fn the_bytes_on_disk_are_golden() {
        let pledge = Pledge { view: Ballot(0x0102) };
        let mut golden = [0; 64];
        golden[..2].copy_from_slice(&[2, 1]);
        assert_eq!(pledge.to_bytes(), golden);
        assert_eq!(Pledge::from_bytes(&golden), Some(pledge));
    }

    #[test]
    fn a_view_is_promised() {
        let pledge = Pledge { view: Ballot(3) };
        assert_eq!(pledge.promise(), pledge);
    }

    #[test]
    fn no_view_is_entered_twice_whichever_place_is_behind() {
        let [a, b] = [1, 2].map(|view| Pledge { view: Ballot(view) });
        for (in_log, sworn) in [(None, b), (Some(a), b), (Some(b), a), (Some(b), b)] {
            assert_eq!(Pledge::joined(in_log, sworn), b);
        }
    }

    #[test]
    fn bytes_of_another_layout_are_refused() {
        for position in [8, 9, 16, 63] {
            let mut bytes = Pledge { view: Ballot(3) }.to_bytes();
            bytes[position] = 1;
            assert_eq!(Pledge::from_bytes(&bytes), None, "byte {position}");
        }
    }
}
