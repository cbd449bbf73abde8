//! The command line.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// A replicated key-value server that speaks the Redis protocol.
///
/// Every write is on the disks of a majority of the nodes before it is acknowledged, and every
/// read sees all acknowledged writes, whichever node a client is connected to (after READONLY, what
/// that node has). redis-cli, redis-benchmark and Redis client libraries that keep to the commands
/// which COMMAND lists work unchanged.
#[derive(Debug, Parser)]
#[command(name = "kv", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one node.
    Serve(ServeArgs),
    /// Run three nodes on this machine, put them under load, kill the leader, and check that
    /// nothing was lost.
    Demo(DemoArgs),
    /// Show what a data directory holds, without changing it. On the directory of a node that
    /// runs, the very end may be seen in part.
    Inspect {
        /// The data directory of a node.
        dir: PathBuf,
        /// Show every group of the log: what was written and synced as one.
        #[arg(long)]
        groups: bool,
    },
    /// Check every byte of a data directory, without changing it. Ends with status 1 and the
    /// place if anything is missing; damage that costs nothing is shown. On the directory of a node
    /// that runs, damage at the very end means something only if it stays.
    Verify {
        /// The data directory of a node.
        dir: PathBuf,
    },
    /// Have a replica do once more what a recorded one did (serve --record), and compare every effect.
    /// Ends with status 1 and the place if one differs, or if the recording is damaged.
    Replay {
        /// The recording of a node.
        file: PathBuf,
        /// Show each event, and each effect that comes of it.
        #[arg(long)]
        trace: bool,
    },
}

/// What `serve` is told.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Three nodes on one machine, each in a terminal of its own:

  PEERS=1=127.0.0.1:7101,2=127.0.0.1:7102,3=127.0.0.1:7103
  kv serve --id 1 --peers $PEERS --listen 127.0.0.1:6101 --data data/1
  kv serve --id 2 --peers $PEERS --listen 127.0.0.1:6102 --data data/2
  kv serve --id 3 --peers $PEERS --listen 127.0.0.1:6103 --data data/3

  redis-cli -p 6102 set greeting hello

The cluster is founded when all of them have met for the first time. From then on any two of them
are enough. A node that stops (SIGTERM, Ctrl-C) hands its leadership over first.

A request may have up to 4 MiB, and so may what a transaction takes in the log (64 KiB less, to be
exact). Up to 64 MiB of requests are read from a client ahead of the replies that it has taken: one
that pipelines more has to take replies meanwhile. What is held for all clients together is bounded
by 256 MiB; beyond that, those for which most is held are cut off.

Expiries follow the time of the log, which stands still during an outage: with an expiry pending
then, EXAT, PXAT, EXPIREAT and PEXPIREAT come late by as long afterwards, until the time of the log
has caught up with the clocks, at a tenth of the time that passes.

The log goes to standard error; RUST_LOG=debug says more.")]
pub struct ServeArgs {
    /// This node's number among the peers. Belongs to the data directory for good.
    #[arg(long, value_name = "N")]
    pub id: u64,

    /// All members of the cluster, this node included: its own address is the one at which it
    /// listens for the others.
    #[arg(long, value_name = "ID=HOST:PORT,...", value_delimiter = ',', required = true)]
    pub peers: Vec<Peer>,

    /// Where to listen for clients.
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_address)]
    pub listen: String,

    /// The directory that holds the node's log and snapshots; created if it does not exist.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,

    /// The name of the cluster. Nodes of different names do not talk to each other.
    #[arg(long, value_name = "NAME", default_value = "kv")]
    pub cluster: String,

    /// The consensus protocol. All members must use the same one.
    #[arg(long, value_enum, default_value = "raft")]
    pub protocol: Protocol,

    /// The size of one file of the log, in bytes: a multiple of 4096, from 65536 on. By default it
    /// grows with the log, from 1 MiB to 64 MiB.
    #[arg(long, value_name = "N")]
    pub segment_bytes: Option<u64>,

    /// Found a cluster of this single node if the data directory is empty. Without it an empty
    /// directory is taken for a lost disk.
    #[arg(long)]
    pub bootstrap: bool,

    /// How many clients may be connected at once.
    #[arg(long, value_name = "N", default_value = "10000", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub max_clients: usize,

    /// How long, in milliseconds, followers hear nothing from a leader before they elect another:
    /// at least this, at most twice as long. Heartbeats are sent five times as often. Raise it
    /// where nodes are far apart.
    ///
    /// [default: 200]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(50..=60_000))]
    pub election_timeout_ms: Option<u64>,

    /// After how many bytes of log to take a snapshot and drop the log before it; a state larger
    /// than this is written again only after as many bytes as it has.
    ///
    /// [default: 32 MiB]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(4096..))]
    pub snapshot_bytes: Option<u64>,

    /// How fast to fetch a snapshot from another node, in bytes per second; its own are written half as
    /// fast. More catches up sooner, and holds up the writes of clients meanwhile. Large ones are fetched
    /// within a minute, if the disk is fast enough.
    ///
    /// [default: 16 MiB]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(65536..))]
    pub snapshot_rate: Option<u64>,

    /// Record what the node is told into this file, for kv replay: to find a bug. It holds what clients
    /// send, is no backup, and keeps only what comes first (--record-bytes). One that is there gets a number behind its name, from 1 to 9;
    /// if there are as many, nothing is recorded.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,

    /// How large the recording may become, in bytes: what comes after that is not recorded.
    ///
    /// [default: 1 GiB]
    #[arg(long, value_name = "N", requires = "record", value_parser = clap::value_parser!(u64).range(65536..))]
    pub record_bytes: Option<u64>,
}

#[derive(Args, Debug)]
pub struct DemoArgs {
    /// How many writes to have acknowledged in all.
    #[arg(long, value_name = "N", default_value = "100000", value_parser = clap::value_parser!(u64).range(10_000..))]
    pub writes: u64,

    /// How many clients write at once.
    #[arg(long, value_name = "N", default_value = "16", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub clients: u16,

    /// The consensus protocol.
    #[arg(long, value_enum, default_value = "raft")]
    pub protocol: Protocol,

    /// Keep the data directories and the nodes' logs.
    #[arg(long)]
    pub keep: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// Raft.
    Raft,
    /// Viewstamped Replication.
    Vsr,
}

impl Protocol {
    /// As it is given on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Raft => "raft",
            Protocol::Vsr => "vsr",
        }
    }
}

/// What is wrong with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an address is written HOST:PORT, an IPv6 one [HOST]:PORT")]
pub struct AddressError;

fn parse_address(text: &str) -> Result<String, AddressError> {
    let (host, port) = text.rsplit_once(':').ok_or(AddressError)?;
    let is_host = match host.strip_prefix('[') {
        Some(rest) => rest.ends_with(']'),
        None => !host.is_empty() && !host.contains(':'),
    };
    if !is_host || port.parse::<u16>().is_err() {
        return Err(AddressError);
    }
    Ok(text.to_owned())
}

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub id: u64,
    pub address: String,
}

/// What is wrong with a member's description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a peer is written ID=HOST:PORT, with a number from 1 on as its ID")]
pub struct PeerError;

impl FromStr for Peer {
    type Err = PeerError;

    fn from_str(text: &str) -> Result<Peer, PeerError> {
        let (id, address) = text.split_once('=').ok_or(PeerError)?;
        let id = id.parse().ok().filter(|id| *id > 0).ok_or(PeerError)?;
        let address = parse_address(address).map_err(|_| PeerError)?;
        Ok(Peer { id, address })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.id, self.address)
    }
}

/// Arguments which contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    #[error("--peers lists {0} twice")]
    Twice(String),
    #[error("--id {0} is not among --peers")]
    NotAmongPeers(u64),
    #[error("--bootstrap founds a cluster of one node, but --peers lists {0}")]
    BootstrapOfMany(usize),
}

impl ServeArgs {
    /// Checks what clap cannot.
    pub fn validate(&self) -> Result<(), ArgsError> {
        let mut seen = BTreeSet::new();
        for Peer { id, address } in &self.peers {
            if !seen.insert(id.to_string()) {
                return Err(ArgsError::Twice(format!("node {id}")));
            }
            if !seen.insert(address.clone()) {
                return Err(ArgsError::Twice(address.clone()));
            }
        }
        if !self.peers.iter().any(|peer| peer.id == self.id) {
            return Err(ArgsError::NotAmongPeers(self.id));
        }
        if self.bootstrap && self.peers.len() > 1 {
            return Err(ArgsError::BootstrapOfMany(self.peers.len()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(args: &str) -> Result<ServeArgs, String> {
        let words = "kv serve --listen 127.0.0.1:6101 --data d".split(' ').chain(args.split(' '));
        match Cli::try_parse_from(words).map_err(|error| error.to_string())?.command {
            Command::Serve(args) => Ok(args),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn peers_are_numbers_and_addresses() {
        let args = serve("--id 2 --peers 1=127.0.0.1:7101,2=[::1]:7102,3=host:7103").unwrap();
        let peers: Vec<String> = args.peers.iter().map(Peer::to_string).collect();
        assert_eq!(peers, ["1=127.0.0.1:7101", "2=[::1]:7102", "3=host:7103"]);
        assert_eq!(args.validate(), Ok(()));
        for wrong in ["1", "x=a:1", "0=a:1", "1=a", "1=:1", "1=a:x", "1=a:70000"] {
            assert!(serve(&format!("--id 1 --peers {wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_server_for_no_client_is_refused() {
        let serve = |clients| serve(&format!("--id 1 --peers 1=a:1 --max-clients {clients}"));
        assert!(serve(0).unwrap_err().contains("--max-clients"));
        assert_eq!(serve(1).unwrap().max_clients, 1);
    }

    #[test]
    fn a_recording_has_room_for_something_and_a_place() {
        let serve = |args| serve(&format!("--id 1 --peers 1=a:1 {args}"));
        let args = serve("--record r --record-bytes 65536").unwrap();
        assert_eq!((args.record, args.record_bytes), (Some("r".into()), Some(65536)));
        assert!(serve("--record-bytes 65536").unwrap_err().contains("--record "));
        assert!(serve("--record r --record-bytes 65535").unwrap_err().contains("--record-bytes"));
    }

    #[test]
    fn contradictions_are_named() {
        let error = |args| serve(args).unwrap().validate().unwrap_err().to_string();
        assert!(error("--id 3 --peers 1=a:1,2=a:2").contains("not among"));
        assert!(error("--id 1 --peers 1=a:1,1=a:2").contains("node 1 twice"));
        assert!(error("--id 1 --peers 1=a:1,2=a:1").contains("a:1 twice"));
        assert!(error("--id 1 --peers 1=a:1,2=a:2 --bootstrap").contains("--bootstrap"));
    }
}
