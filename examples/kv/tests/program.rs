//! The `kv` program as whoever starts it sees it.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStdout, Command};
use tokio::time::timeout;

/// What does not happen within this does not happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// The next line that holds this.
async fn line_with(part: &str, lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    let found = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("it has ended");
            if line.contains(part) {
                return line;
            }
        }
    };
    timeout(PATIENCE, found).await.expect("it does not say so")
}

/// The processes whose command line names this path.
fn processes_of(dir: &Path) -> Vec<Pid> {
    let dir = dir.as_os_str().as_encoded_bytes();
    let of_dir = |pid: &i32| {
        // It may have ended since it was listed.
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.windows(dir.len()).any(|part| part == dir)
    };
    let entries = fs::read_dir("/proc").unwrap();
    let numbers = entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    numbers.filter(of_dir).filter_map(Pid::from_raw).collect()
}

#[tokio::test]
async fn a_demo_that_is_told_to_stop_leaves_no_node_and_no_directory_behind() {
    for signal in [Signal::TERM, Signal::INT] {
        let place = tempfile::tempdir().unwrap();
        let mut demo = Command::new(env!("CARGO_BIN_EXE_kv"))
            .args(["demo", "--writes", "1000000000"])
            .env("TMPDIR", place.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
        let line = line_with("their data in", &mut lines).await;
        let (_, dir) = line.rsplit_once(' ').unwrap();
        let dir = PathBuf::from(dir);
        assert!(dir.starts_with(place.path()), "{dir:?}");
        line_with("clients begin to write", &mut lines).await;
        let nodes = processes_of(&dir);
        assert_eq!(nodes.len(), 3, "{nodes:?}");
        let pid = Pid::from_raw(demo.id().unwrap().cast_signed()).unwrap();
        // To its own process alone, as a supervisor does, not to all of a terminal's.
        kill_process(pid, signal).unwrap();
        let status = timeout(PATIENCE, demo.wait()).await.expect("it goes on").unwrap();
        let left = processes_of(&dir);
        for pid in &left {
            // Whatever is wrong, they must not go on for ever.
            let _ = kill_process(*pid, Signal::KILL);
        }
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(status.code(), Some(1), "{status}");
        assert!(!dir.exists());
    }
}
