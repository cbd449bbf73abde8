//! The nodes: child processes of the demo, each running `kv serve`.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout_at};

use super::{DemoError, PATIENCE, system};
use crate::cli::Protocol;

/// All nodes. They are killed when this is dropped.
pub struct Nodes {
    pub list: Vec<Node>,
    peers: String,
    protocol: Protocol,
    dir: PathBuf,
}

/// One node.
pub struct Node {
    pub id: u64,
    /// Where it serves clients.
    pub listen: SocketAddr,
    process: Option<Child>,
}

const NODES: u64 = 3;
/// How long a node may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(5);

impl Nodes {
    /// Chooses ports for three nodes; none runs yet.
    pub fn new(dir: &Path, protocol: Protocol) -> Result<Nodes, DemoError> {
        let ports = free_ports(2 * NODES as usize)?;
        let (listen, peers) = ports.split_at(NODES as usize);
        let list =
            (1..).zip(listen).map(|(id, listen)| Node { id, listen: *listen, process: None });
        let peers: Vec<String> =
            (1..).zip(peers).map(|(id, peer): (u64, _)| format!("{id}={peer}")).collect();
        let (list, peers) = (list.collect(), peers.join(","));
        Ok(Nodes { list, peers, protocol, dir: dir.to_owned() })
    }

    /// Where the nodes serve clients.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.list.iter().map(|node| node.listen).collect()
    }

    /// Starts all of them at once: a cluster is founded when all members meet.
    pub async fn start_all(&mut self) -> Result<(), DemoError> {
        for id in 1..=NODES {
            self.spawn(id)?;
        }
        for id in 1..=NODES {
            self.wait_until_ready(id).await?;
        }
        Ok(())
    }

    /// Starts a node and waits until it listens.
    pub async fn start(&mut self, id: u64) -> Result<(), DemoError> {
        self.spawn(id)?;
        self.wait_until_ready(id).await
    }

    /// Kills a node as a power failure would.
    pub async fn kill(&mut self, id: u64) -> Result<(), DemoError> {
        let node = self.node(id);
        if let Some(process) = &mut node.process {
            process.kill().await.map_err(system("cannot kill a node"))?;
        }
        // Only after it has ended: whoever does not wait for that here must find it in the list.
        node.process = None;
        Ok(())
    }

    /// Asks all nodes to end, and kills those which do not. It is a failure if one of them does not end
    /// in good order.
    pub async fn stop_all(&mut self) -> Result<(), DemoError> {
        for node in &self.list {
            let pid = node.process.as_ref().and_then(Child::id);
            if let Some(pid) = pid.and_then(|pid| Pid::from_raw(pid.cast_signed())) {
                // It may have ended by itself.
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        let until = Instant::now() + GRACE;
        let mut failures = Vec::new();
        for node in &mut self.list {
            let Some(mut process) = node.process.take() else { continue };
            match timeout_at(until, process.wait()).await {
                Ok(Ok(status)) if status.success() => {}
                Ok(Ok(status)) => failures.push(format!("node {} ended with {status}", node.id)),
                Ok(Err(source)) => return Err(system("cannot wait for a node")(source)),
                Err(_) => {
                    let failure = format!("node {} did not end when asked to", node.id);
                    println!("{failure}, and is killed");
                    failures.push(failure);
                    // Dropping it does the same.
                    let _ = process.kill().await;
                }
            }
        }
        if failures.is_empty() {
            return Ok(());
        }
        Err(DemoError::Failed { why: failures.join(", "), dir: self.dir.clone() })
    }

    fn node(&mut self, id: u64) -> &mut Node {
        &mut self.list[id as usize - 1]
    }

    fn log(&self, id: u64) -> PathBuf {
        self.dir.join(format!("node-{id}.log"))
    }

    fn spawn(&mut self, id: u64) -> Result<(), DemoError> {
        let exe = std::env::current_exe().map_err(system("cannot find the kv program itself"))?;
        let log = File::options().create(true).append(true).open(self.log(id));
        let log = log.map_err(system("cannot write a log"))?;
        let data = self.dir.join(format!("node-{id}"));
        let peers = self.peers.clone();
        let protocol = self.protocol.name();
        let node = self.node(id);
        let process = Command::new(exe)
            .args(["serve", "--id", &id.to_string(), "--peers", &peers, "--protocol", protocol])
            .args(["--listen", &node.listen.to_string(), "--cluster", "demo", "--data"])
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn();
        node.process = Some(process.map_err(system("cannot start a node"))?);
        Ok(())
    }

    /// A node says one line on standard output once it listens.
    async fn wait_until_ready(&mut self, id: u64) -> Result<(), DemoError> {
        let log = self.log(id);
        let failed = |why: &str| DemoError::Start { id, why: why.to_owned(), log };
        let stdout = self.node(id).process.as_mut().and_then(|process| process.stdout.take());
        let Some(stdout) = stdout else { return Err(failed("it is not running")) };
        let mut lines = BufReader::new(stdout).lines();
        match tokio::time::timeout(PATIENCE, lines.next_line()).await {
            Err(_) => Err(failed("it took too long")),
            Ok(Ok(Some(_))) => Ok(()),
            Ok(_) => Err(failed("it ended")),
        }
    }
}

/// Addresses on this machine at which nobody listens. Below the range from which the system takes
/// the ports of outgoing connections: clients which retry could otherwise occupy the port of the
/// very node they are waiting for.
fn free_ports(count: usize) -> Result<Vec<SocketAddr>, DemoError> {
    const FIRST: u16 = 11_000;
    const LAST: u16 = 31_000;
    let span = LAST - FIRST;
    let start = (std::process::id() % u32::from(span)) as u16;
    let candidates = (0..span).map(|step| FIRST + (start + step) % span);
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let free = candidates.filter(is_free).take(count);
    let free: Vec<SocketAddr> = free.map(|port| (Ipv4Addr::LOCALHOST, port).into()).collect();
    if free.len() < count {
        let none = std::io::Error::from(std::io::ErrorKind::AddrInUse);
        return Err(system("cannot find free ports")(none));
    }
    Ok(free)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has this script stand in for a node that listens.
    async fn stand_in(nodes: &mut Nodes, id: u64, script: &str) {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped()).kill_on_drop(true);
        nodes.node(id).process = Some(command.spawn().unwrap());
        nodes.wait_until_ready(id).await.unwrap();
    }

    #[tokio::test]
    async fn the_demo_fails_if_a_node_that_is_asked_to_end_does_not_do_so_in_good_order() {
        let dir = tempfile::tempdir().unwrap();
        let mut nodes = Nodes::new(dir.path(), Protocol::Raft).unwrap();
        stand_in(&mut nodes, 1, "trap 'exit 0' TERM; echo; while :; do sleep 0.01; done").await;
        nodes.stop_all().await.unwrap();
        stand_in(&mut nodes, 1, "trap '' TERM; echo; exec sleep 600").await;
        stand_in(&mut nodes, 2, "trap 'exit 3' TERM; echo; while :; do sleep 0.01; done").await;
        let error = nodes.stop_all().await.unwrap_err().to_string();
        assert!(error.contains("node 1 did not end when asked to"), "{error}");
        assert!(error.contains("node 2 ended with exit status: 3"), "{error}");
        nodes.stop_all().await.unwrap();
    }
}
