//! Disks that run full, and have room again.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use quorate_kv::Client;
use quorate_kv::resp::Value;
use tempfile::TempDir;

use super::histories::Recording;
use super::mount::Mount;
use super::processes::{Nodes, bulk, call, insist, until};

const DISK_MIB: u64 = 16;
const FILLER: &str = "filler";

/// Segments so small that hardly any room is left, and no snapshots.
const SMALL_FILES: [&str; 4] = ["--segment-bytes", "262144", "--snapshot-bytes", "1000000000"];

/// How often disks are filled anew at most, because the leader has lost its place while they were full.
const ATTEMPTS: usize = 4;

/// A cluster on small disks, part of which is taken by a file that can be removed.
struct SmallDisks {
    nodes: Nodes,
    _mounts: Vec<Mount>,
    dir: TempDir,
}

impl SmallDisks {
    async fn start(filler_mib: [usize; 3], args: &[&str]) -> Option<SmallDisks> {
        let dir = tempfile::Builder::new().prefix("kv-disks-").tempdir().unwrap();
        let mut nodes = Nodes::new(3, args);
        let mut mounts = Vec::new();
        for (id, mib) in (1..).zip(filler_mib) {
            let disk = disk(dir.path(), id);
            mounts.push(Mount::tmpfs(&disk, DISK_MIB)?);
            fill(&disk, mib);
            nodes.set_data(id, disk.join("data"));
        }
        nodes.start_all().await;
        nodes.leader().await;
        Some(SmallDisks { nodes, _mounts: mounts, dir })
    }

    fn make_room(&self, id: usize) {
        fs::remove_file(disk(self.dir.path(), id).join(FILLER)).unwrap();
    }
}

fn disk(dir: &Path, id: usize) -> std::path::PathBuf {
    dir.join(format!("disk-{id}"))
}

/// Takes so many MiB of a disk.
fn fill(disk: &Path, mib: usize) {
    fs::write(disk.join(FILLER), vec![1; mib << 20]).unwrap();
}

/// Values of 10 kB each, so many that they can be told apart.
fn value(number: usize) -> String {
    format!("{number:010}").repeat(1000)
}

async fn set(client: &mut Client, number: usize) -> Value {
    call(client, &["SET", &format!("k{number}"), &value(number)]).await
}

async fn check(nodes: &Nodes, id: usize, acknowledged: &[usize]) {
    for number in acknowledged {
        // Who leads may be about to change: a read that nobody confirms is asked again.
        let found = insist(nodes, id, &["GET", &format!("k{number}")]).await;
        assert!(found == bulk(&value(*number)), "k{number} on node {id}: {found:.100?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn full_disks_stop_writes_with_a_clear_error_until_there_is_room() {
    let start = async || SmallDisks::start([8; 3], &SMALL_FILES).await;
    writes_stop_until_there_is_room(start, "disk").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disks_that_run_full_under_default_settings_stop_writes_until_there_is_room() {
    let start = async || SmallDisks::start([8; 3], &[]).await;
    writes_stop_until_there_is_room(start, "disk").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn full_disks_of_a_majority_stop_writes_though_the_leaders_has_room() {
    let start = async || {
        let disks = SmallDisks::start([0; 3], &SMALL_FILES).await?;
        let leader = disks.nodes.leader().await;
        for id in (1..=3).filter(|id| *id != leader) {
            fill(&disk(disks.dir.path(), id), 8);
        }
        Some(disks)
    };
    writes_stop_until_there_is_room(start, "majority").await;
}

/// Some of those who are refused are told this. What was written can be read meanwhile, as long as the
/// leader keeps its place.
async fn writes_stop_until_there_is_room(start: impl AsyncFn() -> Option<SmallDisks>, why: &str) {
    for _ in 0..ATTEMPTS {
        let Some(disks) = start().await else { return };
        if reads_while_writes_stop(disks, why).await {
            return;
        }
    }
    panic!("all that was written could be read in none of {ATTEMPTS} attempts");
}

/// False if the leader has lost its place before all that was written was read.
async fn reads_while_writes_stop(mut disks: SmallDisks, why: &str) -> bool {
    let nodes = &disks.nodes;
    let leader = nodes.leader().await;
    let term = nodes.info(leader, "term").await;
    let mut client = nodes.client(1).await;
    let mut acknowledged = Vec::new();
    let mut refusals = 0;
    let mut is_told_why = false;
    let mut recording = None;
    for number in 0..2000 {
        if number == 210 {
            // From before there is no room until there is some again.
            recording = Some(Recording::start(nodes));
        }
        match set(&mut client, number).await {
            Value::Simple(_) => acknowledged.push(number),
            Value::Error(text) if text.starts_with("BUSY ") => {
                assert!(text.contains("disk"), "{text}");
                is_told_why |= text.contains(why);
                refusals += 1;
            }
            // Disks were found full after it was sent there, or the leader has lost its place.
            Value::Error(text) => {
                assert!(text.starts_with("UNKNOWN ") || text.starts_with("CLUSTERDOWN "), "{text}");
            }
            other => panic!("{other:?}"),
        }
        if refusals > 20 {
            break;
        }
    }
    assert!(refusals > 20, "20 MB went onto a disk of 8 MB");
    assert!(is_told_why, "nobody is told {why}");
    assert!(acknowledged.len() > 200, "{}", acknowledged.len());
    // What was written can be read while nothing can be written: where it all is, which one without room
    // may not come to, and under a leader that had time to write that it leads.
    let mut all_is_read = true;
    for number in &acknowledged {
        let key = format!("k{number}");
        let found = until("it is read", || async {
            let found = call(&mut nodes.client(leader).await, &["GET", &key]).await;
            let is_told = !matches!(found, Value::Error(_));
            (is_told || nodes.info(leader, "term").await != term).then_some(found)
        });
        let found = found.await;
        if matches!(found, Value::Error(_)) {
            println!("another one leads: {found:?}");
            all_is_read = false;
            break;
        }
        assert!(found == bulk(&value(*number)), "{key}: {found:.100?}");
    }

    (1..=3).for_each(|id| disks.make_room(id));
    for (id, next) in (1..=3).zip(10_000..) {
        until("writes are taken again", || async {
            let mut client = nodes.client(id).await;
            (set(&mut client, next).await == Value::Simple("OK".into())).then_some(())
        })
        .await;
        acknowledged.push(next);
    }
    let recording = recording.expect("so many were acknowledged");
    recording.progress(300).await;
    let recorded = recording.end().await;
    nodes.converge().await;
    disks.nodes.kill_all().await;
    disks.nodes.start_all().await;
    disks.nodes.leader().await;
    disks.nodes.converge().await;
    recorded.check().await;
    for id in 1..=3 {
        check(&disks.nodes, id, &acknowledged).await;
    }
    all_is_read
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_disk_is_full_holds_nobody_up_and_catches_up_once_there_is_room() {
    holds_nobody_up(|id, leader| id != leader, 50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_disk_is_full_lets_another_one_lead_and_catches_up_once_there_is_room() {
    holds_nobody_up(|id, leader| id == leader, 500).await;
}

/// The first node of which this is true, given the leader, is the one with little room. Fewer than `most`
/// attempts to write are refused meanwhile.
async fn holds_nobody_up(has_little_room: fn(usize, usize) -> bool, most: usize) {
    let Some(disks) = SmallDisks::start([0; 3], &SMALL_FILES).await else { return };
    let nodes = &disks.nodes;
    let leader = nodes.leader().await;
    let full = (1..=3).find(|id| has_little_room(*id, leader)).unwrap();
    fill(&disk(disks.dir.path(), full), 12);
    let acknowledged: Vec<usize> = (0..700).collect();
    let attempts = Cell::new(0);
    for number in &acknowledged {
        until("it is written", || async {
            attempts.set(attempts.get() + 1);
            let mut client = nodes.client(full % 3 + 1).await;
            (set(&mut client, *number).await == Value::Simple("OK".into())).then_some(())
        })
        .await;
    }
    let refusals = attempts.get() - acknowledged.len();
    assert!(refusals < most, "refused {refusals} times");
    assert_ne!(nodes.leader().await, full);
    disks.make_room(full);
    nodes.converge().await;
    for id in 1..=3 {
        check(nodes, id, &acknowledged).await;
    }
}
