//! What must be kept, while some complete new things and others remove old ones.
//!
//! One helper completes snapshots, the storage thread says to which of them the log points, and
//! another helper removes the rest. The log points to a complete one only later, by way of the loop
//! and the disk, and it must not be gone by then: so it counts as needed until it is decided about.
//! Nobody waits for another one's files. All that holds this together are two orders:
//!
//! 1. Whoever completes something notes that *before* it is there.
//! 2. Whoever removes looks at what is there *before* asking what of it is needed.
//!
//! So whatever is seen to be there was noted, and is needed unless it was decided against. Readers
//! hold nothing: what is removed under a reader is gone for it.

use std::collections::BTreeSet;

use crate::sync::{Mutex, lock};

/// Says what must be kept. Shared by reference.
#[derive(Debug)]
pub struct Retention<K> {
    state: Mutex<State<K>>,
}

/// What must be kept of what was there at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed<K> {
    decided: BTreeSet<K>,
    undecided: BTreeSet<K>,
}

impl<K: Ord + Clone> Retention<K> {
    /// Nothing is decided yet.
    pub fn new() -> Self {
        Self { state: Mutex::new(State { decided: None, undecided: BTreeSet::new() }) }
    }

    /// Has `complete` make something be there under this key. From then on it is needed, until it is
    /// decided about.
    ///
    /// What was decided against and is there still may be on its way out. If the same is completed
    /// once more meanwhile, that may go with it.
    pub fn complete<R>(&self, key: K, complete: impl FnOnce() -> R) -> R {
        lock(&self.state).undecided.insert(key);
        complete()
    }

    /// Decides that these are needed, and about all that were completed, but for those of them that
    /// stay undecided. Waits for nobody who completes or removes.
    pub fn decide(&self, keep: BTreeSet<K>, stays_undecided: impl Fn(&K) -> bool) {
        let mut state = lock(&self.state);
        let State { decided, undecided } = &mut *state;
        let keep = decided.insert(keep);
        undecided.retain(|key| !keep.contains(key) && stays_undecided(key));
    }

    /// What `look` finds to be there, and what of that is needed: the rest can be removed. `None` as
    /// long as nothing is decided.
    pub fn survey<R>(&self, look: impl FnOnce() -> R) -> Option<(R, Needed<K>)> {
        let found = look();
        let state = lock(&self.state);
        let decided = state.decided.clone()?;
        Some((found, Needed { decided, undecided: state.undecided.clone() }))
    }
}

impl<K: Ord + Clone> Default for Retention<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Ord> Needed<K> {
    /// Whether this must not be removed.
    pub fn contains(&self, key: &K) -> bool {
        self.decided.contains(key) || self.undecided.contains(key)
    }

    /// What was decided to be needed.
    pub fn decided(&self) -> impl Iterator<Item = &K> {
        self.decided.iter()
    }
}

#[derive(Debug)]
struct State<K> {
    /// What was decided to be needed, once anything was.
    decided: Option<BTreeSet<K>>,
    /// Completed, and not decided about since.
    undecided: BTreeSet<K>,
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn needed(retention: &Retention<u64>) -> Vec<u64> {
        let ((), needed) = retention.survey(|| ()).expect("it was decided");
        (0..10).filter(|key| needed.contains(key)).collect()
    }

    #[test]
    fn nothing_is_needless_before_anything_was_decided() {
        let retention = Retention::new();
        retention.complete(1, || ());
        assert_eq!(retention.survey(|| ()), None);
        retention.decide(BTreeSet::new(), |_| true);
        assert_eq!(needed(&retention), [1]);
    }

    #[test]
    fn what_was_completed_is_needed_until_it_is_decided_about() {
        let retention = Retention::new();
        for key in [2, 3, 4] {
            retention.complete(key, || ());
        }
        retention.decide(BTreeSet::from([1, 3]), |key| *key >= 3);
        assert_eq!(needed(&retention), [1, 3, 4]);
        retention.decide(BTreeSet::from([1]), |_| true);
        assert_eq!(needed(&retention), [1, 4], "3 was decided about twice");
    }
}

/// Checked by loom over all interleavings within its bound on preemptions.
#[cfg(all(test, loom))]
mod models {
    use std::collections::VecDeque;

    use loom::thread;

    use super::*;
    use crate::sync::Arc;
    use crate::testing::Seen;
    use crate::{queue, watermark};

    /// Snapshots by what they cover, in a directory, as the threads of a replica share them.
    #[derive(Default)]
    struct Snapshots {
        files: Mutex<BTreeSet<u64>>,
        retention: Retention<u64>,
    }

    impl Snapshots {
        /// The log points to the first one.
        fn new() -> Arc<Self> {
            let snapshots = Snapshots::default();
            snapshots.complete(1);
            snapshots.point_to(1);
            Arc::new(snapshots)
        }

        fn complete(&self, key: u64) {
            self.retention.complete(key, || lock(&self.files).insert(key));
        }

        fn point_to(&self, key: u64) {
            self.retention.decide(BTreeSet::from([key]), |other| *other >= key);
        }

        fn has(&self, key: u64) -> bool {
            lock(&self.files).contains(&key)
        }

        /// Whether anything was removed.
        fn tidy(&self) -> bool {
            let survey = self.retention.survey(|| lock(&self.files).clone());
            let (files, needed) = survey.expect("it was decided");
            let needless: Vec<u64> =
                files.into_iter().filter(|key| !needed.contains(key)).collect();
            needless.iter().for_each(|key| _ = lock(&self.files).remove(key));
            !needless.is_empty()
        }
    }

    /// What is complete stays until the log points to it, whoever tidies up and whatever else the log
    /// is said to point to meanwhile; and so does what the log points to.
    #[test]
    fn a_snapshot_is_there_when_the_log_comes_to_point_to_it() {
        let seen = Seen::new();
        let log = seen.clone();
        loom::model(move || {
            let snapshots = Snapshots::new();
            let (builder, tidier) = (Arc::clone(&snapshots), Arc::clone(&snapshots));
            let builder = thread::spawn(move || builder.complete(2));
            let tidier = thread::spawn(move || tidier.tidy());
            // A write that knew nothing of the second one is saved.
            snapshots.point_to(1);
            assert!(snapshots.has(1));
            builder.join().unwrap();
            assert!(snapshots.has(2));
            snapshots.point_to(2);
            log.note(tidier.join().unwrap());
            snapshots.tidy();
            assert_eq!(*lock(&snapshots.files), BTreeSet::from([2]));
        });
        seen.assert_both();
    }

    /// A restoration finds its snapshot, or finds that a later one was asked for: the loop says so
    /// before it hands over the write by which the log points elsewhere.
    #[test]
    fn a_restoration_whose_snapshot_is_gone_was_overtaken() {
        let seen = Seen::new();
        let log = seen.clone();
        loom::model(move || {
            let snapshots = Snapshots::new();
            snapshots.complete(2);
            let (advancer, newest_restore) = watermark(1);
            let (writes, queued) = queue(1 << 10);
            let saving = Arc::clone(&snapshots);
            let storage = thread::spawn(move || {
                let mut batch = VecDeque::new();
                while queued.pop_all(&mut batch).is_ok() {
                    batch.drain(..).for_each(|key| saving.point_to(key));
                    saving.tidy();
                }
            });
            let restoring = Arc::clone(&snapshots);
            let applier = thread::spawn(move || {
                let is_there = restoring.has(1);
                assert!(is_there || newest_restore.current() == 2);
                is_there
            });
            advancer.advance(2);
            writes.push(2, 0).unwrap();
            drop(writes);
            log.note(applier.join().unwrap());
            storage.join().unwrap();
        });
        seen.assert_both();
    }
}
