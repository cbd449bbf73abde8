//! A replica whose disk was replaced comes back without a lost write or a second vote.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod replicas;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use quorate_core::{
    Entry, EntryKind, Fatal, Incarnation, Lineage, LogId, NodeId, PeerMessage, Proposal, Protocol,
    Readmission,
};
use quorate_raft::Raft;
use quorate_vsr::Vsr;
use replicas::{Filter, Replicas, n};

/// Says nothing that arrives.
fn unheard<P: Protocol>(node: NodeId) -> Filter<P> {
    Box::new(move |envelope| envelope.from != node)
}

/// Says nothing that either tells the other.
fn between<P: Protocol>(one: NodeId, other: NodeId) -> Filter<P> {
    let both = [(one, other), (other, one)];
    Box::new(move |envelope| !both.contains(&(envelope.from, envelope.to)))
}

/// Neither says nor hears anything.
fn cut_off<P: Protocol>(node: NodeId) -> Filter<P> {
    Box::new(move |envelope| ![envelope.from, envelope.to].contains(&node))
}

/// A cluster that has committed something, its leader, and the others.
fn led<P: Protocol>(count: u64) -> (Replicas<P>, NodeId, Vec<NodeId>) {
    let mut cluster = Replicas::<P>::founded(count);
    cluster.pass(Duration::from_secs(2));
    let leader = cluster.leader().unwrap();
    assert!(cluster.commits(leader));
    (cluster, leader, (1..=count).map(n).filter(|id| *id != leader).collect())
}

impl<P: Protocol> Replicas<P> {
    fn start_again(&mut self, id: NodeId, times: u64) {
        for _ in 0..times {
            self.stop(id);
            self.start(id);
            self.pass(Duration::from_secs(1));
        }
    }

    fn has_stopped_as_an_old_image(&self, id: NodeId) -> bool {
        self.nodes[&id].stopped == Some(Fatal::OldImage { node: id })
    }
}

/// An image of a follower's disk is put back after the follower has gone on without it, and is
/// started more often before anybody hears from it.
fn an_old_image_is_noticed<P: Protocol>(starts_since: u64, starts_unheard: u64) {
    let mut cluster = Replicas::<P>::founded(3);
    cluster.pass(Duration::from_secs(2));
    let leader = cluster.leader().unwrap();
    assert!(cluster.commits(leader));
    let restored = (1..=3).map(n).find(|id| *id != leader).unwrap();
    let image = cluster.nodes[&restored].recovered(restored);
    cluster.start_again(restored, starts_since);
    assert!(cluster.commits(leader));
    cluster.stop(restored);
    cluster.put_back(restored, &image);
    cluster.filter = cut_off::<P>(restored);
    cluster.start_again(restored, starts_unheard);
    cluster.filter = Box::new(|_| true);
    assert!(!cluster.has_stopped_as_an_old_image(restored));
    cluster.start_again(restored, 1);
    cluster.pass(Duration::from_secs(1));
    assert!(cluster.has_stopped_as_an_old_image(restored));
    // Started empty, as it says, it is put back.
    cluster.wipe(restored, 900);
    cluster.start(restored);
    cluster.pass(Duration::from_secs(3));
    assert!(!cluster.nodes[&restored].replica().status().mute);
    let leader = cluster.leader().unwrap();
    let other = (1..=3).map(n).find(|id| *id != leader && *id != restored).unwrap();
    cluster.stop(other);
    assert!(cluster.commits(leader));
}

#[test]
fn an_old_image_of_a_disk_is_noticed_by_the_starts_since() {
    for starts_since in [1, 3] {
        an_old_image_is_noticed::<Raft>(starts_since, 0);
        an_old_image_is_noticed::<Vsr>(starts_since, 0);
    }
}

#[test]
fn an_old_image_is_noticed_however_often_it_was_started_before_anybody_hears_from_it() {
    for starts_unheard in 1..=4 {
        an_old_image_is_noticed::<Raft>(2, starts_unheard);
        an_old_image_is_noticed::<Vsr>(2, starts_unheard);
    }
    an_old_image_is_noticed::<Raft>(1, Lineage::KEPT as u64 - 1);
}

/// One member has heard of the starts since, and the other has not: it hears from the image first.
fn whoever_knows_better_notices<P: Protocol>(starts_of_image: u64) {
    let (mut cluster, _, followers) = led::<P>(3);
    let (restored, other) = (followers[0], followers[1]);
    let image = cluster.nodes[&restored].recovered(restored);
    cluster.filter = Box::new(move |envelope| (envelope.from, envelope.to) != (restored, other));
    cluster.start_again(restored, 2);
    cluster.stop(restored);
    cluster.put_back(restored, &image);
    let heard_by_other = Rc::new(RefCell::new(0));
    let count = heard_by_other.clone();
    cluster.filter = Box::new(move |envelope| {
        let is_to_other = (envelope.from, envelope.to) == (restored, other);
        *count.borrow_mut() += u32::from(is_to_other);
        // It is asked by nobody but the one that knows nothing.
        is_to_other || ![envelope.from, envelope.to].contains(&restored) || envelope.from == other
    });
    cluster.start_again(restored, starts_of_image);
    // Long enough without a leader to ask for votes.
    cluster.pass(Duration::from_secs(2));
    assert!(*heard_by_other.borrow() > 0);
    assert!(!cluster.has_stopped_as_an_old_image(restored));
    cluster.filter = Box::new(|_| true);
    cluster.pass(Duration::from_secs(2));
    assert!(cluster.has_stopped_as_an_old_image(restored));
}

#[test]
fn a_member_that_knows_of_later_starts_notices_an_image_which_another_has_taken_for_the_disk() {
    for starts_of_image in 1..=4 {
        whoever_knows_better_notices::<Raft>(starts_of_image);
        whoever_knows_better_notices::<Vsr>(starts_of_image);
    }
}

/// Nobody hears from the image: it finds out by what the others ask and report, be it that its turn
/// to lead comes.
fn whatever_is_said_to_an_old_image_stops_it<P: Protocol>(leader_stops: bool) {
    let mut cluster = Replicas::<P>::founded(3);
    cluster.pass(Duration::from_secs(2));
    let leader = cluster.leader().unwrap();
    assert!(cluster.commits(leader));
    // The primary of the view after this one, under Viewstamped Replication.
    let restored = n(leader.0 % 3 + 1);
    let image = cluster.nodes[&restored].recovered(restored);
    cluster.start_again(restored, 1);
    // Without its leader, it turns to the other one.
    cluster.filter = between::<P>(leader, restored);
    cluster.pass(Duration::from_secs(1));
    cluster.filter = Box::new(|_| true);
    cluster.pass(Duration::from_secs(1));
    assert_eq!(cluster.leader(), Some(leader));
    assert!(cluster.commits(leader));
    cluster.stop(restored);
    cluster.put_back(restored, &image);
    cluster.filter = unheard::<P>(restored);
    if leader_stops {
        cluster.stop(leader);
    }
    cluster.start(restored);
    cluster.pass(Duration::from_secs(3));
    assert!(cluster.has_stopped_as_an_old_image(restored));
}

#[test]
fn an_old_image_finds_out_by_what_it_hears_before_it_counts_that() {
    for leader_stops in [false, true] {
        whatever_is_said_to_an_old_image_stops_it::<Raft>(leader_stops);
        whatever_is_said_to_an_old_image_stops_it::<Vsr>(leader_stops);
    }
}

/// A disk is started several times before anybody hears from it, and what it answers when it is
/// asked is lost at first.
fn a_disk_counts_again<P: Protocol>(starts_unheard: u64) {
    let (mut cluster, _, followers) = led::<P>(3);
    let (again, other) = (followers[0], followers[1]);
    cluster.stop(other);
    cluster.filter = unheard::<P>(again);
    cluster.start_again(again, starts_unheard);
    let lost = Rc::new(RefCell::new(0));
    let count = lost.clone();
    cluster.filter = Box::new(move |envelope| {
        let follows =
            matches!(&envelope.message, PeerMessage::Readmission(Readmission::Follows { .. }));
        let is_lost = follows && *count.borrow() < 3;
        *count.borrow_mut() += u32::from(is_lost);
        !is_lost
    });
    cluster.start_again(again, 1);
    assert!(cluster.commits(again));
    assert_eq!(*lost.borrow(), 3);
    assert_eq!(cluster.nodes[&again].stopped, None);
}

#[test]
fn a_disk_that_was_started_several_times_unheard_counts_once_it_has_said_what_it_comes_after() {
    for starts_unheard in [1, 2, 5] {
        a_disk_counts_again::<Raft>(starts_unheard);
        a_disk_counts_again::<Vsr>(starts_unheard);
    }
}

/// A message of an earlier start arrives late, as one does after any restart, and by the time of the
/// answer the disk is another one, on which no process was started so often.
fn what_was_said_of_another_disk_stops_nobody<P: Protocol>() {
    let mut cluster = Replicas::<P>::founded(3);
    cluster.pass(Duration::from_secs(2));
    let leader = cluster.leader().unwrap();
    let wiped = (1..=3).map(n).find(|id| *id != leader).unwrap();
    let late = Rc::new(RefCell::new(None));
    let recorded = late.clone();
    cluster.filter = Box::new(move |envelope| {
        let is_its_own = envelope.from == wiped && envelope.to == leader;
        if is_its_own && matches!(envelope.message, PeerMessage::Protocol(_)) {
            recorded.borrow_mut().get_or_insert_with(|| envelope.clone());
        }
        true
    });
    cluster.pass(Duration::from_secs(1));
    for _ in 0..3 {
        cluster.stop(wiped);
        cluster.start(wiped);
        cluster.pass(Duration::from_secs(1));
    }
    let answers = Rc::new(RefCell::new(Vec::new()));
    let recorded = answers.clone();
    cluster.filter = Box::new(move |envelope| {
        let told = matches!(&envelope.message, PeerMessage::Readmission(Readmission::Doubt));
        if told {
            recorded.borrow_mut().push(envelope.clone());
        }
        !told
    });
    let late = late.take().unwrap();
    cluster.deliver(late);
    cluster.stop(wiped);
    cluster.wipe(wiped, 900);
    cluster.start(wiped);
    cluster.pass(Duration::from_secs(1));
    assert_eq!(answers.borrow().len(), 1);
    for answer in answers.take() {
        cluster.deliver(answer);
    }
    assert_eq!(cluster.nodes[&wiped].stopped, None);
    cluster.pass(Duration::from_secs(3));
    assert!(!cluster.nodes[&wiped].replica().status().mute);
}

#[test]
fn an_old_image_is_told_from_a_disk_that_came_later() {
    what_was_said_of_another_disk_stops_nobody::<Raft>();
    what_was_said_of_another_disk_stops_nobody::<Vsr>();
}

fn a_request_that_was_overtaken_has_no_effect<P: Protocol>() {
    let mut cluster = Replicas::<P>::founded(3);
    cluster.pass(Duration::from_secs(2));
    let leader = cluster.leader().unwrap();
    let wiped = (1..=3).map(n).find(|id| *id != leader).unwrap();
    // Replaced twice. What the first replacement asked for is held up on its way.
    cluster.stop(wiped);
    cluster.wipe(wiped, 900);
    let held_up = Rc::new(RefCell::new(Vec::new()));
    let hold_up = held_up.clone();
    cluster.filter = Box::new(move |envelope| match &envelope.message {
        PeerMessage::Readmission(Readmission::Rejoin { .. }) => {
            hold_up.borrow_mut().push(envelope.clone());
            false
        }
        _ => true,
    });
    cluster.start(wiped);
    cluster.pass(Duration::from_secs(2));
    cluster.stop(wiped);
    cluster.wipe(wiped, 901);
    cluster.filter = Box::new(|_| true);
    cluster.start(wiped);
    cluster.pass(Duration::from_secs(3));
    assert!(!cluster.nodes[&wiped].replica().status().mute);
    assert!(!held_up.borrow().is_empty());
    for envelope in held_up.take() {
        cluster.deliver(envelope);
    }
    cluster.pass(Duration::from_secs(1));
    let listed = cluster.nodes[&leader].replica().status().membership.incarnation(wiped);
    assert_eq!(listed, Some(Incarnation(901)));
}

#[test]
fn a_place_that_was_given_to_a_later_replacement_is_not_taken_back() {
    a_request_that_was_overtaken_has_no_effect::<Raft>();
    a_request_that_was_overtaken_has_no_effect::<Vsr>();
}

/// Until it is put back, nothing that the replacement says counts: with one other down there is no
/// quorum, whatever the replacement holds by then.
fn a_replacement_is_mute<P: Protocol>() {
    let (mut cluster, leader, followers) = led::<P>(3);
    let (wiped, other) = (followers[0], followers[1]);
    cluster.stop(wiped);
    cluster.stop(other);
    cluster.wipe(wiped, 900);
    // It learns of the cluster from the one that is left.
    cluster.start(wiped);
    let request = cluster.propose(leader);
    cluster.pass(Duration::from_secs(5));
    assert!(!cluster.nodes[&leader].done.contains(&request));
    assert!(cluster.nodes[&wiped].replica().status().mute);
    assert_eq!(cluster.leader(), None);
    cluster.start(other);
    cluster.pass(Duration::from_secs(5));
    assert!(!cluster.nodes[&wiped].replica().status().mute);
    let leader = cluster.leader().unwrap();
    assert!(cluster.commits(leader));
}

#[test]
fn nothing_that_a_replacement_says_counts_before_it_is_put_back() {
    a_replacement_is_mute::<Raft>();
    a_replacement_is_mute::<Vsr>();
}

/// A disk goes missing while another member is down, and its process is started on an empty one at
/// once: no quorum is left, but the leader does not know yet. Then the old disk is found, intact.
fn nobody_is_replaced_without_a_quorum_of_others<P: Protocol>(count: u64, found_after: u64) {
    let (mut cluster, _, followers) = led::<P>(count);
    followers.iter().for_each(|id| cluster.stop(*id));
    let lost = followers[0];
    let disk = cluster.wipe(lost, 900);
    cluster.start(lost);
    cluster.pass(Duration::from_millis(found_after));
    assert!(found_after < 1000 || cluster.leader().is_none());
    assert!(found_after < 1000 || cluster.nodes[&lost].replica().status().mute);
    cluster.stop(lost);
    cluster.nodes.insert(lost, disk);
    cluster.start(lost);
    cluster.pass(Duration::from_secs(5));
    let leader = cluster.leader().unwrap();
    assert!(cluster.commits(leader));
}

#[test]
fn who_may_be_needed_with_the_disk_that_is_listed_is_not_replaced() {
    for (count, found_after) in [2, 3].into_iter().flat_map(|n| (0..=5).map(move |k| (n, k * 80))) {
        nobody_is_replaced_without_a_quorum_of_others::<Raft>(count, found_after);
        nobody_is_replaced_without_a_quorum_of_others::<Vsr>(count, found_after);
    }
    for count in [2, 3] {
        nobody_is_replaced_without_a_quorum_of_others::<Raft>(count, 5000);
        nobody_is_replaced_without_a_quorum_of_others::<Vsr>(count, 5000);
    }
}

/// The disk that was replaced has saved, before it was taken out, the entry that lists the other
/// one. It is started again while that one is down.
fn a_replaced_disk_is_nobody<P: Protocol>() {
    let (mut cluster, leader, followers) = led::<P>(3);
    let (replaced, other) = (followers[0], followers[1]);
    cluster.stop(replaced);
    let mut disk = cluster.wipe(replaced, 900);
    cluster.start(replaced);
    cluster.pass(Duration::from_secs(3));
    assert!(!cluster.nodes[&replaced].replica().status().mute);
    let entries = &cluster.nodes[&leader].entries;
    let is_new = |entry: &&Entry| entry.index() > disk.entries.last().unwrap().index();
    let missed: Vec<Entry> = entries.iter().filter(is_new).cloned().collect();
    assert!(missed.iter().any(|entry| entry.kind == EntryKind::Membership));
    disk.entries.extend(missed);
    for id in [leader, replaced] {
        cluster.stop(id);
    }
    let end = disk.entries.last().unwrap().id;
    let by = cluster.nodes.insert(replaced, disk).unwrap();
    cluster.start(replaced);
    cluster.pass(Duration::from_secs(10));
    // One of three disks that count is up: nobody has led, be it for a moment.
    assert_eq!(cluster.leader(), None);
    for id in [replaced, other] {
        assert_eq!(cluster.nodes[&id].entries.last().unwrap().id, end);
    }
    // By those that count, it learns that it does not.
    cluster.start(leader);
    cluster.pass(Duration::from_secs(5));
    assert!(matches!(cluster.nodes[&replaced].stopped, Some(Fatal::Superseded { .. })));
    cluster.nodes.insert(replaced, by);
    cluster.start(replaced);
    cluster.stop(other);
    cluster.pass(Duration::from_secs(5));
    let leader = cluster.leader().unwrap();
    assert!(cluster.commits(leader));
}

#[test]
fn a_disk_that_knows_that_it_was_replaced_counts_for_nothing_be_that_committed_or_not() {
    a_replaced_disk_is_nobody::<Raft>();
    a_replaced_disk_is_nobody::<Vsr>();
}

#[test]
fn a_wiped_disk_is_put_back_by_the_others_and_counts_again() {
    is_put_back::<Raft>();
    is_put_back::<Vsr>();
}

fn is_put_back<P: Protocol>() {
    let (mut cluster, leader, followers) = led::<P>(3);
    let (wiped, other) = (followers[0], followers[1]);
    cluster.stop(wiped);
    cluster.wipe(wiped, 900);
    cluster.start(wiped);
    cluster.pass(Duration::from_secs(3));
    assert!(!cluster.nodes[&wiped].replica().status().mute);
    cluster.stop(other);
    assert!(cluster.commits(leader));
    assert!(cluster.commits(wiped));
}

/// What a disk has not kept of what it said was saved.
#[derive(Clone, Copy)]
enum Forgets {
    /// The last entries.
    Entries,
    /// These, and that others were cut off for them.
    Cut,
}

/// A disk says that everything is saved, and after a restart it is not there. Its process was
/// started on it as often as it knows.
fn a_disk_that_lied<P: Protocol>(forgets: Forgets) {
    let mut cluster = Replicas::<P>::founded(3);
    cluster.pass(Duration::from_secs(2));
    let first = cluster.leader().unwrap();
    assert!(cluster.commits(first));
    cluster.stop(first);
    cluster.pass(Duration::from_secs(2));
    cluster.start(first);
    cluster.pass(Duration::from_secs(2));
    let leader = cluster.leader().unwrap();
    assert_ne!(leader, first);
    let mut followers = (1..=3).map(n).filter(|id| *id != leader);
    let (liar, other) = (followers.next().unwrap(), followers.next().unwrap());
    assert!(cluster.commits(leader));
    cluster.stop(other);
    assert!(cluster.commits(leader));
    let acknowledged = cluster.nodes[&liar].replica().status().durable;
    cluster.stop(liar);
    let entries = &mut cluster.nodes.get_mut(&liar).unwrap().entries;
    let oldest = entries[0].ballot();
    entries.retain(|entry| entry.ballot() == oldest);
    while matches!(forgets, Forgets::Cut) && entries.len() as u64 <= acknowledged.0 + 1 {
        let last = entries.last().unwrap();
        let proposal = Proposal::new(EntryKind::Noop, last.time, Bytes::new());
        let next = LogId::new(last.index().next(), oldest);
        entries.push(Entry::new(next, last.digest(), proposal));
    }
    cluster.filter = Box::new(move |envelope| (envelope.from, envelope.to) == (leader, liar));
    cluster.start(liar);
    cluster.pass(Duration::from_millis(100));
    let status = cluster.nodes[&liar].replica().status();
    assert!(status.mute, "{status:?}");
    assert_eq!(status.lost, Some(acknowledged));
    cluster.filter = Box::new(move |envelope| {
        let is_counted = match &envelope.message {
            PeerMessage::Protocol(message) => envelope.from == liar && P::vouches(message),
            _ => false,
        };
        assert!(!is_counted, "{envelope:?}");
        ![envelope.from, envelope.to].contains(&leader)
    });
    cluster.start(other);
    cluster.pass(Duration::from_secs(3));
    // The other one does not have what the two had committed either. It gets back what it had, and counts again.
    cluster.filter = Box::new(|_| true);
    cluster.pass(Duration::from_secs(5));
    let leader = cluster.leader().unwrap();
    assert!(cluster.commits(leader));
    let status = cluster.nodes[&liar].replica().status();
    assert!(!status.mute, "{status:?}");
    assert!(status.durable >= acknowledged);
    assert_eq!(cluster.nodes[&liar].stopped, None);
}

#[test]
fn a_disk_that_did_not_keep_what_it_said_was_saved_is_found_out_and_counts_once_it_has_all_of_it() {
    for forgets in [Forgets::Entries, Forgets::Cut] {
        a_disk_that_lied::<Raft>(forgets);
        a_disk_that_lied::<Vsr>(forgets);
    }
}
