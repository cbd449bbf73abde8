//! A replica whose disk was replaced comes back without a lost write or a second vote.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod replicas;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use quorate_core::{Fatal, Incarnation, PeerMessage, Protocol, Readmission};
use quorate_raft::Raft;
use quorate_vsr::Vsr;
use replicas::{Replicas, n};

/// An image of a follower's disk is put back after the follower has gone on without it.
fn an_old_image_is_noticed<P: Protocol>(starts_since: u64) {
    let mut cluster = Replicas::<P>::founded(3);
    cluster.pass(Duration::from_secs(2));
    let leader = cluster.leader().unwrap();
    assert!(cluster.commits(leader));
    let restored = (1..=3).map(n).find(|id| *id != leader).unwrap();
    let image = cluster.nodes[&restored].recovered(restored);
    for _ in 0..starts_since {
        cluster.stop(restored);
        cluster.start(restored);
        cluster.pass(Duration::from_secs(1));
    }
    assert!(cluster.commits(leader));
    cluster.stop(restored);
    cluster.start_with(restored, image);
    cluster.pass(Duration::from_secs(2));
    let stopped = cluster.nodes[&restored].stopped.clone();
    assert_eq!(stopped, Some(Fatal::OldImage { node: restored }));
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
    an_old_image_is_noticed::<Raft>(1);
    an_old_image_is_noticed::<Raft>(3);
    an_old_image_is_noticed::<Vsr>(1);
    an_old_image_is_noticed::<Vsr>(3);
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
        let told =
            matches!(&envelope.message, PeerMessage::Readmission(Readmission::Outdated { .. }));
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
    let mut cluster = Replicas::<P>::founded(3);
    cluster.pass(Duration::from_secs(2));
    let leader = cluster.leader().unwrap();
    assert!(cluster.commits(leader));
    let mut followers = (1..=3).map(n).filter(|id| *id != leader);
    let (wiped, other) = (followers.next().unwrap(), followers.next().unwrap());
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

#[test]
fn a_wiped_disk_is_put_back_by_the_others_and_counts_again() {
    is_put_back::<Raft>();
    is_put_back::<Vsr>();
}

fn is_put_back<P: Protocol>() {
    let mut cluster = Replicas::<P>::founded(3);
    cluster.pass(Duration::from_secs(2));
    let leader = cluster.leader().unwrap();
    assert!(cluster.commits(leader));
    let mut followers = (1..=3).map(n).filter(|id| *id != leader);
    let (wiped, other) = (followers.next().unwrap(), followers.next().unwrap());
    cluster.stop(wiped);
    cluster.wipe(wiped, 900);
    cluster.start(wiped);
    cluster.pass(Duration::from_secs(3));
    assert!(!cluster.nodes[&wiped].replica().status().mute);
    cluster.stop(other);
    assert!(cluster.commits(leader));
    assert!(cluster.commits(wiped));
}
