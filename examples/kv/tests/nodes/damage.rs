//! Damage on one disk, made good by the others.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::processes::{Nodes, bulk, call, insist, until};

const NEEDLES: usize = 60;

/// So long that they take several segments.
fn marker(number: usize) -> String {
    format!("needle-{number:03}-{}", "x".repeat(4000))
}

/// The file of the log, and the place in it, where a value stands.
fn place_of(dir: &Path, value: &str) -> Option<(PathBuf, usize)> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| !path.to_string_lossy().contains("/snap-"));
    files.filter(|path| path.is_file()).find_map(|path| {
        let content = fs::read(&path).ok()?;
        let at = content.windows(value.len()).position(|window| window == value.as_bytes())?;
        Some((path, at))
    })
}

fn flip(dir: &Path, value: &str) {
    let (path, at) = place_of(dir, value).expect("what was acknowledged is in the log");
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64 + 100).unwrap();
    byte[0] ^= 4;
    file.write_all_at(&byte, at as u64 + 100).unwrap();
    file.sync_all().unwrap();
}

/// The files of the log, from the oldest to the newest.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let is_segment = |path: &PathBuf| {
        path.file_name().unwrap().to_str().is_some_and(|name| name.starts_with("wal-"))
    };
    let mut segments: Vec<PathBuf> = files.filter(is_segment).collect();
    segments.sort_unstable();
    segments
}

async fn three_with_needles() -> Nodes {
    let nodes = Nodes::three(&["--segment-bytes", "65536"]).await;
    for number in 0..NEEDLES {
        insist(&nodes, 1, &["SET", &format!("k{number}"), &marker(number)]).await;
    }
    // Everything, the last entry too, is on its disk and vouched for.
    until("node 3 has it all", || async {
        let behind = nodes.info(1, "committed_index").await?;
        (nodes.info(3, "durable_index").await? == behind).then_some(())
    })
    .await;
    nodes
}

/// The value that was damaged is there, as all others are, on that very node; and what it says counts.
async fn is_a_full_member_again(mut nodes: Nodes, number: usize) {
    until("the entry is back in the log of node 3", || async {
        place_of(nodes.data(3), &marker(number)).map(drop)
    })
    .await;
    until("node 3 is a member", || async {
        (nodes.info(3, "standing").await? == "member").then_some(())
    })
    .await;
    nodes.kill(2).await;
    insist(&nodes, 1, &["SET", "after", "it"]).await;
    // It has acknowledged that, and executes it in its own time.
    until("node 3 has executed it all", || async {
        let committed = nodes.info(1, "committed_index").await?;
        (nodes.info(3, "applied_index").await? == committed).then_some(())
    })
    .await;
    let mut client = nodes.client(3).await;
    call(&mut client, &["READONLY"]).await;
    for number in 0..NEEDLES {
        let read = call(&mut client, &["GET", &format!("k{number}")]).await;
        assert_eq!(read, bulk(&marker(number)));
    }
    assert_eq!(nodes.info(3, "standing").await.as_deref(), Some("member"));
    // Nor does it take the others to open the log once more.
    nodes.kill(3).await;
    let verified = verify(nodes.data(3));
    assert!(verified.status.success(), "{verified:?}");
    nodes.start(3).await;
    insist(&nodes, 3, &["SET", "after", "that"]).await;
}

/// Node 3 comes back without a file of its log, and gets what was in it.
async fn goes_on_without(mut nodes: Nodes, segment: &Path, number: usize) {
    nodes.kill(3).await;
    fs::remove_file(segment).unwrap();
    let name = segment.file_name().unwrap().to_str().unwrap();
    let verified = verify(nodes.data(3));
    let said = [&verified.stdout[..], &verified.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(!verified.status.success() && said.contains(&format!("{name} is missing")), "{said}");
    nodes.start(3).await;
    is_a_full_member_again(nodes, number).await;
}

fn verify(dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kv")).arg("verify").arg(dir).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_that_flipped_while_a_node_was_down_is_repaired_from_the_others() {
    let mut nodes = three_with_needles().await;
    nodes.kill(3).await;
    flip(nodes.data(3), &marker(7));
    assert_eq!(place_of(nodes.data(3), &marker(7)), None);
    nodes.start(3).await;
    is_a_full_member_again(nodes, 7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_that_flips_under_a_running_node_is_found_and_repaired_before_anybody_needs_it() {
    let nodes = three_with_needles().await;
    flip(nodes.data(3), &marker(7));
    is_a_full_member_again(nodes, 7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_from_the_middle_of_a_log_that_is_gone_is_repaired_from_the_others() {
    let nodes = three_with_needles().await;
    let (middle, _) = place_of(nodes.data(3), &marker(NEEDLES / 2)).unwrap();
    let segments = segments(nodes.data(3));
    assert!(segments.first() != Some(&middle) && segments.last() != Some(&middle), "{segments:?}");
    let (last, _) = place_of(nodes.data(3), &marker(NEEDLES - 1)).unwrap();
    assert_ne!(middle, last, "nothing stands behind it");
    goes_on_without(nodes, &middle, NEEDLES / 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_newest_segment_is_gone_is_not_taken_for_a_shorter_one() {
    let nodes = three_with_needles().await;
    let newest = segments(nodes.data(3)).pop().unwrap();
    goes_on_without(nodes, &newest, NEEDLES - 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_newest_entries_are_gone_with_their_segment_is_not_taken_for_a_shorter_one() {
    let nodes = three_with_needles().await;
    let (last, _) = place_of(nodes.data(3), &marker(NEEDLES - 1)).unwrap();
    goes_on_without(nodes, &last, NEEDLES - 1).await;
}
