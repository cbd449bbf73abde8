//! A log that is damaged on one disk is repaired from the others, under every protocol.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod replicas;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use quorate_core::{
    Digest, Entry, Envelope, Event, Fatal, Gap, Index, NodeId, PeerMessage, Protocol, Recovered,
    Repair, Settings,
};
use quorate_raft::Raft;
use quorate_vsr::{Message, Vsr};
use replicas::{Replicas, n};

/// A cluster that has committed `count` commands, and a follower of it which is down.
fn with_a_follower_down<P: Protocol>(count: usize) -> (Replicas<P>, NodeId) {
    let mut cluster = Replicas::<P>::founded(3);
    cluster.pass(Duration::from_secs(2));
    let leader = cluster.leader().unwrap();
    for _ in 0..count {
        assert!(cluster.commits(leader));
    }
    let follower = (1..=3).map(n).find(|id| *id != leader).unwrap();
    cluster.stop(follower);
    (cluster, follower)
}

/// A cluster that soon gives up its log for snapshots, and its leader.
fn soon_compacted<P: Protocol>(count: u64) -> (Replicas<P>, NodeId) {
    let settings = Settings { snapshot_bytes: 2000, ..Settings::default() };
    let mut cluster = Replicas::<P>::with(count, settings);
    cluster.pass(Duration::from_secs(2));
    let leader = cluster.leader().unwrap();
    (cluster, leader)
}

/// The entries `first..=last`, as missing from this disk.
fn gap(entries: &[Entry], (first, last): (u64, u64), ids_known: bool) -> Gap {
    let at = |index| entries.iter().find(|entry| entry.index() == Index(index)).unwrap();
    let (digest, before) = (at(last).digest(), at(first).parent);
    Gap { first: Index(first), last: Index(last), digest, before, ids_known }
}

/// What the disk says of which entries `first..=last` cannot be read.
fn damaged<P: Protocol>(
    cluster: &mut Replicas<P>,
    id: NodeId,
    (first, last): (u64, u64),
    ids_known: bool,
) -> Recovered {
    let node = cluster.nodes.get_mut(&id).unwrap();
    let mut recovered = node.recovered(id);
    let at = |index: u64| node.entries.iter().find(|entry| entry.index() == Index(index));
    let gap = gap(&node.entries, (first, last), ids_known);
    let is_gone = |entry: &Entry| (first..=last).contains(&entry.index().0);
    recovered.log.gaps.push(gap);
    recovered.log.memberships.retain(|(since, _)| !(first..=last).contains(&since.0));
    recovered.log.tail.retain(|entry| entry.index().0 > last);
    if !ids_known {
        // All of it is taken for what the last one was; behind it, the names are known again.
        let (end, behind) = (at(last).unwrap().ballot(), at(last + 1).map(Entry::ballot));
        let ballots = &mut recovered.log.ballots;
        let ends = behind.map(|ballot| (Index(last + 1), ballot));
        ballots.retain(|(start, _)| !(first..=last + 1).contains(&start.0));
        ballots.extend([(Index(first), end)].into_iter().chain(ends));
        ballots.sort();
        ballots.dedup_by_key(|(_, ballot)| *ballot);
    }
    node.entries.retain(|entry| !is_gone(entry));
    recovered
}

fn is_repaired_from_the_others<P: Protocol>(range: (u64, u64), ids_known: bool) {
    let (mut cluster, follower) = with_a_follower_down::<P>(200);
    let original = cluster.nodes[&follower].entries.clone();
    let recovered = damaged(&mut cluster, follower, range, ids_known);
    cluster.start_with(follower, recovered);
    cluster.pass(Duration::from_secs(2));
    let node = &cluster.nodes[&follower];
    let log = node.replica().log().unwrap();
    assert!(log.is_whole());
    assert_eq!(log.applied(), log.committed());
    assert_eq!(&node.entries[..original.len()], &original[..]);
    // And it counts: of the others, one is enough.
    let leader = cluster.leader().unwrap();
    let other = (1..=3).map(n).find(|id| *id != leader && *id != follower).unwrap();
    cluster.stop(other);
    assert!(cluster.commits(leader));
}

#[test]
fn one_entry_in_the_middle_comes_back_from_the_others() {
    is_repaired_from_the_others::<Raft>((50, 50), true);
    is_repaired_from_the_others::<Vsr>((50, 50), true);
}

#[test]
fn a_stretch_whose_names_are_lost_too_comes_back_along_the_chain() {
    is_repaired_from_the_others::<Raft>((30, 150), false);
    is_repaired_from_the_others::<Vsr>((30, 150), false);
}

#[test]
fn the_very_first_entries_come_back() {
    is_repaired_from_the_others::<Raft>((1, 3), false);
    is_repaired_from_the_others::<Vsr>((1, 3), false);
}

#[test]
fn the_end_of_the_log_comes_back_where_its_name_is_known() {
    is_repaired_from_the_others::<Raft>((198, 201), false);
    is_repaired_from_the_others::<Vsr>((198, 201), false);
}

/// Whoever lost the same entries cannot help, and is no worse off for having been asked.
fn is_repaired_although_the_first_peer_has_the_same_damage<P: Protocol>() {
    let (mut cluster, follower) = with_a_follower_down::<P>(200);
    let leader = cluster.leader().unwrap();
    let other = (1..=3).map(n).find(|id| *id != leader && *id != follower).unwrap();
    cluster.stop(other);
    for id in [follower, other] {
        let recovered = damaged(&mut cluster, id, (50, 60), true);
        cluster.start_with(id, recovered);
    }
    cluster.pass(Duration::from_secs(3));
    for id in [follower, other] {
        let log = cluster.nodes[&id].replica().log().unwrap();
        assert!(log.is_whole(), "{id}");
        assert_eq!(log.applied(), log.committed());
    }
}

#[test]
fn the_same_damage_on_two_of_three_is_repaired_from_the_third() {
    is_repaired_although_the_first_peer_has_the_same_damage::<Raft>();
    is_repaired_although_the_first_peer_has_the_same_damage::<Vsr>();
}

/// The only other copy of a committed entry is damaged: nobody may lead without it.
fn is_never_given_up_while_it_may_be_committed<P: Protocol>() {
    let mut cluster = Replicas::<P>::founded(3);
    cluster.pass(Duration::from_secs(2));
    let leader = cluster.leader().unwrap();
    let mut followers = (1..=3).map(n).filter(|id| *id != leader);
    let (holder, behind) = (followers.next().unwrap(), followers.next().unwrap());
    cluster.stop(behind);
    for _ in 0..20 {
        assert!(cluster.commits(leader));
    }
    let end = cluster.nodes[&leader].entries.len() as u64;
    cluster.stop(holder);
    cluster.stop(leader);
    let recovered = damaged(&mut cluster, holder, (10, end), true);
    cluster.start_with(holder, recovered);
    cluster.start(behind);
    cluster.pass(Duration::from_secs(5));
    assert_eq!(cluster.leader(), None);
    assert!(!cluster.nodes[&holder].replica().log().unwrap().is_whole());
    cluster.start(leader);
    cluster.pass(Duration::from_secs(5));
    let leader = cluster.leader().unwrap();
    assert!(cluster.commits(leader));
    cluster.pass(Duration::from_secs(2));
    let log = cluster.nodes[&holder].replica().log().unwrap();
    assert!(log.is_whole() && log.committed().0 > end);
}

#[test]
fn damage_to_the_only_other_copy_of_what_is_committed_loses_nothing() {
    is_never_given_up_while_it_may_be_committed::<Raft>();
    is_never_given_up_while_it_may_be_committed::<Vsr>();
}

/// Two of the three who hold what is committed cannot show it, and the third is down: the other two
/// never had it.
fn damage_on_a_minority_is_no_wrong_answer_while_another_one_is_down<P: Protocol>(ids_known: bool) {
    let mut cluster = Replicas::<P>::founded(5);
    cluster.pass(Duration::from_secs(2));
    let leader = cluster.leader().unwrap();
    let others: Vec<_> = (1..=5).map(n).filter(|id| *id != leader).collect();
    let (holders, behind) = others.split_at(2);
    for _ in 0..10 {
        assert!(cluster.commits(leader));
    }
    behind.iter().for_each(|id| cluster.stop(*id));
    let everybody_has = cluster.nodes[&leader].entries.len() as u64;
    for _ in 0..10 {
        assert!(cluster.commits(leader));
    }
    let committed = cluster.nodes[&leader].entries.clone();
    let end = committed.len() as u64;
    holders.iter().for_each(|id| cluster.stop(*id));
    cluster.stop(leader);
    for id in holders {
        let recovered = damaged(&mut cluster, *id, (everybody_has - 3, end), ids_known);
        cluster.start_with(*id, recovered);
    }
    behind.iter().for_each(|id| cluster.start(*id));
    cluster.pass(Duration::from_secs(5));
    assert_eq!(cluster.leader(), None, "it would lead without what is committed");
    for id in &others {
        let log = cluster.nodes[id].replica().log().unwrap();
        assert!(log.committed().0 <= everybody_has, "{id}");
        assert_eq!(log.last().index.0 == end, holders.contains(id), "{id}");
    }
    cluster.start(leader);
    cluster.pass(Duration::from_secs(5));
    let leader = cluster.leader().unwrap();
    assert!(cluster.commits(leader));
    cluster.pass(Duration::from_secs(2));
    for id in &others {
        let node = &cluster.nodes[id];
        assert!(node.replica().log().unwrap().is_whole(), "{id}");
        assert_eq!(&node.entries[..committed.len()], &committed[..], "{id}");
    }
}

#[test]
fn what_two_of_five_cannot_show_and_the_third_one_has_is_waited_for_while_that_is_down() {
    for ids_known in [true, false] {
        damage_on_a_minority_is_no_wrong_answer_while_another_one_is_down::<Raft>(ids_known);
        damage_on_a_minority_is_no_wrong_answer_while_another_one_is_down::<Vsr>(ids_known);
    }
}

/// All snapshots of a disk are gone, and of the log what they had covered. The others have compacted
/// that as well.
fn a_gap_before_the_log_is_closed_by_a_snapshot<P: Protocol>() {
    let (mut cluster, leader) = soon_compacted::<P>(3);
    for _ in 0..100 {
        assert!(cluster.commits(leader));
    }
    let base = cluster.nodes[&leader].replica().log().unwrap().base().index;
    assert!(base > Index(10), "{base}");
    let mut followers = (1..=3).map(n).filter(|id| *id != leader);
    let (owner, other) = (followers.next().unwrap(), followers.next().unwrap());
    cluster.stop(owner);
    let mut recovered = damaged(&mut cluster, owner, (1, base.0), false);
    recovered.log.base_digest = Digest::ZERO;
    recovered.log.gaps[0].before = Digest::ZERO;
    // Until it has fetched a snapshot it acknowledges nothing.
    cluster.filter = Box::new(|envelope| !matches!(envelope.message, PeerMessage::Repair(_)));
    cluster.start_with(owner, recovered);
    cluster.pass(Duration::from_secs(1));
    cluster.stop(other);
    let request = cluster.propose(leader);
    cluster.pass(Duration::from_secs(2));
    assert!(!cluster.nodes[&leader].done.contains(&request));
    assert_eq!(cluster.nodes[&owner].replica().log().unwrap().applied(), Index::ZERO);
    cluster.filter = Box::new(|_| true);
    cluster.pass(Duration::from_secs(2));
    assert!(cluster.nodes[&leader].done.contains(&request));
    let log = cluster.nodes[&owner].replica().log().unwrap();
    assert!(log.is_whole() && log.base().index >= base);
    assert_eq!(log.applied(), log.committed());
}

#[test]
fn a_gap_between_the_snapshot_and_the_log_is_closed_by_a_snapshot_of_another_node() {
    a_gap_before_the_log_is_closed_by_a_snapshot::<Raft>();
    a_gap_before_the_log_is_closed_by_a_snapshot::<Vsr>();
}

/// Of what is committed, two of five have but a snapshot, a third has it in a log that is damaged there,
/// and the others lag behind.
fn what_two_compacted_and_a_third_cannot_show_reaches_the_others<P: Protocol>() {
    let (mut cluster, first) = soon_compacted::<P>(5);
    for _ in 0..5 {
        assert!(cluster.commits(first));
    }
    let others: Vec<NodeId> = (1..=5).map(n).filter(|id| *id != first).collect();
    let [second, third, fourth, fifth] = others[..] else { panic!("five") };
    cluster.stop(fourth);
    cluster.stop(fifth);
    // It executes nothing, and takes no snapshot.
    cluster.nodes.get_mut(&third).unwrap().hangs = true;
    for _ in 0..100 {
        assert!(cluster.commits(first));
    }
    let end = cluster.nodes[&first].entries.last().unwrap().id;
    let base = |cluster: &Replicas<P>, id| cluster.nodes[&id].replica().log().unwrap().base().index;
    assert!(base(&cluster, first) > Index(20) && base(&cluster, second) > Index(20));
    assert!(base(&cluster, third) < Index(10));
    [first, second, third].into_iter().for_each(|id| cluster.stop(id));
    cluster.nodes.get_mut(&third).unwrap().hangs = false;
    let recovered = damaged(&mut cluster, third, (10, 10), true);
    cluster.start_with(third, recovered);
    cluster.start(fourth);
    cluster.start(fifth);
    cluster.pass(Duration::from_secs(5));
    assert_eq!(cluster.leader(), None, "it may have been committed, and was");
    cluster.start(second);
    cluster.pass(Duration::from_secs(5));
    let leader = cluster.leader().unwrap();
    assert!(cluster.commits(leader));
    cluster.pass(Duration::from_secs(1));
    for id in [second, third, fourth, fifth] {
        let log = cluster.nodes[&id].replica().log().unwrap();
        assert!(log.is_whole() && log.applied() == log.committed() && log.committed() > end.index);
    }
}

#[test]
fn what_is_compacted_on_some_and_damaged_on_another_reaches_those_who_lag() {
    what_two_compacted_and_a_third_cannot_show_reaches_the_others::<Raft>();
    what_two_compacted_and_a_third_cannot_show_reaches_the_others::<Vsr>();
}

/// Somebody needs a snapshot of an idle leader which cannot read its newest one any more: a follower
/// that was away, without which nothing is committed any more, or one whose disk was replaced.
fn a_snapshot_that_cannot_be_read_gives_way<P: Protocol>(is_replaced: bool, encoding: u64) {
    let (mut cluster, leader) = soon_compacted::<P>(3);
    let followers: Vec<NodeId> = (1..=3).map(n).filter(|id| *id != leader).collect();
    let [follower, other] = followers[..] else { panic!("three") };
    cluster.stop(follower);
    // Until the log begins behind what the follower has, with a snapshot at its very end.
    let log = |cluster: &Replicas<P>| cluster.nodes[&leader].replica().log().unwrap().clone();
    let ends_with_snapshot = |cluster: &Replicas<P>| {
        let log = log(cluster);
        let newest = log.snapshot().map(|newest| newest.last);
        log.base().index > Index(5) && newest == Some(log.last())
    };
    while !ends_with_snapshot(&cluster) {
        assert!(cluster.commits(leader));
    }
    let rotten = log(&cluster).snapshot().unwrap().id();
    let node = cluster.nodes.get_mut(&leader).unwrap();
    node.rotten.insert(rotten);
    node.failing_builds = 3;
    node.encoding = encoding;
    if is_replaced {
        cluster.wipe(follower, 900);
    } else {
        cluster.stop(other);
    }
    cluster.start(follower);
    cluster.pass(Duration::from_secs(10));
    assert_eq!(cluster.leader(), Some(leader));
    let status = |id| cluster.nodes[&id].replica().status();
    let (here, there) = (status(leader), status(follower));
    let renewed = here.snapshot.unwrap();
    // What readmits a replaced disk is put into the log meanwhile.
    assert_eq!(renewed.last != rotten.last, is_replaced);
    assert_eq!(renewed.id() == rotten, !is_replaced && encoding == 0);
    assert!(!log(&cluster).is_unreadable(&renewed));
    assert_eq!((there.committed, there.mute), (here.committed, false));
    // That is that.
    let before = cluster.nodes[&leader].failing_builds;
    cluster.pass(Duration::from_secs(5));
    assert_eq!((before, log(&cluster).last()), (0, here.last));
}

#[test]
fn a_snapshot_that_its_leader_cannot_read_gives_way_to_one_of_the_same_state() {
    for (is_replaced, encoding) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        a_snapshot_that_cannot_be_read_gives_way::<Raft>(is_replaced, encoding);
        a_snapshot_that_cannot_be_read_gives_way::<Vsr>(is_replaced, encoding);
    }
}

/// The only member finds damage while it runs, in what is not in memory any more.
fn damage_of_a_single_member<P: Protocol>() {
    let settings = Settings {
        log_cache_bytes: 0,
        apply_bytes: 1,
        snapshot_bytes: 10_000,
        ..Settings::default()
    };
    let me = n(1);
    let founded = || {
        let mut cluster = Replicas::<P>::with(1, settings.clone());
        cluster.pass(Duration::from_secs(2));
        (0..5).for_each(|_| assert!(cluster.commits(me)));
        cluster
    };
    let damage = |cluster: &mut Replicas<P>, index: u64| {
        let gap = damaged(cluster, me, (index, index), true).log.gaps.remove(0);
        cluster.tell(me, Event::Damaged(vec![gap]));
    };
    // It has executed what is lost: that goes into a snapshot.
    let mut cluster = founded();
    damage(&mut cluster, 3);
    assert!(cluster.commits(me));
    let covered = |cluster: &Replicas<P>| {
        let log = cluster.nodes[&me].replica().log().unwrap();
        assert!(log.is_whole());
        log.snapshot().unwrap().last.index
    };
    let newest = covered(&cluster);
    assert!(newest >= Index(3));
    // A snapshot covers it.
    while covered(&cluster) == newest {
        assert!(cluster.commits(me));
    }
    let newest = covered(&cluster);
    assert!(cluster.nodes[&me].replica().log().unwrap().base().index < newest.previous());
    damage(&mut cluster, newest.0 - 1);
    assert!(cluster.commits(me));
    assert_eq!(covered(&cluster), newest);
    // It has not: then it says so.
    let mut cluster = founded();
    cluster.nodes.get_mut(&me).unwrap().hangs = true;
    for _ in 0..3 {
        cluster.propose(me);
        cluster.pass(Duration::from_secs(1));
    }
    let committed = cluster.nodes[&me].replica().log().unwrap().committed();
    damage(&mut cluster, committed.0);
    assert_eq!(cluster.nodes[&me].stopped, Some(Fatal::LostAlone));
}

#[test]
fn a_single_member_goes_on_without_what_its_state_covers_and_stops_if_that_is_not_all() {
    damage_of_a_single_member::<Raft>();
    damage_of_a_single_member::<Vsr>();
}

fn lets_another_one_lead_that_can_find_out<P: Protocol>() {
    let mut cluster = Replicas::<P>::founded(3);
    cluster.pass(Duration::from_secs(2));
    let old = cluster.leader().unwrap();
    let others: Vec<NodeId> = (1..=3).map(n).filter(|id| *id != old).collect();
    // Nobody else ever gets these.
    cluster.filter = Box::new(move |envelope| envelope.from != old);
    for _ in 0..3 {
        cluster.propose(old);
    }
    cluster.settle();
    let end = cluster.nodes[&old].entries.last().unwrap().id;
    (1..=3).map(n).for_each(|id| cluster.stop(id));
    cluster.filter = Box::new(|_| true);

    // It leads again, has its entries on disk only, and finds one of them damaged.
    let node = cluster.nodes.get_mut(&old).unwrap();
    node.reads_hang = true;
    let mut recovered = node.recovered(old);
    recovered.log.tail.clear();
    cluster.start_with(old, recovered);
    cluster.start(others[0]);
    for _ in 0..100 {
        cluster.pass(Duration::from_millis(100));
        if cluster.leader() == Some(old) {
            break;
        }
    }
    assert_eq!(cluster.leader(), Some(old));
    let node = cluster.nodes.get_mut(&old).unwrap();
    node.reads_hang = false;
    let gap = gap(&node.entries, (end.index.0, end.index.0), true);
    node.entries.retain(|entry| entry.index() != end.index);
    cluster.tell(old, Event::Damaged(vec![gap]));
    assert!(cluster.nodes[&old].replica().log().unwrap().lacks_uncommitted());

    cluster.start(others[1]);
    cluster.pass(Duration::from_secs(2));
    let leader = cluster.leader().unwrap();
    assert_ne!(leader, old);
    assert!(cluster.commits(leader));
    assert!(cluster.commits(old), "what was damaged is replaced there");
    let log = cluster.nodes[&old].replica().log().unwrap();
    assert!(log.is_whole() && !log.holds(end), "{log:?}");
}

#[test]
fn a_leader_that_lacks_what_nobody_else_has_lets_another_one_lead() {
    lets_another_one_lead_that_can_find_out::<Raft>();
    lets_another_one_lead_that_can_find_out::<Vsr>();
}

/// Messages that were held up.
type HeldUp = Rc<RefCell<Vec<Envelope<Message>>>>;

fn hold_up(
    cluster: &mut Replicas<Vsr>,
    which: impl Fn(&Envelope<Message>) -> bool + 'static,
) -> HeldUp {
    let held_up = HeldUp::default();
    let holding = held_up.clone();
    cluster.filter = Box::new(move |envelope| {
        let passes = !which(envelope);
        if !passes {
            holding.borrow_mut().push(envelope.clone());
        }
        passes
    });
    held_up
}

/// The primary of a view that begins is asked for an entry before it takes over the best log, which
/// has it. That it lacked the entry then says nothing of the view.
#[test]
fn what_a_primary_lacked_before_its_view_began_is_not_given_up_in_that_view() {
    let mut cluster = Replicas::<Vsr>::founded(3);
    cluster.pass(Duration::from_secs(2));
    let old = cluster.leader().unwrap();
    let next = n(old.0 % 3 + 1);
    let owner = n(next.0 % 3 + 1);
    // What the old primary and one backup have is committed, and the next primary lacks it.
    cluster.stop(next);
    assert!(cluster.commits(old));
    let end = cluster.nodes[&old].entries.last().unwrap().id;
    [owner, old].into_iter().for_each(|id| cluster.stop(id));
    let recovered = damaged(&mut cluster, owner, (end.index.0, end.index.0), true);

    let is_want =
        |e: &Envelope<Message>| matches!(&e.message, PeerMessage::Repair(Repair::Want { .. }));
    let is_report = |e: &Envelope<Message>| {
        matches!(&e.message, PeerMessage::Protocol(Message::DoViewChange(_)))
    };
    let held_up = hold_up(&mut cluster, move |e| is_want(e) || (is_report(e) && e.to == next));
    cluster.start(next);
    cluster.start_with(owner, recovered);
    cluster.start(old);
    cluster.pass(Duration::from_millis(100));
    let at_work: Vec<Envelope<Message>> = held_up.take();
    let (wants, reports): (Vec<_>, Vec<_>) = at_work.into_iter().partition(is_want);
    assert_eq!(cluster.leader(), None);

    // Nor does the owner hear soon what is committed.
    let is_news = |e: &Envelope<Message>| {
        let is_commit = matches!(&e.message, PeerMessage::Protocol(Message::Commit { .. }));
        is_commit || matches!(&e.message, PeerMessage::Repair(_))
    };
    let answers = hold_up(&mut cluster, move |e| is_news(e) && e.to != next);
    let mut want = wants.into_iter().next().unwrap();
    want.to = next;
    cluster.deliver(want);
    for report in reports {
        cluster.deliver(report);
    }
    cluster.pass(Duration::from_millis(100));
    assert_eq!(cluster.leader(), Some(next));
    assert!(cluster.nodes[&next].replica().log().unwrap().holds(end));
    let is_answer = |e: &Envelope<Message>| {
        matches!(&e.message, PeerMessage::Repair(Repair::Lacks { .. })) && e.to == owner
    };
    for answer in answers.take().into_iter().filter(is_answer) {
        cluster.deliver(answer);
        let log = cluster.nodes[&owner].replica().log().unwrap();
        assert!(log.holds(end), "what it acknowledged is committed: {:?}", log.last());
    }
}

/// A gap begins among what is committed and ends with an entry that never will be. The backup which
/// has it hears, before it is repaired, how far the primary has committed.
#[test]
fn damage_that_reaches_from_what_is_committed_to_what_never_will_be_strands_nobody() {
    let mut cluster = Replicas::<Vsr>::founded(3);
    cluster.pass(Duration::from_secs(2));
    let old = cluster.leader().unwrap();
    let next = n(old.0 % 3 + 1);
    let owner = n(next.0 % 3 + 1);
    for _ in 0..5 {
        assert!(cluster.commits(old));
    }
    // The old primary sends an entry to one backup, which saves it, and dies before it has saved
    // that itself.
    let is_to_next = move |e: &Envelope<Message>| match &e.message {
        PeerMessage::Protocol(Message::Prepare(stretch) | Message::NewState(stretch)) => {
            e.to == next && !stretch.entries.is_empty()
        }
        _ => false,
    };
    let is_ok = move |e: &Envelope<Message>| {
        let is_ok = matches!(&e.message, PeerMessage::Protocol(Message::PrepareOk { .. }));
        is_ok && e.from == owner
    };
    let is_repair = |e: &Envelope<Message>| matches!(&e.message, PeerMessage::Repair(_));
    drop(hold_up(&mut cluster, move |e| is_to_next(e) || is_ok(e) || is_repair(e)));
    cluster.propose(old);
    cluster.pass(Duration::from_millis(30));
    let end = cluster.nodes[&owner].entries.last().unwrap().id;
    assert_eq!(cluster.nodes[&old].entries.last().unwrap().id, end);
    let committed = cluster.nodes[&old].replica().log().unwrap().committed();
    assert_eq!(committed, end.index.previous());
    cluster.stop(owner);
    let recovered = damaged(&mut cluster, owner, (end.index.0 - 2, end.index.0), false);
    cluster.start_with(owner, recovered);
    cluster.pass(Duration::from_millis(100));
    assert_eq!(cluster.leader(), Some(old));
    cluster.stop(old);
    cluster.nodes.get_mut(&old).unwrap().entries.pop();
    cluster.start(old);
    let is_report = move |e: &Envelope<Message>| {
        let is_report = matches!(&e.message, PeerMessage::Protocol(Message::DoViewChange(_)));
        is_report && e.from == owner
    };
    drop(hold_up(&mut cluster, move |e| is_report(e) || is_repair(e)));
    cluster.pass(Duration::from_secs(1));
    assert!(!cluster.nodes[&cluster.leader().unwrap()].replica().log().unwrap().holds(end));

    cluster.filter = Box::new(|_| true);
    cluster.pass(Duration::from_secs(3));
    let log = cluster.nodes[&owner].replica().log().unwrap();
    assert!(log.is_whole(), "{:?}", log.gaps());
    assert!(!cluster.nodes[&owner].replica().status().mute);
    let leader = cluster.leader().unwrap();
    let other = (1..=3).map(n).find(|id| *id != leader && *id != owner).unwrap();
    cluster.stop(other);
    assert!(cluster.commits(leader));
}
