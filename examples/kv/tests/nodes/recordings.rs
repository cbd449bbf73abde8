//! `kv serve --record`, and `kv replay` on what it leaves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::load::Load;
use super::processes::Nodes;

fn replay(args: &[&str], recording: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kv")).arg("replay").args(args).arg(recording).output().unwrap()
}

/// The status if nobody takes what is shown, or no more than its beginning, as `head` does.
fn without_reader(recording: &Path) -> Option<i32> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kv"));
    command.args(["replay", "--trace"]).arg(recording);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(child.stdout.take());
    child.wait().unwrap().code()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Has a node record from its next start on.
fn record(nodes: &mut Nodes, id: usize) -> PathBuf {
    let path = nodes.data(id).with_extension("recording");
    let with_option = format!("exec \"$@\" --record {}", path.display());
    let wrapper = ["sh", "-c", &with_option, "sh"].map(str::to_owned).to_vec();
    nodes.set_wrapper(id, wrapper);
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nodes_have_recorded_when_they_are_killed_is_replayed_byte_for_byte() {
    let mut nodes = Nodes::new(3, &["--snapshot-bytes", "200000"]);
    let recordings: Vec<PathBuf> = (1..=3).map(|id| record(&mut nodes, id)).collect();
    nodes.start_all().await;
    let load = Load::start(&nodes, 8);
    load.progress(1000).await;
    let leader = nodes.leader().await;
    nodes.kill(leader).await;
    load.progress(500).await;
    nodes.start(leader).await;
    load.progress(500).await;
    load.check(&nodes).await;
    nodes.kill_all().await;

    let killed = recordings[leader - 1].with_extension("recording.1");
    for path in recordings.iter().chain([&killed]) {
        let said = stdout(&replay(&[], path));
        println!("{}: {said}", path.display());
        let first = said.lines().next().unwrap();
        assert!(first.starts_with("replayed ") && first.ends_with("effects, byte-equal"), "{said}");
        assert!(said.contains("as after a kill"), "{said}");
    }
    let traced = stdout(&replay(&["--trace"], &killed));
    for part in ["start ReplicaConfig", "Propose {", "    Persist {", "    Send(", " flush"] {
        assert!(traced.contains(part), "{part}");
    }

    assert_eq!(without_reader(&killed), Some(0));
    let mut bytes = fs::read(&killed).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&killed, bytes).unwrap();
    let output = replay(&[], &killed);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said.contains(", and no more: ") && said.contains("is damaged in"), "{said}");
    // What comes first, and is shown before the damage is read, is more than anybody takes.
    assert_eq!(without_reader(&killed), Some(1));
    assert_eq!(replay(&[], nodes.data(1)).status.code(), Some(1));
}
