//! What a client may hold and leave undone, and who is cut off beyond that.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Instant;

use tokio::task::JoinSet;

use super::*;

/// Whether something can be sent while others have their turns: a server that goes on reading has as many,
/// however slow the machine is.
async fn is_sent(client: &mut Client, requests: &[u8], other: &mut Client) -> bool {
    let mut sending = std::pin::pin!(client.send(requests));
    for _ in 0..TURNS {
        let sent = poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx))).await;
        if let Poll::Ready(sent) = sent {
            sent.unwrap();
            return true;
        }
        assert_eq!(text(&other.call(&["PING"]).await.unwrap()), "PONG");
    }
    false
}

#[tokio::test]
async fn a_client_that_does_not_read_is_read_from_up_to_a_limit() {
    let max_ahead_bytes = 1 << 20;
    let server = Server::with(ServerOptions { max_ahead_bytes, ..ServerOptions::default() }).await;
    let mut client = server.connect().await;
    let value = "x".repeat(1 << 20);
    client.call(&["SET", "k", &value]).await.unwrap();
    // The replies to all of it would take 4 TB.
    let requests = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".repeat(1024);
    let mut other = server.connect().await;
    let mut taken = 0;
    while is_sent(&mut client, &requests, &mut other).await {
        taken += requests.len();
        assert!(taken < 4096 * requests.len(), "the server took all of it");
    }
    assert!(taken >= max_ahead_bytes, "the server took no more than {taken} bytes");
    // Others are served meanwhile, and the client itself once it reads.
    assert_eq!(other.call(&["STRLEN", "k"]).await.unwrap(), Value::Integer(1 << 20));
    for _ in 0..20 {
        assert_eq!(client.receive().await.unwrap(), Value::Bulk(value.clone().into()));
    }
}

#[tokio::test]
async fn what_is_read_ahead_is_bounded_for_all_clients_together() {
    let (max_buffer_bytes, stall) = (4 << 20, 10 * PATIENCE);
    let options = ServerOptions { max_buffer_bytes, stall, ..ServerOptions::default() };
    let server = Server::with(options).await;
    let mut other = server.connect().await;
    other.call(&["SET", "k", &"x".repeat(1 << 20)]).await.unwrap();
    let mut client = server.connect().await;
    let requests = b"GET k\r\n".repeat(1 << 20);
    // Not all of it fits into what the system buffers, so the end of this is that it is cut off.
    let sent = async { while client.send(&requests).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, sent).await.expect("it is cut off");
    is_alone(&mut other).await;
}

#[tokio::test]
async fn clients_that_send_large_requests_by_halves_are_cut_off_before_memory_is() {
    let (max_buffer_bytes, max_clients) = (4 << 20, 20);
    let options = ServerOptions { max_buffer_bytes, max_clients, ..ServerOptions::default() };
    let server = Server::with(options).await;
    let half = format!("*2\r\n$4\r\nECHO\r\n$4000000\r\n{}", "x".repeat(2_000_000));
    let mut clients = JoinSet::new();
    for _ in 0..10 {
        let mut client = server.connect().await;
        // Whoever is cut off may not come to the end.
        let _ = client.send(half.as_bytes()).await;
        clients.spawn(async move { client.receive().await });
    }
    let mut small = server.connect().await;
    assert_eq!(text(&small.call(&["PING"]).await.unwrap()), "PONG");
    for _ in 0..8 {
        let ended = tokio::time::timeout(PATIENCE, clients.join_next()).await;
        let ended = ended.expect("another one is cut off").unwrap().unwrap();
        assert!(ended.is_err(), "{ended:?}");
    }
}

#[tokio::test]
async fn what_transactions_queue_is_bounded_for_all_clients_together() {
    let max_buffer_bytes = 4 << 20;
    let server = Server::with(ServerOptions { max_buffer_bytes, ..ServerOptions::default() }).await;
    let value = "x".repeat(1 << 20);
    let queue = format!("MULTI\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n{value}\r\n", 1 << 20);
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = server.connect().await;
        // Whoever is cut off may not come to the end.
        let _ = client.send(queue.as_bytes()).await;
        let _ = [client.receive().await, client.receive().await];
        clients.push(client);
    }
    let mut executed = 0;
    for client in &mut clients {
        if let Ok(reply) = client.call(&["EXEC"]).await {
            assert!(matches!(reply, Value::Array(_)), "{reply:?}");
            executed += 1;
        }
    }
    assert!((1..=4).contains(&executed), "{executed}");
}

#[tokio::test]
async fn whoever_holds_much_and_does_nothing_keeps_nobody_else_from_working() {
    let (max_buffer_bytes, max_clients) = (8 << 20, 100);
    let options = ServerOptions { max_buffer_bytes, max_clients, ..ServerOptions::default() };
    let server = Server::with(options).await;
    let queue = |length| {
        let value = "x".repeat(length);
        format!("MULTI\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${length}\r\n{value}\r\n")
    };
    // More than there is room for: what is left then is less than one of them holds.
    let (mut idle, mut others) = (Vec::new(), Vec::new());
    for _ in 0..40 {
        let mut client = server.connect().await;
        let _ = client.send(queue(300_000).as_bytes()).await;
        let _ = [client.receive().await, client.receive().await];
        idle.push(client);
    }
    for _ in 0..20 {
        let mut client = server.connect().await;
        client.send(queue(100_000).as_bytes()).await.unwrap();
        for expected in ["OK", "QUEUED"] {
            assert_eq!(text(&client.receive().await.unwrap()), expected);
        }
        others.push(client);
    }
    for client in &mut others {
        let executed = client.call(&["EXEC"]).await.expect("it holds less than they do");
        assert!(matches!(executed, Value::Array(_)), "{executed:?}");
    }
}

#[tokio::test]
async fn what_a_transaction_replies_without_the_cluster_is_bounded() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let name = "n".repeat(3 << 20);
    assert_eq!(text(&client.call(&["CLIENT", "SETNAME", &name]).await.unwrap()), "OK");
    for is_written in [false, true] {
        client.call(&["MULTI"]).await.unwrap();
        for _ in 0..10 {
            client.call(&["CLIENT", "GETNAME"]).await.unwrap();
        }
        if is_written {
            client.call(&["SET", "k", "v"]).await.unwrap();
        }
        let Value::Array(replies) = client.call(&["EXEC"]).await.unwrap() else {
            panic!("not executed")
        };
        let is_name = |reply: &&Value| matches!(reply, Value::Bulk(_));
        assert_eq!(replies.iter().filter(is_name).count(), 6);
        assert!(text(&replies[9]).contains("too large"), "{:?}", replies[9]);
        assert_eq!(replies.len(), if is_written { 11 } else { 10 });
        assert!(!is_written || text(&replies[10]) == "OK");
    }
}

#[tokio::test]
async fn a_client_too_many_is_told_so_and_a_place_that_gets_free_is_given_away_again() {
    let options = ServerOptions { max_clients: 2, ..ServerOptions::default() };
    let server = Server::with(options).await;
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    first.call(&["PING"]).await.unwrap();
    second.call(&["PING"]).await.unwrap();
    let mut third = server.connect().await;
    assert_eq!(text(&third.receive().await.unwrap()), "ERR max number of clients reached");
    assert_eq!(text(&first.call(&["QUIT"]).await.unwrap()), "OK");
    assert!(is_closed(&mut first).await);
    drop(first);
    loop {
        let mut client = server.connect().await;
        match client.call(&["PING"]).await {
            Ok(Value::Simple(_)) => break,
            _ => tokio::task::yield_now().await,
        }
    }
}

/// Waits until nobody but this client is connected.
async fn is_alone(client: &mut Client) {
    let since = Instant::now();
    while !text(&client.call(&["INFO"]).await.unwrap()).contains("connected_clients:1\r") {
        assert!(since.elapsed() < PATIENCE, "nobody was cut off");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn replies_that_a_client_does_not_take_are_bounded() {
    let max_buffer_bytes = 1 << 20;
    let server = Server::with(ServerOptions { max_buffer_bytes, ..ServerOptions::default() }).await;
    let mut other = server.connect().await;
    for first in (0..60_000).step_by(1000) {
        let keys: Vec<String> = (first..first + 1000).map(|n| format!("key:{n}")).collect();
        let pairs = keys.iter().flat_map(|key| [key.as_str(), "v"]);
        let mset: Vec<&str> = ["MSET"].into_iter().chain(pairs).collect();
        assert_eq!(text(&other.call(&mset).await.unwrap()), "OK");
    }
    let mut client = server.connect().await;
    let _ = client.send(&b"KEYS *\r\n".repeat(400)).await;
    is_alone(&mut other).await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_for_long_is_cut_off() {
    let stall = Duration::from_millis(100);
    let server = Server::with(ServerOptions { stall, ..ServerOptions::default() }).await;
    let mut other = server.connect().await;
    other.call(&["SET", "k", &"x".repeat(1 << 20)]).await.unwrap();
    let mut client = server.connect().await;
    client.send(&b"GET k\r\n".repeat(100)).await.unwrap();
    is_alone(&mut other).await;
}
