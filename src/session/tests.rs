use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use quorate_core::{Outcome, Settings};

use super::*;
use crate::error::SessionError;
use crate::net::testing::{Echo, Played};
use crate::requests::{Answer, Request};

type Proposing = Pin<Box<dyn Future<Output = Result<Vec<u8>, RequestError>> + Send>>;

fn session(played: &Played) -> Session<Echo> {
    let requests = played.requests.clone();
    let numbers = Mutex::new(Numbers::default());
    let timers = Handle::current();
    Session { inner: Arc::new(Inner { requests, id: SessionId(7), numbers, timers }) }
}

fn propose(session: &Session<Echo>) -> Proposing {
    Box::pin(session.propose(vec![1]))
}

fn poll(proposing: &mut Proposing) -> Poll<Result<Vec<u8>, RequestError>> {
    proposing.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// The one proposal that has come to the loop.
fn asked(played: &Played) -> (InSession, Answer<Vec<u8>>) {
    let mut asked = played.asked();
    assert_eq!(asked.len(), 1);
    match asked.pop_front() {
        Some(Request::Propose { session: Some(session), answer, .. }) => (session, answer),
        _ => panic!("no proposal under a session"),
    }
}

fn done() -> Result<Outcome<Vec<u8>>, RequestError> {
    Ok(Outcome::Response(vec![2]))
}

/// Such as pass with time.
fn refusals() -> [Result<Outcome<Vec<u8>>, RequestError>; 5] {
    use NotProposed::{Busy, DiskFull, NoLeader, Overdue};
    let [busy, full, nobody, overdue] = [Busy, DiskFull, NoLeader, Overdue].map(RequestError::from);
    [Err(busy), Err(full), Err(nobody), Err(overdue), Ok(Outcome::WindowExceeded)]
}

/// A proposal whose first attempt came to nothing that is known.
fn lost(played: &Played) -> (Proposing, InSession) {
    let mut proposing = propose(&session(played));
    let (first, answer) = asked(played);
    drop(answer);
    assert!(poll(&mut proposing).is_pending());
    (proposing, first)
}

#[tokio::test(start_paused = true)]
async fn a_request_of_unknown_outcome_is_sent_again_under_its_number() {
    let played = Played::new(Settings::default());
    let session = session(&played);
    let mut proposing = propose(&session);
    let (first, answer) = asked(&played);
    drop(answer);
    assert!(poll(&mut proposing).is_pending());
    let (second, answer) = asked(&played);
    answer.complete(Err(RequestError::Unknown)).unwrap();
    assert!(poll(&mut proposing).is_pending());
    let (third, answer) = asked(&played);
    assert_eq!((first, first), (second, third));
    answer.complete(done()).unwrap();
    assert_eq!(poll(&mut proposing), Poll::Ready(Ok(vec![2])));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_an_attempt_of_unknown_outcome_is_followed_by_another_a_little_later() {
    for refusal in refusals() {
        let played = Played::new(Settings::default());
        let (mut proposing, first) = lost(&played);
        asked(&played).1.complete(refusal).unwrap();
        assert!(poll(&mut proposing).is_pending());
        assert!(played.asked().is_empty(), "not at once");
        sleep(2 * PAUSE).await;
        assert!(poll(&mut proposing).is_pending());
        let (again, answer) = asked(&played);
        assert_eq!(again, first);
        answer.complete(done()).unwrap();
        assert_eq!(poll(&mut proposing), Poll::Ready(Ok(vec![2])));
    }
}

#[tokio::test(start_paused = true)]
async fn what_will_not_pass_ends_the_attempts_and_refutes_none_before() {
    for (last, expected) in [
        (Err(NotProposed::ShuttingDown.into()), RequestError::Unknown),
        (Err(NotProposed::TooLarge.into()), RequestError::Unknown),
        (Ok(Outcome::NoSession), SessionError::Expired.into()),
        (Ok(Outcome::ResponseDropped), SessionError::ResponseDropped.into()),
    ] {
        let played = Played::new(Settings::default());
        let (mut proposing, _) = lost(&played);
        asked(&played).1.complete(last).unwrap();
        assert_eq!(poll(&mut proposing), Poll::Ready(Err(expected)));
        assert!(played.asked().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn after_half_a_minute_nothing_is_sent_again() {
    for last in [RequestError::Unknown, NotProposed::Busy.into()] {
        let played = Played::new(Settings::default());
        let (mut proposing, _) = lost(&played);
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < 2 * PATIENCE, "it goes on");
            let is_over = began.elapsed() >= PATIENCE;
            asked(&played).1.complete(Err(last)).unwrap();
            if let Poll::Ready(ended) = poll(&mut proposing) {
                assert_eq!((ended, is_over), (Err(RequestError::Unknown), true));
                break;
            }
            sleep(2 * PAUSE).await;
            assert!(poll(&mut proposing).is_pending());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_only_attempt_is_handed_back() {
    for refusal in refusals() {
        let expected = refusal.clone().and_then(response_of).unwrap_err();
        let played = Played::new(Settings::default());
        let mut proposing = propose(&session(&played));
        asked(&played).1.complete(refusal).unwrap();
        assert_eq!(poll(&mut proposing), Poll::Ready(Err(expected)));
        assert!(played.asked().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_acknowledged_is_all_before_the_first_whose_response_is_awaited() {
    let played = Played::new(Settings::default());
    let session = session(&played);
    let mut numbers = Vec::new();
    let mut next = || {
        let proposing = propose(&session);
        let (in_session, answer) = asked(&played);
        assert_eq!(in_session.session, SessionId(7));
        numbers.push((in_session.sequence, in_session.first_unacknowledged));
        (proposing, answer)
    };
    let (first, _first_answer) = next();
    let (mut second, answer) = next();
    answer.complete(done()).unwrap();
    assert!(poll(&mut second).is_ready());
    drop(second);
    let (third, _third_answer) = next();
    // Whoever gives up does not want the response.
    drop(first);
    let (fourth, _fourth_answer) = next();
    drop((third, fourth));
    let _fifth = next();
    assert_eq!(numbers, [(0, 0), (1, 0), (2, 0), (3, 2), (4, 4)]);
}

#[tokio::test(start_paused = true)]
async fn clones_number_their_commands_together() {
    let played = Played::new(Settings::default());
    let one = session(&played);
    let other = one.clone();
    let mut proposing = Vec::new();
    let mut next = |session| {
        proposing.push(propose(session));
        asked(&played)
    };
    let (first, answer) = next(&one);
    let (second, _second_answer) = next(&other);
    let (third, _third_answer) = next(&other.clone());
    let numbers =
        [first, second, third].map(|it| (it.session, it.sequence, it.first_unacknowledged));
    let id = SessionId(7);
    assert_eq!(numbers, [(id, 0, 0), (id, 1, 0), (id, 2, 0)]);
    // What one has been answered, another acknowledges.
    answer.complete(done()).unwrap();
    let mut first = proposing.remove(0);
    assert!(poll(&mut first).is_ready());
    drop(first);
    let _fourth = propose(&other);
    let fourth = asked(&played).0;
    assert_eq!((fourth.sequence, fourth.first_unacknowledged), (3, 1));
}
