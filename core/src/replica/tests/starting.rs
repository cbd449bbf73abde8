//! With what a replica starts, and when it must not.

use super::puppet::*;
use super::*;
use crate::write::Write;

fn recovered() -> Recovered {
    let founding = FoundingRecord { round: 1, list: Some(three()), formed: true };
    Recovered { founding, ..empty_disk(7) }
}

fn alone() -> Recovered {
    let list = Some(Membership::new([(ME, Incarnation(101))]));
    Recovered { founding: FoundingRecord { round: 1, list, formed: true }, ..recovered() }
}

type Started = (Replica<Puppet>, Vec<Effect<Word>>);

fn start_with(members: &[NodeId], bootstrap: bool, recovered: Recovered) -> Result<Started, Fatal> {
    let mut out = Vec::new();
    let members = members.iter().copied().collect();
    let config = ReplicaConfig { me: ME, members, bootstrap, settings: Settings::default() };
    Replica::recover(config, recovered, Now::default(), &mut out).map(|replica| (replica, out))
}

fn start(recovered: Recovered) -> Result<Started, Fatal> {
    start_with(&[ME, PEER, THIRD], false, recovered)
}

fn written(effects: &[Effect<Word>]) -> Vec<&Write> {
    let write = effects.iter().filter_map(|effect| match effect {
        Effect::Persist { write, .. } => Some(write),
        _ => None,
    });
    write.collect()
}

#[test]
fn who_knows_the_founders_asks_them_until_it_knows_that_all_of_them_do() {
    let founding = FoundingRecord { formed: false, ..recovered().founding };
    let (replica, out) = start(Recovered { founding, ..empty_disk(7) }).unwrap();
    assert!(!replica.status().formed && replica.cluster().is_none());
    let asked: Vec<_> = said(out).into_iter().map(|(to, _)| to).collect();
    assert_eq!(asked, [PEER, THIRD]);
    assert!(start(recovered()).unwrap().0.status().formed);
}

/// The others may know all that they need by then, and tell of it only when they are asked.
#[test]
fn who_is_not_formed_asks_again_and_again_be_the_list_recorded_or_not() {
    let asks_later = |out: &[Effect<Word>]| {
        out.iter().any(|effect| matches!(effect, Effect::SetTimer(Timer::Founding, _)))
    };
    for list in [None, Some(three())] {
        let founding = FoundingRecord { round: 1, list, formed: false };
        let (mut replica, out) = start(Recovered { founding, ..empty_disk(7) }).unwrap();
        assert!(asks_later(&out));
        for _ in 0..2 {
            let mut out = Vec::new();
            replica.step(Now::default(), Event::Timeout(Timer::Founding), &mut out);
            replica.flush(Now::default(), &mut out);
            assert!(asks_later(&out));
            let asked: Vec<_> = said(out).into_iter().map(|(to, _)| to).collect();
            assert_eq!(asked, [PEER, THIRD]);
        }
    }
}

#[test]
fn the_search_for_damage_begins_with_the_start() {
    let (_, out) = start(recovered()).unwrap();
    let begins = |effect: &Effect<Word>| matches!(effect, Effect::SetTimer(Timer::Scrub, _));
    assert!(out.iter().any(begins), "{out:?}");
}

#[test]
fn what_was_sworn_beside_the_log_counts_and_is_sworn_once_more() {
    let pledge = |ballot| Some(Sworn(ballot).to_bytes());
    for (in_log, sworn, counts, is_written) in [
        (pledge(2), None, 2, false),
        (pledge(2), pledge(5), 5, true),
        (pledge(5), pledge(2), 5, true),
        (None, pledge(5), 5, true),
        (Some(NO_PLEDGE), pledge(5), 5, true),
        (Some(NO_PLEDGE), None, 1, true),
        (None, None, 1, true),
    ] {
        let (replica, out) = start(Recovered { pledge: in_log, sworn, ..recovered() }).unwrap();
        assert_eq!(replica.status().ballot, Ballot(counts), "{in_log:?} {sworn:?}");
        let writes = written(&out);
        assert_eq!(!writes.is_empty(), is_written, "{in_log:?} {sworn:?}");
        for write in writes {
            assert!(write.promise);
            assert_eq!(write.pledge, Sworn(counts).to_bytes());
        }
    }
}

#[test]
fn a_pledge_that_is_none_stops_the_replica() {
    let nonsense = Some([9; 64]);
    let in_log = Recovered { pledge: nonsense, ..recovered() };
    let beside = Recovered { sworn: nonsense, ..recovered() };
    for recovered in [in_log, beside] {
        assert_eq!(start(recovered).unwrap_err(), Fatal::UnreadablePledge);
    }
}

#[test]
fn who_was_mute_starts_mute_and_asks_to_be_put_back() {
    let (replica, out) = start(Recovered { mute: true, ..recovered() }).unwrap();
    assert!(replica.status().mute && !replica.log().unwrap().may_vouch());
    let asks = |effect: &Effect<_>| matches!(effect, Effect::SetTimer(Timer::Readmission, _));
    assert!(out.iter().any(asks));
    let (replica, out) = start(recovered()).unwrap();
    assert!(!replica.status().mute && replica.log().unwrap().may_vouch());
    assert!(!out.iter().any(asks));
}

/// A log of so many entries, as found on a disk.
fn found(count: u64, founders: &Membership) -> RecoveredLog {
    let mut log = Log::founded_by(founders.clone());
    for _ in 0..count {
        log.append(Ballot(1), log.opening());
    }
    RecoveredLog {
        base_digest: founders.digest(),
        ballots: vec![(Index(1), Ballot(1))],
        memberships: vec![(Index(1), founders.clone())],
        tail: log.entries(Index(1), usize::MAX).unwrap(),
        last: log.last(),
        last_digest: log.last_digest(),
        ..RecoveredLog::default()
    }
}

#[test]
fn a_restart_applies_what_follows_the_snapshot_and_only_once_it_is_known_to_be_committed() {
    let log = found(5, &three());
    let (entries, covered) = (log.tail.clone(), &log.tail[1]);
    let snapshot = SnapshotMeta {
        last: covered.id,
        digest: covered.digest(),
        membership: three(),
        time: covered.time,
        size_bytes: 1,
        content: Digest::ZERO,
    };
    let found = Recovered { log, snapshot: Some(snapshot.clone()), ..recovered() };
    let (mut replica, mut out) = start(found).unwrap();
    let generation = replica.applying.generation();
    assert!(out.contains(&Effect::Restore { generation, snapshot }), "{out:?}");
    replica.step(Now::default(), Event::Restored { generation, deadline: None }, &mut out);
    replica.flush(Now::default(), &mut out);
    // That the disk has the rest does not say that it will stay.
    let is_apply = |effect: &Effect<Word>| matches!(effect, Effect::Apply { .. });
    assert!(!out.iter().any(is_apply), "{out:?}");
    let log = replica.log().unwrap();
    assert_eq!((log.applied(), log.committed(), log.last().index), (Index(2), Index(2), Index(5)));
    replica.formed.as_mut().unwrap().log.commit(Index(4));
    out.clear();
    replica.flush(Now::default(), &mut out);
    assert!(
        out.contains(&Effect::Apply { generation, entries: entries[2..4].to_vec() }),
        "{out:?}"
    );
}

#[test]
fn that_a_torn_end_was_cut_off_is_passed_on_though_nothing_else_is_left() {
    for is_torn in [false, true] {
        let log = RecoveredLog { is_torn, ..RecoveredLog::default() };
        let (replica, _) = start(Recovered { log, ..recovered() }).unwrap();
        let log = replica.log().unwrap();
        assert_eq!((log.was_torn(), log.last()), (is_torn, LogId::ZERO));
        assert_eq!(log.last_digest(), log.membership().digest());
    }
}

#[test]
fn a_single_member_that_lost_something_does_not_start() {
    let mute = Recovered { mute: true, ..alone() };
    assert_eq!(start(mute).unwrap_err(), Fatal::LostAlone);
    let damaged = |recovered: Recovered| {
        let founders = recovered.founding.list.clone().unwrap();
        let mut log = found(3, &founders);
        let gap = gap_of(&log.tail, 2, 2);
        log.tail.drain(..2);
        log.gaps.push(gap);
        Recovered { log, ..recovered }
    };
    assert_eq!(start(damaged(alone())).unwrap_err(), Fatal::LostAlone);
    // The others can help.
    assert!(start(damaged(recovered())).is_ok());
    let whole = Recovered { log: found(3, &Membership::new([(ME, Incarnation(101))])), ..alone() };
    assert_eq!(start(whole).unwrap().0.status().last, LogId::new(Index(3), Ballot(1)));
}

#[test]
fn a_single_member_mends_what_it_has_executed_with_a_snapshot_and_stops_over_anything_else() {
    let founders = Membership::new([(ME, Incarnation(101))]);
    let log = found(3, &founders);
    let entries = log.tail.clone();
    let gap = gap_of(&entries, 2, 2);
    let started = || {
        let (mut replica, _) = start(Recovered { log: log.clone(), ..alone() }).unwrap();
        let log = &mut replica.formed.as_mut().unwrap().log;
        log.commit(Index(3));
        log.trim_cache(0);
        replica
    };
    fn on(replica: &mut Replica<Puppet>, event: Event<Word>) -> Vec<Effect<Word>> {
        let mut out = Vec::new();
        replica.step(Now::default(), event, &mut out);
        replica.flush(Now::default(), &mut out);
        out
    }
    let out = on(&mut started(), Event::Damaged(vec![gap.clone()]));
    assert!(out.contains(&Effect::Stop(Fatal::LostAlone)), "it is not executed");

    let mut replica = started();
    let read =
        Event::EntriesRead { reader: Reader::Applier, from: Index(1), entries: entries.clone() };
    replica.flush(Now::default(), &mut Vec::new());
    let out = on(&mut replica, read);
    let generation = replica.applying.generation();
    assert!(out.contains(&Effect::Apply { generation, entries: entries.clone() }));
    let (through, requests) = (Index(3), Vec::new());
    let applied = crate::event::Applied { generation, through, requests, deadline: None };
    on(&mut replica, Event::Applied(applied));
    replica.formed.as_mut().unwrap().log.trim_cache(0);
    let out = on(&mut replica, Event::Damaged(vec![gap]));
    assert!(out.contains(&Effect::TakeSnapshot), "{out:?}");
    let snapshot = SnapshotMeta { membership: founders, ..snapshot_of(&entries[2]) };
    let out = on(&mut replica, Event::SnapshotBuilt(Some(snapshot)));
    let pointing = out.iter().find_map(|effect| match effect {
        Effect::Persist { seq, .. } => Some(*seq),
        _ => None,
    });
    let scrubbed = || Event::Scrubbed { next: Index::ZERO, gaps: Vec::new() };
    on(&mut replica, scrubbed());
    assert!(!replica.log().unwrap().is_whole(), "a restart may not find the snapshot");
    on(&mut replica, Event::Saved(pointing.unwrap()));
    on(&mut replica, scrubbed());
    assert!(replica.log().unwrap().is_whole());
}

#[test]
fn an_empty_directory_founds_a_cluster_only_of_members_and_alone_only_if_asked_to() {
    let empty = || Recovered { founding: FoundingRecord::default(), ..recovered() };
    let not_configured = Fatal::NotConfigured { node: ME };
    assert_eq!(start_with(&[PEER, THIRD], true, empty()).unwrap_err(), not_configured);
    assert_eq!(start_with(&[ME], false, empty()).unwrap_err(), Fatal::NotBootstrapped);
    assert!(start_with(&[ME], true, empty()).is_ok());
    assert!(start_with(&[ME, PEER], false, empty()).is_ok());
    // Once it is formed, its disk knows better.
    assert!(start_with(&[PEER], false, recovered()).is_ok());
}

#[test]
fn a_replica_that_has_a_snapshot_restores_it_before_anything_else() {
    let mut log = found(3, &three());
    let snapshot = snapshot_of(&log.tail[1]);
    log.tail.remove(0);
    let started = Recovered { snapshot: Some(snapshot.clone()), log, ..recovered() };
    let (mut replica, out) = start(started).unwrap();
    let generation = replica.applying.generation();
    assert!(out.contains(&Effect::Restore { generation, snapshot }));
    assert_eq!(replica.status().applied, Index(2));
    // Nothing is handed to the applier, and no read is answered, before that is done.
    replica.formed.as_mut().unwrap().log.commit(Index(3));
    let (now, mut out) = (Now::default(), Vec::new());
    let request = replica.name_request();
    replica.step(now, Event::Read { request }, &mut out);
    replica.requests.read_ready(request, Index(1));
    replica.flush(now, &mut out);
    let is_early =
        |effect: &Effect<_>| matches!(effect, Effect::Apply { .. } | Effect::ReadReady { .. });
    assert!(!out.iter().any(is_early));
    replica.step(now, Event::Restored { generation, deadline: None }, &mut out);
    replica.flush(now, &mut out);
    assert_eq!(out.iter().filter(|effect| is_early(effect)).count(), 2);
}
