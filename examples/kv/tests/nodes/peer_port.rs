//! What else comes to the port at which nodes listen for each other.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::load::Load;
use super::processes::{Nodes, PATIENCE, insist, until};

/// Sends bytes, and reads until the other end has had enough or there is nothing more to come.
async fn send(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The other end may have closed already.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut ignored = Vec::new();
    let _ = timeout(Duration::from_secs(1), stream.read_to_end(&mut ignored)).await;
}

/// The first bytes that a node sends to another one.
async fn greeting(cluster: &str) -> Vec<u8> {
    let mut nodes = Nodes::new(2, &["--cluster", cluster]);
    let listener = TcpListener::bind(nodes.peer_address(2)).await.unwrap();
    nodes.start(1).await;
    let (mut stream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let mut bytes = vec![0; 4096];
    let length = timeout(PATIENCE, stream.read(&mut bytes)).await.unwrap().unwrap();
    bytes.truncate(length);
    bytes
}

/// What a node's log says of connections that it refused.
#[derive(Debug, PartialEq, Eq)]
struct Refusals {
    lines: usize,
    /// How many more there were, by what the lines say.
    kept_back: usize,
}

fn refusals(log: &str) -> Refusals {
    let lines = log.lines().filter_map(|line| line.split_once("connection refused"));
    let kept_back = lines.filter_map(|(_, line)| line.rsplit_once("kept_back="));
    let kept_back: Vec<usize> = kept_back.filter_map(|(_, count)| count.parse().ok()).collect();
    Refusals { lines: kept_back.len(), kept_back: kept_back.iter().sum() }
}

/// How much memory a process has, where the system tells it so.
fn resident_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_huge_lengths_and_scanners_are_refused_without_harm() {
    let nodes = Nodes::three(&[]).await;
    let load = Load::start(&nodes, 2);
    let (target, pid) = (nodes.peer_address(1), nodes.pid(1));
    let before = resident_kib(pid);
    let refused = || refusals(&nodes.logged(1));
    assert_eq!(refused(), Refusals { lines: 0, kept_back: 0 });

    send(target, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    until("garbage leaves a line in the log", || async { (refused().lines == 1).then_some(()) })
        .await;
    send(target, b"*1\r\n$4\r\nPING\r\n").await;
    send(target, &[0xff; 100_000]).await;
    send(target, &[]).await;
    let hello = greeting("kv").await;
    for length in 0..hello.len() {
        send(target, &hello[..length]).await;
    }
    for position in 0..hello.len() {
        // The length, the checksums, the kind: whatever stands there.
        let mut bytes = hello.clone();
        bytes[position] ^= 0xff;
        bytes.resize(hello.len() + 1000, 0xff);
        send(target, &bytes).await;
    }
    // A scanner: many connections at once which say nothing.
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(target).await.unwrap());
    }
    load.progress(500).await;
    let strangers = 4 + 2 * hello.len() + silent.len();
    // Those about whom no line was written are counted in the first one of a later period.
    let knocks = Cell::new(0);
    until("all who were refused are in the log", || async {
        send(target, b"?").await;
        knocks.set(knocks.get() + 1);
        let Refusals { lines, kept_back } = refused();
        (lines + kept_back >= strangers + knocks.get()).then_some(())
    })
    .await;
    let Refusals { lines, kept_back } = refused();
    assert!(kept_back > lines && lines < 200, "{lines} lines in the log, {kept_back} kept back");
    if let (Some(before), Some(after)) = (before, resident_kib(pid)) {
        assert!(after < before + (200 << 10), "grown from {before} to {after} KiB");
    }
    drop(silent);
    load.check(&nodes).await;
    assert!(!nodes.logged(1).contains("panicked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_cluster_is_turned_away_on_both_sides() {
    let ours = Nodes::three(&["--cluster", "ours"]).await;
    let mut theirs = Nodes::new(3, &["--cluster", "theirs"]);
    for id in 2..=3 {
        theirs.set_peer_address(id, ours.peer_address(id));
    }
    theirs.start(1).await;
    for (nodes, id) in [(&ours, 2), (&theirs, 1)] {
        until("both sides say why", || async {
            let log = nodes.logged(id);
            (log.contains("ours") && log.contains("theirs")).then_some(())
        })
        .await;
    }
    insist(&ours, 1, &["SET", "k", "v"]).await;
    assert_eq!(theirs.info(1, "role").await.as_deref(), Some("slave"));
    // Refused again and again, it complains within reason.
    let lines = ours.logged(2).lines().count();
    assert!(lines < 100, "{lines} lines");
}
