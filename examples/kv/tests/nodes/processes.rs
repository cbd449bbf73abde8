//! Nodes as processes, each with a data directory and two ports of its own.

use std::fs::{self, File};
use std::io::PipeWriter;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use quorate_kv::Client;
use quorate_kv::resp::Value;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpSocket;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::presence::Presence;

/// What does not happen within this does not happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a node that is asked to end takes at most, whatever it is at. It looks at its own clock for that: a
/// machine that stands still keeps no promise, so see [`lasted`].
const PROMISED: Duration = Duration::from_secs(5);

/// How often to look whether something has happened.
pub const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A cluster. Its processes are killed, and its directories removed, when this is dropped.
pub struct Nodes {
    dir: TempDir,
    protocol: &'static str,
    args: Vec<String>,
    list: Vec<Node>,
    _presence: Presence,
}

struct Node {
    address: SocketAddr,
    peer_address: SocketAddr,
    _held: [TcpSocket; 2],
    data: PathBuf,
    /// A program, with arguments, that runs the node's.
    wrapper: Vec<String>,
    /// Where its log goes, if not into the file that is looked at in the end.
    stderr: Option<PipeWriter>,
    stdout: Option<BufReader<ChildStdout>>,
    process: Option<Child>,
}

/// How a process which had to end has ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stderr: String,
}

impl Nodes {
    /// So many nodes, which are given these arguments beyond the usual; none runs yet.
    pub fn new(count: usize, args: &[&str]) -> Nodes {
        Nodes::present(count, args, Presence::among_others())
    }

    /// The same, while no test of this program has others.
    pub fn alone(count: usize, args: &[&str]) -> Nodes {
        Nodes::present(count, args, Presence::alone())
    }

    fn present(count: usize, args: &[&str], presence: Presence) -> Nodes {
        let dir = tempfile::Builder::new().prefix("kv-nodes-").tempdir().unwrap();
        let node = |id: usize| {
            let ((address, held), (peer_address, held_too)) = (hold_address(), hold_address());
            Node {
                address,
                peer_address,
                _held: [held, held_too],
                data: dir.path().join(format!("node-{id}")),
                wrapper: Vec::new(),
                stderr: None,
                stdout: None,
                process: None,
            }
        };
        let list: Vec<Node> = (1..=count).map(node).collect();
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Nodes { dir, protocol: crate::PROTOCOL, args, list, _presence: presence }
    }

    /// Three nodes, which listen, and one of which leads.
    pub async fn three(args: &[&str]) -> Nodes {
        Nodes::serving(3, args).await
    }

    /// Runs the nodes that are started from now on under another protocol.
    pub fn set_protocol(&mut self, protocol: &'static str) {
        self.protocol = protocol;
    }

    /// So many nodes, which listen, and one of which leads.
    pub async fn serving(count: usize, args: &[&str]) -> Nodes {
        let mut nodes = Nodes::new(count, args);
        nodes.start_all().await;
        nodes.leader().await;
        nodes
    }

    pub async fn start_all(&mut self) {
        for id in 1..=self.list.len() {
            self.spawn(id);
        }
        for id in 1..=self.list.len() {
            self.wait_until_ready(id).await;
        }
    }

    pub async fn start(&mut self, id: usize) {
        self.spawn(id);
        self.wait_until_ready(id).await;
    }

    /// Runs a node that is not expected to serve, until it ends by itself.
    pub async fn run_to_its_end(&mut self, id: usize, args: &[&str]) -> Ended {
        let output = self.command(id).args(args).kill_on_drop(true).output();
        let output = timeout(PATIENCE, output).await.expect("it goes on").unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "it said that it serves");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Ended { status: output.status, stderr }
    }

    /// The same while others listen on both of its ports: an error about anything else comes before
    /// a socket is opened.
    pub async fn run_without_ports(&mut self, id: usize, args: &[&str]) -> Ended {
        let addresses = [self.address(id), self.peer_address(id)];
        let _taken = addresses.map(|address| std::net::TcpListener::bind(address).unwrap());
        self.run_to_its_end(id, args).await
    }

    pub fn spawn(&mut self, id: usize) {
        let log = File::options().create(true).append(true).open(self.log(id)).unwrap();
        let stderr = self.list[id - 1].stderr.as_ref();
        let log = stderr.map_or(log.into(), |pipe| Stdio::from(pipe.try_clone().unwrap()));
        let mut command = self.command(id);
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut process = command.kill_on_drop(true).spawn().unwrap();
        let node = &mut self.list[id - 1];
        node.stdout = process.stdout.take().map(BufReader::new);
        node.process = Some(process);
    }

    /// A node says one line on standard output once it listens.
    pub async fn wait_until_ready(&mut self, id: usize) {
        let (stdout, mut line) = (self.list[id - 1].stdout.as_mut().unwrap(), String::new());
        let read = timeout(PATIENCE, stdout.read_line(&mut line)).await;
        assert!(read.expect("the node is not ready").unwrap() > 0, "node {id} ended");
        assert!(line.contains(&self.address(id).to_string()), "{line}");
    }

    /// What a node that has ended said on standard output, but for the line that was waited for.
    pub async fn rest_of_stdout(&mut self, id: usize) -> String {
        let (mut stdout, mut rest) = (self.list[id - 1].stdout.take().unwrap(), String::new());
        let read = timeout(PATIENCE, stdout.read_to_string(&mut rest)).await;
        read.expect("somebody has it open still").unwrap();
        rest
    }

    /// SIGKILL: the process has no chance to save anything.
    pub async fn kill(&mut self, id: usize) {
        let mut process = self.list[id - 1].process.take().unwrap();
        process.kill().await.unwrap();
    }

    /// SIGKILL to all of them, before any has ended.
    pub async fn kill_all(&mut self) {
        (1..=self.list.len()).for_each(|id| self.signal(id, Signal::KILL));
        for node in &mut self.list {
            node.process.take().unwrap().wait().await.unwrap();
        }
    }

    /// SIGTERM. The node has ended in good order then, and as soon as is promised.
    pub async fn terminate(&mut self, id: usize) {
        self.signal(id, Signal::TERM);
        let (status, took) = lasted(self.ended(id)).await;
        assert!(status.success(), "node {id}: {status}");
        assert!(took <= PROMISED, "node {id} took {took:?} to end");
    }

    /// Waits until a node's process has ended.
    pub async fn ended(&mut self, id: usize) -> ExitStatus {
        let mut process = self.list[id - 1].process.take().unwrap();
        timeout(PATIENCE, process.wait()).await.expect("it goes on").unwrap()
    }

    /// The node's process goes on, but does nothing until [`Nodes::resume`].
    pub fn pause(&self, id: usize) {
        self.signal(id, Signal::STOP);
    }

    /// Waits until every thread of a node that was paused stands still: the system first ends what it does
    /// for one.
    pub async fn stands_still(&self, id: usize) {
        let threads = format!("/proc/{}/task", self.pid(id));
        let is_stopped = |thread: fs::DirEntry| {
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T'))
        };
        until("a node stands still", || async {
            let mut threads = fs::read_dir(&threads).unwrap();
            threads.all(|thread| thread.is_ok_and(is_stopped)).then_some(())
        })
        .await;
    }

    pub fn resume(&self, id: usize) {
        self.signal(id, Signal::CONT);
    }

    fn signal(&self, id: usize, signal: Signal) {
        let pid = Pid::from_raw(self.pid(id).cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub fn pid(&self, id: usize) -> u32 {
        self.list[id - 1].process.as_ref().unwrap().id().expect("it runs")
    }

    /// Where a node serves clients.
    pub fn address(&self, id: usize) -> SocketAddr {
        self.list[id - 1].address
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.list.iter().map(|node| node.address).collect()
    }

    /// Where a node listens for the others.
    pub fn peer_address(&self, id: usize) -> SocketAddr {
        self.list[id - 1].peer_address
    }

    /// Has all nodes dial one of them elsewhere from their next start on.
    pub fn set_peer_address(&mut self, id: usize, address: SocketAddr) {
        self.list[id - 1].peer_address = address;
    }

    /// Has a node serve and listen elsewhere from its next start on.
    pub fn set_addresses(&mut self, id: usize, address: SocketAddr, peer_address: SocketAddr) {
        let node = &mut self.list[id - 1];
        (node.address, node.peer_address) = (address, peer_address);
    }

    /// Has a node run by another program, which becomes the node's, from its next start on.
    pub fn set_wrapper(&mut self, id: usize, wrapper: Vec<String>) {
        self.list[id - 1].wrapper = wrapper;
    }

    /// Has a node write its log elsewhere from its next start on.
    pub fn set_stderr(&mut self, id: usize, pipe: PipeWriter) {
        self.list[id - 1].stderr = Some(pipe);
    }

    pub fn data(&self, id: usize) -> &Path {
        &self.list[id - 1].data
    }

    /// Has a node keep its data elsewhere from its next start on.
    pub fn set_data(&mut self, id: usize, data: PathBuf) {
        self.list[id - 1].data = data;
    }

    /// What a node has logged so far.
    pub fn logged(&self, id: usize) -> String {
        fs::read_to_string(self.log(id)).unwrap()
    }

    /// A connection to a node.
    pub async fn client(&self, id: usize) -> Client {
        timeout(PATIENCE, Client::connect(self.address(id))).await.unwrap().unwrap()
    }

    /// What a node says of itself: a field of INFO.
    pub async fn info(&self, id: usize, field: &str) -> Option<String> {
        let mut client = Client::connect(self.address(id)).await.ok()?;
        let reply = timeout(Duration::from_secs(2), client.call(&["INFO"])).await.ok()?.ok()?;
        let text = match reply {
            Value::Bulk(text) => text,
            // Clients that have hung up are counted until their node has noticed.
            Value::Error(refusal) if refusal == "ERR max number of clients reached" => return None,
            reply => panic!("INFO was answered {reply:?}"),
        };
        let text = String::from_utf8(text).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Some(value.unwrap_or_else(|| panic!("no {field} in {text}")).to_owned())
    }

    /// Waits until a node of the highest term leads; returns it.
    pub async fn leader(&self) -> usize {
        self.leader_but(&[]).await
    }

    /// The same, not asking those nodes.
    pub async fn leader_but(&self, but: &[usize]) -> usize {
        until("a node leads", || async {
            let mut leaders = Vec::new();
            for id in (1..=self.list.len()).filter(|id| !but.contains(id)) {
                if self.info(id, "role").await.as_deref() == Some("master") {
                    let term = self.info(id, "term").await.and_then(|term| term.parse().ok());
                    leaders.push((term.unwrap_or(0_u64), id));
                }
            }
            leaders.into_iter().max().map(|(_, id)| id)
        })
        .await
    }

    /// Waits until all nodes have applied what any of them knows to be committed. All must run.
    pub async fn converge(&self) {
        let index = |id, field| async move {
            let text = self.info(id, field).await;
            text.map(|text| text.parse::<u64>().expect("an index is a number"))
        };
        let mut goal = 0;
        for id in 1..=self.list.len() {
            let committed = || async move { index(id, "committed_index").await };
            goal = goal.max(until("a node tells what is committed", committed).await);
        }
        for id in 1..=self.list.len() {
            until("a node has applied everything", || async move {
                index(id, "applied_index").await.filter(|applied| *applied >= goal)
            })
            .await;
        }
    }

    fn command(&self, id: usize) -> Command {
        let node = &self.list[id - 1];
        let peers = (1..).zip(&self.list);
        let peers: Vec<String> =
            peers.map(|(id, node): (usize, _)| format!("{id}={}", node.peer_address)).collect();
        let mut words = node.wrapper.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_kv")]);
        let mut command = Command::new(words.next().expect("there is a program"));
        command
            .args(words)
            .args(["serve", "--id", &id.to_string(), "--peers", &peers.join(",")])
            .args(["--protocol", self.protocol])
            .args(["--listen", &node.address.to_string(), "--data"])
            .arg(&node.data)
            .args(&self.args)
            .env_remove("RUST_LOG");
        command
    }

    fn log(&self, id: usize) -> PathBuf {
        self.dir.path().join(format!("node-{id}.log"))
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for id in 1..=self.list.len() {
                let log = fs::read_to_string(self.log(id)).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let last = lines[lines.len().saturating_sub(40)..].join("\n");
                eprintln!("the end of what node {id} logged:\n{last}\n");
            }
        }
    }
}

/// Asks again and again until there is an answer.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, ask: impl Fn() -> F) -> T {
    let since = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(since.elapsed() < PATIENCE, "it did not happen in time that {what}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// How long something takes. Time for which this process was not woken counts no more than
/// [`LOOK_AGAIN`]: the machine stood still then, and all that is waited for with it.
pub async fn lasted<T>(what: impl Future<Output = T>) -> (T, Duration) {
    let (mut what, mut lasted) = (pin!(what), Duration::ZERO);
    loop {
        let since = Instant::now();
        let ended = timeout(LOOK_AGAIN, &mut what).await;
        lasted += since.elapsed().min(LOOK_AGAIN);
        if let Ok(ended) = ended {
            return (ended, lasted);
        }
    }
}

/// Sends a command and waits for the reply.
pub async fn call(client: &mut Client, command: &[&str]) -> Value {
    timeout(PATIENCE, client.call(command)).await.expect("no reply").unwrap()
}

/// Sends a command until it is executed; for those which may be executed twice.
pub async fn insist(nodes: &Nodes, id: usize, command: &[&str]) -> Value {
    until("a command is executed", || async move {
        let mut client = Client::connect(nodes.address(id)).await.ok()?;
        let reply = call(&mut client, command).await;
        (!matches!(reply, Value::Error(_))).then_some(reply)
    })
    .await
}

pub fn bulk(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

/// An address at which nobody listens. While the socket is held, the system gives the port to nobody
/// who asks for any, nor to a connection that goes out; a node, which asks for this very one and lets it
/// be used again, gets it.
fn hold_address() -> (SocketAddr, TcpSocket) {
    let held = TcpSocket::new_v4().unwrap();
    held.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    held.set_reuseaddr(true).unwrap();
    (held.local_addr().unwrap(), held)
}
