//! Data directories that cannot be, or must not be, used.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;

use super::mount::Mount;
use super::processes::{Ended, Nodes, bulk, insist, until};

/// All files below a directory, with their content.
fn content(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(content(&path));
        } else {
            files.insert(path.display().to_string(), fs::read(&path).unwrap());
        }
    }
    files
}

/// A directory which a cluster of one node has left in order.
async fn left_behind() -> Nodes {
    let mut nodes = Nodes::new(1, &["--bootstrap", "--cluster", "ours"]);
    nodes.start_all().await;
    insist(&nodes, 1, &["SET", "k", "v"]).await;
    nodes.terminate(1).await;
    nodes
}

fn assert_refused(ended: &Ended, why: &str) {
    assert!(!ended.status.success());
    assert!(ended.stderr.contains("kv: ") && ended.stderr.contains(why), "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_never_share_a_directory() {
    let mut nodes = Nodes::new(1, &["--bootstrap"]);
    nodes.start_all().await;
    insist(&nodes, 1, &["SET", "k", "v"]).await;
    // With the same ports, too: were a socket opened first, the error would be another.
    let second = nodes.run_to_its_end(1, &[]).await;
    assert_refused(&second, "in use by another process");
    insist(&nodes, 1, &["SET", "k", "w"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_of_another_node_or_cluster_is_refused_and_left_alone() {
    let ours = left_behind().await;
    let before = content(ours.data(1));
    let mut other_node = Nodes::new(2, &["--cluster", "ours"]);
    other_node.set_data(2, ours.data(1).to_owned());
    assert_refused(&other_node.run_without_ports(2, &[]).await, "belongs to node 1");
    let mut other_cluster = Nodes::new(1, &["--bootstrap", "--cluster", "theirs"]);
    other_cluster.set_data(1, ours.data(1).to_owned());
    let ended = other_cluster.run_without_ports(1, &[]).await;
    assert_refused(&ended, "belongs to cluster \"ours\"");
    for (written_under, opened_under) in [("raft", "vsr"), ("vsr", "raft")] {
        let mut nodes = Nodes::new(1, &["--bootstrap"]);
        nodes.set_protocol(written_under);
        nodes.start_all().await;
        insist(&nodes, 1, &["SET", "k", "v"]).await;
        nodes.terminate(1).await;
        let before = content(nodes.data(1));
        nodes.set_protocol(opened_under);
        let ended = nodes.run_without_ports(1, &[]).await;
        assert_refused(&ended, &format!("written under protocol \"{written_under}\""));
        assert!(content(nodes.data(1)) == before, "something was changed");
    }
    assert!(content(ours.data(1)) == before, "something was changed");
}

/// As a later version of this program may write it: each copy with another format version, under a
/// true checksum.
fn make_newer(meta: &Path) {
    const COPY_BYTES: usize = 4096;
    let mut bytes = fs::read(meta).unwrap();
    for copy in bytes.chunks_exact_mut(COPY_BYTES) {
        copy[12..14].copy_from_slice(&999_u16.to_le_bytes());
        let checksum = crc32fast::hash(&copy[12..]);
        copy[8..12].copy_from_slice(&checksum.to_le_bytes());
    }
    fs::write(meta, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_a_newer_version_is_refused_and_left_alone() {
    let mut nodes = left_behind().await;
    make_newer(&nodes.data(1).join("meta"));
    let before = content(nodes.data(1));
    let ended = nodes.run_without_ports(1, &[]).await;
    assert_refused(&ended, "meta has format version 999");
    assert!(ended.stderr.contains("newer program"), "{}", ended.stderr);
    assert!(content(nodes.data(1)) == before, "something was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_directory_founds_a_single_node_only_on_request() {
    let mut nodes = Nodes::new(1, &[]);
    let ended = nodes.run_without_ports(1, &[]).await;
    assert_refused(&ended, "bootstrap");
    assert!(!nodes.data(1).exists());
    let ended = nodes.run_without_ports(1, &["--bootstrap", "--segment-bytes", "5000"]).await;
    assert_refused(&ended, "segment_bytes");
    assert!(!nodes.data(1).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::tmpfs(dir.path(), 64) else { return };
    let mut nodes = Nodes::new(1, &["--bootstrap"]);
    nodes.set_data(1, dir.path().join("data"));
    nodes.start_all().await;
    insist(&nodes, 1, &["SET", "k", "v"]).await;
    nodes.terminate(1).await;
    let before = content(dir.path());
    mount.set_read_only();
    let ended = nodes.run_without_ports(1, &[]).await;
    assert_refused(&ended, "Read-only file system");
    assert!(content(dir.path()) == before);
    nodes.set_data(1, dir.path().join("elsewhere"));
    assert_refused(&nodes.run_without_ports(1, &[]).await, "Read-only file system");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named() {
    let mut nodes = Nodes::new(1, &["--bootstrap"]);
    let taken = TcpListener::bind(nodes.peer_address(1)).unwrap();
    let ended = nodes.run_to_its_end(1, &[]).await;
    assert_refused(&ended, &nodes.peer_address(1).to_string());
    drop(taken);
    let _taken = TcpListener::bind(nodes.address(1)).unwrap();
    let ended = nodes.run_to_its_end(1, &[]).await;
    assert_refused(&ended, &nodes.address(1).to_string());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, to).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_image_of_a_disk_does_not_count_and_comes_back_once_it_is_emptied() {
    let mut nodes = Nodes::three(&[]).await;
    let leader = nodes.leader().await;
    let mut others = (1..=3).filter(|id| *id != leader);
    let (aged, other) = (others.next().unwrap(), others.next().unwrap());
    insist(&nodes, aged, &["SET", "k", "old"]).await;
    nodes.terminate(aged).await;
    let image = tempfile::tempdir().unwrap();
    copy(nodes.data(aged), image.path());
    nodes.start(aged).await;
    // The leader hears from it, and keeps that. Then it misses what the others acknowledge.
    insist(&nodes, aged, &["SET", "k", "older"]).await;
    nodes.converge().await;
    nodes.terminate(leader).await;
    insist(&nodes, other, &["SET", "k", "new"]).await;
    nodes.kill(other).await;
    nodes.kill(aged).await;
    fs::remove_dir_all(nodes.data(aged)).unwrap();
    copy(image.path(), nodes.data(aged));
    // The two who are up now do not have it.
    nodes.spawn(leader);
    nodes.spawn(aged);
    assert!(!nodes.ended(aged).await.success());
    let logged = nodes.logged(aged);
    assert!(logged.contains(&format!("the disk of node {aged} is an old image")), "{logged}");
    assert!(logged.contains("Empty the directory"), "{logged}");
    nodes.spawn(other);
    assert_eq!(insist(&nodes, leader, &["GET", "k"]).await, bulk("new"));
    fs::remove_dir_all(nodes.data(aged)).unwrap();
    nodes.spawn(aged);
    until("it counts again", || async {
        (nodes.info(aged, "standing").await? == "member").then_some(())
    })
    .await;
    nodes.kill(other).await;
    insist(&nodes, aged, &["SET", "k", "newer"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_disk_was_wiped_comes_back_as_a_full_member() {
    let mut nodes = Nodes::three(&[]).await;
    insist(&nodes, 1, &["SET", "k", "v"]).await;
    nodes.kill(3).await;
    fs::remove_dir_all(nodes.data(3)).unwrap();
    nodes.spawn(3);
    insist(&nodes, 3, &["SET", "k", "w"]).await;
    until("it counts again", || async {
        (nodes.info(3, "standing").await? == "member").then_some(())
    })
    .await;
    // Two are left, so each acknowledgement needs both.
    nodes.kill(2).await;
    insist(&nodes, 1, &["SET", "k", "x"]).await;
    insist(&nodes, 3, &["SET", "l", "x"]).await;
}
