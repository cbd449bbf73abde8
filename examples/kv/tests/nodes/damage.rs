//! Damage on one disk, made good by the others.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::processes::{Nodes, bulk, call, insist, until};

fn marker(number: usize) -> String {
    format!("needle-{number:03}-{}", "x".repeat(300))
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

async fn three_with_needles() -> Nodes {
    let nodes = Nodes::three(&["--segment-bytes", "65536"]).await;
    for number in 0..60 {
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

/// The value that was damaged is there, on that very node; and what it says counts.
async fn is_a_full_member_again(mut nodes: Nodes, number: usize) {
    until("the entry is back in the log of node 3", || async {
        place_of(nodes.data(3), &marker(number)).map(drop)
    })
    .await;
    nodes.kill(2).await;
    insist(&nodes, 1, &["SET", "after", "it"]).await;
    let mut client = nodes.client(3).await;
    call(&mut client, &["READONLY"]).await;
    let read = call(&mut client, &["GET", &format!("k{number}")]).await;
    assert_eq!(read, bulk(&marker(number)));
    assert_eq!(nodes.info(3, "standing").await.as_deref(), Some("member"));
    // Nor does it take the others to open the log once more.
    nodes.kill(3).await;
    let kv = Command::new(env!("CARGO_BIN_EXE_kv")).arg("verify").arg(nodes.data(3)).output();
    let verified = kv.unwrap();
    assert!(verified.status.success(), "{verified:?}");
    nodes.start(3).await;
    insist(&nodes, 3, &["SET", "after", "that"]).await;
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
