//! How a group gets from one view to the next, and what it takes along.

use quorate_core::{Index, Timer};

use super::cluster::{Cluster, n};
use crate::{DoViewChange, Message};

fn report(message: &Message) -> Option<&DoViewChange> {
    match message {
        Message::DoViewChange(report) => Some(report),
        _ => None,
    }
}

#[test]
fn the_best_log_of_a_quorum_is_taken_over_and_a_shorter_or_older_one_is_not() {
    let mut cluster = Cluster::of(3);
    // Node 2 has more entries, but node 3 has later ones.
    cluster.set_log(1, 5, &[1, 1]);
    cluster.set_log(2, 5, &[1, 1, 2, 2, 2]);
    cluster.set_log(3, 5, &[1, 1, 3]);
    cluster.lead(1);
    for id in 1..=3 {
        cluster.assert_log(id, &[1, 1, 3, 6], 4);
    }
}

#[test]
fn a_report_leaves_with_the_write_that_leaves_the_earlier_views() {
    let mut cluster = Cluster::led_by_1(3);
    cluster.isolate(1);
    cluster.slow.insert(n(3));
    cluster.now += cluster.settings.election.end;
    cluster.timeout(3, Timer::Election);
    cluster.deliver_to(2);
    cluster.save(2);
    cluster.deliver_to(3);
    assert_eq!((cluster.view(3), cluster.last_index(3)), (4, Index(1)));
    assert!(!cluster.network.iter().any(|sent| report(&sent.message).is_some()));
    cluster.save(3);
    assert!(cluster.network.iter().any(|sent| report(&sent.message).is_some()));
}
