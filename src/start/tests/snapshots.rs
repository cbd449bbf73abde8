//! A node goes on while its snapshot is being written.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::timeout;

use super::*;

/// A sum of which a snapshot is written as soon as the test lets it.
struct Gated {
    sum: i64,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    is_waited_for: AtomicBool,
    is_open: AtomicBool,
}

impl Gate {
    fn wait(&self) {
        self.is_waited_for.store(true, Ordering::Release);
        while !self.is_open.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Opens the gate, whatever becomes of the test: no node stops that waits there.
struct Opener(Arc<Gate>);

impl Drop for Opener {
    fn drop(&mut self) {
        self.0.is_open.store(true, Ordering::Release);
    }
}

impl quorate_core::Snapshottable for Gated {
    type View = (i64, Arc<Gate>);

    fn view(&self) -> (i64, Arc<Gate>) {
        (self.sum, self.gate.clone())
    }

    fn write((sum, gate): &(i64, Arc<Gate>), out: &mut dyn Write) -> io::Result<()> {
        gate.wait();
        out.write_all(&sum.to_le_bytes())
    }

    fn restore(input: &mut dyn io::Read) -> io::Result<Gated> {
        let mut sum = [0; 8];
        input.read_exact(&mut sum)?;
        Ok(Gated { sum: i64::from_le_bytes(sum), gate: Arc::default() })
    }
}

impl StateMachine for Gated {
    type Command = i64;
    type Response = i64;
    type Query = ();
    type Answer = i64;

    fn apply(&mut self, _: &At, add: i64) -> i64 {
        self.sum += add;
        self.sum
    }

    fn query(&self, _: &At, (): ()) -> i64 {
        self.sum
    }
}

#[tokio::test]
async fn commands_are_applied_while_a_snapshot_is_being_written() {
    let gate = Arc::new(Gate::default());
    let mut config = config(1, &["127.0.0.1:0".to_owned()]);
    config.settings.snapshot_bytes = 1;
    let (machine, disk) = (Gated { sum: 0, gate: gate.clone() }, MemDisk::new());
    let started = super::super::start_on(config, machine, move |_| Ok(disk)).await;
    let node: Node<Raft, Gated> = started.unwrap();
    let opener = Opener(gate.clone());
    // A snapshot is worth its cost at once. It is begun, and does not get on.
    assert_eq!(node.propose(1).await, Ok(1));
    until("a snapshot is begun", || gate.is_waited_for.load(Ordering::Acquire)).await;
    for sum in 2..=10 {
        let answer = timeout(PATIENCE / 4, node.propose(1)).await;
        assert_eq!(answer, Ok(Ok(sum)), "it waits for the snapshot");
    }
    assert_eq!(node.status().snapshot, None);
    drop(opener);
    until("the snapshot is finished", || node.status().snapshot.is_some()).await;
    node.shutdown().await.unwrap();
}
