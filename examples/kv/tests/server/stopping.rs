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
