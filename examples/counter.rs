//! A replicated counter: three nodes in one process. Run it: `cargo run --release --example counter`

use quorate::{At, Node, Raft, Read, StateMachine};
use serde::{Deserialize, Serialize};

#[derive(Default, Clone, Serialize, Deserialize)]
struct Counter {
    value: i64,
}

impl StateMachine for Counter {
    type Command = i64;
    type Response = i64;
    type Query = ();
    type Answer = i64;

    fn apply(&mut self, _: &At, add: i64) -> i64 {
        self.value += add;
        self.value
    }

    fn query(&self, _: &At, (): ()) -> i64 {
        self.value
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let members = [1, 2, 3].map(|id| (id, format!("127.0.0.1:{}", 17000 + id)));
    let mut nodes = Vec::new();
    for id in 1..=3 {
        let node = Node::<Raft, Counter>::builder().id(id).members(members.clone());
        nodes.push(node.data_dir(dir.path().join(id.to_string())).start().await?);
    }
    for (add, node) in (1..).zip(&nodes) {
        println!("added {add} at node {add}: it is {} now", node.propose(add).await?);
    }
    let value = nodes[0].read(Read::Linearizable, ()).await?;
    println!("node 1 reads {value}");
    for node in &nodes {
        node.shutdown().await?;
    }
    Ok(())
}
