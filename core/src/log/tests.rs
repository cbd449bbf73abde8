mod changes;
mod damage;

use bytes::Bytes;

use super::*;
use crate::entry::{EntryKind, Proposal};
use crate::types::WriteSeq;
use crate::types::{Incarnation, NodeId};

fn members() -> Membership {
    Membership::new((1..=3).map(|id| (NodeId(id), Incarnation(10 + id))))
}

fn command(text: &'static str) -> Proposal {
    Proposal::new(EntryKind::Command, LogTime(0), Bytes::from_static(text.as_bytes()))
}

fn log_of(ballots: &[u64]) -> Log {
    let mut log = Log::founded_by(members());
    for ballot in ballots {
        log.append(Ballot(*ballot), command("x"));
    }
    log
}

fn all(log: &Log) -> Vec<Entry> {
    log.entries(log.base().index.next(), usize::MAX).unwrap()
}

fn save(log: &mut Log, seq: u64) {
    log.begin_write(WriteSeq(seq));
    log.saved(WriteSeq(seq));
}

#[test]
fn an_entry_written_cut_off_and_written_again_is_durable_only_with_its_own_write() {
    let mut log = log_of(&[1, 1]);
    log.begin_write(WriteSeq(1));
    let other = {
        let mut other = log_of(&[1]);
        other.append(Ballot(2), command("y"));
        all(&other)
    };
    let again = {
        let mut again = log_of(&[1]);
        again.append(Ballot(3), command("z"));
        all(&again)
    };
    log.splice(LogId::ZERO, other).unwrap();
    log.begin_write(WriteSeq(2));
    log.splice(LogId::ZERO, again).unwrap();
    log.begin_write(WriteSeq(3));

    log.saved(WriteSeq(1));
    assert_eq!(log.durable(), Index(1));
    log.saved(WriteSeq(2));
    assert_eq!(log.durable(), Index(1));
    log.saved(WriteSeq(3));
    assert_eq!(log.durable(), Index(2));
}

#[test]
fn a_stale_message_does_not_cut_what_follows_its_entries() {
    let mut log = log_of(&[1, 1, 1, 1]);
    let before = log.clone();
    let stale = all(&log)[..2].to_vec();
    assert_eq!(log.splice(LogId::ZERO, stale), Ok(Index(2)));
    assert_eq!(log, before);
}

#[test]
fn a_conflict_cuts_the_tail_and_asks_for_one_run_that_says_so() {
    let mut log = log_of(&[1, 1, 1]);
    save(&mut log, 1);
    let mut other = log_of(&[1]);
    other.append(Ballot(2), command("y"));
    let fresh = all(&other)[1..].to_vec();
    assert_eq!(log.splice(LogId::new(Index(1), Ballot(1)), fresh.clone()), Ok(Index(2)));
    assert_eq!(all(&log), all(&other));
    assert_eq!(log.durable(), Index(1));
    let runs = log.begin_write(WriteSeq(2));
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].previous, LogId::new(Index(1), Ballot(1)));
    assert_eq!(runs[0].previous_digest, all(&other)[0].digest());
    assert_eq!(runs[0].entries, fresh);
}

#[test]
fn what_is_committed_is_not_contradicted() {
    let mut log = log_of(&[1, 1]);
    log.commit(Index(2));
    let mut other = log_of(&[1]);
    let id = other.append(Ballot(2), command("y"));
    let before = log.clone();
    assert_eq!(log.splice(LogId::ZERO, all(&other)), Err(Rejected::ContradictsCommitted(id)));
    assert_eq!(log, before);
}

#[test]
fn malformed_stretches_change_nothing() {
    let good = all(&log_of(&[1, 1, 2]));
    let mut cases = Vec::new();
    let mut gap = good.clone();
    gap.remove(1);
    cases.push(gap);
    let mut back = good.clone();
    back[2].id.ballot = Ballot(0);
    cases.push(back);
    let mut parent = good.clone();
    parent[1].parent = Digest([9; 16]);
    cases.push(parent);
    let mut first_parent = good.clone();
    first_parent[0].parent = Digest([9; 16]);
    cases.push(first_parent);
    // One that is alone is compared with nothing but what the log holds.
    let mut alone = vec![good[0].clone()];
    alone[0].parent = Digest([9; 16]);
    cases.push(alone);
    let mut payload = good.clone();
    payload[1].payload = Bytes::from_static(b"other");
    cases.push(payload);
    let mut kind = good.clone();
    kind[2].kind = EntryKind::Membership;
    cases.push(kind);
    let mut time = good.clone();
    time[0].time = LogTime(5);
    cases.push(time);
    for case in cases {
        let mut log = Log::founded_by(members());
        let before = log.clone();
        assert!(log.splice(LogId::ZERO, case.clone()).is_err(), "{case:?}");
        assert_eq!(log, before);
    }
    let mut log = Log::founded_by(members());
    let far = LogId::new(Index(7), Ballot(1));
    assert_eq!(log.splice(far, Vec::new()), Err(Rejected::PreviousMissing));
}

#[test]
fn ballots_are_found_by_index_and_indexes_by_ballot() {
    let log = log_of(&[1, 1, 3, 3, 4]);
    let found: Vec<_> = (0..=6).map(|i| log.ballot_at(Index(i)).map(|b| b.0)).collect();
    assert_eq!(found, [Some(0), Some(1), Some(1), Some(3), Some(3), Some(4), None]);
    let firsts: Vec<_> = (0..=5).map(|b| log.first_with_ballot_from(Ballot(b)).0).collect();
    assert_eq!(firsts, [1, 1, 3, 3, 5, 6]);
}

#[test]
fn where_two_logs_may_meet_is_told_by_the_end_of_the_other() {
    let mut log = log_of(&[1, 1, 3, 3, 4]);
    let ends = [
        ((9, 9), Some((5, 4))),
        ((4, 4), Some((4, 3))),
        ((4, 3), Some((4, 3))),
        ((9, 3), Some((4, 3))),
        ((4, 2), Some((2, 1))),
        ((1, 1), Some((1, 1))),
        ((7, 0), Some((0, 0))),
    ];
    let id = |(index, ballot): (u64, u64)| LogId::new(Index(index), Ballot(ballot));
    for (end, common) in ends {
        assert_eq!(log.last_common_with(id(end)), common.map(id), "{end:?}");
    }
    save(&mut log, 1);
    log.commit(Index(4));
    log.set_applied(Index(4));
    let meta = meta(&log, 3);
    log.set_snapshot(meta.clone());
    log.compact(&meta);
    for (end, common) in [((3, 3), Some((3, 3))), ((9, 2), None), ((2, 1), None), ((2, 5), None)] {
        assert_eq!(log.last_common_with(id(end)), common.map(id), "compacted, {end:?}");
    }
}

fn meta(log: &Log, index: u64) -> SnapshotMeta {
    let entry = log.cached(Index(index)).unwrap();
    SnapshotMeta {
        last: entry.id,
        digest: entry.digest(),
        membership: members(),
        time: entry.time,
        size_bytes: 0,
        content: Digest::ZERO,
    }
}

#[test]
fn compaction_keeps_ballots_digests_and_what_follows() {
    let mut log = log_of(&[1, 1, 3, 3, 4]);
    save(&mut log, 1);
    log.commit(Index(4));
    log.set_applied(Index(4));
    let before = log.clone();
    let meta = meta(&log, 3);
    log.set_snapshot(meta.clone());
    log.compact(&meta);
    assert_eq!(log.base(), LogId::new(Index(3), Ballot(3)));
    for index in 3..=5 {
        assert_eq!(log.ballot_at(Index(index)), before.ballot_at(Index(index)));
    }
    assert_eq!(log.ballot_at(Index(2)), None);
    assert!(log.holds(LogId::new(Index(2), Ballot(1))));
    assert_eq!(log.entries(Index(3), 1 << 20), None);
    assert_eq!(log.entries(Index(4), 1 << 20).unwrap(), all(&before)[3..]);
    assert_eq!(log.entries(Index(6), 1 << 20).unwrap(), []);
}

#[test]
fn a_rebased_log_is_durable_only_with_the_write_that_says_so() {
    let leader = {
        let mut leader = log_of(&[1, 2, 2, 2, 2]);
        leader.commit(Index(5));
        leader
    };
    let mut log = log_of(&[1, 1, 1]);
    log.begin_write(WriteSeq(1));
    let snapshot = meta(&leader, 4);
    log.rebase(snapshot.clone());
    log.begin_write(WriteSeq(2));
    log.saved(WriteSeq(1));
    assert_eq!(log.durable(), Index(0));
    log.saved(WriteSeq(2));
    assert_eq!(log.durable(), Index(4));
    assert_eq!(log.last(), snapshot.last);
    assert_eq!(log.splice(snapshot.last, all(&leader)[4..].to_vec()), Ok(Index(5)));
    assert_eq!(log.digest_at(Index(5)), leader.digest_at(Index(5)));
}

#[test]
fn the_cache_keeps_what_is_not_durable_or_not_applied() {
    let mut log = log_of(&[1, 1, 1, 1]);
    log.commit(Index(3));
    log.set_applied(Index(3));
    log.trim_cache(0);
    assert_eq!(log.cache.len(), 4);
    save(&mut log, 1);
    log.trim_cache(0);
    assert_eq!(log.cache.len(), 1);
    assert_eq!(log.entries(Index(3), 1 << 20), None);
    assert_eq!(log.entries(Index(4), 1 << 20).unwrap().len(), 1);
    assert_eq!(log.uncommitted_bytes(), log.cache_bytes);
}

#[test]
fn the_first_entry_of_a_log_is_the_membership_that_founded_it() {
    let mut log = Log::founded_by(members());
    let opening = log.opening();
    assert_eq!(opening.kind, EntryKind::Membership);
    log.append(Ballot(1), opening);
    assert_eq!(log.opening().kind, EntryKind::Noop);
    assert_eq!(log.membership(), &members());
    let entries = all(&log);
    let mut other = Log::founded_by(members());
    other.splice(LogId::ZERO, entries).unwrap();
    assert_eq!(other.membership_at(Index(1)), &members());
}

#[test]
fn entries_are_handed_out_by_bytes_and_at_least_one() {
    let log = log_of(&[1, 1, 1]);
    let one = log.cached(Index(1)).unwrap().size_bytes();
    assert_eq!(log.entries(Index(1), 0).unwrap().len(), 1);
    assert_eq!(log.entries(Index(1), 2 * one).unwrap().len(), 2);
    assert_eq!(log.entries(Index(1), 2 * one - 1).unwrap().len(), 1);
    assert_eq!(log.entries(Index(2), 1 << 20).unwrap().len(), 2);
}

#[test]
fn a_state_machine_that_falls_behind_does_not_keep_the_log_in_memory() {
    let mut log = log_of(&[1; 100]);
    log.commit(Index(90));
    log.trim_cache(0);
    assert!(log.entries(Index(1), 1).is_some(), "what is not durable is nowhere else");
    save(&mut log, 1);
    log.trim_cache(0);
    assert!(log.entries(Index(90), 1).is_none());
    assert!(log.entries(Index(91), 1).is_some(), "what may be cut off stays");
}

#[test]
fn an_entry_older_than_the_one_it_follows_is_refused() {
    let at = |time| Proposal::new(EntryKind::Noop, LogTime(time), Bytes::new());
    let mut log = Log::founded_by(members());
    let first = log.append(Ballot(1), at(10));
    log.append(Ballot(1), at(20));
    let behind = |log: &Log, previous, ballot, time| {
        let parent = log.digest_at(previous).unwrap();
        Entry::new(LogId::new(previous.next(), Ballot(ballot)), parent, at(time))
    };
    let before = log.clone();
    let appended = behind(&log, Index(2), 1, 19);
    let replacing = behind(&log, Index(1), 2, 9);
    let refused = |entry: &Entry| Err(Rejected::OutOfOrder(entry.id));
    assert_eq!(log.splice(log.last(), vec![appended.clone()]), refused(&appended));
    assert_eq!(log.splice(first, vec![replacing.clone()]), refused(&replacing));
    assert_eq!(log, before);
    let fitting = behind(&log, Index(1), 2, 10);
    assert_eq!(log.splice(first, vec![fitting]), Ok(Index(2)));
}

#[test]
fn what_is_committed_counts_until_it_is_applied() {
    let mut log = log_of(&[1, 1, 1]);
    let one = log.cached(Index(1)).unwrap().size_bytes();
    assert_eq!((log.uncommitted_bytes(), log.unapplied_bytes()), (3 * one, 0));
    log.commit(Index(2));
    assert_eq!((log.uncommitted_bytes(), log.unapplied_bytes()), (one, 2 * one));
    log.set_applied(Index(1));
    assert_eq!(log.unapplied_bytes(), 2 * one);
    log.set_applied(Index(2));
    assert_eq!(log.unapplied_bytes(), 0);
}

/// The gap of these entries, as a search on disk names it.
fn gap_of(log: &Log, first: u64, last: u64) -> Gap {
    let entries = all(log);
    let at = |index: u64| entries.iter().find(|entry| entry.index() == Index(index)).unwrap();
    Gap {
        first: Index(first),
        last: Index(last),
        digest: at(last).digest(),
        before: at(first).parent,
        ids_known: true,
    }
}

#[test]
fn what_a_search_finds_without_names_keeps_those_that_the_log_remembers() {
    let mut log = log_of(&[1, 1, 2, 2, 3]);
    save(&mut log, 1);
    log.commit(Index(4));
    log.trim_cache(0);
    log.note_damage(Gap { ids_known: false, ..gap_of(&log_of(&[1, 1, 2, 2, 3]), 2, 3) });
    assert!(log.is_missing(Index(2)) && log.is_missing(Index(3)));
    assert_eq!(log.ballot_at(Index(2)), Some(Ballot(1)));
    assert_eq!(log.last_common_with(LogId::new(Index(9), Ballot(2))), log.id_at(Index(4)));
}

#[test]
fn damage_that_reaches_into_what_is_not_committed_is_noted_as_far_as_is_committed() {
    let mut log = log_of(&[1, 1, 1, 1, 1]);
    save(&mut log, 1);
    log.commit(Index(3));
    let expected = gap_of(&log, 2, 3);
    let damage = gap_of(&log, 2, 5);
    log.trim_cache(0);
    assert_eq!(log.entries(Index(2), usize::MAX), None);
    log.note_damage(damage);
    assert_eq!(log.gaps(), [expected]);
    assert_eq!(log.durable(), Index(1));
    // Of what is not committed at all, nothing is noted.
    let mut log = log_of(&[1, 1, 1]);
    save(&mut log, 1);
    log.commit(Index(1));
    log.note_damage(gap_of(&log, 2, 3));
    assert!(log.is_whole());
}

#[test]
fn damage_to_what_was_found_at_the_start_and_is_in_no_memory_is_noted_though_nobody_knows_it_committed()
 {
    let whole = log_of(&[1, 1, 1, 1, 1]);
    let entries = all(&whole);
    let found = RecoveredLog {
        base_digest: members().digest(),
        ballots: whole.ballots.clone(),
        tail: entries[3..].to_vec(),
        last: whole.last(),
        last_digest: whole.last_digest(),
        ..RecoveredLog::default()
    };
    let mut log = Log::recover(members(), None, found);
    // What is read late may speak of entries that were cut off meanwhile.
    log.note_damage(gap_of(&whole, 4, 5));
    assert!(log.is_whole());
    log.note_damage(gap_of(&whole, 2, 5));
    assert_eq!(log.gaps(), [gap_of(&whole, 2, 3)]);
    assert_eq!((log.committed(), log.durable()), (Index(0), Index(1)));
    log.repair(entries[1..3].to_vec()).unwrap();
    assert_eq!(log.begin_repairs(WriteSeq(1)), [entries[1..3].to_vec()]);
}

/// A snapshot takes the place of the first three entries.
fn compact_through_3(log: &mut Log) {
    let last = all(log)[2].clone();
    let snapshot = SnapshotMeta { last: last.id, digest: last.digest(), ..snapshot_of(9, 1) };
    log.set_snapshot(snapshot.clone());
    log.compact(&snapshot);
}

#[test]
fn damage_that_reaches_into_what_is_compacted_is_noted_from_there_on() {
    let mut log = log_of(&[1, 1, 1, 1, 1]);
    let (damage, expected) = (gap_of(&log, 2, 4), gap_of(&log, 4, 4));
    save(&mut log, 1);
    log.commit(Index(5));
    log.set_applied(Index(5));
    compact_through_3(&mut log);
    log.trim_cache(0);
    log.note_damage(damage);
    assert_eq!(log.gaps(), [expected]);
}

#[test]
fn damage_to_what_is_compacted_by_now_and_to_what_is_in_memory_is_none() {
    let mut log = log_of(&[1, 1, 1, 1, 1]);
    let damage = gap_of(&log, 2, 5);
    save(&mut log, 1);
    log.commit(Index(3));
    log.set_applied(Index(3));
    compact_through_3(&mut log);
    log.trim_cache(0);
    log.note_damage(damage);
    assert_eq!(log.gaps(), []);
    assert_eq!((log.is_whole(), log.durable()), (true, Index(5)));
}

#[test]
fn a_snapshot_of_something_else_than_is_committed_here_is_ruled_out() {
    let mut log = log_of(&[1, 1, 1]);
    log.commit(Index(2));
    for index in 1..=2 {
        assert!(!log.rules_out(&snapshot_of(index, 1)), "{index}");
        assert!(log.rules_out(&snapshot_of(index, 2)), "{index}");
    }
    // This log may be the one that is wrong there.
    assert!(!log.rules_out(&snapshot_of(3, 2)));
}

#[test]
fn a_snapshot_of_a_later_ballot_than_the_log_ends_with_is_not_adopted() {
    let mut log = damaged_log(&[1, 1, 1, 2, 2], (2, 4));
    assert!(!log.adopt(&snapshot_of(3, 3)));
    assert!(!log.is_whole());
    assert!(log.adopt(&snapshot_of(3, 2)));
}

fn snapshot_of(index: u64, ballot: u64) -> SnapshotMeta {
    SnapshotMeta {
        last: LogId::new(Index(index), Ballot(ballot)),
        digest: Digest::of(b"entry"),
        membership: members(),
        time: LogTime(0),
        size_bytes: 1,
        content: Digest::of(b"state"),
    }
}

#[test]
fn damage_to_what_is_in_memory_is_made_good_from_there() {
    let mut log = log_of(&[1, 1, 1, 1]);
    save(&mut log, 1);
    log.commit(Index(3));
    let entries = all(&log);
    log.note_damage(gap_of(&log, 2, 4));
    assert_eq!(log.gaps(), []);
    assert!(!log.is_whole());
    log.begin_write(WriteSeq(2));
    assert_eq!(log.begin_repairs(WriteSeq(2)), [entries[1..3].to_vec()]);
    assert_eq!(log.durable(), Index(1));
    log.saved(WriteSeq(2));
    assert!(log.is_whole());
    assert_eq!((log.durable(), all(&log)), (Index(4), entries));
}

/// A log of these ballots as found on a disk which cannot show `first..=last`, nor their names.
fn damaged_log(ballots: &[u64], (first, last): (u64, u64)) -> Log {
    damaged_by(ballots, Gap { ids_known: false, ..gap_of(&log_of(ballots), first, last) })
}

fn damaged_by(ballots: &[u64], gap: Gap) -> Log {
    let whole = log_of(ballots);
    let entries = all(&whole);
    let found = RecoveredLog {
        base: LogId::ZERO,
        base_digest: members().digest(),
        ballots: whole.ballots.clone(),
        memberships: Vec::new(),
        tail: entries.iter().filter(|entry| entry.index() > gap.last).cloned().collect(),
        last: whole.last(),
        last_digest: whole.last_digest(),
        last_time: LogTime(0),
        gaps: vec![gap],
        is_torn: false,
    };
    Log::recover(members(), None, found)
}

#[test]
fn of_a_log_that_lacks_something_nothing_is_committed_until_that_is_made_good() {
    let whole = all(&log_of(&[1, 1, 1, 2, 2]));
    for index in 1..=5 {
        let mut log = damaged_log(&[1, 1, 1, 2, 2], (2, 4));
        log.commit(Index(index));
        assert_eq!(log.committed(), Index(0), "a leader may have it cut off from 2 on");
        log.repair(whole[2..4].to_vec()).unwrap();
        log.commit(Index(index));
        assert_eq!(log.committed(), Index(0));
        log.repair(whole[1..2].to_vec()).unwrap();
        log.commit(Index(index));
        assert_eq!(log.committed(), Index(index));
    }
    let mut log = damaged_log(&[1, 1, 1, 2, 2], (2, 4));
    let gap = log.gaps()[0].clone();
    log.commit(Index(3));
    assert!(log.give_up(&gap), "it may have acknowledged some of that");
    assert_eq!(log.last(), LogId::new(Index(1), Ballot(1)));
    log.commit(Index(1));
    assert_eq!(log.committed(), Index(1));
}

/// A log of two entries of ballot 1 with these times, and one of ballot 2.
fn timed(times: [u64; 3]) -> Vec<Entry> {
    let mut log = Log::founded_by(members());
    for (ballot, time) in [1, 1, 2].into_iter().zip(times) {
        log.append(Ballot(ballot), Proposal { time: LogTime(time), ..command("x") });
    }
    all(&log)
}

/// The log of these entries as found on a disk which cannot show the last of them: storage gives
/// no tail then, and the latest time that any header says.
fn damaged_at_its_end(entries: &[Entry], gap: &Gap, last_time: u64) -> RecoveredLog {
    RecoveredLog {
        base: LogId::ZERO,
        base_digest: members().digest(),
        ballots: vec![(Index(1), Ballot(1)), (Index(3), Ballot(2))],
        memberships: Vec::new(),
        tail: Vec::new(),
        last: entries[2].id,
        last_digest: entries[2].digest(),
        last_time: LogTime(last_time),
        gaps: vec![gap.clone()],
        is_torn: false,
    }
}

fn end_of(entries: &[Entry], ids_known: bool) -> Gap {
    let (digest, before) = (entries[2].digest(), entries[1].digest());
    Gap { first: Index(3), last: Index(3), digest, before, ids_known }
}

#[test]
fn what_is_given_up_does_not_turn_log_time_back() {
    let entries = timed([10, 20, 30]);
    // The header of what is damaged is there, or is lost with its payload.
    for last_time in [30, 20] {
        let gap = end_of(&entries, last_time == 30);
        let found = damaged_at_its_end(&entries, &gap, last_time);
        let mut log = Log::recover(members(), None, found);
        log.give_up(&gap);
        assert_eq!(log.last(), entries[1].id);
        assert!(log.last_time() >= LogTime(20), "{:?}", log.last_time());
        // An entry of another leader, which is no earlier than the last one held, is taken.
        let other = timed([10, 20, 25]);
        assert_eq!(log.splice(entries[1].id, other[2..].to_vec()), Ok(Index(3)));
        assert_eq!(log.last_time(), LogTime(25));
    }
}

#[test]
fn what_was_repaired_or_fetched_before_the_rest_is_given_up_does_not_turn_log_time_back() {
    let entries = timed([10, 20, 30]);
    let end = end_of(&entries, false);
    let start = Gap {
        first: Index(1),
        last: Index(2),
        digest: entries[1].digest(),
        before: members().digest(),
        ids_known: false,
    };
    let damaged = || {
        let found = damaged_at_its_end(&entries, &end, 0);
        let gaps = vec![start.clone(), end.clone()];
        Log::recover(members(), None, RecoveredLog { gaps, ..found })
    };
    let mut repaired = damaged();
    repaired.repair(entries[..2].to_vec()).unwrap();
    let mut fetched = damaged();
    let (last, digest, time) = (entries[1].id, entries[1].digest(), LogTime(20));
    assert!(fetched.adopt(&SnapshotMeta { last, digest, time, ..snapshot_of(2, 1) }));
    for mut log in [repaired, fetched] {
        log.give_up(&end);
        assert_eq!(log.last(), entries[1].id);
        assert!(log.last_time() >= LogTime(20), "{:?}", log.last_time());
    }
}

#[test]
fn a_log_that_gives_up_all_it_had_begins_anew() {
    let whole = all(&log_of(&[1, 1, 2]));
    let mut log = damaged_log(&[1, 1, 2], (1, 3));
    let lost = Gap { before: Digest::ZERO, ..log.gaps()[0].clone() };
    log.give_up(&lost);
    assert_eq!(log.last(), LogId::ZERO);
    assert_eq!(log.splice(LogId::ZERO, whole), Ok(Index(3)));
}

#[test]
fn a_gap_is_filled_by_nothing_but_the_entries_which_it_names() {
    let mut other = log_of(&[1, 1, 1]);
    other.append(Ballot(2), command("other"));
    let mut log = damaged_log(&[1, 1, 1, 2, 2], (2, 4));
    let before = log.clone();
    let other = all(&other)[1..4].to_vec();
    assert_eq!(log.repair(other.clone()), Err(Rejected::NotMissing(other[2].id)));
    assert_eq!(log, before);
}

#[test]
fn what_fills_a_gap_goes_on_from_what_the_log_holds_before_it() {
    let whole = log_of(&[1, 1, 1, 2, 2]);
    let before = Digest([9; 16]);
    let gap = Gap { before, ids_known: false, ..gap_of(&whole, 2, 4) };
    let mut log = damaged_by(&[1, 1, 1, 2, 2], gap);
    let unchanged = log.clone();
    let missing = all(&whole)[1..4].to_vec();
    assert_eq!(log.repair(missing.clone()), Err(Rejected::Diverged(missing[0].id)));
    assert_eq!(log, unchanged);
}

#[test]
fn a_membership_that_is_cut_off_is_not_in_force_any_more() {
    let mut log = log_of(&[1]);
    let one = Membership::new([(NodeId(1), Incarnation(11))]);
    let payload = postcard::to_allocvec(&one).unwrap().into();
    log.append(Ballot(1), Proposal::new(EntryKind::Membership, LogTime(0), payload));
    assert_eq!(log.membership(), &one);
    let mut other = log_of(&[1]);
    other.append(Ballot(2), command("y"));
    log.splice(LogId::ZERO, all(&other)).unwrap();
    assert_eq!(log.membership(), &members());
}

#[test]
fn damage_to_what_is_known_to_be_committed_holds_up_no_commit() {
    let mut log = log_of(&[1, 1, 1, 1]);
    save(&mut log, 1);
    log.commit(Index(3));
    log.set_applied(Index(3));
    log.trim_cache(0);
    log.note_damage(gap_of(&log_of(&[1, 1, 1, 1]), 2, 3));
    assert!(!log.is_whole());
    log.commit(Index(4));
    assert_eq!(log.committed(), Index(4));
}

#[test]
fn what_stands_behind_a_snapshot_that_ends_within_what_is_missing_keeps_its_name() {
    let whole = log_of(&[1, 1, 1, 1, 2]);
    let mut log = damaged_log(&[1, 1, 1, 1, 2], (1, 3));
    let snapshot_at = |index: usize| {
        let last = &all(&whole)[index - 1];
        SnapshotMeta { last: last.id, digest: last.digest(), ..snapshot_of(0, 0) }
    };
    let snapshot = snapshot_at(2);
    assert!(log.adopt(&snapshot));
    assert_eq!((log.base(), log.gaps()[0].first), (snapshot.last, Index(3)));
    assert_eq!(log.ballot_at(Index(3)), None, "its name is lost");
    assert!(all(&whole)[3..].iter().all(|entry| log.holds(entry.id)));
    // So it is still this log, for a later snapshot too.
    assert!(log.adopt(&snapshot_at(4)));
    assert_eq!((log.base().index, log.last()), (Index(4), whole.last()));
}

#[test]
fn of_damage_that_reaches_into_what_is_in_memory_only_the_rest_is_missing() {
    let mut log = log_of(&[1, 1, 1, 1]);
    save(&mut log, 1);
    log.commit(Index(4));
    let entries = all(&log);
    let limit = entries[2..].iter().map(Entry::size_bytes).sum();
    log.trim_cache(limit);
    log.note_damage(gap_of(&log_of(&[1, 1, 1, 1]), 1, 3));
    assert_eq!(log.gaps(), [gap_of(&log_of(&[1, 1, 1, 1]), 1, 2)]);
    log.begin_write(WriteSeq(2));
    assert_eq!(log.begin_repairs(WriteSeq(2)), [entries[2..3].to_vec()]);
    log.saved(WriteSeq(2));
    assert_eq!(log.durable(), Index(0));
    log.repair(entries[..2].to_vec()).unwrap();
    assert_eq!(log.gaps(), []);
}
