//! What is lost, what makes it good, and what is not it.

use super::*;

fn committed_log(ballots: &[u64], committed: u64) -> Log {
    let mut log = log_of(ballots);
    save(&mut log, 1);
    log.commit(Index(committed));
    log
}

fn snapshot_at(whole: &Log, index: usize) -> SnapshotMeta {
    let last = &all(whole)[index - 1];
    SnapshotMeta { last: last.id, digest: last.digest(), ..snapshot_of(0, 0) }
}

#[test]
fn damage_is_noted_of_what_is_committed_and_not_compacted_and_of_nothing_else() {
    let whole = log_of(&[1; 5]);
    let mut log = committed_log(&[1; 5], 4);
    log.set_applied(Index(4));
    let snapshot = snapshot_at(&whole, 2);
    log.set_snapshot(snapshot.clone());
    log.compact(&snapshot);
    log.trim_cache(0);
    for (first, last) in [(1, 2), (2, 2), (5, 5)] {
        log.note_damage(gap_of(&whole, first, last));
        assert!(log.is_whole(), "{first} to {last}");
    }
    log.note_damage(gap_of(&whole, 4, 4));
    assert_eq!(log.gaps(), [gap_of(&whole, 4, 4)]);
    // Found again, with what is next to it: it is asked for already.
    log.note_damage(gap_of(&whole, 3, 4));
    assert_eq!(log.gaps(), [gap_of(&whole, 3, 3), gap_of(&whole, 4, 4)]);
    assert_eq!(log.durable(), Index(2));
}

#[test]
fn damage_lacks_nothing_uncommitted_as_long_as_it_ends_with_what_is_committed() {
    let whole = log_of(&[1; 5]);
    let mut log = committed_log(&[1; 5], 4);
    log.set_applied(Index(4));
    log.trim_cache(0);
    assert!(!log.lacks_uncommitted());
    for (first, last) in [(2, 3), (4, 4)] {
        log.note_damage(gap_of(&whole, first, last));
        assert_eq!(log.gaps().last().map(|gap| gap.last), Some(Index(last)));
        assert!(!log.lacks_uncommitted(), "{first} to {last}");
    }
    // Found at the start, when nothing is known to be committed.
    let mut log = damaged_log(&[1; 5], (2, 3));
    assert!(log.lacks_uncommitted());
    log.repair(all(&whole)[1..3].to_vec()).unwrap();
    assert!(log.lacks_uncommitted(), "it is not on disk yet");
    log.begin_repairs(WriteSeq(1));
    log.saved(WriteSeq(1));
    assert!(!log.lacks_uncommitted());
}

#[test]
fn damage_that_begins_with_the_last_of_what_is_missing_or_ends_with_the_first_is_next_to_it() {
    let whole = log_of(&[1; 6]);
    let gap = |first, last| gap_of(&whole, first, last);
    let mut log = committed_log(&[1; 6], 6);
    log.set_applied(Index(6));
    log.trim_cache(0);
    log.note_damage(gap(3, 4));
    log.note_damage(gap(4, 5));
    log.note_damage(gap(2, 3));
    assert_eq!(log.gaps(), [gap(2, 2), gap(3, 4), gap(5, 5)]);
}

#[test]
fn damage_around_what_is_missing_or_on_its_way_back_is_noted_without_it() {
    let whole = log_of(&[1; 9]);
    let entries = all(&whole);
    let gap = |first, last| gap_of(&whole, first, last);
    let mut log = committed_log(&[1; 9], 9);
    log.set_applied(Index(9));
    log.trim_cache(0);
    log.note_damage(gap(3, 3));
    log.note_damage(gap(6, 7));
    log.repair(entries[5..7].to_vec()).unwrap();
    log.note_damage(gap(2, 8));
    assert_eq!(log.gaps(), [gap(2, 2), gap(3, 3), gap(4, 5), gap(8, 8)]);
    assert!((2..=8).all(|index| log.is_missing(Index(index))));
    log.note_damage(gap(1, 5));
    assert_eq!(log.gaps()[..2], [gap(1, 1), gap(2, 2)]);
    for (first, last) in [(1, 1), (2, 2), (3, 3), (4, 5), (8, 8)] {
        log.repair(entries[first - 1..last].to_vec()).unwrap();
    }
    log.begin_repairs(WriteSeq(2));
    log.saved(WriteSeq(2));
    assert!(log.is_whole(), "{:?}", log.gaps());
}

#[test]
fn entries_are_taken_behind_what_is_missing_and_not_into_it() {
    let whole = log_of(&[1, 1, 1, 2, 2]);
    let mut log = damaged_by(&[1, 1, 1], gap_of(&log_of(&[1, 1, 1]), 2, 3));
    let entries = all(&whole);
    let before = log.clone();
    assert_eq!(log.splice(entries[1].id, entries[2..].to_vec()), Err(Rejected::Gap));
    assert_eq!(log, before);
    assert_eq!(log.splice(entries[2].id, entries[3..].to_vec()), Ok(Index(5)));
}

#[test]
fn what_is_filled_in_is_missing_until_the_very_write_that_carries_it_is_on_disk() {
    let whole = all(&log_of(&[1, 1, 1, 1]));
    let mut log = damaged_log(&[1, 1, 1, 1], (2, 3));
    log.begin_write(WriteSeq(1));
    assert_eq!(log.begin_repairs(WriteSeq(1)), Vec::<Vec<Entry>>::new());
    assert!(!log.has_unsaved());
    log.repair(whole[1..3].to_vec()).unwrap();
    assert!(log.has_unsaved() && log.gaps().is_empty());
    let is_missing = |log: &Log| [1, 2, 3, 4].map(|index| log.is_missing(Index(index)));
    assert_eq!(is_missing(&log), [false, true, true, false]);
    // A write that was begun before does not carry it.
    log.saved(WriteSeq(1));
    assert_eq!((log.is_whole(), log.durable()), (false, Index(1)));
    assert_eq!(log.splice(whole[0].id, whole[1..].to_vec()), Err(Rejected::Gap));
    log.begin_write(WriteSeq(2));
    assert_eq!(log.begin_repairs(WriteSeq(2)), [whole[1..3].to_vec()]);
    assert!(!log.has_unsaved());
    assert_eq!(log.begin_repairs(WriteSeq(3)), Vec::<Vec<Entry>>::new());
    assert_eq!((log.is_whole(), log.durable()), (false, Index(1)));
    log.saved(WriteSeq(2));
    assert_eq!((log.is_whole(), log.durable()), (true, Index(4)));
    assert_eq!(is_missing(&log), [false; 4]);
}

#[test]
fn what_is_filled_in_is_not_written_any_more_once_a_snapshot_covers_it() {
    let whole = log_of(&[1; 5]);
    for (covered, repairs) in [(2, 1), (3, 0), (4, 0)] {
        let mut log = committed_log(&[1; 5], 5);
        log.set_applied(Index(5));
        let snapshot = snapshot_at(&whole, covered);
        log.trim_cache(0);
        log.note_damage(gap_of(&whole, 2, 3));
        assert_eq!(log.gaps().len(), 1);
        log.repair(all(&whole)[1..3].to_vec()).unwrap();
        log.set_snapshot(snapshot.clone());
        log.compact(&snapshot);
        assert_eq!(log.begin_repairs(WriteSeq(2)).len(), repairs, "covered up to {covered}");
    }
}

#[test]
fn a_peer_that_sends_more_than_is_missing_or_what_is_there_again_does_no_harm() {
    let whole = all(&log_of(&[1, 1, 1, 1]));
    let mut log = damaged_log(&[1, 1, 1, 1], (2, 3));
    assert_eq!(log.repair(Vec::new()), Ok(()));
    assert_eq!(log.repair(whole[..2].to_vec()), Ok(()), "that is not the end of the gap");
    assert_eq!(log.repair(whole[3..].to_vec()), Ok(()), "that is not missing");
    assert_eq!(log.gaps().len(), 1);
    assert_eq!(log.repair(whole[..3].to_vec()), Ok(()));
    assert_eq!(log.repair(whole[..3].to_vec()), Ok(()));
    assert_eq!(log.begin_repairs(WriteSeq(1)), [whole[1..3].to_vec()]);
}

#[test]
fn what_comes_back_in_parts_brings_its_ballots_and_members_with_it() {
    let one = Membership::new([(NodeId(1), Incarnation(11))]);
    let mut whole = log_of(&[1]);
    let payload = postcard::to_allocvec(&one).unwrap().into();
    whole.append(Ballot(2), Proposal::new(EntryKind::Membership, LogTime(0), payload));
    for ballot in [2, 3, 5, 5] {
        whole.append(Ballot(ballot), command("x"));
    }
    let entries = all(&whole);
    let last = &entries[4];
    let gap = Gap {
        first: Index(2),
        last: Index(5),
        digest: last.digest(),
        before: entries[0].digest(),
        ids_known: false,
    };
    for parts in [&[2..3, 1..2][..], &[3..4, 1..3], &[2..4, 1..2], &[3..4, 2..3, 1..2]] {
        let found = RecoveredLog {
            base: LogId::ZERO,
            base_digest: members().digest(),
            // What is missing is taken for what its end is.
            ballots: vec![(Index(1), Ballot(1)), (Index(2), Ballot(5))],
            memberships: Vec::new(),
            tail: entries[5..].to_vec(),
            last: whole.last(),
            last_digest: whole.last_digest(),
            last_time: LogTime(0),
            gaps: vec![gap.clone()],
            is_torn: false,
        };
        let mut log = Log::recover(members(), None, found);
        let ends_with: Vec<Entry> = entries[parts[0].end..5].to_vec();
        assert_eq!(log.ballot_at(Index(3)), None);
        log.repair(ends_with).unwrap();
        for part in parts {
            log.repair(entries[part.clone()].to_vec()).unwrap();
        }
        assert_eq!(log.ballots, whole.ballots, "{parts:?}");
        assert_eq!(log.membership(), &one);
        assert_eq!(log.membership_at(Index(1)), &members());
        assert_eq!(log.memberships.len(), 2);
    }
}

#[test]
fn members_that_come_back_are_not_listed_twice() {
    let mut log = log_of(&[1]);
    let payload = postcard::to_allocvec(&members()).unwrap().into();
    log.append(Ballot(1), Proposal::new(EntryKind::Membership, LogTime(0), payload));
    save(&mut log, 1);
    log.commit(Index(2));
    log.set_applied(Index(2));
    let whole = log.clone();
    log.trim_cache(0);
    log.note_damage(gap_of(&whole, 1, 2));
    log.repair(all(&whole)).unwrap();
    assert_eq!(log.memberships, whole.memberships);
}

#[test]
fn of_two_repairs_each_counts_with_its_own_write() {
    let whole = log_of(&[1; 5]);
    let mut log = committed_log(&[1; 5], 5);
    log.set_applied(Index(5));
    log.trim_cache(0);
    log.note_damage(gap_of(&whole, 2, 2));
    log.note_damage(gap_of(&whole, 4, 4));
    let entries = all(&whole);
    for (write, index) in [(2, 1), (3, 3)] {
        log.repair(entries[index..=index].to_vec()).unwrap();
        assert_eq!(log.begin_repairs(WriteSeq(write)).len(), 1);
    }
    let missing =
        |log: &Log| (1..=5).filter(|index| log.is_missing(Index(*index))).collect::<Vec<_>>();
    log.saved(WriteSeq(2));
    assert_eq!(missing(&log), [4]);
    log.saved(WriteSeq(3));
    assert_eq!(missing(&log), []);
}

#[test]
fn a_later_list_of_members_is_not_replaced_by_one_that_comes_back() {
    let lists = |incarnation| Membership::new([(NodeId(1), Incarnation(incarnation))]);
    let listing = |members: &Membership| {
        let payload = postcard::to_allocvec(members).unwrap().into();
        Proposal::new(EntryKind::Membership, LogTime(0), payload)
    };
    let mut whole = log_of(&[1]);
    whole.append(Ballot(1), listing(&lists(2)));
    whole.append(Ballot(1), listing(&lists(3)));
    let entries = all(&whole);
    let gap = gap_of(&whole, 2, 2);
    let found = RecoveredLog {
        base: LogId::ZERO,
        base_digest: members().digest(),
        ballots: whole.ballots.clone(),
        memberships: vec![(Index(3), lists(3))],
        tail: entries[2..].to_vec(),
        last: whole.last(),
        last_digest: whole.last_digest(),
        last_time: LogTime(0),
        gaps: vec![gap],
        is_torn: false,
    };
    let mut log = Log::recover(members(), None, found);
    log.repair(entries[1..2].to_vec()).unwrap();
    assert_eq!(log.membership(), &lists(3));
    assert_eq!(log.membership_at(Index(2)), &lists(2));
    assert_eq!(log.membership_at(Index(1)), &members());
}

#[test]
fn a_snapshot_is_adopted_only_where_something_is_missing_and_only_of_this_log() {
    let ballots = [1, 1, 2, 2, 2];
    let whole = log_of(&ballots);
    let refuses = |log: &Log, snapshot: &SnapshotMeta| {
        let mut same = log.clone();
        assert!(!same.adopt(snapshot), "{:?}", snapshot.last);
        assert_eq!(&same, log);
    };
    refuses(&whole, &snapshot_at(&whole, 3));
    let log = damaged_log(&ballots, (3, 4));
    refuses(&log, &snapshot_at(&whole, 2));
    refuses(&log, &snapshot_of(6, 2));
    // The digest of the end of what is missing is known, and the name of what is there.
    refuses(&log, &SnapshotMeta { digest: Digest::of(b"other"), ..snapshot_at(&whole, 4) });
    refuses(
        &log,
        &SnapshotMeta { last: LogId::new(Index(5), Ballot(1)), ..snapshot_at(&whole, 5) },
    );
    for index in 3..=5 {
        let mut log = log.clone();
        let snapshot = SnapshotMeta { time: LogTime(9), ..snapshot_at(&whole, index) };
        assert!(log.adopt(&snapshot));
        assert_eq!((log.base(), log.snapshot()), (snapshot.last, Some(&snapshot)));
        assert_eq!((log.committed(), log.last_time()), (snapshot.last.index, LogTime(9)));
        assert_eq!(log.last(), whole.last());
        let rest = (index == 3).then(|| Gap { ids_known: false, ..gap_of(&whole, 4, 4) });
        assert_eq!(log.gaps(), rest.as_slice());
    }
}

#[test]
fn a_snapshot_of_less_than_its_own_makes_a_log_compact_behind_its_own() {
    let whole = log_of(&[1; 5]);
    let mut log = committed_log(&[1; 5], 5);
    log.set_applied(Index(5));
    let own = snapshot_at(&whole, 4);
    log.set_snapshot(own.clone());
    log.trim_cache(0);
    log.note_damage(gap_of(&whole, 2, 3));
    assert!(log.adopt(&snapshot_at(&whole, 3)));
    assert_eq!((log.base(), log.snapshot()), (own.last, Some(&own)));
    assert!(log.is_whole());
}

/// A restart may find the gap again until the disk points to the snapshot; so what is acknowledged
/// ends before it.
#[test]
fn what_a_snapshot_makes_good_is_durable_once_the_disk_points_to_that() {
    let whole = log_of(&[1; 6]);
    let adopts = |own: Option<SnapshotMeta>, fetched: SnapshotMeta| {
        let mut log = committed_log(&[1; 6], 5);
        log.set_applied(Index(5));
        if let Some(own) = own {
            log.set_snapshot(own);
        }
        log.trim_cache(0);
        log.note_damage(gap_of(&whole, 3, 4));
        assert_eq!((log.durable(), log.has_unsaved()), (Index(2), false));
        assert!(log.adopt(&fetched));
        assert!(log.is_whole());
        assert_eq!((log.durable(), log.has_unsaved()), (Index(2), true));
        assert_eq!(log.begin_write(WriteSeq(7)), []);
        assert_eq!((log.durable(), log.has_unsaved()), (Index(2), false));
        log.saved(WriteSeq(7));
        assert_eq!(log.durable(), Index(6));
    };
    adopts(None, snapshot_at(&whole, 5));
    adopts(None, snapshot_at(&whole, 4));
    // Its own, which the disk may not point to yet either.
    adopts(Some(snapshot_at(&whole, 5)), snapshot_at(&whole, 4));
}

/// The entry that listed them is damaged, and its peers have compacted it.
#[test]
fn a_log_that_adopts_a_snapshot_lists_whom_that_lists() {
    let whole = log_of(&[1; 5]);
    let mut log = damaged_log(&[1; 5], (2, 3));
    let others = Membership::new([(NodeId(1), Incarnation(101)), (NodeId(2), Incarnation(900))]);
    assert_ne!(log.membership(), &others);
    let snapshot = SnapshotMeta { membership: others.clone(), ..snapshot_at(&whole, 4) };
    assert!(log.adopt(&snapshot));
    assert_eq!((log.membership(), log.membership_at(Index(5))), (&others, &others));
}

#[test]
fn what_is_given_up_is_not_written_any_more() {
    let whole = all(&log_of(&[1, 1, 1, 2, 2]));
    let mut log = damaged_log(&[1, 1, 1, 2, 2], (2, 4));
    log.repair(whole[3..4].to_vec()).unwrap();
    let gap = log.gaps()[0].clone();
    assert!(log.give_up(&gap));
    assert_eq!(log.begin_repairs(WriteSeq(1)), Vec::<Vec<Entry>>::new());
    assert!(log.is_whole());
    assert_eq!(log.last(), LogId::new(Index(1), Ballot(1)));
    assert_eq!(log.splice(whole[0].id, whole[1..].to_vec()), Ok(Index(5)));
}
