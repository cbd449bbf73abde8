//! The queue's promises on one thread, and its hand-over between real threads.

use std::thread;

use super::*;
use crate::testing::{CountedWaker, block_on};

const LONG: Duration = Duration::from_secs(60);

fn popped<T>(consumer: &Consumer<T>) -> Result<Vec<T>, PopError> {
    let mut batch = VecDeque::new();
    consumer.try_pop_all(&mut batch)?;
    Ok(batch.into())
}

#[test]
fn everything_queued_is_taken_at_once_in_order() {
    let (producer, consumer) = queue(1000);
    for item in 1..=3 {
        producer.push(item, 100).unwrap();
    }
    assert_eq!(producer.queued_bytes(), 300);
    let mut batch = VecDeque::from([0]);
    consumer.pop_all(&mut batch).unwrap();
    assert_eq!(batch, [0, 1, 2, 3]);
    assert_eq!(producer.queued_bytes(), 0);
    assert_eq!(popped(&consumer), Err(PopError::Empty));
}

#[test]
fn the_bound_is_in_bytes_and_a_full_queue_hands_the_item_back() {
    let (producer, consumer) = queue(100);
    producer.push("a", 60).unwrap();
    producer.push("b", 40).unwrap();
    assert!(!producer.has_room(1));
    assert!(matches!(producer.push("c", 1), Err(PushError::Full("c"))));
    assert_eq!(consumer.pop(), Ok("a"));
    assert!(producer.has_room(60) && !producer.has_room(61));
    producer.push("c", 60).unwrap();
    assert_eq!(popped(&consumer), Ok(vec!["b", "c"]));
    assert!(producer.has_room(100));
}

#[test]
fn what_was_taken_at_once_no_longer_counts_when_single_items_are_taken() {
    let (producer, consumer) = queue(100);
    producer.push("a", 60).unwrap();
    producer.push("b", 40).unwrap();
    assert_eq!(popped(&consumer), Ok(vec!["a", "b"]));
    producer.push("c", 50).unwrap();
    producer.push("d", 30).unwrap();
    assert_eq!(consumer.pop(), Ok("c"));
    assert_eq!(producer.queued_bytes(), 30);
    assert_eq!(consumer.pop(), Ok("d"));
    assert_eq!(producer.queued_bytes(), 0);
}

#[test]
fn an_item_beyond_the_bound_is_accepted_into_an_empty_queue_only() {
    let (producer, consumer) = queue(100);
    producer.push("huge", usize::MAX).unwrap();
    assert!(matches!(producer.push("next", 1), Err(PushError::Full("next"))));
    assert_eq!(popped(&consumer), Ok(vec!["huge"]));
    producer.push("next", 1).unwrap();
    assert!(matches!(producer.push("huge", 101), Err(PushError::Full("huge"))));
}

#[test]
fn an_unbounded_push_is_never_refused_for_lack_of_room() {
    let (producer, consumer) = queue(100);
    producer.push("a", 100).unwrap();
    producer.push_unbounded("b", usize::MAX).unwrap();
    producer.push_unbounded("c", usize::MAX).unwrap();
    assert!(!producer.has_room(1));
    assert_eq!([consumer.pop(), consumer.pop(), consumer.pop()], [Ok("a"), Ok("b"), Ok("c")]);
    assert_eq!(producer.queued_bytes(), 0);
}

#[test]
fn items_without_payload_count_too() {
    let (producer, _consumer) = queue(10 * size_of::<u64>());
    let accepted = (0..100u64).take_while(|item| producer.push(*item, 0).is_ok()).count();
    assert_eq!(accepted, 10);

    let (producer, _consumer) = queue(10);
    let accepted = (0..100).take_while(|_| producer.push((), 0).is_ok()).count();
    assert_eq!(accepted, 10);
}

#[test]
fn what_was_queued_before_the_close_is_still_taken() {
    let (producer, consumer) = queue(1000);
    producer.push(1, 1).unwrap();
    producer.close();
    assert!(matches!(producer.push(2, 1), Err(PushError::Closed(2))));
    assert!(matches!(producer.push_unbounded(2, 1), Err(PushError::Closed(2))));
    assert!(!producer.has_room(1));
    let mut batch = VecDeque::new();
    assert_eq!(consumer.pop_all(&mut batch), Ok(()));
    assert_eq!(batch, [1]);
    assert_eq!(consumer.pop_all(&mut batch), Err(Closed));
    assert_eq!(consumer.pop_all_timeout(&mut batch, LONG), Err(PopError::Closed));
    assert_eq!(consumer.pop(), Err(Closed));
    assert_eq!(popped(&consumer), Err(PopError::Closed));
}

#[test]
fn the_last_producer_closes_the_queue() {
    let (producer, consumer) = queue::<u8>(1000);
    let other = producer.clone();
    drop(producer);
    assert_eq!(popped(&consumer), Err(PopError::Empty));
    drop(other);
    assert_eq!(popped(&consumer), Err(PopError::Closed));
}

#[test]
fn the_last_consumer_closes_the_queue_and_drops_what_it_holds() {
    let (producer, consumer) = queue(1000);
    let item = std::sync::Arc::new(());
    let other = consumer.clone();
    producer.push(std::sync::Arc::clone(&item), 1).unwrap();
    drop(consumer);
    producer.push(std::sync::Arc::clone(&item), 1).unwrap();
    drop(other);
    assert_eq!(std::sync::Arc::strong_count(&item), 1);
    assert!(matches!(producer.push(item, 1), Err(PushError::Closed(_))));
}

#[test]
fn a_timeout_ends_the_wait_for_an_empty_queue_only() {
    let (producer, consumer) = queue(1000);
    let mut batch = VecDeque::new();
    let timeout = Duration::from_millis(1);
    assert_eq!(consumer.pop_all_timeout(&mut batch, timeout), Err(PopError::Empty));
    producer.push(1, 1).unwrap();
    assert_eq!(consumer.pop_all_timeout(&mut batch, Duration::ZERO), Ok(()));
    let pusher = thread::spawn(move || producer.push(2, 1));
    assert_eq!(consumer.pop_all_timeout(&mut batch, Duration::MAX), Ok(()));
    assert_eq!(batch, [1, 2]);
    pusher.join().unwrap().unwrap();
}

#[test]
fn a_task_is_woken_by_the_first_push_only_and_by_the_close() {
    let (producer, mut consumer) = queue(1000);
    let waker = CountedWaker::new();
    let mut batch = VecDeque::new();
    assert!(consumer.poll_pop_all(&mut waker.context(), &mut batch).is_pending());
    producer.push(1, 1).unwrap();
    producer.push(2, 1).unwrap();
    assert_eq!(waker.wakes(), 1);
    assert!(consumer.poll_pop_all(&mut waker.context(), &mut batch).is_ready());
    assert_eq!(batch, [1, 2]);
    assert!(consumer.poll_pop_all(&mut waker.context(), &mut batch).is_pending());
    producer.close();
    assert_eq!(waker.wakes(), 2);
    assert_eq!(consumer.poll_pop_all(&mut waker.context(), &mut batch), Poll::Ready(Err(Closed)));
}

#[test]
fn each_consumer_handle_keeps_its_last_waker_while_it_lives() {
    let (producer, mut first) = queue(1000);
    let mut others = [first.clone(), first.clone()];
    let wakers = [CountedWaker::new(), CountedWaker::new(), CountedWaker::new()];
    let mut batch = VecDeque::new();
    assert!(first.poll_pop_all(&mut wakers[2].context(), &mut batch).is_pending());
    assert!(first.poll_pop_all(&mut wakers[0].context(), &mut batch).is_pending());
    for other in &mut others {
        assert!(other.poll_pop_all(&mut wakers[1].context(), &mut batch).is_pending());
    }
    assert_eq!(wakers.each_ref().map(CountedWaker::held), [1, 2, 0]);
    drop(first);
    assert_eq!(wakers.each_ref().map(CountedWaker::held), [0, 2, 0]);
    let [other, another] = others;
    drop(another);
    assert_eq!(wakers.each_ref().map(CountedWaker::held), [0, 1, 0]);
    producer.push(1, 1).unwrap();
    drop(other);
    assert_eq!(wakers.each_ref().map(CountedWaker::wakes), [0, 1, 0]);
    assert_eq!(wakers.each_ref().map(CountedWaker::held), [0, 0, 0]);
}

#[test]
fn nothing_is_lost_or_reordered_between_threads_and_a_task() {
    /// An interpreter takes a hundred times as long for each.
    const EACH: u64 = if cfg!(miri) { 200 } else { 20_000 };
    let (producer, mut consumer) = queue(100 * size_of::<(u64, u64)>());
    let threads: Vec<_> = (0..2)
        .map(|name| {
            let producer = producer.clone();
            thread::spawn(move || {
                for number in 0..EACH {
                    let mut item = (name, number);
                    while let Err(error) = producer.push(item, 0) {
                        item = error.into_item();
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    drop(producer);
    let mut next = [0, 0];
    let mut batch = VecDeque::new();
    while block_on(consumer.drain(&mut batch)).is_ok() {
        for (name, number) in batch.drain(..) {
            assert_eq!(next[name as usize], number);
            next[name as usize] += 1;
        }
    }
    assert_eq!(next, [EACH, EACH]);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn helpers_share_the_jobs_of_one_queue() {
    let (producer, consumer) = queue(1 << 20);
    let helpers = [consumer.clone(), consumer].map(|consumer| {
        thread::spawn(move || std::iter::from_fn(|| consumer.pop().ok()).collect::<Vec<_>>())
    });
    for job in 0..1000 {
        producer.push(job, 1).unwrap();
    }
    drop(producer);
    let mut done: Vec<i32> = helpers.into_iter().flat_map(|h| h.join().unwrap()).collect();
    done.sort_unstable();
    assert!(done.into_iter().eq(0..1000));
}
