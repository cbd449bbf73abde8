//! After a crash, a disk says what was synced, followed by whole writes of those that were on
//! their way, in order, and nothing else (Ongaro 2014, section 3.8: currentTerm, votedFor and
//! log[] survive; here in one atomic write).

use quorate_core::{Gap, Index, LogId, Recovered};

use super::logs::{Disk, Logs};
use super::{Mirror, Property, Verdict};

const PROPERTY: Property = Property {
    name: "recovery finds what was synced, and whole writes only",
    stated_in: "Ongaro 2014, section 3.8",
};

/// `node` has found this on its disk: so it is known how many of the writes that were on their way are
/// there.
pub(super) fn settles(node: usize, found: &Recovered, logs: &mut Logs) -> Verdict {
    let synced = logs.disks[node].in_words();
    let differs = difference(&logs.disks[node], found);
    let is_a_state_of_the_disk = logs.settle(node, |disk| is_found(disk, found));
    PROPERTY.require(is_a_state_of_the_disk, || {
        let Recovered { pledge, snapshot, log, .. } = found;
        let snapshot = snapshot.as_ref().map(|meta| meta.last);
        format!(
            "replica {} found a log of {:?} to {:?}, snapshot {snapshot:?}, pledge {:?}; synced \
             was {synced}, which differs in {}",
            node + 1,
            log.base,
            log.last,
            pledge.map(|bytes| bytes[..24].to_vec()),
            differs.unwrap_or("nothing")
        )
    })
}

fn is_found(disk: &Disk, found: &Recovered) -> bool {
    difference(disk, found).is_none()
}

/// In what the disk is not what was found.
fn difference(disk: &Disk, found: &Recovered) -> Option<&'static str> {
    let snapshot = found.snapshot.as_ref().map(|meta| meta.id());
    let is_back = snapshot.is_some_and(|snapshot| disk.unread_snapshots.contains(&snapshot));
    let parts = [
        // It falls mute before the rest of the write is there.
        ("muteness", found.mute || !disk.mute),
        ("the pledge", found.pledge.unwrap_or([0; 64]) == disk.pledge.unwrap_or([0; 64])),
        ("the snapshot", snapshot == disk.snapshot || is_back),
        ("the founding", found.founding == disk.founding),
        ("the end of the log", is_end(&disk.log, found)),
        ("the entries in memory", is_tail(&disk.log, found)),
        ("the ballots", are_ballots(&disk.log, found)),
    ];
    parts.into_iter().find(|(_, is_same)| !is_same).map(|(part, _)| part)
}

/// Digests chain, so the last one stands for all.
fn is_end(log: &Mirror, found: &Recovered) -> bool {
    let found = &found.log;
    let end = Some((found.last.ballot, found.last_digest));
    let is_empty = found.last == LogId::ZERO;
    log.last() == found.last.index && (is_empty || log.at(found.last.index) == end)
}

/// What was read back into memory is compared one by one. What precedes the mirror was never seen
/// whole: the mirror of a disk that had lost its end begins with what was found.
fn is_tail(log: &Mirror, found: &Recovered) -> bool {
    let mut tail = found.log.tail.iter().filter(|entry| entry.index() >= log.base());
    tail.all(|entry| log.at(entry.index()) == Some((entry.ballot(), entry.digest())))
}

/// Each is the ballot of the entries from its index on; of a stretch that was repaired it may say
/// again what the one before says, and of one whose names are lost it is a guess.
fn are_ballots(log: &Mirror, found: &Recovered) -> bool {
    let is_guess = |index: Index| {
        let covers = |gap: &Gap| !gap.ids_known && gap.first <= index && index <= gap.last;
        found.log.gaps.iter().any(covers)
    };
    let mut known =
        found.log.ballots.iter().filter(|(index, _)| *index >= log.base() && !is_guess(*index));
    known.all(|(index, ballot)| {
        let before = log.at(index.previous()).map(|(b, _)| b);
        log.at(*index).is_some_and(|(b, _)| b == *ballot)
            && (index.previous() < log.base() || before.is_none_or(|b| b <= *ballot))
    })
}

#[cfg(test)]
mod tests {
    use quorate_core::{
        Digest, Incarnation, LogTime, Membership, NodeId, RecoveredLog, SnapshotMeta, WriteSeq,
    };

    use super::super::starts::{recovered, recovered_damaged};
    use super::super::testing::{after_three_writes, digest, entry, found, run, write};
    use super::*;

    #[test]
    fn any_number_of_unsynced_writes_may_be_there_in_order() {
        for last in 1..=3 {
            recovered(0, &found(last), &mut after_three_writes()).unwrap();
        }
    }

    #[test]
    fn a_snapshot_that_one_start_cannot_read_may_be_back_at_the_next() {
        let snapshot = |size_bytes| SnapshotMeta {
            last: entry(1, 1).id,
            digest: digest(1, 1),
            membership: Membership::new([(NodeId(1), Incarnation(1))]),
            time: LogTime(0),
            size_bytes,
            content: Digest::of(&[size_bytes as u8]),
        };
        let with = |snapshot, last| Recovered { snapshot, ..found(last) };
        let mut logs = after_three_writes();
        logs.synced(0, WriteSeq(3));
        let pointing = quorate_core::Write {
            snapshot: Some(snapshot(1)),
            ..write(vec![run(3, 1, digest(3, 1), &[1])])
        };
        logs.write(0, WriteSeq(4), &pointing);
        logs.synced(0, WriteSeq(4));
        assert!(recovered(0, &with(None, 4), &mut logs.clone()).is_err());
        recovered_damaged(0, &with(None, 4), &mut logs).unwrap();
        recovered(0, &with(None, 4), &mut logs.clone()).unwrap();
        assert!(recovered(0, &with(Some(snapshot(2)), 4), &mut logs.clone()).is_err());
        recovered(0, &with(Some(snapshot(1)), 4), &mut logs).unwrap();
        assert!(recovered(0, &with(None, 4), &mut logs).is_err());
    }

    #[test]
    fn the_loss_of_what_was_synced_is_found() {
        let nothing = Recovered { log: RecoveredLog::default(), ..found(1) };
        assert!(recovered(0, &nothing, &mut after_three_writes()).is_err());
    }

    #[test]
    fn an_entry_that_nobody_wrote_is_found() {
        assert!(recovered(0, &found(4), &mut after_three_writes()).is_err());
    }
}
