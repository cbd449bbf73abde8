//! What the nodes say afterwards.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use quorate_kv::resp::Value;
use quorate_kv::{Client, ClientError, Level};

use super::load::{Fate, Tally};

/// What reading everything back has shown.
#[derive(Debug, Default)]
pub struct Findings {
    /// Acknowledged writes that are not there.
    pub lost: u64,
    /// Increments that were applied more than once, and writes that were surely not proposed but
    /// are there.
    pub duplicated: u64,
    /// Writes of unknown outcome that are there.
    pub unknown_applied: u64,
    /// The first few of what should not be.
    pub examples: Vec<String>,
}

/// How a node stands, as far as it matters here.
#[derive(Debug, Default)]
pub struct Standing {
    pub leads: bool,
    pub term: u64,
    pub committed: u64,
    pub applied: u64,
}

const KEYS_AT_ONCE: usize = 500;
const EXAMPLES: usize = 5;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(30);

impl Findings {
    /// Adds what another node says. Nodes hold the same, so the worst of them counts.
    pub fn merge(&mut self, other: Findings) {
        self.lost = self.lost.max(other.lost);
        self.duplicated = self.duplicated.max(other.duplicated);
        self.unknown_applied = self.unknown_applied.max(other.unknown_applied);
        self.examples.extend(other.examples);
        self.examples.truncate(EXAMPLES);
    }

    fn look_at(&mut self, tally: &Tally, number: usize, fate: Fate, found: &Value) {
        let expected = tally.value(number);
        let wrong = match (fate, found) {
            (_, Value::Bulk(bytes)) if bytes != expected.as_bytes() && tally.is_set(number) => {
                &mut self.lost
            }
            (_, Value::Bulk(bytes)) if bytes != expected.as_bytes() => &mut self.duplicated,
            (Fate::NotProposed, Value::Bulk(_)) => &mut self.duplicated,
            (Fate::Unknown, Value::Bulk(_)) => {
                self.unknown_applied += 1;
                return;
            }
            (Fate::Acknowledged, Value::Bulk(_)) => return,
            (Fate::Acknowledged, _) => &mut self.lost,
            (Fate::Unknown | Fate::NotProposed, _) => return,
        };
        *wrong += 1;
        if self.examples.len() < EXAMPLES {
            let key = tally.key(number);
            self.examples.push(format!("{key} ({fate:?}): {found:?} instead of {expected}"));
        }
    }
}

/// Reads back from one node what the clients have written.
pub async fn check(
    address: SocketAddr,
    level: Level,
    tallies: &[Tally],
) -> Result<Findings, ClientError> {
    let mut findings = Findings::default();
    let mut client = Client::connect(address).await?;
    if level == Level::Local {
        client.call(&["READONLY"]).await?;
    }
    for tally in tallies {
        for (chunk, fates) in tally.fates.chunks(KEYS_AT_ONCE).enumerate() {
            let numbers = (chunk * KEYS_AT_ONCE)..;
            let keys: Vec<String> =
                numbers.clone().take(fates.len()).map(|number| tally.key(number)).collect();
            let values = read(&mut client, &keys).await?;
            for ((number, fate), value) in numbers.zip(fates).zip(&values) {
                findings.look_at(tally, number, *fate, value);
            }
        }
    }
    Ok(findings)
}

async fn read(client: &mut Client, keys: &[String]) -> Result<Vec<Value>, ClientError> {
    let command: Vec<&str> = ["MGET"].into_iter().chain(keys.iter().map(String::as_str)).collect();
    let since = Instant::now();
    loop {
        match client.call(&command).await? {
            Value::Array(values) if values.len() == keys.len() => return Ok(values),
            // No leader at the moment, perhaps.
            Value::Error(_) if since.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            other => {
                let text = format!("MGET was answered {other:?}");
                return Err(std::io::Error::other(text).into());
            }
        }
    }
}

/// How the node at this address stands.
pub async fn standing(address: SocketAddr) -> Result<Standing, ClientError> {
    let ask = async {
        let mut client = Client::connect(address).await?;
        client.call(&["INFO", "replication"]).await
    };
    let late = |_| ClientError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
    let reply = tokio::time::timeout(ANSWER_TIMEOUT, ask).await.map_err(late)??;
    let Value::Bulk(text) = reply else { return Ok(Standing::default()) };
    let text = String::from_utf8_lossy(&text).into_owned();
    let field = |name| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = |name| field(name).and_then(|text| text.parse().ok()).unwrap_or_default();
    Ok(Standing {
        leads: field("role") == Some("master"),
        term: number("term"),
        committed: number("committed_index"),
        applied: number("applied_index"),
    })
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use quorate_kv::{Loopback, ServerOptions, WriteError, serve};
    use tokio::net::TcpListener;

    use super::super::load::Load;
    use super::*;

    async fn reach(load: &Load, goal: u64) {
        while load.acknowledged() < goal {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_is_lost_or_duplicated_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cluster = Loopback::default();
        let options = ServerOptions::default();
        tokio::spawn(serve(listener, cluster.clone(), options, pending()));
        let mut load = Load::new(vec![address]);
        load.start(4);
        reach(&load, 1000).await;
        assert_eq!(load.first_after_kill(), None);
        load.mark_kill();
        for error in [WriteError::Busy, WriteError::NotProposed, WriteError::Unknown] {
            cluster.set_write_error(Some(error("so it is".to_owned())));
            let refused = cluster.commands().len() + 100;
            while cluster.commands().len() < refused {
                tokio::task::yield_now().await;
            }
            cluster.set_write_error(None);
        }
        reach(&load, 2000).await;
        let tallies = load.stop().await;
        assert!(load.first_after_kill().is_some());
        let count = |of| {
            let fates = tallies.iter().flat_map(|tally| &tally.fates);
            fates.filter(|fate| **fate == of).count() as u64
        };
        assert!(count(Fate::Unknown) >= 90);
        assert_eq!(count(Fate::Acknowledged), load.acknowledged());

        let findings = check(address, Level::Linearizable, &tallies).await.unwrap();
        assert_eq!((findings.lost, findings.duplicated), (0, 0), "{findings:?}");
        assert_eq!(findings.unknown_applied, 0);
        let mut client = Client::connect(address).await.unwrap();
        for spoiled in [
            ["DEL", &tallies[0].key(0), ""],
            ["SET", &tallies[1].key(2), "stale"],
            ["DEL", &tallies[2].key(1), ""],
            ["INCRBY", &tallies[3].key(3), "1"],
        ] {
            client.call(&spoiled).await.unwrap();
        }
        let findings = check(address, Level::Local, &tallies).await.unwrap();
        assert_eq!((findings.lost, findings.duplicated), (3, 1), "{findings:?}");
        assert_eq!(findings.examples.len(), 4);
    }
}
