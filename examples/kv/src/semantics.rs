//! What each command answers: a transcript, played without sockets or a clock.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_core::{At, Index, LogTime, Role, StateMachine};

use crate::cluster::{Standing, Status};
use crate::connection::{Connection, Step, Transaction};
use crate::info::{KeyCount, Surroundings};
use crate::machine::Machine;
use crate::op::{Command, Op, Query, Reply};
use crate::replies::Replies;
use crate::resp::Decoder;

struct Player {
    connection: Connection,
    machine: Machine,
    now: LogTime,
}

impl Player {
    fn new() -> Player {
        let now = LogTime(1_700_000_000_000_000);
        Player { connection: Connection::new(1), machine: Machine::default(), now }
    }

    fn at(&self) -> At {
        At { index: Index(1), time: self.now, seed: 0 }
    }

    fn run(&mut self, ops: Vec<Op>) -> Vec<Reply> {
        let at = self.at();
        // Reads are asked as queries, which do not expire anything first.
        if let [Op::Read(read)] = &ops[..] {
            return self.machine.query(&at, Query::Run(vec![read.clone()]));
        }
        self.machine.apply(&at, Command::Run(ops))
    }

    fn send(&mut self, line: &str) -> String {
        let mut decoder = Decoder::new(1 << 20);
        let input = format!("{line}\r\n");
        let request = decoder.decode(input.as_bytes()).unwrap().unwrap();
        let mut out = Vec::new();
        let version = self.connection.version;
        match self.connection.on_request(&request, &surroundings, &mut out) {
            Step::Replied | Step::Close => {}
            Step::Op(op) => {
                Replies::new(version, self.run(vec![op])).encode(&mut out, usize::MAX);
            }
            Step::Transaction(Transaction { ops, parts, .. }) => {
                let replies = self.run(ops);
                Replies::of_transaction(version, parts, replies).encode(&mut out, usize::MAX);
            }
        }
        String::from_utf8(out).unwrap().replace("\r\n", " ")
    }
}

fn surroundings() -> Surroundings {
    let status = Status {
        node: 1,
        cluster: "test".to_owned(),
        protocol: "raft",
        role: Role::Leader,
        leader: Some(1),
        leader_address: Some("10.0.0.2:7102".to_owned()),
        term: 3,
        members: 3,
        connected: 1,
        first_index: 2,
        last_index: 9,
        durable_index: 8,
        committed_index: 7,
        applied_index: 6,
        has_room: true,
        standing: Standing::Member,
    };
    let keys = KeyCount { keys: 5, expiring: 4 };
    Surroundings { status, uptime: Duration::from_secs(90_000), clients: 2, max_clients: 10, keys }
}

#[test]
fn commands_answer_what_redis_answers() {
    let mut player = Player::new();
    let mut lines = include_str!("semantics.txt").lines().enumerate().peekable();
    let mut asked = 0;
    while let Some((number, line)) = lines.next() {
        if line.starts_with("==") {
            player = Player::new();
        } else if let Some(ms) = line.strip_prefix("! ") {
            player.now = player.now.plus(Duration::from_millis(ms.parse().unwrap()));
        } else if let Some(command) = line.strip_prefix("> ") {
            let (_, expected) = lines.next().unwrap();
            let expected = expected.replace(['(', ')'], "");
            let reply = player.send(command).replace(['(', ')'], "");
            assert_eq!(reply.trim_end(), expected.trim_end(), "line {}: {command}", number + 1);
            asked += 1;
        }
    }
    assert!(asked > 200, "the transcript was read: {asked}");
}

#[test]
fn command_list_names_as_many_as_command_count_counts() {
    let mut player = Player::new();
    let count = player.send("COMMAND COUNT").replace(':', "*");
    let list = player.send("COMMAND LIST");
    assert!(list.starts_with(&count) && list.ends_with("$5 watch "), "{list}");
}

#[test]
fn info_tells_the_part_that_the_node_plays() {
    let mut player = Player::new();
    let all = player.send("INFO");
    for part in [
        "redis_version:7",
        "role:master",
        "leader:1",
        "term:3",
        "uptime_in_days:1",
        "db0:keys=5,expires=4",
        "leader_address:10.0.0.2:7102",
        "uptime_in_seconds:90000 ",
        "connected_clients:2 ",
        "maxclients:10 ",
        "connected_slaves:1 ",
        "master_link_status:up ",
        "members:3 ",
        "last_index:9 ",
        "durable_index:8 ",
        "committed_index:7 ",
        "disk:ok ",
        "standing:member ",
    ] {
        assert!(all.contains(part), "{part}: {all}");
    }
    let one = player.send("INFO Replication");
    assert!(one.contains("applied_index:6") && !one.contains("redis_version"), "{one}");
    assert_eq!(player.send("INFO nosuch"), "$0  ");
}

#[test]
fn a_key_expires_without_further_writes() {
    let mut player = Player::new();
    player.send("SET k v PX 100");
    let deadline = player.machine.deadline().unwrap();
    assert!(deadline > player.now.plus(Duration::from_millis(100)));
    player.now = deadline;
    let at = player.at();
    player.machine.expire(&at);
    assert_eq!(player.machine.deadline(), None);
    assert_eq!(player.send("DBSIZE"), ":0 ");
}

#[test]
fn a_transaction_may_not_queue_more_than_fits_into_an_entry() {
    let mut player = Player::new();
    player.send("MULTI");
    let big = format!("SET k {}", "x".repeat(60_000));
    let refused = (0..100).map(|_| player.send(&big)).find(|reply| reply != "+QUEUED ");
    assert_eq!(refused.unwrap(), "-ERR transaction too large ");
    // What was queued is not kept until then.
    assert_eq!(player.connection.held_bytes(), 0);
    assert!(player.send("EXEC").starts_with("-EXECABORT"));
}

#[test]
fn replies_to_one_entry_are_bounded_and_what_is_refused_has_no_effect() {
    let mut player = Player::new();
    let value = "x".repeat(60_000);
    let append = format!("APPEND big {value}");
    let last = (0..100).map(|_| player.send(&append)).last().unwrap();
    assert!(last.starts_with("-ERR string exceeds maximum allowed size"), "{last}");
    player.send("MULTI");
    (0..4).for_each(|_| drop(player.send("GET big")));
    player.send("GETDEL big");
    let replies = player.send("EXEC");
    assert!(replies.ends_with("-ERR reply too large: ask for less at a time "));
    assert_eq!(player.send("EXISTS big"), ":1 ");
    let before = player.send("STRLEN big");
    player.send("MULTI");
    (0..4).for_each(|_| drop(player.send("GET big")));
    player.send("SET big small GET");
    let replies = player.send("EXEC");
    assert!(replies.ends_with("-ERR reply too large: ask for less at a time "));
    assert_eq!(player.send("STRLEN big"), before);
}

#[test]
fn what_a_transaction_has_queued_counts_as_much_as_it_takes_in_memory() {
    let mut player = Player::new();
    player.send("MULTI");
    player.send(&format!("MSET{}", " k v".repeat(1000)));
    // Each argument is an allocation of two bytes at least behind two counts, and a pointer to it.
    let least = 2 * 1000 * (size_of::<crate::Blob>() + 2 * size_of::<usize>() + 1);
    assert!(player.connection.held_bytes() >= least, "{}", player.connection.held_bytes());
    player.send("DISCARD");
    assert_eq!(player.connection.held_bytes(), 0);
}

#[test]
fn an_error_shows_the_beginning_of_what_was_asked_for() {
    let mut player = Player::new();
    let long = "x".repeat(200);
    let reply = player.send(&format!("{long} {long} second"));
    let shown = "x".repeat(128);
    let expected = format!("-ERR unknown command '{shown}', with args beginning with: '{shown}' ");
    assert_eq!(reply.trim_end(), expected.trim_end());
}

#[test]
fn a_value_may_be_as_long_as_the_longest_and_no_longer() {
    let mut player = Player::new();
    let part = "x".repeat(crate::MAX_VALUE_BYTES / 128);
    for _ in 0..127 {
        player.send(&format!("APPEND k {part}"));
    }
    let longest = format!(":{} ", crate::MAX_VALUE_BYTES);
    assert!(player.send(&format!("APPEND k {part}y")).starts_with("-ERR string exceeds"));
    assert_eq!(player.send(&format!("APPEND k {part}")), longest);
    assert!(player.send("APPEND k x").starts_with("-ERR string exceeds"));
    assert_eq!(player.send("STRLEN k"), longest);
}

#[test]
fn a_transaction_that_is_broken_can_be_discarded() {
    let mut player = Player::new();
    player.send("MULTI");
    assert!(player.send("NOSUCH").starts_with("-ERR unknown command"));
    assert_eq!(player.send("DISCARD"), "+OK ");
    assert_eq!(player.send("PING"), "+PONG ");
}

#[test]
fn all_keys_are_found_page_by_page() {
    let mut player = Player::new();
    for number in 0..100 {
        player.send(&format!("SET key:{number} v"));
    }
    let (mut cursor, mut seen) = ("0".to_owned(), BTreeSet::new());
    loop {
        // *2, the length of the cursor, the cursor, how many keys, and of each the length and itself.
        let page = player.send(&format!("SCAN {cursor}"));
        let words: Vec<&str> = page.split_whitespace().collect();
        seen.extend(words[4..].iter().skip(1).step_by(2).map(|key| (*key).to_owned()));
        cursor = words[2].to_owned();
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen.len(), 100);
}
