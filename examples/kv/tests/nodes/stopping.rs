//! Nodes that are asked to stop: each has ended in good order within 5 s, see [`Nodes::terminate`].

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::load::Load;
use super::processes::{Nodes, PATIENCE, bulk, insist};
use super::require::skip;

#[tokio::test(flavor = "multi_thread")]
async fn nodes_stop_one_after_the_other_under_load_and_a_leader_hands_over_first() {
    let mut nodes = Nodes::three(&[]).await;
    let load = Load::start(&nodes, 8);
    for _ in 0..3 {
        load.progress(500).await;
        let leader = nodes.leader().await;
        nodes.terminate(leader).await;
        let log = nodes.logged(leader);
        let (_, stopping) = log.rsplit_once("asked to stop").unwrap();
        assert!(stopping.contains("role=Follower"), "still led when it ended: {stopping}");
        load.progress(500).await;
        nodes.start(leader).await;
    }
    println!("{:?}", load.check(&nodes).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_majority_stops_too() {
    let mut nodes = Nodes::three(&[]).await;
    let leader = nodes.leader().await;
    for id in (1..=3).filter(|id| *id != leader) {
        nodes.kill(id).await;
    }
    for _ in 0..3 {
        let mut client = nodes.client(leader).await;
        client.send(b"SET waits forever\r\n").await.unwrap();
        nodes.terminate(leader).await;
        nodes.start(leader).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_says_one_line_once_both_of_its_ports_are_open_and_nothing_more_until_its_end() {
    let mut nodes = Nodes::new(1, &["--bootstrap"]);
    nodes.start(1).await;
    for address in [nodes.address(1), nodes.peer_address(1)] {
        TcpStream::connect(address).await.expect("it said that it listens");
    }
    insist(&nodes, 1, &["SET", "k", "v"]).await;
    nodes.terminate(1).await;
    assert_eq!(nodes.rest_of_stdout(1).await, "");
}

/// Whether a process catches SIGTERM, where the system tells it so.
fn catches_sigterm(pid: u32) -> Option<bool> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
    let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
    Some(caught >> (Signal::TERM.as_raw() - 1) & 1 == 1)
}

/// Adds a file to a log, as the next one of its segments: nothing stands in it, and to see that takes longer
/// than anybody waits. Before a node has, it changes nothing.
fn put_endless_segment(data: &Path) -> PathBuf {
    const LEN: u64 = 256 << 30;
    let names = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().file_name());
    let number = |name: &str| u64::from_str_radix(name.strip_prefix("wal-")?, 16).ok();
    let last = names.filter_map(|name| number(name.to_str()?)).max().expect("it has a log");
    let path = data.join(format!("wal-{:016x}", last + 1));
    File::create_new(&path).unwrap().set_len(LEN).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_ready_yet_stops_too_and_what_it_has_is_left_as_it_was() {
    const KEYS: usize = 250;
    if catches_sigterm(std::process::id()).is_none() {
        return skip("the system does not tell which signals a process catches");
    }
    let mut nodes = Nodes::new(1, &["--bootstrap"]);
    nodes.start(1).await;
    // So many that it takes a while to find them again.
    let value = |number: usize| format!("{number:06}").repeat(16_000);
    for number in 0..KEYS {
        insist(&nodes, 1, &["SET", &format!("k{number}"), &value(number)]).await;
    }
    // In good order: then each file of the log is one that it knows of.
    nodes.terminate(1).await;
    // Where nothing holds it up, it is asked at whatever moment comes first.
    for is_held_up in [true, true, false, false, false] {
        let endless = is_held_up.then(|| put_endless_segment(nodes.data(1)));
        nodes.spawn(1);
        let pid = nodes.pid(1);
        // A process that has hardly begun ends as any other does.
        let has_begun = async {
            while catches_sigterm(pid) != Some(true) {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, has_begun).await.expect("it does not begin to start");
        nodes.terminate(1).await;
        let was_ready = !nodes.rest_of_stdout(1).await.is_empty();
        if let Some(endless) = endless {
            assert!(!was_ready, "it has read all of it");
            fs::remove_file(endless).unwrap();
        }
    }
    nodes.start(1).await;
    for number in 0..KEYS {
        let found = insist(&nodes, 1, &["GET", &format!("k{number}")]).await;
        assert!(found == bulk(&value(number)), "k{number}: {found:.100?}");
    }
}
