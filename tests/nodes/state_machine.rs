//! What the user's code can do to a node.

use crate::common::{Answer, Cluster, Command, PATIENCE, Query, add, eventually, total};
use crate::gate::Gate;
use quorate::{Read, ReadError, RequestError, StopReason};

#[tokio::test]
async fn a_panic_in_apply_stops_the_node_and_names_the_entry() {
    let cluster = Cluster::start(1).await;
    let node = &cluster.nodes[&1];
    add(node, 1).await;
    let next = node.status().last.index.next();
    assert_eq!(node.propose(Command::Panic).await, Err(RequestError::Unknown));
    let reason = tokio::time::timeout(PATIENCE, node.stopped()).await.unwrap();
    match reason {
        StopReason::Panicked { index, message } => {
            assert_eq!((index, message.as_str()), (next, "the test said so"));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_panic_in_a_query_is_an_error_of_that_query() {
    let cluster = Cluster::start(1).await;
    let node = &cluster.nodes[&1];
    add(node, 1).await;
    for level in [Read::Local, Read::Linearizable] {
        assert_eq!(node.read(level, Query::Panic).await, Err(ReadError::Panicked));
    }
    assert_eq!(node.read(Read::Local, Query::Total).await, Ok(Answer::Total(1)));
}

#[tokio::test]
async fn a_slow_apply_does_not_cost_the_leadership() {
    let cluster = Cluster::start(3).await;
    // A machine that stands still for a moment costs it, too, but not each time.
    eventually("that the leader stays", || async {
        let leader = cluster.leader().await;
        let node = &cluster.nodes[&leader];
        let ballot = node.status().ballot;
        let slow = cluster.settings.election.end * 4;
        node.propose(Command::Sleep(slow)).await.unwrap();
        let after = node.status();
        (after.ballot == ballot && after.serving).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_ever_for_a_slow_apply() {
    let mut cluster = Cluster::start(1).await;
    let node = cluster.nodes.remove(&1).unwrap();
    add(&node, 1).await;
    let gate = Gate::shut();
    let slow = node.propose(Command::Hold(gate.number()));
    eventually("that it is being applied", || async { gate.is_reached().then_some(()) }).await;
    // It ends, though what it waits for does not.
    let timeout = node.shutdown().await.unwrap_err();
    assert_eq!(timeout.running, ["apply"]);
    assert_eq!(slow.await, Err(RequestError::Unknown));
    gate.open();
    assert!(matches!(node.stopped().await, StopReason::Shutdown));
}

#[tokio::test]
async fn requests_work_from_any_runtime_and_from_none() {
    let cluster = Cluster::start(1).await;
    let node = cluster.nodes[&1].clone();
    add(&node, 1).await;
    let other = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let session = node.session().await.unwrap();
            session.propose(Command::Add(1)).await.unwrap();
            node.propose(Command::Add(1)).await
        })
    });
    let joined = tokio::task::spawn_blocking(|| other.join().unwrap()).await.unwrap();
    assert_eq!(joined, Ok(3));
    assert_eq!(total(&cluster.nodes[&1]).await, 3);
}
