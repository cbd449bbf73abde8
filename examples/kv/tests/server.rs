//! The server as clients see it, with a cluster behind it that does as it is told.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::future::poll_fn;
use std::net::SocketAddr;
use std::task::Poll;
use std::time::{Duration, Instant};

use quorate_kv::resp::Value;
use quorate_kv::{
    Client, ClientError, Loopback, MAX_REQUEST_BYTES, ReadError, ServerOptions, WriteError,
    encode_request, serve,
};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

/// What does not happen within this does not happen.
const PATIENCE: Duration = Duration::from_secs(60);

struct Server {
    address: SocketAddr,
    cluster: Loopback,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start() -> Server {
        Server::with(ServerOptions::default()).await
    }

    async fn with(options: ServerOptions) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cluster = Loopback::default();
        let (stop, stopped) = oneshot::channel();
        let stopped = async { drop(stopped.await) };
        let task = tokio::spawn(serve(listener, cluster.clone(), options, stopped));
        Server { address, cluster, stop, task }
    }

    async fn connect(&self) -> Client {
        Client::connect(self.address).await.unwrap()
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Simple(text) | Value::Error(text) => text.clone(),
        Value::Bulk(bytes) => String::from_utf8(bytes.clone()).unwrap(),
        other => panic!("{other:?}"),
    }
}

async fn is_closed(client: &mut Client) -> bool {
    matches!(client.receive().await, Err(ClientError::Closed))
}

/// How often another client is answered while it is watched whether something happens: whoever could go on
/// had a turn each time.
const TURNS: usize = 1000;

async fn take_turns(other: &mut Client) {
    for _ in 0..TURNS {
        assert_eq!(text(&other.call(&["PING"]).await.unwrap()), "PONG");
    }
}

#[tokio::test]
async fn pipelined_writes_are_grouped_and_do_not_wait_for_each_other() {
    let server = Server::start().await;
    let (mut client, mut other) = (server.connect().await, server.connect().await);
    server.cluster.hold();
    client.send(&b"INCR n\r\n".repeat(10_000)).await.unwrap();
    take_turns(&mut other).await;
    // None is answered: a window of groups is on its way, and all others wait.
    assert_eq!(server.cluster.commands().len(), 8);
    server.cluster.release();
    for number in 1..=10_000 {
        assert_eq!(client.receive().await.unwrap(), Value::Integer(number));
    }
    let commands = server.cluster.commands();
    assert_eq!(commands.iter().sum::<usize>(), 10_000);
    assert!(commands.len() <= 100, "{commands:?}");
    assert_eq!(server.cluster.max_in_flight(), 8);
}

#[tokio::test]
async fn a_read_sees_the_writes_before_it_and_none_behind_it() {
    for (write_ms, read_ms) in [(2, 0), (0, 2)] {
        let server = Server::start().await;
        server.cluster.set_delay(Duration::from_millis(write_ms));
        server.cluster.set_read_delay(Duration::from_millis(read_ms));
        let mut client = server.connect().await;
        // GET can take its place among the writes, MGET cannot.
        let round = |n: usize| {
            format!("SET k {n}\r\nGET k\r\nMGET k\r\nPING\r\nSET k x\r\nMGET k k\r\nSET k {n}\r\n")
        };
        client.send((0..50).map(round).collect::<String>().as_bytes()).await.unwrap();
        let value = |value: &str| Value::Bulk(value.into());
        for n in 0..50 {
            let n = n.to_string();
            let expected = [
                Value::Simple("OK".into()),
                value(&n),
                Value::Array(vec![value(&n)]),
                Value::Simple("PONG".into()),
                Value::Simple("OK".into()),
                Value::Array(vec![value("x"), value("x")]),
                Value::Simple("OK".into()),
            ];
            for expected in expected {
                assert_eq!(client.receive().await.unwrap(), expected);
            }
        }
    }
}

#[tokio::test]
async fn a_transaction_is_one_command_even_among_pipelined_writes() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client
        .send(b"SET a 1\nMULTI\nINCR a\nGET a\nEXEC\nINCR a\nMULTI\nGET a\nEXEC\n")
        .await
        .unwrap();
    let mut replies = Vec::new();
    for _ in 0..9 {
        replies.push(client.receive().await.unwrap());
    }
    let two = || Value::Bulk("2".into());
    assert_eq!(replies[4], Value::Array(vec![Value::Integer(2), two()]));
    assert_eq!(replies[5], Value::Integer(3));
    assert_eq!(replies[8], Value::Array(vec![Value::Bulk("3".into())]));
    // The transaction that only reads is no command at all.
    assert_eq!(server.cluster.commands(), [1, 2, 1]);
}

#[tokio::test]
async fn short_reads_between_writes_do_not_split_the_group() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send(b"GET a\nSET a 1\nTTL a\nINCR a\nGET a\n").await.unwrap();
    let expected = [
        Value::Null,
        Value::Simple("OK".into()),
        Value::Integer(-1),
        Value::Integer(2),
        Value::Bulk("2".into()),
    ];
    for expected in expected {
        assert_eq!(client.receive().await.unwrap(), expected);
    }
    assert_eq!(server.cluster.commands(), [5]);
}

/// How many operations there are in each command that these requests come to.
async fn commands_of(requests: &str) -> Vec<usize> {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send(requests.as_bytes()).await.unwrap();
    for _ in requests.lines() {
        client.receive().await.unwrap();
    }
    server.cluster.commands()
}

#[tokio::test]
async fn only_few_and_short_reads_take_their_place_among_writes() {
    assert_eq!(commands_of("SET a 1\nGET a\nGET a\nGET a\nGET a\nSET a 2\n").await, [4, 2]);
    assert_eq!(commands_of("SET a 1\nKEYS *\nSET b 1\nSCAN 0\nSET c 1\n").await, [1, 1, 1]);
    assert_eq!(commands_of("SET a 1\nMGET a a a a\nSET b 1\n").await, [1, 1]);
    // Whoever may read what is old must not depend on a quorum for it.
    assert_eq!(commands_of("READONLY\nSET a 1\nGET a\nSET a 2\n").await, [1, 1]);
    assert_eq!(commands_of("READONLY\nREADWRITE\nSET a 1\nGET a\nSET a 2\n").await, [3]);
}

#[tokio::test]
async fn a_transaction_that_asks_nothing_of_the_cluster_needs_none() {
    let server = Server::start().await;
    server.cluster.set_read_error(Some(ReadError::Unconfirmed("so it is".to_owned())));
    let mut client = server.connect().await;
    client.send(b"MULTI\nPING\nEXEC\n").await.unwrap();
    for expected in [
        Value::Simple("OK".into()),
        Value::Simple("QUEUED".into()),
        Value::Array(vec![Value::Simple("PONG".into())]),
    ] {
        assert_eq!(client.receive().await.unwrap(), expected);
    }
}

#[tokio::test]
async fn what_became_of_a_request_is_told_in_the_error_code() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let why = || "so it is".to_owned();
    let writes = [
        (WriteError::Busy(why()), "BUSY "),
        (WriteError::NotProposed(why()), "CLUSTERDOWN "),
        (WriteError::Unknown(why()), "UNKNOWN "),
    ];
    for (error, code) in writes {
        server.cluster.set_write_error(Some(error));
        let reply = client.call(&["SET", "k", "v"]).await.unwrap();
        assert!(text(&reply).starts_with(code), "{reply:?}");
        client.send(b"MULTI\nSET k v\nSET k v\nEXEC\nPING\n").await.unwrap();
        for expected in ["OK", "QUEUED", "QUEUED", code, "PONG"] {
            let reply = client.receive().await.unwrap();
            assert!(text(&reply).starts_with(expected), "{reply:?}");
        }
    }
    server.cluster.set_read_error(Some(ReadError::Unconfirmed(why())));
    let reply = client.call(&["GET", "k"]).await.unwrap();
    assert!(text(&reply).starts_with("CLUSTERDOWN "), "{reply:?}");
    client.call(&["READONLY"]).await.unwrap();
    assert_eq!(client.call(&["GET", "k"]).await.unwrap(), Value::Null);
    client.call(&["READWRITE"]).await.unwrap();
    let reply = client.call(&["GET", "k"]).await.unwrap();
    assert!(text(&reply).starts_with("CLUSTERDOWN "), "{reply:?}");
}

#[tokio::test]
async fn garbage_is_answered_with_an_error_after_the_replies_before_it() {
    let server = Server::start().await;
    server.cluster.set_delay(Duration::from_millis(5));
    let cases: [(&[u8], &str); 4] = [
        (b"*1\r\n$999999999999\r\n", "ERR Protocol error: invalid bulk length"),
        (b"*99999999999\r\n", "ERR Protocol error: invalid multibulk length"),
        (b"*1\r\n!", "ERR Protocol error: expected '$', got '!'"),
        (b"\"\r\n", "ERR Protocol error: unbalanced quotes in request"),
    ];
    for (garbage, error) in cases {
        let mut client = server.connect().await;
        let input = [b"INCR n\r\nPING\r\n", garbage, &[b'x'; 100_000]].concat();
        client.send(&input).await.unwrap();
        assert!(matches!(client.receive().await.unwrap(), Value::Integer(_)));
        assert_eq!(text(&client.receive().await.unwrap()), "PONG");
        assert_eq!(text(&client.receive().await.unwrap()), error);
        assert!(is_closed(&mut client).await);
    }
}

#[tokio::test]
async fn a_request_may_be_as_large_as_the_limit_and_no_larger() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let frame = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4128768\r\n".len() + 2;
    let value = "x".repeat(MAX_REQUEST_BYTES - frame);
    assert_eq!(client.call(&["SET", "k", &value]).await.unwrap(), Value::Simple("OK".into()));
    assert_eq!(client.call(&["GET", "k"]).await.unwrap(), Value::Bulk(value.clone().into()));
    client.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n").await.unwrap();
    client.send(format!("${}\r\n", value.len() + 1).as_bytes()).await.unwrap();
    let reply = client.receive().await.unwrap();
    assert_eq!(text(&reply), "ERR Protocol error: invalid bulk length");
    assert!(is_closed(&mut client).await);
}

/// What a transaction of these commands is answered at its end.
async fn outcome_of_transaction(commands: impl Iterator<Item = Vec<String>>) -> Value {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let (mut requests, mut count) = (b"MULTI\r\n".to_vec(), 2);
    for command in commands {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        encode_request(&words, &mut requests);
        count += 1;
    }
    requests.extend_from_slice(b"EXEC\r\n");
    client.send(&requests).await.unwrap();
    for _ in 1..count {
        client.receive().await.unwrap();
    }
    client.receive().await.unwrap()
}

#[tokio::test]
async fn a_transaction_may_queue_what_fits_into_an_entry_of_the_log_and_no_more() {
    let set = |n: usize, value: &str| vec!["SET".into(), format!("key:{n:08}"), value.to_owned()];
    let small = outcome_of_transaction((0..100_000).map(|n| set(n, "value"))).await;
    assert!(matches!(small, Value::Array(replies) if replies.len() == 100_000));
    let large = "x".repeat(MAX_REQUEST_BYTES / 10 - 64);
    let fits = outcome_of_transaction((0..10).map(|n| set(n, &large))).await;
    assert_eq!(fits, Value::Array(vec![Value::Simple("OK".into()); 10]));
    let is_refused =
        |reply: &Value| matches!(reply, Value::Error(text) if text.starts_with("EXECABORT"));
    let too_much = outcome_of_transaction((0..11).map(|n| set(n, &large))).await;
    assert!(is_refused(&too_much));
    // Nor as many as take hardly any bytes there, but much memory where they are executed.
    let too_many = outcome_of_transaction((0..300_000).map(|_| vec!["DBSIZE".into()])).await;
    assert!(is_refused(&too_many));
}

#[tokio::test]
async fn a_long_pipeline_may_be_sent_before_any_reply_is_read() {
    let server = Server::start().await;
    for finishes in [false, true] {
        let mut client = server.connect().await;
        client.call(&["SET", "k", "0"]).await.unwrap();
        // Neither the requests nor the replies fit into what the system buffers between the two.
        let value = |n: usize| format!("{n:02}").repeat(1 << 19);
        for n in 1..=32 {
            let mut request = Vec::new();
            encode_request(&["GETSET", "k", &value(n)], &mut request);
            let sent = tokio::time::timeout(PATIENCE, client.send(&request)).await;
            sent.expect("the server goes on reading").unwrap();
        }
        client.send(b"PING\r\n").await.unwrap();
        if finishes {
            client.finish().await.unwrap();
        }
        assert_eq!(text(&client.receive().await.unwrap()), "0");
        for n in 1..=31 {
            assert!(text(&client.receive().await.unwrap()) == value(n), "{n}");
        }
        assert_eq!(text(&client.receive().await.unwrap()), "PONG");
        assert!(!finishes || is_closed(&mut client).await);
    }
}

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

#[tokio::test]
async fn requests_are_answered_to_a_client_that_has_finished_sending() {
    let server = Server::start().await;
    server.cluster.set_delay(Duration::from_millis(5));
    let mut client = server.connect().await;
    client.send(b"INCR n\nPING\nINCR n\nINCR").await.unwrap();
    client.finish().await.unwrap();
    assert_eq!(client.receive().await.unwrap(), Value::Integer(1));
    assert_eq!(text(&client.receive().await.unwrap()), "PONG");
    assert_eq!(client.receive().await.unwrap(), Value::Integer(2));
    assert!(is_closed(&mut client).await);
}

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

#[tokio::test]
async fn what_a_browser_sends_is_not_taken_for_commands() {
    let server = Server::start().await;
    let body = "SET k v\r\n";
    for method in ["POST", "PUT"] {
        let mut browser = server.connect().await;
        let request = format!("{method} / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n{body}");
        browser.send(b"PING\r\n").await.unwrap();
        browser.send(request.as_bytes()).await.unwrap();
        assert_eq!(text(&browser.receive().await.unwrap()), "PONG");
        if method == "PUT" {
            let reply = browser.receive().await.unwrap();
            assert!(text(&reply).starts_with("ERR unknown command"), "{reply:?}");
        }
        assert!(is_closed(&mut browser).await);
    }
    let mut client = server.connect().await;
    assert_eq!(client.call(&["GET", "k"]).await.unwrap(), Value::Null);
}

#[tokio::test]
async fn a_read_among_writes_that_fail_is_told_what_a_read_is_told() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let why = || "so it is".to_owned();
    let writes = [
        (WriteError::Busy(why()), "BUSY the write", "BUSY the read"),
        (WriteError::NotProposed(why()), "CLUSTERDOWN the write", "CLUSTERDOWN the read"),
        (WriteError::Unknown(why()), "UNKNOWN the write", "CLUSTERDOWN the read"),
    ];
    for (error, of_writes, of_reads) in writes {
        server.cluster.set_write_error(Some(error));
        client.send(b"SET a 1\nGET a\nINCR a\n").await.unwrap();
        for expected in [of_writes, of_reads, of_writes] {
            let reply = client.receive().await.unwrap();
            assert!(text(&reply).starts_with(expected), "{reply:?}");
        }
    }
    assert_eq!(server.cluster.commands(), [3, 3, 3]);
}
