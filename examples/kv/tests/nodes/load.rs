//! Writers which know of each of their writes what must have become of it, and find it out.
//!
//! Each writer sends three kinds of writes in turn, several at once: a SET of a key that nobody
//! else sets, an INCR of a key that nobody else increments, once, and an INCR of the writer's own
//! counter. A write that was acknowledged must be there afterwards, the increments exactly once;
//! one that was surely not proposed must not; one of unknown outcome may be there, once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use quorate_kv::resp::Value;
use quorate_kv::{Client, encode_request};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::processes::{LOOK_AGAIN, Nodes, PATIENCE, bulk, call, insist, until};

const AT_ONCE: usize = 6;
const REPLY_TIMEOUT: Duration = Duration::from_secs(15);
const KEYS_AT_ONCE: usize = 500;

/// What a client too many is told, once, whatever it asks.
const TOO_MANY: &str = "ERR max number of clients reached";

pub struct Load {
    shared: Arc<Shared>,
    writers: JoinSet<Writer>,
}

struct Shared {
    addresses: Vec<SocketAddr>,
    stop: AtomicBool,
    acknowledged: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Acknowledged,
    Unknown,
    NotProposed,
}

/// What all writers together have seen.
#[derive(Debug, Default)]
pub struct Totals {
    pub acknowledged: u64,
    pub unknown: u64,
}

impl Load {
    pub fn start(nodes: &Nodes, writers: usize) -> Load {
        let shared = Arc::new(Shared {
            addresses: nodes.addresses(),
            stop: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
        });
        let writer = |name| Writer {
            shared: Arc::clone(&shared),
            name,
            node: name,
            connection: None,
            fates: Vec::new(),
            counter: Counter::default(),
        };
        let writers = (0..writers).map(|name| writer(name).run()).collect();
        Load { shared, writers }
    }

    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until so many more writes are acknowledged.
    pub async fn progress(&self, writes: u64) {
        let goal = self.acknowledged() + writes;
        until("writes are acknowledged", || async { (self.acknowledged() >= goal).then_some(()) })
            .await;
    }

    /// Ends the load, waits until all nodes have everything, and looks at each of them.
    pub async fn check(mut self, nodes: &Nodes) -> Totals {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut writers = Vec::new();
        while let Some(writer) = timeout(PATIENCE, self.writers.join_next()).await.unwrap() {
            writers.push(writer.unwrap());
        }
        // A linearizable read: whatever was acknowledged is committed and known to be.
        until("a leader confirms a read", || async {
            let mut client = nodes.client(1).await;
            (call(&mut client, &["GET", "x"]).await == Value::Null).then_some(())
        })
        .await;
        nodes.converge().await;
        let mut totals = Totals::default();
        for id in 1..=self.shared.addresses.len() {
            let mut client = nodes.client(id).await;
            call(&mut client, &["READONLY"]).await;
            for writer in &writers {
                writer.check(&mut client).await;
            }
        }
        for fate in writers.iter().flat_map(|writer| &writer.fates) {
            match fate {
                Fate::Acknowledged => totals.acknowledged += 1,
                Fate::Unknown => totals.unknown += 1,
                Fate::NotProposed => {}
            }
        }
        totals
    }
}

struct Writer {
    shared: Arc<Shared>,
    name: usize,
    node: usize,
    connection: Option<Client>,
    /// What became of each write, in order.
    fates: Vec<Fate>,
    counter: Counter,
}

/// What the writer's counter can be.
#[derive(Debug, Default)]
struct Counter {
    acknowledged: i64,
    unknown: i64,
    last: i64,
}

impl Counter {
    fn on_reply(&mut self, value: i64) {
        self.acknowledged += 1;
        assert!(value > self.last, "an increment was undone: {value} after {self:?}");
        self.last = value;
        self.check(value);
    }

    /// Writes of unknown outcome may be applied at any time, but each only once.
    fn check(&self, value: i64) {
        let possible = self.acknowledged..=self.acknowledged + self.unknown;
        assert!(possible.contains(&value), "the counter is {value}: {self:?}");
    }
}

impl Writer {
    async fn run(mut self) -> Writer {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let first = self.fates.len();
            let fates = self.write(first).await;
            let sent = fates.iter().filter(|fate| **fate == Fate::Acknowledged).count() as u64;
            if sent == 0 {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            self.shared.acknowledged.fetch_add(sent, Ordering::Relaxed);
            let last = fates.iter().rposition(|fate| *fate == Fate::Acknowledged);
            self.fates.extend(fates);
            if let Some(last) = last.filter(|_| first.is_multiple_of(8 * AT_ONCE)) {
                self.read_elsewhere(first + last).await;
            }
        }
        self
    }

    /// Sends the writes from number `first` on at once, and waits for what becomes of them.
    async fn write(&mut self, first: usize) -> Vec<Fate> {
        let Some(mut connection) = self.connect().await else {
            return vec![Fate::NotProposed; AT_ONCE];
        };
        let mut requests = Vec::new();
        for number in first..first + AT_ONCE {
            let (command, key) = (Kind::of(number), self.key(number));
            match command {
                Kind::Set => encode_request(&["SET", &key, &key], &mut requests),
                Kind::IncrOnce | Kind::Count => encode_request(&["INCR", &key], &mut requests),
            }
        }
        let mut fates = Vec::new();
        if connection.send(&requests).await.is_ok() {
            while fates.len() < AT_ONCE {
                let Ok(Ok(reply)) = timeout(REPLY_TIMEOUT, connection.receive()).await else {
                    break;
                };
                fates.push(self.fate(first + fates.len(), &reply));
            }
        }
        if fates.len() == AT_ONCE && fates.iter().all(|fate| *fate == Fate::Acknowledged) {
            self.connection = Some(connection);
        } else {
            self.node += 1;
        }
        for number in first + fates.len()..first + AT_ONCE {
            self.counter.unknown += i64::from(Kind::of(number) == Kind::Count);
            fates.push(Fate::Unknown);
        }
        fates
    }

    fn fate(&mut self, number: usize, reply: &Value) -> Fate {
        match (Kind::of(number), reply) {
            (kind, Value::Error(text)) if text.starts_with("UNKNOWN ") => {
                self.counter.unknown += i64::from(kind == Kind::Count);
                Fate::Unknown
            }
            (_, Value::Error(text))
                if text.starts_with("BUSY ")
                    || text.starts_with("CLUSTERDOWN ")
                    || text == TOO_MANY =>
            {
                Fate::NotProposed
            }
            (Kind::Set, Value::Simple(_)) | (Kind::IncrOnce, Value::Integer(1)) => {
                Fate::Acknowledged
            }
            (Kind::Count, Value::Integer(value)) => {
                self.counter.on_reply(*value);
                Fate::Acknowledged
            }
            (kind, reply) => panic!("{kind:?} of {} was answered {reply:?}", self.key(number)),
        }
    }

    /// Whatever node is asked, if it answers, it knows of what was acknowledged before.
    async fn read_elsewhere(&mut self, number: usize) {
        let address = self.shared.addresses[(self.node + 1) % self.shared.addresses.len()];
        let Ok(Ok(mut other)) = timeout(REPLY_TIMEOUT, Client::connect(address)).await else {
            return;
        };
        let key = self.key(number);
        let Ok(Ok(reply)) = timeout(REPLY_TIMEOUT, other.call(&["GET", &key])).await else {
            return;
        };
        match (Kind::of(number), &reply) {
            (_, Value::Error(text)) if text.starts_with("CLUSTERDOWN ") || text == TOO_MANY => {}
            (Kind::Set, Value::Bulk(value)) if *value == key.as_bytes() => {}
            (Kind::IncrOnce, Value::Bulk(value)) if value == b"1" => {}
            (Kind::Count, Value::Bulk(value)) => {
                let value: i64 = String::from_utf8_lossy(value).parse().unwrap();
                assert!(value >= self.counter.last, "stale: {value}, {:?}", self.counter);
                self.counter.check(value);
            }
            (kind, reply) => panic!("{kind:?} of {key}, acknowledged, is read as {reply:?}"),
        }
    }

    async fn connect(&mut self) -> Option<Client> {
        if let Some(connection) = self.connection.take() {
            return Some(connection);
        }
        let address = self.shared.addresses[self.node % self.shared.addresses.len()];
        match timeout(REPLY_TIMEOUT, Client::connect(address)).await {
            Ok(Ok(connection)) => Some(connection),
            _ => {
                self.node += 1;
                None
            }
        }
    }

    fn key(&self, number: usize) -> String {
        match Kind::of(number) {
            Kind::Count => format!("counter:{}", self.name),
            Kind::Set | Kind::IncrOnce => format!("{}:{number}", self.name),
        }
    }

    /// Compares what a node holds with what became of each write.
    async fn check(&self, client: &mut Client) {
        let numbers: Vec<usize> =
            (0..self.fates.len()).filter(|number| Kind::of(*number) != Kind::Count).collect();
        for numbers in numbers.chunks(KEYS_AT_ONCE) {
            let keys: Vec<String> = numbers.iter().map(|number| self.key(*number)).collect();
            let command: Vec<&str> =
                ["MGET"].into_iter().chain(keys.iter().map(String::as_str)).collect();
            let Value::Array(values) = call(client, &command).await else {
                panic!("MGET was not answered")
            };
            for ((number, key), value) in numbers.iter().zip(&keys).zip(values) {
                let fate = self.fates[*number];
                let written = if Kind::of(*number) == Kind::Set { key } else { "1" };
                let is_right = match fate {
                    Fate::Acknowledged => value == bulk(written),
                    Fate::NotProposed => value == Value::Null,
                    Fate::Unknown => value == Value::Null || value == bulk(written),
                };
                assert!(is_right, "{fate:?}, {key} is {value:?}");
            }
        }
        let counter = format!("counter:{}", self.name);
        if let Value::Bulk(value) = call(client, &["GET", &counter]).await {
            self.counter.check(String::from_utf8(value).unwrap().parse().unwrap());
        } else {
            assert_eq!(self.counter.acknowledged, 0, "the counter is lost");
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Set,
    IncrOnce,
    Count,
}

impl Kind {
    fn of(number: usize) -> Kind {
        [Kind::Set, Kind::IncrOnce, Kind::Count][number % 3]
    }
}

async fn a_little(nodes: &mut Nodes) -> Load {
    nodes.start_all().await;
    nodes.leader().await;
    let load = Load::start(nodes, 1);
    load.progress(100).await;
    load
}

#[tokio::test]
#[should_panic(expected = "Acknowledged, 0:0 is Null")]
async fn a_lost_write_is_noticed() {
    let mut nodes = Nodes::new(1, &["--bootstrap"]);
    let load = a_little(&mut nodes).await;
    insist(&nodes, 1, &["DEL", "0:0"]).await;
    load.check(&nodes).await;
}

#[tokio::test]
#[should_panic(expected = "Acknowledged, 0:1 is Bulk([50])")]
async fn a_repeated_increment_is_noticed() {
    let mut nodes = Nodes::new(1, &["--bootstrap"]);
    let load = a_little(&mut nodes).await;
    insist(&nodes, 1, &["INCR", "0:1"]).await;
    load.check(&nodes).await;
}
