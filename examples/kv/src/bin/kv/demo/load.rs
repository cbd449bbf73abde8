//! The load: clients which write under names that tell later what became of each write.
//!
//! Every write of every client has a key of its own. Half of them set it to a value that no other
//! write has, the other half increment it, once. A write that is acknowledged must be found later;
//! a number greater than one tells that an increment was applied twice. A write is repeated only
//! if the server said that it surely was not proposed: were that untrue, it would be found out.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use quorate_kv::Client;
use quorate_kv::resp::Value;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Clients at work.
pub struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<Tally>,
}

/// What one client knows about its writes.
pub struct Tally {
    client: u16,
    /// What became of each write, in order.
    pub fates: Vec<Fate>,
    /// Acknowledged writes that were begun after the leader's death.
    pub after_kill: u64,
    /// Microseconds from request to acknowledgement.
    pub latency: Histogram<u64>,
    /// Answers that no server should give.
    pub nonsense: Vec<String>,
}

/// What a client knows of one of its writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was applied.
    Acknowledged,
    /// It may have been applied.
    Unknown,
    /// It was not.
    NotProposed,
}

struct Shared {
    addresses: Vec<SocketAddr>,
    stop: AtomicBool,
    acknowledged: AtomicU64,
    killed: OnceLock<Instant>,
    first_after_kill: OnceLock<Instant>,
}

/// A node that does not answer for so long is given up; the write's outcome is unknown.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(2);
const SLOWEST_MICROS: u64 = 60_000_000;

impl Load {
    /// A load on the nodes at these addresses; not started yet.
    pub fn new(addresses: Vec<SocketAddr>) -> Load {
        let shared = Shared {
            addresses,
            stop: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            killed: OnceLock::new(),
            first_after_kill: OnceLock::new(),
        };
        Load { shared: Arc::new(shared), clients: JoinSet::new() }
    }

    /// Lets clients begin to write.
    pub fn start(&mut self, clients: u16) {
        for client in 0..clients {
            let writer = Writer {
                shared: self.shared.clone(),
                node: usize::from(client),
                connection: None,
                tally: Tally::new(client),
            };
            self.clients.spawn(writer.run());
        }
    }

    /// Lets them end with the write that each is at.
    pub async fn stop(&mut self) -> Vec<Tally> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut tallies = Vec::new();
        while let Some(tally) = self.clients.join_next().await {
            tallies.push(tally.expect("a client that fails cannot have checked anything"));
        }
        tallies
    }

    /// How many writes were acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// The leader is dead.
    pub fn mark_kill(&self) {
        self.shared.killed.get_or_init(Instant::now);
    }

    /// When the first write was acknowledged that was begun after the leader's death.
    pub fn first_after_kill(&self) -> Option<Instant> {
        self.shared.first_after_kill.get().copied()
    }
}

impl Tally {
    /// Of a client that has written nothing yet.
    pub fn new(client: u16) -> Tally {
        let latency = Histogram::new_with_bounds(1, SLOWEST_MICROS, 3);
        let latency = latency.expect("the bounds are constants which are in order");
        Tally { client, fates: Vec::new(), after_kill: 0, latency, nonsense: Vec::new() }
    }

    /// True if that write is a SET, false if it is an INCR.
    pub fn is_set(&self, number: usize) -> bool {
        number.is_multiple_of(2)
    }

    /// The command which is this client's write of that number.
    pub fn command(&self, number: usize) -> Vec<String> {
        let key = self.key(number);
        if self.is_set(number) {
            vec!["SET".to_owned(), key, self.value(number)]
        } else {
            vec!["INCR".to_owned(), key]
        }
    }

    /// The key of that write.
    pub fn key(&self, number: usize) -> String {
        format!("demo:{}:{number}", self.client)
    }

    /// The value of that key once the write was applied, once.
    pub fn value(&self, number: usize) -> String {
        if self.is_set(number) { format!("{}/{number}", self.client) } else { "1".to_owned() }
    }
}

struct Writer {
    shared: Arc<Shared>,
    node: usize,
    connection: Option<Client>,
    tally: Tally,
}

impl Writer {
    async fn run(mut self) -> Tally {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let number = self.tally.fates.len();
            let command = self.tally.command(number);
            let command: Vec<&str> = command.iter().map(String::as_str).collect();
            let mut fate = Fate::NotProposed;
            while fate == Fate::NotProposed && !self.shared.stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                fate = self.write(&command).await;
                match fate {
                    Fate::Acknowledged => self.acknowledged(began),
                    Fate::Unknown => {}
                    Fate::NotProposed => tokio::time::sleep(PAUSE).await,
                }
            }
            self.tally.fates.push(fate);
        }
        self.tally
    }

    fn acknowledged(&mut self, began: Instant) {
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.tally.latency.saturating_record(micros);
        self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
        if self.shared.killed.get().is_some_and(|killed| *killed < began) {
            self.tally.after_kill += 1;
            self.shared.first_after_kill.get_or_init(Instant::now);
        }
    }

    async fn write(&mut self, command: &[&str]) -> Fate {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let address = self.shared.addresses[self.node % self.shared.addresses.len()];
                match timeout(CONNECT_TIMEOUT, Client::connect(address)).await {
                    Ok(Ok(connection)) => connection,
                    _ => {
                        self.node += 1;
                        return Fate::NotProposed;
                    }
                }
            }
        };
        let Ok(Ok(reply)) = timeout(REPLY_TIMEOUT, connection.call(command)).await else {
            self.node += 1;
            return Fate::Unknown;
        };
        let fate = match &reply {
            Value::Simple(_) | Value::Integer(_) => Fate::Acknowledged,
            Value::Error(text) if text.starts_with("UNKNOWN ") => Fate::Unknown,
            Value::Error(text) if text.starts_with("BUSY ") => Fate::NotProposed,
            Value::Error(text) if text.starts_with("CLUSTERDOWN ") => {
                self.node += 1;
                return Fate::NotProposed;
            }
            other => {
                self.tally.nonsense.push(format!("{command:?} was answered {other:?}"));
                Fate::Unknown
            }
        };
        self.connection = Some(connection);
        fate
    }
}
