//! The server as clients see it, with a cluster behind it that does as it is told.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

mod limits;
mod stopping;

use std::net::SocketAddr;
use std::time::Duration;

use quorate_kv::resp::Value;
use quorate_kv::{
    Client, ClientError, Loopback, MAX_REQUEST_BYTES, ReadError, ServerOptions, WriteError,
    encode_request, serve,
};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

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
    let delays = [(2, 0), (0, 2)];
    let levels = ["READWRITE", "READONLY"];
    for ((write_ms, read_ms), level) in
        delays.into_iter().flat_map(|ms| levels.map(|level| (ms, level)))
    {
        let server = Server::start().await;
        server.cluster.set_delay(Duration::from_millis(write_ms));
        server.cluster.set_read_delay(Duration::from_millis(read_ms));
        let mut client = server.connect().await;
        assert_eq!(text(&client.call(&[level]).await.unwrap()), "OK");
        // GET can take its place among the writes, unless it may be old. MGET cannot.
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
async fn a_transaction_that_only_reads_may_read_what_is_old_only_if_its_client_has_said_so() {
    let server = Server::start().await;
    server.cluster.set_read_error(Some(ReadError::Unconfirmed("so it is".to_owned())));
    let mut client = server.connect().await;
    for (level, is_executed) in [("READWRITE", false), ("READONLY", true)] {
        client.send(format!("{level}\nMULTI\nGET a\nGET b\nEXEC\n").as_bytes()).await.unwrap();
        for expected in ["OK", "OK", "QUEUED", "QUEUED"] {
            assert_eq!(text(&client.receive().await.unwrap()), expected);
        }
        match client.receive().await.unwrap() {
            Value::Array(replies) if is_executed => assert_eq!(replies.len(), 2),
            Value::Error(text) if !is_executed => {
                assert!(text.starts_with("CLUSTERDOWN "), "{text}")
            }
            other => panic!("{level}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_connection_that_was_reset_is_like_one_that_has_said_nothing_but_for_its_number() {
    let server = Server::start().await;
    server.cluster.set_read_error(Some(ReadError::Unconfirmed("so it is".to_owned())));
    let mut client = server.connect().await;
    let id = client.call(&["CLIENT", "ID"]).await.unwrap();
    client.send(b"READONLY\nCLIENT SETNAME x\nMULTI\nRESET\n").await.unwrap();
    for expected in ["OK", "OK", "OK", "RESET"] {
        assert_eq!(text(&client.receive().await.unwrap()), expected);
    }
    let reply = client.call(&["GET", "k"]).await.unwrap();
    assert!(text(&reply).starts_with("CLUSTERDOWN "), "{reply:?}");
    assert_eq!(client.call(&["CLIENT", "GETNAME"]).await.unwrap(), Value::Null);
    assert_eq!(client.call(&["CLIENT", "ID"]).await.unwrap(), id);
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

#[tokio::test]
async fn values_that_writes_return_fit_into_their_responses_however_they_are_pipelined() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let value = "x".repeat(4_000_000);
    let keys = ["a", "b", "c", "d", "e"];
    for (command, tail) in [("GETDEL", ""), ("SET", " v GET")] {
        for key in keys {
            client.call(&["SET", key, &value]).await.unwrap();
        }
        let requests = keys.map(|key| format!("{command} {key}{tail}\r\n")).concat();
        client.send(requests.as_bytes()).await.unwrap();
        for key in keys {
            let reply = client.receive().await.unwrap();
            assert!(reply == Value::Bulk(value.clone().into()), "{command} {key}");
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
