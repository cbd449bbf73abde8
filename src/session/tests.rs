use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use quorate_core::{Outcome, Settings};

use super::*;
use crate::error::NotProposed;
use crate::net::testing::{Echo, Played};
use crate::requests::{Answer, Request};

type Proposing = Pin<Box<dyn Future<Output = Result<Vec<u8>, RequestError>> + Send>>;

fn session(played: &Played) -> Session<Echo> {
    let requests = played.requests.clone();
    let numbers = Mutex::new(Numbers::default());
    Session { inner: Arc::new(Inner { requests, id: SessionId(7), numbers }) }
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

fn refusals() -> [Result<Outcome<Vec<u8>>, RequestError>; 2] {
    [Err(NotProposed::Busy.into()), Ok(Outcome::WindowExceeded)]
}

#[test]
fn a_request_of_unknown_outcome_is_sent_again_under_its_number() {
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

#[test]
fn a_refusal_after_an_attempt_of_unknown_outcome_is_not_the_whole_truth() {
    for refusal in refusals() {
        let played = Played::new(Settings::default());
        let session = session(&played);
        let mut proposing = propose(&session);
        drop(asked(&played));
        assert!(poll(&mut proposing).is_pending());
        asked(&played).1.complete(refusal).unwrap();
        assert_eq!(poll(&mut proposing), Poll::Ready(Err(RequestError::Unknown)));
    }
}

#[test]
fn a_refusal_of_the_only_attempt_is_handed_back() {
    let expected: [RequestError; 2] =
        [NotProposed::Busy.into(), SessionError::WindowExceeded.into()];
    for (refusal, expected) in refusals().into_iter().zip(expected) {
        let played = Played::new(Settings::default());
        let session = session(&played);
        let mut proposing = propose(&session);
        asked(&played).1.complete(refusal).unwrap();
        assert_eq!(poll(&mut proposing), Poll::Ready(Err(expected)));
        assert!(played.asked().is_empty());
    }
}

#[test]
fn what_is_acknowledged_is_all_before_the_first_whose_response_is_awaited() {
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
