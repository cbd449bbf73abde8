//! Who leads, and when nobody may be replaced.

use quorate_core::{Protocol, Role, Timer};

use super::cluster::{Cluster, n};

#[test]
fn a_quorum_elects_the_one_that_times_out_first() {
    let cluster = Cluster::led_by_1(3);
    for id in 1..=3 {
        let standing = cluster.raft(id).standing();
        assert_eq!(standing.leader, Some(n(1)));
        assert_eq!(standing.ballot.0, 1);
        assert_eq!(standing.role == Role::Leader, id == 1);
        assert_eq!(standing.serving, id == 1);
        cluster.assert_log(id, &[1], 1);
    }
}

#[test]
fn a_single_server_leads_only_once_its_own_vote_is_on_disk() {
    let mut cluster = Cluster::of(1);
    cluster.timeout(1, Timer::Election);
    assert_eq!(cluster.raft(1).standing().role, Role::Candidate);
    cluster.save(1);
    assert!(cluster.node(1).leads());
}
