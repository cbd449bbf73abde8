//! What becomes of clients that want more than there is time for.

use std::sync::Arc;
use std::time::Duration;

use quorate_raft::Raft;
use quorate_vsr::Vsr;

use super::Cluster;
use super::failover::plan;
use crate::oracle::Simulated;
use crate::registers::Writing;
use crate::trace::{Keep, Trace};

/// Readers ask anew sooner than what they have asked for could be answered.
fn all_are_answered<P: Simulated>() {
    let (ms, second) = (Duration::from_millis(1), Duration::from_secs(1));
    let mut plan = plan(1);
    plan.completions.apply = (2 * ms, 2 * ms);
    plan.load.readers = plan.load.clients;
    plan.load.window = 400;
    plan.load.think = (Duration::ZERO, ms);
    plan.load.patience = 100 * ms;
    let subject = Arc::new(Writing::of(&plan.load));
    let mut cluster = Cluster::<P>::new(1, plan, subject, None, false, Trace::new(Keep::Nothing));
    cluster.run_until(5 * second, |cluster| cluster.clients.outstanding() == 1200);
    cluster.clients.close();
    // Twice as long as it takes to answer so many, one after the other.
    cluster.run_until(2 * 1200 * 2 * ms, |cluster| cluster.clients.outstanding() == 0);
}

#[test]
fn whatever_nobody_waits_for_any_more_keeps_nobody_waiting() {
    all_are_answered::<Raft>();
    all_are_answered::<Vsr>();
}
