//! What a stop leaves undone, and what not.

use super::*;

#[tokio::test]
async fn a_stop_answers_what_was_asked_and_closes_idle_clients() {
    let server = Server::with(ServerOptions { drain: PATIENCE, ..ServerOptions::default() }).await;
    server.cluster.hold();
    let (mut idle, mut busy) = (server.connect().await, server.connect().await);
    idle.call(&["PING"]).await.unwrap();
    busy.send(b"INCR n\n").await.unwrap();
    while server.cluster.commands().is_empty() {
        tokio::task::yield_now().await;
    }
    server.stop.send(()).unwrap();
    assert!(is_closed(&mut idle).await);
    // Neither its reply nor the end: whoever cut it off at once would have done so by then.
    let cut_off = tokio::time::timeout(Duration::from_millis(50), busy.receive()).await;
    assert!(cut_off.is_err(), "{cut_off:?}");
    server.cluster.release();
    assert_eq!(busy.receive().await.unwrap(), Value::Integer(1));
    assert!(is_closed(&mut busy).await);
    server.task.await.unwrap();
    assert!(Client::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_stop_answers_what_has_arrived_though_it_could_not_be_taken_apart_yet() {
    let server = Server::with(ServerOptions { drain: PATIENCE, ..ServerOptions::default() }).await;
    let (mut client, mut other) = (server.connect().await, server.connect().await);
    server.cluster.hold();
    // More than the window takes and less than a socket does: some of it is not even read.
    let count = 6000;
    client.send(&b"INCR n\r\n".repeat(count)).await.unwrap();
    client.send(b"INCR").await.unwrap();
    take_turns(&mut other).await;
    assert_eq!(server.cluster.commands().len(), 8);
    assert!(server.cluster.commands().iter().sum::<usize>() < count);
    server.stop.send(()).unwrap();
    // By then all have been told to stop.
    assert!(is_closed(&mut other).await);
    tokio::task::yield_now().await;
    server.cluster.release();
    for number in 1..=count {
        assert_eq!(client.receive().await.unwrap(), Value::Integer(number as i64));
    }
    assert!(is_closed(&mut client).await);
    server.task.await.unwrap();
}
