//! The text of INFO.

use std::fmt::Write;
use std::time::Duration;

use quorate_core::Role;

use crate::cluster::{Standing, Status};

/// The version of Redis whose commands these are, for clients that look before they ask.
pub const REDIS_VERSION: &str = "7.4.0";

/// What a connection can tell about the node that serves it.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// How the node stands in its cluster.
    pub status: Status,
    /// Time since the server began to listen.
    pub uptime: Duration,
    /// How many clients are connected.
    pub clients: usize,
    /// How many may be.
    pub max_clients: usize,
    /// What the node holds, as of a moment ago.
    pub keys: KeyCount,
}

/// How many keys there are.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyCount {
    /// All of them.
    pub keys: i64,
    /// Those with an expiry.
    pub expiring: i64,
}

/// Redis's names for the two parts a node can play.
#[must_use]
pub fn role(status: &Status) -> &'static str {
    match status.role {
        Role::Leader => "master",
        Role::Follower | Role::Candidate => "slave",
    }
}

/// The sections that are asked for (in lower case); all of them if none is.
#[must_use]
pub fn render(surroundings: &Surroundings, wanted: &[String]) -> String {
    let all = wanted.is_empty()
        || wanted.iter().any(|name| matches!(&**name, "all" | "default" | "everything"));
    let sections = [
        ("server", server(surroundings)),
        ("clients", clients(surroundings)),
        ("replication", replication(&surroundings.status)),
        ("keyspace", keyspace(surroundings.keys)),
    ];
    let mut text = String::new();
    for (name, lines) in sections {
        if all || wanted.iter().any(|wanted| wanted == name) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            text.push_str(&lines);
        }
    }
    text
}

fn section(title: &str, fields: &[(&str, &dyn std::fmt::Display)]) -> String {
    let mut text = format!("# {title}\r\n");
    for (name, value) in fields {
        // Writing into a string does not fail.
        let _ = write!(text, "{name}:{value}\r\n");
    }
    text
}

fn server(surroundings: &Surroundings) -> String {
    let status = &surroundings.status;
    let seconds = surroundings.uptime.as_secs();
    section(
        "Server",
        &[
            ("redis_version", &REDIS_VERSION),
            ("redis_mode", &"standalone"),
            ("quorate_version", &env!("CARGO_PKG_VERSION")),
            ("process_id", &std::process::id()),
            ("uptime_in_seconds", &seconds),
            ("uptime_in_days", &(seconds / 86_400)),
            ("cluster_name", &status.cluster),
            ("node_id", &status.node),
        ],
    )
}

fn clients(surroundings: &Surroundings) -> String {
    let Surroundings { clients, max_clients, .. } = surroundings;
    section("Clients", &[("connected_clients", clients), ("maxclients", max_clients)])
}

fn replication(status: &Status) -> String {
    let followers = match status.role {
        Role::Leader => status.connected,
        Role::Follower | Role::Candidate => 0,
    };
    let leader = status.leader.map_or("none".to_owned(), |leader| leader.to_string());
    let address = status.leader_address.as_deref().unwrap_or_default();
    let disk = if status.has_room { "ok" } else { "full" };
    let standing = match status.standing {
        Standing::Unformed => "unformed",
        Standing::Mute => "mute",
        Standing::Member => "member",
    };
    let link = if status.leader.is_some() { "up" } else { "down" };
    section(
        "Replication",
        &[
            ("role", &role(status)),
            ("connected_slaves", &followers),
            ("master_link_status", &link),
            ("protocol", &status.protocol),
            ("members", &status.members),
            ("leader", &leader),
            ("leader_address", &address),
            ("term", &status.term),
            ("first_index", &status.first_index),
            ("last_index", &status.last_index),
            ("durable_index", &status.durable_index),
            ("committed_index", &status.committed_index),
            ("applied_index", &status.applied_index),
            ("disk", &disk),
            ("standing", &standing),
        ],
    )
}

/// As in Redis, an empty database is not listed.
fn keyspace(KeyCount { keys, expiring }: KeyCount) -> String {
    let count = format!("keys={keys},expires={expiring},avg_ttl=0");
    if keys == 0 { section("Keyspace", &[]) } else { section("Keyspace", &[("db0", &count)]) }
}
