//! No write waits for a snapshot, however long its files take to be read or removed.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use quorate_core::*;

use super::fixture::*;
use super::watched::{Watch, Watched};
use crate::disk::MemDisk;
use crate::job::Done;
use crate::store::Store;

/// A disk on which everything that is done with a snapshot takes until the gate is opened.
type SlowSnapshots = Watched<Gate>;

#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_closed: bool,
    waiting: usize,
    /// Somebody whose turn it was could not go on before the gate was opened.
    was_stuck: bool,
}

impl Gate {
    /// What a test that passes never waits for.
    const PATIENCE: Duration = Duration::from_secs(10);

    fn close(&self) {
        self.state.lock().unwrap().is_closed = true;
    }

    fn open(&self) {
        self.state.lock().unwrap().is_closed = false;
        self.changed.notify_all();
    }

    fn pass(&self, name: &str) {
        if !name.starts_with("snap-") {
            return;
        }
        let mut state = self.state.lock().unwrap();
        state.waiting += 1;
        self.changed.notify_all();
        let waited =
            self.changed.wait_timeout_while(state, Self::PATIENCE, |state| state.is_closed);
        let (mut state, outcome) = waited.unwrap();
        state.was_stuck |= outcome.timed_out();
        state.is_closed &= !outcome.timed_out();
        state.waiting -= 1;
    }

    fn await_somebody(&self) {
        let state = self.state.lock().unwrap();
        let waited =
            self.changed.wait_timeout_while(state, Self::PATIENCE, |state| state.waiting == 0);
        assert!(!waited.unwrap().1.timed_out(), "nobody touches a snapshot");
    }

    fn was_stuck(&self) -> bool {
        self.state.lock().unwrap().was_stuck
    }
}

impl Watch for Gate {
    fn before_read(&self, name: &str) {
        self.pass(name);
    }

    fn before_removal(&self, name: &str) {
        self.pass(name);
    }
}

/// Saves a write, and does all that comes of it.
fn save(store: &mut Store<SlowSnapshots>, seq: u64, write: Write) -> Done {
    store.enqueue(WriteSeq(seq), write);
    let mut all = Done::default();
    loop {
        let job = store.prepare().unwrap();
        let Some(job) = job.or_else(|| store.maintenance().unwrap()) else { return all };
        let done = store.run(job).unwrap();
        all.saved = done.saved.or(all.saved);
        all.is_untidy |= done.is_untidy;
    }
}

#[test]
fn no_write_waits_for_a_snapshot_that_is_read_or_removed() {
    let gate = Arc::<Gate>::default();
    let disk = SlowSnapshots { disk: MemDisk::new(), watch: gate.clone() };
    let handle = Arc::new(disk.clone());
    let (mut store, _) = Store::open(handle, &owner(), options(), Incarnation(77), 1).unwrap();
    let mut author = Author::new();
    let mut snapshots = Vec::new();
    let mut seq = 0;
    let mut next = |store: &mut Store<SlowSnapshots>, write| {
        seq += 1;
        save(store, seq, write)
    };
    for index in 1..=4 {
        let write = author.appending(1, &[b"x"]);
        let _ = next(&mut store, write);
        let snapshot = build_snapshot(&store, author.last().0, author.last().1);
        if index < 4 {
            author.snapshot = Some(snapshot.clone());
            let done = next(&mut store, author.write(Vec::new()));
            assert!(done.is_untidy, "a snapshot that is pointed to makes another one needless");
        }
        snapshots.push(snapshot);
    }
    assert_eq!(store.snapshots().list().unwrap().len(), 4);

    let helper = store.snapshots().clone();
    let fetched = snapshots[3].clone();
    gate.close();
    std::thread::scope(|scope| {
        // What a peer offers is here already: all of it is read. Then the others are removed.
        let helping = scope.spawn(move || {
            let next = helper.begin_fetch(&fetched).unwrap();
            helper.tidy().unwrap();
            next
        });
        gate.await_somebody();
        author.snapshot = Some(snapshots[3].clone());
        let done = next(&mut store, author.write(Vec::new()));
        assert!(done.is_untidy);
        let write = author.appending(1, &[b"meanwhile"]);
        assert!(next(&mut store, write).saved.is_some());
        gate.open();
        assert_eq!(helping.join().unwrap(), FetchNext::Complete);
    });
    assert!(!gate.was_stuck(), "a write waited for the snapshot");
    let left: Vec<_> = store.snapshots().list().unwrap().into_iter().map(|s| s.id).collect();
    assert_eq!(left, [snapshots[2].id(), snapshots[3].id()]);
}
