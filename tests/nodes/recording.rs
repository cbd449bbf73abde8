//! Nodes that are recorded, and their recordings.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::{Cluster, Command, PATIENCE, add, eventually, total};
use quorate::{
    Ending, Protocol, Raft, Recording, RecordingError, ReplayError, Replayed, Settings, StartError,
    Vsr,
};

/// Starts a node that is recorded.
async fn up_recorded<P: Protocol>(cluster: &mut Cluster<P>, id: u64) {
    let node = cluster.builder(id).record_to(recording(cluster, id)).start().await.unwrap();
    cluster.nodes.insert(id, node);
}

fn recording<P: Protocol>(cluster: &Cluster<P>, id: u64) -> PathBuf {
    cluster.dir.path().join(format!("{id}.recording"))
}

fn replay<P: Protocol>(path: &Path) -> (Replayed, Ending) {
    Recording::open(path).unwrap().replay::<P>().unwrap_or_else(|error| panic!("{error}"))
}

/// Writes until a node has taken another snapshot.
async fn write_until_snapshot<P: Protocol>(cluster: &Cluster<P>, id: u64) {
    let before = cluster.nodes[&id].status().snapshot;
    eventually("a snapshot", || async {
        let _ = cluster.nodes[&id].propose(Command::Keep(vec![7; 10_000])).await;
        (cluster.nodes[&id].status().snapshot != before).then_some(())
    })
    .await;
}

/// Three nodes are founded, written to, take snapshots, lose their leader, fetch a snapshot. Whatever
/// recording that leaves is one of a replica that does the same once more.
async fn replays_under<P: Protocol>() {
    let settings = Settings {
        request_timeout: PATIENCE,
        snapshot_bytes: 100_000,
        log_cache_bytes: 50_000,
        scrub_interval: Duration::from_millis(50),
        ..Settings::default()
    };
    let mut cluster = Cluster::<P>::described(3, settings);
    for id in 1..=3 {
        up_recorded(&mut cluster, id).await;
    }
    for id in 1..=3 {
        add(&cluster.nodes[&id], 1).await;
        write_until_snapshot(&cluster, id).await;
    }
    let leader = cluster.leader().await;
    cluster.down(leader).await;
    let next = cluster.leader().await;
    assert_eq!(add(&cluster.nodes[&next], 1).await, 4);
    // More than one snapshot, so that the log no longer has what the other one lacks.
    for _ in 0..3 {
        write_until_snapshot(&cluster, next).await;
    }
    up_recorded(&mut cluster, leader).await;
    assert_eq!(total(&cluster.nodes[&leader]).await, 4);
    let running = cluster.dir.path().join("running.recording");
    fs::copy(recording(&cluster, leader), &running).unwrap();
    cluster.all_down().await;

    let (replayed, ending) = replay::<P>(&running);
    assert!(matches!(ending, Ending::Cut { .. }), "{ending:?}");
    assert!(replayed.events > 10, "{replayed:?}");
    let restarted = recording(&cluster, leader).with_extension("recording.1");
    let lives = (1..=3).map(|id| recording(&cluster, id)).chain([restarted]);
    for path in lives {
        let (replayed, ending) = replay::<P>(&path);
        println!("{}: {replayed:?}", path.display());
        assert_eq!(ending, Ending::Stopped);
        assert!(replayed.events > 10 && replayed.batches > 10, "{replayed:?}");
        assert!(replayed.effects > 10, "{replayed:?}");
    }
    let path = recording(&cluster, next);
    let (replayed, _) = replay::<P>(&path);
    is_told_from_damage::<P>(&path, replayed);
}

/// A file that is cut replays up to there, and one in which a bit has flipped says so.
fn is_told_from_damage<P: Protocol>(path: &Path, whole: Replayed) {
    let bytes = fs::read(path).unwrap();
    let middle = bytes.len() * 2 / 3;
    fs::write(path, &bytes[..middle]).unwrap();
    let (replayed, ending) = replay::<P>(path);
    assert!(matches!(ending, Ending::Cut { .. }), "{ending:?}");
    assert!(replayed.batches > 0 && replayed.batches < whole.batches, "{replayed:?}");

    let mut damaged = bytes;
    damaged[middle] ^= 4;
    fs::write(path, damaged).unwrap();
    let error = Recording::open(path).unwrap().replay::<P>().unwrap_err();
    let ReplayError::Recording { source: RecordingError::Damaged { offset }, .. } = error else {
        panic!("{error}")
    };
    assert!(offset <= middle as u64);
}

#[tokio::test]
async fn what_a_node_was_told_under_raft_is_replayed_effect_by_effect() {
    replays_under::<Raft>().await;
}

#[tokio::test]
async fn what_a_node_was_told_under_viewstamped_replication_is_replayed_effect_by_effect() {
    replays_under::<Vsr>().await;
}

#[tokio::test]
async fn a_recording_that_cannot_be_created_keeps_a_node_from_starting_and_is_named() {
    let cluster = Cluster::<Raft>::described(1, Settings::default());
    let other = cluster.dir.path().join("other");
    fs::write(&other, "not ours").unwrap();
    for path in [other, PathBuf::from("/nowhere/recording")] {
        let builder = cluster.builder(1).record_to(&path);
        match builder.start().await.map(|_| ()) {
            Err(StartError::Recording { path: named, .. }) => assert_eq!(named, path),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn the_recording_of_a_node_that_runs_is_nobody_elses() {
    let mut cluster = Cluster::<Raft>::described(1, Settings::default());
    up_recorded(&mut cluster, 1).await;
    let path = recording(&cluster, 1);
    let other = Cluster::<Raft>::described(1, Settings::default());
    match other.builder(1).record_to(&path).start().await.map(|_| ()) {
        Err(StartError::RecordingInUse { path: named }) => assert_eq!(named, path),
        other => panic!("{other:?}"),
    }
    assert_eq!(add(&cluster.nodes[&1], 1).await, 1);
    cluster.all_down().await;
    let (replayed, ending) = replay::<Raft>(&path);
    assert!(replayed.events > 3 && ending == Ending::Stopped, "{replayed:?}, {ending}");
}

/// A node that fails and is started again and again, while something else has its port.
#[tokio::test]
async fn starts_that_fail_leave_the_recordings_that_are_there() {
    let mut cluster = Cluster::<Raft>::described(1, Settings::default());
    up_recorded(&mut cluster, 1).await;
    assert_eq!(add(&cluster.nodes[&1], 1).await, 1);
    cluster.all_down().await;
    let (path, before) = (recording(&cluster, 1), fs::read(recording(&cluster, 1)).unwrap());
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = other.local_addr().unwrap().to_string();
    for _ in 0..3 {
        let builder = cluster.builder(1).listen(&taken).record_to(&path);
        assert!(matches!(builder.start().await.unwrap_err(), StartError::Bind { .. }));
    }
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_recording_that_is_full_does_not_hold_up_its_node() {
    let cluster = Cluster::<Raft>::described(1, Settings::default());
    let path = cluster.dir.path().join("recording");
    let node = cluster.builder(1).record_to(&path).record_bytes(20_000).start().await.unwrap();
    for n in 1..=500 {
        assert_eq!(add(&node, 1).await, n);
    }
    // The end of it may not have been written before.
    node.shutdown().await.unwrap();
    let (replayed, ending) = replay::<Raft>(&path);
    assert_eq!(ending, Ending::Full);
    assert!(replayed.batches > 0);
    assert!(fs::metadata(&path).unwrap().len() <= 20_000);
}
