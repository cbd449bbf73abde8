//! Nodes that may open few files, and more connections than that.

use std::net::SocketAddr;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::load::Load;
use super::processes::{Nodes, PATIENCE, until};

const FEW_FILES: usize = 180;

/// Segments and snapshots come and go all the time.
const SMALL_FILES: [&str; 4] = ["--segment-bytes", "65536", "--snapshot-bytes", "100000"];

/// Runs a node's program under a limit of open files.
fn limited(files: usize) -> Vec<String> {
    let script = format!("ulimit -n {files}; exec \"$0\" \"$@\"");
    ["sh", "-c", &script].map(str::to_owned).to_vec()
}

/// How many files a process has open, where the system tells it so.
fn open_files(pid: u32) -> Option<usize> {
    Some(std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

async fn connections(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        streams.push(timeout(PATIENCE, TcpStream::connect(address)).await.unwrap().unwrap());
    }
    streams
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_files_at_both_ports_are_refused_and_the_log_goes_on() {
    let mut nodes = Nodes::new(3, &SMALL_FILES);
    for id in 1..=3 {
        nodes.set_wrapper(id, limited(FEW_FILES));
    }
    nodes.start_all().await;
    nodes.leader().await;
    let load = Load::start(&nodes, 6);
    load.progress(500).await;

    let mut clients = connections(nodes.address(1), 2 * FEW_FILES).await;
    let silent = connections(nodes.peer_address(1), 2 * FEW_FILES).await;
    if let Some(open) = open_files(nodes.pid(1)) {
        assert!(open < FEW_FILES, "{open} files are open");
    }
    let mut refusal = String::new();
    let last = clients.last_mut().unwrap();
    timeout(PATIENCE, last.read_to_string(&mut refusal)).await.expect("no reply").unwrap();
    assert_eq!(refusal, "-ERR max number of clients reached\r\n");
    load.progress(2000).await;

    // Its peers come back to it while every place at its port is taken.
    for id in 2..=3 {
        nodes.kill(id).await;
        nodes.start(id).await;
        load.progress(1000).await;
    }
    drop((clients, silent));
    until("there is room for clients again", || async { nodes.info(1, "role").await }).await;
    load.check(&nodes).await;
    let log = nodes.logged(1);
    assert!(log.contains("fewer clients") && log.contains("connection refused"), "{log}");
    assert!(!log.contains("os error 24") && !log.contains("cannot accept"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_may_open_too_few_files_says_so_and_does_not_start() {
    let mut nodes = Nodes::new(3, &[]);
    nodes.set_wrapper(1, limited(100));
    let ended = nodes.run_to_its_end(1, &[]).await;
    assert!(!ended.status.success());
    assert!(ended.stderr.contains("may open 100 files, and a node needs 134"), "{}", ended.stderr);
    assert!(!nodes.data(1).exists(), "it was to leave no trace");
}
