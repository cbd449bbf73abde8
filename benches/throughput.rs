//! What three nodes do for clients which ask from outside: `cargo bench --bench throughput`.
//!
//! All three run in this process, each on its own threads, over TCP on the loopback and with real
//! files in a temporary directory (`TMPDIR` says where). The clients run in the same process and on
//! the same cores; each has one connection and a session, and keeps several requests outstanding.
//! Takes about 18 s.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use quorate::{At, Client, Node, Raft, Read, StateMachine};
use serde::{Deserialize, Serialize};

const KEYS: u32 = 10_000;
const VALUE_BYTES: usize = 64;

/// Of each of the measurements. What is done in the first part does not count.
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(4);

/// A map, and how often it was written to.
#[derive(Default, Clone, Serialize, Deserialize)]
struct Map {
    values: BTreeMap<u32, Vec<u8>>,
    writes: u64,
}

impl StateMachine for Map {
    type Command = (u32, Vec<u8>);
    type Response = ();
    type Query = Option<u32>;
    type Answer = (u64, Option<Vec<u8>>);

    fn apply(&mut self, _: &At, (key, value): (u32, Vec<u8>)) {
        self.values.insert(key, value);
        self.writes += 1;
    }

    /// How often it was written to, and the value of a key.
    fn query(&self, _: &At, key: Option<u32>) -> (u64, Option<Vec<u8>>) {
        (self.writes, key.and_then(|key| self.values.get(&key).cloned()))
    }
}

#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    clients: usize,
    /// How many requests each of them keeps outstanding.
    pipeline: usize,
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    Writes,
    LinearizableReads,
}

const LOADS: [Load; 3] = [
    Load { name: "writes", clients: 16, pipeline: 32, what: What::Writes },
    Load { name: "linearizable reads", clients: 16, pipeline: 32, what: What::LinearizableReads },
    Load { name: "writes, one at a time", clients: 1, pipeline: 1, what: What::Writes },
];

/// What came of a load.
struct Tally {
    latencies_us: Histogram<u64>,
    done: u64,
    failed: u64,
    last_failure: Option<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let ports = free_addresses()?;
    let members: Vec<(u64, String)> = (1..).zip(ports).collect();
    let mut nodes = Vec::new();
    for (id, _) in &members {
        let builder = Node::<Raft, Map>::builder().id(*id).members(members.clone());
        nodes.push(builder.data_dir(dir.path().join(id.to_string())).start().await?);
    }
    let cores = std::thread::available_parallelism()?;
    println!("three nodes and their clients on {cores} cores, files in {}", dir.path().display());
    println!("one write of 4 KiB and fdatasync takes {:?} there", sync_time(dir.path())?);
    println!("values of {VALUE_BYTES} bytes, {KEYS} keys; latencies as the clients see them\n");

    let addresses: Vec<String> = members.into_iter().map(|(_, address)| address).collect();
    let (mut written, mut failed) = (0, 0);
    for load in LOADS {
        let tally = measure(load, &addresses).await?;
        report(load, &tally);
        if matches!(load.what, What::Writes) {
            written += tally.done;
            failed += tally.failed;
        }
    }
    let (applied, _) = nodes[0].read(Read::Linearizable, None).await?;
    for node in &nodes {
        node.shutdown().await?;
    }
    // What failed may have been done, or not.
    if !(written..=written + failed).contains(&applied) {
        return Err(format!("{written} writes were answered, {applied} were applied").into());
    }
    println!("\n{applied} writes were applied, {written} answered, {failed} failed");
    Ok(())
}

async fn measure(load: Load, addresses: &[String]) -> Result<Tally, Box<dyn Error>> {
    let began = Instant::now();
    let (from, until) = (began + WARM_UP, began + WARM_UP + MEASURED);
    let mut tasks = Vec::new();
    let mut tallies = Vec::new();
    for number in 0..load.clients {
        // As many at each node.
        let address = addresses[number % addresses.len()].clone();
        let client = Client::<Map>::connect([address], "quorate")?;
        let tally = Arc::new(Mutex::new(Tally::new()?));
        tallies.push(Arc::clone(&tally));
        for lane in 0..load.pipeline {
            let (client, tally) = (client.clone(), Arc::clone(&tally));
            let seed = (number * load.pipeline + lane) as u32;
            tasks.push(tokio::spawn(async move {
                work(load.what, &client, seed, from..until, &tally).await;
            }));
        }
    }
    for task in tasks {
        task.await?;
    }
    let mut all = Tally::new()?;
    for tally in tallies {
        all.add(&tally.lock().unwrap_or_else(PoisonError::into_inner))?;
    }
    Ok(all)
}

/// Asks again and again, and notes how long each answer takes from `measured.start` on.
async fn work(
    what: What,
    client: &Client<Map>,
    seed: u32,
    measured: std::ops::Range<Instant>,
    tally: &Mutex<Tally>,
) {
    let mut key = seed;
    while Instant::now() < measured.end {
        key = key.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let begun = Instant::now();
        let result = match what {
            What::Writes => {
                let command = (key % KEYS, vec![key as u8; VALUE_BYTES]);
                client.propose(&command).await.map_err(|error| error.to_string())
            }
            What::LinearizableReads => {
                let answer = client.read(Read::Linearizable, &Some(key % KEYS)).await;
                answer.map(drop).map_err(|error| error.to_string())
            }
        };
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => tally.done(begun, &measured),
            Err(why) => {
                tally.failed += 1;
                tally.last_failure = Some(why);
            }
        }
    }
}

impl Tally {
    fn new() -> Result<Tally, Box<dyn Error>> {
        // Three digits, up to a minute.
        let latencies_us = Histogram::new_with_bounds(1, 60_000_000, 3)?;
        Ok(Tally { latencies_us, done: 0, failed: 0, last_failure: None })
    }

    fn done(&mut self, begun: Instant, measured: &std::ops::Range<Instant>) {
        self.done += 1;
        let now = Instant::now();
        if measured.start <= begun && now < measured.end {
            self.latencies_us.saturating_record((now - begun).as_micros().max(1) as u64);
        }
    }

    fn add(&mut self, other: &Tally) -> Result<(), Box<dyn Error>> {
        self.latencies_us.add(&other.latencies_us)?;
        self.done += other.done;
        self.failed += other.failed;
        if let Some(why) = &other.last_failure {
            self.last_failure = Some(why.clone());
        }
        Ok(())
    }
}

fn report(load: Load, tally: &Tally) {
    let Load { name, clients, pipeline, .. } = load;
    let latencies = &tally.latencies_us;
    let per_second = latencies.len() as f64 / MEASURED.as_secs_f64();
    let at = |quantile| Duration::from_micros(latencies.value_at_quantile(quantile));
    println!("{name} ({clients} clients, {pipeline} outstanding each): {per_second:.0} ops/s");
    println!(
        "    p50 {:?}, p90 {:?}, p99 {:?}, p99.9 {:?}, longest {:?}",
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        Duration::from_micros(latencies.max()),
    );
    if let Some(why) = &tally.last_failure {
        println!("    {} failed, the last one: {why}", tally.failed);
    }
}

/// What the disk takes for a write that is to last: the median of many.
fn sync_time(dir: &std::path::Path) -> Result<Duration, Box<dyn Error>> {
    let mut file = std::fs::File::create(dir.join("probe"))?;
    let mut times = Vec::new();
    for _ in 0..101 {
        let begun = Instant::now();
        file.write_all(&[1; 4096])?;
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    times.sort();
    Ok(times[times.len() / 2])
}

fn free_addresses() -> Result<Vec<String>, Box<dyn Error>> {
    // Held until all are chosen, so that none is chosen twice.
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(std::net::TcpListener::bind("127.0.0.1:0")?);
    }
    let address = |listener: &std::net::TcpListener| Ok(listener.local_addr()?.to_string());
    held.iter().map(address).collect()
}
