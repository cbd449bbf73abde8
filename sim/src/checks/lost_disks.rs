//! A replica that lost something vouches for nothing until it has all of it again: otherwise a
//! majority could forget what a majority had (Michael et al. 2017, section 2; Ongaro 2014, section
//! 3.8).

use super::logs::Disk;
use super::{Property, Verdict};

const PROPERTY: Property = Property {
    name: "a replica that lost something vouches for nothing",
    stated_in: "Michael et al. 2017, section 2",
};

/// `node`, which has this disk, says something that counts.
pub(super) fn vouches(node: usize, disk: &Disk, said: impl FnOnce() -> String) -> Verdict {
    PROPERTY.require(disk.lost.is_none() || !disk.is_loss_known, || {
        format!("replica {} lost what its disk held, and says {}", node + 1, said())
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::logs;
    use super::*;

    #[test]
    fn who_lost_something_and_vouches_is_found_until_it_has_it_again() {
        let mut logs = logs(&[&[1, 1]]);
        let says = |disk: &Disk| vouches(0, disk, String::new);
        says(&logs.disks[0]).unwrap();
        logs.wiped(0);
        assert_eq!(says(&logs.disks[0]).unwrap_err().property, PROPERTY.name);
        logs.regained(0);
        says(&logs.disks[0]).unwrap();
    }
}
