//! What a replica believes to be durable is on its disk: the ground of every acknowledgement
//! (Ongaro 2014, section 3.8; section 10.2.1 for the leader's own).

use quorate_core::Index;

use super::{Mirror, Property, Verdict};

const PROPERTY: Property = Property {
    name: "what a replica believes durable is on its disk",
    stated_in: "Ongaro 2014, sections 3.8 and 10.2.1",
};

/// `node`, which holds this log, believes it to be on this disk up to `durable`.
///
/// # Errors
/// If it is not.
pub fn believes(node: usize, durable: Index, held: &Mirror, disk: &Mirror) -> Verdict {
    // Digests chain: what agrees at the last durable entry agrees before it.
    if durable == Index::ZERO || durable < disk.base() {
        return Ok(());
    }
    // A log that starts anew behind a snapshot still counts what is committed as durable, and the
    // disk has that until the snapshot takes its place.
    let believed = held.at(durable);
    let is_there = disk.at(durable);
    let agrees = if durable < held.base() {
        is_there.is_some()
    } else {
        believed.is_some() && believed == is_there
    };
    PROPERTY.require(agrees, || {
        format!("replica {}, {durable:?}: {believed:?}; on disk: {is_there:?}", node + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::mirror;
    use super::*;

    #[test]
    fn a_belief_beyond_the_disk_is_found() {
        let disk = mirror(&[1, 1]);
        believes(0, Index(2), &disk, &disk).unwrap();
        let held = mirror(&[1, 1, 1]);
        believes(0, Index(2), &held, &disk).unwrap();
        assert!(believes(0, Index(3), &held, &disk).is_err());
        assert!(believes(0, Index(3), &disk, &disk).is_err(), "nobody has that");
        let held = mirror(&[1, 2]);
        let other = believes(0, Index(2), &held, &disk);
        assert!(other.is_err(), "the disk has another entry there");
    }
}
