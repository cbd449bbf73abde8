//! Writes that come at a steady pace, and what each of them takes.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quorate_kv::Client;
use quorate_kv::resp::Value;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use super::processes::{LOOK_AGAIN, Nodes, PATIENCE, call};

const CLIENTS: usize = 4;
const PACE: Duration = Duration::from_millis(5);

/// Clients of one node, each of which sets one key after the other.
pub struct Pulse {
    stop: Arc<AtomicBool>,
    clients: JoinSet<Vec<Beat>>,
}

/// A write that was acknowledged.
#[derive(Clone, Copy, Debug)]
struct Beat {
    began: Instant,
    took: Duration,
}

/// What all clients together have seen.
pub struct Beats(Vec<Beat>);

impl Pulse {
    /// Keys are named after `round`, among others.
    pub async fn start(nodes: &Nodes, id: usize, round: usize) -> Pulse {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for name in 0..CLIENTS {
            let keys = format!("pulse:{round}:{name}");
            clients.spawn(beat(nodes.client(id).await, keys, Arc::clone(&stop)));
        }
        Pulse { stop, clients }
    }

    /// Ends the writes; each that was begun is acknowledged.
    pub async fn stop(self) -> Beats {
        self.stop.store(true, Ordering::Relaxed);
        Beats(self.clients.join_all().await.concat())
    }
}

impl Beats {
    pub fn writes(&self) -> usize {
        self.0.len()
    }

    /// What all but a hundredth of the writes that began within a span took at most.
    pub fn p99(&self, span: Range<Instant>) -> Duration {
        let within = self.0.iter().filter(|beat| span.contains(&beat.began));
        let mut times: Vec<Duration> = within.map(|beat| beat.took).collect();
        times.sort_unstable();
        assert!(!times.is_empty(), "nothing was written meanwhile");
        times[(times.len() * 99).div_ceil(100) - 1]
    }
}

async fn beat(mut client: Client, keys: String, stop: Arc<AtomicBool>) -> Vec<Beat> {
    let mut beats = Vec::new();
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        // Whoever is kept waiting counts from when the write was due; that this process is woken late is
        // nothing that a node could help.
        let is_late = due < Instant::now();
        sleep_until(due.into()).await;
        let began = if is_late { due } else { Instant::now() };
        let key = format!("{keys}:{}", beats.len());
        while call(&mut client, &["SET", &key, "x"]).await != Value::Simple("OK".into()) {
            assert!(began.elapsed() < PATIENCE, "no write is acknowledged");
            sleep(LOOK_AGAIN).await;
        }
        beats.push(Beat { began, took: began.elapsed() });
        due += PACE;
    }
    beats
}
