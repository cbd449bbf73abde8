//! A disk that fails to sync: what it was to make durable may or may not be there.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};

use super::histories::Recording;
use super::processes::Nodes;
use super::require::skip;

/// Lets a system call of a process fail; not any more once this is dropped.
struct Strace {
    child: Child,
    /// What it says besides must not find its reader gone.
    _stderr: BufReader<ChildStderr>,
}

impl Strace {
    /// Of every thread the sync of that number fails, with EIO; counted from the return of this on. `None`
    /// if that is not allowed: the test says that it is skipped.
    fn fail_sync(pid: u32, number: u32) -> Option<Strace> {
        let what = format!("inject=fsync,fdatasync:error=EIO:when={number}");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-p", &pid.to_string(), "-o", "/dev/null"]);
        strace.args(["-e", "trace=fsync,fdatasync", "-e", &what]);
        strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let Ok(mut child) = strace.spawn() else {
            skip("there is no strace");
            return None;
        };
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        stderr.read_line(&mut said).unwrap();
        let is_attached = said.contains("attached");
        if !is_attached {
            skip(&format!("a process cannot be traced here: {said}"));
        }
        is_attached.then_some(Strace { child, _stderr: stderr })
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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
