//! What protocols do to the log, and what must not outlive it.

use super::*;

fn one_member() -> Membership {
    Membership::new([(NodeId(1), Incarnation(11))])
}

/// All of it is executed, and compacted up to there.
fn compacted(ballots: &[u64], covered: u64) -> Log {
    let mut log = log_of(ballots);
    save(&mut log, 1);
    let last = log.last().index;
    log.commit(last);
    log.set_applied(last);
    let snapshot = meta(&log, covered);
    log.set_snapshot(snapshot.clone());
    log.compact(&snapshot);
    log
}

fn listing(members: &Membership) -> Proposal {
    let payload = postcard::to_allocvec(members).unwrap().into();
    Proposal::new(EntryKind::Membership, LogTime(0), payload)
}

#[test]
fn members_are_those_of_the_last_entry_that_lists_them_from_that_entry_on() {
    let mut log = log_of(&[1, 1]);
    log.append(Ballot(1), listing(&one_member()));
    log.append(Ballot(1), command("x"));
    log.append(Ballot(1), listing(&members()));
    let is_one = |log: &Log, index| *log.membership_at(Index(index)) == one_member();
    assert_eq!((0..=6).map(|index| is_one(&log, index)).filter(|one| *one).count(), 2);
    assert!(is_one(&log, 3) && is_one(&log, 4));
    // Compaction keeps those behind the snapshot, and knows those of the snapshot from it.
    save(&mut log, 1);
    log.commit(Index(5));
    log.set_applied(Index(5));
    let snapshot = SnapshotMeta { membership: one_member(), ..meta(&log, 4) };
    log.set_snapshot(snapshot.clone());
    log.compact(&snapshot);
    assert!(is_one(&log, 4));
    assert_eq!((log.membership_at(Index(5)), log.membership()), (&members(), &members()));
    let whole = SnapshotMeta { membership: members(), ..meta(&log, 5) };
    log.set_snapshot(whole.clone());
    log.compact(&whole);
    assert_eq!((log.memberships.len(), log.ballots.len()), (1, 0));
    assert_eq!((log.base(), log.last().index), (whole.last, Index(5)));
}

#[test]
fn whoever_begins_to_lead_opens_at_the_time_at_which_its_log_ends() {
    let mut log = Log::founded_by(members());
    for ballot in 1..=3 {
        log.append(Ballot(ballot), log.opening());
        log.append(Ballot(ballot), Proposal { time: LogTime(40 * ballot), ..command("x") });
    }
    assert_eq!(log.opening().time, LogTime(120));
    let mut fetched = log_of(&[1]);
    fetched.rebase(SnapshotMeta { time: LogTime(50), ..snapshot_of(9, 2) });
    assert_eq!(fetched.opening().time, LogTime(50));
}

#[test]
fn a_disk_vouches_for_nothing_while_its_log_lists_another_in_its_place() {
    let disk = |log: &Log| log.membership().incarnation(NodeId(1)).unwrap();
    let mut log = log_of(&[1]);
    let mine = disk(&log);
    log.set_owner(NodeId(1), mine);
    assert!(log.may_vouch());
    let before = log.last();
    let replaced = log.membership().with_replaced(NodeId(1), mine, Incarnation(900)).unwrap();
    log.append(Ballot(1), listing(&replaced));
    assert!(!log.may_vouch(), "nobody needs to have committed that");
    let mut new = log.clone();
    new.set_owner(NodeId(1), Incarnation(900));
    assert!(new.may_vouch());
    let other = Entry::new(
        LogId::new(Index(2), Ballot(2)),
        log.digest_at(before.index).unwrap(),
        command("y"),
    );
    log.splice(before, vec![other]).unwrap();
    assert!(log.may_vouch(), "that was cut off");
    // What is missing may be an entry that lists it.
    log.append(Ballot(2), listing(&replaced));
    save(&mut log, 1);
    assert!(!log.may_vouch());
    let last = log.last().index;
    log.commit(last);
    log.set_applied(last);
    let gap = gap_of(&log, 2, 2);
    log.trim_cache(0);
    log.note_damage(gap);
    assert!(log.may_vouch() && !log.is_whole());
    log.set_mute(true);
    assert!(!log.may_vouch());
}

#[test]
fn an_entry_that_skips_an_index_or_lists_nobody_is_refused_whatever_its_parent() {
    let log = log_of(&[1]);
    let entry = |index, proposal| {
        Entry::new(LogId::new(Index(index), Ballot(1)), log.last_digest(), proposal)
    };
    let skips = entry(3, command("y"));
    let nobody = entry(2, listing(&Membership::default()));
    for (refused, why) in [
        (skips.clone(), Rejected::OutOfOrder(skips.id)),
        (nobody.clone(), Rejected::Undecodable(nobody.id)),
    ] {
        let mut same = log.clone();
        assert_eq!(same.splice(log.last(), vec![refused]), Err(why));
        assert_eq!(same, log);
    }
}

#[test]
fn a_log_holds_at_its_base_what_stands_there_and_nothing_else() {
    let log = compacted(&[1, 1, 2, 2], 2);
    assert!(log.holds(LogId::new(Index(2), Ballot(1))));
    assert!(!log.holds(LogId::new(Index(2), Ballot(2))));
    assert!(!log.holds(LogId::new(Index(5), Ballot(2))));
}

#[test]
fn of_a_log_that_starts_anew_behind_a_snapshot_nothing_else_counts_any_more() {
    let mut log = log_of(&[1, 1]);
    log.append(Ballot(1), Proposal { time: LogTime(50), ..listing(&one_member()) });
    save(&mut log, 1);
    log.commit(Index(1));
    assert!(log.uncommitted_bytes() > 0 && log.unapplied_bytes() > 0);
    let snapshot = SnapshotMeta { time: LogTime(40), ..snapshot_of(9, 2) };
    log.rebase(snapshot.clone());
    assert_eq!((log.uncommitted_bytes(), log.unapplied_bytes()), (0, 0));
    assert_eq!((log.last_time(), log.membership()), (LogTime(40), &members()));
    assert_eq!((log.committed(), log.last(), log.base()), (Index(9), snapshot.last, snapshot.last));
    assert_eq!((log.last_digest(), log.snapshot()), (snapshot.digest, Some(&snapshot)));
    assert_eq!(log.entries(Index(3), usize::MAX), None);
    // What is committed stays on disk until the write that replaces it; nothing behind it counts.
    assert_eq!(log.durable(), Index(1));
    assert!(log.has_unsaved());
    save(&mut log, 2);
    assert_eq!(log.durable(), Index(9));
    assert_eq!((log.cache_bytes, log.has_unsaved()), (0, false));
    log.set_applied(Index(9));
    assert_eq!(log.unapplied_bytes(), 0);
    log.append(Ballot(2), Proposal { time: LogTime(40), ..command("z") });
    assert_eq!(log.uncommitted_bytes(), log.cache_bytes);
}

#[test]
fn the_ballots_of_a_log_that_starts_anew_are_those_of_what_is_appended_behind_the_snapshot() {
    let mut log = log_of(&[1, 5, 5]);
    let snapshot = snapshot_of(9, 4);
    log.rebase(snapshot.clone());
    let mut parent = snapshot.digest;
    let entries = [(10, 4), (11, 6)].map(|(index, ballot)| {
        let id = LogId::new(Index(index), Ballot(ballot));
        let entry = Entry::new(id, parent, command("x"));
        parent = entry.digest();
        entry
    });
    assert_eq!(log.splice(snapshot.last, entries.to_vec()), Ok(Index(11)));
    assert_eq!(log.ballot_at(Index(10)), Some(Ballot(4)));
    assert_eq!(log.ballots, [(Index(10), Ballot(4)), (Index(11), Ballot(6))]);
    assert_eq!(log.splice(snapshot.last, entries.to_vec()), Ok(Index(11)), "it holds them");
}

#[test]
fn a_log_found_on_disk_is_committed_as_far_as_its_snapshot_and_no_further() {
    let whole = log_of(&[1, 1, 1, 2]);
    let found = |tail: Vec<Entry>| RecoveredLog {
        base: LogId::ZERO,
        base_digest: members().digest(),
        ballots: whole.ballots.clone(),
        memberships: vec![(Index(1), one_member())],
        tail,
        last: whole.last(),
        last_digest: whole.last_digest(),
        last_time: LogTime(30),
        gaps: Vec::new(),
        is_torn: false,
    };
    let snapshot = SnapshotMeta { time: LogTime(20), ..meta(&whole, 2) };
    let log = Log::recover(members(), Some(snapshot.clone()), found(all(&whole)));
    let one = all(&whole)[0].size_bytes();
    assert_eq!((log.committed(), log.applied(), log.durable()), (Index(2), Index(2), Index(4)));
    assert_eq!((log.uncommitted_bytes(), log.cache_bytes), (2 * one, 4 * one));
    assert_eq!((log.last_time(), log.membership()), (LogTime(0), &one_member()));
    assert_eq!(log.snapshot(), Some(&snapshot));
    // Without its entries at hand, no time that may stand in one is gone back behind.
    let log = Log::recover(members(), Some(snapshot.clone()), found(Vec::new()));
    assert_eq!(log.last_time(), LogTime(30));
    let later = SnapshotMeta { time: LogTime(40), ..snapshot };
    let log = Log::recover(members(), Some(later), found(Vec::new()));
    assert_eq!(log.last_time(), LogTime(40));
    let log = Log::recover(members(), None, found(all(&whole)));
    assert_eq!((log.committed(), log.uncommitted_bytes()), (Index(0), 4 * one));
}

#[test]
fn a_snapshot_that_is_written_again_can_be_read_again() {
    let mut log = log_of(&[1, 1, 1]);
    save(&mut log, 1);
    log.commit(Index(3));
    log.set_applied(Index(3));
    let (older, newer) = (meta(&log, 2), meta(&log, 3));
    log.set_snapshot(older.clone());
    log.set_unreadable(older.id());
    assert!(log.is_unreadable(&older) && !log.is_unreadable(&newer));
    log.set_snapshot(older.clone());
    assert!(!log.is_unreadable(&older));
    log.set_unreadable(older.id());
    log.set_snapshot(newer.clone());
    assert!(log.is_unreadable(&older) && !log.is_unreadable(&newer));
}

#[test]
fn memory_keeps_as_much_as_it_may_and_no_more() {
    let mut log = log_of(&[1, 1, 1, 1]);
    let one = all(&log)[0].size_bytes();
    save(&mut log, 1);
    log.commit(Index(4));
    log.trim_cache(2 * one);
    assert_eq!(log.cache.len(), 2);
    log.trim_cache(2 * one - 1);
    assert_eq!((log.cache.len(), log.cache_bytes), (1, one));
}

#[test]
fn what_is_cut_off_is_neither_written_nor_counted_nor_kept_in_memory() {
    let mut log = log_of(&[1]);
    save(&mut log, 1);
    // Of the three that the disk has not been given yet, two are replaced by another one.
    for _ in 0..3 {
        log.append(Ballot(1), command("x"));
    }
    let mut other = log_of(&[1, 1]);
    other.append(Ballot(2), command("other"));
    let behind = LogId::new(Index(2), Ballot(1));
    log.splice(behind, all(&other)[2..].to_vec()).unwrap();
    let sizes = |log: &Log| (log.uncommitted_bytes(), log.cache_bytes);
    assert_eq!(sizes(&log), sizes(&other));
    let runs = log.begin_write(WriteSeq(2));
    assert_eq!(runs.len(), 1);
    assert_eq!((runs[0].previous.index, &runs[0].entries[..]), (Index(1), &all(&other)[1..]));
}

#[test]
fn time_does_not_go_back_behind_a_snapshot() {
    let mut log = log_of(&[1]);
    let snapshot = SnapshotMeta { time: LogTime(40), ..snapshot_of(9, 2) };
    log.rebase(snapshot.clone());
    let next = |time| {
        let id = LogId::new(Index(10), Ballot(2));
        Entry::new(id, snapshot.digest, Proposal { time: LogTime(time), ..command("x") })
    };
    let early = next(39);
    let refused = Err(Rejected::OutOfOrder(early.id));
    assert_eq!(log.splice(snapshot.last, vec![early]), refused);
    assert_eq!(log.splice(snapshot.last, vec![next(40)]), Ok(Index(10)));
}

#[test]
fn what_follows_the_base_goes_on_from_its_digest_and_what_comes_first_from_the_founders() {
    let goes_on_from = |found_at: LogId, base_digest, parent| {
        let last = LogId::new(found_at.index.next().next(), Ballot(1));
        let found = RecoveredLog {
            base: found_at,
            base_digest,
            ballots: vec![(found_at.index.next(), Ballot(1))],
            last,
            ..RecoveredLog::default()
        };
        let mut log = Log::recover(members(), None, found);
        let id = LogId::new(found_at.index.next(), Ballot(2));
        log.splice(found_at, vec![Entry::new(id, parent, command("x"))]).is_ok()
    };
    let (base, given) = (LogId::new(Index(3), Ballot(1)), Digest::of(b"given"));
    assert!(goes_on_from(base, given, given));
    assert!(!goes_on_from(base, given, members().digest()));
    // Of a log whose first entries are lost, the disk knows no digest.
    for base_digest in [Digest::ZERO, members().digest()] {
        assert!(goes_on_from(LogId::ZERO, base_digest, members().digest()));
        assert!(!goes_on_from(LogId::ZERO, base_digest, given));
    }
}

#[test]
fn what_is_compacted_and_what_is_not_there_yet_has_no_name() {
    let log = compacted(&[1, 1, 2, 2], 2);
    let named = (0..=6).map(|index| log.ballot_at(Index(index)).map(|ballot| ballot.0));
    assert_eq!(named.collect::<Vec<_>>(), [None, None, Some(1), Some(2), Some(2), None, None]);
}

#[test]
#[should_panic(expected = "snapshots move forward")]
fn a_snapshot_that_can_be_read_is_not_replaced_by_one_of_the_same_state() {
    let mut log = log_of(&[1, 1]);
    log.commit(Index(2));
    log.set_applied(Index(2));
    let snapshot = meta(&log, 2);
    log.set_snapshot(snapshot.clone());
    log.set_snapshot(snapshot);
}

#[test]
fn a_compacted_log_knows_the_ballots_of_the_rest_once_each() {
    for (covered, left) in [(1, vec![(2, 1), (3, 2), (4, 3)]), (2, vec![(3, 2), (4, 3)])] {
        let log = compacted(&[1, 1, 2, 3], covered);
        let ballots = log.ballots.iter().map(|(first, ballot)| (first.0, ballot.0));
        assert_eq!(ballots.collect::<Vec<_>>(), left);
    }
}

#[test]
fn what_replaces_the_end_of_a_log_goes_on_from_an_entry_that_has_left_memory() {
    let mut log = log_of(&[1]);
    save(&mut log, 1);
    log.commit(Index(1));
    log.set_applied(Index(1));
    log.append(Ballot(1), command("x"));
    log.trim_cache(0);
    assert_eq!(log.entries(Index(1), 1), None);
    let (first, digest) = (LogId::new(Index(1), Ballot(1)), log_of(&[1]).last_digest());
    let other = |parent| Entry::new(LogId::new(Index(2), Ballot(2)), parent, command("y"));
    let stranger = other(Digest::of(b"another log"));
    let refused = Err(Rejected::ParentDiffers(stranger.id));
    assert_eq!(log.splice(first, vec![stranger]), refused);
    assert_eq!(log.splice(first, vec![other(digest)]), Ok(Index(2)));
}

#[test]
fn in_a_log_that_starts_anew_behind_a_snapshot_nothing_is_missing() {
    let mut log = log_of(&[1; 4]);
    let whole = log.clone();
    save(&mut log, 1);
    log.commit(Index(3));
    log.trim_cache(0);
    log.note_damage(gap_of(&whole, 2, 2));
    assert!(!log.is_whole());
    log.rebase(snapshot_of(9, 2));
    save(&mut log, 2);
    assert!(log.is_whole());
    assert_eq!(log.durable(), Index(9));
}
