//! After a crash, a disk says what was synced, followed by whole writes of those that were on
//! their way, in order, and nothing else (Ongaro 2014, section 3.8: currentTerm, votedFor and
//! log[] survive; here in one atomic write).

use quorate_core::{Gap, Index, LogId, PledgeBytes, Recovered, WriteSeq};

use super::commit::Commit;
use super::logs::{Disk, Logs};
use super::{Mirror, Property, Verdict};

const PROPERTY: Property = Property {
    name: "recovery finds what was synced, and whole writes only",
    stated_in: "Ongaro 2014, section 3.8",
};

const SWORN: Property = Property {
    name: "what was sworn ahead of the log is found",
    stated_in: "Ongaro 2014, section 3.8",
};

const BESIDE: Property = Property {
    name: "a disk knows of muteness and of the others what it was told",
    stated_in: "quorate, Recovered",
};

const WHOLE: Property = Property {
    name: "what a replica says it has is on its disk",
    stated_in: "Ongaro 2014, section 3.8; Alagappan et al. 2018, section 3.4",
};

const END: Property = Property {
    name: "damage is never taken for the end of the log",
    stated_in: "Alagappan et al. 2018, section 3.3",
};

/// `node` has found this on its disk, parts of which are damaged: its log ends where it ended, or
/// the replica knows that it does not. No promise is lost either way; that is for the protocol's
/// own checks of pledges.
pub(super) fn recovered_damaged(node: usize, found: &Recovered, logs: &mut Logs) -> Verdict {
    let synced = describe(&logs.disks[node]);
    let is_end = logs.settle_damaged(node, found);
    END.require(is_end, || {
        let (log, gaps) = (&found.log, &found.log.gaps);
        let (base, last) = (log.base, log.last);
        format!(
            "replica {} found a log of {base:?} to {last:?} with gaps {gaps:?}, and is not mute; \
             synced was {synced}",
            node + 1
        )
    })?;
    logs.disks[node].sworn = found.sworn.map(|pledge| (WriteSeq(0), pledge));
    Ok(())
}

/// `node` has found this on its disk.
pub(super) fn recovered(node: usize, found: &Recovered, logs: &mut Logs) -> Verdict {
    let synced = describe(&logs.disks[node]);
    let differs = difference(&logs.disks[node], found);
    let unsynced: Vec<_> = logs.unsynced_pledges(node).collect();
    let may_know = logs.may_know_of_peers(node, &found.peers);
    let may_be_mute = logs.may_say_of_muteness(node, found.mute);
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
    })?;
    BESIDE.require(may_know && may_be_mute, || {
        let Recovered { peers, mute, .. } = found;
        format!("replica {} found that it is mute: {mute}; of others {peers:?}", node + 1)
    })?;
    let sworn = &mut logs.disks[node].sworn;
    let is_as_good = |found: Option<PledgeBytes>| {
        sworn.is_none_or(|(seq, pledge)| {
            let later = unsynced.iter().filter(|(later, _)| *later > seq).map(|(_, later)| *later);
            found.is_some_and(|found| std::iter::once(pledge).chain(later).any(|it| it == found))
        })
    };
    // The start that finds it in the log swears nothing ahead of the log any more.
    let is_in_log = sworn.is_some() && is_as_good(found.pledge);
    SWORN.require(is_in_log || is_as_good(found.sworn), || {
        let Recovered { sworn: found, pledge, .. } = found;
        format!(
            "replica {} has sworn {sworn:?}, and finds {found:?}, in the log {pledge:?}",
            node + 1
        )
    })?;
    // The first write of the next process swears it once more.
    let place = |pledge| unsynced.iter().rposition(|(_, it)| Some(*it) == pledge);
    let is_ahead = !is_in_log && place(found.sworn) >= place(found.pledge);
    *sworn = found.sworn.filter(|_| is_ahead).map(|pledge| (WriteSeq(0), pledge));
    logs.disks[node].snapshot = found.snapshot.as_ref().map(|meta| meta.id());
    // What stands beside the log may be missing though the rest of the same write is there.
    logs.disks[node].peers = found.peers.clone();
    logs.disks[node].set_mute(found.mute);
    Ok(())
}

/// `node` has found this on its disk, from which nothing was taken that it had not made good.
pub(super) fn is_whole(node: usize, found: &Recovered) -> Verdict {
    WHOLE.require(found.log.gaps.is_empty(), || {
        format!("replica {} found gaps {:?}; its disk is sound", node + 1, found.log.gaps)
    })
}

/// `node` counted, and lacked nothing that it had not saved, when its machine died.
pub(super) fn has_all(node: usize, found: &Recovered, commit: &Commit) -> Verdict {
    let Recovered { mute, log, .. } = found;
    let is_whole = !mute && log.gaps.is_empty() && log.last.index == commit.committed();
    WHOLE.require(is_whole, || {
        format!(
            "replica {} found a log to {:?} with gaps {:?}, mute: {mute}; committed is {:?}",
            node + 1,
            log.last,
            log.gaps,
            commit.committed()
        )
    })
}

fn describe(disk: &Disk) -> String {
    let Disk { log, pledge, snapshot, .. } = disk;
    format!(
        "a log of {:?} to {:?}, snapshot {snapshot:?}, pledge {:?}",
        log.base(),
        log.at(log.last()).map(|(ballot, _)| LogId::new(log.last(), ballot)),
        pledge.map(|bytes| bytes[..24].to_vec())
    )
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
        Digest, FoundingRecord, Identity, Incarnation, Lineage, LogTime, Membership, NodeId,
        RecoveredLog, SnapshotMeta, WriteSeq,
    };

    use super::super::testing::{digest, entry, run, write};
    use super::*;

    fn found(last: u64) -> Recovered {
        let tail: Vec<_> = (1..=last).map(|index| entry(index, 1)).collect();
        Recovered {
            identity: Identity {
                node: NodeId(1),
                cluster: String::new(),
                protocol: String::new(),
                incarnation: Incarnation(1),
            },
            lineage: Lineage::default(),
            founding: FoundingRecord::default(),
            pledge: None,
            sworn: None,
            mute: false,
            peers: Default::default(),
            snapshot: None,
            log: RecoveredLog {
                last: tail.last().map_or(LogId::ZERO, |entry| entry.id),
                last_digest: digest(last, 1),
                ballots: vec![(Index(1), quorate_core::Ballot(1))],
                tail,
                ..RecoveredLog::default()
            },
        }
    }

    /// A disk to which three writes of an entry each went, of which the first was synced.
    fn after_three_writes() -> Logs {
        let mut logs = Logs::new(1);
        for index in 1..=3 {
            let previous = index - 1;
            let ballot = u64::from(previous > 0);
            let run = run(previous, ballot, digest(previous, 1), &[1]);
            logs.write(0, WriteSeq(index), &write(vec![run]));
        }
        logs.synced(0, WriteSeq(1));
        logs
    }

    #[test]
    fn any_number_of_unsynced_writes_may_be_there_in_order() {
        for last in 1..=3 {
            recovered(0, &found(last), &mut after_three_writes()).unwrap();
        }
    }

    #[test]
    fn the_loss_of_what_was_sworn_ahead_of_the_log_is_found() {
        let sworn = |pledge| {
            let mut logs = after_three_writes();
            logs.sworn(0, WriteSeq(3));
            recovered(0, &Recovered { sworn: pledge, ..found(1) }, &mut logs)
        };
        sworn(Some([0; 64])).unwrap();
        assert!(sworn(None).is_err());
        assert!(sworn(Some([1; 64])).is_err());
        // The next start finds it in the log, where the process between the two has written it again.
        let twice = |pledge| {
            let mut logs = after_three_writes();
            logs.sworn(0, WriteSeq(3));
            recovered(0, &Recovered { sworn: Some([0; 64]), ..found(1) }, &mut logs).unwrap();
            recovered(0, &Recovered { pledge, ..found(1) }, &mut logs)
        };
        twice(Some([0; 64])).unwrap();
        assert!(twice(None).is_err());
        // All of it has reached the disk, as nobody had noticed.
        let mut logs = after_three_writes();
        logs.sworn(0, WriteSeq(3));
        recovered(0, &found(3), &mut logs).unwrap();
    }

    #[test]
    fn muteness_that_nobody_asked_for_or_that_is_forgotten_is_found() {
        let mute = |mute, last| Recovered { mute, ..found(last) };
        let mut logs = after_three_writes();
        assert!(recovered(0, &mute(true, 1), &mut logs).is_err());
        let mut logs = after_three_writes();
        let of = |mute, index: u64| {
            let run = run(index - 1, 1, digest(index - 1, 1), &[1]);
            quorate_core::Write { mute, ..write(vec![run]) }
        };
        logs.write(0, WriteSeq(4), &of(true, 4));
        logs.synced(0, WriteSeq(4));
        assert!(recovered(0, &mute(false, 4), &mut logs.clone()).is_err());
        // Of a write that ended it, the entries may be there, and not that.
        logs.write(0, WriteSeq(5), &of(false, 5));
        recovered(0, &mute(false, 5), &mut logs.clone()).unwrap();
        recovered(0, &mute(true, 5), &mut logs).unwrap();
        recovered(0, &mute(true, 5), &mut logs).unwrap();
        assert!(recovered(0, &mute(false, 5), &mut logs).is_err());
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
