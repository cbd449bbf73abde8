//! What is done when nobody asks for anything: the last write is vouched for, room is looked for, and
//! what is no longer needed is removed.

use quorate_core::{Incarnation, RecoveredLog};
use quorate_storage::SnapshotStore;

use super::*;
use crate::net::testing::Echo;

/// Starts a node alone, whose state machine echoes.
async fn echoing(disk: &MemDisk, settings: Settings) -> Node<Raft, Echo> {
    let mut config = config(1, &["127.0.0.1:0".to_owned()]);
    config.settings = settings;
    let disk = disk.clone();
    super::super::start_on(config, Echo, move |_| Ok(disk)).await.unwrap()
}

fn patient() -> Settings {
    Settings { request_timeout: PATIENCE, ..Settings::default() }
}

/// Waits until a node has vouched for its last write: it does so once it has nothing else to do.
async fn vouched_for(disk: &MemDisk) {
    until("the last write is vouched for", || {
        // A copy: the node goes on meanwhile.
        let found = quorate_storage::inspect(&Arc::new(disk.crash_keeping_all())).unwrap();
        let last = found.segments.iter().flat_map(|segment| &segment.groups).next_back();
        last.is_some_and(|group| group.runs.is_empty())
    })
    .await;
}

/// The log as the next start finds it, after a power cut, with one byte of the last group damaged.
fn found_with_last_group_damaged(disk: &MemDisk, before: &MemDisk) -> RecoveredLog {
    let found = disk.crash_keeping_all();
    let before = before.contents();
    let (file, offset) = found
        .contents()
        .into_iter()
        .filter(|(name, _)| name.starts_with("wal-"))
        .find_map(|(name, bytes)| {
            let old = before.get(&name)?;
            let offset = bytes.iter().zip(old).position(|(byte, old)| byte != old)?;
            Some((name, offset))
        })
        .expect("something was written");
    found.flip(&file, offset, 1);
    let config = config(1, &["127.0.0.1:0".to_owned()]);
    let opened = storage_thread::open::<Raft, _>(&config, found, Incarnation(9), 9);
    opened.unwrap().1.log
}

#[tokio::test]
async fn damage_to_the_last_write_is_not_taken_for_a_tear_once_the_node_was_at_rest() {
    let disk = MemDisk::new();
    let node = alone(&disk).await;
    assert_eq!(node.propose(1).await, Ok(1));
    vouched_for(&disk).await;
    for sum in 2..4 {
        let before = disk.crash_keeping_all();
        assert_eq!(node.propose(1).await, Ok(sum));
        vouched_for(&disk).await;
        let last = node.status().last;
        let log = found_with_last_group_damaged(&disk, &before);
        let gap = log.gaps.last().map(|gap| gap.last);
        assert_eq!((log.last.index, gap), (last.index, Some(last.index)), "{log:?}");
    }
    node.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_node_without_room_refuses_writes_and_takes_them_again_once_there_is_some() {
    let disk = MemDisk::new();
    let node = echoing(&disk, patient()).await;
    let command = || vec![7; 10_000];
    assert_eq!(node.propose(command()).await, Ok(command()));
    for _ in 0..2 {
        let used: usize = disk.contents().values().map(Vec::len).sum();
        disk.set_capacity(Some(used as u64));
        let mut taken = 0;
        let refused = loop {
            match node.propose(command()).await {
                Ok(_) => taken += 1,
                Err(error) => break error,
            }
            assert!(taken < 1000, "there is room for all of it");
        };
        assert_eq!(refused, NotProposed::DiskFull.into());
        assert!(!node.status().has_room);
        assert!(node.read(Read::Linearizable, Vec::new()).await.is_ok());
        disk.set_capacity(None);
        until("there is room", || node.status().has_room).await;
        assert_eq!(node.propose(command()).await, Ok(command()));
    }
    node.shutdown().await.unwrap();
}

#[tokio::test]
async fn snapshots_that_later_ones_replace_are_removed() {
    let disk = MemDisk::new();
    let settings = Settings { snapshot_bytes: 64 << 10, ..patient() };
    let node = echoing(&disk, settings).await;
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 4 {
        node.propose(vec![7; 10_000]).await.unwrap();
        seen.extend(node.status().snapshot.map(|snapshot| snapshot.last.index));
    }
    let store = SnapshotStore::new(Arc::new(disk.clone()));
    until("the first is gone", || {
        let kept: Vec<_> =
            store.list().unwrap().into_iter().map(|stored| stored.id.last.index).collect();
        !kept.contains(seen.first().unwrap())
    })
    .await;
    node.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_node_is_ready_once_its_state_is_restored_and_does_not_start_if_that_fails() {
    let disk = MemDisk::new();
    let settings = Settings { snapshot_bytes: 64 << 10, ..patient() };
    let node = echoing(&disk, settings.clone()).await;
    while node.status().snapshot.is_none() {
        node.propose(vec![7; 10_000]).await.unwrap();
    }
    node.shutdown().await.unwrap();
    let again = echoing(&disk.crash_keeping_all(), settings).await;
    assert!(again.status().snapshot.is_some());
    again.shutdown().await.unwrap();
    // The snapshot of a machine without state is none of one that has a number.
    let found = disk.crash_keeping_all();
    let config = config(1, &["127.0.0.1:0".to_owned()]);
    let started: Result<Member, StartError> =
        super::super::start_on(config, Sum::default(), move |_| Ok(found)).await;
    let error = started.expect_err("it has no state");
    assert!(matches!(error, StartError::Stopped(StopReason::Restore(_))), "{error}");
}

#[tokio::test]
async fn a_node_that_stops_in_order_has_vouched_for_its_last_write() {
    let disk = MemDisk::new();
    let node = alone(&disk).await;
    assert_eq!(node.propose(1).await, Ok(1));
    // At once: nothing waits until the node is at rest.
    assert_eq!(node.propose(1).await, Ok(2));
    node.shutdown().await.unwrap();
    let found = quorate_storage::inspect(&Arc::new(disk.crash_losing_all())).unwrap();
    assert!(found.is_clean);
}
