//! A replica whose disk was replaced comes back without a lost write or a second vote.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod replicas;

use std::time::Duration;

use quorate_raft::Raft;
use replicas::{Replicas, n};

#[test]
fn a_wiped_disk_is_put_back_by_the_others_and_counts_again() {
    let mut cluster = Replicas::<Raft>::founded(3);
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
