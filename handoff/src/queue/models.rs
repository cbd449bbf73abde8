//! The queue under loom: all interleavings within its bound on preemptions.
//!
//! loom fails a model in which a thread sleeps for ever: that is how a lost wake-up shows.

use loom::future::block_on;
use loom::thread;

use super::*;
use crate::slot::{Completion, Dropped, slot};
use crate::sync::Arc;
use crate::testing::Seen;

/// Takes batches until the queue is closed and drained.
fn drain_to_the_end<T>(consumer: &Consumer<T>) -> Vec<T> {
    let mut taken = Vec::new();
    let mut batch = VecDeque::new();
    while consumer.pop_all(&mut batch).is_ok() {
        assert!(!batch.is_empty(), "a batch of nothing");
        taken.extend(batch.drain(..));
    }
    taken
}

/// Two producers with two items each and the storage thread: every item arrives once, those of a
/// producer in order, and the end of both producers wakes the consumer.
#[test]
fn a_group_commit_queue_loses_nothing() {
    loom::model(|| {
        let (producer, consumer) = queue(1000);
        let threads = [(producer.clone(), 10), (producer, 20)].map(|(producer, first)| {
            thread::spawn(move || {
                producer.push(first, 1).unwrap();
                producer.push(first + 1, 1).unwrap();
            })
        });
        let taken = drain_to_the_end(&consumer);
        let of = |first| taken.iter().copied().filter(move |item| item / 10 * 10 == first);
        assert!(of(10).eq([10, 11]) && of(20).eq([20, 21]), "{taken:?}");
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// The same for a task: between its look at the queue and its sleep, a push or the close may come.
#[test]
fn a_draining_task_loses_nothing() {
    loom::model(|| {
        let (producer, mut consumer) = queue(1000);
        let pusher = thread::spawn(move || {
            producer.push(1, 1).unwrap();
            producer.push(2, 1).unwrap();
        });
        let mut taken = VecDeque::new();
        while block_on(consumer.drain(&mut taken)).is_ok() {}
        assert_eq!(taken, [1, 2]);
        pusher.join().unwrap();
    });
}

/// A push that succeeds is taken, one that the close refused is not, and the consumer ends.
#[test]
fn a_push_racing_with_the_close_is_refused_or_taken() {
    let seen = Seen::new();
    let log = seen.clone();
    loom::model(move || {
        let (producer, consumer) = queue(1000);
        let other = producer.clone();
        let pusher = thread::spawn(move || other.push(1, 1).is_ok());
        let closer = thread::spawn(move || producer.close());
        let taken = drain_to_the_end(&consumer);
        closer.join().unwrap();
        let accepted = pusher.join().unwrap();
        assert_eq!(taken.len(), usize::from(accepted));
        log.note(accepted);
    });
    seen.assert_both();
}

/// The close reaches a task, too.
#[test]
fn the_close_wakes_a_task() {
    loom::model(|| {
        let (producer, mut consumer) = queue::<u8>(1000);
        let closer = thread::spawn(move || producer.close());
        assert_eq!(block_on(consumer.drain(&mut VecDeque::new())), Err(Closed));
        closer.join().unwrap();
    });
}

/// What is pushed while a wait times out is taken by that wait or by the next.
#[test]
fn a_push_racing_with_a_timeout_is_not_lost() {
    let seen = Seen::new();
    let log = seen.clone();
    loom::model(move || {
        let (producer, consumer) = queue(1000);
        // One producer lives on, so that it is not the close that ends the wait.
        let other = producer.clone();
        let pusher = thread::spawn(move || other.push(1, 1).unwrap());
        let mut batch = VecDeque::new();
        let in_time = consumer.pop_all_timeout(&mut batch, Duration::from_millis(10)).is_ok();
        if !in_time {
            assert!(batch.is_empty());
            assert_eq!(consumer.pop_all_timeout(&mut batch, Duration::MAX), Ok(()));
        }
        assert_eq!(batch, [1]);
        log.note(in_time);
        pusher.join().unwrap();
    });
    seen.assert_both();
}

/// Two helpers asleep and two jobs that come together: although only the first push wakes
/// anybody, both helpers get work, so that a job never waits behind another for a free helper.
#[test]
fn a_helper_that_leaves_a_job_wakes_the_next() {
    loom::model(|| {
        let (producer, consumer) = queue(1000);
        // The producer lives on, so that it is not the close that wakes the second helper.
        let helpers = [consumer.clone(), consumer]
            .map(|consumer| thread::spawn(move || consumer.pop().unwrap()));
        producer.push(1, 1).unwrap();
        producer.push(2, 1).unwrap();
        let [first, second] = helpers.map(|helper| helper.join().unwrap());
        assert_eq!(first + second, 3);
    });
}

/// A task and a sleeping thread share a queue: one takes the item, and the task, whose wake-up may
/// have been for nothing, is still woken by the close.
#[test]
fn a_task_and_a_thread_share_a_queue() {
    loom::model(|| {
        let (producer, mut consumer) = queue(1000);
        let other = consumer.clone();
        let other = thread::spawn(move || drain_to_the_end(&other).len());
        let task = thread::spawn(move || {
            let mut taken = VecDeque::new();
            while block_on(consumer.drain(&mut taken)).is_ok() {}
            taken.len()
        });
        producer.push(1, 1).unwrap();
        drop(producer);
        assert_eq!(other.join().unwrap() + task.join().unwrap(), 1);
    });
}

/// The bound holds between two producers, and the refused item is pushed once there is room.
#[test]
fn two_producers_never_exceed_the_bound_together() {
    loom::model(|| {
        let (producer, consumer) = queue(10);
        let other = producer.clone();
        let other = thread::spawn(move || other.push(1, 6).is_ok());
        let accepted = producer.push(2, 6).is_ok();
        assert!(producer.queued_bytes() <= 10);
        assert!(accepted ^ other.join().unwrap());
        let mut batch = VecDeque::new();
        consumer.try_pop_all(&mut batch).unwrap();
        assert_eq!(batch.len(), 1);
    });
}

/// A write's way: the loop queues it, the storage thread takes what has gathered, saves that, and says
/// so by the queue over which the loop sleeps.
#[test]
fn a_queued_write_becomes_durable() {
    loom::model(|| {
        let (writes, queued) = queue(1000);
        let (done, mut completed) = queue(1000);
        let disk = Arc::new(Mutex::new(0));
        let saving = Arc::clone(&disk);
        let storage = thread::spawn(move || {
            let mut group = VecDeque::new();
            while queued.pop_all(&mut group).is_ok() {
                let last = group.drain(..).max().unwrap();
                *lock(&saving) = last;
                done.push(last, 1).unwrap();
            }
        });
        writes.push(1, 1).unwrap();
        writes.push(2, 1).unwrap();
        let (mut saved, mut batch) = (0, VecDeque::new());
        while saved < 2 {
            block_on(completed.drain(&mut batch)).unwrap();
            saved = batch.drain(..).max().unwrap();
            assert!(saved <= *lock(&disk), "it is said to be saved and is not");
        }
        drop(writes);
        storage.join().unwrap();
    });
}

/// A read's way: behind what it has to see, in the queue of the thread that applies; its caller wakes
/// with the answer.
#[test]
fn a_read_wakes_its_caller_with_what_was_applied_before() {
    enum Job {
        Apply(u8),
        Query(Completion<u8>),
    }
    loom::model(|| {
        let (jobs, queued) = queue(1000);
        let applier = thread::spawn(move || {
            let (mut state, mut batch) = (0, VecDeque::new());
            while queued.pop_all(&mut batch).is_ok() {
                for job in batch.drain(..) {
                    match job {
                        Job::Apply(put) => state = put,
                        Job::Query(asked) => asked.complete(state).unwrap(),
                    }
                }
            }
        });
        let (completion, waiter) = slot();
        let asker = thread::spawn(move || waiter.wait());
        jobs.push(Job::Apply(7), 1).unwrap();
        jobs.push(Job::Query(completion), 1).unwrap();
        drop(jobs);
        assert_eq!(asker.join().unwrap(), Ok(7));
        applier.join().unwrap();
    });
}

/// A proposal in flight while its consumer ends: the caller is answered, or refused and told so;
/// its wait ends in every case, also while the producer lives on.
#[test]
fn no_proposal_is_left_waiting_by_a_shutdown() {
    let seen = [Seen::new(), Seen::new()];
    let log = seen.clone();
    loom::model(move || {
        let (proposals, queued) = queue::<Completion<u8>>(1000);
        let node = thread::spawn(move || {
            let mut batch = VecDeque::new();
            let _ = queued.try_pop_all(&mut batch);
            for completion in batch {
                completion.complete(7).unwrap();
            }
        });
        let (completion, waiter) = slot();
        let pushed = match proposals.push(completion, 1) {
            Ok(()) => true,
            Err(refused) => {
                drop(refused);
                false
            }
        };
        let outcome = waiter.wait();
        assert!(outcome == Err(Dropped) || (pushed && outcome == Ok(7)));
        log[usize::from(pushed)].note(outcome.is_ok());
        node.join().unwrap();
        drop(proposals);
    });
    seen[1].assert_both();
}
