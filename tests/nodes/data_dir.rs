//! A data directory belongs to one node of one cluster, and to one process at a time.

use std::collections::BTreeMap;
use std::path::Path;

use crate::common::{Cluster, Member, add, total};
use quorate::{Fatal, StartError, StorageError};

fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect()
}

#[tokio::test]
async fn a_second_node_on_a_directory_is_refused() {
    let cluster = Cluster::start(1).await;
    add(&cluster.nodes[&1], 1).await;
    let second = cluster.builder(1).listen("127.0.0.1:0").start().await;
    assert!(matches!(second, Err(StartError::Storage(StorageError::Locked))));
    assert_eq!(total(&cluster.nodes[&1]).await, 1);
}

#[tokio::test]
async fn the_directory_of_another_node_or_cluster_is_refused_untouched() {
    let mut cluster = Cluster::start(3).await;
    add(&cluster.nodes[&1], 1).await;
    cluster.all_down().await;
    let before = contents(&cluster.data_dir(1));
    let other = cluster.builder(2).data_dir(cluster.data_dir(1)).start().await;
    assert!(matches!(other, Err(StartError::Storage(StorageError::OtherNode { .. }))));
    let other = cluster.builder(1).cluster("other").start().await;
    assert!(matches!(other, Err(StartError::Storage(StorageError::OtherCluster { .. }))));
    assert!(contents(&cluster.data_dir(1)) == before);
}

#[tokio::test]
async fn a_lone_node_founds_no_cluster_unasked() {
    let mut cluster = Cluster::start(1).await;
    add(&cluster.nodes[&1], 1).await;
    cluster.down(1).await;
    let empty = cluster.dir.path().join("empty");
    let unasked = cluster.builder(1).data_dir(&empty).bootstrap(false).start().await;
    assert!(matches!(unasked, Err(StartError::Fatal(Fatal::NotBootstrapped))));
    assert!(!empty.exists());
    // A file of somebody else's says nothing of a cluster.
    std::fs::create_dir(&empty).unwrap();
    std::fs::write(empty.join("foreign"), "x").unwrap();
    let before = contents(&empty);
    let unasked = cluster.builder(1).data_dir(&empty).bootstrap(false).start().await;
    assert!(matches!(unasked, Err(StartError::Fatal(Fatal::NotBootstrapped))));
    assert!(contents(&empty) == before);
    // Its own cluster, once founded, needs no permission.
    let node: Member = cluster.builder(1).bootstrap(false).start().await.unwrap();
    add(&node, 1).await;
}

#[tokio::test]
async fn a_wiped_disk_comes_back_as_a_full_member() {
    let mut cluster = Cluster::start(3).await;
    add(&cluster.nodes[&1], 1).await;
    let wiped = cluster.follower().await;
    cluster.down(wiped).await;
    std::fs::remove_dir_all(cluster.data_dir(wiped)).unwrap();
    cluster.up(wiped).await;
    add(&cluster.nodes[&wiped], 1).await;
    let counts = || async { (!cluster.nodes[&wiped].status().mute).then_some(()) };
    crate::common::eventually("the wiped one counts again", counts).await;
    // Without another one nothing is acknowledged unless the vote and the disk of the wiped one count.
    let other = (1..=3).find(|id| *id != wiped).unwrap();
    cluster.down(other).await;
    let third = (1..=3).find(|id| *id != wiped && *id != other).unwrap();
    add(&cluster.nodes[&third], 1).await;
    assert_eq!(total(&cluster.nodes[&wiped]).await, 3);
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let cluster = Cluster::start(1).await;
    let dir = cluster.dir.path().join("second");
    let taken = cluster.builder(1).data_dir(dir).start().await;
    match taken {
        Err(StartError::Bind { address, .. }) => assert_eq!(address, cluster.addresses[&1]),
        other => panic!("{other:?}"),
    }
}
