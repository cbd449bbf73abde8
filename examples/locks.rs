//! Locks with leases, and a client over TCP. Run it: `cargo run --release --example locks`
//!
//! A lock falls free when its holder gives it back, or when the lease is over. A holder may be too
//! slow to notice that: so what a lock protects refuses tokens that are lower than one it has seen.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use quorate::{At, Client, Index, LogTime, Node, Raft, Read, RequestError, StateMachine};
use serde::{Deserialize, Serialize};

const LEASE: Duration = Duration::from_secs(2);

#[derive(Default, Clone, Serialize, Deserialize)]
struct Locks {
    held: BTreeMap<String, Grant>,
    executed: u64,
}

#[derive(Clone, Serialize, Deserialize)]
struct Grant {
    holder: String,
    token: Index,
    until: LogTime,
}

/// Whoever acquires a lock that it has gets a new lease, under the same token.
#[derive(Serialize, Deserialize)]
enum Command {
    Acquire { lock: String, holder: String },
    Release { lock: String, token: Index },
}

impl StateMachine for Locks {
    type Command = Command;
    /// The token; `None` if somebody else has the lock, or nobody under that token.
    type Response = Option<Index>;
    type Query = String;
    /// Who has the lock, and how many commands were executed.
    type Answer = (Option<String>, u64);

    fn apply(&mut self, at: &At, command: Command) -> Option<Index> {
        self.executed += 1;
        match command {
            Command::Acquire { lock, holder } => {
                let new = Grant { holder, token: at.index, until: at.time.plus(LEASE) };
                let held = self.held.entry(lock).or_insert_with(|| new.clone());
                if held.holder != new.holder {
                    return None;
                }
                held.until = new.until;
                Some(held.token)
            }
            Command::Release { lock, token } => {
                self.held.get(&lock).filter(|grant| grant.token == token)?;
                self.held.remove(&lock).map(|grant| grant.token)
            }
        }
    }

    fn query(&self, _: &At, lock: String) -> (Option<String>, u64) {
        (self.held.get(&lock).map(|grant| grant.holder.clone()), self.executed)
    }

    fn deadline(&self) -> Option<LogTime> {
        // Asked for at each entry: with many locks, keep them in the order of their ends as well.
        self.held.values().map(|grant| grant.until).min()
    }

    fn expire(&mut self, at: &At) {
        self.held.retain(|_, grant| grant.until > at.time);
    }
}

/// Asks for the door until it is free. Returns the token, and how often that took to ask.
async fn acquire(locks: &Client<Locks>, holder: &str) -> Result<(Index, u64), RequestError> {
    let command = Command::Acquire { lock: "door".to_owned(), holder: holder.to_owned() };
    let mut asked = 1;
    loop {
        if let Some(token) = locks.propose(&command).await? {
            return Ok((token, asked));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        asked += 1;
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let members = [1, 2, 3].map(|id| (id, format!("127.0.0.1:{}", 17010 + id)));
    let mut nodes = Vec::new();
    for id in 1..=3 {
        let node = Node::<Raft, Locks>::builder().id(id).members(members.clone());
        nodes.push(node.data_dir(dir.path().join(id.to_string())).start().await?);
    }
    let locks = Client::<Locks>::connect(members.map(|(_, address)| address), "quorate")?;
    let begun = Instant::now();
    let (first, once) = acquire(&locks, "alice").await?;
    println!("alice has the door for {LEASE:?}, under token {first}, and falls asleep");
    let leader = nodes.iter().find(|node| node.status().serving).unwrap_or(&nodes[0]);
    println!("bob asks for it, and node {}, the leader, stops meanwhile", leader.status().node);
    // What is lost with the leader is sent again, and executed once.
    let (stopped, granted) = tokio::join!(leader.shutdown(), acquire(&locks, "bob"));
    stopped?;
    let (second, asked) = granted?;
    // Counted by her clock, too: log time runs faster than a clock by a tenth at most.
    assert!(begun.elapsed() >= LEASE * 10 / 11, "the door was still hers");
    println!("bob has it {:.1?} after she asked, under token {second}", begun.elapsed());
    assert!(second > first, "whoever comes with {first} is to be refused");
    let late = Command::Release { lock: "door".to_owned(), token: first };
    assert_eq!(locks.propose(&late).await?, None, "it is not hers to give back");
    let (holder, executed) = locks.read(Read::Linearizable, &"door".to_owned()).await?;
    assert_eq!(executed, once + asked + 1);
    println!("{executed} commands were executed, each once; the door is held by {holder:?}");
    for node in &nodes {
        node.shutdown().await?;
    }
    Ok(())
}
