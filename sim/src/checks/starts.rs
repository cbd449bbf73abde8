//! A process starts on its disk: what it finds there is compared, part by part, with what the disk was
//! given. Each part is a property in a file of its own; in which order they are asked, and what is known of
//! the disk from then on, stands here.

use quorate_core::{Recovered, WriteSeq};

use super::logs::Logs;
use super::{Verdict, beside_the_log, end_of_log, lists_in_log, recovery, sworn_ahead};

/// `node` has found this on its disk.
pub(super) fn recovered(node: usize, found: &Recovered, logs: &mut Logs) -> Verdict {
    // Of the writes that were on their way nothing is known any more once it is settled which have arrived.
    let unsynced: Vec<_> = logs.unsynced_pledges(node).collect();
    let was_told = beside_the_log::was_told(node, found, logs);
    recovery::settles(node, found, logs)?;
    was_told?;
    lists_in_log::are_found(node, found, logs)?;
    let disk = &mut logs.disks[node];
    sworn_ahead::is_found(node, found, &unsynced, &mut disk.sworn)?;
    disk.snapshot = found.snapshot.as_ref().map(|meta| meta.id());
    // What stands beside the log may be missing though the rest of the same write is there.
    disk.peers = found.peers.clone();
    disk.set_mute(found.mute);
    Ok(())
}

/// `node` has found this on its disk, parts of which are damaged. No promise is lost either way; that is
/// for the protocol's own checks of pledges.
pub(super) fn recovered_damaged(node: usize, found: &Recovered, logs: &mut Logs) -> Verdict {
    end_of_log::settles(node, found, logs)?;
    lists_in_log::are_found(node, found, logs)?;
    logs.disks[node].sworn = found.sworn.map(|pledge| (WriteSeq(0), pledge));
    Ok(())
}
