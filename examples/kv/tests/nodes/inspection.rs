//! `kv inspect` and `kv verify`, on what nodes have written.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use super::processes::{Nodes, insist};

fn kv(command: &str, dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kv")).arg(command).arg(dir).output().unwrap()
}

/// The same, where nobody reads what it has to say.
fn kv_unread(command: &str, dir: &Path) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command_line = Command::new(env!("CARGO_BIN_EXE_kv"));
    command_line.arg(command).arg(dir).stdout(writer).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_can_be_inspected_and_verified_also_while_its_node_runs() {
    let mut nodes = Nodes::new(1, &["--bootstrap", "--snapshot-bytes", "50000"]);
    nodes.start_all().await;
    for number in 0..50 {
        insist(&nodes, 1, &["SET", &format!("k{number}"), &"v".repeat(5000)]).await;
    }
    assert!(stdout(&kv("inspect", nodes.data(1))).contains("node        1 of cluster \"kv\""));
    nodes.terminate(1).await;

    let shown = stdout(&kv("inspect", nodes.data(1)));
    let pledge = if crate::PROTOCOL == "raft" { "term 1" } else { "view 1" };
    for part in ["formed by nodes 1", "stopped in order", pledge, "bytes of state", "groups"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(stdout(&kv("verify", nodes.data(1))).contains("whole"));
    for command in ["inspect", "verify"] {
        let output = kv_unread(command, nodes.data(1));
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }

    // One flipped bit, in the middle of what the last snapshot holds.
    let snapshot = fs::read_dir(nodes.data(1)).unwrap().map(|entry| entry.unwrap().path());
    let snapshot = snapshot.filter(|path| path.to_string_lossy().contains("/snap-")).max();
    let snapshot = snapshot.expect("a snapshot was taken");
    let mut bytes = fs::read(&snapshot).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&snapshot, bytes).unwrap();
    let output = kv("verify", nodes.data(1));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!output.stderr.is_empty());
    assert_eq!(kv_unread("verify", nodes.data(1)).status.code(), Some(1));
    assert_eq!(kv("verify", &nodes.data(1).join("nothing")).status.code(), Some(1));
}
