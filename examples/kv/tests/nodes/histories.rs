//! Clients that write down what they asked and what they were answered, for the linearizability
//! checker.
//!
//! They share a few keys, some of which are registers and some counters, and ask any node. What a node
//! says was surely not proposed did not happen; of what was not answered, nobody knows.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quorate_kv::Client;
use quorate_kv::resp::Value;
use quorate_linearizability::models::{
    Counter, CounterInput, CounterOutput, KeyValue, Keyed, RegisterInput, RegisterOutput,
};
use quorate_linearizability::{
    Checker, ClientId, History, Linearizable, Minimum, Model, Operation, Outcome,
};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::processes::{LOOK_AGAIN, Nodes, PATIENCE, insist, until};

const CLIENTS: u64 = 6;
const REGISTERS: u8 = 4;
const COUNTERS: u8 = 2;

/// A node that does not answer for so long is not asked for a while. What becomes of the request is
/// unknown.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
const AVOIDED_FOR: u32 = 50;

type Registers = KeyValue<u8, u64>;
type Counters = Keyed<u8, Counter>;
type Asked<M> = Operation<<M as Model>::Input, <M as Model>::Output>;

/// Clients at work.
pub struct Recording {
    shared: Arc<Shared>,
    clients: JoinSet<Recorder>,
}

struct Shared {
    addresses: Vec<SocketAddr>,
    began: Instant,
    stop: AtomicBool,
    updates: AtomicU64,
}

impl Recording {
    pub fn start(nodes: &Nodes) -> Recording {
        let shared = Arc::new(Shared {
            addresses: nodes.addresses(),
            began: Instant::now(),
            stop: AtomicBool::new(false),
            updates: AtomicU64::new(0),
        });
        let clients = (0..CLIENTS).map(|id| Recorder::new(id, &shared).run()).collect();
        Recording { shared, clients }
    }

    /// Waits until so many more updates are acknowledged.
    pub async fn progress(&self, updates: u64) {
        let acknowledged = || self.shared.updates.load(Ordering::Relaxed);
        let goal = acknowledged() + updates;
        until("updates are acknowledged", || async { (acknowledged() >= goal).then_some(()) })
            .await;
    }

    /// Ends the load; nothing is asked of any node from here on.
    pub async fn end(mut self) -> Recorded {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut recorders = Vec::new();
        while let Some(recorder) = timeout(PATIENCE, self.clients.join_next()).await.unwrap() {
            recorders.push(recorder.unwrap());
        }
        Recorded { shared: self.shared, recorders }
    }

    /// Ends the load and checks it.
    pub async fn check(self) -> [Linearizable; 2] {
        self.end().await.check().await
    }
}

/// What clients were told that have ended.
pub struct Recorded {
    shared: Arc<Shared>,
    recorders: Vec<Recorder>,
}

impl Recorded {
    /// Asks every node for everything once more, and checks that all that clients were told is
    /// linearizable.
    pub async fn check(mut self) -> [Linearizable; 2] {
        let mut last = Recorder::new(CLIENTS, &self.shared);
        last.read_everything_everywhere().await;
        self.recorders.push(last);
        let (mut registers, mut counters) = (History::new(), History::new());
        for recorder in self.recorders {
            registers.extend(recorder.registers);
            counters.extend(recorder.counters);
        }
        let minimum = Minimum { returned: 400, updates: 150, overlapping: 150 };
        let registers = Checker::new(Registers::default(), minimum).check(&registers);
        let minimum = Minimum { returned: 100, updates: 50, overlapping: 20 };
        let counters = Checker::new(Counters::new(Counter), minimum).check(&counters);
        let reports = [
            registers.unwrap_or_else(|error| panic!("{error}")),
            counters.unwrap_or_else(|error| panic!("{error}")),
        ];
        let [registers, counters] = &reports;
        println!("registers: {}, {} unknown", registers.traffic, registers.unknown);
        println!("counters: {}, {} unknown", counters.traffic, counters.unknown);
        reports
    }
}

/// One client, which has a connection to each node.
struct Recorder {
    id: u64,
    shared: Arc<Shared>,
    random: u64,
    connections: Vec<Option<Client>>,
    /// For each node, for how many more operations it is not asked.
    avoided: Vec<u32>,
    asked: u64,
    registers: Vec<Asked<Registers>>,
    counters: Vec<Asked<Counters>>,
}

/// What a request came to.
enum Reply {
    Value(Value),
    Unknown,
    NotProposed,
    /// It was not sent.
    NotAsked,
}

impl Recorder {
    fn new(id: u64, shared: &Arc<Shared>) -> Recorder {
        let nodes = shared.addresses.len();
        Recorder {
            id,
            shared: Arc::clone(shared),
            random: id,
            connections: (0..nodes).map(|_| None).collect(),
            avoided: vec![0; nodes],
            asked: 0,
            registers: Vec::new(),
            counters: Vec::new(),
        }
    }

    async fn run(mut self) -> Recorder {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let node = self.choose_node();
            if self.dice(4) == 0 {
                let key = self.dice(u64::from(COUNTERS)) as u8;
                let input =
                    if self.dice(3) == 0 { CounterInput::Read } else { CounterInput::Add(1) };
                self.count(node, key, input).await;
            } else {
                let key = self.dice(u64::from(REGISTERS)) as u8;
                self.asked += 1;
                let next = Some(self.id << 32 | self.asked);
                let input = match self.dice(10) {
                    0..4 => RegisterInput::Read,
                    4..6 => RegisterInput::Write(next),
                    6..7 => RegisterInput::Swap(next),
                    7..8 => RegisterInput::Swap(None),
                    _ => RegisterInput::CompareAndSet { expected: None, new: next },
                };
                self.register(node, key, input).await;
            }
        }
        self
    }

    fn dice(&mut self, sides: u64) -> u64 {
        let random = self.random.wrapping_mul(6_364_136_223_846_793_005);
        self.random = random.wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % sides
    }

    fn choose_node(&mut self) -> usize {
        self.avoided.iter_mut().for_each(|left| *left = left.saturating_sub(1));
        let usable = |node: &usize| self.avoided[*node] == 0;
        let usable: Vec<usize> = (0..self.avoided.len()).filter(usable).collect();
        let nodes = if usable.is_empty() { (0..self.avoided.len()).collect() } else { usable };
        nodes[self.dice(nodes.len() as u64) as usize]
    }

    async fn register(&mut self, node: usize, key: u8, input: RegisterInput<Option<u64>>) -> bool {
        use RegisterInput::{CompareAndSet, Read, Swap, Write};
        let name = format!("register:{key}");
        let command = match input {
            Read => vec!["GET".to_owned(), name],
            Write(value) => vec!["SET".to_owned(), name, text(value)],
            Swap(None) => vec!["GETDEL".to_owned(), name],
            Swap(value) => vec!["GETSET".to_owned(), name, text(value)],
            CompareAndSet { new, .. } => vec!["SETNX".to_owned(), name, text(new)],
        };
        let called = self.now();
        let reply = self.ask(node, &command).await;
        let output = |value: &Value| match (input, value) {
            (Read | Swap(_), Value::Null) => RegisterOutput::Value(None),
            (Read | Swap(_), Value::Bulk(_)) => RegisterOutput::Value(Some(number(value))),
            (Write(_), Value::Simple(_)) => RegisterOutput::Written,
            (CompareAndSet { .. }, Value::Integer(set)) => RegisterOutput::Swapped(*set == 1),
            _ => panic!("{command:?} was answered {value:?}"),
        };
        let Some(outcome) = self.outcome(reply, input == Read, output) else { return false };
        let is_answered = matches!(outcome, Outcome::Returned { .. });
        let client = ClientId(self.id);
        self.registers.push(Operation { client, input: (key, input), called, outcome });
        is_answered
    }

    async fn count(&mut self, node: usize, key: u8, input: CounterInput) -> bool {
        let command = if input == CounterInput::Read { "GET" } else { "INCR" };
        let command = [command.to_owned(), format!("counter:{key}")];
        let called = self.now();
        let reply = self.ask(node, &command).await;
        let output = |value: &Value| match value {
            Value::Integer(value) => CounterOutput::Value(*value),
            Value::Null => CounterOutput::Value(0),
            value => CounterOutput::Value(number(value) as i64),
        };
        let is_read = input == CounterInput::Read;
        let Some(outcome) = self.outcome(reply, is_read, output) else { return false };
        let is_answered = matches!(outcome, Outcome::Returned { .. });
        let client = ClientId(self.id);
        self.counters.push(Operation { client, input: (key, input), called, outcome });
        is_answered
    }

    fn outcome<O>(
        &self,
        reply: Reply,
        is_read: bool,
        output: impl Fn(&Value) -> O,
    ) -> Option<Outcome<O>> {
        match reply {
            Reply::Value(value) => {
                self.shared.updates.fetch_add(u64::from(!is_read), Ordering::Relaxed);
                Some(Outcome::Returned { at: self.now(), output: output(&value) })
            }
            Reply::Unknown => Some(Outcome::Unknown),
            Reply::NotProposed => Some(Outcome::Failed),
            Reply::NotAsked => None,
        }
    }

    fn now(&self) -> u64 {
        self.shared.began.elapsed().as_nanos() as u64
    }

    async fn ask(&mut self, node: usize, command: &[String]) -> Reply {
        let Some(mut connection) = self.connect(node).await else {
            self.avoided[node] = AVOIDED_FOR;
            tokio::time::sleep(LOOK_AGAIN).await;
            return Reply::NotAsked;
        };
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let Ok(Ok(reply)) = timeout(REPLY_TIMEOUT, connection.call(&command)).await else {
            self.avoided[node] = AVOIDED_FOR;
            return Reply::Unknown;
        };
        self.connections[node] = Some(connection);
        let Value::Error(text) = reply else { return Reply::Value(reply) };
        self.avoided[node] = AVOIDED_FOR;
        match text.split(' ').next() {
            Some("UNKNOWN") => Reply::Unknown,
            Some("BUSY" | "CLUSTERDOWN") => Reply::NotProposed,
            _ => panic!("{command:?} was answered {text}"),
        }
    }

    async fn connect(&mut self, node: usize) -> Option<Client> {
        if let Some(connection) = self.connections[node].take() {
            return Some(connection);
        }
        let connect = Client::connect(self.shared.addresses[node]);
        timeout(REPLY_TIMEOUT, connect).await.ok()?.ok()
    }

    /// What nobody has looked at since it was acknowledged could be lost unnoticed.
    async fn read_everything_everywhere(&mut self) {
        for node in 0..self.connections.len() {
            let began = Instant::now();
            let mut left: Vec<(bool, u8)> = (0..REGISTERS).map(|key| (true, key)).collect();
            left.extend((0..COUNTERS).map(|key| (false, key)));
            while let Some((is_register, key)) = left.pop() {
                let is_answered = if is_register {
                    self.register(node, key, RegisterInput::Read).await
                } else {
                    self.count(node, key, CounterInput::Read).await
                };
                if !is_answered {
                    assert!(began.elapsed() < PATIENCE, "node {} does not answer", node + 1);
                    left.push((is_register, key));
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            }
        }
    }
}

fn text(value: Option<u64>) -> String {
    value.expect("nobody writes nothing").to_string()
}

fn number(value: &Value) -> u64 {
    let Value::Bulk(text) = value else { panic!("{value:?} is no number") };
    String::from_utf8_lossy(text).parse().unwrap()
}

/// Has a node execute a command that no history tells of. The clients have ended by then: whatever they
/// wrote later would hide it before anybody has read it.
async fn spoiled_by(command: &[&str]) {
    let mut nodes = Nodes::new(1, &["--bootstrap"]);
    nodes.start_all().await;
    nodes.leader().await;
    let recording = Recording::start(&nodes);
    recording.progress(800).await;
    let recorded = recording.end().await;
    insist(&nodes, 1, command).await;
    recorded.check().await;
}

#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "not linearizable")]
async fn a_value_that_nobody_wrote_is_noticed() {
    // Clients put a number of theirs above 32 bits that count.
    spoiled_by(&["SET", "register:0", &u64::MAX.to_string()]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "not linearizable")]
async fn an_increment_that_nobody_asked_for_is_noticed() {
    // More than all that may be outstanding: a request without an answer would account for one.
    spoiled_by(&["INCRBY", "counter:1", "1000000"]).await;
}
