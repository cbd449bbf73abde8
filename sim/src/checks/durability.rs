//! What a replica believes to be durable is on its disk: the ground of every acknowledgement
//! (Ongaro 2014, section 3.8; section 10.2.1 for the leader's own).

use quorate_core::{Index, Log};

use super::logs::Logs;
use super::{Property, Verdict};

const PROPERTY: Property = Property {
    name: "what a replica believes durable is on its disk",
    stated_in: "Ongaro 2014, sections 3.8 and 10.2.1",
};

/// Compares what `node` believes of its log with its disk.
pub(super) fn claims(node: usize, log: &Log, logs: &Logs) -> Verdict {
    believes(node, log.durable(), logs)
}

fn believes(node: usize, durable: Index, logs: &Logs) -> Verdict {
    let (held, disk) = (&logs.held[node], &logs.disks[node].log);
    // Digests chain: what agrees at the last durable entry agrees before it.
    if durable == Index::ZERO || durable < disk.base() {
        return Ok(());
    }
    // A log that starts anew behind a snapshot still counts what is committed as durable, and the
    // disk has that until the snapshot takes its place.
    let believed = held.at(durable);
    let is_there = disk.at(durable);
    let agrees = if durable < held.base() { is_there.is_some() } else { believed == is_there };
    PROPERTY.require(agrees, || {
        format!("replica {}, {durable:?}: {believed:?}; on disk: {is_there:?}", node + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{logs, mirror};
    use super::*;

    #[test]
    fn a_belief_beyond_the_disk_is_found() {
        let mut logs = logs(&[&[1, 1]]);
        believes(0, Index(2), &logs).unwrap();
        logs.held[0] = mirror(&[1, 1, 1]);
        believes(0, Index(2), &logs).unwrap();
        assert!(believes(0, Index(3), &logs).is_err());
        logs.held[0] = mirror(&[1, 2]);
        assert!(believes(0, Index(2), &logs).is_err(), "the disk has another entry there");
    }
}
