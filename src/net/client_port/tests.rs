mod unanswered;

use std::collections::VecDeque;

use quorate_core::{At, InSession, Outcome, SessionId, Settings};
use quorate_handoff::queue;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::task::yield_now;
use tokio::time::Instant;

use super::*;
use crate::net::testing::{End, Played, done, greeted, hello_of_client, pair, propose, settle};
use crate::requests::Request;

const MAX_COMMAND: usize = 1 << 20;

fn played() -> Played {
    Played::new(Settings { max_command_bytes: MAX_COMMAND, ..Settings::default() })
}

/// A client, and what becomes of its connection.
fn client(played: &Played, budget: &Arc<Budget>) -> (End, impl Future<Output = Ended> + use<>) {
    let (connection, end) = pair("test");
    let (requests, budget) = (played.requests.clone(), Arc::clone(budget));
    let serving = tokio::spawn(async move {
        serve_client(greeted(connection, hello_of_client()), &requests, &budget).await
    });
    (end, async { serving.await.unwrap() })
}

type Ended = Result<(), FrameError>;

fn query(id: u64, length: usize) -> Ask {
    let query = postcard::to_allocvec(&vec![1_u8; length]).unwrap().into();
    Ask { id, what: What::Read { level: Read::Linearizable, query } }
}

/// Plays the loop until it was asked so much.
async fn answer(played: &Played, mut count: usize, length: usize) {
    while count > 0 {
        count -= played.answer_all(length);
        yield_now().await;
    }
}

#[tokio::test]
async fn a_request_is_passed_on_as_it_was_asked() {
    let (played, budget) = (played(), Budget::new(MAX_COMMAND));
    let (mut end, _) = client(&played, &budget);
    let session = InSession { session: SessionId(3), sequence: 7, first_unacknowledged: 5 };
    for session in [None, Some(session)] {
        let command: Bytes = postcard::to_allocvec(&vec![1_u8; 3]).unwrap().into();
        let what = What::Propose { session, command: command.clone() };
        end.send(Kind::Request, &Ask { id: 1, what }).await;
        let passed_on = loop {
            if let Some(request) = played.asked().pop_front() {
                break request;
            }
            yield_now().await;
        };
        let Request::Propose { body, session: asked, .. } = passed_on else { panic!("a command") };
        assert_eq!((body, asked), (command, session));
    }
}

#[tokio::test]
async fn a_read_goes_to_whom_its_level_asks_for() {
    let (played, budget) = (played(), Budget::new(MAX_COMMAND));
    let (mut end, _) = client(&played, &budget);
    for level in [Read::Local, Read::Linearizable] {
        let query = postcard::to_allocvec(&vec![1_u8; 3]).unwrap().into();
        end.send(Kind::Request, &Ask { id: 1, what: What::Read { level, query } }).await;
        let (of_loop, of_applier) = loop {
            let asked = (played.asked(), played.asked_of_applier());
            if asked.0.len() + asked.1.len() > 0 {
                break asked;
            }
            yield_now().await;
        };
        let expected = if level == Read::Local { (0, 1) } else { (1, 0) };
        assert_eq!((of_loop.len(), of_applier.len()), expected, "{level:?}");
    }
}

#[tokio::test]
async fn a_session_is_granted_the_window_that_its_replicas_keep_to() {
    let settings = Settings { session_window: 7, ..Settings::default() };
    let played = Played::new(settings);
    let (mut end, _) = client(&played, &Budget::new(MAX_COMMAND));
    end.send(Kind::Request, &Ask { id: 1, what: What::Register }).await;
    loop {
        match played.asked().pop_front() {
            Some(Request::Register { answer }) => {
                let _ = answer.complete(Ok(Outcome::Registered(SessionId(3))));
                break;
            }
            Some(_) => panic!("no session was asked for"),
            None => yield_now().await,
        }
    }
    assert_eq!(end.answer(1).await, Answer::Registered { session: SessionId(3), window: 7 });
}

#[tokio::test]
async fn a_request_beyond_the_limit_is_answered_and_the_connection_goes_on() {
    let played = played();
    let (mut end, _) = client(&played, &Budget::new(1 << 30));
    let mut id = 0;
    for length in [MAX_COMMAND, MAX_COMMAND + 100, 2 * MAX_COMMAND, 20 * MAX_COMMAND] {
        end.send(Kind::Request, &propose(id, length)).await;
        assert_eq!(end.answer(id).await, Answer::Failed(NotProposed::TooLarge.into()));
        end.send(Kind::Request, &query(id + 1, length + 100)).await;
        assert_eq!(end.answer(id + 1).await, Answer::ReadFailed(ReadError::TooLarge));
        id += 2;
    }
    assert_eq!(played.answer_all(0), 0);
    end.send(Kind::Request, &propose(id, MAX_COMMAND - 10)).await;
    answer(&played, 1, 3).await;
    assert_eq!(end.answer(id).await, done(3));
}

#[tokio::test]
async fn what_is_no_larger_than_the_limit_is_taken_however_long_the_names_around_it_are() {
    let played = played();
    let (mut end, _) = client(&played, &Budget::new(1 << 30));
    let (id, sequence, first_unacknowledged) = (u64::MAX, u64::MAX, u64::MAX);
    let session = Some(InSession { session: SessionId(u64::MAX), sequence, first_unacknowledged });
    let largest: Bytes = postcard::to_allocvec(&vec![1_u8; MAX_COMMAND - 3]).unwrap().into();
    assert_eq!(largest.len(), MAX_COMMAND);
    for what in [
        What::Propose { session, command: largest.clone() },
        What::Read { level: Read::Linearizable, query: largest },
    ] {
        end.send(Kind::Request, &Ask { id, what }).await;
        let answered = tokio::select! {
            answered = end.answer(id) => answered,
            () = answer(&played, usize::MAX, 3) => unreachable!("it is asked less"),
        };
        assert_eq!(answered, done(3));
    }
}

#[tokio::test]
async fn all_clients_together_hold_no_more_than_the_budget() {
    let (played, budget) = (played(), Budget::new(MAX_COMMAND));
    let (mut slow, _) = client(&played, &budget);
    let (mut other, _) = client(&played, &budget);
    let mut large = BytesMut::new();
    frame::encode(Kind::Request, &propose(1, MAX_COMMAND * 3 / 4), &mut large);
    slow.writer.write_all(&large[..large.len() - 1]).await.unwrap();
    // Small enough to be read before it is known that there is no room for it, and larger.
    for length in [10, 1000, 100_000, MAX_COMMAND / 2] {
        let is_small = length < MAX_COMMAND / 4;
        for request in [propose(7, length), query(7, length)] {
            let is_read = matches!(request.what, What::Read { .. });
            other.send(Kind::Request, &request).await;
            if is_small {
                answer(&played, 1, 3).await;
                assert_eq!(other.answer(7).await, done(3), "{length}");
            } else if is_read {
                assert_eq!(other.answer(7).await, Answer::ReadFailed(ReadError::Busy));
            } else {
                assert_eq!(other.answer(7).await, Answer::Failed(NotProposed::Busy.into()));
            }
        }
    }
    slow.writer.write_all(&large[large.len() - 1..]).await.unwrap();
    answer(&played, 1, 3).await;
    assert_eq!(slow.answer(1).await, done(3));
    other.send(Kind::Request, &propose(8, MAX_COMMAND / 2)).await;
    answer(&played, 1, 3).await;
    assert_eq!(other.answer(8).await, done(3));
}

#[tokio::test(start_paused = true)]
async fn many_small_requests_count_until_they_are_answered() {
    let (played, budget) = (played(), Budget::new(100 * OVERHEAD_BYTES));
    let mut ends = Vec::new();
    for _ in 0..4 {
        let (mut end, _) = client(&played, &budget);
        for id in 0..50 {
            end.send(Kind::Request, &propose(id, 1)).await;
        }
        ends.push(end);
    }
    // All is read then.
    settle().await;
    let taken = played.answer_all(1);
    assert!((90..100).contains(&taken), "{taken} were taken");
    let (mut executed, mut refused) = (0, 0);
    for end in &mut ends {
        for _ in 0..50 {
            match end.receive::<Reply>().await.1.answer {
                Answer::Done(_) => executed += 1,
                Answer::Failed(error) => {
                    assert_eq!(error, NotProposed::Busy.into());
                    refused += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!((executed, refused), (taken, 200 - taken));
}

#[tokio::test]
async fn an_answer_for_which_there_is_no_room_is_not_held() {
    let (played, budget) = (played(), Budget::new(MAX_COMMAND));
    let mut others = budget.charge();
    let (mut end, _) = client(&played, &budget);
    end.send(Kind::Request, &query(1, 1)).await;
    end.send(Kind::Request, &propose(2, 1)).await;
    end.send(Kind::Request, &propose(3, 100_000)).await;
    let mut asked = Vec::new();
    while asked.len() < 3 {
        asked.extend(played.asked());
        yield_now().await;
    }
    assert!(others.grow_to(MAX_COMMAND - 110_000));
    for request in asked {
        match request {
            crate::requests::Request::Read { answer, .. } => {
                answer.complete(Ok(vec![2; 100_000])).unwrap();
                // There is room for it again once this answer was refused.
                assert_eq!(end.answer(1).await, Answer::ReadFailed(ReadError::Busy));
            }
            crate::requests::Request::Propose { answer, body, .. } => {
                // What is as large as its request needs no room beyond that.
                let outcome = quorate_core::Outcome::Response(vec![2; 90_000]);
                answer.complete(Ok(outcome)).unwrap_or_else(|_| panic!("nobody waits"));
                if body.len() < 1000 {
                    assert_eq!(end.answer(2).await, Answer::Failed(RequestError::Unknown));
                } else {
                    assert_eq!(end.answer(3).await, done(90_000));
                }
            }
            crate::requests::Request::Register { .. } => panic!("no session was asked for"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_hung_up_on() {
    let played = played();
    let (mut end, ended) = client(&played, &Budget::new(1 << 30));
    let began = Instant::now();
    end.send(Kind::Ping, &()).await;
    assert_eq!(end.receive::<()>().await.0, Kind::Pong);
    // Slow is not silent.
    let mut bytes = BytesMut::new();
    frame::encode(Kind::Request, &propose(1, 100), &mut bytes);
    for byte in &bytes[..100] {
        tokio::time::sleep(IDLE * 2 / 3).await;
        end.writer.write_all(&[*byte]).await.unwrap();
    }
    assert!(matches!(ended.await, Err(FrameError::Silence(IDLE))));
    assert!(began.elapsed() > IDLE * 60);
}

#[tokio::test]
async fn what_is_no_request_ends_the_connection() {
    let played = played();
    for kind in [Kind::Hello, Kind::Message, Kind::Reply, Kind::Pong] {
        let (mut end, ended) = client(&played, &Budget::new(1 << 30));
        end.send(kind, &1_u8).await;
        assert!(matches!(ended.await, Err(FrameError::Unexpected)), "{kind:?}");
    }
    let (mut end, ended) = client(&played, &Budget::new(1 << 30));
    end.send(Kind::Request, &[9_u8; 30]).await;
    assert!(matches!(ended.await, Err(FrameError::Body)));
}

#[tokio::test]
async fn a_command_whose_response_is_larger_than_any_may_be_was_executed_all_the_same() {
    let played = played();
    let (mut end, _) = client(&played, &Budget::new(1 << 30));
    end.send(Kind::Request, &propose(1, 1)).await;
    end.send(Kind::Request, &query(2, 1)).await;
    answer(&played, 2, MAX_BYTES + 1).await;
    assert_eq!(end.answer(1).await, Answer::Failed(SessionError::ResponseDropped.into()));
    assert_eq!(end.answer(2).await, Answer::ReadFailed(ReadError::TooLarge));
}

/// A state machine none of whose answers can be serialized.
#[derive(Clone, Serialize, Deserialize)]
struct Mute;

#[derive(Debug)]
struct Unsaid;

impl Serialize for Unsaid {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("it is not said"))
    }
}

impl<'de> Deserialize<'de> for Unsaid {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Unsaid, D::Error> {
        Ok(Unsaid)
    }
}

impl StateMachine for Mute {
    type Command = ();
    type Response = Unsaid;
    type Query = ();
    type Answer = Unsaid;

    fn apply(&mut self, _: &At, (): ()) -> Unsaid {
        Unsaid
    }

    fn query(&self, _: &At, (): ()) -> Unsaid {
        Unsaid
    }
}

#[tokio::test]
async fn of_an_answer_that_cannot_be_serialized_a_reader_is_told_so() {
    let (to_loop, asked) = queue::<Request<Mute>>(1 << 20);
    let (to_applier, _queries) = queue(1 << 20);
    let requests = Requests { to_loop, to_applier, settings: Arc::default() };
    let read = begin(What::Read { level: Read::Linearizable, query: Bytes::new() }, &requests);
    let propose = begin(What::Propose { session: None, command: Bytes::new() }, &requests);
    let mut taken = VecDeque::new();
    asked.try_pop_all(&mut taken).unwrap();
    for request in taken {
        match request {
            Request::Read { answer, .. } => answer.complete(Ok(Unsaid)).unwrap(),
            Request::Propose { answer, .. } => {
                answer.complete(Ok(Outcome::Response(Unsaid))).unwrap_or_else(|_| panic!());
            }
            Request::Register { .. } => panic!("no session was asked for"),
        }
    }
    assert_eq!(read.await, Answer::ReadFailed(ReadError::Unencodable));
    // The command was executed.
    assert_eq!(propose.await, Answer::Failed(SessionError::ResponseDropped.into()));
}

#[test]
fn an_answer_over_which_the_users_code_panics_is_none() {
    struct Panics;
    impl Serialize for Panics {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            std::panic::resume_unwind(Box::new("the test said so"))
        }
    }
    assert_eq!(encoded(&Panics), None);
}

#[tokio::test(start_paused = true)]
async fn a_reply_counts_until_its_client_has_read_it() {
    let (played, budget) = (played(), Budget::new(4 * MAX_COMMAND));
    let (mut slow, _) = client(&played, &budget);
    let (mut other, _) = client(&played, &budget);
    slow.send(Kind::Request, &query(1, 10)).await;
    answer(&played, 1, MAX_COMMAND * 7 / 2).await;
    // As much is written then as fits between the two.
    settle().await;
    other.send(Kind::Request, &propose(7, MAX_COMMAND * 3 / 4)).await;
    assert_eq!(other.answer(7).await, Answer::Failed(NotProposed::Busy.into()));
    assert_eq!(slow.answer(1).await, done(MAX_COMMAND * 7 / 2));
    settle().await;
    other.send(Kind::Request, &propose(8, MAX_COMMAND * 3 / 4)).await;
    answer(&played, 1, 3).await;
    assert_eq!(other.answer(8).await, done(3));
}
