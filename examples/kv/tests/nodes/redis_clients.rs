//! Clients that know nothing of quorate: redis-cli, redis-benchmark, redis-py.

use std::process::{Output, Stdio};

use tokio::process::Command;
use tokio::time::timeout;

use super::processes::{Nodes, PATIENCE};
use super::require::skip;

/// What redis-py does with its defaults: `HELLO 3`, and MULTI and EXEC around a pipeline.
const WITH_DEFAULTS: &str = r#"
import sys, redis
assert int(redis.__version__.split(".")[0]) >= 8, redis.__version__
for port in map(int, sys.argv[1:]):
    kv = redis.Redis(port=port)
    kv.flushall()
    assert kv.set("greeting", "hello") is True
    assert kv.get("greeting") == b"hello"
    assert [kv.incr("hits") for _ in range(3)] == [1, 2, 3]
    pipe = kv.pipeline()
    pipe.set("a", 1).incr("a").get("a").expire("a", 100).delete("greeting")
    assert pipe.execute() == [True, 2, b"2", True, 1]
    assert kv.pipeline(transaction=False).incr("a").incr("a").execute() == [3, 4]
    assert 0 < kv.ttl("a") <= 100
    assert kv.mset({"x": "1", "y": "2"}) and kv.mget("x", "y", "z") == [b"1", b"2", None]
    assert sorted(kv.scan_iter()) == [b"a", b"hits", b"x", b"y"]
    assert kv.set("x", "3", nx=True) is None and kv.set("x", "3", get=True) == b"1"
    assert kv.info("replication")["role"] in ("master", "slave")
print("done")
"#;

/// Runs a client to its end. `None` if this machine has none: the test says that it is skipped.
async fn run(program: &str, args: &[&str]) -> Option<Output> {
    let mut command = Command::new(program);
    let output = command.args(args).stdin(Stdio::null()).kill_on_drop(true).output();
    match timeout(PATIENCE, output).await.expect("it goes on") {
        Ok(output) => Some(output),
        Err(error) => {
            skip(&format!("{program} cannot be run: {error}"));
            None
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_benchmark_runs_against_the_leader_and_against_a_follower() {
    let nodes = Nodes::three(&[]).await;
    let leader = nodes.leader().await;
    for id in [leader % 3 + 1, leader] {
        let port = nodes.address(id).port().to_string();
        let load = ["-t", "ping_inline,set,get,incr,mset", "-n", "100000", "-c", "50", "-P", "16"];
        let args = [&["-p", port.as_str(), "--csv"], &load[..]].concat();
        let Some(output) = run("redis-benchmark", &args).await else { return };
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{stdout}\n{stderr}");
        for test in ["PING_INLINE", "SET", "GET", "INCR", "MSET (10 keys)"] {
            let line = format!("\"{test}\",");
            assert!(stdout.lines().any(|text| text.starts_with(&line)), "no {test} in {stdout}");
        }
        assert!(!format!("{stdout}{stderr}").contains("rror"), "{stdout}\n{stderr}");
        let Some(hits) = run("redis-cli", &["-p", &port, "GET", "counter:__rand_int__"]).await
        else {
            return;
        };
        // Incremented 100,000 times, once more for each node that was done before this one.
        let done = if id == leader { 200_000 } else { 100_000 };
        assert_eq!(text(&hits.stdout).trim(), done.to_string(), "{}", text(&hits.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_py_works_with_its_defaults_against_every_node() {
    let nodes = Nodes::three(&[]).await;
    let python = std::env::var("QUORATE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    match run(&python, &["-c", "import redis"]).await {
        Some(output) if output.status.success() => {}
        Some(_) => {
            return skip("redis-py is not installed (QUORATE_PYTHON names a Python that has it)");
        }
        None => return,
    }
    let ports: Vec<String> = (1..=3).map(|id| nodes.address(id).port().to_string()).collect();
    let mut args = vec!["-c", WITH_DEFAULTS];
    args.extend(ports.iter().map(String::as_str));
    let Some(output) = run(&python, &args).await else { return };
    assert_eq!(text(&output.stdout).trim(), "done", "{}", text(&output.stderr));
}
