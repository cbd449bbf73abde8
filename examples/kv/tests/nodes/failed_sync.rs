//! A disk that fails to sync: what it was to make durable may or may not be there.

use std::process::{Child, Command, Stdio};

use super::histories::Recording;
use super::processes::Nodes;
use super::require::skip;

/// Lets a system call of a process fail; not any more once this is dropped.
struct Strace(Child);

impl Strace {
    /// Of every thread the sync of that number fails, with EIO.
    fn fail_sync(pid: u32, number: u32) -> Option<Strace> {
        let what = format!("inject=fsync,fdatasync:error=EIO:when={number}");
        let mut strace = Command::new("strace");
        strace.args([
            "-f",
            "-q",
            "-p",
            &pid.to_string(),
            "-e",
            "trace=fsync,fdatasync",
            "-e",
            &what,
        ]);
        let silent = strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = silent.spawn();
        if child.is_err() {
            skip("there is no strace");
        }
        child.ok().map(Strace)
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_disk_fails_to_sync_stops_and_nothing_acknowledged_is_lost() {
    let mut nodes = Nodes::three(&["--segment-bytes", "65536"]).await;
    let recording = Recording::start(&nodes);
    recording.progress(100).await;
    for (round, number) in [1, 20].into_iter().enumerate() {
        // First the leader, then a node that is none.
        let victim = (nodes.leader().await + round - 1) % 3 + 1;
        let Some(strace) = Strace::fail_sync(nodes.pid(victim), number) else { return };
        let status = nodes.ended(victim).await;
        drop(strace);
        assert!(!status.success(), "{status}");
        let log = nodes.logged(victim);
        assert!(log.contains("Input/output error"), "it does not say why it stopped: {log}");
        recording.progress(150).await;
        nodes.start(victim).await;
        recording.progress(150).await;
    }
    nodes.converge().await;
    recording.check().await;
}
